"""What can be said about the frames of a folder by looking at each once: what check_data reports."""
import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from timecyclegan.util.errors import UserError
from timecyclegan.video.frames import Frame, few, image_size, read_image
from timecyclegan.video.scene_cuts import mark_cuts

_MODES = {"1": "1-bit", "L": "8-bit gray", "LA": "8-bit gray with alpha", "P": "palette", "RGB": "8-bit colour",
          "RGBA": "8-bit colour with alpha", "CMYK": "8-bit CMYK", "F": "floating-point"}


@dataclass
class Facts:
    """About the frames of one folder; frames are named by sequence and stem.

    ``digests`` tells for each picture (its pixels' hash) in which frames it was seen.
    """

    lengths: dict[str, int]
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)  # (height, width)
    depths: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)  # what reading said
    still: list[str] = field(default_factory=list)  # the same picture as the frame before
    digests: dict[bytes, list[str]] = field(default_factory=dict)
    cuts: list[str] = field(default_factory=list)
    gaps: list[str] = field(default_factory=list)
    disorder: list[str] = field(default_factory=list)  # sequences whose names the alphabet would order otherwise

    def summary(self) -> str:
        """One line: how many sequences and frames, of what sizes and kinds of pixels."""
        lengths = sorted(self.lengths.values())
        span = f"{lengths[0]}" if lengths[0] == lengths[-1] else f"{lengths[0]} to {lengths[-1]}"
        sizes = few([f"{height}x{width}" for (height, width), _ in self.sizes.most_common()])
        return (f"{len(lengths)} sequence{'s' * (len(lengths) > 1)} of {span} frames, {sum(lengths)} in all; height x "
                f"width {sizes or 'unknown'}; {', '.join(kind for kind, _ in self.depths.most_common()) or 'unknown'}")

    def notes(self) -> Iterator[str]:
        """Lines about what training takes as it is, but may not be meant."""
        if len(self.sizes) > 1:
            yield f"frames differ in size; all are resized to one: {few(_counted(self.sizes), 5)}"
        if any(kind.startswith("16") for kind in self.depths):
            yield "pixels of 16 bits are read with 8"
        if any("alpha" in kind for kind in self.depths):
            yield "alpha is dropped, the colours below it are kept"
        for what, found in (("numbers are missing between", self.gaps),
                            ("scene cuts, which training takes for motion, at", self.cuts),
                            ("frames with the very picture of the frame before", self.still),
                            ("pictures in several places", self._elsewhere()),
                            ("by the alphabet the order would be another one (10 before 9) in", self.disorder)):
            if found:
                yield f"{what} ({len(found)}): {few(found, 5)}"

    def _elsewhere(self) -> list[str]:
        """Pictures in frames that do not follow each other."""
        still = set(self.still)
        groups = ([name for name in names if name not in still] for names in self.digests.values())
        return [" = ".join(group) for group in groups if len(group) > 1]

    def shared(self, other: "Facts") -> list[str]:
        """Pictures that both folders hold."""
        return [f"{names[0]} = {other.digests[digest][0]}" for digest, names in self.digests.items()
                if digest in other.digests]


def look_at(sequences: dict[str, list[Frame]], pixels: bool = True) -> Facts:
    """Look at every frame. Without ``pixels`` only names and headers are read: no damage, cuts or copies are found."""
    facts = Facts({name: len(frames) for name, frames in sequences.items()})
    with tqdm(total=sum(facts.lengths.values()), unit="frame", disable=None) as progress:
        for name, frames in sequences.items():
            _look_at_names(facts, name, frames)
            if pixels:
                _look_at_pictures(facts, name, frames, progress)
            else:
                _look_at_headers(facts, frames, progress)
    return facts


def _look_at_names(facts: Facts, name: str, frames: Sequence[Frame]) -> None:
    stems = [frame.stem for frame in frames if isinstance(frame, Path)]
    numbers = [int(found[-1]) for stem in stems if (found := re.findall("[0-9]+", stem))]
    if len(numbers) == len(stems):
        steps = Counter(later - earlier for earlier, later in pairwise(numbers))
        usual = max(steps, key=lambda step: (steps[step], -step), default=0)  # frames may well be every fifth
        facts.gaps += [f"{_label(name, frames[t])} and {frames[t + 1].stem}"
                       for t, (earlier, later) in enumerate(pairwise(numbers)) if later - earlier > usual]
    if stems != sorted(stems):
        facts.disorder.append(name)


def _look_at_headers(facts: Facts, frames: Sequence[Frame], progress: tqdm) -> None:
    for frame in frames if isinstance(frames[0], Path) else frames[:1]:  # a video has one size
        try:
            facts.sizes[image_size(frame)] += 1
            facts.depths[_depth(frame)] += 1
        except UserError as error:
            facts.broken.append(str(error))
    progress.update(len(frames))


def _look_at_pictures(facts: Facts, name: str, frames: Sequence[Frame], progress: tqdm) -> None:
    def readable() -> Iterator[tuple[Frame, np.ndarray]]:
        for frame in frames:
            progress.update()
            try:
                yield frame, read_image(frame)
            except UserError as error:
                facts.broken.append(str(error))

    before = None
    for (frame, picture), cut in mark_cuts(readable(), lambda item: item[1]):
        label = _label(name, frame)
        facts.sizes[picture.shape[:2]] += 1
        facts.depths[_depth(frame)] += 1
        digest = hashlib.blake2b(repr(picture.shape).encode() + picture.tobytes(), digest_size=16).digest()
        facts.digests.setdefault(digest, []).append(label)
        if digest == before:
            facts.still.append(label)
        if cut and before is not None:
            facts.cuts.append(label)
        before = digest


def _label(name: str, frame: Frame) -> str:
    return frame.stem if name == "." else f"{name}/{frame.stem}"


def _depth(frame: Frame) -> str:
    """The kind of a readable frame's pixels."""
    if not isinstance(frame, Path):
        return "video"
    with Image.open(frame) as image:
        if image.mode.startswith("I") or (image.format == "PNG" and image.tile and "16" in str(image.tile[0][3])):
            return "16-bit colour" if image.mode.startswith("RGB") else "16-bit gray"
        return _MODES.get(image.mode, image.mode)


def _counted(sizes: Counter[tuple[int, int]]) -> list[str]:
    return [f"{height}x{width} ({count})" for (height, width), count in sizes.most_common()]
