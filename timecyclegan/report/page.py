"""The report of a run: one HTML file that needs no network, with metrics, loss curves and players.

Python hands over what is to be shown, as JSON in the page; the page's own script draws it.
"""
import datetime
import importlib.resources
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

from timecyclegan.evaluation.base import Evaluation, Value
from timecyclegan.report.charts import drift_charts, loss_charts
from timecyclegan.report.sequences import HEAT, ReportSequence, sequence_data
from timecyclegan.util.files import replacing
from timecyclegan.util.names import readable

__all__ = ["ReportSequence", "write_report"]

_LEAST_DIFFERENCE = 0.01  # of the larger value; below it, which of two runs is better is noise


def write_report(path: str | Path, *, title: str, evaluation: Evaluation, losses_csv: Path,
                 options: dict[str, Any], sequences: Sequence[ReportSequence],
                 comparison: tuple[str, Evaluation] | None = None, max_sequences: int = 4, max_frames: int = 60,
                 max_width: int = 480) -> None:
    """Write a run's report as one self-contained HTML file; it appears only when it is complete.

    Args:
        path: the file to write, usually ``report.html``.
        title: the run's name.
        losses_csv: columns step, epoch, then one per loss; a missing file leaves the curves out.
        options: name -> value; ``model_type`` is also shown at the top.
        sequences: what can be shown; without ``real`` frames the parts that need them are left out.
        comparison: another evaluation of the same kind and what to call it ("after epoch 1").
        max_sequences, max_frames, max_width: limits on what is embedded; the page names what is left out.

    Raises:
        UserError: a frame cannot be read, a sequence has no generated frames, ``path`` cannot be written.
    """
    template = importlib.resources.files("timecyclegan.report").joinpath("page.html").read_text("utf-8")
    shown = list(sequences)[:max_sequences]
    label, other = comparison or ("", None)
    others = _comparable(evaluation, other) if other else {}
    data = {
        "evaluation": evaluation.to_json() | {"metrics": {name: _numbers(v) for name, v in evaluation.values.items()}},
        "others": {name: _numbers(value) for name, value in others.items()},
        "best": {name: _best(evaluation.values[name], value) for name, value in others.items()
                 if name in evaluation.values},
        "label": label,
        "model": options.get("model_type"),
        "size": evaluation.frame_size,
        "written": f"{datetime.datetime.now():%Y-%m-%d %H:%M}",
        "drift": drift_charts(evaluation, others),
        "losses": loss_charts(losses_csv) if losses_csv.is_file() else {},
        "sequences": len(sequences),
        "heat": HEAT,
        "options": {str(name): _text(value) for name, value in [*options.items(), *evaluation.libraries.items()]},
    }
    head, tail = template.replace("{{title}}", escape(readable(title))).split("<!-- data -->")
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8") as page:
        page.write(head)
        page.writelines(_scripts("page", [data]))
        # One after the other: only one sequence's frames are in memory.
        page.writelines(_scripts("sequence", (sequence_data(clip, max_frames, max_width) for clip in shown)))
        page.write(tail)


def _scripts(kind: str, entries: Iterable[Any]) -> Iterator[str]:
    """An element for each entry; no text in it can close the element."""
    for entry in entries:
        embedded = json.dumps(entry, allow_nan=False).replace("<", "\\u003c")
        yield f'<script type="application/json" class="{kind}">{embedded}</script>\n'


def _numbers(value: Value) -> dict[str, Any]:
    """Without those of each frame, of which the charts have what is seen."""
    return {key: fact for key, fact in value.to_json().items() if not key.endswith("per_frame")}


def _text(value: object) -> str:
    return readable(" ".join(map(str, value)) if isinstance(value, list | tuple) else str(value))


def _comparable(evaluation: Evaluation, comparison: Evaluation) -> dict[str, Value]:
    """The metrics of ``comparison`` by name; those that do not compare with ``evaluation``'s have no value."""
    return {name: Value(name, other.title, reason=f"not comparable, {reason}")
            if (reason := evaluation.apart(comparison, name)) else other for name, other in comparison.values.items()}


def _best(own: Value, past: Value) -> str | None:
    """Which value is nearer to the best one by more than noise: "value" or "past"; None if that cannot be said."""
    real = own.real if past.real is None else past.real  # an earlier one may not say it
    ours, theirs = own.loss, replace(past, better=own.better, real=real).loss
    if ours is None or theirs is None:
        return None
    if ours == theirs or abs(ours - theirs) < _LEAST_DIFFERENCE * max(abs(own.value), abs(past.value)):
        return None
    return "value" if ours < theirs else "past"
