"""FlowNet2 (Ilg et al. 2017): a stack of networks for large displacements, one for small ones, and their fusion."""
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from timecyclegan.models.networks.flownet2_pytorch import ops
from timecyclegan.models.networks.flownet2_pytorch.networks import FlowNetC, FlowNetFusion, FlowNetS, FlowNetSD

FLOW_SCALE = 20  # the networks work on flow divided by this
MULTIPLE = 64


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
        self._check(pictures)
        if not torch.compiler.is_compiling():
            ops.library.announce(pictures.device.type)
        x = (pictures - pictures.mean(dim=(2, 3, 4), keepdim=True)) / self.rgb_max
        first, second = x.unbind(2)
        x = torch.cat([first, second], dim=1)
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

    @staticmethod
    def _check(pictures: Tensor) -> None:
        shape = tuple(pictures.shape)
        if len(shape) != 5 or shape[1:3] != (3, 2):
            raise ValueError(f"FlowNet2 takes two RGB pictures (N, 3, 2, H, W), not {shape}")
        if shape[3] % MULTIPLE or shape[4] % MULTIPLE or 0 in shape:
            raise ValueError(f"FlowNet2 takes heights and widths that are multiples of {MULTIPLE}, not {shape[3:]}")


def _upsampled(flow: Tensor, mode: str) -> Tensor:
    """Flow of a quarter of the pictures' size, at their size."""
    return F.interpolate(flow, scale_factor=4, mode=mode)
