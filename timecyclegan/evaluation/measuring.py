"""Running frames through metrics: each is read once, in threads, and measured beside the frame before it."""
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from timecyclegan.evaluation.flow import FlowFunction, TrueFlow, load_flow, resize_flow
from timecyclegan.evaluation.metric import Metric, Step, View
from timecyclegan.flow.opencv import farneback
from timecyclegan.util.errors import UserError
from timecyclegan.video.frames import read_image, resize_image

MAX_THREADS = 8
BATCH = 8  # frames that networks see at once; more do not make a CPU faster

Size = tuple[int, int]  # height, width


class Job(NamedTuple):
    """One frame to read. ``first``: it starts a sequence, so no flow leads back from it. ``real``: to compare with."""
    sequence: str
    fake: Path
    first: bool
    real: Path | None = None


class Frame(NamedTuple):
    """A job's pixels, uint8 (H, W, 3) RGB: ``fake`` and ``real`` (if there is one) of one size.

    fake_on_disk, real_on_disk: the same pictures in their own sizes, for metrics that compare sets of them; the real
    one only where it is of the kind that the fake one should be. resized_from: the size that a picture had, if that
    was another.
    """
    job: Job
    fake: np.ndarray
    real: np.ndarray | None
    fake_on_disk: np.ndarray
    real_on_disk: np.ndarray | None = None
    resized_from: Size | None = None
    true_flow: TrueFlow | None = None


def measure(jobs: Sequence[Job], metrics: Sequence[Metric], views: Mapping[type[View], View],
            flow_dir: str | Path | None = None, progress: bool = False, size: Size | None = None,
            resize: Size | None = None, flow: FlowFunction = farneback,
            alike: bool = True) -> tuple[Size, set[Size]]:
    """Run all frames through the metrics.

    Reading and measuring run in threads (codecs, OpenCV and NumPy release the lock), networks in this one; samples are
    added in order, so the sums do not depend on the timing. Real frames get the size of the fake ones.

    Args:
        views: what the metrics look through, by class.
        size: what frames that are compared with nothing are resized to; None keeps theirs.
        resize: what all frames are resized to first, also where metrics want them in their own size.
        flow: estimates the flow that metrics ask for.
        alike: the real frames show what the fake ones should.

    Returns:
        The fake frames' size, and the sizes that other frames were resized from.

    Raises:
        UserError: the fake frames have different sizes, or a file cannot be read.
    """
    shape, resized = (), set()
    used = {metric.view for metric in metrics} - {None}
    views = {kind: view for kind, view in views.items() if kind in used}
    threads = min(MAX_THREADS, os.cpu_count() or 1)
    # Not with TF32, which GPUs use for convolutions by default: its rounding would show. This is a setting of the whole
    # process, so it is made here for the views and for flow networks, which run in the pool's threads.
    with ThreadPoolExecutor(threads) as pool, torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        frames = in_order(pool, lambda job: _read(job, flow_dir, size, resize, alike), jobs, ahead=BATCH + threads)
        results = in_order(pool, lambda item: (item[0], [metric.measure(item[1]) for metric in metrics]),
                            _steps(_seen(_of_one_size(frames), views), flow), ahead=threads)
        for frame, samples in tqdm(results, "measuring", len(jobs), unit="frame", disable=not progress):
            shape = frame.fake.shape[:2]
            resized |= {frame.resized_from} - {None}
            for metric, sample in zip(metrics, samples, strict=True):
                if frame.job.first:
                    metric.start(frame.job.sequence)
                metric.add(sample)
    return shape, resized


def in_order(pool: ThreadPoolExecutor, function: Callable, items: Iterable, ahead: int) -> Iterator:
    """Map in the pool, results in order, never more than ``ahead`` items before the one that is waited for."""
    pending = deque()
    try:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) > ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:  # also where another frame failed: nobody waits for these
        for waiting in pending:
            waiting.cancel()


def _read(job: Job, flow_dir: str | Path | None, size: Size | None, resize: Size | None, alike: bool) -> Frame:
    fake_on_disk = _resized(read_image(job.fake), resize)
    fake = _resized(fake_on_disk, size)
    if job.real is None:
        return Frame(job, fake, None, fake_on_disk, resized_from=_other_size(fake_on_disk, fake))
    real, (height, width) = _resized(read_image(job.real), resize), fake.shape[:2]
    true_flow = None
    if flow_dir and not job.first:
        path = Path(flow_dir, job.sequence, f"{job.real.stem}.npz")
        true_flow = resize_flow(load_flow(path), height, width)
    return Frame(job, fake, resize_image(real, height, width), fake_on_disk, real if alike else None,
                 _other_size(real, fake), true_flow)


def _other_size(image: np.ndarray, than: np.ndarray) -> Size | None:
    return image.shape[:2] if image.shape != than.shape else None


def _resized(image: np.ndarray, size: Size | None) -> np.ndarray:
    return resize_image(image, *size) if size else image


def _of_one_size(frames: Iterable[Frame]) -> Iterator[Frame]:
    first = None
    for frame in frames:
        first = first or frame
        if frame.fake.shape != first.fake.shape:
            raise UserError(f"fake frames have different sizes: {first.job.fake} is {_size(first.fake)}, "
                            f"{frame.job.fake} is {_size(frame.fake)}; bring them to one size, or "
                            "give --resize")
        yield frame


def _seen(frames: Iterator[Frame], views: Mapping[type[View], View]) -> Iterator[tuple[Frame, dict[type[View], Any]]]:
    """Each frame with what the views make of it."""
    while batch := list(islice(frames, BATCH if views else 1)):
        seen = {kind: view(batch) for kind, view in views.items()}
        for place, frame in enumerate(batch):
            yield frame, {kind: entries[place] for kind, entries in seen.items()}


def _steps(frames: Iterable[tuple[Frame, dict[type[View], Any]]], flow: FlowFunction) -> Iterator[tuple[Frame, Step]]:
    """Give each frame its predecessor in the sequence."""
    previous = None
    for frame, seen in frames:
        pair = (None, None) if frame.job.first else (previous.real, previous.fake)
        yield frame, Step(frame.real, frame.fake, *pair, frame.true_flow, flow, seen)
        previous = frame


def _size(image: np.ndarray) -> str:
    return f"{image.shape[1]}x{image.shape[0]}"
