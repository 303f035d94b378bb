"""Network architectures by name: the tables behind ``--generator_architecture`` and its like.

A name is looked up with :func:`generator` and :func:`discriminator`; both give the class with its architecture's
arguments filled in, so what remains are channels and filters.
"""
import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from timecyclegan.models.networks import dcgan
from timecyclegan.models.networks.patchgan import Discriminator, PatchGAN, PixelDiscriminator
from timecyclegan.models.networks.resnet import ResnetGenerator
from timecyclegan.models.networks.unet import UnetGenerator
from timecyclegan.util.errors import UserError, unknown


class Architecture(NamedTuple):
    """A network class with the arguments that its name implies."""

    build: Callable[..., nn.Module]  # (in_channels, [out_channels,] filters)
    size_error: Callable[[int, int], str | None] = lambda *_: None  # (height, width): why it cannot take them, or None
    takes_code: bool = False  # a generator's input is a code (N, channels, 1, 1), not pictures


def at_least(pixels: int, who: str) -> Callable[[int, int], str | None]:
    """The ``size_error`` of a network that needs so many pixels on the shorter side."""
    return lambda *size: f"{who} needs at least {pixels}x{pixels} pixels" if min(size) < pixels else None


def generator(
    name: str, upsample: str = "transposed", flag: str = "--generator_architecture", size: int = dcgan.SMALLEST,
    output: nn.Module | None = None, norm: str = "instance",
) -> Architecture:  # fmt: skip
    """The generator architecture called ``name``: ``resnet_Nblocks`` (any N >= 1), ``unet_128`` or ``unet_256``,
    ``dcgan`` (from a code) or ``dcgan_enc`` (from pictures).

    Args:
        size: side of the pictures, which only DCGAN's networks ask for.
        output: what is applied to the last layer; tanh where None.
        norm: see ``networks.norm``; DCGAN's networks have one of their own.

    Raises:
        UserError: the name is none of these; ``flag`` is the one that the message blames.
    """
    if match := re.fullmatch(r"resnet_([1-9]\d*)blocks", name):
        build = partial(ResnetGenerator, blocks=int(match[1]), upsample=upsample, norm=norm)
        # Padded to 8: the residual blocks reflect one pixel at a quarter of the size.
        size_error = at_least(5, "a ResNet generator")
    elif depth := {"unet_128": 7, "unet_256": 8}.get(name):
        build = partial(UnetGenerator, downsamplings=depth, norm=norm)
        size_error = partial(UnetGenerator.size_error, downsamplings=depth)
    elif network := {"dcgan": dcgan.DCGANGenerator, "dcgan_enc": dcgan.DCGANTranslator}.get(name):
        build, size_error = partial(network, size=size), dcgan.size_error
    else:
        raise unknown(flag, name, ("resnet_6blocks", "resnet_Nblocks", "unet_128", "unet_256", "dcgan", "dcgan_enc"))
    return Architecture(partial(build, output=output), size_error, takes_code=name == "dcgan")


def discriminator(name: str, size: int = dcgan.SMALLEST, norm: str = "instance") -> Architecture:
    """The discriminator architecture called ``name``: ``basic`` (3 layers), ``N_layers`` (N from 1 to 9), ``pixel``,
    or ``dcgan``, which judges whole pictures of side ``size``. ``norm``: as for :func:`generator`.

    Raises:
        UserError: the name is none of these.
    """
    if match := re.fullmatch(r"([1-9])_layers", "3_layers" if name == "basic" else name):
        layers = int(match[1])
        # Two convolutions follow the halvings, each takes a pixel; one is left for the prediction.
        size_error = at_least(3 * 2**layers, f"a PatchGAN of {layers} layers")
        return Architecture(partial(PatchGAN, layers=layers, norm=norm), size_error)
    if name == "pixel":
        return Architecture(partial(PixelDiscriminator, norm=norm))
    if name == "dcgan":
        return Architecture(partial(dcgan.DCGANDiscriminator, size=size), dcgan.size_error)
    raise unknown("--discriminator_architecture", name, ("basic", "N_layers", "4_layers", "pixel", "dcgan"))


def define_generator(
    name: str, in_channels: int, out_channels: int, filters: int, upsample: str = "transposed", **lookup
) -> nn.Module:
    """Build and initialise the generator called ``name``; it maps (N, in_channels, H, W) to (N, out_channels, H, W).

    ``lookup``: the other arguments of :func:`generator`.
    """
    return init_weights(generator(name, upsample, **lookup).build(in_channels, out_channels, filters))


def define_discriminator(name: str, in_channels: int, filters: int, **lookup) -> nn.Module:
    """Build and initialise the discriminator called ``name``; it maps (N, in_channels, H, W) to (N, 1, h, w).

    ``lookup``: the other arguments of :func:`discriminator`.
    """
    return init_weights(discriminator(name, **lookup).build(in_channels, filters))


class ResidualMotionModel(nn.Module):
    """The nearest known frame plus what ``network`` makes of the input; its last convolution begins near 0.

    (N, in_channels, H, W), whose last ``channels`` are that frame, to (N, channels, H, W), not bounded. It begins
    close to the identity, so that gradients neither grow nor fade along a walk of any length, while a chain of
    networks drawn from N(0, 0.02) with instance norm multiplies them at every frame. (Residual learning: He et al.
    2016; a last layer that begins at 0: Zhang et al. 2019, "Fixup".)
    """

    def __init__(self, network: nn.Module, channels: int):
        super().__init__()
        self.network, self.channels = network, channels
        last = [module for module in network.modules() if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d))][-1]
        with torch.no_grad():
            last.weight.mul_(0.01)  # not 0, which would keep the other layers out of the first step

    def forward(self, x: Tensor) -> Tensor:
        return x[:, -self.channels :] + self.network(x)


def define_motion_model(
    name: str, in_channels: int, out_channels: int, filters: int, residual: bool = True, **lookup
) -> nn.Module:
    """Build and initialise a network that predicts a frame, (N, out_channels, H, W), from [condition, known frames],
    (N, in_channels, H, W), the nearest one last.

    Args:
        residual: what it predicts is the change since the nearest known frame (:class:`ResidualMotionModel`); else
            the frame itself, in [-1, 1], as the 2020 release's.
        lookup: the other arguments of :func:`generator`.
    """
    if not residual:
        return define_generator(name, in_channels, out_channels, filters, **lookup)
    change = define_generator(name, in_channels, out_channels, filters, output=nn.Identity(), **lookup)
    return ResidualMotionModel(change, out_channels)


def init_weights(network: nn.Module, std: float = 0.02) -> nn.Module:
    """Draw convolution and linear weights from N(0, std), norm scales from N(1, std); biases are 0.

    The DCGAN initialisation (Radford et al. 2016, section 3) that pix2pix and CycleGAN share. Changes ``network`` in
    place and returns it.
    """
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            nn.init.normal_(module.weight, 0.0, std)
        elif isinstance(module, (nn.BatchNorm2d, nn.GroupNorm)) and module.affine:
            nn.init.normal_(module.weight, 1.0, std)
        else:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    return network


# ---- how they run

_WHOLE = (ResidualMotionModel, ResnetGenerator, UnetGenerator, dcgan.DCGANGenerator, dcgan.DCGANTranslator,
          Discriminator)  # fmt: skip
_GRAPHS = 64  # of one network, before PyTorch gives up: by what it is asked for, which gradients, and of one picture


def compile_networks(model: nn.Module, backend: str | Callable = "inductor") -> None:
    """Let PyTorch compile each network below ``model`` at its first call; modules, their names and weights stay.

    Each becomes one graph for every use of it (gradients of its weights, of the pictures, of both; with or without
    features), with heights and widths as they are and any number of pictures. What was compiled before is forgotten.
    Second derivatives, as gradient penalties need them, cannot be had of such networks, nor can a graph be kept
    (``retain_graph``); ``torch.compiler.set_stance("force_eager")`` has them run as they were.

    Args:
        backend: see ``torch.compile``.

    Raises:
        UserError: it cannot compile anything on this machine.
    """
    torch.compiler.reset()  # sizes that a former model had are not to be left open
    try:
        torch.compile(torch.neg, backend=backend)(torch.zeros(2, device=next(model.parameters()).device))
    except Exception as error:  # of the compiler, whichever it is
        said = str(error).strip().partition("\n")[0]
        raise UserError(f"--compile cannot compile here ({type(error).__name__}: {said}): install what torch.compile "
                        "needs, a C++ compiler for the CPU and Triton for a GPU, or leave --compile out") from error
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, _GRAPHS)
    for network in dict.fromkeys(_whole(model)):
        network.compile(fullgraph=True, backend=backend)


def _whole(module: nn.Module) -> Iterator[nn.Module]:
    """The networks below it that are no part of others."""
    if isinstance(module, _WHOLE):
        yield module
    else:
        for child in module.children():
            yield from _whole(child)
