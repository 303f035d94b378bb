"""How much faster the evaluation is than calling each metric plainly, pair by pair, for the same values.

    python benchmarks/evaluation.py [--rounds 5] [--frames 40] [--size 256]

LPIPS and tLP against the lpips package called for one pair of frames at a time, for each metric on its own; tOF
against computing it pair by pair; both sides read the frames from PNG files. Fréchet's distance of 1000 vectors of 2048
features against SciPy's matrix square root. The sides are timed round by round in this one process; prints the
medians. AlexNet's weights are random, which changes no time.
"""
import argparse
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import lpips
import numpy as np
import scipy.linalg
import torch
import torchvision

from timecyclegan.evaluation.compute_lpips import LPIPS
from timecyclegan.evaluation.compute_tlp import TLP
from timecyclegan.evaluation.compute_tof import TOF, tof
from timecyclegan.evaluation.evaluate import Evaluator
from timecyclegan.evaluation.features.alexnet import URL
from timecyclegan.evaluation.features.frechet import Statistics, frechet_distance
from timecyclegan.util.hub import hub_file
from timecyclegan.video.frames import find_sequences, read_image, to_video, write_image

Clip = list[Path]
Values = list[float]
VECTORS, FEATURES = 1000, 2048


def write_clip(folder: Path, frames: int, size: int, noise: float) -> Clip:
    """A window that moves over a smooth random picture, by 2 pixels each frame, with noise of its own."""
    rng = np.random.default_rng(0)
    picture = cv2.GaussianBlur(rng.normal(0, 1, (size, size + 2 * frames, 3)), None, 4)
    picture = (picture - picture.min()) / (picture.max() - picture.min()) * 255
    for t in range(frames):
        frame = picture[:, 2 * t:2 * t + size] + rng.normal(0, noise, (size, size, 3))
        write_image(folder / f"{t:04}.png", frame.clip(0, 255).astype(np.uint8))
    return find_sequences(folder)["."]


def plain_lpips(network: torch.nn.Module, first: Path, second: Path) -> float:
    """The package's own way, one pair."""
    with torch.no_grad():
        return network(*(to_video(read_image(path)[None]) for path in (first, second))).item()


def plain_perceptual(network: torch.nn.Module, real: Clip, fake: Clip) -> Values:
    """LPIPS, then tLP, of all frames and pairs."""
    between = [plain_lpips(network, *pair) for pair in zip(real, fake, strict=True)]
    changes = [[plain_lpips(network, clip[t - 1], clip[t]) for t in range(1, len(clip))] for clip in (real, fake)]
    return between + [abs(ours - theirs) for ours, theirs in zip(*changes, strict=True)]


def plain_tof(real: Clip, fake: Clip) -> Values:
    """tOF of all pairs."""
    return [tof(*(read_image(clip[at]) for clip in (real, fake) for at in (t - 1, t))) for t in range(1, len(real))]


def evaluated(evaluator: Evaluator, real: Clip, fake: Clip) -> Values:
    """The package's way: all metrics that ``evaluator`` computes, of all frames and pairs."""
    found = evaluator({"clip": real}, {"clip": fake}).values.values()
    return [number for value in found for number in value.per_frame.get("clip", []) if number is not None]


def plain_frechet(real: np.ndarray, fake: np.ndarray) -> Values:
    """By the square root of the product of the covariances."""
    first, second = (np.cov(features, rowvar=False) for features in (real, fake))
    root = scipy.linalg.sqrtm(first @ second).real
    mean = np.square(real.mean(axis=0) - fake.mean(axis=0)).sum()
    return [float(mean + np.trace(first) + np.trace(second) - 2 * np.trace(root))]


def our_frechet(real: np.ndarray, fake: np.ndarray) -> Values:
    return [frechet_distance(Statistics.of(real), Statistics.of(fake)).value]


def seconds(side: Callable[[], Values]) -> float:
    start = time.perf_counter()
    side()
    return time.perf_counter() - start


def compare(name: str, plain: Callable[[], Values], ours: Callable[[], Values], rounds: int, plain_rounds: int,
            **tolerance: float) -> None:
    """Check that both sides compute the same, and print a row of the table."""
    expected, found = plain(), ours()
    np.testing.assert_allclose(found, expected, **tolerance)
    times: dict[Callable, list[float]] = {plain: [], ours: []}
    for number in range(rounds):
        for side in (plain, ours) if number < plain_rounds else (ours,):
            times[side].append(seconds(side))
    theirs, own = (statistics.median(times[side]) for side in (plain, ours))
    apart = max(abs(a - b) for a, b in zip(found, expected, strict=True))
    print(f"| {name} | {theirs:.2f} s | {own:.2f} s | {theirs / own:.2f} | {apart:.1g} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    for flag, default in (("rounds", 5), ("frames", 40), ("size", 256), ("threads", 2)):
        parser.add_argument(f"--{flag}", type=int, default=default)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    cv2.setNumThreads(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        torch.hub.set_dir(folder)
        hub_file(URL).parent.mkdir()
        torch.manual_seed(0)
        torch.save(torchvision.models.alexnet(weights=None).state_dict(), hub_file(URL))
        network = lpips.LPIPS(net="alex", verbose=False)
        clips = [write_clip(Path(folder, name), args.frames, args.size, noise)
                 for name, noise in (("real", 1), ("fake", 8))]
        perceptual, flow = (Evaluator(metrics) for metrics in ((LPIPS, TLP), (TOF,)))
        print(f"{args.frames} frames of {args.size}x{args.size}, {args.threads} threads of {os.cpu_count()} cores "
              f"({platform.machine()}), {args.rounds} rounds, torch {torch.__version__}, OpenCV {cv2.__version__}\n\n"
              "| metric | plain | ours | ratio | largest difference |\n|---|---|---|---|---|")
        compare("LPIPS and tLP", lambda: plain_perceptual(network, *clips), lambda: evaluated(perceptual, *clips),
                args.rounds, args.rounds, atol=1e-7, rtol=0)
        compare("tOF", lambda: plain_tof(*clips), lambda: evaluated(flow, *clips), args.rounds, args.rounds,
                atol=1e-12, rtol=0)
    rng = np.random.default_rng(0)
    features = [np.abs(rng.normal(shift, 1, (VECTORS, FEATURES))) for shift in (0, 0.1)]
    compare(f"Fréchet, {VECTORS} x {FEATURES}", lambda: plain_frechet(*features), lambda: our_frechet(*features),
            args.rounds, 1, rtol=1e-6)


if __name__ == "__main__":
    main()
