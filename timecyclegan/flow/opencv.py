"""OpenCV's flow, which needs no weights: on the CPU, from pictures in 8-bit gray."""
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import torch
from torch import Tensor

from timecyclegan.flow import photometric_confidence
from timecyclegan.video.frames import to_uint8

DIS_SMALLEST = 16  # pixels on the shorter side; OpenCV fails, or crashes, below


def farneback(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Flow from ``first`` to ``second``, both uint8 (H, W, 3) RGB, as float32 (H, W, 2).

    Farneback, "Two-frame motion estimation based on polynomial expansion", 2003, on 8-bit gray with the
    parameters of TecoGAN (Chu et al. 2020).
    """
    return cv2.calcOpticalFlowFarneback(*_gray(first, second), None, pyr_scale=0.5, levels=3, winsize=15, iterations=3,
                                        poly_n=5, poly_sigma=1.2, flags=0)  # fmt: skip


def dis(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Flow from ``first`` to ``second``, both uint8 (H, W, 3) RGB, as float32 (H, W, 2).

    Dense inverse search (Kroeger et al. 2016), OpenCV's preset "medium". Smaller frames than it can take are enlarged
    by repeating their border.
    """
    height, width = first.shape[:2]
    below, right = max(DIS_SMALLEST - height, 0), max(DIS_SMALLEST - width, 0)
    if below or right:
        first, second = (np.pad(image, ((0, below), (0, right), (0, 0)), mode="edge") for image in (first, second))
    # One for each call: it keeps buffers, so threads cannot share one.
    flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(*_gray(first, second), None)
    return np.ascontiguousarray(flow[:height, :width])


def _gray(*images: np.ndarray) -> list[np.ndarray]:
    return [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in images]


class Farneback:
    """Farneback's flow as a back end, see :func:`farneback`: pair by pair, several of them at a time."""

    file = None
    compute = staticmethod(farneback)

    def __init__(self, _weights: str = ""):
        pass

    def __call__(self, frame: Tensor, previous: Tensor) -> tuple[Tensor, Tensor]:
        # OpenCV releases the interpreter's lock.
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            flows = np.stack(list(pool.map(type(self).compute, to_uint8(frame), to_uint8(previous))))
        flow = torch.from_numpy(flows).movedim(-1, 1).to(frame)  # (N, H, W, 2) to (N, 2, H, W)
        return flow, photometric_confidence(frame, previous, flow)


class DIS(Farneback):
    """Dense inverse search in the same manner, see :func:`dis`."""

    compute = staticmethod(dis)
