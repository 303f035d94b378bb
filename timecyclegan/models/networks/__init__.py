"""Network architectures by name: the tables behind ``--generator_architecture`` and its like.

A name is looked up with :func:`generator` and :func:`discriminator`; both give the class with its architecture's
arguments filled in, so what remains are channels and filters.
"""
import re
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from torch import nn

from timecyclegan.models.networks.init import init_weights
from timecyclegan.models.networks.patchgan import PatchGAN, PixelDiscriminator
from timecyclegan.models.networks.resnet import UPSAMPLING, ResnetGenerator
from timecyclegan.models.networks.unet import UnetGenerator
from timecyclegan.util.errors import UserError

__all__ = ["UPSAMPLING", "Architecture", "define_discriminator", "define_generator", "discriminator", "generator"]


class Architecture(NamedTuple):
    """A network class with the arguments that its name implies."""

    build: Callable[..., nn.Module]  # (in_channels, [out_channels,] filters)
    size_error: Callable[[int, int], str | None]  # (height, width): why it cannot take such pictures, or None


def generator(name: str, upsample: str = "transposed", flag: str = "--generator_architecture") -> Architecture:
    """The generator architecture called ``name``: ``resnet_Nblocks`` (any N >= 1), ``unet_128`` or ``unet_256``.

    Raises:
        UserError: the name is none of these; ``flag`` is the one that the message blames.
    """
    if match := re.fullmatch(r"resnet_([1-9]\d*)blocks", name):
        return Architecture(
            partial(ResnetGenerator, blocks=int(match[1]), upsample=upsample), ResnetGenerator.size_error
        )
    if name in ("unet_128", "unet_256"):
        depth = {"unet_128": 7, "unet_256": 8}[name]
        return Architecture(
            partial(UnetGenerator, downsamplings=depth), partial(UnetGenerator.size_error, downsamplings=depth)
        )
    raise UserError(f"{flag}: {name!r} is not known; use resnet_Nblocks (such as resnet_6blocks), unet_128 or unet_256")


def discriminator(name: str, flag: str = "--discriminator_architecture") -> Architecture:
    """The discriminator architecture called ``name``: ``basic`` (3 layers), ``N_layers`` (any N >= 1) or ``pixel``.

    Raises:
        UserError: the name is none of these; ``flag`` is the one that the message blames.
    """
    if match := re.fullmatch(r"([1-9])_layers", "3_layers" if name == "basic" else name):
        layers = int(match[1])
        return Architecture(partial(PatchGAN, layers=layers), partial(PatchGAN.size_error, layers=layers))
    if name == "pixel":
        return Architecture(PixelDiscriminator, PixelDiscriminator.size_error)
    raise UserError(f"{flag}: {name!r} is not known; use basic, N_layers (such as 4_layers, 1 to 9) or pixel")


def define_generator(
    name: str, in_channels: int, out_channels: int, filters: int, upsample: str = "transposed", **flag: str
) -> nn.Module:
    """Build and initialise the generator called ``name``; it maps (N, in_channels, H, W) to (N, out_channels, H, W)."""
    return init_weights(generator(name, upsample, **flag).build(in_channels, out_channels, filters))


def define_discriminator(name: str, in_channels: int, filters: int) -> nn.Module:
    """Build and initialise the discriminator called ``name``; it maps (N, in_channels, H, W) to (N, 1, h, w)."""
    return init_weights(discriminator(name).build(in_channels, filters))
