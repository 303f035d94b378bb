"""Evaluations as text for the terminal.

    python -m timecyclegan.evaluation.report [LABEL=]METRICS.JSON ...

prints one evaluation, or several side by side.
"""
import json
import sys
from collections.abc import Iterable, Sequence
from itertools import combinations
from pathlib import Path

from timecyclegan.evaluation.base import UNCONDITIONAL, Evaluation
from timecyclegan.util.argparser import Parser
from timecyclegan.util.errors import UserError, command, failed
from timecyclegan.util.logs import write_csv
from timecyclegan.util.names import user_path


def format_metrics(evaluation: Evaluation) -> str:
    """Table of an evaluation: value, that of what is compared with, which way is better; then the notes.

    The notes say what was compared, why a value is missing ("-") and what was left out of an average.
    """
    rows = [(value.title, value.value, value.real, value.better, value.unit) for value in evaluation.values.values()]
    return "\n".join([_table(("metric", "value", evaluation.reference, "better", "unit"), rows), "",
                      *_notes(evaluation)])


def format_comparison(evaluations: dict[str, Evaluation]) -> str:
    """Table of several evaluations by label: their values side by side, each one's real clip, which way is better.

    It has the metrics of all of them. A star marks those whose values do not compare; the last lines say why, and why
    a value is missing. What has no value anywhere stands there alone.
    """
    rows, apart, missing = [], {}, {}
    for name in dict.fromkeys(name for each in evaluations.values() for name in each.values):
        found = {label: each.values.get(name) for label, each in evaluations.items()}
        there = [value for value in found.values() if value]
        title, betters = there[0].title, dict.fromkeys(value.better for value in there)
        for label, value in found.items():
            if value is None or value.value is None:
                reason = value.reason or "it is undefined" if value else "it was not measured"
                missing.setdefault((label, reason), []).append(title)
        if all(value.value is None for value in there):
            continue
        reasons = [f"{label} and {other}: {reason}" for (label, one), (other, two) in combinations(
            evaluations.items(), 2) if (reason := one.apart(two, name))]
        for reason in reasons:
            apart.setdefault(reason, []).append(title)
        values = [value and value.value for value in found.values()], [value and value.real for value in found.values()]
        rows.append((title + " *" * bool(reasons), *values[0], *values[1], " or ".join(betters), there[0].unit))
    head = ("metric", *evaluations, *(f"{label}: {each.reference}" for label, each in evaluations.items()), "better",
            "unit")
    notes = [f"* {', '.join(titles)}: not comparable, {reason}" for reason, titles in apart.items()]
    notes += [f"{', '.join(titles)}: no value in {label}, {reason}" for (label, reason), titles in missing.items()]
    return "\n".join([_table(head, rows), *([""] if notes else []), *notes])


def _table(head: Sequence[str], rows: Iterable[Sequence[str | float | None]]) -> str:
    """Columns of one width each; numbers to six digits, "-" where there is none."""
    cells = [head, *([cell if isinstance(cell, str) else "-" if cell is None else f"{cell:.6g}" for cell in row]
                     for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells)
    return "\n".join(lines)


def csv_row(evaluation: Evaluation) -> dict[str, str]:
    """A column per metric, and for the real clip's own value where there is one, as text; "" for none, never 0."""
    return {column: "" if number is None else f"{number:.8g}" for name, value in evaluation.values.items()
            for column, number in [(name, value.value), *([(f"{name}_real", value.real)] if value.has_real else [])]}


def csv_facts(evaluation: Evaluation) -> dict[str, str | int]:
    """What the numbers of :func:`csv_row` are: flow, kind, frame size and counts, and the definition of each."""
    height, width = evaluation.frame_size
    return {"flow_backend": flow_text(evaluation), "kind": evaluation.kind, "frame_size": f"{width}x{height}",
            **{f"n_{what}": max(getattr(value, what) for value in evaluation.values.values())
               for what in ("frames", "pairs", "sequences")},
            "n_reference_frames": evaluation.reference_frames, "n_images": evaluation.images or "",
            **{f"{name}_definition": "" if value.value is None else value.definition
               for name, value in evaluation.values.items()}}


def flow_text(evaluation: Evaluation, weights: bool = False) -> str:
    """What computed the flow that values are made of, of which metrics if not of all alike; empty where there is none.

    Args:
        weights: name a network's file, too.
    """
    flows, parts = evaluation.flows(), []
    for flow, titles in flows.items():
        file = evaluation.flow.get("flow_weights") if flow == evaluation.flow.get("flow_backend") else None
        parts.append(flow + (f" ({file})" if weights and file else "")
                     + (f" for {' and '.join(titles)}" if len(flows) > 1 else ""))
    return ", ".join(parts)


def per_frame_csv(evaluation: Evaluation, fake: dict[str, list[Path]], path: str | Path) -> None:
    """Write a row per generated frame: sequence, index, file, then a column per metric; "" where one is undefined.

    The value of a pair stands at its later frame. ``..._real`` are those of the reference's frame of that place.
    """
    tables = {f"{name}{suffix}": table for name, value in evaluation.values.items()
              for table, suffix in ((value.per_frame, ""), (value.real_per_frame, "_real")) if table}
    rows = [{"sequence": name, "index": t, "frame": frame.name} | {
        column: f"{values[t]:.8g}" for column, table in tables.items()
        if t < len(values := table.get(name, ())) and values[t] is not None}
        for name, frames in fake.items() for t, frame in enumerate(frames)]
    write_csv(Path(path), rows, ["sequence", "index", "frame", *tables])


def _notes(evaluation: Evaluation) -> list[str]:
    values = list(evaluation.values.values())
    seen = max(values, key=lambda value: value.frames)
    pixels = ", {1}x{0} pixels".format(*evaluation.frame_size) if evaluation.frame_size else ""
    notes = [f"{seen.frames} frames in {seen.sequences} sequence(s){pixels}"]
    if evaluation.kind == UNCONDITIONAL:
        notes.append(f"beside {evaluation.reference_frames} frames in {evaluation.reference_sequences} "
                     "real sequence(s)")
    if flow := flow_text(evaluation, weights=True):
        notes.append(f"optical flow by {flow}")
    if size := evaluation.resize:
        notes.append(f"all frames were resized to {size[1]}x{size[0]}")
    for what, found in ((f"frames of the {evaluation.reference}", evaluation.resized_real),
                        ("real pictures", evaluation.resized_images)):
        if found:
            notes.append(f"{what} resized from {', '.join(f'{w}x{h}' for h, w in found)}")
    reasons: dict[str, list[str]] = {}
    for value in values:
        if value.reason:
            reasons.setdefault(value.reason, []).append(value.title)
    notes += [f"{', '.join(titles)}: no value, {reason}" for reason, titles in reasons.items()]
    notes += [f"{value.title}: {value.details['note']}" for value in values if "note" in (value.details or {})]
    notes += [f"{value.title}: {value.skipped} {value.over}(s) left out, {value.skipped_because}"
              for value in values if value.skipped and value.value is not None]
    return notes


@command
def main(arguments: list[str] | None = None) -> None:
    """Print one or more metrics.json."""
    parser = Parser(prog="python -m timecyclegan.evaluation.report",
                    description="Print metrics.json files, several side by side.")
    parser.add_argument("files", nargs="+", metavar="[LABEL=]FILE", help="a metrics.json, with a name for its column")
    evaluations = {}
    for text in parser.parse_args(arguments).files:
        label, path = _label(text)
        if label in evaluations:
            raise UserError(f"two columns are called {label}: give each file another name, as in A={path}")
        evaluations[label] = _load(user_path(path))
    print(format_comparison(evaluations) if len(evaluations) > 1 else format_metrics(*evaluations.values()))


def _label(text: str) -> tuple[str, str]:
    """LABEL and FILE of ``[LABEL=]FILE``, either of which may have = in it: FILE is the longest that exists."""
    starts = [0, *(place + 1 for place, letter in enumerate(text) if letter == "=")]
    start = next((start for start in starts if user_path(text[start:]).is_file()),
                 starts[min(1, len(starts) - 1)])
    return text[:max(0, start - 1)] or text[start:], text[start:]


def _load(path: Path) -> Evaluation:
    try:
        evaluation = Evaluation.from_json(json.loads(path.read_text("utf-8")))
        format_metrics(evaluation)  # what it cannot be made of is no evaluation
        return evaluation
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        what = f"cannot read {path}"
        raise failed(what, error, f"{what}: it is no metrics.json of val or compute_metrics ({error})") from error


if __name__ == "__main__":
    sys.exit(main())
