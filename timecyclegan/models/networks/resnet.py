"""ResNet generator (Johnson et al. 2016), with the parameter names of pytorch-CycleGAN-and-pix2pix."""
import torch.nn.functional as F
from torch import Tensor, nn

from timecyclegan.models.networks.norm import ReflectionPad2d, has_bias, norm_layer


class ResnetBlock(nn.Module):
    """x + norm(conv(relu(norm(conv(x))))), with reflected borders."""

    def __init__(self, channels: int, norm: str = "instance"):
        super().__init__()
        self.conv_block = nn.Sequential(
            ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3, bias=has_bias(norm)),
            norm_layer(norm, channels),
            nn.ReLU(),
            ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3, bias=has_bias(norm)),
            norm_layer(norm, channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv_block(x)


class OutputConv2d(nn.Conv2d):
    """A convolution to few channels, without padding, that is twice as fast on a CPU; else an ``nn.Conv2d``.

    Vector units work on 8 or 16 output channels at a time, so 3 waste most of them. Here each column of the kernel
    gives channels of its own (7 * 3 for a 7x7 kernel), and the columns' results are shifted and added.
    """

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu":
            return super().forward(x)
        channels, _, height, columns = self.weight.shape
        split = self.weight.permute(0, 3, 1, 2).reshape(channels * columns, -1, height, 1)
        parts = F.conv2d(x, split).unflatten(1, (channels, columns))
        width = x.shape[-1] - columns + 1
        total = self.bias.view(-1, 1, 1)
        for column, part in enumerate(parts.unbind(2)):  # each picked by itself would have a gradient of full size
            total = total + part[..., column : column + width]
        return total


class ResnetGenerator(nn.Module):
    """(N, in_channels, H, W) to (N, out_channels, H, W) in [-1, 1].

    Two halvings, ``blocks`` residual blocks, two doublings. A size that is no multiple of 4 is padded by repeating
    its border, and the result is cropped.

    Args:
        filters: channels of the first layer; the residual blocks have four times as many.
        upsample: ``"transposed"`` (published weights need it) or ``"resize"`` (nearest neighbour, then a convolution).
        output: what is applied to the last layer; tanh where None.
        norm: see ``networks.norm``.
    """

    def __init__(
        self, in_channels: int, out_channels: int, filters: int = 64, blocks: int = 6, upsample: str = "transposed",
        output: nn.Module | None = None, norm: str = "instance",
    ):  # fmt: skip
        super().__init__()
        bias = has_bias(norm)
        layers = [ReflectionPad2d(3), nn.Conv2d(in_channels, filters, 7, bias=bias)]
        layers += [norm_layer(norm, filters), nn.ReLU()]
        for channels in (filters, 2 * filters):
            down = nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1, bias=bias)
            layers += [down, norm_layer(norm, 2 * channels), nn.ReLU()]
        layers += [ResnetBlock(4 * filters, norm) for _ in range(blocks)]
        for channels in (4 * filters, 2 * filters):
            # One slot of the network for both kinds, so that they number the layers alike.
            if upsample == "transposed":
                up = nn.ConvTranspose2d(channels, channels // 2, 3, stride=2, padding=1, output_padding=1, bias=bias)
            else:  # resizing first avoids the checkerboard of transposed convolutions (Odena et al. 2016)
                convolution = nn.Conv2d(channels, channels // 2, 3, bias=bias)
                up = nn.Sequential(nn.Upsample(scale_factor=2), ReflectionPad2d(1), convolution)
            layers += [up, norm_layer(norm, channels // 2), nn.ReLU()]
        layers += [ReflectionPad2d(3), OutputConv2d(filters, out_channels, 7), output or nn.Tanh()]
        self.model = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        below, right = -height % 4, -width % 4
        if below or right:
            x = F.pad(x, (0, right, 0, below), mode="replicate")
        return self.model(x)[..., :height, :width]
