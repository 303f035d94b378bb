"""The report of a run: one HTML file that needs no network, with metrics, loss curves and players."""
import datetime
import importlib.resources
import math
from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template

from timecyclegan.datasets.frames import image_size
from timecyclegan.util.files import replacing
from timecyclegan.util.report_losses import losses_html
from timecyclegan.util.report_sequence import ReportSequence, sequence_html

__all__ = ["ReportSequence", "write_report"]

# What a metric tells, in words for someone who has not read the definitions; unknown metrics have none. {reference} is
# what the evaluation compares with.
_HINTS = {
    "fid": "distance between the distributions of generated and real images",
    "lpips": "perceptual distance of each frame to the real one",
    "tlp": "perceptual change from frame to frame, compared with that of the {reference}",
    "tof": "motion compared with that of the {reference}, by optical flow",
    "e_warp": "what changes along the motion: flicker and popping",
    "flicker": "likeness of neighbouring frames; a frozen video scores 1",
    "sharpness": "gradient energy relative to real; blur alone improves the temporal metrics",
    "psnr": "fidelity to the real frame, pixel by pixel",
    "ssim": "structural likeness to the real frame",
    "l1": "mean absolute difference from the real frame",
}
_LEAST_DIFFERENCE = 0.01  # of the larger value; below it, which of two runs is better is noise
_ARROWS = {"lower": "↓ ", "higher": "↑ "}


def write_report(path: str | Path, *, title: str, evaluation: dict, losses_csv: Path | None, options: dict,
                 sequences: Sequence[ReportSequence], comparison: dict | None = None, max_sequences: int = 4,
                 max_frames: int = 60, max_width: int = 480) -> None:
    """Write a run's report as one self-contained HTML file; it appears only when it is complete.

    Args:
        path: the file to write, usually ``report.html``.
        title: the run's name.
        evaluation: what ``evaluate`` of ``evaluation.compute_metrics`` returns; absent parts are left out.
        losses_csv: columns step, epoch, then one per loss; None or a missing file leaves the curves out.
        options: name -> value; ``model_type`` is also shown at the top.
        sequences: what can be shown; without ``real`` frames the parts that need them are left out.
        comparison: another evaluation of the same kind with a ``label`` ("after epoch 1").
        max_sequences, max_frames, max_width: limits on what is embedded; the page names what is left out.

    Raises:
        UserError: a frame cannot be read, a sequence has no generated frames, ``path`` cannot be written.
    """
    template = importlib.resources.files("timecyclegan.util").joinpath("report.html").read_text("utf-8")
    shown = list(sequences)[:max_sequences]
    parts = {
        "title": escape(title),
        "reference": escape(_reference(evaluation)),
        "facts": _facts_html(options, evaluation, shown),
        "metrics": _metrics_html(evaluation, comparison),
        "losses": _losses_html(losses_csv),
        "about_sequences": _sequences_html(len(shown), len(sequences)),
        "options": _options_html(options, evaluation.get("libraries") or {}),
    }
    head, tail = (Template(half).substitute(parts) for half in template.split("<!-- sequences -->"))
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8") as page:
        page.write(head)
        for sequence in shown:  # one after the other: only one sequence's frames are in memory
            page.write(sequence_html(sequence, max_frames, max_width))
        page.write(tail)


def _facts_html(options: dict, evaluation: dict, sequences: list[ReportSequence]) -> str:
    size = evaluation.get("frame_size")
    if not size and sequences and sequences[0].generated:
        size = image_size(sequences[0].generated[0])
    facts = [("model", options.get("model_type")), ("frames", f"{size[1]} × {size[0]} px" if size else None),
             ("written", f"{datetime.datetime.now():%Y-%m-%d %H:%M}")]
    return "".join(f"<div><dt>{name}</dt><dd>{escape(str(value))}</dd></div>" for name, value in facts if value)


def _sequences_html(shown: int, total: int) -> str:
    if total == 0:
        return '<p class="note">There are no sequences to show.</p>'
    left_out = f" The first {shown} of {total} sequences are shown." if shown < total else ""
    return ('<p class="note">Below each player, a slice follows one image row (the one that changes most; ticks beside '
            "the pictures mark it) with time running downwards: what moves draws slanted lines, what stands still "
            "vertical ones, and flicker shows as horizontal streaks. Click into a slice to go to that moment."
            f"{left_out}</p>")


def _losses_html(path: Path | None) -> str:
    charts = losses_html(Path(path)) if path is not None and Path(path).is_file() else ""
    if not charts:
        return '<p class="note">There is no log of losses.</p>'
    return charts + ('<p class="note">Faint: the logged values, thinned. Strong: their moving mean over 1/10 of the '
                     "run, but never fewer than 5 values; its end is the number at the top right. The most extreme "
                     "1 % of the values lie outside the axes. The learning rate is not averaged. Losses of adversaries "
                     "need not fall: neither side should win for good.</p>")


def _metrics_html(evaluation: dict, comparison: dict | None) -> str:
    metrics = evaluation.get("metrics") or {}
    if not metrics:
        return '<p class="note">No metrics were computed.</p>'
    others = (comparison or {}).get("metrics") or {}
    label = str((comparison or {}).get("label") or "comparison") if comparison else None
    computed = {name: metric for name, metric in metrics.items()
                if metric.get("value") is not None or (others.get(name) or {}).get("value") is not None}
    missing = {name: metric for name, metric in metrics.items() if name not in computed}
    table = _table_html(computed, others, label, _reference(evaluation))
    return table + _missing_html(missing) + _per_sequence_html(computed)


def _reference(evaluation: dict) -> str:
    return str(evaluation.get("reference") or "real clip")


def _table_html(metrics: dict, others: dict, label: str | None, reference: str) -> str:
    if not metrics:
        return ""
    heads = ["metric", "this run", *([label] if label else []), reference, "better", "measured over"]
    rows = "".join(_metric_row(name, metric, others.get(name) or {}, label, reference)
                   for name, metric in metrics.items())
    return (f'<table class="metrics"><thead><tr>{"".join(f"<th>{escape(head)}</th>" for head in heads)}</tr></thead>'
            f"<tbody>{rows}</tbody></table>")


def _missing_html(metrics: dict) -> str:
    """One line about the metrics without a value, those of one reason together."""
    reasons: dict[str, list[str]] = {}
    for name, metric in metrics.items():
        reasons.setdefault(str(metric.get("reason") or ""), []).append(str(metric.get("title") or name))
    parts = [", ".join(titles) + (f" – {reason}" if reason else "") for reason, titles in reasons.items()]
    return f'<p class="note">Not computed: {escape("; ".join(parts))}</p>' if parts else ""


def _metric_row(name: str, metric: dict, other: dict, label: str | None, reference: str) -> str:
    value, past = metric.get("value"), other.get("value")
    better = str(metric.get("better") or "")
    real = metric.get("real")
    cells = [_value_cell("this run", metric, _is_better(value, past, better, real))]
    if label:
        cells.append(_value_cell(label, other, _is_better(past, value, better, real)))
    definition = f"<code>{escape(str(metric['definition']))}</code>" if metric.get("definition") else ""
    cells += [f'<td data-label="{escape(reference, quote=True)}" class="number">{_number(real)}</td>',
              f'<td data-label="better">{_ARROWS.get(better, "")}{escape(better)}</td>',
              f'<td data-label="measured over">{_counts(metric)}{definition}</td>']
    hint = f"<small>{escape(_HINTS[name].format(reference=reference))}</small>" if name in _HINTS else ""
    shown = str(metric.get("title") or name)
    return f"<tr><th scope=row>{escape(shown)}{hint}</th>{''.join(cells)}</tr>"


def _is_better(value: float | None, other: float | None, better: str, real: float | None) -> bool:
    """Whether a value is nearer to the best one, by more than noise; not if that cannot be said."""
    targets = {"lower": -math.inf, "higher": math.inf, "closer to 1": 1.0, "closer to real": real,
               "closer to source": real}
    target = targets.get(better)
    if value is None or other is None or target is None:
        return False
    gain = _distance(other, target) - _distance(value, target)
    return gain > 0 and gain >= _LEAST_DIFFERENCE * max(abs(value), abs(other))


def _distance(value: float, target: float) -> float:
    """How far a value is from its target; from an infinite one, up to a constant."""
    return abs(value - target) if math.isfinite(target) else (value if target < 0 else -value)


def _value_cell(label: str, metric: dict, best: bool) -> str:
    value, unit = metric.get("value"), str(metric.get("unit") or "")
    head = f'<td data-label="{escape(label, quote=True)}" class="number'
    if value is None:
        reason = f"<small>{escape(str(metric['reason']))}</small>" if metric.get("reason") else ""
        return f'{head} undefined">–{reason}</td>'
    unit = f' <span class="unit">{escape(unit)}</span>' if unit else ""
    return f'{head}{" best" if best else ""}" title="{value!r}"><span>{_number(value)}{unit}</span></td>'


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _counts(metric: dict) -> str:
    keys = ("frames", "sequences") if metric.get("over") == "frame" else ("frames", "pairs", "sequences")
    counts = [f"{metric[key]} {key if metric[key] != 1 else key[:-1]}" for key in keys if metric.get(key)]
    skipped = ""
    if metric.get("skipped"):
        because = escape(str(metric.get("skipped_because") or "undefined"))
        skipped = f"<small>{metric['skipped']} skipped: {because}</small>"
    return (f"<small>{', '.join(counts)}</small>" if counts else "") + skipped


def _per_sequence_html(metrics: dict) -> str:
    tables = {name: metric["per_sequence"] for name, metric in metrics.items() if metric.get("per_sequence")}
    sequences = list(dict.fromkeys(sequence for table in tables.values() for sequence in table))
    if not sequences:
        return ""
    head = "".join(f"<th>{escape(str(metrics[name].get('title') or name))}</th>"
                   for name in tables)
    rows = "".join(f"<tr><th scope=row>{escape(sequence)}</th>" + "".join(
        f'<td class="number">{_number(table.get(sequence))}</td>' for table in tables.values()) + "</tr>"
        for sequence in sequences)
    return ("<details><summary>Values of each sequence</summary>"
            f'<div class="scroll"><table><thead><tr><th>sequence</th>{head}</tr></thead>'
            f"<tbody>{rows}</tbody></table></div></details>")


def _options_html(options: dict, libraries: dict) -> str:
    rows = "".join(f"<tr><th scope=row>{escape(str(name))}</th><td>{escape(_text(value))}</td></tr>"
                   for table in (options, libraries) for name, value in table.items())
    return f'<div class="scroll"><table class="options"><tbody>{rows}</tbody></table></div>'


def _text(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
