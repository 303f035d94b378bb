"""What a run would minimise, which networks each term reaches, and what a step and an epoch take: ``--dry_run``."""
import itertools
import re
import resource
import sys
import time
from typing import NamedTuple

import torch

from timecyclegan.datasets.frame_cache import FrameCache
from timecyclegan.datasets.loading import loading_threads
from timecyclegan.losses import Losses
from timecyclegan.training.forecast import forecast_lines
from timecyclegan.training.run import Run
from timecyclegan.training.schedule import describe
from timecyclegan.util.cuda_graph import WARM_UPS, CapturedFunction
from timecyclegan.util.device import device_name, to_device
from timecyclegan.util.options import Options

# Terms that do not have the name of the flag that weighs them; the first that is not 0 does.
WEIGHED_BY = {
    "identity": ("cycle",), "recycle": ("recycle", "cycle"), "predictor": ("recycle", "cycle"), "flow_warp": ("flow",),
    "gan_sequence": ("sequence_gan",), "gan_predictor": ("gan",), "feature_matching_sequence": ("feature_matching",),
}  # fmt: skip


class Cost(NamedTuple):
    """What a step takes, measured on real batches: the least of a few after the first, which warms up."""

    loading: float  # seconds to load a batch, in this process
    step: float  # seconds
    memory: int  # bytes at the most
    losses: dict[str, float]  # of the first step

    def epoch(self, steps: int, threads: int, decoded: bool = False) -> float:
        """Seconds of an epoch. Loading in other processes goes on while a step is computed; what was ``decoded`` before
        (``--cache``) takes next to none.
        """
        if decoded:
            return steps * self.step
        threads = loading_threads(threads)
        return steps * (max(self.step, self.loading / threads) if threads else self.step + self.loading)


def measure(run: Run, steps: int = 3) -> Cost:
    """Train ``steps`` steps, and those before that warm up and record a CUDA graph. On a GPU, memory is the allocator's
    peak; else the whole process's, from its start."""
    cuda, times, first = run.device.type == "cuda", [], {}
    warming = WARM_UPS if isinstance(run.captured, CapturedFunction) else 0
    if cuda:
        torch.cuda.reset_peak_memory_stats(run.device)
    batches = itertools.chain.from_iterable(itertools.repeat(run.loader))
    for _ in range(warming + steps):
        begun = time.perf_counter()
        batch = next(batches)
        loaded = time.perf_counter()
        losses = {name: value.item() for name, value in run.train_on(batch).items()}
        if cuda:
            torch.cuda.synchronize(run.device)
        times.append((loaded - begun, time.perf_counter() - loaded))
        first = first or losses
    if cuda:
        memory = torch.cuda.max_memory_allocated(run.device)
    else:
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    loading, step = (min(column) for column in zip(*times[warming + 1 :], strict=True))
    return Cost(loading, step, memory, first)


def reach(run: Run) -> dict[str, tuple[float, dict[str, int]]]:
    """By term (``Generator/l1``), its weight and, by network of its side, how many parameters it sends a gradient to.

    Measured, with one more batch.
    """
    model, batch, found = run.model, next(iter(run.loader)), {}

    def add(side: str, role: str, terms: Losses) -> None:
        owners = [(name, p) for name, network in model.networks(role).items() for p in network.parameters()
                  if p.requires_grad]  # fmt: skip
        for term, (value, weight) in terms.items():
            reached: dict[str, int] = {}
            if value.requires_grad:
                gradients = torch.autograd.grad(value, [p for _, p in owners], retain_graph=True, allow_unused=True)
                for (name, p), gradient in zip(owners, gradients, strict=True):
                    if gradient is not None:
                        reached[name] = reached.get(name, 0) + p.numel()
            found[f"{side}/{term}"] = weight, reached

    # Not compiled: its graphs cannot be kept from one term to the next.
    with torch.autocast(run.device.type, run.amp, enabled=run.amp is not None), \
            torch.compiler.set_stance("force_eager"):
        model(**to_device(batch, model.inputs, run.device))
        add("Discriminator", "D", model.discriminator_losses())
        add("Generator", "G", model.generator_losses())
    return found


def weight_flag(term: str, weight: float, options: Options) -> str:
    """The flag that sets the ``weight`` of a term (``Generator/l1``), empty where there is none."""
    side, name = term.split("/")
    if side == "Discriminator":
        return ""
    name = re.sub(r"(_\d+)?(_target|_source)?$", "", name)
    for stem in WEIGHED_BY.get(name, (name,)):
        if value := getattr(options, f"{stem}_loss_weight", 0.0):
            return f"--{stem}_loss_weight" + (f" x {weight / value:g}" if weight != value else "")
    return ""


def keeps_frames(run: Run, cache: str) -> bool:
    """Whether the run would keep its frames decoded with ``--cache cache``; raises as :meth:`FrameCache.keeps`."""
    dataset = run.loader.dataset.dataset  # without its noise
    size = dataset.framing.load_height, dataset.framing.load_width
    return FrameCache(cache, *size).keeps(sum(len(frames) for _, frames in dataset.long_enough()))


def print_dry_run(run: Run, threads: int, cache: str = "off") -> None:
    """Print the table of a run that has just begun, of its last stage if it grows; ``threads`` will load its data, with
    the ``cache``.

    The run's networks are changed, its files are not: it has none yet.
    """
    if growing := len(run.stages) > 1:
        print(f"stage {len(run.stages)} of {len(run.stages)}, the last and largest:")
        run.position.stage = len(run.stages) - 1
        run.begin_stage()
    stage, steps, cuda = run.stage, len(run.loader), run.device.type == "cuda"
    print(f"{type(run.model).__name__} ({stage.model_type}), {describe(stage)}, on {device_name(run.device)}")
    for line in forecast_lines(stage, run.device):  # first: the steps may need more than there is
        print(line, flush=True)
    cost = measure(run)
    terms = reach(run)
    networks = run.model.networks()
    sizes = {name: sum(p.numel() for p in network.parameters()) for name, network in networks.items()}
    rows: list[tuple[str, ...]] = []
    for side in ("Generator", "Discriminator"):
        rows += [(), (side, "value", "weight", "set by", "trains")]
        for term, (weight, reached) in terms.items():
            if term.startswith(f"{side}/"):
                name = term.removeprefix(f"{side}/")
                trained = [network if count == sizes[network] else f"{network} ({count:,} of its parameters)"
                           for network, count in reached.items()]  # fmt: skip
                flag = weight_flag(term, weight, stage) or "-"
                value = f"{cost.losses[term]:.4g}"
                rows.append((f"  {name}", value, f"{weight:g}", flag, ", ".join(trained) or "NOTHING"))
        if f"{side}/total" in cost.losses:
            rows.append(("  total", f"{cost.losses[f'{side}/total']:.4g}"))
    rows += [(), ("Networks", "parameters")]
    trained = {name for _, reached in terms.values() for name in reached}
    for name, size in sizes.items():
        rows.append((f"  {name}", f"{size:,}", "", "" if name in trained else "TRAINED BY NO TERM"))
    widths = [max(len(row[i]) for row in rows if len(row) > i) for i in range(4)]
    for row in rows:
        cells = [text.rjust(width) if i in (1, 2) else text.ljust(width)
                 for i, (text, width) in enumerate(zip(row, widths, strict=False))]  # fmt: skip
        print("  ".join([*cells, *row[4:]]).rstrip())
    decoded = keeps_frames(run, cache)
    epoch = cost.epoch(steps, threads, decoded)
    whose = "the most that PyTorch allocated on it" if cuda else "the most of this whole process"
    print(f"\na step: {duration(cost.step)}, and {duration(cost.loading)} to load its batch"
          f"{f' (once, before training: --cache {cache})' * decoded}; memory: "
          f"{cost.memory / 1e9:.2f} GB ({whose})")
    print(f"an epoch: {steps} steps, {duration(epoch)}; --num_epochs {stage.num_epochs}: "
          f"{duration(epoch * stage.num_epochs)}{' for this stage alone' if growing else ''}")
    print("nothing was written")


def duration(seconds: float) -> str:
    """A time to read: 0.25 s, 12 min, 3.1 h."""
    unit, name = (1, "s") if seconds < 100 else (60, "min") if seconds < 6000 else (3600, "h")
    return f"{seconds / unit:.2g} {name}" if seconds / unit < 10 else f"{seconds / unit:.0f} {name}"
