"""Which device to compute on, how a batch gets there, and how much of the computer this process may use."""
import contextlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from timecyclegan.util.errors import UserError, note

_GROUP = Path("/sys/fs/cgroup")  # where a container finds its limits (control groups, version 2)


def pick_device(gpu: int) -> torch.device:
    """The CPU for -1, else the GPU of this number; where that cannot be used, the first one, else the CPU, with a note.

    For numbers that nobody gave for this machine: the default, 0, and what a run remembers of another one. No note is
    made of a default where there is no GPU at all.
    """
    if gpu < 0:
        return torch.device("cpu")
    if not (why := trouble(gpu)):
        return torch.device("cuda", gpu)
    found = torch.device("cuda", 0) if gpu and not trouble(0) else torch.device("cpu")
    if gpu or torch.cuda.device_count():
        note(f"GPU {gpu} cannot be used here ({why}): computing on {device_name(found)}; --gpu chooses another device")
    return found


def require_gpu(gpu: int) -> None:
    """Refuse a number of a GPU that somebody gave, if it cannot be used.

    Raises:
        UserError: gives PyTorch's reason.
    """
    if gpu >= 0 and (why := trouble(gpu)):
        raise UserError(f"--gpu {gpu} cannot be used, of {torch.cuda.device_count()} GPUs: {why}; give the number of "
                        "one that can, from 0 on, or -1 for the CPU")


def gpu_number(text: str) -> int:
    """The value of a command's flag ``--gpu``, for :mod:`argparse`; raises as :func:`require_gpu`."""
    require_gpu(int(text))
    return int(text)


def trouble(gpu: int) -> str:
    """Why a GPU cannot be used, in PyTorch's words; empty where it can: it is tried."""
    try:
        torch.cuda.init()
        torch.ones(1, device=torch.device("cuda", gpu)).add_(1)
    except (AssertionError, RuntimeError) as error:
        return str(error).partition("\n")[0].rstrip(".") or type(error).__name__
    return ""


def device_name(device: torch.device) -> str:
    """What to call a device."""
    return f"GPU {device.index}, {torch.cuda.get_device_name(device)}" if device.type == "cuda" else "the CPU"


def to_floats(video: Tensor) -> Tensor:
    """Pictures in 256 levels, uint8 (..., H, W), as float32 in [-1, 1]; anything else as it is."""
    if video.dtype != torch.uint8:
        return video
    # Divided by a tensor: a GPU would multiply by the inverse of a number of Python's, which rounds otherwise.
    return video.float().div_(torch.full((), 127.5, device=video.device)).sub_(1)


def to_device(batch: Mapping[str, Any], names: Iterable[str], device: torch.device) -> dict[str, Tensor]:
    """The tensors ``names`` of a batch on a device, where those in 256 levels (a quarter of the bytes) become floats.
    """
    return {name: to_floats(batch[name].to(device, non_blocking=True)) for name in names}


def _share() -> int:
    """Among how many processes of ours the machine is divided, by torchrun."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", 1))


def cores() -> int:
    """How many processors this process may use: its share of those it is bound to, or of a container's."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):  # there is no limit: the file is not there, or says "max"
        quota, period = map(int, (_GROUP / "cpu.max").read_text().split())
        bound = min(bound, quota // period)
    return max(1, bound // _share())


def free_memory() -> int:
    """Bytes of memory that this process could still fill, its share of the system's or the container's; what only holds
    copies of files counts as free.
    """
    free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2  # where nothing is known
    with contextlib.suppress(OSError, KeyError, ValueError):  # Linux
        free = 1024 * _table("/proc/meminfo")["MemAvailable:"]
        with contextlib.suppress(OSError, KeyError, ValueError):  # the limit may be "max"
            limit, used = (int((_GROUP / name).read_text()) for name in ("memory.max", "memory.current"))
            free = min(free, limit - used + _table(_GROUP / "memory.stat")["inactive_file"])
    return max(free, 0) // _share()


def _table(path: str | Path) -> dict[str, int]:
    """The first number of each line of a file of the kernel's, by its first word."""
    return {words[0]: int(words[1]) for line in Path(path).read_text().splitlines() if len(words := line.split()) > 1}
