"""Loading the published weights of FlowNet2."""
from pathlib import Path
from typing import Any

import numpy as np
import torch

from timecyclegan.models.networks.flownet2_pytorch.flownet2 import FlowNet2
from timecyclegan.util.errors import UserError, failed
from timecyclegan.util.names import expanded
from timecyclegan.util.weights import without_wrappers

NAME = "FlowNet2_checkpoint.pth.tar"
SOURCE = f"{NAME}, 650 MB, is linked at https://github.com/NVIDIA/flownet2-pytorch"

# What a numpy number in a file needs. `best_EPE` may be one; numpy 1 called the module that makes it numpy.core.
_scalar = np._core.multiarray.scalar
NUMPY_SCALARS: list[Any] = [
    (_scalar, "numpy.core.multiarray.scalar"), (_scalar, "numpy._core.multiarray.scalar"), np.dtype,
    np.dtypes.Float32DType, np.dtypes.Float64DType,
]


def load_checkpoint(path: str | Path, rgb_max: float = 255.0) -> FlowNet2:
    """FlowNet2 with the weights of ``FlowNet2_checkpoint.pth.tar``, in eval mode, its parameters frozen.

    The file is read with ``weights_only=True``: it cannot run code.

    Raises:
        UserError: the file is missing, damaged, or does not fit.
    """
    try:
        with torch.serialization.safe_globals(NUMPY_SCALARS):
            checkpoint = torch.load(expanded(path), map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise UserError(f"FlowNet2's weights are not at {path}. {SOURCE}") from error
    except Exception as error:  # what a damaged file raises is anyone's guess
        what = f"{path} cannot be read"
        raise failed(what, error, f"{what}: it is damaged, or holds more than weights ({type(error).__name__}). "
                     f"{SOURCE}") from error
    with torch.device("meta"):  # no time is spent on drawing 162 million numbers that the file replaces
        network = FlowNet2(rgb_max)
    try:
        state = {name: value.float() for name, value in without_wrappers(checkpoint["state_dict"]).items()}
        network.load_state_dict(state, assign=True)
    except (AttributeError, KeyError, RuntimeError, TypeError) as error:  # other names or shapes, or no state dict
        raise UserError(f"{path} does not hold FlowNet2's weights. {SOURCE}") from error
    return network.requires_grad_(False).eval()
