"""What the four scripts do, given their parsed command line."""
import contextlib
import dataclasses
import json
import platform
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from timecyclegan.datasets.frames import find_sequences, match_sequences
from timecyclegan.models import model_class
from timecyclegan.training.checkpoint import CHECKPOINTS, OPTIONS
from timecyclegan.training.trainer import Trainer
from timecyclegan.util.argparser import Arguments, changed_architecture
from timecyclegan.util.errors import UserError
from timecyclegan.util.files import replacing
from timecyclegan.util.logs import METRICS, RUNS, append_csv, git_commit, now
from timecyclegan.util.options import ControlOptions, LossOptions, Options, TestOptions, TimeCycleOptions

Frames = dict[str, list[Path]]

STOPPED = 3  # exit code of a training that a signal ended before its end: neither finished nor wrong


def train(arguments: Arguments) -> bool:
    """``train.py``: returns whether training reached its end (False: a signal stopped it)."""
    if "test_source_dir" in arguments.folders:
        frames_to_test(arguments)  # not only after hours of training
    control = arguments.options(ControlOptions)
    base = None
    saved = CHECKPOINTS / arguments.name / OPTIONS
    if control.resume and saved.exists():
        base = Options.load(saved)  # so that --resume needs none of the flags again
    options = arguments.options(Options, base)
    _note_unused(arguments, options)
    folders = arguments.folders["source_dir"], arguments.folders["target_dir"]
    try:
        return Trainer(arguments.name, *folders, options, control.resume, control.overwrite).run()
    except torch.OutOfMemoryError as error:
        raise UserError(
            "the GPU's memory is too small: lower --batch_size, --block_size, --image_height and --image_width, or "
            "--generator_filters and --discriminator_filters"
        ) from error


def _note_unused(arguments: Arguments, options: Options) -> None:
    """A weight that the model does not know does nothing: say so rather than let the user believe otherwise."""
    known = model_class(options.model_type).uses
    fields = [*dataclasses.fields(LossOptions), *dataclasses.fields(TimeCycleOptions)]
    for field in fields:
        if field.name.endswith("_weight") and arguments.given.get(field.name) and field.name not in known:
            print(f"note: --{field.name} has no effect on --model_type {options.model_type}")


def translate(arguments: Arguments, metrics: bool) -> None:
    """``test.py`` and, with ``metrics``, ``val.py``: pictures, videos, and what can be measured of them."""
    from timecyclegan import inference

    test = arguments.options(TestOptions)
    saved = inference.load_options(arguments.name, arguments.given)
    changed_architecture(arguments.given, saved)
    options = arguments.options(Options, saved)
    sources, reals = frames_to_test(arguments)
    model = inference.load_model(arguments.name, options, test.test_init_epoch)
    output = Path(test.test_output_dir) / arguments.name
    if test.test_init_epoch:
        output /= f"epoch{test.test_init_epoch}"
    fakes = inference.translate_folders(model, sources, output, options, test.test_batch_size, test.test_seed)
    size = options.image_height, options.image_width
    for name in sources:
        panels = {"source": sources[name], "generated": fakes[name], "real": reals[name] if reals else None}
        video = output / "videos" / f"{'video' if name == '.' else name}.webm"
        inference.write_side_by_side(video, panels, size, test.fps)
    print(f"frames and side-by-side videos are in {output}")
    if metrics:
        _measure(arguments, options, test, output, sources, fakes, reals)


def frames_to_test(arguments: Arguments) -> tuple[Frames, Frames | None]:
    """The sequences to test on, and the real ones where a target folder is given.

    Raises:
        UserError: a folder has no frames, or the two do not match.
    """
    source, target = arguments.folders["test_source_dir"], arguments.folders["test_target_dir"]
    sources = find_sequences(source)
    if target is None:
        return sources, None
    reals = find_sequences(target)
    match_sequences(sources, reals, source, target)
    return sources, reals


def _measure(
    arguments: Arguments, options: Options, test: TestOptions, output: Path, sources: Frames, fakes: Frames,
    reals: Frames,
) -> None:  # fmt: skip
    """Compute the metrics; write metrics.json, a row of metrics.csv, and the report."""
    from timecyclegan.evaluation.compute_metrics import csv_row, evaluate, format_metrics
    from timecyclegan.util.report import ReportSequence, write_report

    target = arguments.folders["test_target_dir"]
    flow = target.resolve().parent / "flow"  # another folder of this name is none of our business
    true_flow = flow if all((flow / name).is_dir() for name in reals) else None
    evaluation = evaluate(reals, fakes, true_flow, progress=True, roots=(target, output))
    evaluation |= {
        "name": arguments.name,
        "epoch": test.test_init_epoch or "newest",
        "datetime": now(),
        "commit": git_commit(),
        "source": str(arguments.folders["test_source_dir"]),
        "target": str(target),
        "options": options.to_dict(),
    }
    evaluation["libraries"] |= {"python": platform.python_version(), "torch": version("torch")}
    with replacing(output / "metrics.json") as temporary:
        temporary.write_text(json.dumps(evaluation, indent=1, allow_nan=False) + "\n")
    sequences = [ReportSequence(name, sources[name], fakes[name], reals[name]) for name in sources]
    write_report(
        output / "report.html", title=arguments.name, evaluation=evaluation,
        losses_csv=RUNS / arguments.name / "losses.csv", options=options.to_dict(), sequences=sequences,
        comparison=_earlier(output, evaluation),
    )  # fmt: skip
    row = {"name": arguments.name} | csv_row(evaluation)
    append_csv(METRICS, row | {"epoch": evaluation["epoch"], "datetime": evaluation["datetime"]})
    print(format_metrics(evaluation))
    print(f"report: {output / 'report.html'}")


def _earlier(output: Path, evaluation: dict[str, Any]) -> dict[str, Any] | None:
    """The evaluation of the earliest epoch below ``output``, for the report to compare with.

    It must be of the same options and data: a run that was overwritten may have left others.
    """
    epochs = {int(m[1]): path for path in output.iterdir() if (m := re.fullmatch(r"epoch(\d+)", path.name))}
    for epoch in sorted(epochs):
        with contextlib.suppress(OSError, ValueError, KeyError):  # there is none, or it is damaged: no comparison
            found = json.loads((epochs[epoch] / "metrics.json").read_text())
            if all(found[key] == evaluation[key] for key in ("options", "source", "target")):
                return found | {"label": f"after epoch {epoch}"}
    return None
