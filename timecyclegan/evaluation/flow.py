"""Optical flow for the metrics: estimates, true flow from files, exact bilinear sampling.

A flow is (H, W, 2), (dx, dy) in pixels: ``flow(a -> b)`` at p says that what a shows at p, b shows at p + flow(p).
"""
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from scipy.ndimage import map_coordinates

from timecyclegan.flow import check_backend, choose_backend, describe, flow_backend
from timecyclegan.flow.opencv import farneback
from timecyclegan.util.device import pick_device
from timecyclegan.util.errors import UserError, failed
from timecyclegan.util.names import user_path
from timecyclegan.video.frames import to_video

FlowFunction = Callable[[np.ndarray, np.ndarray], np.ndarray]


class TrueFlow(NamedTuple):
    """Known flow from a frame back to the one before it.

    flow: float64 (H, W, 2); visible: bool (H, W), whether what the pixel shows is seen in the earlier frame too.
    """
    flow: np.ndarray
    visible: np.ndarray


class Estimator(NamedTuple):
    """What computes the flow: the back end's name, its function, and what ``flow.describe`` says about it.

    The function takes two frames, uint8 (H, W, 3) RGB, and gives the flow from the first to the second, float32
    (H, W, 2); any thread may call it.
    """
    name: str = "farneback"
    flow: FlowFunction = farneback
    facts: dict = {"flow_backend": "farneback", "flow_weights": None, "flow_weights_sha256": None}  # noqa: RUF012


def estimator(name: str = "farneback", weights: str = "", gpu: int = 0, option: str = "flow") -> Estimator:
    """The estimator of a back end of ``timecyclegan.flow``, or of the one that "auto" chooses.

    Args:
        weights, gpu: of a network.
        option: see :func:`check_backend`.

    Raises:
        UserError: there is no such back end, its weights are missing or do not fit.
    """
    check_backend(name, weights, option)
    name = choose_backend(name, weights)
    backend = flow_backend(name, weights)
    return Estimator(name, getattr(backend, "compute", None) or _of_network(backend, gpu), describe(name, backend))


def _of_network(backend: Callable, gpu: int) -> FlowFunction:
    device, lock = pick_device(gpu), threading.Lock()

    def flow(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        frames = (to_video(image[None]).to(device) for image in (first, second))
        with lock:  # a network has threads of its own, and memory for one call
            found, _ = backend(*frames)
        return found[0].movedim(0, -1).float().cpu().numpy()

    return flow


def load_flow(path: str | Path) -> TrueFlow:
    """Read a true flow: an ``.npz`` file with ``flow`` (H, W, 2) and ``visible`` (H, W).

    Where the flow is no finite number, nothing is visible (and the flow is 0, which keeps interpolation clean).

    Raises:
        UserError: the file is missing, is damaged, lacks an array, or their shapes do not fit.
    """
    path = user_path(path)
    if not path.is_file():
        raise UserError(f"flow file {path} does not exist; every frame but a sequence's first needs one, named "
                        "as the real frame")
    try:
        with np.load(path, allow_pickle=False) as archive:
            flow, visible = archive["flow"].astype(np.float64), archive["visible"].astype(bool)
    except Exception as error:  # a damaged archive can raise anything
        what = f"cannot read flow file {path}"
        said = error if zipfile.is_zipfile(path) else "it is another kind of file"  # NumPy takes it for a pickle
        raise failed(what, error, f"{what}: {said}; expected .npz with flow and visible") from error
    if flow.ndim != 3 or flow.shape[2] != 2 or flow.shape[:2] != visible.shape:
        raise UserError(f"flow file {path}: expected flow (H, W, 2) and visible (H, W), got {flow.shape} and "
                        f"{visible.shape}")
    finite = np.isfinite(flow).all(axis=2)
    return TrueFlow(np.where(finite[..., None], flow, 0.0), visible & finite)


def resize_flow(true_flow: TrueFlow, height: int, width: int) -> TrueFlow:
    """Bring a flow to frames of (height, width): dx and dy grow with their own axis, the mask stays binary."""
    old_height, old_width = true_flow.visible.shape
    if (old_height, old_width) == (height, width):
        return true_flow
    flow = cv2.resize(true_flow.flow, (width, height), interpolation=cv2.INTER_LINEAR)
    # The nearest pixel by its centre; OpenCV's own nearest neighbour differs from version to version.
    rows = ((np.arange(height) + 0.5) * old_height / height).astype(int)
    columns = ((np.arange(width) + 0.5) * old_width / width).astype(int)
    visible = true_flow.visible[np.ix_(rows, columns)]
    return TrueFlow(flow * (width / old_width, height / old_height), visible)


def destinations(flow: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where a flow (H, W, 2) points: the rows and columns p + flow(p), float64 (2, H, W), and which are in the frame.

    The frame reaches from the first pixel's centre to the last one's: bool (H, W).
    """
    height, width = flow.shape[:2]
    x = np.arange(width) + flow[..., 0].astype(np.float64)
    y = np.arange(height)[:, None] + flow[..., 1].astype(np.float64)
    return np.stack([y, x]), (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)


def sample(image: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(H, W, C) at rows and columns (2, H, W): bilinear, float64 (H, W, C), the border's pixels beyond it.

    cv2.remap rounds positions to 1/32 pixel, which is too coarse for a flow with small errors.
    """
    return np.stack([map_coordinates(image[..., channel], points, np.float64, order=1, mode="nearest")
                     for channel in range(image.shape[2])], axis=-1)


def cancel(there: np.ndarray, back: np.ndarray) -> np.ndarray:
    """Where two flows (H, W, 2) cancel: bool (H, W), |there + back|^2 <= 0.01 (|there|^2 + |back|^2) + 0.5.

    The second one is taken where the first one leads. After Sundaram et al., "Dense point trajectories by
    GPU-accelerated large displacement optical flow", 2010.
    """
    there, back = there.astype(np.float64), sample(back, destinations(there)[0])
    return squared_norm(there + back) <= 0.01 * (squared_norm(there) + squared_norm(back)) + 0.5


def squared_norm(flow: np.ndarray) -> np.ndarray:
    """Of a flow (H, W, 2) at each pixel: (H, W)."""
    return np.square(flow).sum(axis=2)


class Warp:
    """Takes an earlier frame to the later one: p = x + flow(x), p clamped to the frame, and a mask of the pixels.

    Attributes:
        flow: (H, W, 2), of the later frame's pixels to where the earlier one shows the same.
        mask: bool (H, W), pixels that count: those ``visible``, if p is in the frame.
    """

    def __init__(self, flow: np.ndarray, visible: np.ndarray) -> None:
        self.flow, (self.points, inside) = flow, destinations(flow)
        self.mask = visible & inside

    @classmethod
    def from_estimates(cls, forward: np.ndarray, backward: np.ndarray) -> "Warp":
        """Warp by estimated flow; visible is where forward and backward flow (H, W, 2) cancel."""
        return cls(backward, cancel(backward, forward))

    def moved(self, previous: np.ndarray) -> np.ndarray:
        """The earlier frame (H, W, C), moved to the later one: float64 (H, W, C), defined where the mask is."""
        return sample(previous, self.points)

    def error(self, previous: np.ndarray, frame: np.ndarray) -> float | None:
        """Mean squared difference, pixels in [0, 1], of ``frame`` and the moved ``previous``, uint8 (H, W, 3).

        The mean runs over the channels of the pixels that count; None if there are none.
        """
        if not self.mask.any():
            return None
        difference = self.moved(previous)[self.mask] - frame[self.mask]
        return float(np.square(difference / 255).mean())
