"""Folders of frames through a trained model, into folders of PNG files, and videos of the two beside each other."""
import contextlib
import functools
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from timecyclegan.datasets.loading import loading_threads, read_frames
from timecyclegan.inference.streaming import Picture, PictureStream
from timecyclegan.models.base_model import OTHER, BaseModel
from timecyclegan.report.sequences import ReportSequence
from timecyclegan.util.names import fitting, free_name, one_form, user_path
from timecyclegan.util.options import Options
from timecyclegan.util.threads import concurrently, usable_threads
from timecyclegan.video.frames import read_image, resize_image, write_image
from timecyclegan.video.panels import side_by_side
from timecyclegan.video.writer import VideoWriter


def translate_folders(
    model: BaseModel, sequences: Mapping[str, list[Path]], output: Path, options: Options, batch_size: int = 1,
    seed: int = 0, domain: str = "target", threads: int | None = None, progress: bool = True,
) -> dict[str, list[Path]]:
    """Translate sequences of image files into PNG files ``output/<sequence>/<frame>.png``.

    Frames are read in advance, and written, while others are translated: with as much memory for any number of them.
    An unconditional model takes the number of the files and their names; they are not read.

    Args:
        options: the picture size, ``amp`` and ``cuda_graph``.
        batch_size: sequences side by side.
        seed, domain: see :func:`stream`.
        threads: that read, for all sequences together; 0 reads when a frame's turn comes. By default those of the
            options, or more where there are more processors.
        progress: show a bar on stderr.

    Returns:
        The written files by sequence, in order.
    """
    output = user_path(output)
    written: dict[str, list[Path]] = {name: [] for name in sequences}
    names, size = list(sequences), (options.image_height, options.image_width)
    nearest = options.label_maps(OTHER[domain])  # as in training
    threads = max(options.threads, usable_threads()) if threads is None else threads
    translate = PictureStream(model, domain, options.amp, options.cuda_graph)

    def frames(paths: list[Path], beside: int) -> Iterator[torch.Tensor | np.ndarray]:
        if model.task == "unconditional":
            return (torch.empty(0, *size) for _ in paths)
        return read_frames(paths, *size, -(-loading_threads(threads) // beside), nearest)

    def translated() -> Iterator[tuple[str, Path, Picture]]:
        for start in range(0, len(names), batch_size):
            group = names[start : start + batch_size]
            coming = {name: (one_form(path.stem) for path in sequences[name]) for name in group}
            with contextlib.ExitStack() as exits:  # no thread goes on reading what nobody will translate
                sources = {name: exits.enter_context(contextlib.closing(frames(sequences[name], len(group))))
                           for name in group}  # fmt: skip
                for name, picture in translate(sources, seed):
                    yield name, output / name / f"{next(coming[name])}.png", picture

    def write(made: tuple[str, Path, Picture]) -> tuple[str, Path]:
        name, path, picture = made
        write_image(path, picture.array())
        return name, path

    with contextlib.ExitStack() as exits:
        bar = exits.enter_context(tqdm(total=sum(map(len, sequences.values())), desc="translating", unit="frame",
                                       dynamic_ncols=True, disable=not progress))  # fmt: skip
        pictures = exits.enter_context(contextlib.closing(translated()))
        for name, path in exits.enter_context(contextlib.closing(concurrently(write, pictures, usable_threads()))):
            written[name].append(path)
            bar.update()
    return written


def write_videos(sequences: Iterable[ReportSequence], folder: Path, size: tuple[int, int], fps: float,
                 among: Iterable[str] = ()) -> None:  # fmt: skip
    """Show what there is of each sequence side by side, captioned, in a video in ``folder/videos``.

    Where a sequence is called so, it is ``folder/videos_``, see :func:`free_name`; ``among``: the names of others that
    lie there, too.
    """
    folder, sequences = user_path(folder), list(sequences)
    videos = folder / free_name("videos", (*among, *(sequence.name for sequence in sequences)))
    for sequence in sequences:
        panels = sequence.panels()
        panel = functools.partial(_panel, list(panels), size)
        with contextlib.ExitStack() as exits:
            pictures = concurrently(panel, zip(*panels.values(), strict=True), usable_threads())
            writer = None
            for picture in exits.enter_context(contextlib.closing(pictures)):
                if writer is None:
                    place = videos / ("video" if sequence.name == "." else sequence.name)
                    video = place.with_name(fitting(place.name, ".webm"))
                    writer = exits.enter_context(VideoWriter(video, fps, *picture.shape[:2]))
                writer.write(picture)
    print(f"frames and side-by-side videos are in {folder}")


def _panel(captions: list[str], size: tuple[int, int], paths: tuple[Path, ...]) -> np.ndarray:
    return side_by_side([resize_image(read_image(path), *size) for path in paths], captions)
