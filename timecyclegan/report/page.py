"""The report of a run: one HTML file that needs no network, with metrics, loss curves and players."""
import datetime
import importlib.resources
from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template

from timecyclegan.report.drift import drift_html
from timecyclegan.report.losses import losses_html
from timecyclegan.report.metrics import metrics_html, reference_of
from timecyclegan.report.sequences import ReportSequence, sequence_html
from timecyclegan.util.files import replacing
from timecyclegan.video.frames import image_size

__all__ = ["ReportSequence", "write_report"]


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
    template = importlib.resources.files("timecyclegan.report").joinpath("page.html").read_text("utf-8")
    shown = list(sequences)[:max_sequences]
    parts = {
        "title": escape(title),
        "reference": escape(reference_of(evaluation)),
        "facts": _facts_html(options, evaluation, shown),
        "metrics": metrics_html(evaluation, comparison),
        "drift": drift_html(evaluation, comparison),
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


def _options_html(options: dict, libraries: dict) -> str:
    rows = "".join(f"<tr><th scope=row>{escape(str(name))}</th><td>{escape(_text(value))}</td></tr>"
                   for table in (options, libraries) for name, value in table.items())
    return f'<div class="scroll"><table class="options"><tbody>{rows}</tbody></table></div>'


def _text(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
