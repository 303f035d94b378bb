"""Make semantic colour maps of frames with a segmentation network of your own, DeepLab or any other.

FRAMES holds folders of images, or videos; OUT/<sequence>/<frame>.png are maps of the frames' own sizes. The model is a
TorchScript file (.pt .pth .ts), an ONNX file, or a frozen TensorFlow graph (.pb, or the .tar.gz in which DeepLab's are
published); OpenCV runs the last two, on the CPU. It takes RGB pictures and gives a channel of scores for each class, or
classes. Pictures are scaled from 0..255 to --range, then (picture - mean) / std. A DeepLab graph has to be run at the
size that it was exported for: --size 513 513, or 1025 2049 for Cityscapes. Maps that are there are not made again;
OUT/run_deeplab.json tells of what model and flags they are, and those of others are refused.
"""
import dataclasses
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

from timecyclegan.data import CommandOptions, CommandParser
from timecyclegan.data.deeplab.segmentation import Segmenter
from timecyclegan.datasets.folders import check_apart
from timecyclegan.datasets.labels import NEWEST_CARLA, Translation, ids_to_colours
from timecyclegan.datasets.prepared import begin, check_begun
from timecyclegan.util.device import gpu_number
from timecyclegan.util.errors import UserError, command
from timecyclegan.util.hub import sha256
from timecyclegan.util.names import one_form, user_path
from timecyclegan.util.options import POSITIVE, option
from timecyclegan.video.frames import Frame, find_sequences, read_image, resize_image, write_image

IDS = {"train": "cityscapes_train_ids", "full": "cityscapes_ids", "carla": "carla_ids"}
MANIFEST = "run_deeplab.json"  # in OUT: what its maps depend on


@dataclasses.dataclass(frozen=True)
class DeepLabOptions(CommandOptions):
    """How pictures become a network's input, and its classes colours."""

    size: tuple[int, ...] = option((), None, "height and width that the network is run at; else each frame's own",
                                   POSITIVE)
    range: tuple[float, ...] = option((), None, "what 0 and 255 become; else 0 1, for DeepLab's graphs -1 1")
    mean: tuple[float, ...] = option((0.0,), None, "within --range, one or three: 0.485 0.456 0.406 for networks "
                                     "trained on ImageNet as torchvision's are")
    std: tuple[float, ...] = option((1.0,), None, "likewise: 0.229 0.224 0.225", POSITIVE)
    ids: str = option("train", None, "what the classes are: Cityscapes' train ids (0-18), its label ids, or CARLA's "
                      "tags", choices=tuple(IDS))
    colormap: str = option("cityscapes", None, "colours of the maps", choices=("cityscapes", "carla"))
    carla_version: str = option(NEWEST_CARLA, None, "whose tags --ids carla are")
    input: str = option("", None, "node of a TensorFlow graph that takes the picture")
    output: str = option("", None, "node of a TensorFlow graph that has the scores")

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, counts in {"size": (0, 2), "range": (0, 2), "mean": (1, 3), "std": (1, 3)}.items():
            if (found := len(getattr(self, name))) not in counts:
                raise UserError(f"--{name} takes {counts[1] if not counts[0] else 'one number or 3'}, not {found}")

    def scale(self, picture: np.ndarray) -> np.ndarray:
        """uint8 (H, W, 3) -> float32 (3, height, width)."""
        low, high = self.range
        resized = resize_image(picture, *(self.size or picture.shape[:2])).astype(np.float32)
        scaled = resized * ((high - low) / 255) + low
        return ((scaled - np.float32(self.mean)) / np.float32(self.std)).transpose(2, 0, 1)


def run_deeplab(frames: Path, out: Path, model: Path, options: DeepLabOptions, batch_size: int = 4, gpu: int = 0,
                overwrite: bool = False, dry_run: bool = False) -> None:
    """Do what the command does.

    Raises:
        UserError: OUT is within FRAMES, holds maps of other frames, another model or other flags, or cannot be written
            to; there are no frames; a model or frame cannot be read; the network gives other things than classes of
            ``options.ids``.
    """
    frames, out, model = map(user_path, (frames, out, model))
    if batch_size < 1:
        raise UserError(f"--batch_size {batch_size}: expected 1 or more")
    classes = Translation(IDS[options.ids], f"{options.colormap}_colours", options.carla_version).table
    sequences = find_sequences(frames)
    for name in sequences:
        check_apart(frames, out / name)
    jobs = {Path(name, f"{one_form(frame.stem)}.png").as_posix(): frame
            for name, sequence in sequences.items() for frame in sequence}
    segmenter = Segmenter(model, gpu, options.input, options.output)
    options = dataclasses.replace(options, range=options.range or segmenter.range)
    facts = {"frames": str(frames.resolve()), "model_sha256": sha256(model), **dataclasses.asdict(options)}
    manifest, old = check_begun(out / MANIFEST, facts, overwrite, jobs)
    manifest |= {"files": sorted({*manifest.get("files", ()), *jobs})}
    todo = {path: frame for path, frame in jobs.items() if overwrite or not (out / path).exists()}
    if len(todo) < len(jobs):
        print(f"{len(jobs) - len(todo)} of {len(jobs)} maps are there already")
    if dry_run:
        print(f"nothing was done; without --dry_run: {len(todo)} maps in {out}, from pictures in {options.range}")
        return

    def inputs() -> Iterator[tuple[str, Frame, np.ndarray, tuple[int, int]]]:
        for path, frame in todo.items():
            picture = read_image(frame)
            yield path, frame, options.scale(picture), picture.shape[:2]

    begun = False
    with tqdm(total=len(todo), unit="frame", disable=None) as progress:
        for _, alike in itertools.groupby(inputs(), lambda given: given[2].shape):
            while batch := list(itertools.islice(alike, batch_size)):
                paths, given, pictures, shapes = zip(*batch, strict=True)
                found = segmenter(np.stack(pictures), shapes)
                maps = [ids_to_colours(ids, classes, f"what {model} makes of {frame}")
                        for frame, ids in zip(given, found, strict=True)]
                if not begun:  # not before the network has shown that it can be used
                    begin(out / MANIFEST, manifest, old)
                    begun = True
                for path, colours in zip(paths, maps, strict=True):
                    write_image(out / path, colours)
                    progress.update()


@command
def main(arguments: list[str] | None = None) -> None:
    parser = CommandParser("run_deeplab", __doc__, DeepLabOptions)
    parser.add_argument("frames", metavar="FRAMES", type=user_path)
    parser.add_argument("out", metavar="OUT", type=user_path)
    parser.add_argument("--model", type=user_path, required=True, help="file of the network")
    parser.add_argument("--batch_size", type=int, default=4, help="frames at once (default: 4); 1 for fixed sizes")
    parser.add_argument("--gpu", type=gpu_number, default=0, help="for TorchScript; -1 is the CPU (default: 0)")
    parser.add_argument("--overwrite", action="store_true", help="also make maps that are there")
    parser.add_argument("--dry_run", action="store_true", help="load the model and say what would be made")
    run_deeplab(**parser.parse(arguments))


if __name__ == "__main__":
    sys.exit(main())
