"""Networks of DCGAN (Radford et al. 2016): pictures from a code, codes from pictures, and a discriminator.

Square pictures whose side is a power of two, 64 or more: each doubling of the side adds a layer. Where DCGAN has batch
norm there is a norm over all channels and pixels of one picture (group norm with one group): a picture then depends on
its own input alone, so that videos may be folded into batches. Instance norm would do that too, but hides from the
discriminator how bright a picture is, and did not learn on the synthetic street.
"""
from torch import Tensor, nn

from timecyclegan.models.networks.patchgan import Discriminator

CODE = 100  # numbers in a code
SMALLEST = 64
_CORE = 4  # side of the smallest feature map


def size_error(height: int, width: int) -> str | None:
    """Why these networks cannot have pictures of this size, or None."""
    if height != width or height < SMALLEST or height & (height - 1):
        return f"DCGAN networks need square pictures whose side is a power of two, {SMALLEST} or more"
    return None


def _channels(filters: int, size: int) -> list[int]:
    """Channels from the largest feature map, of side ``size / 2``, to the smallest one, of side 4."""
    halvings = (size // _CORE).bit_length() - 1
    return [filters * min(2**depth, 8) for depth in range(halvings)]


class DCGANGenerator(nn.Module):
    """(N, in_channels, 1, 1) to pictures (N, out_channels, size, size) in [-1, 1].

    Args:
        filters: channels of the last hidden layer; deeper ones have up to eight times as many.
        output: what is applied to the last layer; tanh where None.
    """

    def __init__(
        self, in_channels: int, out_channels: int, filters: int = 64, size: int = SMALLEST,
        output: nn.Module | None = None,
    ):  # fmt: skip
        super().__init__()
        widths = _channels(filters, size)[::-1]
        layers = [nn.ConvTranspose2d(in_channels, widths[0], _CORE, bias=False)]
        for channels, narrower in zip(widths, [*widths[1:], out_channels], strict=True):
            layers += [nn.GroupNorm(1, channels), nn.ReLU(True)]
            layers += [nn.ConvTranspose2d(channels, narrower, 4, stride=2, padding=1, bias=False)]
        self.model = nn.Sequential(*layers, output or nn.Tanh())

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class DCGANDiscriminator(Discriminator):
    """Pictures (N, in_channels, size, size) to (N, out_channels, 1, 1): one prediction for each, or its code.

    Args:
        filters: channels of the first layer; deeper ones have up to eight times as many.
    """

    def __init__(self, in_channels: int, filters: int = 64, size: int = SMALLEST, out_channels: int = 1):
        super().__init__()
        first, *others = _channels(filters, size)
        layers = [nn.Conv2d(in_channels, first, 4, stride=2, padding=1, bias=False), nn.LeakyReLU(0.2, True)]
        channels = first
        for wider in others:
            layers += [nn.Conv2d(channels, wider, 4, stride=2, padding=1, bias=False), nn.GroupNorm(1, wider)]
            layers += [nn.LeakyReLU(0.2, True)]
            channels = wider
        self.model = nn.Sequential(*layers, nn.Conv2d(channels, out_channels, _CORE, bias=False))


class DCGANTranslator(nn.Module):
    """(N, in_channels, size, size) to (N, out_channels, size, size) in [-1, 1], by way of a code (``dcgan_enc``)."""

    def __init__(
        self, in_channels: int, out_channels: int, filters: int = 64, size: int = SMALLEST,
        output: nn.Module | None = None,
    ):  # fmt: skip
        super().__init__()
        self.encoder = DCGANDiscriminator(in_channels, filters, size, out_channels=CODE)
        self.decoder = DCGANGenerator(CODE, out_channels, filters, size, output)

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.encoder(x))
