"""Make training data of a video, or of a folder of videos.

OUT/target/<clip>_<scene>/<frame>.png are the frames, in a folder for each scene (a clip without cuts is one); frames
are called by their number in the clip. With --source, OUT/source/... are pictures made of them, so that one command
makes a paired data set: edges (white lines on black), gray, lowres (a quarter of the size and enlarged again), or flow
(colours for the motion since the frame before). With --split 0.8 the first 80 % of each clip are OUT/train/target, ...,
the rest OUT/val/target, .... A command that was killed goes on when it is run again, and ends in the same files.
"""
import dataclasses
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

from timecyclegan.data import CommandOptions, CommandParser, between, take_options
from timecyclegan.datasets.derived_sources import MAKERS
from timecyclegan.datasets.folders import check_apart
from timecyclegan.datasets.prepared import MANIFEST, SPLITS, begin, check_begun, picture_size
from timecyclegan.util.errors import UserError, command
from timecyclegan.util.files import write_json
from timecyclegan.util.options import NON_NEGATIVE, POSITIVE, option
from timecyclegan.video.frames import find_sequences, read_image, resize_image, write_image
from timecyclegan.video.random_access import VideoFrame, video_times
from timecyclegan.video.scene_cuts import mark_cuts

_SIDE = between(0, 16384)


@dataclasses.dataclass(frozen=True)
class Settings(CommandOptions):
    """What is made of the videos."""

    every: int = option(1, None, "take every so manyth frame", POSITIVE)
    start: float = option(0.0, None, "leave out what is before, in seconds", NON_NEGATIVE)
    end: float = option(0.0, None, "leave out what is after, in seconds; 0 leaves out nothing", NON_NEGATIVE)
    height: int = option(0, None, "of the pictures; 0 is as --width demands", _SIDE)
    width: int = option(0, None, "of the pictures; 0 is as --height demands", _SIDE)
    split: float = option(0.0, None, "the share of each clip for training, from its beginning on, such as 0.8; 0 makes "
                          "no two parts", (lambda share: 0 <= share < 1, "0 or more, and below 1"))
    scene_cuts: str = option("auto", None, "find scene cuts, or take each clip for one scene", choices=("auto", "off"))
    source: str = option("", None, "also make pictures to translate from", choices=("", *MAKERS))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.end and self.end <= self.start:
            raise UserError(f"--start {self.start} --end {self.end}: expected the start before the end")

    @property
    def sides(self) -> list[str]:
        return ["target", "source"] if self.source else ["target"]


@dataclasses.dataclass
class Sequence:
    """A sequence to write: ``split`` is "train", "val" or empty."""

    split: str
    name: str
    frames: list[VideoFrame]

    def path(self, side: str, frame: VideoFrame) -> Path:
        """A frame's place in OUT."""
        return Path(self.split, side, self.name, f"{frame.stem}.png")


def prepare_video(videos: Path, out: Path, settings: Settings, dry_run: bool = False, overwrite: bool = False) -> None:
    """Do what the command does.

    Raises:
        UserError: no video, one that cannot be read, an ``out`` that holds something else or cannot be written to.
    """
    check_apart(videos, out)
    found = find_sequences(videos)
    if not isinstance(next(iter(found.values()))[0], VideoFrame):
        raise UserError(f"{videos} holds images, which can be used as they are; expected videos")
    clips = {videos.stem if name == "." else name: frames for name, frames in found.items()}
    if not any(_within(frames, settings) for frames in clips.values()):
        raise UserError(f"{videos} has no frames from {settings.start} s on; give an earlier --start")
    facts = {"settings": dataclasses.asdict(settings),
             "videos": {name: {"bytes": frames[0].stat().st_size, "frames": len(frames)}
                        for name, frames in clips.items()}}
    manifest, old = check_begun(out / MANIFEST, facts, overwrite)
    scenes = manifest.setdefault("scenes", {})  # those that were found, by clip
    if not dry_run:
        begin(out / MANIFEST, manifest, old)
    sequences: list[Sequence] = []
    for name, frames in clips.items():
        if name not in scenes:
            scenes[name] = _find_cuts(name, frames, settings)
            if not dry_run:
                write_json(out / MANIFEST, manifest, sync=True)
        sequences += plan(name, frames, scenes[name], settings)
    if not dry_run:
        files = [sequence.path(side, frame).as_posix()
                 for sequence in sequences for frame in sequence.frames for side in settings.sides]
        begin(out / MANIFEST, manifest | {"files": files}, ())
        with tqdm(total=len(files) // len(settings.sides), unit="frame", disable=None) as progress:
            for sequence in sequences:
                for _ in write_sequence(sequence, out, settings):
                    progress.update()
    for split in dict.fromkeys(sequence.split for sequence in sequences):
        lengths = [len(sequence.frames) for sequence in sequences if sequence.split == split]
        sides = " and ".join(str(out / split / side) for side in reversed(settings.sides))
        print(f"{sides}: {len(lengths)} sequences, {sum(lengths)} frames, the longest has {max(lengths)}")
    for split in SPLITS if settings.split else ():
        if all(sequence.split != split for sequence in sequences):
            print(f"note: --split {settings.split} leaves no frames for {out / split}: there are too few")
    if dry_run:
        print("nothing was written")


def plan(name: str, frames: list[VideoFrame], cuts: list[int], settings: Settings) -> Iterator[Sequence]:
    """The sequences of a clip; ``cuts`` are the numbers of the frames with which a scene begins."""
    chosen = _within(frames, settings)[:: settings.every]
    training = round(len(chosen) * settings.split)
    parts = {"train": chosen[:training], "val": chosen[training:]} if settings.split else {"": chosen}
    for split, part in parts.items():
        for number, (first, end) in enumerate(itertools.pairwise([*cuts, len(frames)])):
            scene = [frame for frame in part if first <= frame.index < end]
            if scene:
                yield Sequence(split, f"{name}_{number:03}" if settings.scene_cuts == "auto" else name, scene)


def _within(frames: list[VideoFrame], settings: Settings) -> list[VideoFrame]:
    times = video_times(frames[0].video)
    return [frame for frame, time in zip(frames, times, strict=True)
            if settings.start <= time < (settings.end or float("inf"))]


def _find_cuts(name: str, frames: list[VideoFrame], settings: Settings) -> list[int]:
    frames = _within(frames, settings)
    if settings.scene_cuts == "off" or not frames:
        return [frame.index for frame in frames[:1]]
    with tqdm(frames, f"cuts in {name}", unit="frame", disable=None) as progress:
        marked = mark_cuts(((frame.index, read_image(frame)) for frame in progress), lambda item: item[1])
        return [index for (index, _), begins in marked if begins]


def write_sequence(sequence: Sequence, out: Path, settings: Settings) -> Iterator[VideoFrame]:
    """Write what is not there yet; yields each frame when it is there."""
    def picture_of(frame: VideoFrame) -> np.ndarray:
        image = read_image(frame)
        return resize_image(image, *picture_size(image.shape, settings.height, settings.width))

    previous: np.ndarray | None = None
    for place, frame in enumerate(sequence.frames):
        paths = [out / sequence.path(side, frame) for side in settings.sides]
        if all(path.exists() for path in paths):
            previous = None
        else:
            picture = picture_of(frame)
            if previous is None and place and settings.source == "flow":
                previous = picture_of(sequence.frames[place - 1])
            write_image(paths[0], picture)
            if settings.source:
                write_image(paths[1], MAKERS[settings.source](picture, previous))
            previous = picture
        yield frame


@command
def main(arguments: list[str] | None = None) -> None:
    parser = CommandParser("prepare_video", __doc__, Settings)
    parser.add_argument("videos", metavar="VIDEOS", type=Path, help="a video file, or a folder of them")
    parser.add_argument("out", metavar="OUT", type=Path)
    parser.add_argument("--dry_run", action="store_true", help="only say what would be made")
    parser.add_argument("--overwrite", action="store_true", help="remove what another command made in OUT")
    given = vars(parser.parse_args(arguments))
    prepare_video(settings=take_options(Settings, given), **given)


if __name__ == "__main__":
    sys.exit(main())
