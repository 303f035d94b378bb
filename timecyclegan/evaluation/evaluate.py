"""The whole evaluation of fake frames against real ones: which metrics there are, and how they are run together."""
import platform
from collections.abc import Collection
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import cv2

from timecyclegan.evaluation.compute_ewarp import EWarp, EWarpTrueFlow
from timecyclegan.evaluation.compute_fid import FID
from timecyclegan.evaluation.compute_flicker import Flicker, FlickerOfOne
from timecyclegan.evaluation.compute_l1 import L1
from timecyclegan.evaluation.compute_lpips import LPIPS
from timecyclegan.evaluation.compute_psnr_ssim import PSNR, SSIM
from timecyclegan.evaluation.compute_sharpness import Sharpness
from timecyclegan.evaluation.compute_tlp import TLP, TLPOfMeans
from timecyclegan.evaluation.compute_tof import TOF, TOFOfMeans
from timecyclegan.evaluation.kinds import KINDS
from timecyclegan.evaluation.measuring import Job, Size, measure
from timecyclegan.evaluation.metric import Metric, Result, View
from timecyclegan.evaluation.settings import Settings
from timecyclegan.evaluation.variants import VARIANTS
from timecyclegan.util.errors import UserError, unknown
from timecyclegan.video.frames import match_sequences

ROOTS = ("the real frames", "the fake frames")
LIBRARIES = ("av", "numpy", "pillow", "scikit-image", "scipy", "torch", "torchvision", "lpips", "pytorch-fid")

Sequences = dict[str, list[Path]]


# Every table and file follows from these: the metrics and their order. The second ones are computed where asked for.
METRICS: tuple[type[Metric], ...] = (FID, LPIPS, TLP, TOF, EWarp, Flicker, Sharpness, PSNR, SSIM, L1)
BY_NAME = {metric.spec.name: metric for metric in (*METRICS, *VARIANTS)}
WITH_TRUE_FLOW = {EWarp: EWarpTrueFlow}
OF_MEANS = {TLP: TLPOfMeans, TOF: TOFOfMeans, Flicker: FlickerOfOne}  # for clips that share no motion
OF_SETS = (FID,)  # compare pictures whatever their order, also with others than those of the reference
NO_IMAGES = "no real pictures of what is generated were given"
METRIC_COLUMNS = tuple(column for metric in METRICS for column in (
    (metric.spec.name, f"{metric.spec.name}_real") if metric.spec.has_real else (metric.spec.name,)))


Results = dict[type[Metric], Result]


class Pass(NamedTuple):
    """What came of looking at all frames; ``resized``: the sizes that frames of the reference had."""
    metrics: list[Metric]
    size: Size
    resized: set[Size]


class Evaluator:
    """Metrics to compute, and the networks that they look through, loaded once for any number of clips.

    Args:
        kind: of :data:`KINDS`. "paired": the real frames show the same moments. "unpaired": the clips compared with
            are those that the fake ones were translated from. "unconditional": the two sides need not match in
            anything.
        images: whether there will be real pictures of what is generated; of the kind "unpaired" there may be none.

    Raises:
        UserError: there is no metric of a name that ``settings`` asks for, or one that it requires cannot be computed.
    """

    def __init__(self, kind: str = "paired", settings: Settings = Settings(),  # noqa: B008 (it is frozen)
                 images: bool = True) -> None:
        self.kind, self.settings, self.rules = kind, settings, KINDS[kind]
        asked = [metric.spec.name for metric in METRICS] if settings.only is None else settings.only
        names = dict.fromkeys(_known([*asked, *settings.also, *settings.require]))
        variants = OF_MEANS if kind == "unconditional" else {}
        self._metrics = [variants.get(metric, metric) for name, metric in BY_NAME.items() if name in names]
        self._missing = {metric.spec.name: self.rules.missing(metric.spec) for metric in self._metrics}
        if kind == "unpaired" and not images:
            self._missing |= {metric.spec.name: NO_IMAGES for metric in OF_SETS if metric.spec.name in names}
        self._views = self._load()
        self._check(self._missing)

    def _load(self) -> dict[type[View], View]:
        """The views whose weights are there; metrics that look through the others have no value."""
        views = {}
        for kind in {metric.view for metric in self._metrics if not self._missing[metric.spec.name]} - {None}:
            try:
                views[kind] = kind(self.settings)
            except UserError as error:
                self._missing |= {metric.spec.name: str(error) for metric in self._metrics
                                  if metric.view is kind and not self._missing[metric.spec.name]}
        return views

    def _check(self, missing: dict[str, str | None]) -> None:
        for name in self.settings.require:
            if missing[name]:
                raise UserError(f"--require {name}: it cannot be computed, {missing[name]}")

    def check_any(self) -> None:
        """Raise a UserError if none of the metrics asked for can be computed."""
        if all(self._missing.values()):
            raise UserError("; ".join(f"{name} has no value: {reason}" for name, reason in self._missing.items())
                            or "no metric was asked for")

    def check_required(self, evaluation: dict) -> None:
        """Raise a UserError if one of the required metrics has no value in what calling this returned."""
        self._check({name: facts["reason"] for name, facts in evaluation["metrics"].items()})

    def __call__(self, real: Sequences, fake: Sequences, flow_dir: str | Path | None = None,
                 images: Sequences | None = None, roots: tuple[str | Path, str | Path] = ROOTS) -> dict:
        """See :func:`evaluate`."""
        chosen = [WITH_TRUE_FLOW.get(metric, metric) if flow_dir else metric for metric in self._metrics]
        metrics = [metric for metric in chosen if not self._missing[metric.spec.name]]
        compare = self._by_themselves if self.kind == "unconditional" else self._side_by_side
        results, size, resized = compare(metrics, real, fake, flow_dir, images, roots)
        return {
            "metrics": {metric.spec.name: self._to_json(
                metric, results.get(metric) or Result(reason=self._missing[metric.spec.name])) for metric in chosen},
            "flow": dict(self.settings.flow.facts),
            "kind": self.kind,
            "reference": self.rules.reference,
            "reference_frames": sum(map(len, real.values())),
            "reference_sequences": len(real),
            "frame_size": list(size),
            "resize": list(self.settings.resize) if self.settings.resize else None,
            "resized_real": sorted(map(list, resized)),
            "resized_by": "bicubic with antialiasing (Pillow)",
            "libraries": {"python": platform.python_version(), "opencv": cv2.__version__,
                          **{name: version(name) for name in LIBRARIES}},
        }

    def _side_by_side(self, kinds: list[type[Metric]], real: Sequences, fake: Sequences, flow_dir: str | Path | None,
                      images: Sequences | None, roots: tuple) -> tuple[Results, Size, set[Size]]:
        """Results, the fake frames' size, the sizes that real ones were resized from; each frame beside its partner."""
        jobs = [Job(name, fake_path, t == 0, real_path) for name, pairs in match_sequences(real, fake, *roots).items()
                for t, (real_path, fake_path) in enumerate(pairs)]
        seen, size, resized = self._look(kinds, jobs, roots, flow_dir=flow_dir, alike=self.kind == "paired")
        results = {type(metric): metric.result() for metric in seen}
        if self.kind == "unpaired" and (sets := [metric for metric in seen if type(metric) in OF_SETS]):
            others = self._look([*map(type, sets)], _jobs(images), roots, size=size).metrics
            results |= {type(own): own.beside(other) for own, other in zip(sets, others, strict=True)}
        return results, size, resized

    def _by_themselves(self, kinds: list[type[Metric]], real: Sequences, fake: Sequences, _flow_dir: None,
                       _images: None, roots: tuple) -> tuple[Results, Size, set[Size]]:
        """The same for two sets of clips that have nothing in common: first the fake ones, then the real ones."""
        ours, size, _ = self._look(kinds, _jobs(fake), roots)
        theirs, _, resized = self._look(kinds, _jobs(real), roots, size=size)
        return {type(own): own.beside(other) for own, other in zip(ours, theirs, strict=True)}, size, resized

    def _look(self, kinds: list[type[Metric]], jobs: list[Job], roots: tuple, **options: Any) -> Pass:
        """Run frames through new metrics; ``options``: of :func:`measure`."""
        if not jobs:
            raise UserError(f"there are no frames to compare in {roots[0]} and {roots[1]}")
        settings, metrics = self.settings, [kind() for kind in kinds]
        return Pass(metrics, *measure(jobs, metrics, self._views, progress=settings.progress, resize=settings.resize,
                                      flow=settings.flow.flow, **options))

    def _to_json(self, metric: type[Metric], result: Result) -> dict:
        spec = self.rules.spec(metric.spec, self.settings)
        facts = {"definition": spec.definition, "better": spec.better, "unit": spec.unit, "title": spec.title,
                 "over": spec.over, **asdict(result)}
        if metric.view in self._views:
            facts["network"] = dict(self._views[metric.view].facts)
        return {key: fact for key, fact in facts.items()
                if (spec.has_real or not key.startswith("real")) and (key, fact) != ("details", None)}


def evaluate(real: Sequences, fake: Sequences, flow_dir: str | Path | None = None, kind: str = "paired",
             images: Sequences | None = None, roots: tuple[str | Path, str | Path] = ROOTS, **settings: Any) -> dict:
    """Compute metrics of the fake frames against the real ones.

    Sequences are paired by name and frames by place. Real frames of another size than the fake ones are resized
    to it (bicubic). Every frame is read once, and of a long video only a few numbers per frame are kept.

    Args:
        real, fake: what :func:`find_sequences` returns.
        flow_dir: true flow, ``<sequence>/<stem of the real frame>.npz``, see :func:`load_flow`; used by E_warp.
        kind: see :class:`Evaluator`.
        images: for the kind "unpaired", real pictures of what the fake ones should look like, in any number and size.
        roots: what errors call the two sides.
        settings: of :class:`Settings`.

    Returns:
        a JSON-ready dict. "metrics": name -> the fields of :class:`Result` and :class:`Spec`, and what is known of the
        "network" that it looks through; "kind"; "reference": what the real side is, "reference_frames" and
        "reference_sequences" how much of it; "frame_size": [height, width]; "resize": what all frames were resized to,
        if they were; "resized_real": the sizes of real frames that were resized to the fake ones', [] if none was;
        "resized_by": how; "flow": what ``flow.describe`` says of the flow's estimator; "libraries": name -> version.

    Raises:
        UserError: the two sides do not match, a file cannot be read, the fake frames have different sizes, a
            metric's name is unknown, a required one has no value.
    """
    evaluator = Evaluator(kind, Settings(**settings), images is not None)
    evaluation = evaluator(real, fake, flow_dir, images, roots)
    evaluator.check_required(evaluation)
    return evaluation


def _jobs(clips: Sequences) -> list[Job]:
    return [Job(name, path, t == 0) for name, paths in clips.items() for t, path in enumerate(paths)]


def _known(names: Collection[str]) -> list[str]:
    for name in names:
        if name not in BY_NAME:
            raise unknown("metric", name, BY_NAME)
    return list(names)


def csv_row(evaluation: dict) -> dict[str, str]:
    """The values for :data:`METRIC_COLUMNS` and of further metrics, as text; "" where one is undefined, never 0."""
    row = dict.fromkeys(METRIC_COLUMNS, "")
    for name, facts in evaluation["metrics"].items():
        for column, value in ((name, facts["value"]), (f"{name}_real", facts.get("real"))):
            if value is not None:
                row[column] = f"{value:.8g}"
    return row
