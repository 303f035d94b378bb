"""Make training data of a video, or of a folder of videos.

OUT/target/<clip>_<scene>/<frame>.png are the frames, in a folder for each scene (a clip without cuts is one); frames
are called by their number in the clip. With --source, OUT/source/... are pictures made of them, so that one command
makes a paired data set: edges (white lines on black), gray, lowres (a quarter of the size and enlarged again), or flow
(colours for the motion since the frame before). With --split 0.8 the first 80 % of each clip are OUT/train/target, ...,
the rest OUT/val/target, .... A command that was killed goes on when it is run again, and ends in the same files.
"""
import dataclasses
import sys
from bisect import bisect
from pathlib import Path

import numpy as np
from tqdm import tqdm

from timecyclegan.data import CommandOptions, CommandParser, between
from timecyclegan.datasets.derived_sources import MAKERS
from timecyclegan.datasets.folders import check_apart
from timecyclegan.datasets.prepared import MANIFEST, SPLITS, begin, check_begun, picture_size
from timecyclegan.util.errors import UserError, command, note
from timecyclegan.util.names import fitting, one_form, one_line, user_path
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


def prepare_video(videos: Path, out: Path, options: Settings, dry_run: bool = False, overwrite: bool = False) -> None:
    """Do what the command does.

    Raises:
        UserError: no video, one that cannot be read, an ``out`` that holds something else or cannot be written to.
    """
    videos, out = user_path(videos), user_path(out)
    check_apart(videos, out)
    found = find_sequences(videos)
    if not isinstance(next(iter(found.values()))[0], VideoFrame):
        raise UserError(f"{videos} holds images, which can be used as they are; expected videos")
    clips = {one_form(videos.stem) if name == "." else name: frames for name, frames in found.items()}
    within = {name: [frame for frame, time in zip(frames, video_times(frames[0].video), strict=True)
                     if options.start <= time < (options.end or float("inf"))] for name, frames in clips.items()}
    if not any(within.values()):
        raise UserError(f"{videos} has no frames from {options.start} s on; give an earlier --start")
    facts = {"settings": dataclasses.asdict(options),
             "videos": {name: {"bytes": frames[0].stat().st_size, "frames": len(frames)}
                        for name, frames in clips.items()}}
    manifest, old = check_begun(out / MANIFEST, facts, overwrite)

    # The frames of each sequence, by split ("" without one) and name.
    sequences: dict[tuple[str, str], list[VideoFrame]] = {}
    scenes = manifest.setdefault("scenes", {})  # the numbers of the frames with which they begin, by clip
    for name, frames in within.items():
        if name not in scenes:
            scenes[name] = _find_scenes(name, frames) if options.scene_cuts == "auto" else [0]
            if not dry_run:
                begin(out / MANIFEST, manifest, old)
                old = []
        chosen = frames[:: options.every]
        for place, frame in enumerate(chosen):
            split = SPLITS[place >= round(len(chosen) * options.split)] if options.split else ""
            scene = f"_{bisect(scenes[name], frame.index) - 1:03}" if options.scene_cuts == "auto" else ""
            place = Path(name)
            sequence = place.with_name(fitting(place.name, scene)).as_posix()
            sequences.setdefault((split, sequence), []).append(frame)
    sides = ["target", "source"] if options.source else ["target"]

    def paths(split: str, name: str, frame: VideoFrame) -> list[Path]:
        return [Path(split, side, name, f"{frame.stem}.png") for side in sides]

    def picture_of(frame: VideoFrame) -> np.ndarray:
        image = read_image(frame)
        return resize_image(image, *picture_size(image.shape, options.height, options.width))

    if not dry_run:
        files = [file.as_posix() for key, frames in sequences.items() for one in frames for file in paths(*key, one)]
        begin(out / MANIFEST, manifest | {"files": files}, old)
        with tqdm(total=len(files) // len(sides), unit="frame", disable=None) as progress:
            for key, frames in sequences.items():
                previous: np.ndarray | None = None
                for place, frame in enumerate(frames):
                    target, *source = (out / path for path in paths(*key, frame))
                    if all(file.exists() for file in (target, *source)):
                        previous = None
                    else:
                        picture = picture_of(frame)
                        if previous is None and place:
                            previous = picture_of(frames[place - 1])
                        write_image(target, picture)
                        for file in source:
                            write_image(file, MAKERS[options.source](picture, previous))
                        previous = picture
                    progress.update()
    for split in SPLITS if options.split else ("",):
        lengths = [len(frames) for (part, _), frames in sequences.items() if part == split]
        if lengths:
            places = " and ".join(str(out / split / side) for side in reversed(sides))
            print(f"{places}: {len(lengths)} sequences, {sum(lengths)} frames, the longest has {max(lengths)}")
        else:
            note(f"--split {options.split} leaves no frames for {out / split}: there are too few")
    if dry_run:
        print("nothing was written")


def _find_scenes(name: str, frames: list[VideoFrame]) -> list[int]:
    with tqdm(frames, f"cuts in {one_line(name)}", unit="frame", disable=None) as progress:
        marked = mark_cuts(((frame.index, read_image(frame)) for frame in progress), lambda item: item[1])
        return [index for (index, _), begins in marked if begins]


@command
def main(arguments: list[str] | None = None) -> None:
    parser = CommandParser("prepare_video", __doc__, Settings)
    parser.add_argument("videos", metavar="VIDEOS", type=user_path, help="a video file, or a folder of them")
    parser.add_argument("out", metavar="OUT", type=user_path)
    parser.add_argument("--dry_run", action="store_true", help="only say what would be made")
    parser.add_argument("--overwrite", action="store_true", help="remove what another command made in OUT")
    prepare_video(**parser.parse(arguments))


if __name__ == "__main__":
    sys.exit(main())
