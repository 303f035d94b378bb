"""The evaluation of fake frames against real ones: what is compared with what, and how frames run through metrics.

It is given its metrics and knows none of them by name; the table of all stands in ``compute_metrics.py``.
"""
import os
import platform
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from importlib.metadata import version
from itertools import groupby, islice
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from tqdm import tqdm

from timecyclegan.evaluation.base import (
    CLOSER,
    CLOSER_TO_REAL,
    IMAGES,
    PAIRED,
    PER_PAIR,
    TRUE_FLOW,
    UNCONDITIONAL,
    UNPAIRED,
    Evaluation,
    Metric,
    Settings,
    Step,
    Value,
    View,
)
from timecyclegan.evaluation.flow import FlowFunction, load_flow, resize_flow
from timecyclegan.flow.opencv import farneback
from timecyclegan.util.errors import UserError, unknown
from timecyclegan.util.names import user_path
from timecyclegan.video.frames import match_sequences, read_image, resize_image

ROOTS = ("the real frames", "the fake frames")
LIBRARIES = ("av", "numpy", "pillow", "scikit-image", "scipy", "torch", "torchvision", "lpips", "pytorch-fid")
NO_IMAGES = f"no {IMAGES} of what is generated were given"
GENERATED_SIZE = "-generated-size"  # ends the definitions of metrics of sets, of which each can have its own size
MAX_THREADS = 8
BATCH = 8  # frames that networks see at once; more do not make a CPU faster

Sequences = dict[str, list[Path]]
Size = tuple[int, int]  # height, width


@dataclass(frozen=True)
class Kind:
    """What generated clips are compared with, which depends on the task, and what follows from it for each metric.

    reference: what tables call the clips that are compared with. suffix: of the definitions of temporal metrics, which
    differ from kind to kind. shares_moments: whether the reference shows, frame for frame, what the generated clip
    should. shares_motion: whether it at least moves so.
    """
    reference: str
    suffix: str = ""
    shares_moments: bool = True
    shares_motion: bool = True

    def missing(self, metric: type[Metric]) -> str | None:
        """Why a metric has no value in this kind; None if it has one."""
        if metric.same_moment and not self.shares_moments:
            return "no real frame shows the same moment"
        if metric.same_motion and not self.shares_motion:
            return "no real flow belongs to a generated clip"
        return None


# By the task of the model that generated the clips.
KINDS = {
    PAIRED: Kind("real clip"),
    UNPAIRED: Kind("source clip", "-source", shares_moments=False),
    UNCONDITIONAL: Kind("real clips", "-means", shares_moments=False, shares_motion=False),
}


def choose(table: Sequence[type[Metric]], kind: str, only: Collection[str] | None = None, also: Collection[str] = (),
           require: Collection[str] = ()) -> list[type[Metric]]:
    """The metrics of ``table`` to compute: ``only`` those (None: the kind's own), ``also`` others, those required too.

    Raises:
        UserError: there is none of a name.
    """
    names = [metric.name for metric in table]
    for name in [*(only or ()), *also, *require]:
        if name not in names:
            raise unknown("metric", name, names)
    asked = [metric.name for metric in table if kind in metric.by_default] if only is None else only
    return [metric for metric in table if metric.name in {*asked, *also, *require}]


class Evaluator:
    """Metrics to compute, and the networks that they look through, loaded once for any number of clips.

    Args:
        kind: of :data:`KINDS`. "paired": the real frames show the same moments. "unpaired": the clips compared with
            are those that the fake ones were translated from. "unconditional": the two sides need not match in
            anything.
        require: names of metrics whose absence is an error.
        images: whether there will be real pictures of what is generated; of the kind "unpaired" there may be none.
        peers: processes that share the sequences out among them, see ``training.distributed``: all call it alike, and
            all get the values of all sequences.

    Raises:
        UserError: a required metric cannot be computed.
    """

    def __init__(self, metrics: Sequence[type[Metric]], kind: str = PAIRED,
                 settings: Settings = Settings(),  # noqa: B008 (it is frozen)
                 require: Collection[str] = (), images: bool = True, peers: Any = None) -> None:
        self.kind, self.settings, self.rules, self._peers = kind, settings, KINDS[kind], peers
        self._metrics, self._require, self._views = metrics, require, {}
        self._missing = {metric.name: self.rules.missing(metric) for metric in metrics}
        if kind == UNPAIRED and not images:
            self._missing |= {metric.name: NO_IMAGES for metric in metrics if metric.of_sets}
        self._check(self._missing)
        # What is required comes first, and of that what is not fetched: if it is missing, nothing is fetched in vain.
        looking = sorted((metric for metric in metrics if metric.view and not self._missing[metric.name]),
                         key=lambda metric: (metric.name not in require, metric.view.fetched))
        for view in dict.fromkeys(metric.view for metric in looking):
            try:
                self._views[view] = view(settings)
            except UserError as error:  # the metrics that look through the others have a value all the same
                self._missing |= {metric.name: str(error) for metric in looking if metric.view is view}
                self._check(self._missing)
        if peers:  # on another computer other weights may be missing
            for theirs in peers.everyones(self._missing):
                self._missing |= {name: why for name, why in theirs.items() if why and not self._missing[name]}
            self._check(self._missing)

    def _check(self, missing: Mapping[str, str | None]) -> None:
        for name in self._require:
            if missing[name]:
                raise UserError(f"--require {name}: it cannot be computed, {missing[name]}")

    def check_any(self) -> None:
        """Raise a UserError if none of the metrics can be computed."""
        if all(self._missing.values()):
            raise UserError("; ".join(f"{name} has no value: {reason}" for name, reason in self._missing.items())
                            or "no metric was asked for")

    def check_required(self, evaluation: Evaluation) -> None:
        """Raise a UserError if one of the required metrics has no value in what calling this returned."""
        self._check({name: value.reason for name, value in evaluation.values.items()})

    def __call__(self, real: Sequences, fake: Sequences, flow_dir: str | Path | None = None,
                 images: Sequences | None = None, roots: tuple[str | Path, str | Path] = ROOTS) -> Evaluation:
        """Compute the metrics of the fake frames against the real ones.

        Sequences are paired by name and frames by place. Real frames of another size than the fake ones are resized
        to it (bicubic), for all metrics, FID and FVD too. Every frame is read once, and of a long video only a few
        numbers per frame are kept.

        Args:
            real, fake: what :func:`find_sequences` returns.
            flow_dir: true flow, ``<sequence>/<stem of the real frame>.npz``, see :func:`load_flow`; for
                metrics that take it.
            images: for the kind "unpaired", real pictures of what the fake ones should look like, in any number and
                size.
            roots: what errors call the two sides.

        Raises:
            UserError: the two sides do not match, a file cannot be read, the fake frames have different sizes.
        """
        metrics = [metric for metric in self._metrics if not self._missing[metric.name]]
        resized_images = set()
        if self.kind == UNCONDITIONAL:  # two sets that have nothing in common: first the fake ones, then the real ones
            ours, size, _ = self._look(metrics, _jobs(fake), roots)
            theirs, _, resized = self._look(metrics, _jobs(real), roots, size=size)
            values = [own.beside(other) for own, other in zip(ours, theirs, strict=True)]
        else:
            jobs = [Job(name, fake_path, t == 0, real_path)
                    for name, pairs in match_sequences(real, fake, *roots).items()
                    for t, (real_path, fake_path) in enumerate(pairs)]
            seen, size, resized = self._look(metrics, jobs, roots, flow_dir=flow_dir, alike=self.kind == PAIRED)
            sets = [metric for metric in metrics if metric.of_sets] if self.kind == UNPAIRED else []
            others = []
            if sets:
                others, _, resized_images = self._look(sets, _jobs(images), roots, size=size)
            partners = {type(other): other for other in others}
            values = [own.beside(partners[type(own)]) if type(own) in partners else own.result() for own in seen]
        found = {value.name: value for value in values}
        return Evaluation(
            {metric.name: self._complete(metric, found.get(metric.name), bool(flow_dir)) for metric in self._metrics},
            flow=dict(self.settings.flow.facts),
            kind=self.kind,
            reference=self.rules.reference,
            reference_frames=sum(map(len, real.values())),
            reference_sequences=len(real),
            images=sum(map(len, (images or {}).values())),
            frame_size=list(size),
            resize=list(self.settings.resize) if self.settings.resize else None,
            resized_real=sorted(map(list, resized)),
            resized_images=sorted(map(list, resized_images)),
            libraries=versions(LIBRARIES) | {"opencv": cv2.__version__},
        )

    def _complete(self, metric: type[Metric], value: Value | None, true_flow: bool) -> Value:
        """The value, or that there is none, with what tells it from those of another kind, flow or network."""
        value = value or metric.value(reason=self._missing[metric.name])
        flow = TRUE_FLOW if true_flow and metric.true_flow else self.settings.flow.name
        suffix = self.rules.suffix if metric.over == PER_PAIR else GENERATED_SIZE if metric.in_own_sizes else ""
        view = self._views.get(metric.view)
        beside = IMAGES if self.kind == UNPAIRED and metric.of_sets else self.rules.reference
        return replace(
            value,
            definition=metric.definition.format(flow=flow, dims=self.settings.fid_dims) + suffix,
            better=CLOSER + beside if metric.better == CLOSER_TO_REAL else metric.better,
            flow=flow if "{flow}" in metric.definition else metric.flow,
            network=view and dict(view.facts))

    def _look(self, kinds: Sequence[type[Metric]], jobs: Sequence["Job"], roots: tuple,
              **options: Any) -> tuple[list[Metric], Size, set[Size]]:
        """Run frames through new metrics: those, and what :func:`measure` returns; ``options`` are of that."""
        if not jobs:
            raise UserError(f"there are no frames to compare in {roots[0]} and {roots[1]}")
        settings, metrics, own = self.settings, [kind() for kind in kinds], jobs
        if self._peers:
            names = Counter(job.sequence for job in jobs)
            mine = set(self._peers.share(names))
            own = [job for job in jobs if job.sequence in mine]
        size, resized = measure(own, metrics, self._views, progress=settings.progress, resize=settings.resize,
                                flow=settings.flow.flow, **options)
        if self._peers:
            everyones = self._peers.everyones((metrics, size, resized))
            metrics = [kind() for kind in kinds]
            for place, metric in enumerate(metrics):
                metric.take([theirs[place] for theirs, _, _ in everyones], names)
            sizes = list(dict.fromkeys(size for _, size, _ in everyones if size))
            if len(sizes) > 1:
                raise UserError(f"fake frames in {roots[1]} have different sizes, {' and '.join(map(_size, sizes))}: "
                                "bring them to one size")
            size, resized = sizes[0], set().union(*(theirs for _, _, theirs in everyones))
        return metrics, size, resized


def versions(libraries: Sequence[str]) -> dict[str, str]:
    """Of Python and the libraries."""
    return {"python": platform.python_version(), **{name: version(name) for name in libraries}}


class Job(NamedTuple):
    """One frame to read. ``first``: it starts a sequence, so no flow leads back from it. ``real``: to compare with."""
    sequence: str
    fake: Path
    first: bool
    real: Path | None = None


def _jobs(clips: Sequences) -> list[Job]:
    return [Job(name, path, t == 0) for name, paths in clips.items() for t, path in enumerate(paths)]


def measure(jobs: Sequence[Job], metrics: Sequence[Metric], views: Mapping[type[View], View],
            flow_dir: str | Path | None = None, progress: bool = False, size: Size | None = None,
            resize: Size | None = None, flow: FlowFunction = farneback, alike: bool = True,
            one_size: bool = True) -> tuple[Size, set[Size]]:
    """Run all frames through the metrics: each is read once, in threads, and measured beside the frame before it.

    Reading and measuring run in threads (codecs, OpenCV and NumPy release the lock), networks in this one; samples are
    added in order, so the sums do not depend on the timing. Real frames get the size of the fake ones.

    Args:
        views: what the metrics look through, by class.
        size: what frames that are compared with nothing are resized to; None keeps theirs.
        resize: what all frames are resized to first.
        flow: estimates the flow that metrics ask for.
        alike: the real frames show what the fake ones should.
        one_size: refuse fake frames of different sizes.

    Returns:
        The fake frames' size, and the sizes that other frames were resized from.

    Raises:
        UserError: the fake frames have different sizes, or a file cannot be read.
    """
    used = {metric.view for metric in metrics} - {None}
    views = {kind: view for kind, view in views.items() if kind in used}
    threads = min(MAX_THREADS, os.cpu_count() or 1)
    shape, resized = None, set()

    def read(job: Job) -> tuple[Job, Step, Size]:
        """The frame, without the one before it, and the size that the resized one had on disk."""
        own = _resized(read_image(job.fake), resize)
        fake = _resized(own, size)
        if job.real is None:
            return job, Step(None, fake, flow=flow), own.shape[:2]
        real, (height, width) = _resized(read_image(job.real), resize), fake.shape[:2]
        true_flow = None
        if flow_dir and not job.first:
            path = user_path(Path(flow_dir, job.sequence, f"{job.real.stem}.npz"))
            true_flow = resize_flow(load_flow(path), height, width)
        return job, Step(resize_image(real, height, width), fake, None, None, true_flow, flow, alike), real.shape[:2]

    def steps(frames: Iterable[tuple[Job, Step, Size]]) -> Iterator[tuple[Job, Step]]:
        """Each frame with its predecessor in the sequence."""
        nonlocal shape
        begin = previous = None
        for job, step, was in frames:
            begin, shape = begin or job, shape or step.fake.shape[:2]
            if one_size and step.fake.shape[:2] != shape:
                raise UserError(f"fake frames have different sizes: {begin.fake} is {_size(shape)}, {job.fake} is "
                                f"{_size(step.fake.shape)}; bring them to one size, or give --resize")
            resized.update({was} - {step.fake.shape[:2]})
            if not job.first:
                step = replace(step, previous_real=previous.real, previous_fake=previous.fake)
            yield job, step
            previous = step

    def seen(pairs: Iterator[tuple[Job, Step]]) -> Iterator[tuple[Job, Step]]:
        """With what the views make of it."""
        # A batch is of one sequence: what it is computed with must not show in a number's last digits.
        for _, sequence in groupby(pairs, lambda pair: pair[0].sequence):
            while batch := list(islice(sequence, BATCH if views else 1)):
                entries = {kind: view([step for _, step in batch]) for kind, view in views.items()}
                for place, (job, step) in enumerate(batch):
                    step.seen.update({kind: found[place] for kind, found in entries.items()})
                    yield job, step

    # Not with TF32, which GPUs use for convolutions by default: its rounding would show. This is a setting of the whole
    # process, so it is made here for the views and for flow networks, which run in the pool's threads.
    with ThreadPoolExecutor(threads) as pool, torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        frames = _in_order(pool, read, jobs, ahead=BATCH + threads)
        results = _in_order(pool, lambda pair: (pair[0], [metric.measure(pair[1]) for metric in metrics]),
                            seen(steps(frames)), ahead=threads)
        for job, samples in tqdm(results, "measuring", len(jobs), unit="frame", disable=not progress):
            for metric, sample in zip(metrics, samples, strict=True):
                if job.first:
                    metric.start(job.sequence)
                metric.add(sample)
    return shape, resized


def _in_order(pool: ThreadPoolExecutor, function: Callable, items: Iterable, ahead: int) -> Iterator:
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


def _resized(image: np.ndarray, size: Size | None) -> np.ndarray:
    return resize_image(image, *size) if size else image


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}x{shape[0]}"
