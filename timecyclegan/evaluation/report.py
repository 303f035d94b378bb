"""Evaluations as text for the terminal.

    python -m timecyclegan.evaluation.report [LABEL=]METRICS.JSON ...

prints one evaluation, or several side by side.
"""
import argparse
import json
import sys
from pathlib import Path

from timecyclegan.evaluation.kinds import KINDS
from timecyclegan.util.errors import UserError, command
from timecyclegan.util.logs import write_csv


def format_metrics(evaluation: dict) -> str:
    """Table of what ``evaluate`` returns: value, that of what is compared with, which way is better; then the notes.

    The notes say what was compared, why a value is missing ("-") and what was left out of an average.
    """
    metrics = list(evaluation["metrics"].values())
    header = ("metric", "value", reference(evaluation), "better", "unit")
    rows = [header] + [(facts["title"], _number(facts["value"]), _number(facts.get("real")), facts["better"],
                        facts["unit"]) for facts in metrics]
    return "\n".join([_table(rows), "", *_notes(evaluation, metrics)])


def format_comparison(evaluations: dict[str, dict]) -> str:
    """Table of several evaluations by label: their values side by side, the real clip's own, which way is better.

    Metrics that none of them has are left out; a last line names those that are not the same metric in all.
    """
    first = next(iter(evaluations.values()))
    rows, apart = [("metric", *evaluations, reference(first), "better", "unit")], []
    for name, facts in first["metrics"].items():
        found = [evaluation["metrics"].get(name, {}) for evaluation in evaluations.values()]
        values = [each.get("value") for each in found]
        if any(value is not None for value in values):
            if len({each["definition"] for each in found if each}) > 1:
                apart.append(facts["title"])
            cells = (facts["title"], *map(_number, values), _number(facts.get("real")), facts["better"], facts["unit"])
            rows.append(cells)
    warning = f"\nnot comparable, the definitions differ: {', '.join(apart)}" if apart else ""
    return _table(rows) + warning


def per_frame_csv(evaluation: dict, fake: dict[str, list[Path]], path: str | Path) -> None:
    """Write a row per generated frame: sequence, index, file, then a column per metric; "" where one is undefined.

    The value of a pair stands at its later frame. ``..._real`` are those of the reference's frame of that place.
    """
    columns = {f"{name}{suffix}": facts[f"{key}per_frame"] for name, facts in evaluation["metrics"].items()
               for key, suffix in (("", ""), ("real_", "_real")) if facts.get(f"{key}per_frame")}
    rows = [{"sequence": name, "index": t, "frame": frame.name}
            | {column: _text(values.get(name, []), t) for column, values in columns.items()}
            for name, frames in fake.items() for t, frame in enumerate(frames)]
    write_csv(Path(path), rows, ["sequence", "index", "frame", *columns])


def _text(values: list[float | None], t: int) -> str:
    value = values[t] if t < len(values) else None
    return "" if value is None else f"{value:.8g}"


def reference(evaluation: dict) -> str:
    """What an evaluation compares with; those of before there were several kinds do not say it."""
    return evaluation.get("reference", KINDS["paired"].reference)


def _table(rows: list[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return "\n".join(lines)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.6g}"


def _notes(evaluation: dict, metrics: list[dict]) -> list[str]:
    height, width = evaluation["frame_size"]
    seen = max(metrics, key=lambda facts: facts["frames"])
    notes = [f"{seen['frames']} frames in {seen['sequences']} sequence(s), {width}x{height} pixels"]
    if evaluation.get("kind") == "unconditional":
        notes.append(f"beside {evaluation['reference_frames']} frames in {evaluation['reference_sequences']} "
                     "real sequence(s)")
    if flow := evaluation.get("flow"):  # those of before there were several back ends do not say it
        weights = f" ({flow['flow_weights']})" if flow["flow_weights"] else ""
        notes.append(f"optical flow by {flow['flow_backend']}{weights}")
    if size := evaluation.get("resize"):
        notes.append(f"all frames were resized to {size[1]}x{size[0]}")
    if evaluation["resized_real"]:
        sizes = ", ".join(f"{w}x{h}" for h, w in evaluation["resized_real"])
        notes.append(f"frames of the {reference(evaluation)} resized from {sizes}")
    reasons: dict[str, list[str]] = {}
    for facts in metrics:
        if facts["reason"]:
            reasons.setdefault(facts["reason"], []).append(facts["title"])
    notes += [f"{', '.join(titles)}: no value, {reason}" for reason, titles in reasons.items()]
    notes += [f"{facts['title']}: {note}" for facts in metrics if (note := (facts.get("details") or {}).get("note"))]
    notes += [f"{facts['title']}: {facts['skipped']} {facts['over']}(s) left out, {facts['skipped_because']}"
              for facts in metrics if facts["skipped"] and facts["value"] is not None]
    return notes


@command
def main(arguments: list[str] | None = None) -> None:
    """Print one or more metrics.json."""
    parser = argparse.ArgumentParser(prog="report", description="Print metrics.json files, several side by side.")
    parser.add_argument("files", nargs="+", metavar="[LABEL=]FILE", help="a metrics.json, with a name for its column")
    evaluations = {}
    for text in parser.parse_args(arguments).files:
        label, _, path = text.rpartition("=")
        evaluations[label or path] = _load(Path(path))
    print(format_comparison(evaluations) if len(evaluations) > 1 else format_metrics(*evaluations.values()))


def _load(path: Path) -> dict:
    try:
        evaluation = json.loads(path.read_text())
        next(iter(evaluation["metrics"].values()))["definition"]
        return evaluation
    except (OSError, ValueError, KeyError, TypeError, AttributeError, StopIteration) as error:
        raise UserError(f"cannot read {path}: it is no metrics.json of val.py or compute_metrics ({error})") from error


if __name__ == "__main__":
    sys.exit(main())
