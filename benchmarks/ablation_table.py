"""What ``ablation.py`` trains: variants by family, scales, and the runs that follow of them."""
import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from benchmarks.ablation_report import UNTRAINED

PAIRED, UNPAIRED, UNCONDITIONAL = FAMILIES = "paired", "unpaired", "unconditional"


class Variant(NamedTuple):
    """A row of the table: its name, what tables call it, and the flags that make it; without flags it is not trained,
    but derived of the frames of another one, or of the data."""

    name: str
    title: str
    flags: str = ""


_THESIS = "-tclw 10 --no-timecycle_motion_model_residual"
_FLOWLESS = "-flw 0 -mlw 0 -wlw 0 -dts 0"  # vid2vid's generator, without what vid2vid tells it of optical flow
_TC = f"{_THESIS} -tcs 1"
VARIANTS = {
    PAIRED: [
        Variant("untrained", "flat class colours, or the source"),
        Variant("frozen", "the real first frame, held"),
        Variant("pix2pix", "pix2pix, per frame", "-m pix2pix"),
        Variant("averaged", "pix2pix, averaged over time"),
        Variant("seqpix2pix", "seqpix2pix: recurrence", "-m seqpix2pix"),
        Variant("sequence-d", "+ sequence D", "-m timecycle -tclw 0"),
        Variant("p-thesis", "+ TimeCycle, the thesis's loss", f"-m timecycle {_THESIS}"),
        Variant("p", "+ TimeCycle (P)", f"-m timecycle {_TC}"),
        Variant("p-pingpong", "+ TimeCycle, ping-pong", "-m timecycle -tclw 10 -tct pingpong"),
        Variant("p++", "P + warp (P++)", f"-m timecyclep2 {_TC} -wlw 5"),
        Variant("warping", "vid2vid's generator, no flow given", f"-m timecyclevid2vid {_FLOWLESS} -tclw 0"),
        Variant("p-warping", "vid2vid's generator + TimeCycle, no flow given",
                f"-m timecyclevid2vid {_FLOWLESS} {_TC}"),
        Variant("vid2vid", "vid2vid", "-m vid2vid -flw 1 -mlw 1 -wlw 5"),
        Variant("timecyclevid2vid", "vid2vid + TimeCycle", f"-m timecyclevid2vid -flw 1 -mlw 1 -wlw 5 {_TC}"),
    ],
    UNPAIRED: [
        Variant("cyclegan", "CycleGAN, per frame", "-m cyclegan"),
        Variant("averaged", "CycleGAN, averaged over time"),
        Variant("seqcyclegan", "seqcyclegan: recurrence", "-m seqcyclegan"),
        Variant("sequence-d", "+ sequence D", "-m tricyclegan -tclw 0"),
        Variant("up", "+ TimeCycle (UP)", "-m tricyclegan -tclw 5"),
    ],
    UNCONDITIONAL: [
        Variant("dcgan", "DCGAN, per frame", "-m dcgan"),
        Variant("seqdcgan", "seqdcgan: recurrence", "-m seqdcgan"),
        Variant("sequence-d", "+ sequence D", "-m timecycledcgan -tclw 0"),
        Variant("u", "+ TimeCycle (U)", "-m timecycledcgan -tclw 5"),
    ],
}
AVERAGED = {PAIRED: "pix2pix", UNPAIRED: "cyclegan"}  # of whose frames the average is
FROM_FLOW = {"p++", "vid2vid", "timecyclevid2vid"}


@dataclass(frozen=True)
class Scale:
    """How large the data and the networks are; flags and epochs by family."""

    sequences: int
    frames: int
    val_sequences: int
    val_frames: int
    long_frames: int
    height: int
    width: int
    flags: dict[str, str]
    epochs: dict[str, int]
    side: int = 64  # of the squares that unconditional models make


_GROW = "-ss 0.5 -ts 0.2 1 --no-grow_batch"  # frame by frame at half the size, then clips
_RECIPE = f"-lr 1e-3 -llw 60 -fmlw 10 --upsample resize {_GROW}"
_SMALL = "-g resnet_3blocks -gf 16 -df 16"
SCALES = {
    "quick": Scale(
        2, 10, 2, 8, 24, 32, 64, {PAIRED: "-g resnet_1blocks -gf 4 -df 4 -tcmmf 4 -llw 60 -fmlw 10 --upsample resize",
                                  UNPAIRED: "-g resnet_1blocks -gf 4 -df 4 -tcmmf 4 -clw 10",
                                  UNCONDITIONAL: "-gf 4 -df 4 -tcmmf 4 -d basic -bs 2"},
        dict.fromkeys(FAMILIES, 1),
    ),
    "cpu": Scale(
        12, 20, 6, 20, 300, 64, 128, {PAIRED: f"{_SMALL} -tcmmf 8 {_RECIPE}",
                                      UNPAIRED: f"{_SMALL} -tcmmf 8 -lr 5e-4 -clw 10 --upsample resize {_GROW}",
                                      UNCONDITIONAL: "-gf 16 -df 16 -tcmmf 8 -d basic -bs 4 -lr 5e-4"},
        {PAIRED: 10, UNPAIRED: 10, UNCONDITIONAL: 30},
    ),
    "gpu": Scale(
        48, 60, 8, 60, 300, 64, 128, {PAIRED: f"-gf 32 -df 32 -tcmmf 32 -bs 4 {_RECIPE}",
                                      UNPAIRED: f"-gf 32 -df 32 -tcmmf 32 -bs 4 -clw 10 --upsample resize {_GROW}",
                                      UNCONDITIONAL: "-gf 32 -df 32 -tcmmf 32 -d basic -bs 8"},
        {PAIRED: 4, UNPAIRED: 4, UNCONDITIONAL: 20},
    ),
}  # fmt: skip
# Does what is seen after minutes hold after four times the training?
SCALES["cpu-long"] = replace(SCALES["cpu"], epochs={family: 4 * n for family, n in SCALES["cpu"].epochs.items()})
# By name, the arguments of generate_synthetic, or the source that prepare_video makes of a clip.
DATA: dict[str, dict[str, Any] | str] = {
    "street": {"label_noise": 1.0}, "film": {"film": True}, "clip-gray": "gray", "clip-edges": "edges"}
# What is trained on which: a clip has one scene, and what is made of nothing is made of no source.
WITH = {PAIRED: tuple(DATA), UNPAIRED: ("street", "film"), UNCONDITIONAL: ("street",)}
# The streets of the table; other seeds are for finding out how to train.
SEED, LONG_SEED = 1600, 1601
KEY = ("data", "family", "variant", "budget", "seed")  # of a run, in the files


class Run(NamedTuple):
    """One entry of the results: data set, family, variant, budget ("steps" or "time"), seed."""

    data: str
    family: str
    variant: Variant
    budget: str
    seed: int

    @property
    def key(self) -> tuple[str, ...]:
        return self.data, self.family, self.variant.name, self.budget, str(self.seed)

    @property
    def name(self) -> str:
        return "-".join(self.key)

    def of(self, name: str, budget: str | None = None) -> "Run":
        """The run of another variant, else the same."""
        variant = next(each for each in VARIANTS[self.family] if each.name == name)
        return self._replace(variant=variant, budget=budget or self.budget)


def table(args: argparse.Namespace) -> Iterator[Run]:
    """The runs in their order: first one seed of everything, then the others; derived ones after what they are of."""
    for seed in args.seeds:
        for budget in args.budgets:
            for data in args.data:
                for family in args.families:
                    if data not in WITH[family]:
                        continue
                    for variant in VARIANTS[family]:
                        again = variant.name in UNTRAINED and (budget, seed) != ("steps", 0)  # there is one of them
                        if not again and (not args.variants or variant.name in args.variants):
                            yield Run(data, family, variant, budget, seed)
