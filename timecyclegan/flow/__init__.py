"""Optical flow of two frames, from any of several back ends.

A back end is a callable ``(frame, previous) -> (flow, confidence)``: from two batches (N, 3, H, W) in [-1, 1] it gives
the flow (N, 2, H, W), in pixels, that leads from ``frame`` back to ``previous``, and how far it can be trusted,
(N, 1, H, W) in [0, 1].
"""
import importlib
from collections.abc import Callable

from torch import Tensor

from timecyclegan.losses.warp import warp
from timecyclegan.util.errors import unknown

FlowBackend = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]

# name: (module, function or class without arguments)
BACKENDS = {"farneback": ("timecyclegan.flow.opencv", "farneback")}
TOLERANCE = 0.02  # of FlowNet2's wrapper: squared difference, summed over the channels of pictures in [-1, 1]


def flow_backend(name: str) -> FlowBackend:
    """The back end called ``name``.

    Raises:
        UserError: there is none; the nearest is suggested.
    """
    if name not in BACKENDS:
        raise unknown("--flow_backend", name, BACKENDS)
    module, attribute = BACKENDS[name]
    return getattr(importlib.import_module(module), attribute)


def photometric_confidence(frame: Tensor, previous: Tensor, flow: Tensor) -> Tensor:
    """1 where ``previous``, warped by the flow, looks like ``frame``, else 0; (N, 1, H, W)."""
    squared = (frame - warp(previous, flow)).square().sum(dim=1, keepdim=True)
    return (squared < TOLERANCE).to(frame.dtype)
