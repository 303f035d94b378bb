"""Evaluations as text for the terminal.

    python -m timecyclegan.evaluation.report [LABEL=]METRICS.JSON ...

prints one evaluation, or several side by side.
"""
import argparse
import json
import sys
from pathlib import Path

from timecyclegan.util.errors import UserError, command

HEADER = ("metric", "value", "real clip", "better", "unit")


def format_metrics(evaluation: dict) -> str:
    """Table of what ``evaluate`` returns: value, the real clip's own, which way is better; then the notes.

    The notes say what was compared, why a value is missing ("-") and what was left out of an average.
    """
    metrics = list(evaluation["metrics"].values())
    rows = [HEADER] + [(facts["title"], _number(facts["value"]), _number(facts.get("real")), facts["better"],
                        facts["unit"]) for facts in metrics]
    return "\n".join([_table(rows), "", *_notes(evaluation, metrics)])


def format_comparison(evaluations: dict[str, dict]) -> str:
    """Table of several evaluations by label: their values side by side, the real clip's own, which way is better.

    Metrics that none of them has are left out.
    """
    first = next(iter(evaluations.values()))
    rows = [("metric", *evaluations, *HEADER[2:])]
    for name, facts in first["metrics"].items():
        values = [evaluation["metrics"].get(name, {}).get("value") for evaluation in evaluations.values()]
        if any(value is not None for value in values):
            cells = (facts["title"], *map(_number, values), _number(facts.get("real")), facts["better"], facts["unit"])
            rows.append(cells)
    return _table(rows)


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
    if evaluation["resized_real"]:
        sizes = ", ".join(f"{w}x{h}" for h, w in evaluation["resized_real"])
        notes.append(f"real frames resized from {sizes}")
    reasons: dict[str, list[str]] = {}
    for facts in metrics:
        if facts["reason"]:
            reasons.setdefault(facts["reason"], []).append(facts["title"])
    notes += [f"{', '.join(titles)}: no value, {reason}" for reason, titles in reasons.items()]
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
        evaluation["metrics"]["e_warp"]
        return evaluation
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"cannot read {path}: it is no metrics.json of val.py or compute_metrics ({error})") from error


if __name__ == "__main__":
    sys.exit(main())
