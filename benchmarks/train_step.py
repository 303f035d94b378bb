"""One training step of a model against the naive schedule: each frame, chain and discriminator call on its own.

    python benchmarks/train_step.py --model_type timecycle --height 64 --width 64 --frames 9 --filters 32

Both schedules compute the same losses (the tests prove it) with the same networks and are timed side by side, round by
round, in this one process; their peak memory is measured in a process each. Prints the median of the rounds' ratios,
the peak memory, and the share of the machine's matmul peak (measured here too) that a step achieves. ``--compile`` and
``--channels_last`` are for the package's own step.
"""
import argparse
import itertools
import multiprocessing
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for the tests' oracle, the yardstick
from tests import naive_models
from timecyclegan.models import default_options, get_model, model_class
from timecyclegan.models.networks import compile_networks

MIB = 2**20
WEIGHTS = {"l1_loss_weight": 10.0, "feature_matching_loss_weight": 10.0, "cycle_loss_weight": 10.0,
           "timecycle_loss_weight": 10.0, "timecycle_warp_loss_weight": 1.0}  # fmt: skip


def build(name: str, args: argparse.Namespace) -> tuple[torch.nn.Module, dict[str, torch.Tensor]]:
    """The model with Adam, for the schedule ``name``, and a batch of one clip."""
    torch.manual_seed(0)
    uses = model_class(args.model_type).uses
    options = default_options(
        args.model_type, image_height=args.height, image_width=args.width, block_size=args.frames,
        generator_filters=args.filters, discriminator_filters=args.filters,
        timecycle_motion_model_filters=args.filters, **{key: value for key, value in WEIGHTS.items() if key in uses},
    )  # fmt: skip
    model = get_model(args.model_type, options).to(args.device)
    if name == "batched" and args.channels_last:
        model.to(memory_format=torch.channels_last)
    if name == "batched" and args.compile:
        compile_networks(model)
    model.make_optimizers()
    clips = torch.rand(2, 1, args.frames, 3, args.height, args.width) * 2 - 1
    return model, {name: clip.to(args.device) for name, clip in zip(("source", "target"), clips, strict=True)}


def batched_step(model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> None:
    """The package's own step."""
    model.training_step(batch, torch.amp.GradScaler(enabled=False))


def naive_step(model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> None:
    """The same step, one frame, one chain and one judgement at a time."""
    clips = (list(batch[name].unbind(1)) for name in ("source", "target"))
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


STEPS = {"naive": naive_step, "batched": batched_step}


def seconds(step: Callable, *state) -> float:
    """Wall time of one step."""
    synchronise = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None
    synchronise()
    start = time.perf_counter()
    step(*state)
    synchronise()
    return time.perf_counter() - start


def process_memory() -> int:
    """The most bytes that this process had so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def peak_memory(name: str, args: argparse.Namespace, queue: multiprocessing.Queue) -> None:
    """Bytes beyond the networks and their optimizers: of tensors in one step; of the whole process in three.

    The second also holds what the convolution library keeps, which depends on how many shapes it has met.
    """
    torch.set_num_threads(args.threads)
    state = build(name, args)
    before = process_memory()
    for _ in range(3):
        STEPS[name](*state)
    process = process_memory() - before
    if args.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        STEPS[name](*state)
        queue.put((torch.cuda.max_memory_allocated() - before, process))
    else:
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
            STEPS[name](*state)
        events = sorted(record.profiler.kineto_results.events(), key=lambda event: event.start_ns())
        held = itertools.accumulate(event.nbytes() for event in events if event.name() == "[memory]")
        queue.put((max(held), process))


def matmul_peak(device: str) -> float:
    """FLOP/s of a large float32 matrix product, the best of several."""
    a = torch.rand(2048, 2048, device=device)
    a @ a
    return 2 * 2048**3 / min(seconds(torch.matmul, a, a) for _ in range(10))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for flag, default in (("height", 64), ("width", 64), ("frames", 9), ("filters", 32), ("rounds", 7)):
        parser.add_argument(f"--{flag}", type=int, default=default)
    parser.add_argument("--model_type", default="timecycle", choices=["timecycle", "tricyclegan", "timecycledcgan"])
    for flag in ("compile", "channels_last"):
        parser.add_argument(f"--{flag}", action="store_true")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    processes = multiprocessing.get_context("spawn")
    memory = {}
    for name in STEPS:
        queue = processes.Queue()
        child = processes.Process(target=peak_memory, args=(name, args, queue))
        child.start()
        memory[name] = queue.get()
        child.join()
    states = {name: build(name, args) for name in STEPS}
    for name, step in STEPS.items():  # warm up
        step(*states[name])
    times: dict[str, list[float]] = {name: [] for name in STEPS}
    for _ in range(args.rounds):
        for name, step in STEPS.items():
            times[name].append(seconds(step, *states[name]))
    with FlopCounterMode(display=False) as counter:
        batched_step(*states["batched"])
    median = {name: statistics.median(values) for name, values in times.items()}
    share = counter.get_total_flops() / median["batched"] / matmul_peak(args.device)
    print(f"{args.model_type}, {args.height}x{args.width}, {args.frames} frames, {args.filters} filters, "
          f"{args.device}, {args.threads} threads, {args.rounds} rounds, torch {torch.__version__}")  # fmt: skip
    for name in STEPS:
        tensors, process = (bytes_ / MIB for bytes_ in memory[name])
        print(f"{name:8} {1000 * median[name]:8.1f} ms   peak: tensors {tensors:6.1f} MiB, process {process:6.1f} MiB")
    ratios = [naive / batched for naive, batched in zip(times["naive"], times["batched"], strict=True)]
    print(f"ratio    {statistics.median(ratios):8.2f}")
    print(f"batched: {counter.get_total_flops() / 1e9:.1f} GFLOP a step, {100 * share:.0f} % of the matmul peak")


if __name__ == "__main__":
    main()
