"""Make toy street videos with semantic maps, and exact flow for the validation set.

``OUT/{train,val}/source/<sequence>/<frame>.png`` are semantic maps in Cityscapes colours,
``OUT/{train,val}/target/...`` the matching pictures, ``OUT/val/flow/<sequence>/<frame>.npz`` the motion into
each frame but the first: ``flow`` (H, W, 2) float32, dx and dy in pixels, and ``visible`` (H, W) bool, with
target_t+1(p) ~ target_t(p + flow(p)) where visible; <frame> is the later one, t+1. ``visible`` also leaves out
the pixels at the edge of a surface, where bilinear sampling would mix in its neighbour.

Colours and textures are drawn anew for every sequence and stay on their objects, so a map leaves them open, but
the frame before gives them away: what a frame-by-frame translation cannot know and a recurrent one can.
"""
import argparse
import math
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from timecyclegan.data.synthetic.labels import CLASSES, PALETTE, noisy_classes
from timecyclegan.data.synthetic.render import render
from timecyclegan.data.synthetic.street import draw_street
from timecyclegan.data.synthetic.view import Viewer
from timecyclegan.util.errors import UserError, command

SPLITS = ("train", "val")
# Streams of random numbers; the street must not change when the label noise does.
_STREET, _NOISE = 0, 1


def generate(out: str | Path, sequences: int = 8, val_sequences: int = 2, frames: int = 30, width: int = 128,
             height: int = 64, seed: int = 0, label_noise: float = 0.0, overwrite: bool = False) -> None:
    """Write the data set described above. Sequence i depends on (seed, split, i) alone, not on how many there are.

    Args:
        out: folder to fill; ``train`` and ``val`` appear in it when everything is written.
        sequences, val_sequences: how many, 0 to 1000 each, not both 0.
        frames: per sequence, 1 to 10000.
        width, height: pixels, at least 16.
        seed: 0 to 2**32 - 1.
        label_noise: errors of the source maps, 0 (none) to 2; 1 is about a real segmentation network.
        overwrite: replace ``out/train`` and ``out/val`` where they are there already.

    Raises:
        UserError: a value out of its range, ``out`` already holds data, or it cannot be written.
    """
    out = Path(out)
    _check(out, sequences, val_sequences, frames, width, height, seed, label_noise, overwrite)
    partial = out / f".partial.{os.getpid()}"
    try:
        with tqdm(total=(sequences + val_sequences) * frames, unit="frame", disable=None) as progress:
            for split, count in zip(SPLITS, (sequences, val_sequences), strict=True):
                for part in ("source", "target") + ("flow",) * (split == "val"):
                    (partial / split / part).mkdir(parents=True)
                for index in range(count):
                    for _ in write_sequence(partial / split, split, index, frames, width, height, seed,
                                            label_noise):
                        progress.update()
        for split in SPLITS:
            shutil.rmtree(out / split, ignore_errors=True)
            os.replace(partial / split, out / split)
    except OSError as error:
        raise UserError(f"cannot write {error.filename or out}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_sequence(folder: Path, split: str, index: int, frames: int, width: int, height: int, seed: int,
                   label_noise: float) -> Iterator[int]:
    """Write one sequence below ``folder`` (the split's); yields each frame's number once it is written.

    The validation split's flow goes with it. Arguments as in :func:`generate`.
    """
    key = (seed, SPLITS.index(split), index)
    street = draw_street(np.random.default_rng([*key, _STREET]), _texture_size(width))
    viewer = Viewer(street, height, width)
    number = np.array([CLASSES.index(label) for label in street.labels])
    name = f"{index:03d}"
    for part in folder.iterdir():
        (part / name).mkdir()
    earlier = None
    for t in range(frames):
        view = viewer.view(t)
        if label_noise:
            noise = np.random.default_rng([*key, _NOISE, t])
            classes = noisy_classes(number, view.surface, view.behind, label_noise, noise)
        else:
            classes = number[view.surface]
        _write_png(folder / "source" / name / f"{t:04d}.png", PALETTE[classes])
        _write_png(folder / "target" / name / f"{t:04d}.png", render(street, view, viewer.focal))
        if split == "val" and earlier is not None:
            flow, visible = viewer.flow(earlier, view)
            np.savez(folder / "flow" / name / f"{t:04d}.npz", flow=flow, visible=visible)
        earlier = view
        yield t


def _texture_size(width: int) -> int:
    """Texels per side: about one per pixel for what fills half the picture; a power of two for the mipmaps."""
    return min(256, max(64, 2 ** round(math.log2(width / 2))))


def _write_png(path: Path, picture: np.ndarray) -> None:
    Image.fromarray(picture).save(path, compress_level=1)


def _check(out: Path, sequences, val_sequences, frames, width, height, seed, label_noise, overwrite) -> None:
    # The upper limits keep the file names' digits, and with them their order.
    ranges = {"sequences": (sequences, 0, 1000), "val_sequences": (val_sequences, 0, 1000),
              "frames": (frames, 1, 10000), "width": (width, 16, 8192), "height": (height, 16, 8192),
              "seed": (seed, 0, 2 ** 32 - 1), "label_noise": (label_noise, 0, 2)}
    for name, (value, low, high) in ranges.items():
        if not low <= value <= high:
            raise UserError(f"--{name} {value}: expected {low} to {high}")
    if sequences == val_sequences == 0:
        raise UserError("--sequences 0 and --val_sequences 0: nothing to make; ask for at least one sequence")
    try:
        taken = [out / split for split in SPLITS if (out / split).exists() and any((out / split).iterdir())]
        if taken and not overwrite:
            raise UserError(f"{taken[0]} exists and is not empty: choose another folder or pass --overwrite")
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to {out}: {error.strerror or error}; choose another folder") from error


@command
def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m timecyclegan.data.generate_synthetic", description=__doc__.split("\n\n")[0],
        epilog=__doc__.split("\n\n", 1)[1], formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("out", metavar="OUT", help="folder in which train and val are made")
    parser.add_argument("--sequences", type=int, default=8, help="training sequences, up to 1000")
    parser.add_argument("--val_sequences", type=int, default=2, help="validation sequences, up to 1000")
    parser.add_argument("--frames", type=int, default=30, help="frames per sequence, up to 10000")
    parser.add_argument("--width", type=int, default=128, help="pixels, at least 16")
    parser.add_argument("--height", type=int, default=64, help="pixels, at least 16")
    parser.add_argument("--seed", type=int, default=0, help="the same arguments and seed give the same bytes")
    parser.add_argument("--label_noise", type=float, default=0.0,
                        help="errors of the source maps, new in every frame: 0 (none) to 2; 1 is about as bad "
                             "as a real segmentation network")
    parser.add_argument("--overwrite", action="store_true", help="replace train and val in OUT")
    generate(**vars(parser.parse_args(arguments)))


if __name__ == "__main__":
    sys.exit(main())
