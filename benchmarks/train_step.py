"""One training step against the naive schedule: each frame, chain and discriminator call on its own.

    python benchmarks/train_step.py --model_type timecycle --height 64 --width 64 --frames 9 --filters 32
    python benchmarks/train_step.py --case p64 p256b8 --mode naive TF32 "captured bf16" --device cuda

Both schedules compute the same losses (the tests prove it) with the same networks. The step is that of a run,
``training.run.Run.train_on``, on batches of its own loader, noise and pinned memory included.

Without ``--case`` the two schedules are timed side by side, round by round, in this one process; their peak memory is
measured in a process each. Prints the median of the rounds' ratios, the peak memory, and the share of the machine's
matmul peak (measured here too) that a step achieves; ``--compile`` and ``--channels_last`` are for the package's own
step. With it, the modes of each case are measured one after the other, on a GPU with the kernels that a step launches;
each is a line of JSON, also one that this installation lacks or that fails.
"""
import argparse
import contextlib
import dataclasses
import gc
import itertools
import json
import multiprocessing
import os
import resource
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for the tests' oracle, the yardstick
from tests import naive_models
from timecyclegan.models import default_options, get_task, model_class
from timecyclegan.training.run import Run
from timecyclegan.util.cuda_graph import WARM_UPS
from timecyclegan.util.device import to_device
from timecyclegan.util.options import Options
from timecyclegan.video.frames import write_image

MIB = 2**20
MODELS = {"timecycle": "P", "tricyclegan": "UP", "timecycledcgan": "U"}
WEIGHTS = {
    "l1_loss_weight": 10, "feature_matching_loss_weight": 10, "cycle_loss_weight": 10, "timecycle_loss_weight": 10,
    "timecycle_warp_loss_weight": 1,
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Case:
    """A model and the shape of its batches."""

    model_type: str
    height: int
    width: int
    frames: int
    filters: int
    batch: int = 1

    def __str__(self) -> str:
        return (f"{MODELS[self.model_type]} {self.height}x{self.width}, {self.frames} frames, {self.filters} filters, "
                f"batch {self.batch}")  # fmt: skip

    def small(self) -> "Case":
        """The same model, to see whether all goes well."""
        size = 64 if self.model_type == "timecycledcgan" else 32
        return Case(self.model_type, size, size, 4, 4, min(self.batch, 2))


CASES = {
    "p64": Case("timecycle", 64, 64, 9, 32),
    "p256b8": Case("timecycle", 256, 256, 5, 64, 8),
    "p256": Case("timecycle", 256, 256, 5, 64),
    "up128": Case("tricyclegan", 128, 128, 5, 64),
    "u64b4": Case("timecycledcgan", 64, 64, 5, 64, 4),
    "p128": Case("timecycle", 128, 128, 5, 64),
    "p64b8": Case("timecycle", 64, 128, 5, 32, 8),
}
# What a mode changes in the options; None is the naive schedule. TF32 is PyTorch's default for convolutions.
EAGER, CAPTURED, BF16 = {"cuda_graph": "off"}, {"cuda_graph": "on"}, {"amp": "bfloat16"}
LAST, COMPILED = {"channels_last": True}, {"compile": True}
MODES: dict[str, dict[str, Any] | None] = {
    "naive": None,
    "float32": EAGER,
    "TF32": EAGER,
    "bf16": EAGER | BF16,
    "captured TF32": CAPTURED,
    "captured bf16": CAPTURED | BF16,
    "captured TF32, channels last": CAPTURED | LAST,
    "captured bf16, channels last": CAPTURED | BF16 | LAST,
    "captured bf16, compiled": CAPTURED | BF16 | COMPILED,
    "captured bf16, channels last, compiled": CAPTURED | BF16 | LAST | COMPILED,
}
TIMED_ALONE = ("naive", "float32")  # of these, kernels are of no interest


class Step:
    """A training step of a case, to be called again and again; ``training`` is the run whose step it is."""

    def __init__(self, training: Run, naive: bool):
        self.training, self.naive = training, naive
        self.batches = itertools.cycle(list(training.loader))

    def __call__(self) -> None:
        batch = next(self.batches)
        if self.naive:
            model = self.training.model
            naive_step(model, to_device(batch, model.inputs, self.training.device))
        else:
            self.training.train_on(batch)


def write_clips(case: Case) -> None:
    """Folders ``source`` and ``target`` with noise for two batches."""
    rng = np.random.default_rng(0)
    for domain, clip, t in itertools.product(("source", "target"), range(2 * case.batch), range(case.frames)):
        picture = rng.integers(0, 256, (case.height, case.width, 3), dtype=np.uint8)
        write_image(Path(domain, f"{clip:03}", f"{t:03}.png"), picture)


def build(case: Case, mode: str, device: str, **switches: bool) -> Step:
    """With Adam, and ``switches`` beside the mode's options; needs the case's clips in the working directory.

    Raises:
        NotImplementedError: this installation has no such options.
    """
    changes = (MODES[mode] or EAGER) | switches
    if lacking := changes.keys() - {field.name for field in dataclasses.fields(Options)}:
        raise NotImplementedError(f"there is no --{' and no --'.join(sorted(lacking))} here")
    if device == "cpu":
        changes = changes | {"cuda_graph": "auto"}  # "on" is refused
    torch.backends.cudnn.allow_tf32 = mode != "float32"
    weights = {name: weight for name, weight in WEIGHTS.items() if name in model_class(case.model_type).uses}
    options = default_options(
        case.model_type, image_height=case.height, image_width=case.width, block_size=case.frames,
        batch_size=case.batch, generator_filters=case.filters, discriminator_filters=case.filters,
        timecycle_motion_model_filters=case.filters, flip=False, threads=0, seed=0,
        gpu=0 if device == "cuda" else -1, **weights, **changes,
    )  # fmt: skip
    source = None if get_task(case.model_type) == "unconditional" else Path("source")
    return Step(Run("benchmark", source, Path("target"), options), mode == "naive")


def naive_step(model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> None:
    """A step of ``model``, one frame, one chain and one judgement at a time."""
    clips = (list(batch[name].unbind(1)) if name in batch else [] for name in ("source", "target"))
    plain = naive_models.STEPS[model.options.model_type](model.networks(), model.options, *clips)

    def update(role: str, losses: dict[str, torch.Tensor]) -> None:
        model.optimizers[role].zero_grad(set_to_none=True)
        sum(naive_models.weight(name, model.options) * value for name, value in losses.items()).backward()
        model.optimizers[role].step()

    update("D", plain.discriminator_losses())
    for network in model.networks("D").values():  # not trained by the generators' losses
        network.requires_grad_(False)
    losses = plain.generator_losses()
    for network in model.networks("D").values():
        network.requires_grad_(True)
    update("G", losses)


def synchronise(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def seconds(step: Callable, *state, device: str = "cpu") -> float:
    """Wall time of one step."""
    synchronise(device)
    start = time.perf_counter()
    step(*state)
    synchronise(device)
    return time.perf_counter() - start


def matmul_rate(device: str, dtype: torch.dtype = torch.float32, size: int = 2048) -> float:
    """FLOP/s of a large matrix product of random numbers, the best of several."""
    a = torch.rand(size, size, device=device).to(dtype)
    a @ a
    return 2 * size**3 / min(seconds(torch.matmul, a, a, device=device) for _ in range(10))


def flops(step: Step) -> int:
    with FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops()


# ---- the two schedules side by side


def process_memory() -> int:
    """The most bytes that this process had so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def schedule(name: str, case: Case, args: argparse.Namespace) -> Step:
    """The step of the "naive" schedule, or of the package's, "batched"."""
    if name == "naive":
        return build(case, "naive", args.device)
    return build(case, "TF32", args.device, compile=args.compile, channels_last=args.channels_last)


def peak_memory(name: str, case: Case, args: argparse.Namespace, queue: multiprocessing.Queue) -> None:
    """Bytes beyond the networks and their optimizers: of tensors in one step; of the whole process in three.

    The second also holds what the convolution library keeps, which depends on how many shapes it has met.
    """
    torch.set_num_threads(args.threads)
    step = schedule(name, case, args)
    before = process_memory()
    for _ in range(3):
        step()
    process = process_memory() - before
    if args.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step()
        queue.put((torch.cuda.max_memory_allocated() - before, process))
    else:
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
            step()
        events = sorted(record.profiler.kineto_results.events(), key=lambda event: event.start_ns())
        held = itertools.accumulate(event.nbytes() for event in events if event.name() == "[memory]")
        queue.put((max(held), process))


def compare(case: Case, args: argparse.Namespace) -> None:
    """Print the naive schedule's figures and the package's."""
    processes = multiprocessing.get_context("spawn")
    memory = {}
    for name in ("naive", "batched"):
        queue = processes.Queue()
        child = processes.Process(target=peak_memory, args=(name, case, args, queue))
        child.start()
        memory[name] = queue.get()
        child.join()
    steps = {name: schedule(name, case, args) for name in memory}
    for step in steps.values():  # warm up
        step()
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(args.rounds):
        for name, step in steps.items():
            times[name].append(seconds(step, device=args.device))
    median = {name: statistics.median(values) for name, values in times.items()}
    count = flops(steps["batched"])
    share = count / median["batched"] / matmul_rate(args.device)
    print(f"{case}, {args.device}, {args.threads} threads, {args.rounds} rounds, torch {torch.__version__}")
    for name in steps:
        tensors, process = (bytes_ / MIB for bytes_ in memory[name])
        print(f"{name:8} {1000 * median[name]:8.1f} ms   peak: tensors {tensors:6.1f} MiB, process {process:6.1f} MiB")
    ratios = [naive / batched for naive, batched in zip(*times.values(), strict=True)]
    print(f"ratio    {statistics.median(ratios):8.2f}")
    print(f"batched: {count / 1e9:.1f} GFLOP a step, {100 * share:.0f} % of the matmul peak")


# ---- all modes, one after the other


def kernels(step: Step, device: str) -> dict[str, Any]:
    """Of one step: the device's time, the number of kernels, how long it was idle between them, and what took longest.

    On a CPU, PyTorch's operations take the kernels' place, which counts some time twice.
    """
    activity, kind = {"cuda": (ProfilerActivity.CUDA, torch.autograd.DeviceType.CUDA),
                      "cpu": (ProfilerActivity.CPU, torch.autograd.DeviceType.CPU)}[device]  # fmt: skip
    synchronise(device)
    with profile(activities=[activity]) as record:
        step()
        synchronise(device)
    found = [event for event in record.profiler.kineto_results.events()
             if event.device_type() == kind and not getattr(event, "is_user_annotation", bool)()]  # fmt: skip
    if not found:
        return {}
    durations, calls, idle, until, gaps = Counter(), Counter(), 0, None, []
    for event in sorted(found, key=lambda event: event.start_ns()):
        durations[event.name()] += event.duration_ns()
        calls[event.name()] += 1
        gaps.append(0 if until is None else max(0, event.start_ns() - until))
        until = max(until or 0, event.start_ns() + event.duration_ns())
    idle = sum(gaps)
    copies = sum(count for name, count in calls.items() if name.startswith(("Memcpy", "Memset")))
    return {
        "device_ms": sum(durations.values()) / 1e6, "kernels": len(found) - copies, "idle_ms": idle / 1e6,
        "longest_gap_ms": max(gaps) / 1e6, "gaps_above_10us": sum(gap > 10_000 for gap in gaps),
        "top": [[name[:160], calls[name], duration / 1e6] for name, duration in durations.most_common(20)],
    }  # fmt: skip


def measure(case: Case, mode: str, args: argparse.Namespace) -> dict[str, Any]:
    """The figures of a mode of a case."""
    cuda = args.device == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    step = build(case, mode, args.device)
    began = time.perf_counter()
    for _ in range(WARM_UPS + 2):  # the last of these calls is a replay
        step()
    synchronise(args.device)
    found: dict[str, Any] = {"warm_up_s": time.perf_counter() - began}
    captured = cuda and mode.startswith("captured")
    if captured and not step.training.captured._recorded:
        raise RuntimeError("the step was not captured: the note above says why")
    times, hosts = [], []
    for _ in range(args.steps):
        synchronise(args.device)
        began = time.perf_counter()
        step()
        hosts.append(time.perf_counter() - began)
        synchronise(args.device)
        times.append(time.perf_counter() - began)
    found |= {"wall_ms": 1000 * statistics.median(times), "host_ms": 1000 * statistics.median(hosts),
              "least_ms": 1000 * min(times), "most_ms": 1000 * max(times)}  # fmt: skip
    if cuda:
        found["peak_gib"] = torch.cuda.max_memory_allocated() / 2**30
    if mode in ("TF32", "bf16"):
        found["gflop"] = flops(step) / 1e9
    if mode not in TIMED_ALONE:
        found |= kernels(step, args.device)
    return found


def measured(name: str, case: Case, mode: str, args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The line of a mode, and what is to be known before the next: whether the device can still be used."""
    line = {"benchmark": "train_step", "case": name, "title": str(case), "mode": mode}
    try:
        yield line | measure(case, mode, args)
    except NotImplementedError as error:
        yield line | {"lacking": str(error)}
    except Exception as error:  # whatever goes wrong must not cost the other modes
        said = str(error).partition("\n")[0] or type(error).__name__
        yield line | {"error": f"{type(error).__name__}: {said}"}
        if "CUDA error" in str(error):
            raise SystemExit(f"after {said} nothing more can be measured in this process") from error
    gc.collect()
    if args.device == "cuda":
        torch.cuda.empty_cache()


def device_line(args: argparse.Namespace) -> dict[str, Any]:
    """What the machine is, and the rates of its matrix products, in FLOP/s."""
    line = {"benchmark": "device", "torch": torch.__version__, "python": sys.version.split()[0],
            "processors": os.cpu_count(), "device": "the CPU"}  # fmt: skip
    if args.device == "cuda":
        kept, line["device"] = torch.backends.cuda.matmul.allow_tf32, torch.cuda.get_device_name()
        line |= {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
        for name, dtype, tf32 in (("float32", torch.float32, False), ("TF32", torch.float32, True),
                                  ("bf16", torch.bfloat16, False)):  # fmt: skip
            torch.backends.cuda.matmul.allow_tf32 = tf32
            line[f"{name}_rate"] = matmul_rate("cuda", dtype, 8192)
        torch.backends.cuda.matmul.allow_tf32 = kept
    else:
        line |= dict.fromkeys(("float32_rate", "TF32_rate", "bf16_rate"), matmul_rate("cpu", size=512))
    return line


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model_type", default="timecycle", choices=MODELS)
    for flag, default in (("height", 64), ("width", 64), ("frames", 9), ("filters", 32), ("batch", 1), ("rounds", 7)):
        parser.add_argument(f"--{flag}", type=int, default=default)
    for flag in ("compile", "channels_last"):
        parser.add_argument(f"--{flag}", action="store_true")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--case", nargs="+", choices=CASES, help="; ".join(f"{name}: {c}" for name, c in CASES.items()))
    parser.add_argument("--mode", nargs="+", choices=MODES, default=list(MODES), help="of --case")
    parser.add_argument("--steps", type=int, default=12, help="that are timed of each --mode")
    parser.add_argument("--small", action="store_true", help="make each --case as small as it can be: a rehearsal")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.case:
        print(json.dumps(device_line(args)), flush=True)
    chosen = {name: CASES[name] for name in args.case or ()} or {"": Case(*(getattr(args, name) for name in (
        "model_type", "height", "width", "frames", "filters", "batch")))}  # fmt: skip
    for name, case in chosen.items():
        case = case.small() if args.small else case
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            write_clips(case)
            if not name:
                compare(case, args)
                continue
            for mode in args.mode:
                for line in measured(name, case, mode, args):
                    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
