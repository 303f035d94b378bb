"""What a trained model is to generate when it is tested, and what that is compared with: a question of its task."""
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from timecyclegan.models import get_task
from timecyclegan.report.sequences import ReportSequence
from timecyclegan.util.argparser import Arguments
from timecyclegan.util.errors import UserError
from timecyclegan.util.names import present
from timecyclegan.util.options import TestOptions
from timecyclegan.video.frames import IMAGE_SUFFIXES, find_sequences, match_sequences

Frames = dict[str, list[Path]]

BOTH_WAYS = {"target": "source_to_target", "source": "target_to_source"}  # by the domain that is generated


@dataclass(frozen=True)
class Direction:
    """One set of videos to generate.

    Attributes:
        task: the model's.
        inputs: by sequence, the frames to translate; an unconditional model takes their number and names alone.
        reference: the sequences that metrics compare with; None: there are none.
        root: the folder of ``reference``.
        domain: what the model generates.
        flow_dir: where the true flow of the reference lies, if it is known.
        images: for an unpaired model, real frames of ``domain``, if there are any: not of the same moments.
        name: the folder of the results, and what a row of metrics.csv says; empty where there is one direction only.
    """

    task: str
    inputs: Frames
    reference: Frames | None
    root: Path | None
    domain: str = "target"
    name: str = ""
    flow_dir: Path | None = None
    images: Frames | None = None

    def shown(self, fakes: Frames, others: Mapping[str, Frames] | None = None) -> list[ReportSequence]:
        """What to look at beside each generated sequence; ``others``: what other runs generated, by their names."""
        beside = {name: {run: made[name] for run, made in (others or {}).items()} for name in fakes}
        if self.task != "unconditional":
            real = self.reference if self.task == "paired" else None
            return [ReportSequence(name, self.inputs[name], frames, real and real[name], others=beside[name])
                    for name, frames in fakes.items()]
        shown = []
        for place, (name, frames) in enumerate(fakes.items()):
            example = None
            if self.reference:  # of the same name where there is one; a short clip stays at its end
                clip = self.reference.get(name) or list(self.reference.values())[place % len(self.reference)]
                example = [*clip, *[clip[-1]] * (len(frames) - len(clip))][: len(frames)]
            shown.append(ReportSequence(name, [], frames, example=example, others=beside[name]))
        return shown


def check_arguments(arguments: Arguments, model_type: str, metrics: bool) -> None:
    """Refuse folders and test options that do not go with the model; nothing is read.

    Args:
        metrics: they will be computed, from real frames.

    Raises:
        UserError: a folder that is missing, a flag for another task, or nothing to generate.
    """
    task, folders, test = get_task(model_type), arguments.folders, arguments.options(TestOptions)
    model = f"--model_type {model_type}" + (f" is {task}" if task != "other" else "")
    needed = {"source_dir": ("paired", "unpaired"), "test_source_dir": ("paired", "other"),
              "test_target_dir": ("paired", "unconditional") if metrics else ()}
    missing = [folder for folder, tasks in needed.items() if task in tasks and folders.get(folder, True) is None]
    made_of = [folders[folder] for folder in ("test_source_dir", "test_target_dir") if folder in folders]
    refused = (
        (task == "other" and metrics,
         f"{model} is not trained and has no metrics: test NAME SOURCE {model} draws the flow of SOURCE"),
        (task == "other" and test.test_init_epoch,
         f"--test_init_epoch {test.test_init_epoch}: {model} is not trained, it has no epochs; leave the flag out"),
        (missing, f"{model}: it needs {' and '.join(missing)}, give a folder where - stands"),
        (test.test_unpaired_target_to_source and task != "unpaired",
         f"--test_unpaired_target_to_source is for unpaired models, {model}"),
        ((test.n_sequences or test.n_frames) and task != "unconditional",
         f"--n_sequences and --n_frames are for unconditional models, {model}"),
        (bool(test.n_sequences) != bool(test.n_frames), "--n_sequences and --n_frames belong together: give both"),
        (test.save_flow != "off" and task != "other", f"--save_flow is for --model_type flownet, {model}"),
        (made_of and task == "unconditional" and made_of[1] is None and not test.n_sequences,
         f"{model}: give a target folder, to generate as many sequences and frames as it has, or --n_sequences and "
         "--n_frames"),
        (made_of == [None, None] and task == "unpaired",
         "there is nothing to translate: give a source folder, a target folder, or both"),
    )  # fmt: skip
    for wrong, text in refused:
        if wrong:
            raise UserError(text)


def find_clip(arguments: Arguments) -> tuple[Path, str]:
    """The video file that ``--video`` is made of, and the domain to translate it to.

    Raises:
        UserError: there is not exactly one, or it is no video file.
    """
    source, target = arguments.folders["test_source_dir"], arguments.folders["test_target_dir"]
    if source and target:
        raise UserError(f"--video translates one video: give {source} alone, or - and {target} for the way back")
    back = target is not None or arguments.options(TestOptions).test_unpaired_target_to_source
    clip = source or target
    if clip.is_dir() or clip.suffix.lower() in IMAGE_SUFFIXES:
        raise UserError(f"--video translates a video file, not {clip}; without --video, folders of frames and of "
                        "videos are translated too")
    return clip, "source" if back else "target"


def find_directions(arguments: Arguments, model_type: str) -> list[Direction]:
    """List the test folders' sequences and what is to be made of them.

    Raises:
        UserError: a folder has no frames, or the two of a paired model do not match.
    """
    task, test = get_task(model_type), arguments.options(TestOptions)
    source, target = arguments.folders["test_source_dir"], arguments.folders["test_target_dir"]
    if task == "other":
        return [Direction(task, find_sequences(source), None, None)]
    if task == "unpaired":
        return _both_ways(source, target, test.test_unpaired_target_to_source)
    reals = find_sequences(target) if target else None
    if task == "unconditional":
        names = {f"sequence_{i:03}": [Path(f"{t:05}.png") for t in range(test.n_frames)]
                 for i in range(test.n_sequences)}
        return [Direction(task, names or reals, reals, target)]
    sources = find_sequences(source)
    if target:
        match_sequences(sources, reals, source, target)
    return [Direction(task, sources, reals, target, flow_dir=_true_flow(target, reals) if target else None)]


def _both_ways(source: Path | None, target: Path | None, only_back: bool) -> list[Direction]:
    """As far as there is something to translate; what comes out is compared with what went in."""
    roots = {"target": source, "source": target}  # by the domain that is generated
    if only_back:
        roots = {"source": target or source, "target": source if target else None}
    found = {domain: find_sequences(root) for domain, root in roots.items() if root}
    flow = {domain: _true_flow(roots[domain], clips) for domain, clips in found.items()}
    if len(flow) == 2 and flow["source"] == flow["target"]:  # beside both folders: it belongs to the target's frames
        flow["target"] = None
    return [Direction("unpaired", inputs, inputs, roots[domain], domain, BOTH_WAYS[domain], flow[domain],
                      found.get("source" if domain == "target" else "target"))
            for domain, inputs in found.items() if domain == "source" or not only_back]  # fmt: skip


def _true_flow(root: Path, clips: Frames) -> Path | None:
    """The folder ``flow`` beside ``root`` if it has flow of these clips; else it is none of our business."""
    flow = root.resolve().parent / "flow"
    second = [present(flow / name / f"{frames[1].stem}.npz") for name, frames in clips.items() if len(frames) > 1]
    return flow if second and all(path.is_file() for path in second) else None
