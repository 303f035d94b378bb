"""The layers that all networks of FlowNet2 are made of, with the names that the published weights have."""
from torch import nn

SLOPE = 0.1  # of LeakyReLU below 0


def conv(in_channels: int, out_channels: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """(N, in, H, W) to (N, out, H / stride, W / stride)."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel, stride, padding=(kernel - 1) // 2),
        nn.LeakyReLU(SLOPE, inplace=True),
    )


def deconv(in_channels: int, out_channels: int) -> nn.Sequential:
    """(N, in, H, W) to (N, out, 2H, 2W)."""
    return nn.Sequential(
        nn.ConvTranspose2d(in_channels, out_channels, 4, stride=2, padding=1), nn.LeakyReLU(SLOPE, inplace=True)
    )


def inter_conv(in_channels: int, out_channels: int) -> nn.Sequential:
    """A convolution without activation."""
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 3, padding=1))


def predict_flow(in_channels: int) -> nn.Conv2d:
    """(N, in, H, W) to the flow (N, 2, H, W)."""
    return nn.Conv2d(in_channels, 2, 3, padding=1)


def upsampled_flow(bias: bool = True) -> nn.ConvTranspose2d:
    """The flow (N, 2, H, W) to (N, 2, 2H, 2W)."""
    return nn.ConvTranspose2d(2, 2, 4, stride=2, padding=1, bias=bias)

