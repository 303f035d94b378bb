"""Tiny videos for the examples: a disc and a square that move and bounce, and maps that say where they are."""
import torch
from torch import Tensor


def moving_shapes(batch: int, frames: int = 5, size: int = 32) -> tuple[Tensor, Tensor]:
    """A batch drawn from torch's random numbers.

    The colours are new in every video and stay on their shapes, so a map leaves them open, but the frame before gives
    them away: what a translation frame by frame cannot know.

    Returns:
        maps (batch, frames, 1, size, size): 1 on the disc, 0 on the square, -1 elsewhere; and the video
        (batch, frames, 3, size, size), in [-1, 1].
    """
    time = torch.arange(frames).view(1, frames, 1, 1)
    start, speed = torch.rand(2, batch, 1, 2, 2) * torch.tensor([2.0, 0.3]).view(2, 1, 1, 1, 1)
    path = (start + (speed - 0.15) * time) % 2  # (batch, frames, 2 shapes, xy) in [0, 2)
    centre = 0.7 - 1.4 * (path - 1).abs()  # a triangle wave: shapes bounce between -0.7 and 0.7
    pixels = torch.linspace(-1, 1, size)
    dx = (pixels.view(1, 1, 1, 1, size) - centre[..., 0, None, None]).expand(-1, -1, -1, size, -1)
    dy = (pixels.view(1, 1, 1, size, 1) - centre[..., 1, None, None]).expand(-1, -1, -1, -1, size)
    disc = dx[:, :, :1].square() + dy[:, :, :1].square() < 0.35**2
    square = torch.maximum(dx[:, :, 1:].abs(), dy[:, :, 1:].abs()) < 0.3
    maps = torch.where(disc, 1.0, torch.where(square, 0.0, -1.0))
    colours = torch.rand(3, batch, 1, 3, 1, 1) * 2 - 1
    video = torch.where(disc, colours[0], torch.where(square, colours[1], colours[2]))
    return maps, video
