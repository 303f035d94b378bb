"""FlowNet2 (Ilg et al. 2017) as a back end, with the input convention of the 2020 release."""
from pathlib import Path

import torch
from torch import Tensor

from timecyclegan.flow.resizing import flow_at_size
from timecyclegan.models.networks.flownet2_pytorch.checkpoint import NAME, load_checkpoint
from timecyclegan.util.hub import hub_file

MULTIPLE = 64
SMALLEST = 256
RGB_MAX = 1.0  # with frames in [-1, 1]: twice the contrast of 0..255 with 255, as the 2020 release and vid2vid had it


class FlowNet2Flow:
    """A back end. Frames are resized to multiples of 64, the shorter side to 256 pixels at least.

    Raises:
        UserError: no weight file, or it does not hold FlowNet2's weights.
    """

    def __init__(self, weights: str = ""):
        self.file = Path(weights) if weights else hub_file(NAME)
        self.network = load_checkpoint(self.file, RGB_MAX)

    @torch.no_grad()
    def __call__(self, frame: Tensor, previous: Tensor) -> tuple[Tensor, Tensor]:
        self.network.to(frame.device)
        return flow_at_size(self._pair, frame.float(), previous.float(), MULTIPLE, SMALLEST)

    def _pair(self, frame: Tensor, previous: Tensor) -> Tensor:
        return self.network(torch.stack([frame, previous], dim=2))
