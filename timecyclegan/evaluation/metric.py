"""What all metrics share: the step they look at, how samples become averages, and the form of a result.

A metric is a pure function on frames; its class only says how a step's sample comes from that function. The
averages are taken here, once: over frames or over pairs of neighbouring frames, never across a sequence boundary.
"""
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from timecyclegan.evaluation.flow import FlowFunction, TrueFlow
from timecyclegan.flow.opencv import farneback

if TYPE_CHECKING:
    from timecyclegan.evaluation.measuring import Frame
    from timecyclegan.evaluation.settings import Settings

PER_FRAME, PER_PAIR = "frame", "pair"
LOWER, HIGHER, CLOSER_TO_1 = "lower", "higher", "closer to 1"
CLOSER_TO_REAL, CLOSER_TO_SOURCE = "closer to real", "closer to source"


class View:
    """What a network makes of frames; metrics that look through the same view share it.

    It is called with batches of consecutive frames, in order, through all sequences; ``frame.job.first`` begins one.

    Attributes:
        facts: what to write beside numbers that came of it: network, weight file and its SHA-256, treatment of pixels.

    Raises:
        UserError: on construction, its weights are missing or do not fit.
    """
    facts: Mapping[str, Any]

    def __init__(self, settings: "Settings") -> None:
        raise NotImplementedError

    def __call__(self, frames: "Sequence[Frame]") -> list[Any]:
        """One entry per frame; a metric finds it in ``step.seen[type(view)]``."""
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class Step:
    """Frame t of both clips with its predecessor: uint8 (H, W, 3), RGB, all of one size.

    The predecessors are None at the start of a sequence, the real frames where a clip is looked at by itself. Flows
    are computed by ``flow`` on first use and then shared by all metrics. ``true_flow`` leads from frame t back to frame
    t - 1 of the real clip. ``seen`` is what the views make of frame t.
    """
    real: np.ndarray | None
    fake: np.ndarray
    previous_real: np.ndarray | None = None
    previous_fake: np.ndarray | None = None
    true_flow: TrueFlow | None = None
    flow: FlowFunction = farneback
    seen: Mapping[type[View], Any] = field(default_factory=dict)

    @cached_property
    def real_forward(self) -> np.ndarray:
        return self.flow(self.previous_real, self.real)

    @cached_property
    def real_backward(self) -> np.ndarray:
        return self.flow(self.real, self.previous_real)

    @cached_property
    def fake_forward(self) -> np.ndarray:
        return self.flow(self.previous_fake, self.fake)


class Sample(NamedTuple):
    """A metric's value of one frame or pair, and the real clip's own one; None where it is undefined."""
    fake: float | None
    real: float | None = None


@dataclass(frozen=True)
class Spec:
    """What a metric is called and how to read it; the columns of tables and files follow from it.

    definition: ``{flow}`` in it stands for the name of what computes the flow, ``{dims}`` for FID's features.
    same_moment: it needs a real frame that shows what the fake one should. same_motion: it needs a clip that moves as
    the fake one should.
    """
    name: str
    title: str
    better: str
    definition: str
    over: str = PER_FRAME
    unit: str = ""
    has_real: bool = False
    mean_over_sequences: bool = False
    same_moment: bool = False
    same_motion: bool = False


@dataclass(frozen=True)
class Result:
    """A metric's averages. ``value`` is None where it is undefined, and then ``reason`` says why.

    frames, pairs, sequences: how many were looked at. skipped: how many frames (pairs) among them have no value
    and are left out of the averages; ``skipped_because`` says why. per_frame has one entry per frame; the entry of
    a pair stands at its later frame. real...: the same numbers of the real clip, for metrics that have them. details:
    what ``value`` was made of, JSON-ready; "note" in it is for the reader of tables.
    """
    value: float | None = None
    reason: str | None = None
    real: float | None = None
    frames: int = 0
    pairs: int = 0
    sequences: int = 0
    skipped: int = 0
    skipped_because: str | None = None
    per_sequence: dict[str, float | None] = field(default_factory=dict)
    per_frame: dict[str, list[float | None]] = field(default_factory=dict)
    real_per_sequence: dict[str, float | None] = field(default_factory=dict)
    real_per_frame: dict[str, list[float | None]] = field(default_factory=dict)
    details: dict[str, Any] | None = None


class Metric:
    """Collects the samples of a metric, sequence by sequence, frames in order.

    A subclass sets ``spec``, ``undefined`` (why a sample can lack a value), ``sample`` and, if it needs a network, the
    ``view`` that it looks through. What it keeps is a few numbers per frame, no frames. ``measure`` reads nothing but
    its step, so it may run in any thread and in any order; ``start`` and ``add`` are called in order.
    """
    spec: ClassVar[Spec]
    view: ClassVar[type[View] | None] = None
    undefined: ClassVar[str] = "it is undefined for these frames"

    def __init__(self) -> None:
        self._sequences: dict[str, list[Sample | None]] = {}

    def start(self, sequence: str) -> None:
        """Begin a sequence; what follows belongs to it."""
        self._current = self._sequences.setdefault(sequence, [])

    def measure(self, step: Step) -> Sample | None:
        """The step's sample; None at the start of a sequence if the metric looks at pairs."""
        if self.spec.over == PER_PAIR and step.previous_fake is None:
            return None
        return self.sample(step)

    def add(self, sample: Sample | None) -> None:
        """Take the next frame's ``measure``."""
        self._current.append(sample)

    def update(self, step: Step) -> None:
        """Measure the next frame and add it."""
        self.add(self.measure(step))

    def sample(self, step: Step) -> Sample:
        """The value of one frame or pair."""
        raise NotImplementedError

    def summarize(self, samples: Sequence[Sample]) -> Sample:
        """Average samples: the means of the defined ones."""
        return Sample(_mean(s.fake for s in samples), _mean(s.real for s in samples))

    def result(self) -> Result:
        """The averages of everything added so far."""
        taken = {name: [s for s in samples if s is not None] for name, samples in self._sequences.items()}
        every = [sample for samples in taken.values() for sample in samples]
        means = {name: self.summarize(samples) for name, samples in taken.items()}
        each = {name: [self.summarize([s] if s else []) for s in samples]
                for name, samples in self._sequences.items()}
        overall = self._overall(every, means)
        skipped = sum(sample.fake is None for sample in every)
        frames = sum(map(len, self._sequences.values()))
        return Result(
            value=overall.fake,
            reason=self._reason(every) if overall.fake is None else None,
            real=overall.real,
            frames=frames,
            pairs=frames - sum(bool(samples) for samples in self._sequences.values()),
            sequences=len(self._sequences),
            skipped=skipped,
            skipped_because=self.undefined if skipped else None,
            **_split("per_sequence", means, self.spec.has_real, lambda mean, side: mean[side]),
            **_split("per_frame", each, self.spec.has_real, lambda row, side: [s[side] for s in row]))

    def beside(self, real: "Metric") -> Result:
        """The averages beside those that ``real``, of the same class, has of other clips: as many, and as they like."""
        own, other = self.result(), real.result()
        return replace(own, real=other.value, real_per_sequence=other.per_sequence, real_per_frame=other.per_frame)

    def _overall(self, every: list[Sample], means: dict[str, Sample]) -> Sample:
        if not self.spec.mean_over_sequences:
            return self.summarize(every)
        return Sample(_mean(m.fake for m in means.values()), _mean(m.real for m in means.values()))

    def _reason(self, every: list[Sample]) -> str:
        if every:
            return self.undefined
        if self.spec.over == PER_PAIR:
            return "needs two frames in a row, and every sequence has one"
        return "there are no frames"


class OfMeans(Metric):
    """For clips that have nothing in common: how far their mean sample is from that of the real clips.

    The value of a sequence or pair is its own distance from the real clips' mean.
    """

    def beside(self, real: Metric) -> Result:
        own, other = self.result(), real.result()
        reason = own.reason or (f"of the real clips: {other.reason}" if other.value is None else None)

        def distance(mean: float | None) -> float | None:
            return None if mean is None or other.value is None else abs(mean - other.value)

        return replace(
            own,
            value=distance(own.value),
            reason=reason,
            details=None if reason else {"generated": own.value, "real": other.value},
            per_sequence={name: distance(value) for name, value in own.per_sequence.items()},
            per_frame={name: [distance(value) for value in values] for name, values in own.per_frame.items()},
        )


def _mean(values) -> float | None:
    defined = [value for value in values if value is not None]
    return math.fsum(defined) / len(defined) if defined else None


def _split(name: str, table: dict, has_real: bool, pick) -> dict[str, dict]:
    """The fake side of a table of samples under ``name``, the real one under ``real_`` + ``name``."""
    sides = {name: {key: pick(entry, 0) for key, entry in table.items()}}
    if has_real:
        sides[f"real_{name}"] = {key: pick(entry, 1) for key, entry in table.items()}
    return sides
