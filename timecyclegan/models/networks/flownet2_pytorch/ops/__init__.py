"""The operations of FlowNet2: correlation, resample2d and channelnorm, each with its gradient.

Plain PyTorch (:mod:`.pytorch`) computes them, unless ``install.sh`` has built kernels for the CPU or for CUDA
(:mod:`.kernels`). Half precision is computed in float32.
"""
import functools

import torch
from torch import Tensor

from timecyclegan.models.networks.flownet2_pytorch.ops import kernels, pytorch

__all__ = ["channelnorm", "correlation", "kernels", "pytorch", "resample2d"]


def correlation(a: Tensor, b: Tensor, radius: int = 10, stride: int = 2) -> Tensor:
    """:func:`.pytorch.correlation`; two feature maps (N, C, H, W) to (N, (2 radius + 1)², H, W), FlowNetC's 441."""
    return _run("correlation", a, b, radius, stride)


def resample2d(image: Tensor, flow: Tensor) -> Tensor:
    """:func:`timecyclegan.losses.warp.warp`; (N, C, H, W) and the flow (N, 2, h, w) to (N, C, h, w)."""
    return _run("resample2d", image, flow)


def channelnorm(x: Tensor) -> Tensor:
    """The Euclidean norm over channels, (N, C, H, W) to (N, 1, H, W); its gradient at 0 is 0."""
    return _run("channelnorm", x)


def _run(name: str, *args: Tensor | int) -> Tensor:
    """An operation, computed in the widest type of the tensors, at least float32; the result is of the first's type."""
    dtypes = [x.dtype for x in args if isinstance(x, Tensor)]
    dtype = functools.reduce(torch.promote_types, dtypes, torch.float32)
    version = torch.ops.timecyclegan if kernels.computes(args[0].device.type) else pytorch
    return getattr(version, name)(*(x.to(dtype) if isinstance(x, Tensor) else x for x in args)).to(dtypes[0])
