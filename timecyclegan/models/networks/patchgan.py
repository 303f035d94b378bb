"""Discriminators of pix2pix (Isola et al. 2017), with the parameter names of pytorch-CycleGAN-and-pix2pix.

A discriminator gives a map of predictions, one for each patch that it sees; ``features`` gives what its layers saw on
the way, for feature matching.
"""
from torch import Tensor, nn

from timecyclegan.models.networks.norm import has_bias, norm_layer


class Discriminator(nn.Module):
    """A row of layers, ``model``, which a subclass sets; all but the last one end in a LeakyReLU."""

    model: nn.Sequential

    def features(self, x: Tensor) -> list[Tensor]:
        """One tensor per layer, after its activation; the prediction last."""
        return self(x, features=True)  # by way of ``forward``, as what is compiled or hooked has to be called

    def forward(self, x: Tensor, features: bool = False) -> Tensor | list[Tensor]:
        """The prediction; or, if asked, what :meth:`features` gives."""
        if not features:
            return self.model(x)
        found = []
        for layer in self.model:
            x = layer(x)
            if isinstance(layer, nn.LeakyReLU):
                found.append(x)
        return [*found, x]


class PatchGAN(Discriminator):
    """(N, in_channels, H, W) to (N, 1, h, w): judges overlapping patches, 70x70 pixels with three layers.

    Args:
        filters: channels of the first layer; deeper ones have up to eight times as many.
        layers: number of halvings.
        norm: see ``networks.norm``.
    """

    def __init__(self, in_channels: int, filters: int = 64, layers: int = 3, norm: str = "instance"):
        super().__init__()
        modules = [nn.Conv2d(in_channels, filters, 4, stride=2, padding=1), nn.LeakyReLU(0.2, True)]
        channels = filters
        for depth in range(1, layers + 1):
            wider, stride = filters * min(2**depth, 8), 2 if depth < layers else 1
            modules += [nn.Conv2d(channels, wider, 4, stride=stride, padding=1, bias=has_bias(norm))]
            modules += [norm_layer(norm, wider), nn.LeakyReLU(0.2)]
            channels = wider
        self.model = nn.Sequential(*modules, nn.Conv2d(channels, 1, 4, stride=1, padding=1))


class PixelDiscriminator(Discriminator):
    """(N, in_channels, H, W) to (N, 1, H, W): judges every pixel on its own (a "1x1 PatchGAN")."""

    def __init__(self, in_channels: int, filters: int = 64, norm: str = "instance"):
        super().__init__()
        bias = has_bias(norm)  # there the published one has no bias in the last layer either
        self.net = nn.Sequential(
            nn.Conv2d(in_channels, filters, 1), nn.LeakyReLU(0.2, True),
            nn.Conv2d(filters, 2 * filters, 1, bias=bias), norm_layer(norm, 2 * filters), nn.LeakyReLU(0.2),
            nn.Conv2d(2 * filters, 1, 1, bias=bias),
        )  # fmt: skip

    @property
    def model(self) -> nn.Sequential:
        return self.net  # the published weights' name
