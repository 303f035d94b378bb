"""The loss curves of a report: a CSV of losses becomes one small inline SVG per loss."""
import csv
import functools
import io
import re
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np

MAX_POINTS = 500  # more points than pixels only make the page large
_SMOOTHED_PART, _LEAST_SMOOTHED = 10, 5  # the moving mean spans this fraction of the curve, and no fewer points
_KEPT = (0.5, 99.5)  # percentiles; the axes need not show what lies outside
_SCHEDULE = "Schedule"  # the group of what is set, not measured; it comes last

# Matplotlib needs colours; the page replaces these two, so that the charts follow its light or dark scheme.
_INK, _ACCENT = "#010203", "#040506"


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


def thin(values: np.ndarray, limit: int = MAX_POINTS) -> np.ndarray:
    """At most ``limit`` evenly spaced entries, the first and the last among them."""
    return values[np.unique(np.linspace(0, len(values) - 1, min(limit, len(values))).round().astype(int))]


def smooth(values: np.ndarray) -> np.ndarray:
    """Centred moving mean over 1/10 of the curve, at the ends over the entries that exist; never fewer than 5.

    The most extreme 1 % of the values are cut to the next ones, or one spike would lift all means around it.
    """
    values = values.clip(*np.percentile(values, _KEPT))
    count = len(values)
    half = max(count // _SMOOTHED_PART, _LEAST_SMOOTHED) // 2
    sums = np.concatenate([[0.0], np.cumsum(values)])
    index = np.arange(count)
    low = (index - half).clip(0, max(count - _LEAST_SMOOTHED, 0))
    high = (index + half + 1).clip(min(_LEAST_SMOOTHED, count), count)
    return (sums[high] - sums[low]) / (high - low)


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
    title = escape(_split(curve.name)[1])
    warning = ""
    if curve.not_finite:
        warning = (f'<p class="warning">{curve.not_finite} values are NaN or infinite, the first at step '
                   f"{curve.first_not_finite:g}</p>")
    last = f"{_line(curve)[-1]:.3g}" if len(curve.values) else "–"
    picture = _svg(curve) if len(curve.values) else ""
    label = escape(curve.name, quote=True)
    return (f'<figure aria-label="{label}"><figcaption><b>{title}</b><span class="last">{last}</span></figcaption>'
            f"{picture}{warning}</figure>")


def _svg(curve: Curve) -> str:
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    style = {"svg.fonttype": "none", "svg.hashsalt": curve.name, "font.size": 9, "axes.edgecolor": _INK,
             "xtick.color": _INK, "ytick.color": _INK, "axes.labelcolor": _INK, "axes.linewidth": 0.6}
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(3.6, 1.9), layout="constrained")
        axes = figure.subplots()
        steps = thin(curve.steps)
        axes.plot(steps, thin(curve.values), color=_ACCENT, alpha=0.28, linewidth=0.7)
        axes.plot(steps, thin(_line(curve)), color=_ACCENT, linewidth=1.5)
        axes.set_ylim(*_limits(curve.values))
        axes.set_xlabel("step")
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.ticklabel_format(axis="y", scilimits=(-3, 4))
        axes.grid(axis="y", color=_INK, alpha=0.12, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        axes.margins(x=0.01)
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    return _for_html(file.getvalue())


def _limits(values: np.ndarray) -> tuple[float, float]:
    """Axis limits that a few spikes, as at the first steps, cannot stretch until the rest is a flat line."""
    low, high = np.percentile(values, _KEPT)
    margin = 0.06 * (high - low) or max(abs(high), 1e-6) * 0.05
    return (0.0 if 0 <= low < margin * 4 else low - margin), high + margin


def _for_html(svg: str) -> str:
    """An SVG file as an element of a page: no prolog, metadata or addresses, sizes and colours by the page."""
    svg = svg[svg.index("<svg"):]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' (?:width|height)="[^"]*pt"', "", svg, count=2)
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg)
    svg = re.sub(r'(d="[^"]*")', lambda path: _round_path(path[0]), svg)
    return svg.replace(_INK, "currentColor").replace(_ACCENT, "var(--accent)")


def _round_path(path: str) -> str:
    """A tenth of a point cannot be seen; its decimals are half of the file."""
    return re.sub(r"-?\d+\.\d+", lambda number: f"{float(number[0]):.1f}", " ".join(path.split()))
