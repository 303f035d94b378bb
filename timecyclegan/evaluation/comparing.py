"""Two sets of pictures or clips, compared by their features: what the commands for that share."""
import argparse
import os
import platform
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from tqdm import tqdm

from timecyclegan.evaluation.feature_statistics import Collected, Statistics
from timecyclegan.evaluation.frechet import frechet_distance, mmd_of_subsets, polynomial_mmd
from timecyclegan.evaluation.measuring import MAX_THREADS, in_order
from timecyclegan.util.errors import UserError
from timecyclegan.util.files import write_json
from timecyclegan.video.frames import find_sequences, read_image

Clip = list[np.ndarray]  # its frames, uint8 (H, W, 3) RGB

LIBRARIES = ("av", "numpy", "pillow", "torch", "torchvision", "pytorch-fid")
STATISTICS = ".npz"
TOO_FEW = ("{fewest} {what} on one side are fewer than the {dims} features: a covariance of so few is far from that of "
           "all, and the distance is biased upwards; compare only with numbers of as many")


class Extractor(Protocol):
    """Makes features of clips: clips to (N, D). ``facts``: what they depend on, JSON-ready."""
    facts: Mapping[str, Any]

    def __call__(self, clips: Sequence[Clip]) -> np.ndarray: ...


@dataclass(frozen=True)
class Sampling:
    """Which clips are cut from a sequence: of ``length`` frames, each beginning ``stride`` after the one before it.

    ``batch``: how many the extractor sees at once. What is left at the end of a sequence is not used.
    """
    length: int = 1
    stride: int = 1
    batch: int = 8

    def count(self, frames: int) -> int:
        """How many clips a sequence has."""
        return max(0, (frames - self.length) // self.stride + 1)


class Side(NamedTuple):
    """A set's statistics, and where they are from, JSON-ready."""
    statistics: Statistics
    facts: dict[str, Any]


def side(root: str, extractor: Callable[[], Extractor], sampling: Sampling, keep: bool = False) -> Side:
    """The statistics of a folder, a video file, or saved ones.

    Args:
        extractor: makes the extractor; not called for saved statistics.
        keep: keep all features, as the MMD needs them.

    Raises:
        UserError: ``root`` holds nothing that can be read, or no sequence is as long as a clip.
    """
    if Path(root).suffix.lower() == STATISTICS:
        statistics = Statistics.load(root)
        return Side(statistics, {"path": root, "n": statistics.n, "saved": True})
    sequences = find_sequences(root)
    lengths = [len(frames) for frames in sequences.values()]
    total = sum(map(sampling.count, lengths))
    if not total:
        raise UserError(f"{root} has no sequence of {sampling.length} frames, the longest has {max(lengths)}; give a "
                        "smaller --clip")
    network = extractor()
    collected = Collected({**network.facts, "stride": sampling.stride}, keep)
    threads = min(MAX_THREADS, os.cpu_count() or 1)
    with (ThreadPoolExecutor(threads) as pool,
          tqdm(total=total, desc=root, unit="frame" if sampling.length == 1 else "clip",
               disable=not sys.stderr.isatty()) as progress):
        clips = _clips(sequences.values(), sampling, pool, ahead=sampling.batch * sampling.length)
        while batch := list(islice(clips, sampling.batch)):
            collected.add(network(batch))
            progress.update(len(batch))
    short = sum(length < sampling.length for length in lengths)
    return Side(collected.statistics, {"path": root, "n": collected.n, "sequences": len(sequences),
                                       "frames": sum(lengths), "too_short": short, "saved": False})


def _clips(sequences: Iterable[Sequence[Path]], sampling: Sampling, pool: ThreadPoolExecutor,
           ahead: int) -> Iterator[Clip]:
    """All clips in order; a frame is read once, and not at all if no clip has it."""
    places = [(t, path) for frames in sequences for t, path in enumerate(frames)
              if t % sampling.stride < sampling.length
              and t < (sampling.count(len(frames)) - 1) * sampling.stride + sampling.length]
    window: deque[np.ndarray] = deque(maxlen=sampling.length)
    for t, picture in in_order(pool, lambda place: (place[0], read_image(place[1])), places, ahead):
        window.append(picture)
        start = t + 1 - sampling.length
        if start >= 0 and start % sampling.stride == 0:
            yield list(window)


def compare(real: Side, fake: Side, definition: str, mmd: int | None = None) -> dict[str, Any]:
    """The distances of two sets, JSON-ready.

    Args:
        definition: ``{network}``, ``{clip}`` and ``{dims}`` in it stand for what the features are of.
        mmd: of how many random subsets; 0 is the MMD of all, None none.

    Raises:
        UserError: they do not compare.
    """
    distance = frechet_distance(real.statistics, fake.statistics)
    dims, extractor = real.statistics.dims, dict(real.statistics.facts or fake.statistics.facts)
    known = {"network": Path(extractor.get("network", "unknown")).stem, "clip": extractor.get("clip", 1), "dims": dims}
    found = {"definition": definition.format(**known), **asdict(distance), "dims": dims, "real": real.facts,
             "fake": fake.facts, "note": note(real.statistics.n, fake.statistics.n, dims), "extractor": extractor}
    if mmd is not None:
        found["mmd"] = _mmd(real, fake, mmd)
    return found | {"libraries": {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}}}


def note(real: int | None, fake: int | None, dims: int, what: str = "pictures or clips") -> str | None:
    """What to bear in mind of a Fréchet distance of so many."""
    fewest = min((n for n in (real, fake) if n is not None), default=dims)
    return TOO_FEW.format(fewest=fewest, dims=dims, what=what) if fewest < dims else None


def _mmd(real: Side, fake: Side, subsets: int) -> dict[str, Any]:
    for each in (real, fake):
        if each.statistics.features is None:
            raise UserError(f"{each.facts['path']} holds no features, which --mmd needs; make it again with --mmd")
    features = real.statistics.features, fake.statistics.features
    if not subsets:
        return {"value": polynomial_mmd(*features)}
    value, deviation = mmd_of_subsets(*features, subsets)
    return {"value": value, "standard_deviation": deviation, "subsets": subsets}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """REAL, FAKE and the flags of all such commands."""
    kinds = "a folder (of frames, or of folders or video files), a video file, or saved statistics (.npz)"
    parser.add_argument("real", help=kinds)
    parser.add_argument("fake", nargs="?", help="the same; counts, sizes and names need not match REAL's. Without it, "
                        "--save_stats saves those of REAL and nothing is compared")
    parser.add_argument("--save_stats", metavar="FILE.npz", help="write REAL's statistics, to give in its place later "
                        "(pytorch-fid reads them too)")
    parser.add_argument("--gpu", type=int, default=0, help="-1 is the CPU, as is 0 where there is no GPU")
    parser.add_argument("--json", metavar="FILE", help="write the value, its terms and all that it depends on")


def run(args: argparse.Namespace, title: str, definition: str, extractor: Callable[[], Extractor],
        sampling: Sampling, mmd: int | None = None) -> None:
    """Carry out such a command: compare, print, write.

    Raises:
        UserError: flags that do not go together, and all that :func:`side` and :func:`compare` find.
    """
    if args.save_stats and Path(args.save_stats).suffix.lower() != STATISTICS:
        raise UserError(f"--save_stats {args.save_stats}: expected a file name that ends in {STATISTICS}")
    if args.fake is None and not args.save_stats:
        raise UserError("there is nothing to do: give FAKE to compare REAL with, or --save_stats FILE.npz")
    for root in filter(None, (args.real, args.fake)):  # not only after the other one was computed
        if not Path(root).exists():
            raise UserError(f"{root} does not exist; expected a folder, a video file, or saved statistics (.npz)")
    real = side(args.real, extractor, sampling, mmd is not None)
    if args.save_stats:
        real.statistics.save(args.save_stats)
        print(f"wrote {args.save_stats}: {real.statistics.n} x {real.statistics.dims}")
    if args.fake is None:
        return
    found = compare(real, side(args.fake, extractor, sampling, mmd is not None), definition, mmd)
    print(_text(found, title))
    if args.json:
        write_json(args.json, found)


def _text(found: dict[str, Any], title: str) -> str:
    lines = [f"{title} {found['value']:.8g}   {found['definition']}, of {found['real']['n'] or 'unknown'} real and "
             f"{found['fake']['n'] or 'unknown'} generated"]
    if "mmd" in found:
        deviation = found["mmd"].get("standard_deviation")
        lines.append(f"MMD^2 {found['mmd']['value']:.8g}" + ("" if deviation is None else f" +- {deviation:.2g}"))
    lines += [f"{side['too_short']} of {side['sequences']} sequences of {side['path']} are shorter than a clip and "
              "were left out" for side in (found["real"], found["fake"]) if side.get("too_short")]
    return "\n".join(lines + ([f"note: {found['note']}"] if found["note"] else []))
