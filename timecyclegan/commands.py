"""What the four scripts do, given their parsed command line."""
import contextlib
import dataclasses
import json
import os
import re
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import torch

from timecyclegan.directions import Direction, Frames, check_arguments, find_clip, find_directions
from timecyclegan.flow import choose_backend, describe
from timecyclegan.models import PRESETS, check, default_options, get_model, get_task, model_class
from timecyclegan.models.notes import idle_in_testing, training_notes
from timecyclegan.training import loop
from timecyclegan.training.checkpoint import CHECKPOINTS, OPTIONS
from timecyclegan.training.distributed import Peers, joined
from timecyclegan.training.dry_run import print_dry_run
from timecyclegan.training.run import Run
from timecyclegan.util.argparser import Arguments
from timecyclegan.util.device import pick_device, require_gpu
from timecyclegan.util.errors import UserError, note
from timecyclegan.util.files import check_writable, is_there, write_json
from timecyclegan.util.logs import METRICS, RUNS, append_csv, git_commit, now
from timecyclegan.util.names import free_name, one_form
from timecyclegan.util.options import (
    ControlOptions,
    Options,
    TestOptions,
    VideoOptions,
)

if TYPE_CHECKING:
    from timecyclegan.evaluation.base import Evaluation
    from timecyclegan.evaluation.evaluate import Evaluator

STOPPED = 3  # exit code of a training that a signal ended before its end: neither finished nor wrong


def train(arguments: Arguments) -> bool:
    """``train.py``: returns whether training reached its end (False: a signal stopped it)."""
    control, options = arguments.options(ControlOptions), _training_options(arguments)
    with _joined(options) as peers:
        return loop.train(_run(arguments, options, control.resume, control.overwrite, peers))


def dry_run(arguments: Arguments) -> None:
    """``train.py --dry_run``: what training would minimise and take; nothing is written, and no run is in the way.

    With ``--resume`` the options are those of the run. Of several processes the first one answers for all.
    """
    if int(os.environ.get("RANK", 0)):
        return
    options = _training_options(arguments)
    if (processes := int(os.environ.get("WORLD_SIZE", 1))) > 1:
        own = -(-options.batch_size // processes)
        note(f"{processes} processes share each batch of {options.batch_size}: what follows is for one, with {own} of "
             "its clips")
        options = dataclasses.replace(options, batch_size=own)
    # Flow and frames that are kept would be written, and loading is timed in this process.
    changes = {"flow_cache": "", "cache": "off", "threads": 0}
    if options.flow_cache:  # without it, the step cannot be captured
        changes["cuda_graph"] = "off"
    if arguments.options(ControlOptions).resume:  # what it began with need not be there any more, nor its GPU
        device = pick_device(options.gpu)
        changes |= {"init_checkpoint_dir": "", "init_epoch": 0, "gpu": -1 if device.index is None else device.index}
    run = _run(arguments, dataclasses.replace(options, **changes), overwrite=True)
    print_dry_run(run, options.threads, options.cache)


def _run(arguments: Arguments, options: Options, resume: bool = False, overwrite: bool = False,
         peers: Peers | None = None) -> Run:  # fmt: skip
    """The run that is asked for; what ``trainval.py`` tests with is looked at as well, not only after hours."""
    check_arguments(arguments, options.model_type, metrics=True)
    kind = model_class(options.model_type)
    if "flow_backend" in kind.uses:  # what "auto" means is settled, and saved with the run
        backend = choose_backend(options.flow_backend, options.flow_weights, tell=bool(kind.flow_strides(options)))
        options = dataclasses.replace(options, flow_backend=backend)
    begins = not (resume and (CHECKPOINTS / arguments.name / OPTIONS).exists())
    for line in training_notes(options, arguments.given, begins):
        note(line)
    _note_unread(arguments, options.model_type, "")
    folders = arguments.folders["source_dir"], arguments.folders["target_dir"]
    run = Run(arguments.name, *folders, options, resume, overwrite, peers)
    if "test_source_dir" in arguments.folders:
        find_directions(arguments, options.model_type)
        _evaluator(arguments, options)
    return run


def _training_options(arguments: Arguments) -> Options:
    """The defaults, or those of the run to go on with, changed by the preset and by what was given."""
    control, given = arguments.options(ControlOptions), arguments.given_for(Options)
    require_gpu(given.get("gpu", -1))
    options = default_options(given.pop("model_type", None), control.preset or None, **given)
    saved = CHECKPOINTS / arguments.name / OPTIONS
    if control.resume and is_there(saved):  # so that --resume needs none of the flags again
        preset = PRESETS[control.preset] if control.preset else {}
        options = dataclasses.replace(Options.load(saved), **{**preset, **arguments.given_for(Options)})
    return options


def _note_unread(arguments: Arguments, model_type: str, prefix: str) -> None:
    """Unconditional models read no source, and flow is drawn of the source alone; ``prefix``: of the folders' names."""
    unread = {"unconditional": "source_dir", "other": "target_dir"}.get(get_task(model_type), "")
    if given := arguments.folders.get(prefix + unread):
        note(f"--model_type {model_type} reads one folder: {given} is not read, - can stand in its place")


def translate(arguments: Arguments, metrics: bool) -> None:
    """``test.py`` and, with ``metrics``, ``val.py``: pictures, videos, and what can be measured of them.

    Several processes, as ``torchrun`` starts them, share the sequences out; the first one writes down what came of all.
    """
    from timecyclegan.inference.trained import load_options

    require_gpu(arguments.given.get("gpu", -1))
    given = arguments.given_for(Options)
    if "source_dir" in arguments.folders:  # of trainval.py's flags these are training's
        given = {key: value for key, value in given.items() if key not in ("amp", "cuda_graph")}
        given["ema"] = Options.load(CHECKPOINTS / arguments.name / OPTIONS).ema  # also of a run that went on
    options = load_options(arguments.name, given)
    with _joined(options) as peers:
        if peers and peers.device.index is not None:
            options = dataclasses.replace(options, gpu=peers.device.index)
        _translate(arguments, options, metrics, peers)


def _joined(options: Options) -> "contextlib.AbstractContextManager[Peers | None]":
    return joined(options.gpu >= 0 and torch.cuda.is_available())


def _translate(arguments: Arguments, options: Options, metrics: bool, peers: Peers | None) -> None:
    from timecyclegan.inference.folders import translate_folders, write_videos
    from timecyclegan.inference.streaming import speed
    from timecyclegan.inference.trained import load_model

    test, first = arguments.options(TestOptions), not (peers and peers.rank)
    check(options, training=False)
    check_arguments(arguments, options.model_type, metrics)
    _note_unread(arguments, options.model_type, "test_")
    video, saved = arguments.given_for(VideoOptions), (CHECKPOINTS / arguments.name / OPTIONS).exists()
    for line in idle_in_testing(options, arguments.given, metrics, bool(video), saved):
        note(line)
    if video:
        if first:  # a video is one sequence
            _translate_video(arguments, options)
        return
    directions = find_directions(arguments, options.model_type)
    evaluator = _evaluator(arguments, options, peers) if metrics else None
    output = Path(test.test_output_dir) / arguments.name
    if get_task(options.model_type) == "other":
        if first:
            _draw_flow(directions[0], options, test, output)
        return
    beside = {}
    if metrics and test.beside:
        beside = {direction.name: _beside(test, arguments, direction) for direction in directions}
    domains = {direction.domain for direction in directions}
    model = load_model(arguments.name, options, test.test_init_epoch, domains)
    if test.test_init_epoch:
        output /= f"epoch{test.test_init_epoch}"
    evaluations, translated, seconds = [], 0, 0.0
    for direction in directions:
        folder, began = output / direction.name, perf_counter()
        inputs = direction.inputs
        if peers:
            inputs = {name: inputs[name] for name in peers.share({name: len(inputs[name]) for name in inputs})}
        own = fakes = translate_folders(
            model, inputs, folder, options, test.test_batch_size, test.test_seed, direction.domain,
            arguments.given.get("threads"), progress=first,
        )  # fmt: skip
        if peers:
            everyones = {name: paths for theirs in peers.everyones(own) for name, paths in theirs.items()}
            fakes = {name: everyones[name] for name in direction.inputs}
        translated, seconds = translated + sum(map(len, fakes.values())), seconds + perf_counter() - began
        others = {test.beside: beside[direction.name][1]} if beside else {}
        shown = [sequence for sequence in direction.shown(fakes, others) if sequence.name in own]
        write_videos(shown, folder, (options.image_height, options.image_width), test.fps, among=fakes)
        if evaluator:
            evaluations.append(
                _measure(arguments, options, direction, output, fakes, evaluator, first, beside.get(direction.name))
            )
    print(f"translated {translated} frames at {speed(translated, seconds)}")
    for evaluation in evaluations if first else ():  # last: what could be computed is written by now
        evaluator.check_required(evaluation)


def _translate_video(arguments: Arguments, options: Options) -> None:
    """``test.py --video``."""
    from timecyclegan.inference.translator import Translator
    from timecyclegan.util.signals import interrupt, signals

    video, test = arguments.options(VideoOptions), arguments.options(TestOptions)
    if not video.video:
        raise UserError("--source, --side_by_side, --scene_cuts and --no-sound are for --video: give the file to write")
    clip, domain = find_clip(arguments)
    own_size = not {"image_height", "image_width"} & arguments.given.keys()
    translator = Translator(arguments.name, options, test.test_init_epoch, own_size, domain, video.source)
    with signals(interrupt):
        print(translator.translate(clip, video.video, side_by_side=video.side_by_side, scene_cuts=video.scene_cuts,
                                   sound=video.sound, seed=test.test_seed, progress=True))  # fmt: skip


def _evaluator(arguments: Arguments, options: Options, peers: Peers | None = None) -> "Evaluator":
    """What will compute the metrics, with its networks; before them, whether there is a place for the numbers."""
    from timecyclegan.evaluation import compute_metrics
    from timecyclegan.evaluation.base import Settings
    from timecyclegan.evaluation.evaluate import Evaluator, choose
    from timecyclegan.evaluation.flow import estimator

    check_writable(METRICS, append=True)
    test, task = arguments.options(TestOptions), get_task(options.model_type)
    flow = estimator(test.metric_flow_backend, test.metric_flow_weights, options.gpu, "metric_flow")
    settings = Settings(flow, options.gpu, test.fid_dims, progress=not (peers and peers.rank))
    metrics = choose(compute_metrics.METRICS, task, also=test.also, require=test.require)
    both = arguments.folders["test_source_dir"] and arguments.folders["test_target_dir"]
    return Evaluator(metrics, task, settings, test.require, images=bool(both), peers=peers)


def _draw_flow(direction: Direction, options: Options, test: TestOptions, output: Path) -> None:
    """``test.py -m flownet``: pictures of the flow, side-by-side videos, and ``flow.json``: by what, in which scale."""
    from timecyclegan.flow.pictures import draw_folders
    from timecyclegan.inference.folders import write_videos
    from timecyclegan.inference.streaming import speed

    model = get_model(options.model_type, options)
    size, device = (options.image_height, options.image_width), pick_device(options.gpu)
    began = perf_counter()
    pictures, scales = draw_folders(
        model.backend, direction.inputs, output, size, device, options.threads, test.save_flow
    )
    count, seconds = sum(map(len, pictures.values())), perf_counter() - began
    facts = describe(model.backend_name, model.backend) | {"scale_px": scales}
    write_json(output / free_name("flow.json", pictures), facts)
    print(f"optical flow by {model.backend_name}")
    write_videos(direction.shown(pictures), output, size, test.fps)
    print(f"drew {count} frames at {speed(count, seconds)}")


def _measure(
    arguments: Arguments, options: Options, direction: Direction, output: Path, fakes: Frames, evaluator: "Evaluator",
    first: bool, beside: "tuple[Evaluation, Frames] | None",
) -> "Evaluation":
    """Compute the metrics; the ``first`` process writes metrics.json, a row of metrics.csv, and the report, which has
    what :func:`_beside` found beside them. Returns the evaluation."""
    from timecyclegan.evaluation.report import csv_facts, csv_row, format_metrics, per_frame_csv
    from timecyclegan.report.page import write_report

    folder = output / direction.name
    evaluation = evaluator(
        direction.reference, fakes, direction.flow_dir, direction.images, roots=(direction.root, folder)
    )
    if not first:
        return evaluation
    test = arguments.options(TestOptions)
    facts = {
        "name": arguments.name,
        "direction": direction.name,
        "epoch": test.test_init_epoch or "newest",
        "datetime": now(),
        "commit": git_commit(),
        **_folders(arguments),
        "options": options.to_dict(),
    }
    evaluation = dataclasses.replace(evaluation, facts=facts)
    write_json(folder / free_name("metrics.json", fakes), evaluation.to_json())
    if test.per_frame:
        per_frame_csv(evaluation, fakes, folder / free_name("per_frame.csv", fakes))
    comparison = (test.beside, beside[0]) if beside else _earlier(output, evaluation, free_name("metrics.json", fakes))
    report = folder / free_name("report.html", fakes)
    write_report(
        report, title=" ".join(filter(None, (arguments.name, direction.name.replace("_", " ")))),
        evaluation=evaluation, losses_csv=RUNS / arguments.name / "losses.csv", options=options.to_dict(),
        sequences=direction.shown(fakes, beside and {test.beside: beside[1]}), comparison=comparison,
    )  # fmt: skip
    told = {key: facts[key] for key in ("direction", "epoch", "datetime")}
    append_csv(METRICS, {"name": arguments.name} | csv_row(evaluation) | told | csv_facts(evaluation))
    print(format_metrics(evaluation))
    print(f"report: {report}")
    return evaluation


def _folders(arguments: Arguments) -> dict[str, str]:
    """The tested folders, as metrics.json names them."""
    return {side: str(arguments.folders[f"test_{side}_dir"] or "-") for side in ("source", "target")}


def _beside(test: TestOptions, arguments: Arguments, direction: Direction) -> "tuple[Evaluation, Frames]":
    """What ``val.py`` made of the run ``--beside``: its evaluation, and its frames by sequence.

    Raises:
        UserError: it made nothing, or of other folders.
    """
    from timecyclegan.evaluation.base import Evaluation

    folder = Path(test.test_output_dir) / test.beside / direction.name
    file, again = folder / free_name("metrics.json", direction.inputs), "validate that run on the same folders first"
    try:
        found = Evaluation.from_json(json.loads(file.read_text("utf-8")))
        folders = {side: found.facts[side] for side in ("source", "target")}
        frames = {name: [folder / name / f"{one_form(path.stem)}.png" for path in inputs]
                  for name, inputs in direction.inputs.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"--beside {test.beside}: {file} holds no results; {again}") from error
    if any(Path(folders[side]).resolve() != Path(given).resolve() for side, given in _folders(arguments).items()):
        raise UserError(f"--beside {test.beside}: {file} is of the folders {' and '.join(folders.values())}, not of "
                        f"{' and '.join(_folders(arguments).values())}; {again}")  # fmt: skip
    if missing := [path for paths in frames.values() for path in paths if not path.is_file()]:
        raise UserError(f"--beside {test.beside}: {missing[0]} is missing; {again}")
    return found, frames


def _earlier(output: Path, evaluation: "Evaluation", name: str) -> "tuple[str, Evaluation] | None":
    """The evaluation of the earliest epoch below ``output``, and what to call it, for the report to compare with.

    It must be of the same options, data, direction and flow: a run that was overwritten may have left others.
    """
    from timecyclegan.evaluation.base import Evaluation

    epochs = {int(m[1]): path for path in output.iterdir() if (m := re.fullmatch(r"epoch(\d+)", path.name))}
    for epoch in sorted(epochs):
        # there is none, or it is damaged: no comparison
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            file = epochs[epoch] / evaluation.facts["direction"] / name
            found = Evaluation.from_json(json.loads(file.read_text("utf-8")))
            same = ("options", "source", "target", "direction")
            if found.flow == evaluation.flow and all(found.facts[key] == evaluation.facts[key] for key in same):
                return f"after epoch {epoch}", found
    return None
