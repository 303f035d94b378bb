"""Loading: batches in an order that a resumed run repeats, and the frames of a video one after the other.

An epoch's order is a pure function of (seed, epoch), as a sample is one of (seed, epoch, index).
"""
import itertools
import os
import signal
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from timecyclegan.datasets.video_dataset import Key
from timecyclegan.util.errors import UserError
from timecyclegan.video.frames import Frame, read_image, resize_image


class EpochSampler(Sampler[list[Key]]):
    """Batches of keys ``(epoch, index)``; each epoch's order is a pure function of (seed, epoch).

    Every iteration is one epoch and begins where :meth:`set_position` said, else at the epoch after the last one. The
    position moves on when an iteration begins: how far workers have read ahead must not matter to a loop that is left.
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


class VideoLoader(DataLoader):
    """A DataLoader that raises a worker's UserError in the main process as one clear line, without its traceback."""

    def __iter__(self) -> Iterator[dict[str, Any]]:
        wrong = ""
        try:
            yield from super().__iter__()
        except UserError as error:
            wrong = error.args[0].splitlines()[-1].removeprefix(f"{UserError.__module__}.UserError: ")
            # Nothing may hold the workers any more: left to the garbage collector, each takes 5 s to end.
            self._iterator = error.__traceback__ = None
        if wrong:
            raise UserError(wrong)


def _leave_signals_to_the_parent(_worker: int) -> None:
    """Ctrl-C and a kill of the process group would end the workers too, while the loop still wants to save."""
    os.setpgrp()
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def make_loader(dataset: Dataset, batch_size: int, threads: int, seed: int, *, pin_memory: bool = False) -> DataLoader:
    """Batches of ``dataset``, loaded by ``threads`` processes (0: by this one).

    ``loader.batch_sampler`` is the :class:`EpochSampler`; set the position there before an epoch begins. The loader
    never touches torch's global generator. ``pin_memory`` speeds up copies to a GPU, and needs one.
    """
    return VideoLoader(dataset, batch_sampler=EpochSampler(len(dataset), batch_size, seed), num_workers=threads,
                       persistent_workers=threads > 0, worker_init_fn=_leave_signals_to_the_parent,
                       pin_memory=pin_memory, generator=torch.Generator().manual_seed(seed))


def read_frames(frames: Iterable[Frame], height: int, width: int, threads: int = 1, nearest: bool = False
                ) -> Iterator[np.ndarray]:
    """Read frames in order as uint8 (height, width, 3), with ``threads`` threads (0: none) that read ahead.

    They are resized as :func:`resize_image` does it, bicubic or to the ``nearest`` pixel.

    At most ``2 * threads`` frames beside the current one are held, however long the sequence.

    Raises:
        UserError: when its turn comes, a frame that cannot be read (see :func:`read_image`).
    """
    def read(frame: Frame) -> np.ndarray:
        return resize_image(read_image(frame), height, width, nearest)

    frames = iter(frames)
    if threads < 1:
        yield from map(read, frames)
        return
    pool = ThreadPoolExecutor(threads)
    try:
        ahead = deque(pool.submit(read, frame) for frame in itertools.islice(frames, 2 * threads))
        while ahead:
            image = ahead.popleft().result()
            ahead.extend(pool.submit(read, frame) for frame in itertools.islice(frames, 1))
            yield image
    finally:  # also when the reader stops early
        pool.shutdown(cancel_futures=True)
