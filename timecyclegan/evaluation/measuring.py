"""Running frames through metrics: each is read once, in threads, and measured beside the frame before it."""
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from timecyclegan.datasets.frames import read_image, resize_image
from timecyclegan.evaluation.flow import FlowFunction, TrueFlow, load_flow, resize_flow
from timecyclegan.evaluation.metric import Metric, Step
from timecyclegan.flow.opencv import farneback
from timecyclegan.util.errors import UserError

MAX_THREADS = 8

Size = tuple[int, int]  # height, width


class Job(NamedTuple):
    """One frame to read. ``first``: it starts a sequence, so no flow leads back from it. ``real``: to compare with."""
    sequence: str
    fake: Path
    first: bool
    real: Path | None = None


class Frame(NamedTuple):
    """A job's pixels, all of the fake's size; ``on_disk`` is the size that the real frame had, or the only one."""
    job: Job
    fake: np.ndarray
    real: np.ndarray | None
    on_disk: Size
    true_flow: TrueFlow | None = None


def measure(jobs: Sequence[Job], metrics: Sequence[Metric], flow_dir: str | Path | None = None,
            progress: bool = False, size: Size | None = None,
            flow: FlowFunction = farneback) -> tuple[Size, set[Size]]:
    """Run all frames through the metrics.

    Reading and measuring run in threads (codecs, OpenCV and NumPy release the lock); samples are added in order,
    so the sums do not depend on the timing. Real frames get the size of the fake ones.

    Args:
        size: what frames that are compared with nothing are resized to; None keeps theirs.
        flow: estimates the flow that metrics ask for.

    Returns:
        The fake frames' size, and the sizes that other frames were resized from.

    Raises:
        UserError: the fake frames have different sizes, or a file cannot be read.
    """
    shape, resized = (), set()
    threads = min(MAX_THREADS, os.cpu_count() or 1)
    with ThreadPoolExecutor(threads) as pool:
        frames = _in_order(pool, lambda job: _read(job, flow_dir, size), jobs, ahead=threads)
        results = _in_order(pool, lambda item: (item[0], [metric.measure(item[1]) for metric in metrics]),
                            _steps(frames, flow), ahead=threads)
        for frame, samples in tqdm(results, "measuring", len(jobs), unit="frame", disable=not progress):
            shape = frame.fake.shape[:2]
            if frame.on_disk != shape:
                resized.add(frame.on_disk)
            for metric, sample in zip(metrics, samples, strict=True):
                if frame.job.first:
                    metric.start(frame.job.sequence)
                metric.add(sample)
    return shape, resized


def _in_order(pool: ThreadPoolExecutor, function: Callable, items: Iterable, ahead: int) -> Iterator:
    """Map in the pool, results in order, never more than ``ahead`` items before the one that is waited for."""
    pending = deque()
    for item in items:
        pending.append(pool.submit(function, item))
        if len(pending) > ahead:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


def _read(job: Job, flow_dir: str | Path | None, size: Size | None) -> Frame:
    fake = read_image(job.fake)
    if job.real is None:
        return Frame(job, resize_image(fake, *size) if size else fake, None, fake.shape[:2])
    real, (height, width) = read_image(job.real), fake.shape[:2]
    true_flow = None
    if flow_dir and not job.first:
        path = Path(flow_dir, job.sequence, f"{job.real.stem}.npz")
        true_flow = resize_flow(load_flow(path), height, width)
    return Frame(job, fake, resize_image(real, height, width), real.shape[:2], true_flow)


def _steps(frames: Iterable[Frame], flow: FlowFunction) -> Iterator[tuple[Frame, Step]]:
    """Give each frame its predecessor in the sequence."""
    previous = None
    for frame in frames:
        if previous is not None and frame.fake.shape != previous.fake.shape:
            raise UserError(f"fake frames have different sizes: {previous.job.fake} is {_size(previous.fake)}, "
                            f"{frame.job.fake} is {_size(frame.fake)}; bring them to one size")
        pair = (None, None) if frame.job.first else (previous.real, previous.fake)
        yield frame, Step(frame.real, frame.fake, *pair, frame.true_flow, flow)
        previous = frame


def _size(image: np.ndarray) -> str:
    return f"{image.shape[1]}x{image.shape[0]}"
