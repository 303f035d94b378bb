"""RAFT (Teed and Deng 2020), torchvision's networks and weights."""
from pathlib import Path

import torch
from torch import Tensor

from timecyclegan.flow.resizing import flow_at_size
from timecyclegan.util.errors import UserError
from timecyclegan.util.hub import hub_file, load_published

MULTIPLE = 8
SMALLEST = 128  # the coarsest of its four correlation levels needs two pixels


class _Raft:
    """A back end. Frames are resized to multiples of 8, 128 pixels at least.

    Raises:
        UserError: no weights, or a file that does not hold them.
    """

    architecture: str  # torchvision.models.optical_flow's name

    def __init__(self, weights: str = ""):
        from torchvision.models import optical_flow

        enum = optical_flow.Raft_Large_Weights if self.architecture == "raft_large" else optical_flow.Raft_Small_Weights
        url = enum.DEFAULT.url
        self.file = Path(weights) if weights else hub_file(url)
        if weights:
            from timecyclegan.util.weights import load

            state = load(weights)
        else:
            state = load_published(url, f"RAFT ({self.architecture})", "use --flow_backend farneback")
        with torch.device("meta"):
            self.network = getattr(optical_flow, self.architecture)(weights=None)
        try:
            self.network.load_state_dict(state, assign=True)
        except (AttributeError, RuntimeError, TypeError) as error:
            raise UserError(f"{weights or url} does not hold the weights of {self.architecture}, see {url}") from error
        self.network.requires_grad_(False).eval()

    @torch.no_grad()
    def __call__(self, frame: Tensor, previous: Tensor) -> tuple[Tensor, Tensor]:
        self.network.to(frame.device)
        return flow_at_size(self._last, frame, previous, MULTIPLE, SMALLEST)

    def _last(self, frame: Tensor, previous: Tensor) -> Tensor:
        return self.network(frame.contiguous(), previous.contiguous())[-1]


class RaftLarge(_Raft):
    """RAFT, 5.3 million parameters."""

    architecture = "raft_large"


class RaftSmall(_Raft):
    """RAFT, 1.0 million parameters."""

    architecture = "raft_small"
