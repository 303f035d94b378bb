"""Say whether training would start on these folders, what is in them, and how long an epoch would take.

SRC and TGT are those of the command train, and so are the flags after them: the training itself is set up, makes a few
steps, and writes nothing. Every frame is read once: counts, sizes, kinds of pixels, order, pairing, gaps in the
numbering, damaged files, frames that occur twice, scene cuts. One folder alone is checked as the target of an
unconditional model.
The exit code is 0 if training would start and could read every frame, else 2.
"""
import argparse
import dataclasses
import itertools
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from timecyclegan.data import CommandParser
from timecyclegan.datasets.frame_facts import Facts, look_at
from timecyclegan.datasets.pixels import settle_pixels
from timecyclegan.datasets.prepared import picture_size
from timecyclegan.datasets.video_dataset import UnconditionalVideoDataset
from timecyclegan.directions import check_arguments
from timecyclegan.models import calculate_block_size, default_options, get_task
from timecyclegan.models.notes import training_notes
from timecyclegan.training.dry_run import duration, keeps_frames, measure
from timecyclegan.training.forecast import forecast_lines
from timecyclegan.training.run import Run
from timecyclegan.util.argparser import Arguments, add_option, parse_words
from timecyclegan.util.device import require_gpu
from timecyclegan.util.errors import UserError, command, note
from timecyclegan.util.names import user_path
from timecyclegan.util.options import ControlOptions, Options
from timecyclegan.video.frames import Frame, find_sequences, read_image, resize_image, write_image
from timecyclegan.video.panels import side_by_side

_ROWS, _COLUMNS, _TILE = 12, 8, 96  # of a contact sheet: sequences, frames of each, pixels of a frame's height
_SQUEEZED = 1.1  # how far a frame's shape may be changed before it is said
_NAME = "check_data"  # a run's name, under which nothing is written; nor is anything read of another run of this name


def _write_contact_sheet(path: Path, sequences: dict[str, dict[str, list[Frame]]]) -> None:
    """Write a picture of frames of many sequences, those of the target below those of the source."""
    names = list(dict.fromkeys(name for side in sequences.values() for name in side))
    rows = []
    for name, side in itertools.product(_spread(names, _ROWS), sequences):
        tiles, captions = [], []
        for frame in _spread(sequences[side].get(name, []), _COLUMNS):
            try:
                picture = read_image(frame)
            except UserError:
                picture = np.full((1, 1, 3), 128, np.uint8)
            tiles.append(resize_image(picture, *picture_size(picture.shape, _TILE, 0)))
            captions.append(frame.stem if captions else f"{side} {name} {frame.stem}")
        rows += [side_by_side(tiles, captions)] if tiles else []
    if rows:
        width = max(row.shape[1] for row in rows)
        write_image(path, np.concatenate([np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0))) for row in rows]))
        print(f"contact sheet: {path}")


def _spread(items: list, count: int) -> list:
    """At most ``count`` of the items, evenly, the first and the last among them."""
    return [items[round(place)] for place in np.linspace(0, len(items) - 1, min(count, len(items)))]


@command
def main(arguments: list[str] | None = None) -> int:
    parser = CommandParser("check_data", __doc__)
    parser.add_argument("source", metavar="SRC", help="frames to translate from; - for unconditional models")
    parser.add_argument("target", metavar="TGT", nargs="?", help="frames to translate to")
    parser.add_argument("--contact_sheet", metavar="FILE", type=user_path,
                        help="write a PNG with frames of the sequences")
    parser.add_argument("--headers_only", action="store_true",
                        help="do not read the pixels: faster, but finds no damage, no cuts, no copies")
    parser.add_argument("--estimate", action=argparse.BooleanOptionalAction, default=True,
                        help="say what fits into memory, and make three steps of training, to say how long an epoch "
                             "takes")
    group = parser.add_argument_group("flags of train")
    preset = next(field for field in dataclasses.fields(ControlOptions) if field.name == "preset")
    for field in (preset, *dataclasses.fields(Options)):
        add_option(group, field)
    given = parse_words(parser, arguments)
    source, target = (None if (path := given.pop(side)) in ("-", None) else user_path(path)
                      for side in ("source", "target"))
    contact_sheet, headers_only, estimate = map(given.pop, ("contact_sheet", "headers_only", "estimate"))
    if source is target is None:
        raise UserError("SRC is -: give TGT, the frames to train on")
    if contact_sheet and contact_sheet.suffix.lower() != ".png":
        raise UserError(f"--contact_sheet {contact_sheet}: expected a name that ends in .png")
    options = default_options(**{name: tuple(value) if isinstance(value, list) else value
                                 for name, value in given.items()})
    unconditional = get_task(options.model_type) == "unconditional"
    trained = target is not None or unconditional
    if target is None:
        source, target = None, source
    if trained:
        check_arguments(Arguments(_NAME, {"source_dir": source, "target_dir": target}, {}), options.model_type,
                        metrics=True)
    if source and unconditional:
        note(f"--model_type {options.model_type} is unconditional: {source} is not read")
        source = None
    for line in training_notes(options, given) if trained else ():
        note(line)
    errors: list[str] = []  # what training would stop at

    def report(error: Any) -> None:
        if str(error) not in errors:  # the folders are searched twice
            errors.append(str(error))
            print(f"error: {error}", file=sys.stderr)

    # What is in the folders.
    height, width = options.load_height or options.image_height, options.load_width or options.image_width
    sequences: dict[str, dict[str, list[Frame]]] = {}
    found: list[Facts] = []
    for side, root in {"source": source, "target": target}.items():
        try:
            if root:
                sequences[side] = find_sequences(root)
        except UserError as error:
            report(error)
        if side in sequences:
            found.append(facts := look_at(sequences[side], pixels=not headers_only))
            change = max((max(w * height / (h * width), h * width / (w * height)) for h, w in facts.sizes), default=1)
            stretched = (f"frames are stretched to {height}x{width} (height x width), by {change:.2g}; see "
                         "--image_height and --image_width")
            print(f"{root}: {facts.summary}")
            for line in (*facts.notes, *[stretched] * (change > _SQUEEZED)):
                note(f"{root}: {line}")
            for line in facts.broken:
                report(line)
    if len(found) == 2 and (shared := found[0].shared(found[1])):
        note(f"{len(shared)} pictures are both in {source} and in {target}, for example {shared[0]}")

    # Whether training would begin: it is set up. No side of it is judged in another way.
    try:
        if trained:
            require_gpu(given.get("gpu", -1))
            options = Run(_NAME, source, target, options, overwrite=True).options
        else:
            dataset = UnconditionalVideoDataset(None, target, calculate_block_size(options), options.image_height,
                                                options.image_width)
            for line in dataset.warnings():
                note(line)
            settle_pixels(dataset.sequences, {"target": target}, options)
    except UserError as error:
        report(error)
    if contact_sheet:
        _write_contact_sheet(contact_sheet, sequences)
    if estimate and trained and not errors:
        try:
            # Growing ends at full size; it is that step which counts.
            run = Run(_NAME, source, target, dataclasses.replace(
                options, threads=0, flow_cache="", cache="off", cuda_graph="auto", spatial_scaling=(1.0,),
                temporal_scaling=(1.0,),
            ), overwrite=True)  # fmt: skip
            for line in forecast_lines(run.options, run.device):  # first: the steps may need more than there is
                print(line, flush=True)
            cost, steps = measure(run), len(run.loader)
            decoded = keeps_frames(run, options.cache)
            epoch = cost.epoch(steps, options.threads, decoded)
            stages = max(len(options.spatial_scaling) + len(options.temporal_scaling) - 1, 1)
            print(f"estimate ({run.device.type}): {steps} steps an epoch, each {duration(cost.step)} and "
                  f"{duration(cost.loading)} of loading{' (in the first alone)' * decoded}; about "
                  f"{duration(epoch)} an epoch, at most {duration(epoch * stages * options.num_epochs)} for "
                  f"--num_epochs {options.num_epochs}; "
                  f"{cost.memory / 1e9:.1f} GB of memory")
        except UserError as error:
            report(f"the first steps fail: {error}")
        except torch.OutOfMemoryError:
            report("the GPU's memory is too small; lower --batch_size, --block_size, the size of the pictures or the "
                   "numbers of filters")
    print("training would not start" if errors else "training would start")
    return 2 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
