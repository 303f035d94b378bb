"""Several processes that train one model, as ``torchrun`` starts them: each computes its share of every batch.

Gradients are added up in one flat all-reduce for each optimizer (as stylegan3 and edm do), so that all processes hold
the same networks, and a step is that of one process with the whole batch.
"""
import contextlib
import datetime
import functools
import itertools
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from timecyclegan.util.device import trouble
from timecyclegan.util.errors import UserError
from timecyclegan.util.options import Options

T = TypeVar("T")

# A process that ends is noticed at once: its connections close. These are for one that falls silent, as on a computer
# that is lost: in a step, of which others may have twice the samples; and where one saves, or makes ready what all
# read.
PATIENCE, LONG = datetime.timedelta(minutes=10), datetime.timedelta(days=1)
_joined = itertools.count()  # how often this process joined others


class LostProcess(UserError):
    """Another process of the run ended, or does not answer."""


class Peers:
    """All processes of a run, from the point of view of one of them.

    Attributes:
        rank, size: its number, and how many there are.
        device: where it computes.
    """

    def __init__(self, device: torch.device):
        self.rank, self.size, self.device = dist.get_rank(), dist.get_world_size(), device
        # What the hosts agree on must not wait for their devices.
        self._hosts = dist.new_group(backend="gloo", timeout=PATIENCE)
        self._patient = dist.new_group(backend="gloo", timeout=LONG)

    def check(self, options: Options) -> None:
        """Refuse options that several processes cannot have.

        Raises:
            UserError: fewer clips than processes; or statistics of a batch, of which each would know its own part.
        """
        if options.batch_size < self.size:
            raise UserError(f"--batch_size {options.batch_size} is shared out among {self.size} processes: give "
                            f"{self.size} or more, or start fewer (--nproc_per_node)")
        if options.norm == "batch":
            raise UserError(f"--norm batch looks at the clips of one process alone, not at those of all {self.size}: "
                            "use --norm instance")

    def add_up(self, parameters: Sequence[nn.Parameter], values: Tensor) -> Tensor:
        """Give every parameter the sum of all processes' gradients (0 where none has one); returns that of ``values``.
        """
        for p in parameters:
            if p.grad is None:
                p.grad = torch.zeros_like(p)
        gradients = [p.grad for p in parameters]
        flat = torch.cat([values.to(gradients[0].dtype), *(gradient.flatten() for gradient in gradients)])
        with _answers():
            dist.all_reduce(flat)
        values, *summed = flat.split([len(values), *(gradient.numel() for gradient in gradients)])
        for gradient, its in zip(gradients, summed, strict=True):
            gradient.copy_(its.view_as(gradient))
        return values.float()

    def gather(self, pictures: Tensor, counts: Sequence[int]) -> Tensor:
        """The pictures (M, C, H, W) of all processes, in the order of one process's batch.

        Args:
            counts: how many samples each process has; as many pictures of each.
        """
        each, most = len(pictures) // max(1, counts[self.rank]), max(counts)
        padded = pictures.new_zeros(most * each, *pictures.shape[1:])
        padded[: len(pictures)] = pictures
        everyones = [torch.empty_like(padded) for _ in range(self.size)]
        with _answers():
            dist.all_gather(everyones, padded)
        return torch.cat([theirs[: count * each] for theirs, count in zip(everyones, counts, strict=True)])

    def own(self, pictures: Tensor, counts: Sequence[int]) -> Tensor:
        """Of what :meth:`gather` gave, this process's part; the first pictures where it has none that count."""
        each = len(pictures) // sum(counts)
        first = sum(counts[: self.rank]) * each if counts[self.rank] else 0
        return pictures[first : first + max(1, counts[self.rank]) * each]

    def agree(self, *flags: bool, patient: bool = False) -> list[bool]:
        """Of each flag, whether any process raises it; ``patient``: one may be busy for hours before it answers."""
        found = torch.tensor(flags, dtype=torch.uint8)
        with _answers():
            dist.all_reduce(found, dist.ReduceOp.MAX, group=self._patient if patient else self._hosts)
        return [bool(flag) for flag in found]

    def everyones(self, own: T) -> list[T]:
        """What each process gives, in their order; whatever can be pickled. Waits patiently."""
        given: list[Any] = [None] * self.size
        with _answers():
            dist.all_gather_object(given, own, group=self._patient)
        return given

    def same(self, facts: Any) -> bool:
        """Whether all processes say the same, JSON-ready."""
        return len(set(self.everyones(json.dumps(facts, sort_keys=True)))) == 1

    def share(self, sizes: Mapping[str, int]) -> list[str]:
        """The names that are this process's part of work of these ``sizes``: the largest first, each to the process
        that has least; in the order of ``sizes``."""
        loads, mine = [0] * self.size, set()
        for name in sorted(sizes, key=lambda name: -sizes[name]):
            least = loads.index(min(loads))
            loads[least] += sizes[name]
            if least == self.rank:
                mine.add(name)
        return [name for name in sizes if name in mine]

    def share_weights(self, tensors: Sequence[Tensor]) -> None:
        """Give every process the values of the first one."""
        with _answers(), torch.no_grad():
            for tensor in tensors:
                dist.broadcast(tensor, 0)


@contextlib.contextmanager
def _answers() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, torch.OutOfMemoryError) or (
                torch.cuda.is_available() and torch.cuda.is_current_stream_capturing()):  # which has another remedy
            raise
        raise LostProcess("another process of this run ended or does not answer (what it said stands above, or in its "
                          "own output)") from error  # fmt: skip


@functools.cache
def _store() -> tuple[dist.Store, int, int]:
    """Where the processes find each other, the number of this one, and how many there are."""
    return next(dist.rendezvous("env://", timeout=PATIENCE))


@contextlib.contextmanager
def joined(gpu: bool) -> Iterator[Peers | None]:
    """The processes that ``torchrun`` started, while the block runs; None where this one is alone.

    Processes beside the first print errors alone.

    Args:
        gpu: whether to compute on GPUs: each process on the one of its local number.

    Raises:
        UserError: there are fewer GPUs than processes.
        LostProcess: here and in the block, see there.
    """
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        yield None
        return
    device = torch.device("cpu")
    if gpu:
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
        if why := trouble(device.index):
            raise UserError(f"process {device.index} of this computer has no GPU of its number, of "
                            f"{torch.cuda.device_count()}: {why}; start as many as there are (--nproc_per_node), or "
                            "give --gpu -1 for the CPU")
        torch.cuda.set_device(device)
    with _answers():
        store, rank, size = _store()
        # Where a process joins twice (trainval.py), what the first time left there must not be read again.
        dist.init_process_group("nccl" if gpu else "gloo", store=dist.PrefixStore(str(next(_joined)), store),
                                rank=rank, world_size=size, timeout=PATIENCE)
    try:
        peers = Peers(device)
        with contextlib.ExitStack() as stack:
            if peers.rank:
                stack.enter_context(contextlib.redirect_stdout(stack.enter_context(open(os.devnull, "w"))))
            yield peers
    finally:
        # After an error of another process it would wait for that.
        if sys.exc_info()[0] is None:
            dist.destroy_process_group()
