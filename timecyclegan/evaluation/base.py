"""What all metrics share: the step they look at, how samples become averages, and what a result is.

A metric is a pure function on frames; its class only says how a step's sample comes from that function. The
averages are taken here, once: over frames or over pairs of neighbouring frames, never across a sequence boundary.
"""
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import numpy as np

from timecyclegan.evaluation.flow import Estimator, FlowFunction, TrueFlow, Warp
from timecyclegan.flow.opencv import farneback

PER_FRAME, PER_PAIR = "frame", "pair"
CLOSER = "closer to the "  # then what is compared with, whose own value is the best one
IMAGES = "real pictures"  # what metrics of sets compare with where the clips were translated
LOWER, HIGHER, CLOSER_TO_REAL = BETTER = "lower", "higher", f"{CLOSER}real clip"
TRUE_FLOW = "true-flow"  # in definitions, in the place of a back end's name
PAIRED, UNPAIRED, UNCONDITIONAL = KINDS = "paired", "unpaired", "unconditional"  # what is compared, see evaluate.py


@dataclass(frozen=True)
class Settings:
    """What an evaluation depends on besides its frames and metrics.

    Attributes:
        flow: what estimates optical flow.
        gpu: of networks; -1 is the CPU.
        fid_dims: which of Inception's features FID compares: 64, 192, 768 or 2048.
        resize: (height, width) to bring all frames to, bicubic, before anything is computed; None keeps their size.
        progress: show a bar on stderr.
    """
    flow: Estimator = Estimator()  # noqa: RUF009 (it is a tuple)
    gpu: int = -1
    fid_dims: int = 2048
    resize: tuple[int, int] | None = None
    progress: bool = False


@dataclass(frozen=True, eq=False)
class Step:
    """Frame t of both clips with its predecessor: uint8 (H, W, 3), RGB, all of one size.

    The predecessors are None at the start of a sequence, the real frames where a clip is looked at by itself. Flows
    are computed by ``flow`` on first use and then shared by all metrics. ``true_flow`` leads from frame t back to frame
    t - 1 of the real clip. ``alike`` says whether the real frame shows what the fake one should, or only moves so: that
    of the clip that was translated. ``seen`` is what the views make of frame t.
    """
    real: np.ndarray | None
    fake: np.ndarray
    previous_real: np.ndarray | None = None
    previous_fake: np.ndarray | None = None
    true_flow: TrueFlow | None = None
    flow: FlowFunction = farneback
    alike: bool = True
    seen: dict[type["View"], Any] = field(default_factory=dict)

    @property
    def first(self) -> bool:
        """Whether it starts a sequence."""
        return self.previous_fake is None

    @cached_property
    def real_forward(self) -> np.ndarray:
        return self.flow(self.previous_real, self.real)

    @cached_property
    def real_backward(self) -> np.ndarray:
        return self.flow(self.real, self.previous_real)

    @cached_property
    def real_warp(self) -> Warp:
        """How the real clip's predecessor becomes its frame t: by true flow where there is some."""
        return Warp(*self.true_flow) if self.true_flow else Warp.from_estimates(self.real_forward, self.real_backward)

    @cached_property
    def fake_forward(self) -> np.ndarray:
        return self.flow(self.previous_fake, self.fake)


class View:
    """What a network makes of frames; metrics that look through the same view share it.

    It is called with batches of consecutive frames of one sequence each, in order, through all sequences.

    Attributes:
        facts: what to write beside numbers that came of it: network, weight file and its SHA-256, treatment of pixels.
        fetched: its weights are fetched where they are missing.

    Raises:
        UserError: on construction, its weights are missing or do not fit.
    """
    facts: Mapping[str, Any]
    fetched: ClassVar[bool] = False

    def __init__(self, settings: Settings) -> None:
        raise NotImplementedError

    def __call__(self, steps: Sequence[Step]) -> list[Any]:
        """One entry per frame; a metric finds it in ``step.seen[type(view)]``."""
        raise NotImplementedError


class Sample(NamedTuple):
    """A metric's value of one frame or pair, and the real clip's own one; None where it is undefined."""
    fake: float | None
    real: float | None = None


@dataclass(frozen=True)
class Value:
    """What came of a metric. ``value`` is None where it is undefined, and then ``reason`` says why.

    Attributes:
        name, title, definition, unit: which metric it is; by its ``definition`` a number cannot be mistaken for one of
            another kind, flow or network.
        better: which way it gets better: LOWER, HIGHER, or CLOSER and what is compared with, whose own value is
            ``real``.
        over: whether it runs over frames or pairs.
        flow: what computed its flow, a back end or TRUE_FLOW; empty where it looks at none.
        frames, pairs, sequences: how many were looked at.
        skipped: how many frames (pairs) among them have no value and are left out of the averages;
            ``skipped_because`` says why.
        per_sequence, per_frame: the same of each; one entry per frame, that of a pair at its later frame.
        real_per_sequence, real_per_frame: of the real clip, for metrics that have it.
        details: what ``value`` was made of, JSON-ready; "note" in it is for the reader of tables.
        network: the ``facts`` of the view that it looked through.
    """
    name: str
    title: str
    definition: str = ""
    better: str = ""
    unit: str = ""
    over: str = PER_FRAME
    flow: str = ""
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
    network: dict[str, Any] | None = None

    @property
    def has_real(self) -> bool:
        """Whether what is compared with has a value of its own."""
        return self.better.startswith(CLOSER)

    @property
    def loss(self) -> float | None:
        """How far it is from the best value, up to a constant: lower is better; None if that cannot be said."""
        if self.value is None or (self.has_real and self.real is None):
            return None
        return abs(self.value - self.real) if self.has_real else {LOWER: self.value, HIGHER: -self.value}.get(
            self.better)

    def to_json(self) -> dict[str, Any]:
        """An entry of "metrics" in metrics.json; what this metric never has is left out."""
        facts = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "name"}
        return {key: fact for key, fact in facts.items() if (self.has_real or not key.startswith("real"))
                and (fact is not None or key not in ("details", "network"))}

    @classmethod
    def from_json(cls, name: str, facts: Mapping[str, Any], reference: str = "real clip",
                  backend: str = "") -> "Value":
        """The value of an entry, also of one that an earlier version wrote: that named no metric's flow, called the way
        to the real clip's own value by other words, and that to a sharpness of 1, and E_warp's "lower".

        Args:
            reference, backend: of its evaluation, what was compared with and the flow's back end.
        """
        known = {each.name for each in fields(cls)}
        found = {key: fact for key, fact in facts.items() if key in known and fact is not None}
        if found.get("better") == "closer to 1":
            found["real"] = 1.0
        if ("real" in facts or "real" in found) and found.get("better") != CLOSER + IMAGES:
            found["better"] = CLOSER + reference
        if "flow" not in facts:
            parts = (flow for flow in (backend, TRUE_FLOW) if flow and f"-{flow}-" in found.get("definition", ""))
            found["flow"] = next(parts, "")
        return cls(**{"name": name, "title": name, **found})


@dataclass(frozen=True)
class Evaluation:
    """What came of all metrics, by name, and what holds for all of them.

    Attributes:
        kind: what was compared, of :data:`KINDS`.
        reference, reference_frames, reference_sequences: what to call the clips that are compared with; how many.
        images: how many further real pictures there were, for metrics of sets.
        flow: what ``flow.describe`` says of the flow's estimator.
        frame_size: [height, width]. resize: what all frames were resized to, if they were. resized_real: the sizes of
            frames of the reference that were resized to the fake ones'; resized_images: the same of the further real
            pictures; resized_by: how.
        libraries: name -> version.
        facts: what its maker adds, JSON-ready.
    """
    values: dict[str, Value]
    flow: dict[str, Any] = field(default_factory=dict)
    kind: str = PAIRED
    reference: str = "real clip"
    reference_frames: int = 0
    reference_sequences: int = 0
    images: int = 0
    frame_size: list[int] | None = None
    resize: list[int] | None = None
    resized_real: list[list[int]] = field(default_factory=list)
    resized_images: list[list[int]] = field(default_factory=list)
    resized_by: str = "bicubic with antialiasing (Pillow)"
    libraries: dict[str, str] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """What stands in metrics.json."""
        own = {each.name: getattr(self, each.name) for each in fields(self) if each.name not in ("values", "facts")}
        return {"metrics": {name: value.to_json() for name, value in self.values.items()}, **own, **self.facts}

    @classmethod
    def from_json(cls, written: Mapping[str, Any]) -> "Evaluation":
        """What metrics.json holds, also one of an earlier version.

        Raises:
            KeyError, TypeError, AttributeError: it holds something else.
        """
        known = {each.name for each in fields(cls)} - {"values", "facts"}
        beside = written.get("reference") or cls.reference, (written.get("flow") or {}).get("flow_backend", "")
        values = {name: Value.from_json(name, facts, *beside) for name, facts in written["metrics"].items()}
        return cls(values, **{key: fact for key, fact in written.items() if key in known and fact is not None},
                   facts={key: fact for key, fact in written.items() if key not in known | {"metrics"}})

    def flows(self) -> dict[str, list[str]]:
        """What computed flow for the values that there are -> the titles of their metrics."""
        found: dict[str, list[str]] = {}
        for value in self.values.values():
            if value.flow and value.value is not None:
                found.setdefault(value.flow, []).append(value.title)
        return found

    def apart(self, other: "Evaluation", name: str) -> str | None:
        """Why the two values of a metric do not compare; None if they do, or one is missing."""
        sides = self, other
        values = [side.values.get(name) for side in sides]
        if None in values or any(value.value is None for value in values):
            return None
        sets = [(value.details or {}) for value in values]
        facts = {  # where an earlier version left one out, nothing is said
            "definitions": [value.definition for value in values],
            "frame sizes": [side.frame_size and "{1}x{0}".format(*side.frame_size) for side in sides],
            "numbers of generated frames": [value.frames for value in values],
            "numbers of real pictures": [found.get("real_frames", found.get("real_clips")) for found in sets],
            "networks' weights": [(value.network or {}).get("weights_sha256") for value in values],
            "flow networks' weights": [value.flow and side.flow.get("flow_backend") == value.flow and
                                       side.flow.get("flow_weights_sha256")
                                       for side, value in zip(sides, values, strict=True)],
        }
        differ = (f"the {what} differ: {one} and {two}" for what, (one, two) in facts.items()
                  if one and two and one != two)
        return next(differ, None)


class Metric:
    """Collects the samples of a metric, sequence by sequence, frames in order.

    A subclass says what it is, why a sample can lack a value (``undefined``), and how a ``sample`` comes about; what it
    keeps is a few numbers per frame, no frames. ``measure`` reads nothing but its step, so it may run in any thread
    and in any order; ``start`` and ``add`` are called in order.

    Attributes:
        definition: ``{flow}`` in it stands for the name of what computes the flow, ``{dims}`` for FID's features.
        better: of BETTER; CLOSER_TO_REAL where the real clip has a value of its own. Every table and comparison takes
            its direction from here.
        flow: the back end of one whose definition says which it is.
        mean_over_sequences: the mean runs over the sequences' means.
        same_moment: it needs a real frame that shows what the fake one should. same_motion: it needs a clip that moves
            as the fake one should. of_sets: it compares pictures or clips whatever their order, and where real ones of
            the same moments are lacking, with any others. in_own_sizes: its command compares sets of pictures of any
            sizes; in an evaluation they have the generated ones', and it is another definition.
        true_flow: it takes true flow where there is some.
        by_default: the kinds in which it is computed without being asked for.
        view: the network that it looks through.
    """
    name: ClassVar[str]
    title: ClassVar[str]
    definition: ClassVar[str]
    better: ClassVar[str] = LOWER
    over: ClassVar[str] = PER_FRAME
    unit: ClassVar[str] = ""
    flow: ClassVar[str] = ""
    mean_over_sequences: ClassVar[bool] = False
    same_moment: ClassVar[bool] = False
    same_motion: ClassVar[bool] = False
    of_sets: ClassVar[bool] = False
    in_own_sizes: ClassVar[bool] = False
    true_flow: ClassVar[bool] = False
    by_default: ClassVar[Collection[str]] = KINDS
    view: ClassVar[type[View] | None] = None
    undefined: ClassVar[str] = "it is undefined for these frames"

    def __init__(self) -> None:
        self._sequences: dict[str, list[Sample | None]] = {}

    def start(self, sequence: str) -> None:
        """Begin a sequence; what follows belongs to it."""
        self._current = self._sequences.setdefault(sequence, [])

    def measure(self, step: Step) -> Any:
        """The step's sample, for :meth:`add`; None at the start of a sequence if the metric looks at pairs."""
        if self.over == PER_PAIR and step.first:
            return None
        return Sample(self.alone(step)) if step.real is None and not self.of_sets else self.sample(step)

    def add(self, sample: Any) -> None:
        """Take the next frame's ``measure``."""
        self._current.append(sample)

    def take(self, others: Sequence["Metric"], order: Iterable[str]) -> None:
        """Take over what others of this kind have of sequences, in this order; each has its own."""
        found = {name: samples for other in others for name, samples in other._sequences.items()}
        self._sequences |= {name: found[name] for name in order}

    def sample(self, step: Step) -> Any:
        """The value of one frame or pair beside the real one."""
        raise NotImplementedError

    def alone(self, step: Step) -> float | None:
        """The value of one frame or pair of a clip by itself, for those that share no motion with a real one."""
        raise NotImplementedError

    def summarize(self, samples: Sequence[Sample]) -> Sample:
        """Average samples: the means of the defined ones."""
        return Sample(_mean(s.fake for s in samples), _mean(s.real for s in samples))

    @classmethod
    def value(cls, **facts: Any) -> Value:
        """A result of this metric."""
        own = ("name", "title", "definition", "better", "unit", "over", "flow")
        return Value(**{key: getattr(cls, key) for key in own}, **facts)

    def result(self) -> Value:
        """The averages of everything added so far."""
        taken = {name: [s for s in samples if s is not None] for name, samples in self._sequences.items()}
        every = [sample for samples in taken.values() for sample in samples]
        means = {name: self.summarize(samples) for name, samples in taken.items()}
        each = {name: [self.summarize([s] if s else []) for s in samples]
                for name, samples in self._sequences.items()}
        overall = Metric.summarize(self, means.values()) if self.mean_over_sequences else self.summarize(every)
        reason = None
        if overall.fake is None:
            pairs = "needs two frames in a row, and every sequence has one"
            reason = self.undefined if every else pairs if self.over == PER_PAIR else "there are no frames"
        skipped = sum(sample.fake is None for sample in every)
        frames = sum(map(len, self._sequences.values()))
        real = {}
        if self.better == CLOSER_TO_REAL:
            real = {"real_per_sequence": {name: mean.real for name, mean in means.items()},
                    "real_per_frame": {name: [s.real for s in row] for name, row in each.items()}}
        return self.value(
            value=overall.fake,
            reason=reason,
            real=overall.real,
            frames=frames,
            pairs=frames - sum(bool(samples) for samples in self._sequences.values()),
            sequences=len(self._sequences),
            skipped=skipped,
            skipped_because=self.undefined if skipped else None,
            per_sequence={name: mean.fake for name, mean in means.items()},
            per_frame={name: [s.fake for s in row] for name, row in each.items()},
            **real)

    def beside(self, real: "Metric") -> Value:
        """The result beside ``real``, which has seen other clips: as many, as long and as they like.

        A metric that has a value of the real clip puts that of the real clips beside its own; any other says how far
        its mean is from theirs, and that of each sequence and pair likewise.
        """
        own, other = self.result(), real.result()
        if own.has_real:
            return replace(own, real=other.value, real_per_sequence=other.per_sequence, real_per_frame=other.per_frame)
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


def _mean(values: Any) -> float | None:
    defined = [value for value in values if value is not None]
    return math.fsum(defined) / len(defined) if defined else None
