"""How many training clips a second the loader delivers, with frames decoded once and decoded anew, and how many a step
consumes.

    python benchmarks/loader.py [--workers 0 1 4] [--cache off ram disk] [--step] [--device cuda]

Two folders of PNGs of 1280x720 are made in a temporary folder; clips of both, resized to 256x256, are taken from the
loader as fast as it gives them, for --seconds after the first. With --step (or --step_ms, measured elsewhere) also
prints how many times what a step of P consumes that is. The last line is JSON.
"""
import argparse
import contextlib
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # where the package is not installed
from timecyclegan.datasets.loading import loading_threads, make_loader
from timecyclegan.datasets.video_dataset import PairedVideoDataset
from timecyclegan.models import default_options
from timecyclegan.training.dry_run import measure
from timecyclegan.training.run import Run
from timecyclegan.util.device import cores, device_name, pick_device
from timecyclegan.video.frames import resize_image, write_image


class Repeated(Dataset):
    """A dataset whose epoch does not end while it is timed."""

    def __init__(self, dataset: PairedVideoDataset):
        self.dataset, self.prepare = dataset, dataset.prepare

    def __len__(self) -> int:
        return 10**6

    def __getitem__(self, key: tuple[int, int]) -> dict:
        return self.dataset[key[0], key[1] % len(self.dataset)]


def write_frames(folder: Path, frames: int, height: int, width: int) -> None:
    """A sequence of smooth pictures that move under a little noise: PNGs as large as those of a camera's pictures."""
    rng = np.random.default_rng(len(folder.name))
    wide = resize_image(rng.integers(0, 256, (height // 40, width // 20, 3), dtype=np.uint8), height, 2 * width)
    for t in range(frames):
        shift = t * width // frames
        picture = wide[:, shift : shift + width] // 2 + rng.integers(0, 8, (height, width, 3), dtype=np.uint8)
        write_image(folder / "s" / f"{t:05}.png", picture)


def rate(args: argparse.Namespace, folders: tuple[Path, Path], cache: str, workers: int) -> tuple[float, float]:
    """Clips a second, and the seconds until the first batch is there."""
    dataset = PairedVideoDataset(*folders, args.block_size, args.size, args.size, cache=cache)
    loader = make_loader(Repeated(dataset), args.batch_size, workers, 0, pin_memory=args.device == "cuda")
    begun = time.perf_counter()
    batches = iter(loader)
    next(batches)
    first = time.perf_counter() - begun
    for _ in range(2 * workers):  # what was loaded ahead of the clock
        next(batches)
    begun, count = time.perf_counter(), 0
    while (taken := time.perf_counter() - begun) < args.seconds or not count:
        next(batches)
        count += 1
    return count * args.batch_size / taken, first


def step_seconds(args: argparse.Namespace, folders: tuple[Path, Path]) -> float:
    """Of a training step of P, after a warm-up."""
    options = default_options(preset="p", image_height=args.size, image_width=args.size, block_size=args.block_size,
                              generator_filters=args.filters, batch_size=args.batch_size, amp=args.amp, threads=0,
                              cache="off", gpu=0 if args.device == "cuda" else -1)  # fmt: skip
    return measure(Run("loader", *folders, options, overwrite=True), steps=12 if args.device == "cuda" else 3).step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for flag, default in (("frames", 40), ("height", 720), ("width", 1280), ("size", 256), ("block_size", 5),
                          ("batch_size", 1), ("filters", 64)):  # fmt: skip
        parser.add_argument(f"--{flag}", type=int, default=default)
    parser.add_argument("--workers", type=int, nargs="+", default=[-1], help="-1: the package's choice")
    parser.add_argument("--cache", nargs="+", default=["off", "ram"], choices=["off", "ram", "disk"])
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"], help="of the step; cuda: pinned batches")
    parser.add_argument("--step", action="store_true", help="measure a step of P on the device")
    parser.add_argument("--step_ms", type=float, help="what a step takes, measured elsewhere")
    parser.add_argument("--amp", default="off", choices=["off", "bfloat16", "float16"], help="of the step")
    args = parser.parse_args()
    per_clip, frame_bytes = 2 * args.block_size, 3 * args.size**2
    where = device_name(pick_device(0 if args.device == "cuda" else -1))
    print(f"clips of 2 x {args.block_size} frames, PNG {args.width}x{args.height} to {args.size}x{args.size}, batch "
          f"{args.batch_size}, {cores()} processors, {where}, torch {torch.__version__}")  # fmt: skip
    found: dict = {"benchmark": "loader", "device": where, "processors": cores(), "batch_size": args.batch_size,
                   "clips_per_second": {}, "decoded_frames_per_second": None, "step_ms": args.step_ms,
                   "times_what_a_step_consumes": {}}  # fmt: skip
    with tempfile.TemporaryDirectory() as scratch, contextlib.chdir(scratch):
        folders = Path(scratch, "source"), Path(scratch, "target")
        for folder in folders:
            write_frames(folder, args.frames, args.height, args.width)
        for workers, cache in ((loading_threads(workers), cache) for workers in args.workers for cache in args.cache):
            clips, first = rate(args, folders, cache, workers)
            found["clips_per_second"][f"{cache}, {workers} workers"] = round(clips, 2)
            decoded = ""
            if cache == "ram" and found["decoded_frames_per_second"] is None:
                found["decoded_frames_per_second"] = round(2 * args.frames / first, 1)
                decoded = f"; decoding all before, once: {2 * args.frames / first:.0f} frames/s"
            print(f"--cache {cache:4} --threads {workers}: {clips:8.1f} clips/s, {clips * per_clip:8.0f} frames/s, "
                  f"{clips * per_clip * frame_bytes / 2**20:6.0f} MiB/s{decoded}")  # fmt: skip
        if args.step:
            found["step_ms"] = 1000 * step_seconds(args, folders)
    if found["step_ms"]:
        consumed = 1000 * args.batch_size / found["step_ms"]
        print(f"a step: {found['step_ms']:.1f} ms, consumes {consumed:.1f} clips/s, {consumed * per_clip:.0f} frames/s")
        for name, clips in found["clips_per_second"].items():
            found["times_what_a_step_consumes"][name] = round(clips / consumed, 2)
            print(f"  {name}: {clips / consumed:.2f} times that")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
