"""Folders of frames through a trained model, into folders of PNG files, and videos of the two beside each other."""
import contextlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from tqdm import tqdm

from timecyclegan.datasets.loading import read_frames
from timecyclegan.inference.streaming import stream
from timecyclegan.models.base_model import OTHER, BaseModel
from timecyclegan.report.sequences import ReportSequence
from timecyclegan.util.names import fitting, free_name, one_form, user_path
from timecyclegan.util.options import Options
from timecyclegan.video.frames import read_image, resize_image, to_uint8, to_video, write_image
from timecyclegan.video.panels import side_by_side
from timecyclegan.video.writer import VideoWriter


def translate_folders(
    model: BaseModel, sequences: Mapping[str, list[Path]], output: Path, options: Options, batch_size: int = 1,
    seed: int = 0, domain: str = "target",
) -> dict[str, list[Path]]:
    """Translate sequences of image files into PNG files ``output/<sequence>/<frame>.png``.

    An unconditional model takes the number of the files and their names; they are not read.

    Args:
        options: the picture size and the number of loading threads.
        batch_size: sequences side by side.
        seed, domain: see :func:`stream`.

    Returns:
        The written files by sequence, in order.
    """
    output = user_path(output)
    written: dict[str, list[Path]] = {name: [] for name in sequences}
    names, size = list(sequences), (options.image_height, options.image_width)
    nearest = options.label_maps(OTHER[domain])  # as in training

    def frames(paths: list[Path]):
        if model.task == "unconditional":
            return (torch.empty(0, *size) for _ in paths)
        return (to_video(frame[None])[0] for frame in read_frames(paths, *size, options.threads, nearest))

    with tqdm(total=sum(map(len, sequences.values())), desc="translating", unit="frame", dynamic_ncols=True) as bar:
        for start in range(0, len(names), batch_size):
            sources = {name: frames(sequences[name]) for name in names[start : start + batch_size]}
            for name, frame in stream(model, sources, seed, domain):
                path = output / name / f"{one_form(sequences[name][len(written[name])].stem)}.png"
                write_image(path, to_uint8(frame))
                written[name].append(path)
                bar.update()
    return written


def write_videos(sequences: Iterable[ReportSequence], folder: Path, size: tuple[int, int], fps: float) -> None:
    """Show what there is of each sequence side by side, captioned, in a video in ``folder/videos``.

    Where a sequence is called so, it is ``folder/videos_``, see :func:`free_name`.
    """
    folder, sequences = user_path(folder), list(sequences)
    videos = folder / free_name("videos", (sequence.name for sequence in sequences))
    for sequence in sequences:
        panels = sequence.panels()
        with contextlib.ExitStack() as stack:
            writer = None
            for paths in zip(*panels.values(), strict=True):
                picture = side_by_side([resize_image(read_image(path), *size) for path in paths], list(panels))
                if writer is None:
                    place = videos / ("video" if sequence.name == "." else sequence.name)
                    video = place.with_name(fitting(place.name, ".webm"))
                    writer = stack.enter_context(VideoWriter(video, fps, *picture.shape[:2]))
                writer.write(picture)
    print(f"frames and side-by-side videos are in {folder}")
