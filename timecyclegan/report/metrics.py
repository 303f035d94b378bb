"""The metrics of a report: a table of their values, what they were measured with, and why some have none."""
import math
import re
from html import escape
from pathlib import PurePath

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

# A path or an address in an error's text, without the punctuation after it.
_PLACE = re.compile(r"""(?<![^\s'"(])(?:https?:/)?/[^\s,;()'"]*[^\s,;()'".:]""")


def comparable(evaluation: dict, comparison: dict | None) -> dict:
    """The metrics of ``comparison`` by name; those that ``evaluation`` measures by another definition have no value."""
    metrics, others = evaluation.get("metrics") or {}, (comparison or {}).get("metrics") or {}
    found = {}
    for name, other in others.items():
        ours, theirs = (metric.get("definition") for metric in (metrics.get(name) or {}, other))
        differs = ours and theirs and ours != theirs
        found[name] = {"reason": f"not comparable, it was measured as {theirs}"} if differs else other
    return found


def label_of(comparison: dict) -> str:
    """What to call another evaluation."""
    return str(comparison.get("label") or "comparison")


def reference_of(evaluation: dict) -> str:
    """What an evaluation compares with."""
    return str(evaluation.get("reference") or "real clip")


def title_of(name: str, metric: dict) -> str:
    """What to call a metric."""
    return str(metric.get("title") or name)


def better_of(metric: dict) -> str:
    """Which way a metric gets better."""
    better = str(metric.get("better") or "")
    return _ARROWS.get(better, "") + better


def metrics_html(evaluation: dict, comparison: dict | None) -> str:
    """The table of the metrics of an evaluation, beside those of another one, and the notes below it."""
    metrics = evaluation.get("metrics") or {}
    if not metrics:
        return '<p class="note">No metrics were computed.</p>'
    others = comparable(evaluation, comparison)
    label = label_of(comparison) if comparison else None
    computed = {name: metric for name, metric in metrics.items()
                if metric.get("value") is not None or (others.get(name) or {}).get("value") is not None}
    missing = [(title_of(name, metric), metric.get("reason")) for name, metric in metrics.items()
               if metric.get("value") is None]
    missing += [(f"{title_of(name, metrics[name])} {label}", other.get("reason")) for name, other in others.items()
                if name in computed and other.get("value") is None]
    table = _table_html(computed, others, label, reference_of(evaluation))
    return table + _how_html(evaluation) + _missing_html(missing) + _per_sequence_html(computed)


def _how_html(evaluation: dict) -> str:
    """What holds for several metrics: by what flow was estimated, what was resized, how much there is to compare with.
    """
    flow, size, reference = evaluation.get("flow") or {}, evaluation.get("resize"), escape(reference_of(evaluation))
    facts = []
    if flow.get("flow_backend"):
        weights = _weights_html({key.removeprefix("flow_"): value for key, value in flow.items()})
        facts.append(f"Optical flow by {escape(str(flow['flow_backend']))}{weights and f' ({weights})'}.")
    if size:
        facts.append(f"All frames were resized to {_size(size)} px before anything was measured.")
    if sizes := evaluation.get("resized_real"):
        facts.append(f"Frames of the {reference} were resized from {', '.join(map(_size, sizes))} px.")
    if evaluation.get("kind") == "unconditional":
        facts.append(f"Compared with {evaluation['reference_frames']} frames in {evaluation['reference_sequences']} "
                     "real sequence(s).")
    return f'<p class="note">{" ".join(facts)}</p>' if facts else ""


def _size(size: list[int]) -> str:
    return f"{size[1]} × {size[0]}"


def _table_html(metrics: dict, others: dict, label: str | None, reference: str) -> str:
    if not metrics:
        return ""
    heads = ["metric", "this run", *([label] if label else []), reference, "better", "measured over"]
    rows = "".join(_metric_row(name, metric, others.get(name) or {}, label, reference)
                   for name, metric in metrics.items())
    return (f'<table class="metrics"><thead><tr>{"".join(f"<th>{escape(head)}</th>" for head in heads)}</tr></thead>'
            f"<tbody>{rows}</tbody></table>")


def _missing_html(missing: list[tuple[str, str | None]]) -> str:
    """What has no value and why; what has the same reason stands together."""
    titles: dict[str, list[str]] = {}
    for title, reason in missing:
        titles.setdefault(str(reason or ""), []).append(title)
    lines = "".join(f"<li><strong>{escape(', '.join(those))}</strong>{reason and f' – {_text_html(reason)}'}</li>"
                    for reason, those in titles.items())
    return f'<p class="note">Not computed:</p><ul class="note">{lines}</ul>' if lines else ""


def _text_html(text: str) -> str:
    """An error's text, its paths and addresses set apart so that they are seen, and copied, whole."""
    parts, end = [], 0
    for place in _PLACE.finditer(text):
        parts += [escape(text[end:place.start()]), f"<code>{escape(place[0])}</code>"]
        end = place.end()
    return "".join(parts) + escape(text[end:])


def _weights_html(network: dict) -> str:
    """Each weight file of a network with the first digits of its SHA-256; pointing at it shows all that is known."""
    files = [f"{PurePath(str(name)).name}, sha256 {network[f'{key}_sha256'][:8]}…" for key, name in network.items()
             if network.get(f"{key}_sha256")]
    known = "; ".join(f"{key.replace('_', ' ')}: {value}" for key, value in network.items())
    return f'<code title="{escape(known, quote=True)}">{escape("; ".join(files))}</code>' if files else ""


def _metric_row(name: str, metric: dict, other: dict, label: str | None, reference: str) -> str:
    value, past = metric.get("value"), other.get("value")
    better = str(metric.get("better") or "")
    real = metric.get("real")
    cells = [_value_cell("this run", metric, _is_better(value, past, better, real))]
    if label:
        cells.append(_value_cell(label, other, _is_better(past, value, better, real)))
    definition = f"<code>{escape(str(metric['definition']))}</code>" if metric.get("definition") else ""
    note = (metric.get("details") or {}).get("note")
    note = f"<small>{escape(str(note))}</small>" if note else ""
    cells += [f'<td data-label="{escape(reference, quote=True)}" class="number">{_number(real)}</td>',
              f'<td data-label="better">{escape(better_of(metric))}</td>',
              f'<td data-label="measured over">{_counts(metric)}{note}{definition}'
              f"{_weights_html(metric.get('network') or {})}</td>"]
    hint = f"<small>{escape(_HINTS[name].format(reference=reference))}</small>" if name in _HINTS else ""
    return f"<tr><th scope=row>{escape(title_of(name, metric))}{hint}</th>{''.join(cells)}</tr>"


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
        return f'{head}">–</td>'
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
    head = "".join(f"<th>{escape(title_of(name, metrics[name]))}</th>" for name in tables)
    rows = "".join(f"<tr><th scope=row>{escape(sequence)}</th>" + "".join(
        f'<td class="number">{_number(table.get(sequence))}</td>' for table in tables.values()) + "</tr>"
        for sequence in sequences)
    return ("<details><summary>Values of each sequence</summary>"
            f'<div class="scroll"><table><thead><tr><th>sequence</th>{head}</tr></thead>'
            f"<tbody>{rows}</tbody></table></div></details>")
