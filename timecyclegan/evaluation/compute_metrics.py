"""The whole evaluation of a folder of fake frames against the real ones.

    python -m timecyclegan.evaluation.compute_metrics REAL FAKE [--flow DIR] [--only NAME,...] [--json FILE]
"""
import argparse
import json
import os
import platform
import sys
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from tqdm import tqdm

from timecyclegan.datasets.frames import find_sequences, match_sequences, read_image, resize_image
from timecyclegan.evaluation.compute_ewarp import EWarp, EWarpTrueFlow
from timecyclegan.evaluation.compute_flicker import Flicker
from timecyclegan.evaluation.compute_l1 import L1
from timecyclegan.evaluation.compute_psnr_ssim import PSNR, SSIM
from timecyclegan.evaluation.compute_sharpness import Sharpness
from timecyclegan.evaluation.compute_tof import TOF
from timecyclegan.evaluation.flow import TrueFlow, load_flow, resize_flow
from timecyclegan.evaluation.metric import LOWER, PER_PAIR, Metric, Result, Spec, Step
from timecyclegan.evaluation.report import format_metrics
from timecyclegan.util.errors import UserError, command
from timecyclegan.util.files import replacing

ROOTS = ("the real frames", "the fake frames")
MAX_THREADS = 8


class NotBuilt(Metric):
    """Holds the place of a metric that needs a network: no value, and the reason."""

    def measure(self, step: Step) -> None:
        return None

    def result(self) -> Result:
        return Result(reason="this version does not compute it yet")


class FID(NotBuilt):
    spec = Spec("fid", "FID", LOWER, "fid-inception2015-2048")


class LPIPS(NotBuilt):
    spec = Spec("lpips", "LPIPS", LOWER, "lpips-0.1-alex")


class TLP(NotBuilt):
    spec = Spec("tlp", "tLP", LOWER, "tlp-alex-1", PER_PAIR)


# Every table and file follows from this one: the metrics and their order.
METRICS: tuple[type[Metric], ...] = (FID, LPIPS, TLP, TOF, EWarp, Flicker, Sharpness, PSNR, SSIM, L1)
WITH_TRUE_FLOW = {EWarp: EWarpTrueFlow}
METRIC_COLUMNS = tuple(column for metric in METRICS for column in (
    (metric.spec.name, f"{metric.spec.name}_real") if metric.spec.has_real else (metric.spec.name,)))


class Job(NamedTuple):
    """One frame to read. ``first``: it starts a sequence, so no flow leads back from it."""
    sequence: str
    real: Path
    fake: Path
    first: bool


class Frame(NamedTuple):
    """A job's pixels; ``real`` has the fake's size, ``real_size`` is what it had on disk."""
    job: Job
    real: np.ndarray
    fake: np.ndarray
    real_size: tuple[int, int]
    true_flow: TrueFlow | None


def evaluate(real: dict[str, list[Path]], fake: dict[str, list[Path]], flow_dir: str | Path | None = None,
             progress: bool = False, only: Collection[str] | None = None,
             roots: tuple[str | Path, str | Path] = ROOTS) -> dict:
    """Compute all metrics, or ``only`` the named ones, of the fake frames against the real ones.

    Sequences are paired by name and frames by place. Real frames of another size than the fake ones are resized
    to it (bicubic). Every frame is read once, and of a long video only a few numbers per frame are kept.

    Args:
        real, fake: what :func:`find_sequences` returns.
        flow_dir: true flow, ``<sequence>/<stem of the real frame>.npz``, see :func:`load_flow`; used by E_warp.
        progress: show a line of progress on stderr.
        roots: what errors call the two sides.

    Returns:
        a JSON-ready dict. "metrics": name -> the fields of :class:`Result` and :class:`Spec`; "frame_size":
        [height, width]; "resized_real": the sizes of real frames that were resized, [] if none was;
        "libraries": name -> version.

    Raises:
        UserError: the two sides do not match, a file cannot be read, the fake frames have different sizes, a
            metric's name is unknown.
    """
    jobs = [Job(name, *paths, first=t == 0) for name, pairs in match_sequences(real, fake, *roots).items()
            for t, paths in enumerate(pairs)]
    if not jobs:
        raise UserError(f"there are no frames to compare in {roots[0]} and {roots[1]}")
    metrics = [WITH_TRUE_FLOW.get(metric, metric)() if flow_dir else metric() for metric in METRICS]
    names = _known(only)
    size, resized = _measure(jobs, [m for m in metrics if m.spec.name in names], flow_dir, progress)
    unasked = Result(reason="it was not asked for")
    return {
        "metrics": {m.spec.name: _to_json(m.spec, m.result() if m.spec.name in names else unasked)
                    for m in metrics},
        "frame_size": list(size),
        "resized_real": sorted(map(list, resized)),
        "libraries": {"python": platform.python_version(), "opencv": cv2.__version__,
                      **{name: version(name) for name in ("numpy", "pillow", "scikit-image")}},
    }


def _known(only: Collection[str] | None) -> Collection[str]:
    names = [metric.spec.name for metric in METRICS]
    unknown = [name for name in only or () if name not in names]
    if unknown:
        raise UserError(f"unknown metric {', '.join(unknown)}; there are {', '.join(names)}")
    return names if only is None else only


def _measure(jobs: list[Job], metrics: list[Metric], flow_dir: str | Path | None,
             progress: bool) -> tuple[tuple[int, int], set[tuple[int, int]]]:
    """Run all frames through the metrics; the fake frames' size, and the sizes that real ones were resized from.

    Reading and measuring run in threads (codecs, OpenCV and NumPy release the lock); samples are added in order,
    so the sums do not depend on the timing.
    """
    size, resized = (), set()
    threads = min(MAX_THREADS, os.cpu_count() or 1)
    with ThreadPoolExecutor(threads) as pool:
        frames = _in_order(pool, lambda job: _read(job, flow_dir), jobs, ahead=threads)
        results = _in_order(pool, lambda item: (item[0], [metric.measure(item[1]) for metric in metrics]),
                            _steps(frames), ahead=threads)
        for frame, samples in tqdm(results, "measuring", len(jobs), unit="frame", disable=not progress):
            size = frame.fake.shape[:2]
            if frame.real_size != size:
                resized.add(frame.real_size)
            for metric, sample in zip(metrics, samples, strict=True):
                if frame.job.first:
                    metric.start(frame.job.sequence)
                metric.add(sample)
    return size, resized


def _in_order(pool: ThreadPoolExecutor, function: Callable, items: Iterable, ahead: int) -> Iterator:
    """Map in the pool, results in order, never more than ``ahead`` items before the one that is waited for."""
    pending = deque()
    for item in items:
        pending.append(pool.submit(function, item))
        if len(pending) > ahead:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


def _read(job: Job, flow_dir: str | Path | None) -> Frame:
    fake, real = read_image(job.fake), read_image(job.real)
    height, width = fake.shape[:2]
    true_flow = None
    if flow_dir and not job.first:
        path = Path(flow_dir, job.sequence, f"{job.real.stem}.npz")
        true_flow = resize_flow(load_flow(path), height, width)
    return Frame(job, resize_image(real, height, width), fake, real.shape[:2], true_flow)


def _steps(frames: Iterable[Frame]) -> Iterator[tuple[Frame, Step]]:
    """Give each frame its predecessor in the sequence."""
    previous = None
    for frame in frames:
        if previous is not None and frame.fake.shape != previous.fake.shape:
            raise UserError(f"fake frames have different sizes: {previous.job.fake} is {_size(previous.fake)}, "
                            f"{frame.job.fake} is {_size(frame.fake)}; bring them to one size")
        pair = (None, None) if frame.job.first else (previous.real, previous.fake)
        yield frame, Step(frame.real, frame.fake, *pair, frame.true_flow)
        previous = frame


def _size(image: np.ndarray) -> str:
    return f"{image.shape[1]}x{image.shape[0]}"


def _to_json(spec: Spec, result: Result) -> dict:
    facts = {"definition": spec.definition, "better": spec.better, "unit": spec.unit, "title": spec.title,
             "over": spec.over, **asdict(result)}
    return {key: fact for key, fact in facts.items() if spec.has_real or not key.startswith("real")}


def csv_row(evaluation: dict) -> dict[str, str]:
    """The values for :data:`METRIC_COLUMNS`, as text; "" where one is undefined, never 0."""
    row = dict.fromkeys(METRIC_COLUMNS, "")
    for name, facts in evaluation["metrics"].items():
        for column, value in ((name, facts["value"]), (f"{name}_real", facts.get("real"))):
            if value is not None:
                row[column] = f"{value:.8g}"
    return row


@command
def main(arguments: list[str] | None = None) -> None:
    """Print the metrics of two folders, and write them as JSON if asked to."""
    parser = argparse.ArgumentParser(prog="compute_metrics", description="Compare generated with real frames.")
    parser.add_argument("real", help="folder of real frames, one folder per sequence")
    parser.add_argument("fake", help="folder of generated frames, the same sequences")
    parser.add_argument("--flow", metavar="DIR", help="true flow of the real clip, for E_warp")
    parser.add_argument("--only", metavar="NAME,...", help="of " + ", ".join(m.spec.name for m in METRICS))
    parser.add_argument("--json", metavar="FILE", help="write everything, per frame too, to this file")
    args = parser.parse_args(arguments)
    if args.flow and not Path(args.flow).is_dir():
        raise UserError(f"flow folder {args.flow} does not exist")
    only = args.only.split(",") if args.only else None
    evaluation = evaluate(find_sequences(args.real), find_sequences(args.fake), args.flow,
                          progress=sys.stderr.isatty(), only=only, roots=(args.real, args.fake))
    print(format_metrics(evaluation))
    if args.json:
        with replacing(args.json) as temporary:
            temporary.write_text(json.dumps(evaluation, indent=1, allow_nan=False) + "\n")


if __name__ == "__main__":
    sys.exit(main())
