"""The drift of a report: how each metric changes along the clips, as one small chart per metric."""
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from timecyclegan.report.charts import Line, figure_html, smooth
from timecyclegan.report.metrics import better_of, comparable, label_of, reference_of, title_of

LEAST_FRAMES = 8  # in fewer there is no drift to see
_LONG = 50  # from so many frames on, lines are smoothed
_FEW = 6  # so many sequences can be told apart

Table = Mapping[str, Sequence[float | None]]  # sequence -> a value for each of its frames


def drift_html(evaluation: dict, comparison: dict | None) -> str:
    """A chart for each metric that has values per frame, and how to read them; "" if no sequence is long enough.

    A line is the mean over the sequences that have a value at that frame, counted from 1. Beside it are the line of
    the clip that is compared with, if it shows the same moments or motion, and that of ``comparison``.
    """
    metrics = evaluation.get("metrics") or {}
    lengths = {name: len(values) for metric in metrics.values() for name, values in _table(metric).items()}
    long = [length for length in lengths.values() if length >= LEAST_FRAMES]
    few, others = 1 < len(long) <= _FEW, comparable(evaluation, comparison)
    charts = {name: lines for name, metric in metrics.items() if (lines := _lines(
        metric, others.get(name) or {}, few, real=evaluation.get("kind") != "unconditional"))}
    if not charts:
        return ""
    figures = "".join(_figure_html(name, metrics[name], lines) for name, lines in charts.items())
    styles = {line.style for lines in charts.values() for line in lines}
    names = {"strong": "this run" + (", mean over sequences" if len(long) > 1 else ""),
             "faint": "each sequence" if few else "before smoothing", "real": reference_of(evaluation),
             "earlier": label_of(comparison or {})}
    keys = "".join(f'<span class="key {style}"></span>{escape(name)}' for style, name in names.items()
                   if style in styles)
    return (f'<h3>Along the clips</h3><p class="legend">{keys}</p><div class="charts">{figures}</div>'
            f'<p class="note">{_note(list(lengths.values()), long)}</p>')


def _table(metric: dict, key: str = "per_frame") -> Table:
    return metric.get(key) or {}


def _lines(metric: dict, other: dict, few: bool, real: bool) -> list[Line]:
    clips = _clips(_table(metric))
    if not len(clips):
        return []
    mean = _mean(clips)
    strong = _smoothed(mean)
    faint = clips if few else [] if strong is mean else [mean]
    beside = {"real": _clips(_table(metric, "real_per_frame")) if real else [], "earlier": _clips(_table(other))}
    lines = [("strong", strong), *(("faint", clip) for clip in faint),
             *((style, _smoothed(_mean(clips))) for style, clips in beside.items() if len(clips))]
    return [Line(style, np.arange(1, len(values) + 1), values) for style, values in lines]


def _clips(table: Table) -> np.ndarray:
    """(S, T): the sequences that are long enough and have any value; NaN where they have none, or have ended."""
    clips = [np.array(values, float) for values in table.values() if len(values) >= LEAST_FRAMES]
    clips = [clip for clip in clips if np.isfinite(clip).any()]
    frames = max(map(len, clips), default=0)
    return np.array([np.pad(clip, (0, frames - len(clip)), constant_values=np.nan) for clip in clips])


def _mean(clips: np.ndarray) -> np.ndarray:
    """(S, T) -> (T,), over the entries that are there; NaN where there are none."""
    there = np.isfinite(clips)
    counts = there.sum(axis=0)
    return np.where(counts, np.where(there, clips, 0).sum(axis=0) / np.maximum(counts, 1), np.nan)


def _smoothed(values: np.ndarray) -> np.ndarray:
    return smooth(values) if len(values) >= _LONG else values


def _figure_html(name: str, metric: dict, lines: list[Line]) -> str:
    strong = lines[0].y[np.isfinite(lines[0].y)]
    facts = [str(metric["unit"])] if metric.get("unit") else []
    if metric.get("better"):
        facts.append(f"{better_of(metric)} is better")
    return figure_html(f"drift/{name}", title_of(name, metric), f"{strong[0]:.3g} → {strong[-1]:.3g}", lines, "frame",
                       subtitle=", ".join(facts))


def _note(lengths: list[int], long: list[int]) -> str:
    parts = ["The value of two neighbouring frames stands at the later one; where there is none, there is a gap. "
             "The numbers at the top right are the ends of the strong line."]
    if max(long) >= _LONG:
        parts.append(f"In clips of {_LONG} frames or more the lines are moving means over 1/10 of the clip, but for "
                     "the faint ones, which are thinned. The most extreme 1 % of a line's values may lie outside the "
                     "axes.")
    if len(set(long)) > 1:
        parts.append("Where a sequence ends, the mean goes on over the others.")
    if len(long) < len(lengths):
        parts.append(f"Sequences of fewer than {LEAST_FRAMES} frames are left out.")
    return " ".join(parts)
