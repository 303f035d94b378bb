"""Make training data of a video, or of a folder of videos.

OUT/target/<clip>_<scene>/<frame>.png are the frames, in a folder for each scene (a clip without cuts is one); frames
are called by their number in the clip. With --source, OUT/source/... are pictures made of them, so that one command
makes a paired data set: edges (white lines on black), gray, lowres (a quarter of the size and enlarged again), or flow
(colours for the motion since the frame before). With --split 0.8 the first 80 % of each clip are OUT/train/target, ...,
the rest OUT/val/target, .... A command that was killed goes on when it is run again, and ends in the same files.
"""
import argparse
import dataclasses
import itertools
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from timecyclegan.datasets.derived_sources import MAKERS
from timecyclegan.datasets.prepared import open_manifest, picture_size, write_manifest
from timecyclegan.util.errors import UserError, command
from timecyclegan.video.frames import find_sequences, read_image, resize_image, write_image
from timecyclegan.video.random_access import VideoFrame, video_times
from timecyclegan.video.scene_cuts import mark_cuts

LARGEST = 16384  # pixels of a side


@dataclasses.dataclass
class Settings:
    """What is made of the videos; see the command's help.

    Raises:
        UserError: a value out of its range.
    """

    every: int = 1
    start: float = 0.0
    end: float | None = None
    height: int = 0
    width: int = 0
    split: float | None = None
    scene_cuts: str = "auto"
    source: str | None = None

    def __post_init__(self):
        if self.every < 1:
            raise UserError(f"--every {self.every}: expected 1 or more")
        if self.start < 0 or (self.end is not None and self.end <= self.start):
            raise UserError(f"--start {self.start} --end {self.end}: expected seconds, the start before the end")
        if not 0 <= min(self.height, self.width) <= max(self.height, self.width) <= LARGEST:
            raise UserError(f"--height {self.height} --width {self.width}: expected pixels, {LARGEST} at most")
        if self.split is not None and not 0 < self.split < 1:
            raise UserError(f"--split {self.split}: expected the share of training, above 0 and below 1, such as 0.8")


@dataclasses.dataclass
class Sequence:
    """A sequence to write: ``split`` is "train", "val" or empty."""

    split: str
    name: str
    frames: list[VideoFrame]

    def folder(self, out: Path, side: str) -> Path:
        return out / self.split / side / self.name


def prepare_video(videos: Path, out: Path, settings: Settings, dry_run: bool = False, overwrite: bool = False) -> None:
    """Do what the command does.

    Raises:
        UserError: no video, one that cannot be read, an ``out`` that holds something else or cannot be written to.
    """
    clips = find_clips(videos, out)
    if not any(_within(frames, settings) for frames in clips.values()):
        raise UserError(f"{videos} has no frames from {settings.start} s on; give an earlier --start")
    manifest = open_manifest(out, _facts(clips, settings), overwrite, dry_run)
    sequences = []
    for name, frames in clips.items():
        if name not in manifest["scenes"]:
            manifest["scenes"][name] = _find_cuts(name, frames, settings)
            if not dry_run:
                write_manifest(out, manifest)
        sequences += plan(name, frames, manifest["scenes"][name], settings)
    if not dry_run:
        count = sum(len(sequence.frames) for sequence in sequences)
        with tqdm(total=count, unit="frame", disable=None) as progress:
            for sequence in sequences:
                for _ in write_sequence(sequence, out, settings):
                    progress.update()
    _tell(sequences, out, settings, dry_run)


def find_clips(videos: Path, out: Path) -> dict[str, list[VideoFrame]]:
    """The frames of the videos by name."""
    if out.resolve().is_relative_to(videos.resolve()):
        raise UserError(f"{out} lies in {videos}, whose videos its frames would be taken for; choose another OUT")
    found = find_sequences(videos)
    if not isinstance(next(iter(found.values()))[0], VideoFrame):
        raise UserError(f"{videos} holds images, which can be used as they are; expected videos")
    return {videos.stem if name == "." else name: frames for name, frames in found.items()}


def plan(name: str, frames: list[VideoFrame], cuts: list[int], settings: Settings) -> Iterator[Sequence]:
    """The sequences of a clip; ``cuts`` are the numbers of the frames with which a scene begins."""
    chosen = _within(frames, settings)[:: settings.every]
    training = len(chosen) if settings.split is None else round(len(chosen) * settings.split)
    parts = {"": chosen} if settings.split is None else {"train": chosen[:training], "val": chosen[training:]}
    for split, part in parts.items():
        for number, (first, end) in enumerate(itertools.pairwise([*cuts, len(frames)])):
            scene = [frame for frame in part if first <= frame.index < end]
            if scene:
                yield Sequence(split, f"{name}_{number:03}" if settings.scene_cuts == "auto" else name, scene)


def _within(frames: list[VideoFrame], settings: Settings) -> list[VideoFrame]:
    end = float("inf") if settings.end is None else settings.end
    times: list[Fraction] = video_times(frames[0].video)
    return [frame for frame, time in zip(frames, times, strict=True) if settings.start <= time < end]


def _find_cuts(name: str, frames: list[VideoFrame], settings: Settings) -> list[int]:
    frames = _within(frames, settings)
    if settings.scene_cuts == "off" or not frames:
        return [frame.index for frame in frames[:1]]
    with tqdm(frames, f"cuts in {name}", unit="frame", disable=None) as progress:
        marked = mark_cuts(((frame.index, read_image(frame)) for frame in progress), lambda item: item[1])
        return [index for (index, _), begins in marked if begins]


def write_sequence(sequence: Sequence, out: Path, settings: Settings) -> Iterator[VideoFrame]:
    """Write what is not there yet; yields each frame when it is there."""
    previous: np.ndarray | None = None
    for place, frame in enumerate(sequence.frames):
        paths = [sequence.folder(out, side) / f"{frame.stem}.png" for side in _sides(settings)]
        if all(path.exists() for path in paths):
            previous = None
        else:
            picture = _picture(frame, settings)
            if previous is None and place and settings.source == "flow":
                previous = _picture(sequence.frames[place - 1], settings)
            write_image(paths[0], picture)
            if settings.source:
                write_image(paths[1], MAKERS[settings.source](picture, previous))
            previous = picture
        yield frame


def _picture(frame: VideoFrame, settings: Settings) -> np.ndarray:
    image = read_image(frame)
    return resize_image(image, *picture_size(image.shape, settings.height, settings.width))


def _sides(settings: Settings) -> list[str]:
    return ["target", "source"] if settings.source else ["target"]


def _facts(clips: dict[str, list[VideoFrame]], settings: Settings) -> dict[str, Any]:
    """What tells this command from another one, JSON-ready."""
    videos = {name: {"bytes": frames[0].stat().st_size, "frames": len(frames)} for name, frames in clips.items()}
    return {"settings": dataclasses.asdict(settings), "videos": videos}


def _tell(sequences: list[Sequence], out: Path, settings: Settings, dry_run: bool) -> None:
    for split in dict.fromkeys(sequence.split for sequence in sequences):
        own = [sequence for sequence in sequences if sequence.split == split]
        frames = sum(len(sequence.frames) for sequence in own)
        longest = max(len(sequence.frames) for sequence in own)
        sides = " and ".join(str(out / split / side) for side in reversed(_sides(settings)))
        print(f"{sides}: {len(own)} sequences, {frames} frames, the longest has {longest}")
    for split in ("train", "val") if settings.split else ():
        if all(sequence.split != split for sequence in sequences):
            print(f"note: --split {settings.split} leaves no frames for {out / split}: there are too few")
    if dry_run:
        print("nothing was written")


@command
def main(arguments: list[str] | None = None) -> None:
    summary, description = __doc__.split("\n\n", 1)
    parser = argparse.ArgumentParser(prog="python -m timecyclegan.data.prepare_video", description=summary,
                                     epilog=" ".join(description.split()))
    parser.add_argument("videos", metavar="VIDEOS", type=Path, help="a video file, or a folder of them")
    parser.add_argument("out", metavar="OUT", type=Path)
    parser.add_argument("--every", type=int, default=1, help="take every so manyth frame (default: 1)")
    parser.add_argument("--start", type=float, default=0.0, help="leave out what is before, in seconds")
    parser.add_argument("--end", type=float, help="leave out what is after, in seconds")
    parser.add_argument("--height", type=int, default=0, help="of the pictures; left out: as --width demands")
    parser.add_argument("--width", type=int, default=0, help="of the pictures; left out: as --height demands")
    parser.add_argument("--split", type=float, help="the share of each clip for training, from its beginning on")
    parser.add_argument("--scene_cuts", choices=("auto", "off"), default="auto",
                        help="find scene cuts, or take each clip for one scene (default: auto)")
    parser.add_argument("--source", choices=MAKERS, help="also make pictures to translate from (default: none)")
    parser.add_argument("--dry_run", action="store_true", help="only say what would be made")
    parser.add_argument("--overwrite", action="store_true", help="remove what another command made in OUT")
    given = vars(parser.parse_args(arguments))
    fixed = {name: given.pop(name) for name in ("videos", "out", "dry_run", "overwrite")}
    prepare_video(**fixed, settings=Settings(**given))


if __name__ == "__main__":
    sys.exit(main())
