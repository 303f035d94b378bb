"""Training clips from folders of frames, in an order that a resumed run repeats, and frames for testing.

Everything random is a pure function of (seed, epoch, index): neither the number of workers nor the state of
any global generator changes a sample, so a run that is resumed goes on bit by bit.
"""
import bisect
import itertools
import os
import signal
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from timecyclegan.datasets.frames import few, find_sequences, match_sequences, read_image, resize_image, to_video
from timecyclegan.util.errors import UserError

Key = tuple[int, int]  # (epoch, index within the epoch)


class View(NamedTuple):
    """What is seen of a loaded frame: the crop's corner, and whether it is mirrored left to right."""
    top: int
    left: int
    mirrored: bool


@dataclass(frozen=True)
class Framing:
    """From files to frames of one size: resize to the load size, crop to height x width, mirror.

    A load size of 0 is the frame size itself (no crop), so that training sees what testing sees.

    Raises:
        UserError: the load size is smaller than the crop.
    """

    height: int
    width: int
    load_height: int = 0
    load_width: int = 0
    flip: bool = True

    def __post_init__(self):
        for side in ("height", "width"):
            crop, load = getattr(self, side), getattr(self, f"load_{side}")
            if load == 0:
                object.__setattr__(self, f"load_{side}", crop)
            elif load < crop:
                raise UserError(f"--load_{side} {load} is smaller than --image_{side} {crop}, which is cropped "
                                f"from it; give {crop} or more, or 0 for no crop")

    def draw(self, rng: np.random.Generator) -> View:
        """Draw a view; always three draws, so that switching the flip off moves no crop."""
        top = int(rng.integers(self.load_height - self.height + 1))
        left = int(rng.integers(self.load_width - self.width + 1))
        mirrored = bool(rng.integers(2))
        return View(top, left, mirrored and self.flip)

    def load(self, paths: Sequence[Path], view: View) -> torch.Tensor:
        """Read the frames of a clip, all through the same view, as float32 (T, 3, height, width)."""
        rows = slice(view.top, view.top + self.height)
        columns = slice(view.left, view.left + self.width)
        frames = np.stack([resize_image(read_image(path), self.load_height, self.load_width)[rows, columns]
                           for path in paths])
        return to_video(frames[:, :, ::-1] if view.mirrored else frames)


class Clips:
    """Which clips of ``n_frames`` an epoch draws: ``length // n_frames`` of each sequence.

    ``skipped`` maps the sequences that are too short to their lengths; whoever builds the data set shows
    :meth:`warning` to the user.

    Raises:
        UserError: no sequence is long enough.
    """

    def __init__(self, lengths: dict[str, int], n_frames: int, root: str | Path):
        if n_frames < 1:
            raise ValueError(f"n_frames must be at least 1, got {n_frames}")
        self.n_frames = n_frames
        self.lengths = {name: length for name, length in lengths.items() if length >= n_frames}
        self.skipped = {name: length for name, length in lengths.items() if length < n_frames}
        if not self.lengths:
            longest = max(self.skipped.values())
            raise UserError(f"no sequence in {root} has the {n_frames} frames of a training clip, the longest "
                            f"has {longest}; use --block_size {longest} or less, or longer sequences")
        self._names = list(self.lengths)
        self._ends = list(itertools.accumulate(length // n_frames for length in self.lengths.values()))

    def __len__(self) -> int:
        return self._ends[-1]

    def draw(self, index: int, rng: np.random.Generator) -> tuple[str, int]:
        """The sequence of clip ``index``, and a random first frame in it."""
        if not 0 <= index < len(self):
            raise IndexError(f"clip {index} of {len(self)}")
        name = self._names[bisect.bisect_right(self._ends, index)]
        return name, int(rng.integers(self.lengths[name] - self.n_frames + 1))

    def warning(self) -> str | None:
        """One line about the skipped sequences, None if there are none."""
        if not self.skipped:
            return None
        short = few([f"{name} ({length})" for name, length in self.skipped.items()])
        return (f"{len(self.skipped)} of {len(self.skipped) + len(self.lengths)} sequences are not used, they "
                f"have fewer than {self.n_frames} frames: {short}")


class PairedVideoDataset(Dataset):
    """Clips of two domains whose frames belong together, both seen through the same view.

    ``dataset[epoch, index]`` is ``{"source", "target": float32 (T, 3, height, width) in [-1, 1],
    "sequence": str, "start": int}``: T = ``n_frames`` successive frames that start anywhere in a sequence.
    Images are resized to the load size (0: to height x width) whatever their own size, cropped at random to
    height x width and, with ``flip``, mirrored every second time. ``skipped`` names the sequences that are too
    short, ``skipped_warning()`` is one line about them for the caller to print.

    Raises:
        UserError: see :func:`find_sequences`, :func:`match_sequences`, :class:`Framing`, :class:`Clips`; and,
            from ``dataset[...]``, :func:`read_image`.
    """

    def __init__(self, source_dir: str | Path, target_dir: str | Path, n_frames: int, height: int, width: int,
                 load_height: int = 0, load_width: int = 0, flip: bool = True, seed: int = 0):
        self.seed = seed
        self.framing = Framing(height, width, load_height, load_width, flip)
        self.pairs = match_sequences(find_sequences(source_dir), find_sequences(target_dir),
                                     source_dir, target_dir)
        self.clips = Clips({name: len(pairs) for name, pairs in self.pairs.items()}, n_frames, source_dir)
        self.skipped, self.skipped_warning = self.clips.skipped, self.clips.warning

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, key: Key) -> dict[str, Any]:
        epoch, index = key
        rng = np.random.default_rng([self.seed, epoch, index])
        name, start = self.clips.draw(index, rng)
        view = self.framing.draw(rng)
        source, target = zip(*self.pairs[name][start:start + self.clips.n_frames], strict=True)
        return {"source": self.framing.load(source, view), "target": self.framing.load(target, view),
                "sequence": name, "start": start}


class EpochSampler(Sampler[list[Key]]):
    """Batches of keys ``(epoch, index)``; each epoch's order is a pure function of (seed, epoch).

    Every iteration is one epoch and begins where :meth:`set_position` said, else at the epoch after the last
    one. The position moves on when an iteration begins, not when it ends: how far workers have read ahead
    must not matter to a loop that is left early.
    """

    def __init__(self, length: int, batch_size: int, seed: int):
        self.length, self.batch_size, self.seed = length, batch_size, seed
        self.epoch = self.batch = 0

    def set_position(self, epoch: int, batch: int = 0) -> None:
        """Let the next iteration begin at this batch of this epoch (both count from 0)."""
        if epoch < 0 or not 0 <= batch <= len(self):
            raise ValueError(f"epoch {epoch}, batch {batch} of {len(self)} is no position")
        self.epoch, self.batch = epoch, batch

    def __len__(self) -> int:
        """Batches in a full epoch."""
        return (self.length + self.batch_size - 1) // self.batch_size

    def __iter__(self) -> Iterator[list[Key]]:
        # A generator on purpose: DataLoader calls iter() twice, but only the one it uses is ever started.
        epoch, first = self.epoch, self.batch
        self.epoch, self.batch = epoch + 1, 0
        # The spawn key keeps this stream apart from the samples' [seed, epoch, index], which [seed, epoch] is
        # not: NumPy pads seeds with zeros, so it would be the stream of index 0.
        seed = np.random.SeedSequence([self.seed, epoch], spawn_key=(0,))
        order = np.random.default_rng(seed).permutation(self.length).tolist()
        for batch in range(first, len(self)):
            yield [(epoch, index) for index in order[batch * self.batch_size:(batch + 1) * self.batch_size]]


class _ErrorsAsSamples(Dataset):
    """Hand a UserError over as if it were a sample: a worker would wrap it in pages of traceback."""

    def __init__(self, dataset: Dataset):
        self.dataset = dataset

    def __getitem__(self, key: Key) -> Any:
        try:
            return self.dataset[key]
        except UserError as error:
            return UserError(str(error))  # without the traceback, whose frames would hold the images


def _collate(samples: list[Any]) -> Any:
    return next((sample for sample in samples if isinstance(sample, UserError)), None) or default_collate(samples)


class VideoLoader(DataLoader):
    """A DataLoader that raises a worker's UserError in the main process as it is, one clear line."""

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for batch in super().__iter__():
            if isinstance(batch, UserError):
                self._iterator = None  # ends the workers now: left to the garbage collector, it takes 5 s each
                raise batch
            yield batch


def _leave_signals_to_the_parent(_worker: int) -> None:
    """Ctrl-C and a kill of the process group would end the workers too, while the loop still wants to save."""
    os.setpgrp()
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def make_loader(dataset: Dataset, batch_size: int, threads: int, seed: int, *, pin_memory: bool = False) -> DataLoader:
    """Batches of ``dataset``, loaded by ``threads`` processes (0: by this one).

    ``loader.batch_sampler`` is the :class:`EpochSampler`; set the position there before an epoch begins. The
    loader never touches torch's global generator, so it does not disturb a resumed run. The last batch of an
    epoch may be smaller. ``pin_memory`` speeds up copies to a GPU, and needs one.
    """
    return VideoLoader(_ErrorsAsSamples(dataset), batch_sampler=EpochSampler(len(dataset), batch_size, seed),
                       num_workers=threads, persistent_workers=threads > 0, collate_fn=_collate,
                       worker_init_fn=_leave_signals_to_the_parent,
                       pin_memory=pin_memory, generator=torch.Generator().manual_seed(seed))


def read_frames(paths: Iterable[Path], height: int, width: int, threads: int = 1) -> Iterator[np.ndarray]:
    """Read images in order as uint8 (height, width, 3), with ``threads`` threads (0: none) that read ahead.

    At most ``2 * threads`` frames beside the current one are held, however long the sequence.

    Raises:
        UserError: when its turn comes, an image that cannot be read (see :func:`read_image`).
    """
    def read(path: Path) -> np.ndarray:
        return resize_image(read_image(path), height, width)

    if threads < 1:
        yield from map(read, paths)
        return
    paths = iter(paths)
    pool = ThreadPoolExecutor(threads)
    try:
        ahead = deque(pool.submit(read, path) for path in itertools.islice(paths, 2 * threads))
        while ahead:
            frame = ahead.popleft().result()
            ahead.extend(pool.submit(read, path) for path in itertools.islice(paths, 1))
            yield frame
    finally:  # also when the reader stops early
        pool.shutdown(cancel_futures=True)
