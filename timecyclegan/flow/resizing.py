"""Flow of any frames from a network that asks for particular sizes."""
import math
from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from timecyclegan.flow import photometric_confidence


def flow_at_size(
    network: Callable[[Tensor, Tensor], Tensor], frame: Tensor, previous: Tensor, multiple: int, smallest: int
) -> tuple[Tensor, Tensor]:
    """Flow and photometric confidence of frames (N, 3, H, W), computed at a size that ``network`` can take.

    Frames are resized (bilinear) to the nearest multiples of ``multiple``, ``smallest`` at least, and the flow back;
    its dx and dy grow each with their own side. The confidence is that of the size at which the flow was computed.

    Args:
        network: (frame, previous), (N, 3, h, w) in [-1, 1], to the flow (N, 2, h, w).
    """
    height, width = frame.shape[-2:]
    size = _at_least(smallest, multiple, height, width)
    small, small_previous = (_resize(x, size) for x in (frame, previous))
    flow = network(small, small_previous)
    confidence = photometric_confidence(small, small_previous, flow)
    scale = flow.new_tensor([width / size[1], height / size[0]]).view(1, 2, 1, 1)
    return _resize(flow, (height, width)) * scale, _resize(confidence, (height, width))


def _at_least(smallest: int, multiple: int, height: int, width: int) -> tuple[int, int]:
    """The nearest allowed size; where the shorter side is too small, both grow alike."""
    grow = max(1.0, smallest / min(height, width))
    return tuple(max(smallest, multiple * math.floor(side * grow / multiple + 0.5)) for side in (height, width))


def _resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    return x if x.shape[-2:] == size else F.interpolate(x, size, mode="bilinear", align_corners=False)
