"""The three operations in plain PyTorch: for every device and type, and what kernels must equal."""
import torch
import torch.nn.functional as F
from torch import Tensor

from timecyclegan.losses.warp import warp as resample2d

__all__ = ["channelnorm", "correlation", "resample2d"]


def correlation(a: Tensor, b: Tensor, radius: int, stride: int) -> Tensor:
    """Mean over channels of a(p) b(p + d) for displacements d in {-radius, ..., radius}² * stride; b is 0 outside.

    (N, C, H, W) twice to (N, (2 radius + 1)², H, W); the vertical displacement is the slow index (Dosovitskiy et al.
    2015, FlowNet, equation 1 with patches of one pixel).
    """
    height, width = a.shape[2:]
    padded = F.pad(b, (radius * stride,) * 4)
    offsets = range(0, (2 * radius + 1) * stride, stride)
    return torch.stack([(a * padded[..., y : y + height, x : x + width]).mean(1) for y in offsets for x in offsets], 1)


def channelnorm(x: Tensor) -> Tensor:
    """The Euclidean norm over channels: (N, C, H, W) to (N, 1, H, W)."""
    square = x.square().sum(1, keepdim=True)
    norm = square.detach().sqrt()
    # The norm as it is, with FlowNet2's gradient, x / (norm + 1e-9), which is 0 where the norm is.
    return norm + (square - square.detach()) / (2 * (norm + 1e-9))
