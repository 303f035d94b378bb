"""What a run would minimise, which networks each term reaches, and what a step and an epoch take: ``--dry_run``."""
import itertools
import re
import resource
import sys
import time
from collections.abc import Iterable
from typing import NamedTuple

import torch

from timecyclegan.losses import Losses
from timecyclegan.losses.gan import frozen
from timecyclegan.training.run import Run
from timecyclegan.training.schedule import describe
from timecyclegan.util.options import Options

# Terms that do not have the name of the flag that weighs them; the first that is not 0 does.
WEIGHED_BY = {"identity": ("cycle",), "recycle": ("recycle", "cycle"), "predictor": ("recycle", "cycle")}


class Cost(NamedTuple):
    """What a step takes, measured on real batches: the least of a few after the first, which warms up."""

    loading: float  # seconds to load a batch, in this process
    step: float  # seconds
    memory: int  # bytes at the most
    losses: dict[str, float]  # of the first step

    def epoch(self, steps: int, threads: int) -> float:
        """Seconds of an epoch. Loading in other processes goes on while a step is computed."""
        return steps * (max(self.step, self.loading / threads) if threads else self.step + self.loading)


def measure(run: Run, steps: int = 3) -> Cost:
    """Train ``steps`` steps. On a GPU, memory is the allocator's peak; else the whole process's, from its start."""
    cuda = run.device.type == "cuda"
    times, first = [], None
    if cuda:
        torch.cuda.reset_peak_memory_stats(run.device)
    batches = itertools.chain.from_iterable(itertools.repeat(run.loader))
    for _ in range(steps):
        begun = time.perf_counter()
        batch = next(batches)
        loaded = time.perf_counter()
        losses = run.model.training_step(batch, run.scaler, run.amp)
        if cuda:
            torch.cuda.synchronize(run.device)
        times.append((loaded - begun, time.perf_counter() - loaded))
        first = first or losses
    if cuda:
        memory = torch.cuda.max_memory_allocated(run.device)
    else:
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    loading, step = (min(column) for column in zip(*times[1:], strict=True))
    return Cost(loading, step, memory, first)


def reach(run: Run) -> dict[str, tuple[float, dict[str, int]]]:
    """By term (``Generator/l1``), its weight and the networks of its side to which it sends a gradient.

    Each of these with the number of its parameters that are reached. Measured, with one more batch.
    """
    model = run.model
    batch = next(iter(run.loader))
    found = {}

    def add(side: str, role: str, terms: Losses) -> None:
        owners = [(name, p) for name, network in model.networks(role).items() for p in network.parameters()]
        for term, (value, weight) in terms.items():
            reached: dict[str, int] = {}
            if value.requires_grad:
                gradients = torch.autograd.grad(value, [p for _, p in owners], retain_graph=True, allow_unused=True)
                for (name, p), gradient in zip(owners, gradients, strict=True):
                    if gradient is not None:
                        reached[name] = reached.get(name, 0) + p.numel()
            found[f"{side}/{term}"] = weight, reached

    with torch.autocast(run.device.type, run.amp, enabled=run.amp is not None):
        model(**{key: batch[key].to(run.device) for key in model.inputs})
        add("Discriminator", "D", model.discriminator_losses())
        with frozen(*model.networks("D").values()):
            add("Generator", "G", model.generator_losses())
    return found


def weight_flag(term: str, weight: float, options: Options) -> str:
    """The flag that sets the ``weight`` of a term, empty where there is none."""
    name = re.sub(r"(_sequence_\d+)?(_target|_source)?$", "", term)
    for stem in WEIGHED_BY.get(name, (name,)):
        if value := getattr(options, f"{stem}_loss_weight", 0.0):
            return f"--{stem}_loss_weight" + (f" x {weight / value:g}" if weight != value else "")
    return ""


def print_dry_run(run: Run, threads: int) -> None:
    """Print the table of a run that has just begun, at its last stage if it grows; ``threads`` will load its data.

    The run's networks are changed, its files are not: it has none yet.
    """
    if growing := len(run.stages) > 1:
        print("the last stage of the run; earlier ones are smaller")
        run.next_stage(len(run.stages) - 1)
    stage, steps = run.stage, len(run.loader)
    device = torch.cuda.get_device_name(run.device) if run.device.type == "cuda" else "the CPU"
    print(f"{type(run.model).__name__} ({stage.model_type}): {describe(stage)}, on {device}")
    cost = measure(run)
    terms = reach(run)
    sizes = {name: _parameters(network.parameters()) for name, network in run.model.networks().items()}
    rows = []
    for side in ("Generator", "Discriminator"):
        rows += [(), (side, "value", "weight", "weight set by", "reaches (parameters)")]
        for term, (weight, reached) in terms.items():
            if term.startswith(f"{side}/"):
                name = term.split("/")[1]
                value, flag = f"{cost.losses[term]:.4g}", weight_flag(name, weight, stage)
                parts = [f"{network} ({count:,}{'' if count == sizes[network] else f' of {sizes[network]:,}'})"
                         for network, count in reached.items()]  # fmt: skip
                rows.append((f"  {name}", value, f"{weight:g}", flag or "-", ", ".join(parts) or "NOTHING"))
        if f"{side}/total" in cost.losses:
            rows.append(("  total", f"{cost.losses[f'{side}/total']:.4g}"))
    _print_aligned(rows)
    idle = sizes.keys() - {name for _, reached in terms.values() for name in reached}
    if idle:
        print(f"\nreached by no term: {', '.join(sorted(idle))}")
    epoch = cost.epoch(steps, threads)
    whose = "peak of what PyTorch allocated on it" if run.device.type == "cuda" else "peak of this whole process"
    print(f"\na step: {duration(cost.step)}, and {duration(cost.loading)} to load its batch; memory: "
          f"{cost.memory / 1e9:.2f} GB ({whose})")
    print(f"an epoch: {steps} steps, {duration(epoch)}; --num_epochs {stage.num_epochs}: "
          f"{duration(epoch * stage.num_epochs)}{' for this stage' if growing else ''}")
    print("nothing was written")


def _print_aligned(rows: list[tuple[str, ...]]) -> None:
    widths = [max(len(row[i]) for row in rows if len(row) > i) for i in range(4)]
    for row in rows:
        cells = [text.rjust(width) if i in (1, 2) else text.ljust(width)
                 for i, (text, width) in enumerate(zip(row, widths, strict=False))]  # fmt: skip
        print("  ".join([*cells, *row[4:]]).rstrip())


def _parameters(parameters: Iterable[torch.nn.Parameter]) -> int:
    return sum(p.numel() for p in parameters)


def duration(seconds: float) -> str:
    """A time to read: 0.25 s, 12 min, 3.1 h."""
    for limit, unit, name in ((100, 1, "s"), (6000, 60, "min"), (float("inf"), 3600, "h")):
        if seconds < limit:
            return f"{seconds / unit:.2g} {name}" if seconds / unit < 10 else f"{seconds / unit:.0f} {name}"
    raise ValueError(f"not a duration: {seconds}")
