"""The whole evaluation of a folder of fake frames against the real ones.

    python -m timecyclegan.evaluation.compute_metrics REAL FAKE [--flow DIR] [--flow_backend NAME] [--json FILE]
"""
import argparse
import json
import platform
import sys
from collections.abc import Collection
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import cv2

from timecyclegan.datasets.frames import find_sequences, match_sequences
from timecyclegan.evaluation.compute_ewarp import EWarp, EWarpTrueFlow
from timecyclegan.evaluation.compute_flicker import Flicker, FlickerOfOne
from timecyclegan.evaluation.compute_l1 import L1
from timecyclegan.evaluation.compute_psnr_ssim import PSNR, SSIM
from timecyclegan.evaluation.compute_sharpness import Sharpness
from timecyclegan.evaluation.compute_tof import TOF, TOFOfMeans
from timecyclegan.evaluation.flow import Estimator, FlowFunction, estimator
from timecyclegan.evaluation.kinds import KINDS
from timecyclegan.evaluation.measuring import Job, Size, measure
from timecyclegan.evaluation.metric import LOWER, PER_PAIR, Metric, Result, Spec, Step
from timecyclegan.evaluation.report import format_metrics
from timecyclegan.flow import BACKENDS
from timecyclegan.util.errors import UserError, command
from timecyclegan.util.files import replacing

ROOTS = ("the real frames", "the fake frames")
FARNEBACK = Estimator()

Sequences = dict[str, list[Path]]


class NotBuilt(Metric):
    """Holds the place of a metric that needs a network: no value, and the reason."""

    def measure(self, step: Step) -> None:
        return None

    def result(self) -> Result:
        return Result(reason="this version does not compute it yet")


class FID(NotBuilt):
    spec = Spec("fid", "FID", LOWER, "fid-inception2015-2048")


class LPIPS(NotBuilt):
    spec = Spec("lpips", "LPIPS", LOWER, "lpips-0.1-alex", same_moment=True)


class TLP(NotBuilt):
    spec = Spec("tlp", "tLP", LOWER, "tlp-alex-1", PER_PAIR)


# Every table and file follows from this one: the metrics and their order.
METRICS: tuple[type[Metric], ...] = (FID, LPIPS, TLP, TOF, EWarp, Flicker, Sharpness, PSNR, SSIM, L1)
WITH_TRUE_FLOW = {EWarp: EWarpTrueFlow}
OF_MEANS = {TOF: TOFOfMeans, Flicker: FlickerOfOne}  # for clips that share no motion
METRIC_COLUMNS = tuple(column for metric in METRICS for column in (
    (metric.spec.name, f"{metric.spec.name}_real") if metric.spec.has_real else (metric.spec.name,)))


def evaluate(real: dict[str, list[Path]], fake: dict[str, list[Path]], flow_dir: str | Path | None = None,
             progress: bool = False, only: Collection[str] | None = None,
             roots: tuple[str | Path, str | Path] = ROOTS, kind: str = "paired",
             flow: Estimator = FARNEBACK) -> dict:
    """Compute all metrics, or ``only`` the named ones, of the fake frames against the real ones.

    Sequences are paired by name and frames by place. Real frames of another size than the fake ones are resized
    to it (bicubic). Every frame is read once, and of a long video only a few numbers per frame are kept.

    Args:
        real, fake: what :func:`find_sequences` returns.
        flow_dir: true flow, ``<sequence>/<stem of the real frame>.npz``, see :func:`load_flow`; used by E_warp.
        progress: show a line of progress on stderr.
        roots: what errors call the two sides.
        kind: of :data:`KINDS`. "unpaired": ``real`` are the clips that the fake ones were translated from.
            "unconditional": the two sides need not match in anything.
        flow: what estimates the flow, see :func:`estimator`.

    Returns:
        a JSON-ready dict. "metrics": name -> the fields of :class:`Result` and :class:`Spec`; "kind"; "reference":
        what the real side is, "reference_frames" and "reference_sequences" how much of it; "frame_size":
        [height, width]; "resized_real": the sizes of real frames that were resized, [] if none was; "flow": what
        ``flow.describe`` says of the flow's estimator;
        "libraries": name -> version.

    Raises:
        UserError: the two sides do not match, a file cannot be read, the fake frames have different sizes, a
            metric's name is unknown.
    """
    rules, names = KINDS[kind], _known(only)
    variants = OF_MEANS if kind == "unconditional" else WITH_TRUE_FLOW if flow_dir else {}
    metrics = [variants.get(metric, metric) for metric in METRICS]
    missing = {m.spec.name: rules.missing(m.spec) or ("it was not asked for" if m.spec.name not in names else None)
               for m in metrics}
    asked = [metric for metric in metrics if missing[metric.spec.name] is None]
    if kind == "unconditional":
        results, size, resized = _by_themselves(asked, real, fake, progress, roots, flow.flow)
    else:
        results, size, resized = _side_by_side(asked, real, fake, flow_dir, progress, roots, flow.flow)
    specs = {m: rules.spec(m.spec, flow.name) for m in metrics}
    return {
        "metrics": {m.spec.name: _to_json(specs[m], results.get(m) or Result(reason=missing[m.spec.name]))
                    for m in metrics},
        "flow": dict(flow.facts),
        "kind": kind,
        "reference": rules.reference,
        "reference_frames": sum(map(len, real.values())),
        "reference_sequences": len(real),
        "frame_size": list(size),
        "resized_real": sorted(map(list, resized)),
        "libraries": {"python": platform.python_version(), "opencv": cv2.__version__,
                      **{name: version(name) for name in ("numpy", "pillow", "scikit-image")}},
    }


Results = dict[type[Metric], Result]


def _side_by_side(kinds: list[type[Metric]], real: Sequences, fake: Sequences, flow_dir: str | Path | None,
                  progress: bool, roots: tuple, flow: FlowFunction) -> tuple[Results, Size, set[Size]]:
    """Results, the fake frames' size, the sizes that real ones were resized from; each frame beside its partner."""
    jobs = [Job(name, fake_path, t == 0, real_path) for name, pairs in match_sequences(real, fake, *roots).items()
            for t, (real_path, fake_path) in enumerate(pairs)]
    _check(jobs, *roots)
    metrics = [kind() for kind in kinds]
    size, resized = measure(jobs, metrics, flow_dir, progress, flow=flow)
    return {type(metric): metric.result() for metric in metrics}, size, resized


def _by_themselves(kinds: list[type[Metric]], real: Sequences, fake: Sequences, progress: bool,
                   roots: tuple, flow: FlowFunction) -> tuple[Results, Size, set[Size]]:
    """The same for two sets of clips that have nothing in common: first the fake ones, then the real ones."""
    sides = [[Job(name, path, t == 0) for name, paths in clips.items() for t, path in enumerate(paths)]
             for clips in (fake, real)]
    _check(sides[0] and sides[1], *roots)
    ours, theirs = ([kind() for kind in kinds] for _ in sides)
    size, _ = measure(sides[0], ours, progress=progress, flow=flow)
    _, resized = measure(sides[1], theirs, progress=progress, size=size, flow=flow)
    return {type(own): own.beside(other) for own, other in zip(ours, theirs, strict=True)}, size, resized


def _check(jobs: list[Job], real_root: str | Path, fake_root: str | Path) -> None:
    if not jobs:
        raise UserError(f"there are no frames to compare in {real_root} and {fake_root}")


def _known(only: Collection[str] | None) -> Collection[str]:
    names = [metric.spec.name for metric in METRICS]
    unknown = [name for name in only or () if name not in names]
    if unknown:
        raise UserError(f"unknown metric {', '.join(unknown)}; there are {', '.join(names)}")
    return names if only is None else only


def _to_json(spec: Spec, result: Result) -> dict:
    facts = {"definition": spec.definition, "better": spec.better, "unit": spec.unit, "title": spec.title,
             "over": spec.over, **asdict(result)}
    return {key: fact for key, fact in facts.items()
            if (spec.has_real or not key.startswith("real")) and (key, fact) != ("means", None)}


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
    parser.add_argument("--kind", choices=tuple(KINDS), default="paired", help="what was generated: unpaired compares "
                        "with the clips translated from (as REAL), unconditional with any real clips")
    parser.add_argument("--flow", metavar="DIR", help="true flow of the real clip, for E_warp")
    parser.add_argument("--flow_backend", metavar="NAME", default="farneback", help="what estimates flow, for tOF and "
                        "(where there is no true flow) E_warp: auto, " + ", ".join(BACKENDS) + " (default: farneback)")
    parser.add_argument("--flow_weights", metavar="FILE", default="", help="its weights, else looked for in torch "
                        "hub's cache")
    parser.add_argument("--gpu", type=int, default=0, help="of a flow network; -1 is the CPU")
    parser.add_argument("--only", metavar="NAME,...", help="of " + ", ".join(m.spec.name for m in METRICS))
    parser.add_argument("--json", metavar="FILE", help="write everything, per frame too, to this file")
    args = parser.parse_args(arguments)
    if args.flow and not Path(args.flow).is_dir():
        raise UserError(f"flow folder {args.flow} does not exist")
    if args.flow and args.kind == "unconditional":
        raise UserError("--flow has no use for --kind unconditional: no real flow belongs to a generated clip")
    only = args.only.split(",") if args.only else None
    evaluation = evaluate(find_sequences(args.real), find_sequences(args.fake), args.flow,
                          progress=sys.stderr.isatty(), only=only, roots=(args.real, args.fake), kind=args.kind,
                          flow=estimator(args.flow_backend, args.flow_weights, args.gpu))
    print(format_metrics(evaluation))
    if args.json:
        with replacing(args.json) as temporary:
            temporary.write_text(json.dumps(evaluation, indent=1, allow_nan=False) + "\n")


if __name__ == "__main__":
    sys.exit(main())
