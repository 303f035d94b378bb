"""Evaluations as text for the terminal.

    python -m timecyclegan.evaluation.report [LABEL=]METRICS.JSON ...

prints one evaluation, or several side by side.
"""
import json
import sys
from pathlib import Path

from timecyclegan.evaluation.base import UNCONDITIONAL, Evaluation
from timecyclegan.util.argparser import Parser
from timecyclegan.util.errors import UserError, command
from timecyclegan.util.logs import write_csv


def format_metrics(evaluation: Evaluation) -> str:
    """Table of an evaluation: value, that of what is compared with, which way is better; then the notes.

    The notes say what was compared, why a value is missing ("-") and what was left out of an average.
    """
    rows = [("metric", "value", evaluation.reference, "better", "unit")]
    rows += [(value.title, _number(value.value), _number(value.real), value.better, value.unit)
             for value in evaluation.values.values()]
    return "\n".join([_table(rows), "", *_notes(evaluation)])


def format_comparison(evaluations: dict[str, Evaluation]) -> str:
    """Table of several evaluations by label: their values side by side, the real clip's own, which way is better.

    Metrics that none of them has are left out; a last line names those that are not the same metric in all.
    """
    first = next(iter(evaluations.values()))
    rows, apart = [("metric", *evaluations, first.reference, "better", "unit")], []
    for name, own in first.values.items():
        found = [evaluation.values.get(name) for evaluation in evaluations.values()]
        numbers = [value and value.value for value in found]
        if any(number is not None for number in numbers):
            if len({value.definition for value in found if value}) > 1:
                apart.append(own.title)
            rows.append((own.title, *map(_number, numbers), _number(own.real), own.better, own.unit))
    warning = f"\nnot comparable, the definitions differ: {', '.join(apart)}" if apart else ""
    return _table(rows) + warning


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
    rows = [{"sequence": name, "index": t, "frame": frame.name}
            | {column: _cell(table.get(name, []), t) for column, table in tables.items()}
            for name, frames in fake.items() for t, frame in enumerate(frames)]
    write_csv(Path(path), rows, ["sequence", "index", "frame", *tables])


def _cell(values: list[float | None], t: int) -> str:
    number = values[t] if t < len(values) else None
    return "" if number is None else f"{number:.8g}"


def _table(rows: list[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return "\n".join(lines)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.6g}"


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
    notes += [f"{value.title}: {value.note}" for value in values if value.note]
    notes += [f"{value.title}: {value.skipped} {value.over}(s) left out, {value.skipped_because}"
              for value in values if value.skipped and value.value is not None]
    return notes


@command
def main(arguments: list[str] | None = None) -> None:
    """Print one or more metrics.json."""
    parser = Parser(prog="report", description="Print metrics.json files, several side by side.")
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
    except (OSError, ValueError, KeyError, TypeError, AttributeError, StopIteration) as error:
        raise UserError(f"cannot read {path}: it is no metrics.json of val.py or compute_metrics ({error})") from error


if __name__ == "__main__":
    sys.exit(main())
