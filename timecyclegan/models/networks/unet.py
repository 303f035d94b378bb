"""U-Net generator of pix2pix (Isola et al. 2017), with the parameter names of pytorch-CycleGAN-and-pix2pix.

Without pix2pix's dropout: it would make every call of the network another one, while TimeCycle compares calls.
"""
import torch
from torch import Tensor, nn

from timecyclegan.models.networks.norm import has_bias, norm_layer
from timecyclegan.util.errors import UserError


class UnetBlock(nn.Module):
    """Halve, apply ``inside``, double, and append the result to the input.

    The outermost block has no skip connection and ends in the activation ``outermost``; the innermost has nothing
    inside.
    """

    def __init__(self, outer: int, inner: int, in_channels: int | None = None, inside: nn.Module | None = None,
                 outermost: nn.Module | None = None, norm: str = "instance"):
        super().__init__()
        self.outermost = outermost is not None
        bias = has_bias(norm)
        down = nn.Conv2d(outer if in_channels is None else in_channels, inner, 4, stride=2, padding=1, bias=bias)
        up = nn.ConvTranspose2d(inner if inside is None else 2 * inner, outer, 4, stride=2, padding=1,
                                bias=bias or self.outermost)  # fmt: skip
        # Nothing here works in place: the skip connection needs the input as it came.
        if outermost is not None:
            layers = [down, inside, nn.ReLU(), up, outermost]
        elif inside is None:
            layers = [nn.LeakyReLU(0.2), down, nn.ReLU(), up, norm_layer(norm, outer)]
        else:
            layers = [nn.LeakyReLU(0.2), down, norm_layer(norm, inner), inside]
            layers += [nn.ReLU(), up, norm_layer(norm, outer)]
        self.model = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x) if self.outermost else torch.cat([x, self.model(x)], dim=1)


class UnetGenerator(nn.Module):
    """(N, in_channels, H, W) to (N, out_channels, H, W) in [-1, 1]; H and W are multiples of 2**downsamplings.

    Args:
        filters: channels of the first layer; deeper layers have up to eight times as many.
        downsamplings: 7 for ``unet_128``, 8 for ``unet_256``.
        output: what is applied to the last layer; tanh where None.
        norm: see ``networks.norm``.
    """

    def __init__(
        self, in_channels: int, out_channels: int, filters: int = 64, downsamplings: int = 8,
        output: nn.Module | None = None, norm: str = "instance",
    ):  # fmt: skip
        super().__init__()
        self.downsamplings = downsamplings
        block = UnetBlock(8 * filters, 8 * filters, norm=norm)
        for _ in range(downsamplings - 5):
            block = UnetBlock(8 * filters, 8 * filters, inside=block, norm=norm)
        for outer in (4 * filters, 2 * filters, filters):
            block = UnetBlock(outer, 2 * outer, inside=block, norm=norm)
        self.model = UnetBlock(out_channels, filters, in_channels, block, output or nn.Tanh(), norm)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        if wrong := self.size_error(height, width, self.downsamplings):
            raise UserError(f"{wrong}, not {height}x{width}")
        return self.model(x)

    @staticmethod
    def size_error(height: int, width: int, downsamplings: int = 8) -> str | None:
        """Why the network cannot take pictures of this size, or None."""
        multiple = 2**downsamplings
        if height % multiple or width % multiple:
            return f"unet_{multiple} needs a height and a width that are multiples of {multiple}"
        return None
