"""Make toy street videos with semantic maps, and exact flow for the validation set.

``OUT/{train,val}/source/<sequence>/<frame>.png`` are semantic maps in Cityscapes colours (with --film: worn film),
``OUT/{train,val}/target/...`` the matching pictures, ``OUT/val/flow/<sequence>/<frame>.npz`` the motion into
each frame but the first: ``flow`` (H, W, 2) float32, dx and dy in pixels, and ``visible`` (H, W) bool, with
target_t+1(p) ~ target_t(p + flow(p)) where visible; <frame> is the later one, t+1. ``visible`` also leaves out
the pixels at the edge of a surface, where bilinear sampling would mix in its neighbour.

Colours and textures are drawn anew for every sequence and stay on their objects, so a map leaves them open, but
the frame before gives them away: what a frame-by-frame translation cannot know and a recurrent one can.
"""
import dataclasses
import math
import os
import shutil
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from timecyclegan.data import CommandOptions, CommandParser, between
from timecyclegan.data.synthetic.film import worn_film
from timecyclegan.data.synthetic.labels import CLASSES, PALETTE, noisy_classes
from timecyclegan.data.synthetic.street import draw_street
from timecyclegan.data.synthetic.view import Viewer, render
from timecyclegan.util.errors import UserError, command
from timecyclegan.util.names import user_path
from timecyclegan.util.options import option

SPLITS = ("train", "val")
# Streams of random numbers; the street must not change when the label noise does.
_STREET, _NOISE = 0, 1


@dataclasses.dataclass(frozen=True)
class SyntheticOptions(CommandOptions):
    """What is made. The upper limits of the numbers keep the file names' digits, and with them their order."""

    sequences: int = option(8, None, "training sequences, up to 1000", between(0, 1000))
    val_sequences: int = option(2, None, "validation sequences, up to 1000", between(0, 1000))
    frames: int = option(30, None, "frames per sequence, up to 10000", between(1, 10000))
    width: int = option(128, None, "pixels, at least 16", between(16, 8192))
    height: int = option(64, None, "pixels, at least 16", between(16, 8192))
    seed: int = option(0, None, "the same arguments and seed give the same bytes", between(0, 2**32 - 1))
    label_noise: float = option(0.0, None, "errors of the source maps, new in every frame: 0 (none) to 2; 1 is about "
                                "as bad as a real segmentation network", between(0, 2))
    film: bool = option(False, None, "let the sources be worn film of the street in place of label maps: faded, "
                              "flickering, grainy, scratched")
    overwrite: bool = option(False, None, "replace train and val in OUT")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sequences == self.val_sequences == 0:
            raise UserError("--sequences 0 and --val_sequences 0: nothing to make; ask for at least one sequence")
        if self.film and self.label_noise:
            raise UserError(f"--film and --label_noise {self.label_noise:g}: film has no labels; leave out one of them")


def generate(out: str | Path, **options) -> None:
    """Write the data set described above; ``train`` and ``val`` appear in ``out`` when everything is written.

    Sequence i depends on (seed, split, i) alone, not on how many there are. For the options see SyntheticOptions.

    Raises:
        UserError: a value out of its range, ``out`` already holds data, or it cannot be written.
    """
    out, made = user_path(out), SyntheticOptions(**options)
    partial = out / f".partial.{os.getpid()}"
    counts = dict(zip(SPLITS, (made.sequences, made.val_sequences), strict=True))
    try:
        taken = [out / split for split in SPLITS if (out / split).exists() and any((out / split).iterdir())]
        if taken and not made.overwrite:
            raise UserError(f"{taken[0]} exists and is not empty: choose another folder or pass --overwrite")
        with tqdm(total=sum(counts.values()) * made.frames, unit="frame", disable=None) as progress:
            for split, count in counts.items():
                for part in ("source", "target") + ("flow",) * (split == "val"):
                    (partial / split / part).mkdir(parents=True)
                for index in range(count):
                    _write_sequence(partial / split, split, index, made, progress)
        for split in SPLITS:
            shutil.rmtree(out / split, ignore_errors=True)
            os.replace(partial / split, out / split)
    except OSError as error:
        raise UserError(f"cannot write {error.filename or out}: {error.strerror or error}; choose another "
                        "folder") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write_sequence(folder: Path, split: str, index: int, options: SyntheticOptions, progress: tqdm) -> None:
    """Write one sequence below ``folder`` (the split's), with flow for validation."""
    key = (options.seed, SPLITS.index(split), index)
    # Texels per side: about one per pixel for what fills half the picture; a power of two for the mipmaps.
    texture_size = min(256, max(64, 2 ** round(math.log2(options.width / 2))))
    street = draw_street(np.random.default_rng([*key, _STREET]), texture_size)
    viewer = Viewer(street, options.height, options.width)
    number = np.array([CLASSES.index(label) for label in street.labels])
    name = f"{index:03d}"
    for part in folder.iterdir():
        (part / name).mkdir()
    earlier = None
    for t in range(options.frames):
        view = viewer.view(t)
        noise = np.random.default_rng([*key, _NOISE, t])
        target = render(street, view, viewer.focal)
        if options.film:
            source = worn_film(target, noise)
        elif options.label_noise:
            source = PALETTE[noisy_classes(number, view.surface, view.behind, options.label_noise, noise)]
        else:
            source = PALETTE[number[view.surface]]
        for part, picture in (("source", source), ("target", target)):
            Image.fromarray(picture).save(folder / part / name / f"{t:04d}.png", compress_level=1)
        if split == "val" and earlier is not None:
            flow, visible = viewer.flow(earlier, view)
            np.savez(folder / "flow" / name / f"{t:04d}.npz", flow=flow, visible=visible)
        earlier = view
        progress.update()


@command
def main(arguments: list[str] | None = None) -> None:
    parser = CommandParser("generate_synthetic", __doc__, SyntheticOptions)
    parser.add_argument("out", metavar="OUT", help="folder in which train and val are made")
    generate(**vars(parser.parse_args(arguments)))


if __name__ == "__main__":
    sys.exit(main())
