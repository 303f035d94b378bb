"""How far a flow can be trusted, judged by the frames themselves or by a second flow."""
from collections.abc import Callable

import torch
from torch import Tensor

from timecyclegan.losses.warp import warp

FlowBackend = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]  # see ``timecyclegan.flow``

TOLERANCE = 0.02  # of FlowNet2's wrapper: squared difference, summed over the channels of pictures in [-1, 1]


def photometric_confidence(frame: Tensor, previous: Tensor, flow: Tensor) -> Tensor:
    """1 where ``previous``, warped by the flow, looks like ``frame``, else 0; (N, 1, H, W).

    The rule of FlowNet2's wrapper in vid2vid (Wang et al. 2018).
    """
    squared = (frame - warp(previous, flow)).square().sum(dim=1, keepdim=True)
    return (squared < TOLERANCE).to(frame.dtype)


def consistency(flow: Tensor, forward: Tensor) -> Tensor:
    """1 where the ``forward`` flow leads back to where ``flow`` came from, inside the frame, else 0; (N, 1, H, W).

    With p' = p + flow(p): |forward(p') + flow(p)|^2 <= 0.01 (|forward(p')|^2 + |flow(p)|^2) + 0.5 (Sundaram et al.
    2010, as the E_warp of Lai et al. 2018).
    """
    found = warp(forward, flow)
    apart, sizes = (found + flow).square().sum(1), found.square().sum(1) + flow.square().sum(1)
    height, width = flow.shape[-2:]
    x = torch.arange(width, device=flow.device) + flow[:, 0]
    y = torch.arange(height, device=flow.device)[:, None] + flow[:, 1]
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    return ((apart <= 0.01 * sizes + 0.5) & inside).to(flow.dtype)[:, None]


def checked_both_ways(backend: FlowBackend) -> FlowBackend:
    """``backend`` with a second flow, from ``previous`` to ``frame``: confident only where the two agree as well."""

    def both_ways(frame: Tensor, previous: Tensor) -> tuple[Tensor, Tensor]:
        flow, confidence = backend(frame, previous)
        forward, _ = backend(previous, frame)
        return flow, confidence * consistency(flow, forward)

    return both_ways
