"""The loss curves of a report: a CSV of losses becomes one small inline SVG per loss."""
import csv
import functools
import io
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np

from timecyclegan.report.charts import Line, figure_html, smooth

_SCHEDULE = "Schedule"  # the group of what is set, not measured; it comes last


@dataclass(frozen=True)
class Curve:
    """A loss over the steps at which it was logged; values are finite."""
    name: str
    steps: np.ndarray
    values: np.ndarray
    not_finite: int = 0
    first_not_finite: float | None = None


def read_losses(path: Path) -> list[Curve]:
    """Read a CSV with the columns step, epoch and one per loss; empty cells were not logged at that step.

    Losses that were never logged are left out. A value that is no number (a cut last line) counts as empty;
    NaN and infinity are counted, for they are the first thing that a reader should see.
    """
    return _curves(path.read_bytes())


def _curves(content: bytes) -> list[Curve]:
    rows = csv.DictReader(io.StringIO(content.decode("utf-8", "replace"), newline=""))
    names = [name for name in rows.fieldnames or [] if name not in ("step", "epoch")]
    cells: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for row in rows:
        step = _number(row.get("step"))
        if step is None:
            continue
        for name in names:
            value = _number(row[name])
            if value is not None:
                cells[name].append((step, value))
    return [_curve(name, np.array(points)) for name, points in cells.items() if points]


def _number(text: str | None) -> float | None:
    try:
        return float(text)
    except (TypeError, ValueError):
        return None


def _curve(name: str, points: np.ndarray) -> Curve:
    finite = np.isfinite(points[:, 1])
    lost = points[~finite, 0]
    return Curve(name, *points[finite].T, len(lost), float(lost[0]) if len(lost) else None)


def losses_html(path: Path) -> str:
    """The loss section of a report, grouped by the part of the name before the last ``/``; "" without curves.

    What is no loss, the learning rate, is a group of its own after them.
    """
    return _charts_html(path.read_bytes())


@functools.lru_cache(maxsize=1)  # drawing takes seconds, and the reports of both directions show the same
def _charts_html(content: bytes) -> str:
    groups: dict[str, list[Curve]] = {}
    for curve in _curves(content):
        groups.setdefault(_split(curve.name)[0], []).append(curve)
    parts = []
    for group, curves in sorted(groups.items(), key=lambda item: item[0] == _SCHEDULE):  # a stable sort
        charts = "".join(_figure_html(curve) for curve in curves)
        parts.append(f'<h3>{escape(group)}</h3><div class="charts">{charts}</div>')
    return "".join(parts)


def _split(name: str) -> tuple[str, str]:
    """``Loss/Generator/gan`` -> ("Generator", "gan")."""
    group, _, short = name.removeprefix("Loss/").rpartition("/")
    return group or (_SCHEDULE if short == "learning_rate" else "Losses"), short


def _line(curve: Curve) -> np.ndarray:
    """What is drawn strongly: the moving mean, but what was set as it was set."""
    return curve.values if _split(curve.name)[0] == _SCHEDULE else smooth(curve.values)


def _figure_html(curve: Curve) -> str:
    warning, lines, last = "", [], "–"
    if curve.not_finite:
        warning = f"{curve.not_finite} values are NaN or infinite, the first at step {curve.first_not_finite:g}"
    if len(curve.values):
        strong = _line(curve)
        last = f"{strong[-1]:.3g}"
        lines = [Line("faint", curve.steps, curve.values), Line("strong", curve.steps, strong)]
    return figure_html(curve.name, _split(curve.name)[1], last, lines, "step", warning=warning)
