"""Which device to compute on."""
import torch

from timecyclegan.util.errors import UserError, note


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
