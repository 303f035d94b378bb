"""The operations of FlowNet2: correlation, resample2d and channelnorm, each with its gradient.

Plain PyTorch (:mod:`.pytorch`) computes them, unless ``install.sh`` has built kernels for the CPU or for CUDA
(:mod:`.kernels`). Half precision is computed in float32.
"""
import functools

import torch
import torch.nn.functional as F
from torch import Tensor

from timecyclegan.models.networks.flownet2_pytorch.ops import kernels, pytorch

__all__ = ["channelnorm", "correlation", "kernels", "pytorch", "resample2d"]


def correlation(a: Tensor, b: Tensor, pad: int = 20, max_displacement: int = 20, stride1: int = 1,
                stride2: int = 2) -> Tensor:
    """Correlation of two feature maps (N, C, H, W); the defaults are FlowNetC's and give (N, 441, H, W).

    With D = 2 * (max_displacement // stride2) + 1 the result is (N, D², h, w), where h and w are (size + 2 * pad
    - 2 * max_displacement) / stride1, rounded up. Outside the maps are 0. Displacements are multiples of ``stride2``,
    the vertical one being the slow index; positions are ``stride1`` apart.

    Raises:
        ValueError: shapes that do not fit, or numbers that leave nothing.
    """
    if a.shape != b.shape or a.dim() != 4:
        raise ValueError(f"needs two maps (N, C, H, W) of one shape, not {tuple(a.shape)} and {tuple(b.shape)}")
    if min(pad, max_displacement) < 0 or min(stride1, stride2) < 1:
        raise ValueError("pad and max_displacement must be at least 0, stride1 and stride2 at least 1")
    surplus = pad - max_displacement
    if min(a.shape[2:]) + 2 * surplus < 1:
        raise ValueError(f"{tuple(a.shape)} is too small for pad {pad} and max_displacement {max_displacement}")
    if surplus > 0:
        a, b = (F.pad(x, (surplus,) * 4) for x in (a, b))
    out = _run("correlation", a, b, max_displacement // stride2, stride2)
    lost = max(-surplus, 0)
    return out[..., lost:out.shape[2] - lost:stride1, lost:out.shape[3] - lost:stride1]


def resample2d(image: Tensor, flow: Tensor) -> Tensor:
    """The image (N, C, H, W) at p + flow(p), bilinear, for each p of the flow (N, 2, h, w), dx first: (N, C, h, w).

    Outside the image its border goes on.

    Raises:
        ValueError: shapes that do not fit.
    """
    if image.dim() != 4 or flow.dim() != 4 or flow.shape[1] != 2 or flow.shape[0] != image.shape[0]:
        raise ValueError(f"needs (N, C, H, W) and (N, 2, h, w), not {tuple(image.shape)} and {tuple(flow.shape)}")
    return _run("resample2d", image, flow)


def channelnorm(x: Tensor) -> Tensor:
    """The Euclidean norm over channels, (N, C, H, W) to (N, 1, H, W); its gradient at 0 is 0.

    Raises:
        ValueError: another number of dimensions.
    """
    if x.dim() != 4:
        raise ValueError(f"needs (N, C, H, W), not {tuple(x.shape)}")
    return _run("channelnorm", x)


def _run(name: str, *args: Tensor | int) -> Tensor:
    """An operation, computed in the widest type of the tensors, at least float32; the result is of the first's type."""
    dtypes = [x.dtype for x in args if isinstance(x, Tensor)]
    dtype = functools.reduce(torch.promote_types, dtypes, torch.float32)
    version = torch.ops.timecyclegan if kernels.computes(args[0].device.type) else pytorch
    return getattr(version, name)(*(x.to(dtype) if isinstance(x, Tensor) else x for x in args)).to(dtypes[0])
