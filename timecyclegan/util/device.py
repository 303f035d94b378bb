"""Which device to compute on."""
import torch

from timecyclegan.util.errors import UserError


def pick_device(gpu: int) -> torch.device:
    """``--gpu``: -1 is the CPU, as is 0 where there is no GPU.

    Raises:
        UserError: a GPU of this number does not exist.
    """
    count = torch.cuda.device_count()
    if gpu > 0 and gpu >= count:
        raise UserError(f"--gpu {gpu} does not exist, there are {count}; use a lower number, or -1 for the CPU")
    return torch.device("cuda", gpu) if 0 <= gpu < count else torch.device("cpu")
