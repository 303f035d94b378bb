"""Several processes that train one model, as ``torchrun`` starts them: each computes its share of every batch.

Gradients are added up in one flat all-reduce for each optimizer (as stylegan3 and edm do), so that all processes hold
the same networks, and a step is that of one process with the whole batch.
"""
import contextlib
import datetime
import os
import sys
from collections.abc import Iterator, Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn

from timecyclegan.util.device import require_gpu
from timecyclegan.util.errors import UserError
from timecyclegan.util.options import Options

PATIENCE = datetime.timedelta(seconds=60)  # how long a process is waited for that does not answer


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

    def agree(self, *flags: bool) -> list[bool]:
        """Of each flag, whether any process raises it."""
        found = torch.tensor(flags, dtype=torch.uint8)
        with _answers():
            dist.all_reduce(found, dist.ReduceOp.MAX, group=self._hosts)
        return [bool(flag) for flag in found]

    def same(self, text: str) -> bool:
        """Whether all processes say the same."""
        said: list[str | None] = [None] * self.size
        with _answers():
            dist.all_gather_object(said, text, group=self._hosts)
        return len(set(said)) == 1

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
        if isinstance(error, torch.OutOfMemoryError):
            raise
        raise LostProcess("another process of this run ended or does not answer (what it said stands above, or in its "
                          "own output)") from error  # fmt: skip


@contextlib.contextmanager
def joined(gpu: bool) -> Iterator[Peers | None]:
    """The processes that ``torchrun`` started, while the block runs; None where this one is alone.

    Processes beside the first print errors alone.

    Args:
        gpu: whether to compute on GPUs: each process on the one of its local number.
    """
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        yield None
        return
    device = torch.device("cpu")
    if gpu:
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        require_gpu(device.index)
        torch.cuda.set_device(device)
    with _answers():
        dist.init_process_group("nccl" if gpu else "gloo", timeout=PATIENCE)
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
