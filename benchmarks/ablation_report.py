"""The document of ``ablation.py``: means with bootstrap intervals, comparisons paired by clip, plots and pictures."""
import csv
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from timecyclegan.video.frames import resize_image

METRICS = ("e_warp", "tof", "motion", "sharpness", "grid", "ssim", "l1", "flicker")
REFERENCE = {"paired": "p", "unpaired": "up", "unconditional": "u"}  # whose time the others are given
FASTER = 1.15  # within this factor, equal steps are equal time
UNTRAINED = ("untrained", "frozen")  # the data's own
EXCESS = ("e_warp", "flicker")  # of these the real clip's own value is taken off
# Title, factor and format.
SHOWN = {
    "e_warp": ("excess E_warp x 10⁴", 1e4, "{:.1f}"), "tof": ("tOF, px", 1, "{:.3f}"),
    "motion": ("motion-following", 1, "{:.2f}"), "sharpness": ("sharpness", 1, "{:.2f}"),
    "grid": ("grid", 1, "{:.2f}"), "ssim": ("SSIM", 1, "{:.3f}"), "l1": ("L1", 1, "{:.1f}"),
    "flicker": ("flicker - real", 1, "{:+.4f}"),
}  # fmt: skip
FALL, STAY = ("e_warp", "tof"), ("sharpness", "motion", "ssim")  # what a win is made of
AGAINST = {"p": ("pix2pix", "averaged", "sequence-d", "p-thesis"), "up": ("cyclegan", "averaged", "sequence-d"),
           "u": ("dcgan", "sequence-d"), "p-thesis": ("sequence-d",), "p-pingpong": ("sequence-d",),
           "p++": ("sequence-d", "p"), "p-warping": ("pix2pix", "averaged", "sequence-d", "warping"),
           "timecyclevid2vid": ("vid2vid", "pix2pix", "averaged")}  # fmt: skip
DRAWS, LEVEL = 2000, 95
COLOURS = 10  # of matplotlib's cycle; what comes after these has them again, with diamonds and dashes
NOTHING = "nothing to steady"  # what is compared with has no more E_warp than the real clip
BEGIN, END = "<!-- measured: made by benchmarks/ablation.py --report -->\n", "<!-- end of what was measured -->"

Rows = list[dict[str, str]]
Key = tuple[str, str, str]  # data, family, budget


def strip(frames: Sequence[np.ndarray], count: int = 5) -> np.ndarray:
    """Neighbouring and later frames of a clip side by side, and then a row of pixels over time, time downwards."""
    height, chosen = len(frames[0]), range(len(frames))
    if len(frames) > count:
        chosen = [*range(2, count), len(frames) // 2, len(frames) - 1]
    row = height * 3 // 5
    slices = np.stack([frame[row] for frame in frames])
    over_time = slices[np.arange(height) * len(slices) // height]  # nearest: flicker shows as stripes
    gap = np.full((height, 2, 3), 255, np.uint8)
    parts = [part for t in chosen for part in (frames[t], gap)]
    whole = np.concatenate([*parts, over_time], axis=1)
    return resize_image(whole, 2 * height, 2 * whole.shape[1]) if height < 100 else whole


def read(path: Path) -> Rows:
    """The rows of a CSV file, none where there is no file."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def grid_of(rows: Iterable[dict[str, str]], metric: str) -> tuple[np.ndarray, list[str], list[str]]:
    """The values of a variant as (seeds, clips), NaN where there is none, with the names of both."""
    found = {(row["seed"], row["clip"]): float(row[metric] or "nan") for row in rows}
    seeds, clips = (sorted({key[place] for key in found}) for place in (0, 1))
    return np.array([[found.get((seed, clip), np.nan) for clip in clips] for seed in seeds]), seeds, clips


def interval(values: np.ndarray) -> tuple[float, float, float]:
    """Mean of (seeds, clips), and the bounds of its bootstrap interval: seeds and clips are drawn anew, with
    replacement, each by itself (Efron and Tibshirani 1993, "An Introduction to the Bootstrap", the percentile method).
    """
    rng = np.random.default_rng(0)
    seeds, clips = values.shape
    drawn = [np.nanmean(values[np.ix_(rng.integers(seeds, size=seeds), rng.integers(clips, size=clips))])
             for _ in range(DRAWS)] if values.size > 1 else [np.nanmean(values)]  # fmt: skip
    tail = (100 - LEVEL) / 2
    return float(np.nanmean(values)), *(float(np.nanpercentile(drawn, p)) for p in (tail, 100 - tail))


def paired(rows: Rows, one: str, other: str, metric: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Both variants' values of the seeds and clips that both have, (seeds, clips); None where they share nothing."""
    sides = [grid_of([row for row in rows if row["variant"] == name], metric) for name in (one, other)]
    (a, seeds, clips), (b, other_seeds, other_clips) = sides
    shared = [s for s in seeds if s in other_seeds], [c for c in clips if c in other_clips]
    if not all(shared):
        return None
    a = a[np.ix_(*([own.index(x) for x in both] for own, both in zip((seeds, clips), shared, strict=True)))]
    b = b[np.ix_(*([own.index(x) for x in both] for own, both in zip((other_seeds, other_clips), shared, strict=True)))]
    return None if np.isnan(a - b).all() else (a, b)


def with_equal_time(rows: Rows, runs: Rows) -> Rows:
    """Adds to the rows of equal time those of equal steps of what took as long as the reference, by ``runs``."""
    def key(row: dict[str, str]) -> tuple[str, ...]:
        return row["data"], row["family"], row["variant"], row["seed"]

    timed = {key(row) for row in runs if row["budget"] == "time"}
    seconds = {key(row): float(row["train_seconds"]) for row in runs if row["budget"] == "steps"}

    def as_long(row: dict[str, str]) -> bool:
        data, family, _, seed = key(row)
        reference = seconds.get((data, family, REFERENCE[family], seed), 0)
        return reference / FASTER < seconds.get(key(row), 0) < reference * FASTER and key(row) not in timed

    families = {known[:2] for known in timed}
    return rows + [row | {"budget": "time"} for row in rows
                   if row["budget"] == "steps" and key(row)[:2] in families and as_long(row)]  # fmt: skip


def means_table(rows: Rows, titles: dict[str, str]) -> str:
    """A line per variant, a column per metric, mean and interval."""
    shown = [metric for metric in METRICS if any(row[metric] for row in rows)]
    lines = ["| model | " + " | ".join(SHOWN[metric][0] for metric in shown) + " | seeds | training, s |",
             "|---|" + "---|" * (len(shown) + 2)]  # fmt: skip
    for name in titles:
        mine = [row for row in rows if row["variant"] == name]
        if not mine:
            continue
        cells = []
        for metric in shown:
            values, seeds, _ = grid_of(mine, metric)
            _, factor, form = SHOWN[metric]
            mean, low, high = interval(values * factor)
            cells.append("-" if np.isnan(mean) else f"{form.format(mean)} [{form.format(low)}, {form.format(high)}]")
        seconds = np.mean([float(row["train_seconds"]) for row in mine])
        lines.append(f"| {titles[name]} | " + " | ".join(cells) + f" | {len(seeds)} | {seconds:.0f} |")
    return "\n".join(lines)


def comparisons(rows: Rows, titles: dict[str, str]) -> str:
    """A line per comparison: the differences with their intervals, of what is to fall also in percent, and a verdict.
    """
    lines = []
    shown = [metric for metric in (*FALL, *STAY) if any(row[metric] for row in rows)]
    for one, others in AGAINST.items():
        for other in others:
            found = {metric: paired(rows, one, other, metric) for metric in shown} if one != other else {}
            if not found or any(value is None for value in found.values()):
                continue
            cells, bounds, steady = [], {}, False
            for metric, (own, theirs) in found.items():
                _, factor, form = SHOWN[metric]
                mean, low, high = bounds[metric] = interval((own - theirs) * factor)
                form = form.replace("{:", "{:+")
                cell = f"{form.format(mean)} [{form.format(low)}, {form.format(high)}]"
                if metric in FALL:
                    base, least, _ = interval(np.where(np.isnan(own), np.nan, theirs) * factor)
                    cell += f" ({100 * mean / base:+.0f} %)" if least > 0 else ""
                    steady |= metric in EXCESS and least <= 0
                cells.append(cell)
            lines.append(f"| {titles[one]}, *against* {titles[other]} | " + " | ".join(cells)
                         + f" | {len(own)} | {NOTHING if steady else verdict(bounds)} |")
    if not lines:
        return ""
    head = "| difference | " + " | ".join(SHOWN[metric][0] for metric in shown) + " | seeds | verdict |"
    return "\n".join([head, "|---|" + "---|" * (len(shown) + 2), *lines])


def verdict(bounds: dict[str, tuple[float, float, float]]) -> str:
    """A win: what should fall does, and nothing else does; what the intervals leave open is said."""
    if absent := [SHOWN[metric][0] for metric in (*FALL, *STAY) if metric not in bounds]:
        return f"none, without {', '.join(absent)}"
    fallen = [metric for metric in FALL if bounds[metric][0] < 0]
    lost = [metric for metric in STAY if bounds[metric][0] < 0]
    if not fallen:
        return "no"
    if len(fallen) < len(FALL):
        return f"only {SHOWN[fallen[0]][0].split(',')[0]} falls"
    if lost:
        return "steadier, but less " + ", ".join(SHOWN[metric][0] for metric in lost)
    sure = all(bounds[metric][2] < 0 for metric in fallen)
    return "**win**" if sure else "win, within the intervals"


def rollout_plot(rows: Rows, titles: dict[str, str], path: Path) -> None:
    """How metrics go along a long clip, a line per variant, mean over seeds."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    shown = [m for m in ("e_warp", "motion", "sharpness", "ssim", "grid", "flicker") if any(row[m] for row in rows)]
    figure, axes = pyplot.subplots(1, len(shown), figsize=(3.4 * len(shown), 3.2), layout="constrained")
    for axis, metric in zip(np.atleast_1d(axes), shown, strict=True):
        for place, name in enumerate(name for name in titles if name not in UNTRAINED):
            mine = [row for row in rows if row["variant"] == name and row[metric]]
            frames = sorted({int(row["frame"]) for row in mine})
            line = [np.mean([float(row[metric]) for row in mine if int(row["frame"]) == frame]) for frame in frames]
            if line:
                axis.plot(frames, np.multiply(line, SHOWN[metric][1]), ("-", "--")[place // COLOURS], linewidth=1.3,
                          color=f"C{place % COLOURS}", label=titles[name])  # fmt: skip
        axis.set(title=SHOWN[metric][0], xlabel="frame")
    _save(figure, path, columns=5)


def summary_plot(rows: Rows, titles: dict[str, str], path: Path) -> None:
    """Steadiness against sharpness and against motion-following, a point per variant with its intervals."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    shown = [metric for metric in ("sharpness", "motion", "ssim") if any(row[metric] for row in rows)]
    down = "e_warp" if any(row["e_warp"] for row in rows) else "tof"
    figure, axes = pyplot.subplots(1, len(shown), figsize=(4.2 * len(shown), 3.6), layout="constrained")
    for axis, metric in zip(np.atleast_1d(axes), shown, strict=True):
        for place, name in enumerate(name for name in titles if name not in UNTRAINED):
            mine = [row for row in rows if row["variant"] == name]
            if not mine:
                continue
            (x, x0, x1), (y, y0, y1) = (interval(grid_of(mine, each)[0] * SHOWN[each][1]) for each in (metric, down))
            colour = f"C{place % COLOURS}"
            axis.errorbar(x, y, [[max(0, y - y0)], [max(0, y1 - y)]], [[max(0, x - x0)], [max(0, x1 - x)]],
                          fmt="oD"[place // COLOURS], color=colour, ecolor=(colour, 0.4), label=titles[name],
                          markersize=6, linewidth=0.8)  # fmt: skip
        axis.set(xlabel=f"{SHOWN[metric][0]} (1 is real)" if metric == "sharpness" else SHOWN[metric][0],
                 ylabel=f"{SHOWN[down][0]}\n(less is steadier)")  # fmt: skip
    _save(figure, path, columns=4)


def _save(figure: Any, path: Path, columns: int) -> None:
    """Write a figure with a legend below it, of so many columns, and let go of it."""
    from matplotlib import pyplot

    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=columns, fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def report(results: Path, document: Path, titles: dict[str, dict[str, str]]) -> None:
    """Write what the CSV files in ``results`` say between the marks of ``document``; the rest of it stays.

    Args:
        titles: what variants are called, by family and name, in the order of the tables.
    """
    parts = []
    for path in sorted(results.glob("runs-*.csv"), key=lambda path: path.stem):  # a scale before its longer ones
        scale, runs = path.stem.removeprefix("runs-"), read(path)
        rows, long = (with_equal_time(own, runs) for own in (runs, read(results / f"rollouts-{scale}.csv")))
        machines = ", ".join(dict.fromkeys(row["machine"] for row in rows))
        parts.append(f"## Scale `{scale}` ({machines})\n")
        for data, family, budget in dict.fromkeys((row["data"], row["family"], row["budget"]) for row in rows):
            mine = [row for row in rows if (row["data"], row["family"], row["budget"]) == (data, family, budget)]
            parts.append(section(scale, (data, family, budget), mine, long, titles[family], results, document.parent))
    text = document.read_text("utf-8") if document.exists() else "# Results\n\n" + BEGIN + END + "\n"
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    document.write_text(before + BEGIN + "\n" + "\n".join(parts) + END + after, "utf-8")
    print(f"written: {document}")


def section(scale: str, key: Key, rows: Rows, long: Rows, titles: dict[str, str], results: Path, beside: Path) -> str:
    """One table, its comparisons, plots and pictures."""
    data, family, budget = key
    folder = results / f"{scale}-{data}"
    name = f"{family}-{budget}"
    parts = [f"### {data}, {family}, equal {budget}\n", means_table(rows, titles), "",
             comparisons(rows, titles), ""]  # fmt: skip
    summary_plot(rows, titles, folder / f"{name}.png")
    parts.append(f"![Steadiness against the rest]({link(folder / f'{name}.png', beside)})\n")
    mine = [row for row in long if (row["data"], row["family"], row["budget"]) == key]
    if mine:
        rollout_plot(mine, titles, folder / f"{name}-long.png")
        stretches = sorted({int(row["frame"]) for row in mine})
        parts.append(f"Along one clip, stretch by stretch of {stretches[-1] // max(1, len(stretches) - 1)} frames:\n")
        parts.append(f"![Along a long clip]({link(folder / f'{name}-long.png', beside)})\n")
    sides = ("source", "target") if family != "unconditional" else ()
    pictures = [(side, folder / f"{side}.webp") for side in sides]
    pictures += [(title, folder / family / f"{variant}-{budget}.webp") for variant, title in titles.items()]
    there = [(title, path) for title, path in pictures if path.exists()]
    if there:
        parts += ["Frames 2, 3, 4, the middle and the last of the first clip, then a row of pixels over time "
                  "(downwards):\n", "| | |", "|---|---|"]  # fmt: skip
        parts += [f"| {title} | ![{title}]({link(path, beside)}) |" for title, path in there]
        parts.append("")
    return "\n".join(parts)


def link(path: Path, beside: Path) -> str:
    return Path(os.path.relpath(path.resolve(), beside.resolve())).as_posix()
