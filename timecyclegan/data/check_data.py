"""Say whether training would start on these folders, what is in them, and how long an epoch would take.

SRC and TGT are those of train.py, and so are the flags after them: the training itself is set up, makes a few steps,
and writes nothing. Every frame is read once: counts, sizes, kinds of pixels, order, pairing, gaps in the numbering,
damaged files, frames that occur twice, scene cuts. One folder alone is checked as the target of an unconditional model.
The exit code is 0 if training would start and could read every frame, else 2.
"""
import argparse
import dataclasses
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from timecyclegan.datasets.frame_facts import Facts, look_at
from timecyclegan.datasets.video_dataset import UnconditionalVideoDataset
from timecyclegan.directions import check_arguments
from timecyclegan.models import calculate_block_size, default_options, get_task
from timecyclegan.training.dry_run import duration, measure
from timecyclegan.training.run import Run
from timecyclegan.util.argparser import Arguments, add_option
from timecyclegan.util.errors import UserError, command
from timecyclegan.util.options import ControlOptions, Options
from timecyclegan.video.frames import Frame, find_sequences, read_image, resize_image, write_image
from timecyclegan.video.panels import side_by_side

_ROWS, _COLUMNS, _TILE = 12, 8, 96  # of a contact sheet: sequences, frames of each, pixels of a frame's height
_SQUEEZED = 1.1  # how far a frame's shape may be changed before it is said
_RUN = "check_data"  # a run's name, under which nothing is written


class Check:
    """What was found; ``errors`` are what training would stop at.

    Raises:
        UserError: a folder is missing that the model needs.
    """

    def __init__(self, source: Path | None, target: Path | None, options: Options):
        self.options, self.task = options, get_task(options.model_type)
        self.trained = target is not None or self.task == "unconditional"
        if target is None:
            source, target = None, source
        if self.trained:
            check_arguments(Arguments(_RUN, {"source_dir": source, "target_dir": target}, {}), options.model_type,
                            metrics=True)
        if source and self.task == "unconditional":
            print(f"note: --model_type {options.model_type} is unconditional: {source} is not read")
            source = None
        self.roots = {side: root for side, root in (("source", source), ("target", target)) if root is not None}
        self.sequences: dict[str, dict[str, list[Frame]]] = {}
        self.errors: list[str] = []

    def frames(self, pixels: bool) -> None:
        """Report what is in the folders."""
        facts: dict[str, Facts] = {}
        for side, root in self.roots.items():
            try:
                self.sequences[side] = find_sequences(root)
            except UserError as error:
                self.error(error)
                continue
            facts[side] = found = look_at(self.sequences[side], pixels)
            print(f"{root}: {found.summary()}")
            for line in (*found.notes(), *self._squeezed(found)):
                print(f"note: {root}: {line}")
            for line in found.broken:
                self.error(line)
        if len(facts) == 2 and (shared := facts["source"].shared(facts["target"])):
            print(f"note: {len(shared)} pictures are both in {self.roots['source']} and in {self.roots['target']}, for "
                  f"example {shared[0]}")

    def _squeezed(self, facts: Facts) -> list[str]:
        height = self.options.load_height or self.options.image_height
        width = self.options.load_width or self.options.image_width
        change = max((max(w * height / (h * width), h * width / (w * height)) for h, w in facts.sizes), default=1)
        return [f"frames are stretched to {height}x{width} (height x width), by {change:.2g}; see --image_height and "
                "--image_width"] * (change > _SQUEEZED)

    def training(self) -> None:
        """Set up what would be trained; no side of it is judged in another way."""
        try:
            if not self.trained:
                dataset = UnconditionalVideoDataset(None, self.roots["target"], calculate_block_size(self.options),
                                                    self.options.image_height, self.options.image_width)
                for line in dataset.warnings():
                    print(f"note: {line}")
            else:
                self._trainer(self.options)
        except UserError as error:
            self.error(error)

    def _trainer(self, options: Options) -> Run:
        # Another run of this name would not matter: nothing of it is read.
        return Run(_RUN, self.roots.get("source"), self.roots["target"], options, overwrite=True)

    def estimate(self) -> None:
        """Make a few steps at full size, and report what they took."""
        options = dataclasses.replace(self.options, threads=0, flow_cache="", spatial_scaling=(1.0,),
                                      temporal_scaling=(1.0,))
        try:
            run = self._trainer(options)
            cost = measure(run)
        except UserError as error:
            self.error(f"the first steps fail: {error}")
        except torch.OutOfMemoryError:
            self.error("the GPU's memory is too small; lower --batch_size, --block_size, the size of the pictures or "
                       "the numbers of filters")
        else:
            steps = len(run.loader)
            epoch = cost.epoch(steps, self.options.threads)
            stages = max(len(self.options.spatial_scaling) + len(self.options.temporal_scaling) - 1, 1)
            in_all = epoch * stages * options.num_epochs
            print(f"estimate ({run.device.type}): {steps} steps an epoch, each {duration(cost.step)} and "
                  f"{duration(cost.loading)} of loading; about {duration(epoch)} an epoch, at most {duration(in_all)} "
                  f"for --num_epochs {options.num_epochs}; {cost.memory / 1e9:.1f} GB of memory")

    def contact_sheet(self, path: Path) -> None:
        """Write a picture of frames of many sequences, those of the target below those of the source."""
        names = list(dict.fromkeys(name for side in self.sequences.values() for name in side))
        rows = [_row(f"{side} {name}", self.sequences[side][name]) for name in _spread(names, _ROWS)
                for side in self.sequences if name in self.sequences[side]]
        if rows:
            width = max(row.shape[1] for row in rows)
            rows = [np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0))) for row in rows]
            write_image(path, np.concatenate(rows))
            print(f"contact sheet: {path}")

    def error(self, text: Any) -> None:
        if str(text) not in self.errors:  # the folders are searched twice
            self.errors.append(str(text))
            print(f"error: {text}", file=sys.stderr)


def _spread(items: list, count: int) -> list:
    """At most ``count`` of the items, evenly, the first and the last among them."""
    if len(items) <= count:
        return items
    return [items[round(place)] for place in np.linspace(0, len(items) - 1, count)]


def _row(title: str, frames: list[Frame]) -> np.ndarray:
    tiles, captions = [], []
    for frame in _spread(frames, _COLUMNS):
        try:
            picture = read_image(frame)
        except UserError:
            picture = np.full((1, 1, 3), 128, np.uint8)
        tiles.append(resize_image(picture, _TILE, max(1, round(_TILE * picture.shape[1] / picture.shape[0]))))
        captions.append(frame.stem)
    captions[0] = f"{title} {captions[0]}"
    return side_by_side(tiles, captions)


def check_data(source: Path | None, target: Path | None, options: Options, contact_sheet: Path | None = None,
               headers_only: bool = False, estimate: bool = True) -> bool:
    """Do what the command does; returns whether training would start.

    Args:
        source: None for an unconditional model.
        target: None if there is one folder only, ``source``.
        contact_sheet: PNG file to write.
        headers_only: do not read the pixels.
        estimate: make a few steps of training.
    """
    if contact_sheet and contact_sheet.suffix.lower() != ".png":
        raise UserError(f"--contact_sheet {contact_sheet}: expected a name that ends in .png")
    check = Check(source, target, options)
    check.frames(pixels=not headers_only)
    check.training()
    if contact_sheet:
        check.contact_sheet(contact_sheet)
    if estimate and check.trained and not check.errors:
        check.estimate()
    print("training would not start" if check.errors else "training would start")
    return not check.errors


@command
def main(arguments: list[str] | None = None) -> int:
    summary, description = __doc__.split("\n\n", 1)
    parser = argparse.ArgumentParser(prog="python -m timecyclegan.data.check_data", description=summary,
                                     epilog=description)
    parser.add_argument("source", metavar="SRC", help="frames to translate from; - for unconditional models")
    parser.add_argument("target", metavar="TGT", nargs="?", help="frames to translate to")
    parser.add_argument("--contact_sheet", metavar="FILE", type=Path, help="write a PNG with frames of the sequences")
    parser.add_argument("--headers_only", action="store_true",
                        help="do not read the pixels: faster, but finds no damage, no cuts, no copies")
    parser.add_argument("--estimate", action=argparse.BooleanOptionalAction, default=True,
                        help="make three steps of training, to say how long an epoch takes")
    group = parser.add_argument_group("flags of train.py")
    preset = next(field for field in dataclasses.fields(ControlOptions) if field.name == "preset")
    for field in (preset, *dataclasses.fields(Options)):
        add_option(group, field)
    given = vars(parser.parse_intermixed_args(arguments))
    folders = [None if given[side] in ("-", None) else Path(given[side]) for side in ("source", "target")]
    own = {name: given[name] for name in ("contact_sheet", "headers_only", "estimate")}
    flags = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()
             if name not in ("source", "target", *own)}
    if folders == [None, None]:
        raise UserError("SRC is -: give TGT, the frames to train on")
    return 0 if check_data(*folders, default_options(**flags), **own) else 2


if __name__ == "__main__":
    sys.exit(main())
