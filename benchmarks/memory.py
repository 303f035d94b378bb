"""What a training step of TimeCycleGAN-P holds and takes, by frames, size, and the switches that save memory.

    python benchmarks/memory.py --frames 9 30 --sizes 128 256                  # counted, on any machine
    python benchmarks/memory.py --frames 9 30 --sizes 128 256 --device cuda    # measured

Counted: the bytes of all tensors that are there at once, and the operations beside those of the step without switches,
on PyTorch's meta device, where nothing is computed. Measured: the most that PyTorch allocated (on a CPU: the tensors,
counted while they are computed) and the median time of a step, each row in a process of its own. Prints Markdown.
"""
import argparse
import concurrent.futures
import multiprocessing
import statistics
import time

import torch

from timecyclegan.models import default_options, get_model
from timecyclegan.training.memory import Held, footprint
from timecyclegan.util.options import Options

GIB = 2**30
SWITCHES = {
    "none": {}, "--max_return 4": {"max_return": 4}, "--checkpointing": {"checkpointing": True},
    "--checkpointing --max_return 4": {"checkpointing": True, "max_return": 4},
}  # fmt: skip


def options(frames: int, size: int, filters: int, batch: int, **switches) -> Options:
    """The preset P at this size."""
    return default_options(
        preset="p", block_size=frames, image_height=size, image_width=size, batch_size=batch, generator_filters=filters,
        discriminator_filters=filters, timecycle_motion_model_filters=filters, **switches,
    )  # fmt: skip


def measure(device: str, rounds: int, threads: int, chosen: Options) -> tuple[float, float] | None:
    """Bytes at the most, and seconds of a step, of those after the first; None where the step does not fit."""
    torch.set_num_threads(threads)
    cuda = device == "cuda"
    try:
        model = get_model(chosen.model_type, chosen).to(device)
        model.make_optimizers()
        clip = torch.rand(chosen.batch_size, chosen.block_size, 3, chosen.image_height, chosen.image_width) * 2 - 1
        batch, scaler = dict.fromkeys(("source", "target"), clip.to(device)), torch.amp.GradScaler(enabled=False)
        drawn = {name: torch.randn(chosen.batch_size, *shape) for name, shape in model.noise_shapes().items()}
        batch |= {"noise": drawn, "draws": model.draws(0, 0, [chosen.batch_size])}
        model.training_step(batch, scaler)
        times = []
        for _ in range(rounds):
            if cuda:
                torch.cuda.reset_peak_memory_stats()
                torch.cuda.synchronize()
            begun = time.perf_counter()
            model.training_step(batch, scaler)
            if cuda:
                torch.cuda.synchronize()
            times.append(time.perf_counter() - begun)
        if cuda:
            most = torch.cuda.max_memory_allocated()
        else:
            with Held() as held:
                for optimizer in model.optimizers.values():
                    for parameter, state in optimizer.state.items():
                        for tensor in (parameter, parameter.grad, state["exp_avg"], state["exp_avg_sq"]):
                            held.add(tensor)
                model.training_step(batch, scaler)
            most = held.most
        return most, statistics.median(times)
    except torch.OutOfMemoryError:
        return None


def row(args: argparse.Namespace, chosen: Options) -> tuple[float, float] | None:
    """Bytes, and seconds or operations."""
    if args.device == "meta":
        return footprint(chosen)
    processes = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, processes) as process:
        return process.submit(measure, args.device, args.rounds, args.threads, chosen).result()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, nargs="+", default=[5, 9, 17, 30])
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 256])
    for flag, default in (("filters", 64), ("batch", 1), ("rounds", 3), ("threads", torch.get_num_threads())):
        parser.add_argument(f"--{flag}", type=int, default=default)
    parser.add_argument("--device", default="meta", choices=["meta", "cpu", "cuda"])
    args = parser.parse_args()
    name = torch.cuda.get_device_name() if args.device == "cuda" else args.device
    took = "operations, beside none" if args.device == "meta" else "s/step | time, beside none"
    print(f"P, {args.filters} filters, batch {args.batch}, {name}, torch {torch.__version__}\n")
    print(f"| frames | size | switches | GiB | {took} |\n|{'---|' * (5 if args.device == 'meta' else 6)}")
    for frames in args.frames:
        for size in args.sizes:
            usual = None
            for switches, given in SWITCHES.items():
                found = row(args, options(frames, size, args.filters, args.batch, **given))
                usual = found if switches == "none" else usual
                if found is None:
                    cells = ["does not fit", *["-"] * (took.count("|") + 1)]
                else:
                    beside = f"{found[1] / usual[1]:.2f}" if usual else "-"
                    cells = [f"{found[0] / GIB:.2f}", *([] if args.device == "meta" else [f"{found[1]:.3f}"]), beside]
                print("| " + " | ".join([str(frames), f"{size}x{size}", switches, *cells]) + " |", flush=True)


if __name__ == "__main__":
    main()
