"""Translating videos with a trained model: recurrent, streaming, several sequences side by side."""
import contextlib
import dataclasses
import zlib
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from timecyclegan.datasets.loading import read_frames
from timecyclegan.models import default_options, get_model, get_task
from timecyclegan.models.base_model import BaseModel
from timecyclegan.training import checkpoint, foreign
from timecyclegan.util.device import pick_device
from timecyclegan.util.errors import UserError
from timecyclegan.util.options import Options
from timecyclegan.video.frames import read_image, resize_image, to_uint8, to_video, write_image
from timecyclegan.video.panels import side_by_side
from timecyclegan.video.writer import VideoWriter


def load_options(name: str, given: Mapping[str, Any] | None = None) -> Options:
    """The options that the run ``name`` was trained with.

    Weights of other programs (``training.foreign``) come without: the ``given`` ones describe their model. So they do
    for a model type that is not trained.

    Raises:
        UserError: there is no such run.
    """
    folder = checkpoint.CHECKPOINTS / name
    path = folder / checkpoint.OPTIONS
    if path.exists():
        return Options.load(path)
    known = {field.name for field in dataclasses.fields(Options)}
    options = default_options(**{key: value for key, value in (given or {}).items() if key in known})
    foreign_weights = any(folder.glob("*.pth")) and not (folder / checkpoint.LATEST).exists()
    if not foreign_weights and get_task(options.model_type) != "other":
        raise UserError(f"there is no run called {name}: {path.absolute()} does not exist; train it first")
    return options


def load_model(name: str, options: Options, epoch: int = 0, domains: Collection[str] | None = None) -> BaseModel:
    """The generating part of the run ``name`` with its newest weights or those of an epoch, on ``options.gpu``.

    Args:
        domains: what it will generate, all by default; an unpaired model's other generator gets no weights.

    Raises:
        UserError: no such run or epoch, or its weights do not fit ``options``.
    """
    folder = checkpoint.CHECKPOINTS / name
    device = pick_device(options.gpu)
    model = get_model(options.model_type, options, training=False)
    states = checkpoint.read_networks(folder, epoch)
    idle = {model.name_in(domain, "generator") for domain in model.domains if domains and domain not in domains}
    networks = {key: network for key, network in model.networks().items() if key not in idle}
    checkpoint.load_networks(networks, states, folder)
    if isinstance(states, foreign.Weights):
        states.note_unused(networks)
    return model.to(device).eval()


def _windows(frames: Iterable[Tensor], context: int) -> Iterator[Tensor]:
    """For each frame (C, H, W) the (2 * context + 1, C, H, W) around it; the first and last frame are repeated."""
    window: deque[Tensor] = deque(maxlen=2 * context + 1)
    for frame in _extended(frames, context):
        window.append(frame)
        if len(window) == window.maxlen:
            yield torch.stack(list(window))


def _extended(frames: Iterable[Tensor], context: int) -> Iterator[Tensor]:
    last = None
    for index, last in enumerate(frames):
        yield from [last] * (1 if index else 1 + context)
    if last is not None:
        yield from [last] * context


def noise_generator(seed: int, sequence: str) -> torch.Generator:
    """Noise for a sequence: a function of the seed and the sequence's name, not of what is translated beside it."""
    state = np.random.SeedSequence([seed, zlib.crc32(sequence.encode())]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]) >> 1)


@torch.inference_mode()
def translate(
    model: BaseModel, sources: Mapping[str, Iterable[Tensor]], seed: int = 0, domain: str = "target"
) -> Iterator[tuple[str, Tensor]]:
    """Translate sequences side by side, one frame of each at a time, however long they are.

    Args:
        model: on the device to compute on.
        sources: by sequence name, its source frames (3, H, W) in [-1, 1]; all of one size. An unconditional model
            takes frames without channels, (0, H, W), which say how many to make, and how large.
        seed: of the noise that stands for the frames before the first one.
        domain: what to translate to; "source" takes the target's frames as the source (unpaired models).

    Yields:
        (sequence name, its next frame (3, H, W) in [-1, 1]). The recurrent state is carried within a sequence only.
    """
    device, context = next(model.parameters()).device, model.context()
    streams = {name: _windows(frames, context) for name, frames in sources.items()}
    state, active, began = None, list(streams), False
    while True:
        ready = {row: clip for row, name in enumerate(active) if (clip := next(streams[name], None)) is not None}
        if not ready:
            return
        if len(ready) < len(active):  # a sequence has ended: the others go on without it
            state = None if state is None else state[list(ready)]
            active = [active[row] for row in ready]
        batch = torch.stack(list(ready.values())).to(device)
        if not began:
            noise = [noise_generator(seed, name) for name in active]
            state, began = model.initial_state(noise, batch[:, context]), True
        frames, state = model.translate_frame(batch, state, domain)
        yield from zip(active, frames, strict=True)


def translate_folders(
    model: BaseModel,
    sequences: Mapping[str, list[Path]],
    output: Path,
    options: Options,
    batch_size: int = 1,
    seed: int = 0,
    domain: str = "target",
) -> dict[str, list[Path]]:
    """Translate sequences of image files into PNG files ``output/<sequence>/<frame>.png``.

    An unconditional model takes the number of the files and their names; they are not read.

    Args:
        options: the picture size and the number of loading threads.
        batch_size: sequences side by side.
        seed, domain: see :func:`translate`.

    Returns:
        The written files by sequence, in order.
    """
    written: dict[str, list[Path]] = {name: [] for name in sequences}
    names, size = list(sequences), (options.image_height, options.image_width)
    with tqdm(total=sum(map(len, sequences.values())), desc="translating", unit="frame", dynamic_ncols=True) as bar:
        for start in range(0, len(names), batch_size):
            beside = names[start : start + batch_size]
            sources = {name: _source_frames(model, sequences[name], size, options.threads) for name in beside}
            for name, frame in translate(model, sources, seed, domain):
                path = output / name / f"{sequences[name][len(written[name])].stem}.png"
                write_image(path, to_uint8(frame))
                written[name].append(path)
                bar.update()
    return written


def _source_frames(model: BaseModel, paths: list[Path], size: tuple[int, int], threads: int) -> Iterator[Tensor]:
    if model.task == "unconditional":
        return (torch.empty(0, *size) for _ in paths)
    return (to_video(frame[None])[0] for frame in read_frames(paths, *size, threads))


def write_side_by_side(
    path: Path, panels: Mapping[str, list[Path]], size: tuple[int, int], fps: float
) -> None:
    """Write a video of sequences of image files beside each other, captioned by name."""
    with contextlib.ExitStack() as stack:
        writer = None
        for paths in zip(*panels.values(), strict=True):
            picture = side_by_side([resize_image(read_image(p), *size) for p in paths], list(panels))
            writer = writer or stack.enter_context(VideoWriter(path, fps, *picture.shape[:2]))
            writer.write(picture)
