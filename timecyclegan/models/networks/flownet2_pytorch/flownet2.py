"""FlowNet2 (Ilg et al. 2017): a stack of networks for large displacements, one for small ones, and their fusion.

FlowNetC and FlowNetS are those of Dosovitskiy et al. 2015. Layers have the names that the published weights have.
"""
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from timecyclegan.models.networks.flownet2_pytorch import ops

FLOW_SCALE = 20  # the networks work on flow divided by this
MULTIPLE = 64
SLOPE = 0.1  # of LeakyReLU below 0


def conv(in_channels: int, out_channels: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """(N, in, H, W) to (N, out, H / stride, W / stride)."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel, stride, padding=(kernel - 1) // 2),
        nn.LeakyReLU(SLOPE, inplace=True),
    )


class FlowDecoder(nn.Module):
    """Flow from coarse to fine: at each level the features are a skip connection, and features and flow from below.

    A subclass has the layers that make the skip connections. Level L is 2**L times smaller than the pictures.

    Args:
        skips: channels of the skip connections, from the coarsest level to the finest.
        decoded: channels of the features that go up, for each level but the coarsest.
        finest: the finest level.
        inter: channels of a convolution before each prediction but the coarsest; no such convolution where None.
        bias: whether the upsampling of the flow has one.
    """

    def __init__(self, skips: Sequence[int], decoded: Sequence[int], finest: int, inter: Sequence[int] | None = None,
                 bias: bool = True):
        super().__init__()
        coarsest = finest + len(decoded)
        self.levels = range(coarsest - 1, finest - 1, -1)
        self.coarsest, self.inter = coarsest, inter is not None
        self.add_module(f"predict_flow{coarsest}", nn.Conv2d(skips[0], 2, 3, padding=1))
        channels = skips[0]
        for i, level in enumerate(self.levels):
            up = nn.ConvTranspose2d(channels, decoded[i], 4, stride=2, padding=1)
            self.add_module(f"deconv{level}", nn.Sequential(up, nn.LeakyReLU(SLOPE, inplace=True)))
            doubled = nn.ConvTranspose2d(2, 2, 4, stride=2, padding=1, bias=bias)
            self.add_module(f"upsampled_flow{level + 1}_to_{level}", doubled)
            channels = skips[i + 1] + decoded[i] + 2
            if inter is not None:
                self.add_module(f"inter_conv{level}", nn.Sequential(nn.Conv2d(channels, inter[i], 3, padding=1)))
            seen = inter[i] if inter is not None else channels
            self.add_module(f"predict_flow{level}", nn.Conv2d(seen, 2, 3, padding=1))

    def decode(self, *skips: Tensor) -> Tensor:
        """Skip connections from the coarsest level to the finest, to the flow at the finest: (N, 2, h, w)."""
        layers = self._modules
        features = skips[0]
        flow = layers[f"predict_flow{self.coarsest}"](features)
        for level, skip in zip(self.levels, skips[1:], strict=True):
            up = layers[f"upsampled_flow{level + 1}_to_{level}"](flow)
            features = torch.cat([skip, layers[f"deconv{level}"](features), up], dim=1)
            seen = layers[f"inter_conv{level}"](features) if self.inter else features
            flow = layers[f"predict_flow{level}"](seen)
        return flow


class SixLevels(FlowDecoder):
    """What FlowNetC, FlowNetS and FlowNetSD share: all from the third level on; a subclass has the layers before.

    The flow has a quarter of the pictures' size.
    """

    def __init__(self, inter: Sequence[int] | None = None, bias: bool = True):
        super().__init__((1024, 512, 512, 256, 128), (512, 256, 128, 64), finest=2, inter=inter, bias=bias)
        self.conv4 = conv(256, 512, stride=2)
        self.conv4_1 = conv(512, 512)
        self.conv5 = conv(512, 512, stride=2)
        self.conv5_1 = conv(512, 512)
        self.conv6 = conv(512, 1024, stride=2)
        self.conv6_1 = conv(1024, 1024)

    def estimate(self, second: Tensor, third: Tensor) -> Tensor:
        """The flow from the features of the second and the third level."""
        fourth = self.conv4_1(self.conv4(third))
        fifth = self.conv5_1(self.conv5(fourth))
        sixth = self.conv6_1(self.conv6(fifth))
        return self.decode(sixth, fifth, fourth, third, second)


class FlowNetC(SixLevels):
    """Two pictures, (N, 6, H, W), to flow (N, 2, H/4, W/4): compares their features by correlation."""

    def __init__(self):
        super().__init__()
        self.conv1 = conv(3, 64, 7, stride=2)
        self.conv2 = conv(64, 128, 5, stride=2)
        self.conv3 = conv(128, 256, 5, stride=2)
        self.conv_redir = conv(256, 32, 1)
        self.conv3_1 = conv(32 + 441, 256)

    def forward(self, pictures: Tensor) -> Tensor:
        # Both pictures in one batch: the first half of the samples are the first pictures.
        second = self.conv2(self.conv1(torch.cat(pictures.split(3, dim=1))))
        a, b = self.conv3(second).chunk(2)
        likeness = F.leaky_relu(ops.correlation(a, b), SLOPE)
        third = self.conv3_1(torch.cat([self.conv_redir(a), likeness], dim=1))
        return self.estimate(second.chunk(2)[0], third)


class FlowNetS(SixLevels):
    """Two pictures, the second one warped by a first flow, that flow and the difference, (N, 12, H, W), to better flow.

    (N, 2, H/4, W/4).
    """

    def __init__(self):
        super().__init__(bias=False)
        self.conv1 = conv(12, 64, 7, stride=2)
        self.conv2 = conv(64, 128, 5, stride=2)
        self.conv3 = conv(128, 256, 5, stride=2)
        self.conv3_1 = conv(256, 256)

    def forward(self, x: Tensor) -> Tensor:
        second = self.conv2(self.conv1(x))
        return self.estimate(second, self.conv3_1(self.conv3(second)))


class FlowNetSD(SixLevels):
    """Two pictures, (N, 6, H, W), to flow (N, 2, H/4, W/4) of small displacements."""

    def __init__(self):
        super().__init__(inter=(512, 256, 128, 64))
        self.conv0 = conv(6, 64)
        self.conv1 = conv(64, 64, stride=2)
        self.conv1_1 = conv(64, 128)
        self.conv2 = conv(128, 128, stride=2)
        self.conv2_1 = conv(128, 128)
        self.conv3 = conv(128, 256, stride=2)
        self.conv3_1 = conv(256, 256)

    def forward(self, pictures: Tensor) -> Tensor:
        second = self.conv2_1(self.conv2(self.conv1_1(self.conv1(self.conv0(pictures)))))
        return self.estimate(second, self.conv3_1(self.conv3(second)))


class FlowNetFusion(FlowDecoder):
    """A picture, two flows, their lengths and what each leaves unexplained, (N, 11, H, W), to one flow (N, 2, H, W)."""

    def __init__(self):
        super().__init__((128, 128, 64), (32, 16), finest=0, inter=(32, 16))
        self.conv0 = conv(11, 64)
        self.conv1 = conv(64, 64, stride=2)
        self.conv1_1 = conv(64, 128)
        self.conv2 = conv(128, 128, stride=2)
        self.conv2_1 = conv(128, 128)

    def forward(self, x: Tensor) -> Tensor:
        zeroth = self.conv0(x)
        first = self.conv1_1(self.conv1(zeroth))
        return self.decode(self.conv2_1(self.conv2(first)), first, zeroth)


class FlowNet2(nn.Module):
    """Two pictures (N, 3, 2, H, W), RGB in 0..``rgb_max``, to the flow (N, 2, H, W) in pixels, dx first.

    The first picture shows at p what the second one shows at p + flow(p). H and W are multiples of 64.
    """

    def __init__(self, rgb_max: float = 255.0):
        super().__init__()
        self.rgb_max = rgb_max
        self.flownetc = FlowNetC()
        self.flownets_1 = FlowNetS()
        self.flownets_2 = FlowNetS()
        self.flownets_d = FlowNetSD()
        self.flownetfusion = FlowNetFusion()

    def forward(self, pictures: Tensor) -> Tensor:
        shape = tuple(pictures.shape)
        if len(shape) != 5 or shape[1:3] != (3, 2) or shape[3] % MULTIPLE or shape[4] % MULTIPLE or 0 in shape:
            raise ValueError(f"FlowNet2 takes (N, 3, 2, H, W), H and W multiples of {MULTIPLE}, not {shape}")
        if not torch.compiler.is_compiling():
            ops.kernels.announce(pictures.device.type)
        x = (pictures - pictures.mean(dim=(2, 3, 4), keepdim=True)) / self.rgb_max
        first, second = x.unbind(2)  # (N, 3, H, W) each
        x = torch.cat([first, second], dim=1)  # (N, 6, H, W)
        flow = _upsampled(FLOW_SCALE * self.flownetc(x), "bilinear")
        flow = _upsampled(FLOW_SCALE * self.flownets_1(self._refinement(x, flow)), "bilinear")
        large = _upsampled(FLOW_SCALE * self.flownets_2(self._refinement(x, flow)), "nearest")
        small = _upsampled(self.flownets_d(x) / FLOW_SCALE, "nearest")  # divided: so it was trained
        lengths = [ops.channelnorm(flow) for flow in (small, large)]
        errors = [ops.channelnorm(first - ops.resample2d(second, flow)) for flow in (small, large)]
        return self.flownetfusion(torch.cat([first, small, large, *lengths, *errors], dim=1))

    @staticmethod
    def _refinement(x: Tensor, flow: Tensor) -> Tensor:
        """What FlowNetS sees: both pictures (N, 6, H, W), the second one warped, the flow and what it leaves."""
        first, second = x.split(3, dim=1)
        warped = ops.resample2d(second, flow)
        return torch.cat([x, warped, flow / FLOW_SCALE, ops.channelnorm(first - warped)], dim=1)


def _upsampled(flow: Tensor, mode: str) -> Tensor:
    """Flow of a quarter of the pictures' size, at their size."""
    return F.interpolate(flow, scale_factor=4, mode=mode)
