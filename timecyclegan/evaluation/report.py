"""Evaluations as text for the terminal.

    python -m timecyclegan.evaluation.report [LABEL=]METRICS.JSON ...

prints one evaluation, or several side by side.
"""
import json
import sys
from collections.abc import Iterable
from pathlib import Path

from timecyclegan.evaluation.base import UNCONDITIONAL, Evaluation
from timecyclegan.util.argparser import Parser
from timecyclegan.util.errors import command, failed
from timecyclegan.util.logs import write_csv


def format_metrics(evaluation: Evaluation) -> str:
    """Table of an evaluation: value, that of what is compared with, which way is better; then the notes.

    The notes say what was compared, why a value is missing ("-") and what was left out of an average.
    """
    return "\n".join([_table({"value": evaluation}, evaluation.values), "", *_notes(evaluation)])


def format_comparison(evaluations: dict[str, Evaluation]) -> str:
    """Table of several evaluations by label: their values side by side, the real clip's own, which way is better.

    Metrics that none of them has are left out; a last line names those that are not the same metric in all.
    """
    first = next(iter(evaluations.values()))
    found = {name: [each.values[name] for each in evaluations.values() if name in each.values] for name in first.values}
    shown = [name for name, values in found.items() if any(value.value is not None for value in values)]
    apart = [first.values[name].title for name in shown if len({value.definition for value in found[name]}) > 1]
    warning = f"\nnot comparable, the definitions differ: {', '.join(apart)}" if apart else ""
    return _table(evaluations, shown) + warning


def _table(evaluations: dict[str, Evaluation], names: Iterable[str]) -> str:
    """A column of values for each evaluation; the rest is as the first one has it."""
    first = next(iter(evaluations.values()))
    rows = [("metric", *evaluations, first.reference, "better", "unit")]
    for name in names:
        own, found = first.values[name], (evaluation.values.get(name) for evaluation in evaluations.values())
        cells = ["-" if number is None else f"{number:.6g}" for number in (*(v and v.value for v in found), own.real)]
        rows.append((own.title, *cells, own.better, own.unit))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return "\n".join(lines)


def csv_row(evaluation: Evaluation) -> dict[str, str]:
    """A column per metric, and for the real clip's own value where there is one, as text; "" for none, never 0."""
    return {column: "" if number is None else f"{number:.8g}" for name, value in evaluation.values.items()
            for column, number in [(name, value.value), *([(f"{name}_real", value.real)] if value.has_real else [])]}


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
    (height, width), seen = evaluation.frame_size, max(values, key=lambda value: value.frames)
    notes = [f"{seen.frames} frames in {seen.sequences} sequence(s), {width}x{height} pixels"]
    if evaluation.kind == UNCONDITIONAL:
        notes.append(f"beside {evaluation.reference_frames} frames in {evaluation.reference_sequences} "
                     "real sequence(s)")
    if flow := evaluation.flow:  # those of before there were several back ends do not say it
        weights = f" ({flow['flow_weights']})" if flow["flow_weights"] else ""
        notes.append(f"optical flow by {flow['flow_backend']}{weights}")
    if size := evaluation.resize:
        notes.append(f"all frames were resized to {size[1]}x{size[0]}")
    if evaluation.resized_real:
        sizes = ", ".join(f"{w}x{h}" for h, w in evaluation.resized_real)
        notes.append(f"frames of the {evaluation.reference} resized from {sizes}")
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
        label, _, path = text.rpartition("=")
        evaluations[label or path] = _load(Path(path))
    print(format_comparison(evaluations) if len(evaluations) > 1 else format_metrics(*evaluations.values()))


def _load(path: Path) -> Evaluation:
    try:
        evaluation = Evaluation.from_json(json.loads(path.read_text()))
        next(iter(evaluation.values.values()))
        return evaluation
    except (OSError, ValueError, KeyError, TypeError, AttributeError, StopIteration, RecursionError) as error:
        what = f"cannot read {path}"
        raise failed(what, error, f"{what}: it is no metrics.json of val.py or compute_metrics ({error})") from error


if __name__ == "__main__":
    sys.exit(main())
