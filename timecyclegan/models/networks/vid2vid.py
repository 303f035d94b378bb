"""The generator of vid2vid (Wang et al. 2018): a new picture and the last one, moved, blended by a mask."""
import contextlib
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from timecyclegan.losses.warp import warp

FLOW_SCALE = 20.0  # pixels for an output of 1
CHANNELS = 3
NO_PICTURE = 1.5  # a value beyond this, rounding aside, is in no picture, but surely in N(0, 1) noise of its size
HEADS = CHANNELS + 2 + 1  # picture, flow, mask


class Parts(NamedTuple):
    """A generated frame (N, 3, H, W) and what it was blended of."""

    frame: Tensor
    flow: Tensor  # (N, 2, H, W) in pixels, from the frame back to the one before
    mask: Tensor  # (N, 1, H, W) in [0, 1]: the share of the new picture


class Heads(nn.Module):
    """(N, 6, H, W) of raw outputs to a picture in [-1, 1], a flow in pixels and a mask in [0, 1]."""

    def forward(self, x: Tensor) -> Tensor:
        picture, flow, mask = x.split([CHANNELS, 2, 1], dim=1)
        return torch.cat([picture.tanh(), FLOW_SCALE * flow, mask.sigmoid()], dim=1)


class Vid2VidGenerator(nn.Module):
    """(N, in_channels, H, W), of which the last three channels are the frame before, to the next frame (N, 3, H, W).

    The heads are output channels of one network: its last layer's channels share what is below and nothing else.

    Args:
        network: maps (N, in_channels, H, W) to (N, :data:`HEADS`, H, W), its last activation is :class:`Heads`.
    """

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network
        self._record: list[Parts] | None = None

    def parts(self, x: Tensor) -> Parts:
        """The next frame with the flow and the mask that made it."""
        picture, flow, mask = self.network(x).split([CHANNELS, 2, 1], dim=1)
        before = x[:, -CHANNELS:]
        # Nothing of the noise before the first frame is to be seen: there the picture is all new.
        is_noise = (before.abs() > NO_PICTURE).flatten(1).any(1).view(-1, 1, 1, 1)
        mask = torch.where(is_noise, torch.ones_like(mask), mask)
        moved = warp(before.clamp(-1, 1), flow)
        return Parts(mask * picture + (1 - mask) * moved, flow, mask)

    @contextlib.contextmanager
    def recording(self, made: list[Parts]) -> Iterator[None]:
        """While the block runs, append the parts of every frame to ``made``."""
        self._record = made
        try:
            yield
        finally:
            self._record = None

    def forward(self, x: Tensor) -> Tensor:
        parts = self.parts(x)
        if self._record is not None:
            self._record.append(parts)
        return parts.frame


def start_still(network: nn.Module) -> None:
    """Let the flow begin at 0: random weights would begin with pixels of it, and move everything about.

    ``network`` is that of a :class:`Vid2VidGenerator`, changed in place.
    """
    last = [layer for layer in network.modules() if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d))][-1]
    kernels = last.weight.transpose(0, 1) if isinstance(last, nn.ConvTranspose2d) else last.weight
    with torch.no_grad():
        for parameter in (kernels, last.bias):
            if parameter is not None:
                parameter[CHANNELS : CHANNELS + 2] = 0
