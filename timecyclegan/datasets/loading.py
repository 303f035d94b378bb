"""Loading: batches in an order that a resumed run repeats, and the frames of a video one after the other.

An epoch's order is a pure function of (seed, epoch), as a sample is one of (seed, epoch, index).
"""
import errno
import multiprocessing.connection
import multiprocessing.queues
import os
import signal
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from timecyclegan.datasets.video_dataset import Key
from timecyclegan.util.device import cores
from timecyclegan.util.errors import UserError, machine_errno, reason
from timecyclegan.util.signals import ASKING, Left
from timecyclegan.util.threads import concurrently
from timecyclegan.video.frames import Frame, read_image, resize_image


class EpochSampler(Sampler[list[Key]]):
    """Batches of keys ``(epoch, index)``; each epoch's order is a pure function of (seed, epoch).

    A batch is computed in ``parts`` of ``batch_size`` samples, one after the other, and each part by ``ranks``
    processes: a sampler gives its process's share of each part, a sample that does not count where that is none.

    Every iteration is one epoch and begins where :meth:`set_position` said, else at the epoch after the last one. The
    position moves on when an iteration begins: how far workers have read ahead must not matter to a loop that is left.
    """

    def __init__(self, length: int, batch_size: int, seed: int, parts: int = 1, rank: int = 0, ranks: int = 1):
        self.length, self.batch_size, self.seed = length, batch_size, seed
        self.whole, self.rank, self.ranks = batch_size * parts, rank, ranks
        self.epoch = self.batch = 0

    def set_position(self, epoch: int, batch: int = 0) -> None:
        """Let the next iteration begin at this batch of this epoch (both count from 0)."""
        if epoch < 0 or not 0 <= batch <= len(self):
            raise ValueError(f"epoch {epoch}, batch {batch} of {len(self)} is no position")
        self.epoch, self.batch = epoch, batch

    def __len__(self) -> int:
        """Batches in a full epoch."""
        return (self.length + self.whole - 1) // self.whole

    def shares(self, batch: int) -> list[list[int]]:
        """For each part of a batch of the epoch, how many of its samples each process has."""
        return self.parts(min(self.whole, self.length - batch * self.whole))

    def parts(self, ahead: int) -> list[list[int]]:
        """As :meth:`shares`, of a batch of ``ahead`` samples."""
        found = []
        while ahead:
            samples = min(self.batch_size, ahead)
            found.append([samples // self.ranks + (rank < samples % self.ranks) for rank in range(self.ranks)])
            ahead -= samples
        return found

    def __iter__(self) -> Iterator[list[Key]]:
        # A generator on purpose: DataLoader calls iter() twice, but only the one it uses is ever started.
        epoch, first = self.epoch, self.batch
        self.epoch, self.batch = epoch + 1, 0
        # The spawn key keeps this stream apart from the samples' [seed, epoch, index], which [seed, epoch] is
        # not: NumPy pads seeds with zeros, so it would be the stream of index 0.
        seed = np.random.SeedSequence([self.seed, epoch], spawn_key=(0,))
        order = np.random.default_rng(seed).permutation(self.length).tolist()
        for batch in range(first, len(self)):
            mine, start = [], batch * self.whole
            for counts in self.shares(batch):
                mine_from = start + sum(counts[:self.rank]) if counts[self.rank] else start
                mine += order[mine_from:mine_from + max(1, counts[self.rank])]
                start += sum(counts)
            yield [(epoch, index) for index in mine]


class LostWorker(UserError):
    """A loading process ended before its time: it was killed, or could not hand over what it had loaded."""


class VideoLoader(DataLoader):
    """A DataLoader whose troubles are one clear line each, raised where the next batch is asked for, and not elsewhere.

    A dataset that has something to ``prepare()`` does so before the first workers are forked, which then share it.

    Raises:
        LostWorker: a worker was killed, or ended because it could not hand over what it had loaded; or a signal that
            somebody waits for ended what precedes the first batch.
        UserError: what a worker's UserError says; workers cannot be started; or the system refuses them something.
    """

    def __iter__(self) -> Iterator[dict[str, Any]]:
        try:
            getattr(self.dataset, "prepare", lambda: None)()
        except Left as left:
            raise LostWorker("a signal came before training frames were decoded, or their flow was computed") from left
        iterator, wrong, complain = None, None, sys.unraisablehook
        others, heard = set(multiprocessing.active_children()), signal.getsignal(signal.SIGCHLD)
        try:
            iterator = super().__iter__()
            if signal.getsignal(signal.SIGCHLD) is not heard:
                # PyTorch's handler raises wherever the main thread is when a worker dies, also amid a step or a save.
                # Without it PyTorch finds out here, after 5 s at the most.
                signal.signal(signal.SIGCHLD, heard or signal.SIG_DFL)
            yield from iterator
        except Exception as error:
            wrong = self._explained(error, iterator or self._iterator)
            if wrong is None:
                raise
            # Nothing may hold the workers any more: left to the garbage collector, each takes 5 s to end. PyTorch's
            # iterator, if it is only half made, fails at that, too.
            sys.unraisablehook = complain if iterator or self._iterator else lambda _: None
            self._iterator = iterator = error.__traceback__ = None
            sys.unraisablehook = complain
        if wrong is not None:
            for worker in set(multiprocessing.active_children()) - others:
                worker.terminate()
            raise wrong

    def _explained(self, error: Exception, iterator: Any) -> UserError | None:
        """What an error of loading means to a user; None if it is not one that a user can mend."""
        if isinstance(error, UserError):
            return UserError(error.args[0].splitlines()[-1].removeprefix(f"{UserError.__module__}.UserError: "))
        fewer = f"; lower --threads {self.num_workers} (0 loads without other processes)" * (self.num_workers > 0)
        workers = getattr(iterator, "_workers", ())
        if workers and isinstance(error, (ConnectionError, EOFError, FileNotFoundError, RuntimeError)):
            multiprocessing.connection.wait([worker.sentinel for worker in workers], timeout=1)  # one may just be dying
            if codes := [worker.exitcode for worker in workers if worker.exitcode is not None]:
                code = max(codes, key=abs)
                how = os.strerror(code) if code else "it was asked to"
                if code < 0:
                    known = {number.value: number.name for number in signal.Signals}
                    how = f"it was killed by {known.get(-code, f'signal {-code}')}"
                how += {-signal.SIGKILL: ", as happens where memory is too small",
                        -signal.SIGBUS: ", as happens where shared memory (/dev/shm) is too small"}.get(code, "")
                return LostWorker(f"a process that loads data ended: {how}{fewer}")
        why = reason(error)
        if "Pin memory thread exited" in str(error):
            why = "the thread that takes the batches over ended, as happens with too many open files (ulimit -n)"
        if why and self.num_workers and os.strerror(errno.ENOSPC) in why:
            why += " for shared memory (/dev/shm)"
        begun = iterator or not self.num_workers
        what = "cannot load data" if begun else f"cannot start the {self.num_workers} processes that load data"
        return UserError(f"{what}: {why}{fewer}") if why else None


def _begin_worker(_worker: int) -> None:
    """Leave it to the parent to end a worker, and end it where its batches would be waited for in vain."""
    # Ctrl-C and a kill of the process group would end the workers too, while the loop still wants to save.
    os.setpgrp()
    for number in set(ASKING) - {signal.SIGTERM}:
        signal.signal(number, signal.SIG_IGN)
    # A thread hands the batches over. If it cannot, Python prints a traceback, and the parent waits for ever.
    multiprocessing.queues.Queue._on_queue_feeder_error = staticmethod(_end_worker)


def _end_worker(error: Exception, _batch: Any) -> None:
    os._exit(machine_errno(error) or errno.EPIPE)


def loading_threads(threads: int) -> int:
    """How many processes, or threads, load data: as many as the flag ``--threads`` says; for -1 by the machine.

    One processor is left to the training itself, whose Python code keeps one busy. More than eight are never needed,
    and each takes memory: some tens of MiB, and the two batches that it loads ahead.
    """
    return max(1, min(8, cores() - 1)) if threads < 0 else threads


def make_loader(dataset: Dataset, batch_size: int, threads: int, seed: int, *, pin_memory: bool = False,
                parts: int = 1, rank: int = 0, ranks: int = 1) -> DataLoader:
    """Batches of ``dataset``, loaded by ``threads`` processes (0: by this one; -1: see :func:`loading_threads`).

    ``loader.batch_sampler`` is the :class:`EpochSampler`; set the position there before an epoch begins. The loader
    never touches torch's global generator. ``pin_memory`` speeds up copies to a GPU, and needs one.
    """
    sampler, threads = EpochSampler(len(dataset), batch_size, seed, parts, rank, ranks), loading_threads(threads)
    # Forked, they share what is in memory: the frames that a cache holds, the indices of videos.
    return VideoLoader(dataset, batch_sampler=sampler, num_workers=threads,
                       persistent_workers=threads > 0, worker_init_fn=_begin_worker, pin_memory=pin_memory,
                       multiprocessing_context="fork" if threads else None,
                       generator=torch.Generator().manual_seed(seed))


def read_frames(frames: Iterable[Frame], height: int, width: int, threads: int = 1, nearest: bool = False
                ) -> Iterator[np.ndarray]:
    """Read frames in order as uint8 (height, width, 3), with ``threads`` threads (0: none; -1: by the machine) that
    read ahead.

    They are resized as :func:`resize_image` does it, bicubic or to the ``nearest`` pixel.

    At most ``2 * threads`` frames beside the current one are held, however long the sequence.

    Raises:
        UserError: when its turn comes, a frame that cannot be read (see :func:`read_image`).
    """
    def read(frame: Frame) -> np.ndarray:
        return resize_image(read_image(frame), height, width, nearest)

    return concurrently(read, frames, loading_threads(threads))
