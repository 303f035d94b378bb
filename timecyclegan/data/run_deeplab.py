"""Make semantic colour maps of frames with a segmentation network of your own, DeepLab or any other.

FRAMES holds folders of images, or videos; OUT/<sequence>/<frame>.png are maps of the frames' own sizes. The model is a
TorchScript file (.pt .pth .ts), an ONNX file, or a frozen TensorFlow graph (.pb, or the .tar.gz in which DeepLab's are
published); OpenCV runs the last two, on the CPU. It takes RGB pictures and gives a channel of scores for each class, or
classes. Pictures are scaled from 0..255 to --range, then (picture - mean) / std. A DeepLab graph has to be run at the
size that it was exported for: --size 513 513, or 1025 2049 for Cityscapes. Maps that are there are not made again;
OUT/run_deeplab.json tells of what model and flags they are, and those of others are refused.
"""
import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from timecyclegan.data.deeplab.segmentation import Segmenter
from timecyclegan.datasets.labels import NEWEST_CARLA, Translation, ids_to_colours
from timecyclegan.util.errors import UserError, command
from timecyclegan.util.files import replacing
from timecyclegan.util.hub import sha256
from timecyclegan.video.frames import Frame, few, find_sequences, read_image, resize_image, write_image

IDS = {"train": "cityscapes_train_ids", "full": "cityscapes_ids", "carla": "carla_ids"}
MANIFEST = "run_deeplab.json"  # in OUT: what its maps depend on
COLOURS = {"cityscapes": "cityscapes_colours", "carla": "carla_colours"}


class Scaling(NamedTuple):
    """How pictures become a network's input: uint8 0..255 to ``range``, then (x - mean) / std for each channel."""

    size: tuple[int, int] | None  # (height, width); None: the picture's own
    range: tuple[float, float] = (0.0, 1.0)
    mean: tuple[float, ...] = (0.0,)  # one for all, or red, green, blue
    std: tuple[float, ...] = (1.0,)

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        """uint8 (H, W, 3) -> float32 (3, height, width)."""
        low, high = self.range
        resized = resize_image(picture, *(self.size or picture.shape[:2])).astype(np.float32)
        scaled = resized * ((high - low) / 255) + low
        return ((scaled - np.float32(self.mean)) / np.float32(self.std)).transpose(2, 0, 1)


def run_deeplab(frames: Path, out: Path, model: Path, *, batch_size: int = 4, size: Sequence[int] | None = None,
                value_range: Sequence[float] | None = None, mean: Sequence[float] = (0.0,),
                std: Sequence[float] = (1.0,), ids: str = "train", colormap: str = "cityscapes",
                carla_version: str = NEWEST_CARLA, input: str = "", output: str = "", gpu: int = 0,
                overwrite: bool = False, dry_run: bool = False) -> None:
    """Do what the command does; for the arguments see its help.

    Raises:
        UserError: a value out of its range, OUT within FRAMES or with maps of another model or other flags, no frames,
            a model or frame that cannot be read, a network that gives other things than classes of ``ids``, an OUT
            that cannot be written to.
    """
    _check(batch_size, size, mean, std)
    classes = Translation(IDS[ids], COLOURS[colormap], carla_version).table
    sequences = find_sequences(frames)
    for folder in (out / name for name in sequences):
        if folder.resolve().is_relative_to(frames.resolve()):
            raise UserError(f"{folder} lies in {frames}, whose frames the maps would be taken for; choose another OUT")
    jobs = [(frame, out / name / f"{frame.stem}.png") for name, sequence in sequences.items() for frame in sequence]
    segmenter = Segmenter(model, gpu, input, output)
    scaling = Scaling(tuple(size) if size else None, tuple(value_range or segmenter.range), tuple(mean), tuple(std))
    facts = {"model_sha256": sha256(model), "ids": ids, "colormap": colormap, "carla_version": carla_version,
             "input": input, "output": output, **scaling._asdict()}
    old = _maps_of_others(out, facts, [path for _, path in jobs], overwrite)
    todo = [job for job in jobs if overwrite or not job[1].exists()]
    if len(todo) < len(jobs):
        print(f"{len(jobs) - len(todo)} of {len(jobs)} maps are there already")
    if dry_run:
        print(f"nothing was done; without --dry_run: {len(todo)} maps in {out}, from pictures in {scaling.range}")
        return
    with tqdm(total=len(todo), unit="frame", disable=None) as progress:
        for batch in _batches(todo, scaling, batch_size):
            results = segmenter(np.stack([picture for _, _, picture, _ in batch]), [shape for *_, shape in batch])
            maps = [(path, ids_to_colours(found, classes, f"what {model} makes of {frame}"))
                    for (frame, path, _, _), found in zip(batch, results, strict=True)]
            if progress.n == 0:
                _begin(out, facts, old)
            for path, colours in maps:
                write_image(path, colours)
                progress.update()


def _maps_of_others(out: Path, facts: dict[str, Any], paths: Sequence[Path], overwrite: bool) -> list[Path]:
    """Maps in ``out`` that another model or other flags made.

    Raises:
        UserError: there are some, and they are not to be overwritten, or not all would be.
    """
    manifest, there = out / MANIFEST, {path for path in paths if path.exists()}
    try:
        made = json.loads(manifest.read_text()) if manifest.exists() else None
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {manifest}: {error}; choose another folder") from error
    if made is not None:
        there |= {path for path in out.rglob("*.png") if not path.name.startswith(".")}
    facts = json.loads(json.dumps(facts))  # lists, as they were read
    if not there or made == facts:
        return []
    if not overwrite:
        other = [key for key in facts if made is not None and made.get(key) != facts[key]]
        raise UserError(f"{out} holds images of {f'other {few(other)}' if other else 'another command'}; choose "
                        "another folder, or lose them with --overwrite")
    if others := sorted(str(path) for path in there.difference(paths)):
        raise UserError(f"{out} holds images that would not be overwritten, among those that would ({few(others)}); "
                        "choose another folder")
    return sorted(there)


def _begin(out: Path, facts: dict[str, Any], old: Iterable[Path]) -> None:
    """Old maps go before the manifest is another one: a run that is killed must leave no mixture."""
    with replacing(out / MANIFEST, sync=True) as temporary:
        temporary.write_text(json.dumps(facts, indent=1) + "\n")
        for path in old:
            path.unlink()


def _batches(jobs: Iterable[tuple[Frame, Path]], scaling: Scaling, size: int) -> Iterator[list[tuple]]:
    """Frame, file, input (3, h, w) and own (H, W), in lists of up to ``size`` whose inputs have one shape."""
    batch: list[tuple] = []
    for frame, path in jobs:
        picture = read_image(frame)
        scaled = scaling(picture)
        if batch and batch[0][2].shape != scaled.shape:
            yield batch
            batch = []
        batch.append((frame, path, scaled, picture.shape[:2]))
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _check(batch_size: int, size: Sequence[int] | None, mean: Sequence[float], std: Sequence[float]) -> None:
    if batch_size < 1:
        raise UserError(f"--batch_size {batch_size}: expected 1 or more")
    if size and min(size) < 1:
        raise UserError(f"--size {' '.join(map(str, size))}: expected height and width in pixels")
    for flag, values in (("--mean", mean), ("--std", std)):
        if len(values) not in (1, 3):
            raise UserError(f"{flag} takes one number, or three for red, green and blue, not {len(values)}")
    if not all(value > 0 for value in std):
        raise UserError(f"--std {' '.join(map(str, std))}: expected numbers above 0")


@command
def main(arguments: list[str] | None = None) -> None:
    summary, description = __doc__.split("\n\n", 1)
    parser = argparse.ArgumentParser(prog="python -m timecyclegan.data.run_deeplab", description=summary,
                                     epilog=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("frames", metavar="FRAMES", type=Path)
    parser.add_argument("out", metavar="OUT", type=Path)
    parser.add_argument("--model", type=Path, required=True, help="file of the network")
    parser.add_argument("--batch_size", type=int, default=4, help="frames at once; 1 for networks of fixed size")
    parser.add_argument("--size", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"),
                        help="that the network is run at; else each frame's own")
    parser.add_argument("--range", dest="value_range", type=float, nargs=2, metavar=("LOW", "HIGH"),
                        help="what 0 and 255 become; else 0 1, for DeepLab's graphs -1 1")
    parser.add_argument("--mean", type=float, nargs="+", default=[0.0], help="within --range, one or three: "
                        "0.485 0.456 0.406 for networks trained on ImageNet as torchvision's are")
    parser.add_argument("--std", type=float, nargs="+", default=[1.0], help="likewise: 0.229 0.224 0.225")
    parser.add_argument("--ids", choices=IDS, default="train",
                        help="what the classes are: Cityscapes' train ids (0-18), its label ids, or CARLA's tags")
    parser.add_argument("--colormap", choices=COLOURS, default="cityscapes", help="colours of the maps")
    parser.add_argument("--carla_version", default=NEWEST_CARLA, help="whose tags --ids carla are")
    parser.add_argument("--input", default="", help="node of a TensorFlow graph that takes the picture")
    parser.add_argument("--output", default="", help="node of a TensorFlow graph that has the scores")
    parser.add_argument("--gpu", type=int, default=0, help="for TorchScript; -1 is the CPU")
    parser.add_argument("--overwrite", action="store_true", help="also make maps that are there")
    parser.add_argument("--dry_run", action="store_true", help="load the model and say what would be made")
    run_deeplab(**vars(parser.parse_args(arguments)))


if __name__ == "__main__":
    sys.exit(main())
