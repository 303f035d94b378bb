"""The norm layers of ``--norm``, as pytorch-CycleGAN-and-pix2pix has them, and what keeps pictures channels last.

A tensor is channels last where the channels of a pixel lie side by side in memory (``torch.channels_last``): tensor
cores want it so, and PyTorch's own instance norm, and on a GPU its reflection padding, would copy it to the other
layout and convolutions copy it back.
"""
import torch
import torch.nn.functional as F
from torch import Tensor, nn


def norm_layer(norm: str, channels: int) -> nn.Module:
    """``instance``: each picture by its own mean and variance, without weights. ``batch``: by those of a batch while it
    trains, by their running averages when it tests; with weights (Ioffe and Szegedy 2015)."""
    return nn.BatchNorm2d(channels) if norm == "batch" else InstanceNorm2d(channels)


def has_bias(norm: str) -> bool:
    """Whether a convolution before such a layer has a bias: BatchNorm has one of its own."""
    return norm != "batch"


def is_channels_last(x: Tensor) -> bool:
    """Whether (N, C, H, W) lies in memory as (N, H, W, C), and not in both ways, as one of one channel does."""
    return x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()


class InstanceNorm2d(nn.InstanceNorm2d):
    """``nn.InstanceNorm2d`` without weights and statistics, for (N, C, H, W); the result has the layout of the input.

    Raises:
        ValueError: pictures of one pixel, which is its own mean.
    """

    def __init__(self, channels: int):
        super().__init__(channels)

    def forward(self, x: Tensor) -> Tensor:
        pictures, channels, height, width = x.shape
        if height * width == 1:
            raise ValueError(f"instance norm needs more than one pixel of each picture, not {tuple(x.shape)}")
        if is_channels_last(x):
            # Half precision holds neither the mean nor the deviations from it; a compiler makes one kernel of this.
            exact = x.float() if x.dtype in (torch.half, torch.bfloat16) else x
            variance, mean = torch.var_mean(exact, dim=(2, 3), correction=0, keepdim=True)
            scale = (variance + self.eps).rsqrt()
            return torch.addcmul(-mean * scale, exact, scale).to(x.dtype)
        if x.device.type == "cpu":  # a group for each channel: four times as fast there as its batch norm, which
            # instance norm calls, and no view, which an activation in place would have to copy
            return torch.native_group_norm(x, None, None, pictures, channels, height * width, channels, self.eps)[0]
        return F.instance_norm(x, eps=self.eps)


class ReflectionPad2d(nn.ReflectionPad2d):
    """``nn.ReflectionPad2d`` for (N, C, H, W); the result has the layout of the input, on a GPU too."""

    def forward(self, x: Tensor) -> Tensor:
        left, right, top, bottom = self.padding
        if torch.are_deterministic_algorithms_enabled():  # on a GPU, PyTorch's gradient is a sum in any order
            return mirrored(mirrored(x, 3, left, right), 2, top, bottom)
        if not is_channels_last(x):
            return super().forward(x)
        rows = x.permute(0, 2, 3, 1).unsqueeze(0)  # (1, N, H, W, C), contiguous: a volume with N as its channels
        return F.pad(rows, (0, 0, left, right, top, bottom), mode="reflect").squeeze(0).permute(0, 3, 1, 2)


def mirrored(x: Tensor, dim: int, before: int, after: int) -> Tensor:
    """``x`` with so many of its pixels repeated along ``dim`` beyond each end, in reverse, the outermost ones not."""
    first, last = x.narrow(dim, 1, before).flip(dim), x.narrow(dim, x.shape[dim] - 1 - after, after).flip(dim)
    return torch.cat([first, x, last], dim)
