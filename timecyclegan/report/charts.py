"""The charts of a report: lines over steps or frames become one small inline SVG."""
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

MAX_POINTS = 500  # more points than pixels only make the page large
_SMOOTHED_PART, _LEAST_SMOOTHED = 10, 5  # the moving mean spans this fraction of the curve, and no fewer points
_KEPT = (0.5, 99.5)  # percentiles; the axes need not show what lies outside

# Matplotlib needs colours; the page replaces these two, so that the charts follow its light or dark scheme.
_INK, _ACCENT = "#010203", "#040506"

# What lines there are, from the one at the back to the one in front.
_STYLES = {
    "faint": {"color": _ACCENT, "alpha": 0.28, "linewidth": 0.7},
    "earlier": {"color": _ACCENT, "linewidth": 1.2, "linestyle": (0, (3, 1.5))},
    "real": {"color": _INK, "linewidth": 1.2},
    "strong": {"color": _ACCENT, "linewidth": 1.5},
}


@dataclass(frozen=True)
class Line:
    """A line of a chart: how it is drawn, of faint, earlier, real and strong, and its points. NaN is a gap."""
    style: str
    x: np.ndarray
    y: np.ndarray


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


def figure_html(label: str, title: str, number: str, lines: Sequence[Line], x_name: str, subtitle: str = "",
                warning: str = "") -> str:
    """A chart under its title, a number beside that; ``label`` is unique on the page. Without lines, no picture."""
    subtitle = subtitle and f"<small>{escape(subtitle)}</small>"
    warning = warning and f'<p class="warning">{escape(warning)}</p>'
    picture = _svg(lines, label, x_name) if lines else ""
    return (f'<figure aria-label="{escape(label, quote=True)}"><figcaption><b>{escape(title)}</b>'
            f'<span class="last">{escape(number)}</span>{subtitle}</figcaption>{picture}{warning}</figure>')


def _svg(lines: Sequence[Line], label: str, x_name: str) -> str:
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    style = {"svg.fonttype": "none", "svg.hashsalt": label, "font.size": 9, "axes.edgecolor": _INK,
             "xtick.color": _INK, "ytick.color": _INK, "axes.labelcolor": _INK, "axes.linewidth": 0.6}
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(3.6, 1.9), layout="constrained")
        axes = figure.subplots()
        for line in sorted(lines, key=lambda line: list(_STYLES).index(line.style)):
            x, y = thin(line.x), thin(line.y)
            axes.dataLim.update_from_data_x(x, ignore=False)  # gaps at the ends too: charts of one page stay alike
            axes.plot(x, y, marker=".", markersize=2.5, markevery=_alone(y), gid=line.style, **_STYLES[line.style])
        axes.set_ylim(*_limits(lines))
        axes.set_xlabel(x_name)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.ticklabel_format(axis="y", scilimits=(-3, 4))
        axes.grid(axis="y", color=_INK, alpha=0.12, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        axes.margins(x=0.01)
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    return _for_html(file.getvalue())


def _alone(values: np.ndarray) -> np.ndarray:
    """Which values have a gap on both sides: no line leads to them, so they are dots; bool."""
    there = np.pad(np.isfinite(values), 1)
    return there[1:-1] & ~there[:-2] & ~there[2:]


def _limits(lines: Sequence[Line]) -> tuple[float, float]:
    """Axis limits that a few spikes, as at the first steps, cannot stretch until the rest is a flat line."""
    low, high = np.transpose([np.nanpercentile(line.y, _KEPT) for line in lines])
    low, high = low.min(), high.max()
    margin = 0.06 * (high - low) or max(abs(high), 1e-6) * 0.05
    return (0.0 if 0 <= low < margin * 4 else low - margin), high + margin


def _for_html(svg: str) -> str:
    """An SVG file as an element of a page: no prolog, metadata or addresses, sizes and colours by the page.

    The names of groups become classes, for an id may occur only once on a page.
    """
    svg = svg[svg.index("<svg"):]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' (?:width|height)="[^"]*pt"', "", svg, count=2)
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg)
    svg = re.sub(r'<g id="', '<g class="', svg)
    svg = re.sub(r'(d="[^"]*")', lambda path: _round_path(path[0]), svg)
    return svg.replace(_INK, "currentColor").replace(_ACCENT, "var(--accent)")


def _round_path(path: str) -> str:
    """A tenth of a point cannot be seen; its decimals are half of the file."""
    return re.sub(r"-?\d+\.\d+", lambda number: f"{float(number[0]):.1f}", " ".join(path.split()))
