"""Training clips from frames on disk: of two domains frame by frame, of two that share nothing, or of one alone.

Everything random is a pure function of (seed, epoch, index): neither the number of workers nor the state of
any global generator changes a sample, so a run that is resumed goes on bit by bit.
"""
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset

from timecyclegan.datasets.frame_cache import FrameCache
from timecyclegan.datasets.pixels import find_pixels, mirror
from timecyclegan.util.errors import UserError
from timecyclegan.video.frames import Frame, few, find_sequences, match_sequences

Key = tuple[int, int]  # (epoch, index within the epoch)


class View(NamedTuple):
    """What is seen of a loaded frame: the rows and columns of the crop, and whether it is mirrored left to right."""
    rows: slice
    columns: slice
    mirrored: bool


class Framing:
    """From files to frames of one size: resize to the load size, crop to height x width, mirror.

    A load size of 0 is the frame size itself (no crop), so that training sees what testing sees; a UserError if it is
    smaller than the crop.
    """

    def __init__(self, height: int, width: int, load_height: int, load_width: int, flip: bool, cache: str = "off"):
        self.height, self.width, self.flip = height, width, flip
        self.load_height, self.load_width = load_height or height, load_width or width
        for side, crop, load in (("height", height, self.load_height), ("width", width, self.load_width)):
            if load < crop:
                raise UserError(f"--load_{side} {load} is smaller than --image_{side} {crop}, which is cropped "
                                f"from it; give {crop} or more, or 0 for no crop")
        self.cache = FrameCache(cache, self.load_height, self.load_width)

    def draw(self, rng: np.random.Generator) -> View:
        """Draw a view; always three draws, so that switching the flip off moves no crop."""
        top = int(rng.integers(self.load_height - self.height + 1))
        left = int(rng.integers(self.load_width - self.width + 1))
        mirrored = bool(rng.integers(2))
        return View(slice(top, top + self.height), slice(left, left + self.width), mirrored and self.flip)

    def load(self, paths: Sequence[Frame], view: View, pixels: str = "pictures") -> torch.Tensor:
        """Read the frames of a clip, all through the same view, as uint8 (T, 3, height, width).

        ``pixels``: what they mean, see ``datasets.pixels``.
        """
        clip = np.empty((len(paths), 3, self.height, self.width), np.uint8)
        for frame, path in zip(clip, paths, strict=True):
            seen = self.whole(path, pixels)[view.rows, view.columns]
            frame[...] = (mirror(seen, pixels) if view.mirrored else seen).transpose(2, 0, 1)
        return torch.from_numpy(clip)

    def whole(self, path: Frame, pixels: str = "pictures") -> np.ndarray:
        """A frame as uint8 (load_height, load_width, 3), before it is cropped and mirrored; not to be written to."""
        return self.cache.frame(path, nearest=pixels == "labels")


class Clips:
    """Which clips of ``n_frames`` an epoch draws from the sequences of a folder: ``length // n_frames`` of each.

    ``warnings`` has a line about the sequences that are too short, if there are any; a UserError if all are.
    """

    def __init__(self, lengths: dict[str, int], n_frames: int, root: str | Path):
        self.n_frames = n_frames
        # Of each clip, its sequence and the places where it may begin. A sequence's places are shared out among its
        # clips, so that an epoch sees all parts of it; with clips of one frame, every frame once.
        self._clips: list[tuple[str, int, int]] = []
        for name, length in lengths.items():
            places, count = length - n_frames + 1, length // n_frames
            self._clips += [(name, clip * places // count, (clip + 1) * places // count) for clip in range(count)]
        if not self._clips:
            longest = max(lengths.values())
            raise UserError(f"no sequence in {root} has the {n_frames} frames of a training clip, the longest has "
                            f"{longest}; use longer sequences, or --block_size {longest} or less where the model can")
        short = [f"{name} ({length})" for name, length in lengths.items() if length < n_frames]
        self.warnings = [f"{len(short)} of {len(lengths)} sequences in {root} are not used, they have fewer than "
                         f"{n_frames} frames: {few(short)}"] if short else []

    def __len__(self) -> int:
        return len(self._clips)

    def draw(self, index: int, rng: np.random.Generator) -> tuple[str, int]:
        """The sequence of clip ``index``, and a random first frame in it."""
        name, first, end = self._clips[index]
        return name, int(rng.integers(first, end))


class VideoDataset(Dataset):
    """What both kinds share; they have ``sequences``, ``pixels`` and, by domain or for both, ``clips``."""

    framing: Framing
    pixels: Mapping[str, str]
    n_frames: int

    def prepare(self) -> None:
        """Decode the frames that clips are made of, where a cache keeps them; see :meth:`FrameCache.fill`."""
        self.framing.cache.fill((frames, self.pixels[domain] == "labels") for domain, frames in self.long_enough())

    def long_enough(self) -> list[tuple[str, list[Frame]]]:
        """Domain and frames of the sequences that clips are taken from."""
        return [(domain, frames) for domain, clips in self.sequences.items() for frames in clips.values()
                if len(frames) >= self.n_frames]  # fmt: skip


class PairedVideoDataset(VideoDataset):
    """Clips of two domains whose frames belong together, both seen through the same view.

    ``dataset[epoch, index]`` is ``{"source", "target": uint8 (T, 3, height, width), "sequence": str, "start": int}``:
    T = ``n_frames`` successive frames that start anywhere in a sequence. Images are resized to the load size (0: to
    height x width), cropped at random to height x width and, with ``flip``, mirrored half the time, as ``pixels`` says
    of each domain's (``datasets.pixels``; None finds out). ``util.device.to_floats`` makes of levels the [-1, 1] that
    models take.

    With a ``cache`` ("ram", "disk", "auto"; see ``datasets.frame_cache``) :meth:`prepare` decodes all frames once, when
    the first epoch begins; no sample differs by a bit.

    Raises:
        UserError: see :func:`find_sequences`, :func:`match_sequences`, :class:`Framing`, :class:`Clips`; and, from
            ``dataset[...]``, :func:`read_image`.
    """

    def __init__(self, source_dir: str | Path, target_dir: str | Path, n_frames: int, height: int, width: int,
                 load_height: int = 0, load_width: int = 0, flip: bool = True, seed: int = 0,
                 pixels: Mapping[str, str] | None = None, cache: str = "off"):
        self.seed, self.n_frames = seed, n_frames
        self.framing = Framing(height, width, load_height, load_width, flip, cache)
        self.pairs = match_sequences(find_sequences(source_dir), find_sequences(target_dir), source_dir, target_dir)
        self.clips = Clips({name: len(pairs) for name, pairs in self.pairs.items()}, n_frames, source_dir)
        self.pixels = pixels or find_pixels(self.sequences, {"source": source_dir, "target": target_dir})

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, key: Key) -> dict[str, Any]:
        name, start, view = self.draw(key)
        source, target = zip(*self.pairs[name][start:start + self.clips.n_frames], strict=True)
        return {"source": self.framing.load(source, view, self.pixels["source"]),
                "target": self.framing.load(target, view, self.pixels["target"]), "sequence": name, "start": start}

    def draw(self, key: Key) -> tuple[str, int, View]:
        """A sample's sequence, its first frame in it, and the view of its frames."""
        epoch, index = key
        rng = np.random.default_rng([self.seed, epoch, index])
        return *self.clips.draw(index, rng), self.framing.draw(rng)

    def warnings(self) -> list[str]:
        """Lines for the user about what is not used."""
        return self.clips.warnings

    def names(self) -> list:
        """The names of all sequences and frames, as plain values."""
        return [(name, [(source.name, target.name) for source, target in pairs]) for name, pairs in self.pairs.items()]

    @property
    def sequences(self) -> dict[str, dict[str, list[Frame]]]:
        """By domain and name, the frames of all sequences."""
        return {domain: {name: [pair[side] for pair in pairs] for name, pairs in self.pairs.items()}
                for side, domain in enumerate(("source", "target"))}


class UnpairedVideoDataset(VideoDataset):
    """Clips of two domains that share nothing: neither sequences, nor sizes, nor numbers of frames.

    ``dataset[epoch, index]`` is, for each domain, ``{DOMAIN: uint8 (T, 3, height, width), "DOMAIN_sequence": str,
    "DOMAIN_start": int}``, each with its own draw of clip, start and view, otherwise as in
    :class:`PairedVideoDataset`. An epoch is as long as that of the longer domain, which it visits once; the other
    one's clips come as often as each other, give or take one. Which clips meet is drawn anew for each epoch.
    """

    domains: tuple[str, ...] = ("source", "target")

    def __init__(self, source_dir: str | Path | None, target_dir: str | Path, n_frames: int, height: int, width: int,
                 load_height: int = 0, load_width: int = 0, flip: bool = True, seed: int = 0,
                 pixels: Mapping[str, str] | None = None, cache: str = "off"):
        self.seed, self.n_frames = seed, n_frames
        self.framing = Framing(height, width, load_height, load_width, flip, cache)
        roots = {"source": source_dir, "target": target_dir}
        self.sequences = {domain: find_sequences(roots[domain]) for domain in self.domains}
        self.clips = {domain: Clips({name: len(frames) for name, frames in sequences.items()}, n_frames, roots[domain])
                      for domain, sequences in self.sequences.items()}
        self.pixels = pixels or find_pixels(self.sequences, roots)

    def __len__(self) -> int:
        return max(map(len, self.clips.values()))

    def __getitem__(self, key: Key) -> dict[str, Any]:
        epoch, index = key
        sample = {}
        for stream, (domain, clips) in enumerate(self.clips.items()):
            # The spawn keys keep the streams of the domains apart, and the draws from the orders.
            rng = np.random.default_rng(np.random.SeedSequence([self.seed, epoch, index], spawn_key=(1, stream)))
            place = _shuffled(len(self), self.seed, epoch, stream)[index] % len(clips)
            name, start = clips.draw(int(place), rng)
            frames = self.sequences[domain][name][start:start + clips.n_frames]
            sample |= {domain: self.framing.load(frames, self.framing.draw(rng), self.pixels[domain]),
                       f"{domain}_sequence": name, f"{domain}_start": start}
        return sample

    def warnings(self) -> list[str]:
        """Lines for the user about what is not used."""
        return [line for clips in self.clips.values() for line in clips.warnings]

    def names(self) -> list:
        """The names of all sequences and frames, as plain values."""
        return [(domain, [(name, [frame.name for frame in frames]) for name, frames in sequences.items()])
                for domain, sequences in self.sequences.items()]


class UnconditionalVideoDataset(UnpairedVideoDataset):
    """Clips of the target alone; the source is not read."""

    domains = ("target",)


# By a model's task.
DATASETS: dict[str, type[VideoDataset]] = {"paired": PairedVideoDataset, "unpaired": UnpairedVideoDataset,
                                           "unconditional": UnconditionalVideoDataset}


@functools.lru_cache(maxsize=4)  # an epoch's two, and the next one's while workers read ahead
def _shuffled(length: int, seed: int, epoch: int, stream: int) -> np.ndarray:
    """A domain's own order of an epoch."""
    return np.random.default_rng(np.random.SeedSequence([seed, epoch], spawn_key=(2, stream))).permutation(length)
