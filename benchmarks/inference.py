"""Frames per second of translating folders and videos: a plain loop, and ``test.py``'s stages that overlap.

    python benchmarks/inference.py --frames 200 --device cuda --amp off bfloat16

The plain loop reads, resizes, translates, and writes each frame in its turn, in float32. Both make the same pictures of
the same PNG files or video and are timed in turns, in this one process; where the precision is the same, the pictures
are compared. The last line is the table as JSON.
"""
import argparse
import contextlib
import itertools
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from timecyclegan.inference.folders import translate_folders
from timecyclegan.inference.streaming import noise_generator
from timecyclegan.inference.trained import load_model, load_options
from timecyclegan.inference.translator import Translator
from timecyclegan.models import get_model
from timecyclegan.models.base_model import BaseModel
from timecyclegan.training import checkpoint
from timecyclegan.util.choices import PRECISIONS
from timecyclegan.util.options import Options
from timecyclegan.util.threads import usable_threads
from timecyclegan.video.frames import find_sequences, read_image, resize_image, to_uint8, to_video, write_image
from timecyclegan.video.reader import VideoFile
from timecyclegan.video.scene_cuts import mark_cuts
from timecyclegan.video.writer import VideoWriter

SIZES = (256, 256), (720, 1280)  # of the input
NAME = "run"


def pictures(count: int, height: int, width: int) -> Iterator[np.ndarray]:
    """A soft picture with some grain that moves to the left, uint8 (height, width, 3)."""
    rng = np.random.default_rng(0)
    soft = resize_image(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8), height, width).astype(np.int16)
    picture = np.clip(soft + rng.integers(-6, 7, soft.shape), 0, 255).astype(np.uint8)
    for number in range(count):
        yield np.roll(picture, -2 * number, axis=1)


def write_input(args: argparse.Namespace, height: int, width: int) -> Path:
    """A folder ``frames`` of PNG files and a video ``clip.mp4``; returns what holds both."""
    place = Path(f"{width}x{height}")
    with VideoWriter(place / "clip.mp4", 25, height, width) as writer:
        for number, picture in enumerate(pictures(args.frames, height, width)):
            write_image(place / f"frames/{number:05}.png", picture)
            writer.write(picture)
    return place


def write_run(args: argparse.Namespace) -> None:
    """A run with random weights: that of TimeCycleGAN-P, at the generator's size."""
    torch.manual_seed(0)
    options = Options(image_height=args.height, image_width=args.width, generator_filters=args.filters,
                      gpu=0 if args.device == "cuda" else -1)  # fmt: skip
    options.save(checkpoint.CHECKPOINTS / NAME / checkpoint.OPTIONS)
    networks = get_model("timecycle", options, training=False).networks()
    states = {name: network.state_dict() for name, network in networks.items()}
    torch.save({"networks": states}, checkpoint.CHECKPOINTS / NAME / checkpoint.LATEST)


@torch.inference_mode()
def translated(model: BaseModel, images: Iterator[np.ndarray], size: tuple[int, int]) -> Iterator[np.ndarray]:
    """Each picture translated, as soon as it is there, before the next one is asked for."""
    state, device = None, next(model.parameters()).device
    for image in images:
        source = to_video(resize_image(image, *size)[None]).to(device)
        if state is None:
            state = model.initial_state([noise_generator(0, ".")], source)
        frames, state = model.translate_frame(source[None], state)
        yield to_uint8(frames[0])


def plain_folder(model: BaseModel, place: Path, output: Path, size: tuple[int, int]) -> None:
    """``test.py`` on a folder, without its side-by-side videos."""
    (paths,) = find_sequences(place / "frames").values()
    for path, made in zip(paths, translated(model, map(read_image, paths), size), strict=True):
        write_image(output / f"{path.stem}.png", made)


def plain_video(model: BaseModel, place: Path, output: Path, size: tuple[int, int]) -> None:
    """``test.py --video`` on a video of one scene."""
    with VideoFile(place / "clip.mp4") as video:
        frames = (image for image, _ in mark_cuts(image for image, _ in video.frames()))
        first = next(frames)
        with VideoWriter(output / "made.mp4", video.rate, *first.shape[:2]) as writer:
            for made in translated(model, itertools.chain([first], frames), size):
                writer.write(resize_image(made, *first.shape[:2]))


def largest_difference(one: Path, other: Path) -> int | None:
    """Of two folders of the same PNG files, in levels of 255; None where there are none."""
    paths = sorted(one.glob("*.png"))
    differences = (read_image(path).astype(int) - read_image(other / path.name) for path in paths)
    return max((int(abs(difference).max()) for difference in differences), default=None)


def seconds(call: Callable[[], object]) -> float:
    """Wall time; the files that it writes are whole by then, so nothing is left on the device."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def measure(args: argparse.Namespace, place: Path, kind: str) -> Iterator[dict[str, object]]:
    """A row for each precision, with frames per second before and after."""
    options = {amp: load_options(NAME, {"amp": amp}) for amp in args.amp}
    size, model = (args.height, args.width), load_model(NAME, load_options(NAME))
    before, after = Path("before") / place / kind, {amp: Path(amp) / place / kind for amp in args.amp}
    plain, calls = {"folder": plain_folder, "video": plain_video}[kind], {}
    calls["before"] = lambda: plain(model, place, before, size)
    for amp in args.amp:
        if kind == "folder":
            calls[amp] = lambda amp=amp: translate_folders(
                model, find_sequences(place / "frames"), after[amp], options[amp], threads=args.threads)  # fmt: skip
        else:
            translator = Translator(NAME, options[amp])
            calls[amp] = lambda amp=amp, translator=translator: translator.translate(
                place / "clip.mp4", after[amp] / "made.mp4", sound=False)  # fmt: skip
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(args.rounds + 1):  # the first one warms up
        for name, call in calls.items():
            times[name].append(seconds(call))
    rate = {name: args.frames / statistics.median(found[1:]) for name, found in times.items()}
    for amp in args.amp:
        exact = largest_difference(before, after[amp]) if amp == "off" else None
        yield {"case": f"{kind} {place}", "amp": amp, "before": round(rate["before"], 2), "after": round(rate[amp], 2),
               "ratio": round(rate[amp] / rate["before"], 2), "largest_difference": exact}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for flag, default in (("height", 256), ("width", 256), ("filters", 64), ("frames", 40), ("rounds", 1)):
        parser.add_argument(f"--{flag}", type=int, default=default)
    parser.add_argument("--threads", type=int, help="that read pictures; by default as many as are of use")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--amp", nargs="+", default=["off"], choices=PRECISIONS)
    args = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder), open(os.devnull, "w") as nowhere:
        write_run(args)
        for size in SIZES:
            place = write_input(args, *size)
            for kind in ("folder", "video"):
                with contextlib.redirect_stderr(nowhere):  # the bars
                    rows += measure(args, place, kind)
    where = torch.cuda.get_device_name() if args.device == "cuda" else f"cpu, {torch.get_num_threads()} threads"
    print(f"P, {args.filters} filters, generator at {args.width}x{args.height}, {args.frames} frames, {where}, "
          f"{usable_threads()} processors in use, torch {torch.__version__}")  # fmt: skip
    print("| frames/s | precision | plain loop | overlapped | ratio | largest difference |\n|---|---|---|---|---|---|")
    for row in rows:
        print("|", " | ".join("-" if value is None else str(value) for value in row.values()), "|")
    print(json.dumps({"benchmark": "inference", "device": where, "torch": torch.__version__, "rows": rows}))


if __name__ == "__main__":
    main()
