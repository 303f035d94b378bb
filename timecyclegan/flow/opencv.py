"""OpenCV's flow, which needs no weights: on the CPU, pictures in 8-bit gray."""
import numpy as np
import torch
from torch import Tensor

from timecyclegan.datasets.frames import to_uint8
from timecyclegan.evaluation import flow as uint8_flow
from timecyclegan.flow import photometric_confidence


def farneback(frame: Tensor, previous: Tensor) -> tuple[Tensor, Tensor]:
    """Farneback's flow with TecoGAN's parameters, see ``evaluation.flow.farneback``; a back end."""
    pairs = zip(to_uint8(frame), to_uint8(previous), strict=True)
    flows = np.stack([uint8_flow.farneback(first, second) for first, second in pairs])  # (N, H, W, 2)
    flow = torch.from_numpy(flows).movedim(-1, 1).to(frame)
    return flow, photometric_confidence(frame, previous, flow)
