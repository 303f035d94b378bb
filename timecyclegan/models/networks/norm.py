"""The norm layers of ``--norm``, as pytorch-CycleGAN-and-pix2pix has them."""
from torch import nn


def norm_layer(norm: str, channels: int) -> nn.Module:
    """``instance``: each picture by its own mean and variance, without weights. ``batch``: by those of a batch while it
    trains, by their running averages when it tests; with weights (Ioffe and Szegedy 2015)."""
    return nn.BatchNorm2d(channels) if norm == "batch" else nn.InstanceNorm2d(channels)


def has_bias(norm: str) -> bool:
    """Whether a convolution before such a layer has a bias: BatchNorm has one of its own."""
    return norm != "batch"
