"""Does TimeCycle make video steadier, by how much, and when? Trains a table of models, and keeps what came of them.

    python benchmarks/ablation.py WORK --scale cpu --jobs 2 --minutes 60     in the background, on a CPU
    python benchmarks/ablation.py WORK --scale gpu --jobs 12 --minutes 8     one visit to a GPU; repeat it at will
    python benchmarks/ablation.py WORK --quick                               every paired variant, tiny, to try it
    python benchmarks/ablation.py --report                                   docs/RESULTS.md anew, from the CSV files

A run is a variant of the table, a data set, a seed, and a budget: "steps", where all variants see the same clips
equally often, or "time", where those that are faster than TimeCycle train as long as it did. It ends as rows of
``runs-SCALE.csv``, one per validation clip, and of ``rollouts-SCALE.csv``, one per stretch of a long clip; a run that
is there is not done again, and one that was cut off goes on where it was (WORK keeps its checkpoints).
"""
import argparse
import csv
import os
import platform
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks.ablation_report import EXCESS, FASTER, METRICS, REFERENCE, UNTRAINED, read, report, strip
from timecyclegan.data.generate_synthetic import generate
from timecyclegan.data.prepare_video import main as prepare_video
from timecyclegan.evaluation.compute_metrics import evaluate
from timecyclegan.util.errors import UserError
from timecyclegan.util.files import replacing
from timecyclegan.video.frames import find_sequences, read_image, write_image

REPOSITORY = Path(__file__).resolve().parent.parent
RESULTS = REPOSITORY / "docs" / "results"
PAIRED, UNPAIRED, UNCONDITIONAL = FAMILIES = "paired", "unpaired", "unconditional"
STRETCH = 20  # frames of a rollout in one row
VIDEOS = ("videos",)  # beside the frames that test.py writes
SETTLED = 0.5  # the share of the last output in an average over time


class Variant(NamedTuple):
    """A row of the table: its name, what tables call it, and the flags that make it; without flags it is not trained,
    but derived of the frames of another one, or of the data."""

    name: str
    title: str
    flags: str = ""


_TC = "-tclw 10 --no-timecycle_motion_model_residual"
VARIANTS = {
    PAIRED: [
        Variant("untrained", "flat class colours, or the source"),
        Variant("frozen", "the real first frame, held"),
        Variant("pix2pix", "pix2pix, per frame", "-m pix2pix"),
        Variant("averaged", "the same, averaged over time"),
        Variant("seqpix2pix", "seqpix2pix: recurrence", "-m seqpix2pix"),
        Variant("sequence-d", "+ sequence D", "-m timecycle -tclw 0"),
        Variant("p", "+ TimeCycle (P)", f"-m timecycle {_TC}"),
        Variant("p-pingpong", "+ TimeCycle, ping-pong", "-m timecycle -tclw 10 -tct pingpong"),
        Variant("p++", "P + warp (P++)", f"-m timecyclep2 {_TC} -wlw 5"),
        Variant("vid2vid", "vid2vid", "-m vid2vid -flw 1 -mlw 1 -wlw 5"),
        Variant("timecyclevid2vid", "vid2vid + TimeCycle", f"-m timecyclevid2vid -flw 1 -mlw 1 -wlw 5 {_TC}"),
    ],
    UNPAIRED: [
        Variant("cyclegan", "CycleGAN, per frame", "-m cyclegan"),
        Variant("averaged", "the same, averaged over time"),
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
# By name, the arguments of generate_synthetic, or the source that prepare_video makes of a clip.
DATA: dict[str, dict[str, Any] | str] = {
    "street": {"label_noise": 1.0}, "film": {"film": True}, "clip-gray": "gray", "clip-edges": "edges"}
# What is trained on which: a clip has one scene, and what is made of nothing is made of no source.
WITH = {PAIRED: tuple(DATA), UNPAIRED: ("street", "film"), UNCONDITIONAL: ("street",)}
# The streets of the table; other seeds are for finding out how to train.
SEED, LONG_SEED = 1600, 1601


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


KEY = ("data", "family", "variant", "budget", "seed")
FACTS = ("epochs", "train_seconds", "threads", "machine", "torch", "commit", "flags")


@dataclass
class Results:
    """The rows of one scale, in two files; any thread may add to them."""

    folder: Path
    scale: str
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.runs, self.rollouts = (self.folder / f"{kind}-{self.scale}.csv" for kind in ("runs", "rollouts"))

    def facts(self, run: Run) -> dict[str, str] | None:
        """A row of a run; None if it has none."""
        with self.lock:
            return next((row for row in read(self.runs) if tuple(row[name] for name in KEY) == run.key), None)

    def add(self, run: Run, clips: list[dict], stretches: list[dict], facts: dict[str, Any]) -> None:
        key = dict(zip(KEY, run.key, strict=True))
        with self.lock:  # the rollouts first: a run counts as done by its rows in the other file
            _put(self.rollouts, [*KEY, "clip", "frame", *METRICS], key, stretches)
            _put(self.runs, [*KEY, "clip", "frames", *METRICS, *FACTS], key, [row | facts for row in clips])


def _put(path: Path, columns: list[str], key: dict[str, str], rows: list[dict]) -> None:
    """Let the rows of a run be these; the file is always whole."""
    others = [row for row in read(path) if {name: row[name] for name in key} != key]
    with replacing(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows([*others, *(key | row for row in rows)])


# ---- data


def make_data(work: Path, name: str, scale: Scale, clip: str) -> Path:
    """The folder of a data set, made if it is not there: ``train`` and ``val`` of paired frames, ``long`` of one long
    clip; ``unpaired`` of training clips that show different streets; ``square`` for unconditional models."""
    root = work / "data" / name
    if (root / "done").exists():
        return root
    shutil.rmtree(root, ignore_errors=True)  # what was begun
    kind = DATA[name]
    if isinstance(kind, str):
        if not clip:
            raise UserError(f"--data {name} is made of a real clip: give one with --clip")
        size = ["--height", str(scale.height), "--width", str(scale.width)]
        prepare_video([clip, str(root), "--source", kind, "--split", "0.8", *size, "--overwrite"])
        for side in ("source", "target"):  # the rest of the clip, in pieces of the length of the other data's
            for whole in list((root / "val" / side).iterdir()):
                for number, frame in enumerate(sorted(whole.iterdir())):
                    piece = whole.with_name(f"{whole.name}_{number // scale.val_frames:02}")
                    piece.mkdir(exist_ok=True)
                    frame.rename(piece / frame.name)
                whole.rmdir()
    else:
        made = {"height": scale.height, "width": scale.width, "overwrite": True, **kind}
        generate(root, sequences=scale.sequences, val_sequences=scale.val_sequences, frames=scale.frames, seed=SEED,
                 **made)
        generate(root / "long", sequences=0, val_sequences=1, frames=scale.long_frames, seed=LONG_SEED, **made)
        square = made | {"height": scale.side, "width": scale.side}
        generate(root / "square", sequences=scale.sequences, val_sequences=scale.val_sequences, frames=scale.frames,
                 seed=SEED, **square)
        names = sorted(path.name for path in (root / "train/source").iterdir())
        for side, own in (("source", names[::2]), ("target", names[1::2])):
            (root / "unpaired" / side).mkdir(parents=True, exist_ok=True)
            for each in own:
                (root / "unpaired" / side / each).symlink_to(root.resolve() / "train" / side / each)
    (root / "done").touch()
    return root


def folders(data: Path, family: str) -> tuple[list[str], dict[str, Path]]:
    """What train.py is given, and by name the folders that hold clips to test on."""
    if family == UNCONDITIONAL:
        return ["-", str(data / "square/train/target")], {"val": data / "square/val", "long": data / "square/val"}
    train = data / ("unpaired" if family == UNPAIRED else "train")
    tests = {"val": data / "val", "long": data / "long/val"}
    return [str(train / "source"), str(train / "target")], {n: path for n, path in tests.items() if path.exists()}


# ---- a run


class Bench:
    """Runs entries of the table, each a process of its own, until the time is over."""

    def __init__(self, args: argparse.Namespace, results: Results) -> None:
        self.args, self.results, self.scale = args, results, SCALES[args.scale]
        self.work = Path(args.work).resolve() / args.scale
        self.end = time.monotonic() + 60 * args.minutes if args.minutes else float("inf")
        self.threads = args.threads or max(1, (os.cpu_count() or 1) // args.jobs)
        self.data_lock = threading.Lock()

    def stop(self, *_: Any) -> None:
        """Let the time be over: whoever waits for a process lets it save."""
        self.end = 0.0

    def __call__(self, run: Run) -> str:
        """Do a run that is not done; how it ended."""
        if row := self.results.facts(run):
            same = row["flags"] == " ".join(self.flags(run, row["epochs"])) or not run.variant.flags
            return "was done" if same else f"was done with other flags: its rows are in {self.results.runs}"
        try:
            with self.data_lock:
                data = make_data(self.work, run.data, self.scale, self.args.clip)
            made, epochs, seconds = self.make(run, data)
            clips, stretches = self.measure(run, data, made)
        except (Stopped, UserError) as stopped:
            return str(stopped)
        facts = {"epochs": epochs, "train_seconds": round(seconds, 1), "threads": self.threads,
                 "machine": machine(self.args.device), "torch": torch.__version__.split("+")[0], "commit": commit(),
                 "flags": " ".join(self.flags(run, epochs))}  # fmt: skip
        if run.seed == 0:
            self.picture(run, data, made["val"])
        self.results.add(run, clips, stretches, facts)
        return "done"

    def flags(self, run: Run, epochs: int | str) -> list[str]:
        """What makes a run what it is; nothing of one that is not trained."""
        if not run.variant.flags:
            return []
        return [*shlex.split(self.scale.flags[run.family]), *shlex.split(run.variant.flags), "-ne", str(epochs),
                "--seed", str(run.seed)]  # fmt: skip

    def make(self, run: Run, data: Path) -> tuple[dict[str, Path], int, float]:
        """The generated clips of a run, by the name of the test, with its epochs and seconds."""
        if not run.variant.flags:
            return self.derive(run, data)
        name, train, tests = run.name, *folders(data, run.family)
        epochs, side, gpu = self.epochs(run), self.scale.side, "0" if self.args.device == "cuda" else "-1"
        size = (side, side) if run.family == UNCONDITIONAL else (self.scale.height, self.scale.width)
        flags = [*self.flags(run, epochs), "-ih", str(size[0]), "-iw", str(size[1]), "-gpu", gpu, "-t", "0",
                 "--save_every", "1000000", "--save_minutes", "2"]  # fmt: skip
        if run.variant.name in FROM_FLOW:
            flags += ["--flow_backend", "farneback", "--flow_cache", str(self.work / "flow" / run.data)]
        folder = self.work / "runs" / name
        folder.mkdir(parents=True, exist_ok=True)
        clock, begun = folder / "seconds.txt", time.monotonic()
        spent = float(clock.read_text()) if clock.exists() else 0.0
        going_on = ["--resume" if (folder / "checkpoints" / name / "latest.pth").exists() else "--overwrite"]
        try:
            if not (folder / "trained").exists():
                self.process(folder, ["train.py", name, *train, *flags, *going_on])
                (folder / "trained").touch()
        finally:
            spent += time.monotonic() - begun
            clock.write_text(f"{spent}\n")
        made = {}
        for test, source in tests.items():
            out = folder / test
            given = [str(source / "source")]
            if run.family == UNCONDITIONAL:
                count, length = (1, self.scale.long_frames) if test == "long" else (
                    2 * self.scale.val_sequences, self.scale.frames)  # fmt: skip
                given = ["-", "--n_sequences", str(count), "--n_frames", str(length)]
            self.process(folder, ["test.py", name, *given, "-to", str(out), "-gpu", gpu])
            made[test] = towards_target(out / name)
        return made, epochs, spent

    def epochs(self, run: Run) -> int:
        """Those of the scale; for equal time, as many as take as long as those of the reference did."""
        epochs = self.scale.epochs[run.family]
        if run.budget == "steps":
            return epochs
        rows = [self.results.facts(run.of(name, "steps")) for name in (REFERENCE[run.family], run.variant.name)]
        if None in rows:
            raise Stopped("waits for the runs of equal steps")
        if len({(row["machine"], row["threads"]) for row in rows}) > 1:
            raise Stopped("has no equal time: its run of equal steps was timed on another machine than the reference's")
        reference, own = (float(row["train_seconds"]) for row in rows)
        if reference < FASTER * own:
            raise Stopped("takes as long as the reference, or longer: no run but that of equal steps")
        return max(1, round(epochs * reference / own))

    def derive(self, run: Run, data: Path) -> tuple[dict[str, Path], int, float]:
        """What needs no training: an average over time, flat pictures of labels, a clip that stands still."""
        made = {}
        _, tests = folders(data, run.family)
        averaged = run.of(AVERAGED[run.family]) if run.variant.name == "averaged" else None
        if averaged and not self.results.facts(averaged):
            raise Stopped(f"waits for {averaged.name}")
        flat = (run.data, run.variant.name) == ("street", "untrained")
        colours = mean_colours(data) if flat else None
        for test, place in tests.items():
            origin = place / ("target" if run.variant.name == "frozen" else "source")
            if averaged:
                origin = towards_target(self.work / "runs" / averaged.name / test / averaged.name)
            made[test] = self.work / "runs" / run.name / test
            for sequence, frames in find_sequences(origin, VIDEOS).items():
                last = None
                for path in frames:
                    picture = read_image(path)
                    if run.variant.name == "frozen":
                        picture = last = picture if last is None else last
                    elif averaged:
                        last = picture if last is None else SETTLED * last + (1 - SETTLED) * picture
                        picture = np.rint(last).astype(np.uint8)
                    elif colours is not None:
                        picture = colours[label_number(picture)]
                    write_image(made[test] / sequence / Path(path).name, picture)
        facts = self.results.facts(averaged) if averaged else None
        return made, int(facts["epochs"]) if facts else 0, float(facts["train_seconds"]) if facts else 0.0

    def process(self, folder: Path, command: list[str]) -> None:
        """Run one of the programs to its end, or until the time is over."""
        env = os.environ | {"OMP_NUM_THREADS": str(self.threads), "PYTHONPATH": str(REPOSITORY)}
        if time.monotonic() >= self.end:
            raise Stopped("not begun: the time is over")
        with (folder / "log.txt").open("a") as log:
            child = subprocess.Popen([sys.executable, str(REPOSITORY / command[0]), *command[1:]], cwd=folder, env=env,
                                     stdout=log, stderr=log)  # fmt: skip
        while child.poll() is None and time.monotonic() < self.end:
            time.sleep(0.2)
        if child.poll() is None:
            child.terminate()  # train.py saves
            try:
                child.wait(timeout=60)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        if time.monotonic() >= self.end and child.returncode:
            raise Stopped("cut off, and goes on next time")
        if child.returncode:
            raise Stopped(f"failed with exit code {child.returncode}: see {folder / 'log.txt'}")

    def measure(self, run: Run, data: Path, made: dict[str, Path]) -> tuple[list[dict], list[dict]]:
        """Rows by clip, and by stretch of the long one."""
        _, tests = folders(data, run.family)
        clips, stretches = [], []
        for test, place in tests.items():
            flow = place / "flow" if run.family != UNCONDITIONAL and (place / "flow").exists() else None
            kind = UNCONDITIONAL if run.family == UNCONDITIONAL else PAIRED  # the street knows what it looks like
            real, fake = find_sequences(place / "target"), find_sequences(made[test], VIDEOS)
            found = evaluate(real, fake, flow, kind, only=METRICS)["metrics"]
            for entry in found.values() if kind == UNCONDITIONAL else ():  # no real clip belongs to a generated one
                entry["real_per_sequence"] = dict.fromkeys(fake, entry.get("real"))
                entry["real_per_frame"] = {clip: [entry.get("real")] * len(frames) for clip, frames in fake.items()}
            for clip, frames in fake.items():
                if test == "val":
                    clips.append({"clip": clip, "frames": len(frames), **values(found, "per_sequence", clip)})
                    continue
                for first in range(0, len(frames), STRETCH):
                    stretch = slice(first, first + STRETCH)
                    stretches.append({"clip": clip, "frame": first, **values(found, "per_frame", clip, stretch)})
        return clips, stretches

    def picture(self, run: Run, data: Path, made: Path) -> None:
        """Some frames of the first clip beside a row of pixels over time, for the document."""
        folder = self.results.folder / f"{self.args.scale}-{run.data}"
        shown = {folder / run.family / f"{run.variant.name}-{run.budget}.webp": made}
        if run.family != UNCONDITIONAL:
            shown |= {folder / f"{side}.webp": data / "val" / side for side in ("source", "target")}
        for path, clips in shown.items():
            first = next(iter(find_sequences(clips, VIDEOS).values()))
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(strip([read_image(frame) for frame in first])).save(path, quality=88)


def towards_target(results: Path) -> Path:
    """Of a model that translates both ways, what it made of the source."""
    return results / "source_to_target" if (results / "source_to_target").exists() else results


class Stopped(Exception):
    """A run that has no rows, and why."""


def values(found: dict[str, Any], where: str, clip: str, part: slice | None = None) -> dict[str, float | str]:
    """A clip's values: how far they are from the real clip's, where these are the aim and no ratio."""
    row = {}
    for name in METRICS:
        entry = found.get(name, {})
        own, real = ([(entry.get(key) or {}).get(clip)] for key in (where, f"real_{where}"))
        if part is not None:
            own, real = (side[0][part] if side[0] else [None] for side in (own, real))
        own, real = (np.mean([one for one in side if one is not None] or [np.nan]) for side in (own, real))
        if name in EXCESS:
            own = own - real
        row[name] = "" if np.isnan(own) else float(f"{own:.6g}")
    return row


def label_number(picture: np.ndarray) -> np.ndarray:
    """(H, W), a number for each colour of (H, W, 3)."""
    return picture.astype(np.int64) @ (65536, 256, 1)


def mean_colours(data: Path) -> "Colours":
    """The mean colour of each class in the training pictures."""
    sums: dict[int, np.ndarray] = {}
    for name, sources in find_sequences(data / "train/source").items():
        targets = find_sequences(data / "train/target")[name]
        for source, target in zip(sources, targets, strict=True):
            numbers, picture = label_number(read_image(source)), read_image(target)
            for number in np.unique(numbers):
                mine = picture[numbers == number]
                sums[number] = sums.get(number, 0) + np.array([*mine.sum(axis=0, dtype=np.int64), len(mine)])
    return Colours({number: np.rint(total[:3] / total[3]).astype(np.uint8) for number, total in sums.items()})


class Colours(dict):
    """Colours by number, also of whole arrays of them."""

    def __getitem__(self, numbers: np.ndarray) -> np.ndarray:
        known, places = np.unique(numbers, return_inverse=True)
        gray = np.full(3, 128, np.uint8)  # of a class that the training clips do not have
        return np.array([self.get(number, gray) for number in known])[places.reshape(numbers.shape)]


def machine(device: str) -> str:
    return torch.cuda.get_device_name() if device == "cuda" else f"CPU, {os.cpu_count()} cores, {platform.machine()}"


def commit() -> str:
    asked = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=REPOSITORY, capture_output=True, text=True)
    return asked.stdout.strip()


# ---- the table


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


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("work", nargs="?", help="folder for data, checkpoints and frames; keep it to go on later")
    made.add_argument("--scale", choices=SCALES, default="cpu", help="how large (default: cpu)")
    made.add_argument("--quick", action="store_true", help="--scale quick --families paired --data street --seeds 0, "
                        "results and document in WORK")  # fmt: skip
    made.add_argument("--data", nargs="+", choices=DATA, default=["street"], metavar="NAME", help=", ".join(DATA))
    made.add_argument("--clip", default="", help="video file that clip-gray and clip-edges are made of")
    made.add_argument("--families", nargs="+", choices=FAMILIES, default=list(FAMILIES), metavar="FAMILY",
                        help=", ".join(FAMILIES))  # fmt: skip
    made.add_argument("--variants", nargs="+", metavar="NAME", help="of each family; default: all")
    made.add_argument("--seeds", nargs="+", type=int, default=[0], metavar="INT")
    made.add_argument("--budgets", nargs="+", choices=("steps", "time"), default=["steps"], metavar="BUDGET")
    made.add_argument("--jobs", type=int, default=1, help="runs side by side (default: 1)")
    made.add_argument("--threads", type=int, default=0, help="of each run (default: processors / jobs)")
    made.add_argument("--minutes", type=float, default=0, help="stop after so long; what is unfinished is resumed")
    made.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    made.add_argument("--results", type=Path, default=RESULTS, help="folder of the CSV files and pictures")
    made.add_argument("--report", action="store_true", help="only write the document")
    return made


def main() -> None:
    args = parser().parse_args()
    document = REPOSITORY / "docs" / "RESULTS.md"
    if not args.work and (args.quick or not args.report):
        parser().error("give a folder to work in")
    if args.results != RESULTS:
        document = args.results.parent / "RESULTS.md"
    if args.quick:
        args.scale, args.data, args.families, args.seeds = "quick", ["street"], [PAIRED], [0]
        args.results, document = Path(args.work) / "results", Path(args.work) / "RESULTS.md"
    if not args.report:
        bench = Bench(args, Results(args.results, args.scale))
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, bench.stop)
        runs, before, failed = list(table(args)), 0, False
        with ThreadPoolExecutor(args.jobs) as pool:
            while runs and len(runs) != before:  # what waits for others has them the next time
                before, waiting = len(runs), []
                for run, end in zip(runs, pool.map(bench, runs), strict=True):
                    print(f"{run.name}: {end}", flush=True)
                    failed |= end.startswith("failed")
                    waiting += [run] * end.startswith("waits")
                runs = waiting
    report(args.results, document, {family: {v.name: v.title for v in VARIANTS[family]} for family in FAMILIES})
    if not args.report and failed:
        sys.exit(1)


if __name__ == "__main__":
    main()
