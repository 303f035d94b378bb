"""What can be said about the frames of a folder by looking at each once: what check_data reports."""
import contextlib
import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from timecyclegan.datasets.raw_images import deep_pixels, has_deep_colours
from timecyclegan.util.errors import UserError
from timecyclegan.video.frames import Frame, few, image_size, read_image
from timecyclegan.video.listing import OFTEN_SEVERAL, holds_more
from timecyclegan.video.scene_cuts import mark_cuts

_SLIVER = 128  # of 256 levels; pictures of 16 bits that use more are taken as they are meant

_MODES = {"1": "1-bit", "L": "8-bit gray", "LA": "8-bit gray with alpha", "P": "palette", "RGB": "8-bit colour",
          "RGBA": "8-bit colour with alpha", "CMYK": "8-bit CMYK", "F": "floating-point"}


@dataclass
class Facts:
    """About the frames of one folder, which are named by sequence and stem."""

    summary: str  # a line: how many sequences and frames, of what sizes and kinds of pixels
    notes: list[str]  # about what training takes as it is, but may not be meant
    broken: list[str]  # what reading said
    sizes: Counter[tuple[int, int]]  # how many frames have each (height, width)
    digests: dict[bytes, list[str]]  # in which frames each picture was seen, by its pixels' hash

    def shared(self, other: "Facts") -> list[str]:
        """Pictures that both folders hold."""
        return [f"{names[0]} = {other.digests[digest][0]}" for digest, names in self.digests.items()
                if digest in other.digests]


def look_at(sequences: dict[str, list[Frame]], pixels: bool = True) -> Facts:
    """Look at every frame. Without ``pixels`` only names and headers are read: no damage, cuts or copies are found."""
    sizes, depths = Counter(), Counter()
    digests: dict[bytes, list[str]] = {}
    broken, gaps, cuts, still, disorder, several, extremes = [], [], [], [], [], [], []
    lengths = sorted(map(len, sequences.values()))
    progress = tqdm(total=sum(lengths), unit="frame", disable=None)

    def read(frames: list[Frame]) -> Iterator[tuple[Frame, np.ndarray]]:
        for frame in frames:
            progress.update()
            try:
                if isinstance(frame, Path):
                    sizes[image_size(frame)] += 1
                    depths[depth := _depth(frame)] += 1
                    said = frame is frames[0] or frame.suffix.lower() in OFTEN_SEVERAL  # by find_sequences
                    if not (said and holds_more(frame)) and _pictures(frame) > 1:
                        several.append(labels[frame])
                    with contextlib.suppress(UserError):  # what keeps training from reading it, is said below
                        if pixels and depth.startswith("16") and (deep := deep_pixels(frame)) is not None:
                            extremes.extend((int(deep.min()), int(deep.max())))
                elif not pixels and frame is frames[0]:
                    sizes[image_size(frame)] += len(frames)
                    depths["video"] += len(frames)
                if pixels:
                    picture = read_image(frame)
                    if not isinstance(frame, Path):  # a video may change its size on the way
                        sizes[picture.shape[:2]] += 1
                        depths["video"] += 1
                    yield frame, picture
            except UserError as error:
                broken.append(str(error))

    for name, frames in sequences.items():
        labels = {frame: frame.stem if name == "." else f"{name}/{frame.stem}" for frame in frames}
        stems = [frame.stem for frame in frames if isinstance(frame, Path)]
        numbers = [int(found[-1]) for stem in stems if (found := re.findall("[0-9]+", stem))]
        if len(numbers) == len(stems):
            steps = Counter(later - earlier for earlier, later in pairwise(numbers))
            usual = max(steps, key=lambda step: (steps[step], -step), default=0)  # frames may well be every fifth
            gaps += [f"{labels[frames[t]]} and {frames[t + 1].stem}"
                     for t, (earlier, later) in enumerate(pairwise(numbers)) if later - earlier > usual]
        if stems != sorted(stems):
            disorder.append(name)
        before = None
        for (frame, picture), cut in mark_cuts(read(frames), lambda item: item[1]):
            digest = hashlib.blake2b(repr(picture.shape).encode() + picture.tobytes(), digest_size=16).digest()
            digests.setdefault(digest, []).append(labels[frame])
            if digest == before:
                still.append(labels[frame])
            if cut and before is not None:
                cuts.append(labels[frame])
            before = digest
    progress.close()

    shown = [f"{height}x{width}" for (height, width), _ in sizes.most_common()]
    counted = [f"{size} ({count})" for size, (_, count) in zip(shown, sizes.most_common(), strict=True)]
    followed = set(still)
    elsewhere = [[name for name in names if name not in followed] for names in digests.values()]
    notes = []
    if len(sizes) > 1:
        notes.append(f"frames differ in size; all are resized to one: {few(counted, 5)}")
    if any(kind.startswith("16") for kind in depths):
        notes.append("pixels of 16 bits are read with 8")
    if extremes:
        low, high = min(extremes), max(extremes)
        levels = (high + 128) // 257 - (low + 128) // 257 + 1  # as read_image has them
        if low < high and levels <= _SLIVER:
            notes.append(f"pixels of 16 bits use a sliver of their range, {low} to {high}: {levels} of 256 levels when "
                         f"they are read; python -m timecyclegan.data.resize_images FOLDER OUT --range {low} {high} "
                         "spreads them")
    if any("alpha" in kind for kind in depths):
        notes.append("alpha is dropped, the colours below it are kept")
    notes += [f"{what} ({len(found)}): {few(found, 5)}" for what, found in (
        ("numbers are missing between", gaps), ("scene cuts, which training takes for motion, at", cuts),
        ("frames with the very picture of the frame before", still),
        ("of several pictures in one file only the first is used", several),
        ("pictures in several places", [" = ".join(names) for names in elsewhere if len(names) > 1]),
        ("by the alphabet the order would be another one (10 before 9) in", disorder)) if found]
    span = f"{lengths[0]}" if lengths[0] == lengths[-1] else f"{lengths[0]} to {lengths[-1]}"
    summary = (f"{len(lengths)} sequence{'s' * (len(lengths) > 1)} of {span} frames, {sum(lengths)} in all; height x "
               f"width {few(shown) or 'unknown'}; {', '.join(kind for kind, _ in depths.most_common()) or 'unknown'}")
    return Facts(summary, notes, broken, sizes, digests)


def _pictures(frame: Path) -> int:
    """How many pictures a readable image file holds; phones and stereo cameras put several into a JPEG, too."""
    with Image.open(frame) as image:
        return getattr(image, "n_frames", 1)


def _depth(frame: Path) -> str:
    """The kind of a readable image's pixels."""
    if has_deep_colours(frame):
        return "16-bit colour"
    with Image.open(frame) as image:
        return "16-bit gray" if image.mode.startswith("I") else _MODES.get(image.mode, image.mode)
