"""The charts of a report: how losses change over the steps, and metrics along the clips; the page draws them.

A chart is JSON-ready: "name" (unique on the page), "title", "number" beside that, "unit", "better", "warning", "x"
(what its axis counts) and "lines", each with its "style", "x" and "y"; None is a gap. The styles, from the line at the
back to the one in front, are "faint", "earlier", "real" and "strong".
"""
import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from timecyclegan.evaluation.base import UNCONDITIONAL, Evaluation, Value

MAX_POINTS = 500  # more points than pixels only make the page large
LEAST_FRAMES = 8  # in fewer there is no drift to see
_SMOOTHED_PART, _LEAST_SMOOTHED = 10, 5  # the moving mean spans this fraction of the curve, and no fewer points
_KEPT = (0.5, 99.5)  # percentiles
_LONG = 50  # from so many frames on, lines are smoothed
_FEW = 6  # so many sequences can be told apart
_SCHEDULE = "Schedule"  # the group of what is set, not measured; it comes last

Chart = dict[str, Any]


def thin(values: np.ndarray, limit: int = MAX_POINTS) -> np.ndarray:
    """At most ``limit`` evenly spaced entries, the first and the last among them."""
    return values[np.unique(np.linspace(0, len(values) - 1, min(limit, len(values))).round().astype(int))]


def smooth(values: np.ndarray) -> np.ndarray:
    """Centred moving mean over 1/10 of the curve, at the ends over the entries that exist; never fewer than 5.

    The most extreme 1 % of the values are cut to the next ones, or one spike would lift all means around it. NaN stays
    NaN and counts in no mean.
    """
    there = np.isfinite(values)
    values = np.where(there, values.clip(*np.nanpercentile(values, _KEPT)), 0)
    count = len(values)
    half = max(count // _SMOOTHED_PART, _LEAST_SMOOTHED) // 2
    index = np.arange(count)
    low = (index - half).clip(0, max(count - _LEAST_SMOOTHED, 0))
    high = (index + half + 1).clip(min(_LEAST_SMOOTHED, count), count)
    sums, counts = (np.concatenate([[0.0], np.cumsum(terms)]) for terms in (values, there))
    return np.where(there, (sums[high] - sums[low]) / np.maximum(counts[high] - counts[low], 1), np.nan)


def _line(style: str, x: np.ndarray, y: np.ndarray) -> dict[str, Any]:
    """Thinned, to five digits: what cannot be seen need not be in the page."""
    return {"style": style, "x": thin(x).tolist(),
            "y": [float(f"{value:.5g}") if np.isfinite(value) else None for value in thin(y)]}


def loss_charts(path: Path) -> dict[str, list[Chart]]:
    """The charts of a CSV of losses, by the part of their names before the last ``/``.

    It has the columns step, epoch and one per loss; empty cells were not logged at that step, and a value that is no
    number (a cut last line) counts as empty. NaN and infinity are counted, for they are the first thing that a reader
    should see. Losses that were never logged are left out. What is no loss, the learning rate, comes after them.
    """
    with open(path, encoding="utf-8", errors="replace", newline="") as file:
        rows = [{name: _number(text) for name, text in row.items() if name} for row in csv.DictReader(file)]
    groups: dict[str, list[Chart]] = {}
    for name in dict.fromkeys(name for row in rows for name in row if name not in ("step", "epoch")):
        points = np.array([(row["step"], row[name]) for row in rows
                           if row.get("step") is not None and row.get(name) is not None])
        if not len(points):
            continue
        group, _, title = name.removeprefix("Loss/").rpartition("/")
        group = group or (_SCHEDULE if title == "learning_rate" else "Losses")
        chart = {"name": name, "title": title, "number": "–", "x": "step", "lines": []}
        finite = np.isfinite(points[:, 1])
        lost, (steps, values) = points[~finite, 0], points[finite].T
        if len(lost):
            chart["warning"] = f"{len(lost)} values are NaN or infinite, the first at step {lost[0]:g}"
        if len(values):
            strong = values if group == _SCHEDULE else smooth(values)  # what was set is shown as it was set
            lines = [_line("faint", steps, values), _line("strong", steps, strong)]
            chart |= {"number": f"{strong[-1]:.3g}", "lines": lines}
        groups.setdefault(group, []).append(chart)
    return dict(sorted(groups.items(), key=lambda item: item[0] == _SCHEDULE))  # a stable sort


def _number(text: Any) -> float | None:
    try:
        return float(text)
    except (TypeError, ValueError):
        return None


def drift_charts(evaluation: Evaluation, others: Mapping[str, Value]) -> dict[str, Any] | None:
    """The "charts" of all metrics that have values per frame, and what the page says of how to read them.

    None if no sequence is long enough. A line is the mean over the sequences that have a value at that frame, counted
    from 1. Beside it are the line of the clip that is compared with, if it shows the same moments or motion, and that
    of ``others``, the metrics of another evaluation. "faint" lines are each sequence's where there are few, else what
    the mean was before smoothing.
    """
    values = evaluation.values.values()
    lengths = {name: len(row) for value in values for name, row in value.per_frame.items()}
    long = [length for length in lengths.values() if length >= LEAST_FRAMES]
    few, charts = 1 < len(long) <= _FEW, []
    for value in values:
        clips, lines = _clips(value.per_frame), []
        if not len(clips):
            continue
        real = value.real_per_frame if evaluation.kind != UNCONDITIONAL else {}
        other = others[value.name].per_frame if value.name in others else {}
        smoothed = clips.shape[1] >= _LONG
        for style, beside in (("strong", clips), ("real", _clips(real)), ("earlier", _clips(other))):
            if len(beside):
                lines.append((style, smooth(_mean(beside)) if smoothed else _mean(beside)))
        lines += [("faint", line) for line in (clips if few else [_mean(clips)] if smoothed else [])]
        drawn = lines[0][1][np.isfinite(lines[0][1])]
        charts.append({"name": f"drift/{value.name}", "title": value.title, "unit": value.unit, "better": value.better,
                       "number": f"{drawn[0]:.3g} → {drawn[-1]:.3g}", "x": "frame",
                       "lines": [_line(style, np.arange(1, len(line) + 1), line) for style, line in lines]})
    return {"charts": charts, "several": len(long) > 1, "few": few, "smoothed": max(long) >= _LONG,
            "end_apart": len(set(long)) > 1, "left_out": len(long) < len(lengths)} if charts else None


def _clips(table: Mapping[str, Sequence[float | None]]) -> np.ndarray:
    """(S, T): the sequences that are long enough and have any value; NaN where they have none, or have ended."""
    clips = [np.array(values, float) for values in table.values() if len(values) >= LEAST_FRAMES]
    clips = [clip for clip in clips if np.isfinite(clip).any()]
    frames = max(map(len, clips), default=0)
    return np.array([np.pad(clip, (0, frames - len(clip)), constant_values=np.nan) for clip in clips])


def _mean(clips: np.ndarray) -> np.ndarray:
    """(S, T) -> (T,), over the entries that are there; NaN where there are none."""
    return np.ma.masked_invalid(clips).mean(axis=0).filled(np.nan)
