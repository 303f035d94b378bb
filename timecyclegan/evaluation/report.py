"""An evaluation as text for the terminal."""

HEADER = ("metric", "value", "real clip", "better", "unit")


def format_metrics(evaluation: dict) -> str:
    """Table of what ``evaluate`` returns: value, the real clip's own, which way is better; then the notes.

    The notes say what was compared, why a value is missing ("-") and what was left out of an average.
    """
    metrics = list(evaluation["metrics"].values())
    rows = [HEADER] + [(facts["title"], _number(facts["value"]), _number(facts.get("real")), facts["better"],
                        facts["unit"]) for facts in metrics]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
             for row in rows]
    return "\n".join([*lines, "", *_notes(evaluation, metrics)])


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
