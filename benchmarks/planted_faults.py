"""What each metric sees and misses: faults planted into a clip, and what the metrics say of it, as a Markdown table.

    python benchmarks/planted_faults.py [--clip CLIP] [--size HEIGHT WIDTH] [--frames N] [--faults blurred late ...]

The first row is the clip beside itself: the best value, or the floor, of every metric. CLIP is a video file or a
folder of frames; without it, clips of the synthetic street are made.
"""
import argparse
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from timecyclegan.data.generate_synthetic import generate
from timecyclegan.evaluation.base import Evaluation, Settings
from timecyclegan.evaluation.compute_metrics import METRICS
from timecyclegan.evaluation.evaluate import Evaluator, choose
from timecyclegan.evaluation.flow import estimator
from timecyclegan.util.errors import command, unknown
from timecyclegan.video.frames import find_sequences, read_image, resize_image, write_image

# A clip, uint8 (T, H, W, 3), and dice to the frames (H, W, 3) of another one, of any number type.
Fault = Callable[[np.ndarray, np.random.Generator], Iterable[np.ndarray]]

STREETS = 4


def every_frame(function: Callable[[np.ndarray, np.random.Generator], np.ndarray]) -> Fault:
    """The fault that does ``function`` to each frame."""
    return lambda clip, dice: (function(frame, dice) for frame in clip)


def moved(frame: np.ndarray, dx: int, dy: int) -> np.ndarray:
    """The frame shifted to the right and downwards; its border is repeated."""
    height, width = frame.shape[:2]
    rows, columns = np.arange(height) - dy, np.arange(width) - dx
    return frame[np.clip(rows, 0, height - 1)[:, None], np.clip(columns, 0, width - 1)]


def in_the_middle(frame: np.ndarray, gain: float) -> np.ndarray:
    """The frame with a quarter of its sides' length, in the middle, brighter or darker."""
    height, width = frame.shape[:2]
    changed = frame.astype(float)
    changed[height * 3 // 8:height * 5 // 8, width * 3 // 8:width * 5 // 8] *= gain
    return changed


def with_pattern(clip: np.ndarray, pattern: np.ndarray) -> Iterator[np.ndarray]:
    """The clip's frames, each with the same pattern on top."""
    return (frame + pattern for frame in clip)


def checkerboard(height: int, width: int) -> np.ndarray:
    """Squares of 2 pixels, a period of 4, that are 1 and -1: (H, W, 1), as transposed convolutions leave them."""
    rows, columns = np.indices((height, width)) // 2
    return (1 - (rows + columns) % 2 * 2)[..., None]


def places(clip: np.ndarray, order: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """The clip's frames, each replaced by the one at ``order`` of its place."""
    return clip[np.clip(order(np.arange(len(clip))), 0, len(clip) - 1)]


# name: (what is done, how)
FAULTS: dict[str, tuple[str, Fault]] = {
    "none": ("the clip itself", lambda clip, _: clip),
    "frozen": ("its first frame throughout", lambda clip, _: places(clip, lambda t: 0 * t)),
    "late": ("one frame late", lambda clip, _: places(clip, lambda t: t - 1)),
    "repeated": ("every second frame replaced by the one before", lambda clip, _: places(clip, lambda t: t - t % 2)),
    "reversed": ("played backwards", lambda clip, _: clip[::-1]),
    "shifted": ("2 pixels to the right", every_frame(lambda frame, _: moved(frame, 2, 0))),
    "jitter": ("each frame moved by up to 2 pixels", every_frame(
        lambda frame, dice: moved(frame, *dice.integers(-2, 3, 2)))),
    "blurred": ("Gaussian blur, sigma 2 pixels", every_frame(lambda frame, _: cv2.GaussianBlur(frame, (0, 0), 2))),
    "noise": ("noise of sigma 10 levels, new in each frame", every_frame(
        lambda frame, dice: frame + dice.normal(0, 10, frame.shape))),
    "static noise": ("noise of sigma 10 levels, the same in all frames",
                     lambda clip, dice: with_pattern(clip, dice.normal(0, 10, clip.shape[1:]))),
    "grid": ("a checkerboard of 2 pixels' squares, 5 levels up and down, the same in all frames",
             lambda clip, _: with_pattern(clip, 5 * checkerboard(*clip.shape[1:3]))),
    "flicker": ("each frame brighter or darker, by up to 10 %", every_frame(
        lambda frame, dice: frame * dice.uniform(0.9, 1.1))),
    "local flicker": ("the same, by up to 30 %, of a sixteenth of the picture", every_frame(
        lambda frame, dice: in_the_middle(frame, dice.uniform(0.7, 1.3)))),
}


def planted(name: str, clip: np.ndarray) -> Iterator[np.ndarray]:
    """The frames of the clip with the fault of that name, uint8 (H, W, 3); the same each time."""
    for frame in FAULTS[name][1](clip, np.random.default_rng(0)):
        yield np.clip(np.round(frame), 0, 255).astype(np.uint8)


def write_clips(clips: Iterator[tuple[str, Iterable[np.ndarray]]], folder: Path) -> dict[str, list[Path]]:
    """Write clips by name as PNG files, and find them again."""
    for name, frames in clips:
        for t, frame in enumerate(frames):
            write_image(folder / name / f"{t:05}.png", frame)
    return find_sequences(folder)


def originals(args: argparse.Namespace, folder: Path) -> Iterator[tuple[str, Iterable[np.ndarray]]]:
    """The clips to plant faults into, by name."""
    root, size = args.clip, args.size
    if not root:
        height, width = size or (128, 256)
        generate(folder, sequences=0, val_sequences=STREETS, frames=args.frames or 30, width=width, height=height)
        root = folder / "val/target"
    for name, paths in find_sequences(root).items():
        frames = map(read_image, paths[:args.frames])
        yield name, (resize_image(frame, *size) if size else frame for frame in frames)


def table(evaluations: dict[str, Evaluation]) -> str:
    """A row per fault, a column per metric that has a value somewhere; the best value first."""
    first, found = evaluations["none"].values, {fault: each.values for fault, each in evaluations.items()}
    columns = [name for name in first if any(values[name].value is not None for values in found.values())]
    rows = [["fault", *(first[name].title for name in columns)], ["---"] * (1 + len(columns))]
    rows += [[fault, *(number(values[name].value) for name in columns)] for fault, values in found.items()]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


@command
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--clip", help="a video file, or a folder of frames (default: the synthetic street)")
    parser.add_argument("--size", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"), help="resize it first")
    parser.add_argument("--frames", type=int, help="of each sequence, its first ones (default: all; 30 of the street)")
    parser.add_argument("--faults", nargs="+", metavar="NAME", default=list(FAULTS), help="; ".join(
        f"{name}: {what}" for name, (what, _) in FAULTS.items()).replace("%", "%%"))
    parser.add_argument("--networks", action="store_true", help="also the metrics that need weights, of torch hub's "
                        "cache")
    parser.add_argument("--also", nargs="+", metavar="NAME", default=[], help="further metrics")
    parser.add_argument("--flow_backend", default="farneback", help="what estimates flow")
    parser.add_argument("--gpu", type=int, default=0, help="of networks; -1 is the CPU")
    args = parser.parse_args()
    for name in args.faults:
        if name not in FAULTS:
            raise unknown("--faults", name, FAULTS)
    metrics = [metric for metric in choose(METRICS, "paired", also=args.also)
               if args.networks or metric.view is None or metric.name in args.also]
    evaluator = Evaluator(metrics, "paired", Settings(estimator(args.flow_backend, gpu=args.gpu), args.gpu))
    evaluations = {}
    with tempfile.TemporaryDirectory() as folder:
        real = write_clips(originals(args, Path(folder, "street")), Path(folder, "real"))
        for fault in tqdm(dict.fromkeys(["none", *args.faults]), unit="fault"):
            with tempfile.TemporaryDirectory(dir=folder) as copies:
                clips = ((name, planted(fault, np.stack([*map(read_image, paths)]))) for name, paths in real.items())
                evaluations[fault] = evaluator(real, write_clips(clips, Path(copies)))
    print(table(evaluations))


if __name__ == "__main__":
    sys.exit(main())
