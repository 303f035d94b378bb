"""Networks as back ends: RAFT (Teed and Deng 2020) as torchvision has it, and FlowNet2 (Ilg et al. 2017)."""
import math
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from timecyclegan.flow import photometric_confidence
from timecyclegan.models.networks.flownet2_pytorch.checkpoint import NAME, load_checkpoint
from timecyclegan.util.errors import UserError
from timecyclegan.util.hub import hub_file, load_published
from timecyclegan.util.weights import load, without_wrappers


class Network:
    """A back end of a network that takes pictures of particular sizes only; a subclass sets it and its weight file.

    Frames of any size are resized (bilinear) to the nearest multiples of ``multiple``, ``smallest`` at least (both
    sides grow alike where the shorter one is too small), and the flow back; its dx and dy grow each with their own
    side. The confidence is that of the size at which the flow was computed. Both are float32, inside autocast too.
    """

    file: Path
    network: nn.Module
    multiple: int  # of which the sides must be
    smallest: int  # pixels of a side

    def pair(self, frame: Tensor, previous: Tensor) -> Tensor:
        """The network's flow (N, 2, h, w) of two pictures (N, 3, h, w)."""
        raise NotImplementedError

    @torch.no_grad()
    def __call__(self, frame: Tensor, previous: Tensor) -> tuple[Tensor, Tensor]:
        self.network.to(frame.device)
        height, width = frame.shape[-2:]
        grow = max(1.0, self.smallest / min(height, width))
        h, w = (max(self.smallest, self.multiple * math.floor(side * grow / self.multiple + 0.5))
                for side in (height, width))  # fmt: skip
        # Whoever trains in half precision has the flow in full: bfloat16 tells 30 px from 30.125 px and no closer.
        with torch.autocast(frame.device.type, enabled=False):
            frame, previous = (_resize(x.float(), (h, w)) for x in (frame, previous))
            flow = self.pair(frame, previous)
            confidence = photometric_confidence(frame, previous, flow)
            scale = flow.new_tensor([width / w, height / h]).view(1, 2, 1, 1)  # of dx and dy
            return _resize(flow, (height, width)) * scale, _resize(confidence, (height, width))


def _resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    return x if x.shape[-2:] == size else F.interpolate(x, size, mode="bilinear", align_corners=False)


class RaftLarge(Network):
    """RAFT, 5.3 million parameters. Frames are resized to multiples of 8, 128 pixels at least.

    Raises:
        UserError: no weights, or a file that does not hold them.
    """

    architecture = "raft_large"  # torchvision's name
    multiple = 8
    smallest = 128  # the coarsest of its four correlation levels needs two pixels

    def __init__(self, weights: str = ""):
        from torchvision import models

        url = models.get_model_weights(self.architecture).DEFAULT.url
        self.file = Path(weights) if weights else hub_file(url)
        instead = "use --flow_backend farneback"
        state = load(weights) if weights else load_published(url, f"RAFT ({self.architecture})", instead)
        with torch.device("meta"):
            self.network = models.get_model(self.architecture, weights=None)
        try:
            self.network.load_state_dict(without_wrappers(state), assign=True)
        except (AttributeError, RuntimeError, TypeError) as error:
            raise UserError(f"{weights or url} does not hold the weights of {self.architecture}, see {url}") from error
        self.network.requires_grad_(False).eval()

    def pair(self, frame: Tensor, previous: Tensor) -> Tensor:
        return self.network(frame.contiguous(), previous.contiguous())[-1]  # the last of its refinements


class RaftSmall(RaftLarge):
    """RAFT, 1.0 million parameters."""

    architecture = "raft_small"


class FlowNet2Flow(Network):
    """FlowNet2. Frames are resized to multiples of 64, the shorter side to 256 pixels at least.

    Raises:
        UserError: no weight file, or it does not hold FlowNet2's weights.
    """

    multiple = 64
    smallest = 256
    RGB_MAX = 1.0  # with frames in [-1, 1]: twice the contrast of 0..255 with 255, as the 2020 release and vid2vid had

    def __init__(self, weights: str = ""):
        self.file = Path(weights) if weights else hub_file(NAME)
        self.network = load_checkpoint(self.file, self.RGB_MAX)

    def pair(self, frame: Tensor, previous: Tensor) -> Tensor:
        return self.network(torch.stack([frame, previous], dim=2))  # (N, 3, 2, h, w)
