"""Flow to look at, and flow in files."""
import math
from pathlib import Path

import cv2
import numpy as np

from timecyclegan.util.files import replacing

_FLO_TAG = np.float32(202021.25)  # the bytes "PIEH"; Baker et al. 2011


def flow_picture(flow: np.ndarray, scale: float) -> np.ndarray:
    """(H, W, 2) in pixels as uint8 (H, W, 3) RGB: the hue is the direction, the saturation how far, up to ``scale``.

    What stands still is white; to the right is red, downwards greenish yellow, to the left cyan, upwards violet.
    """
    dx, dy = flow[..., 0].astype(np.float64), flow[..., 1].astype(np.float64)
    degrees = np.degrees(np.arctan2(dy, dx)) % 360
    far = np.clip(np.hypot(dx, dy) / max(scale, 1e-12), 0, 1)
    hsv = np.stack([degrees, far, np.ones_like(far)], axis=-1).astype(np.float32)  # OpenCV's hue is 0 .. 360 in float
    return np.rint(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB) * 255).astype(np.uint8)


def sequence_scale(flows: list[np.ndarray] | map) -> float:
    """How far the fastest pixels of a sequence move, in pixels: the largest 99th percentile of its frames."""
    return max((float(np.percentile(np.hypot(flow[..., 0], flow[..., 1]), 99)) for flow in flows), default=0.0)


def with_legend(picture: np.ndarray, scale: float) -> np.ndarray:
    """The picture with a colour wheel in its lower left corner, and the pixels that its rim stands for beside it.

    Pictures smaller than 48 pixels have no room for it and stay as they are.
    """
    height, width = picture.shape[:2]
    side = min(height, width) // 5 | 1
    if min(height, width) < 48:
        return picture
    place = (np.arange(side) - side // 2) / (side // 2)
    x, y = np.meshgrid(place, place)
    wheel = flow_picture(np.stack([x, y], -1), 1.0)
    wheel[np.hypot(x, y) > 1] = 255
    text = f"{_round(scale)} px"
    font, size = cv2.FONT_HERSHEY_SIMPLEX, side / 50
    (text_width, text_height), _ = cv2.getTextSize(text, font, size, 1)
    box = np.full((side + 4, side + text_width + 8, 3), 255, np.uint8)
    box[2 : 2 + side, 2 : 2 + side] = wheel
    cv2.putText(box, text, (side + 4, (side + 4 + text_height) // 2), font, size, (0, 0, 0), 1, cv2.LINE_AA)
    box = box[:, :width]
    shown = picture.copy()
    shown[height - box.shape[0] :, : box.shape[1]] = box
    return shown


def _round(scale: float) -> str:
    digits = 0 if scale <= 0 else max(0, 1 - math.floor(math.log10(scale)))
    return f"{scale:.{digits}f}"


def write_flo(path: str | Path, flow: np.ndarray) -> None:
    """Write (H, W, 2) as a ``.flo`` file of the Middlebury benchmark: tag, width, height, dx and dy by pixel."""
    height, width = flow.shape[:2]
    with replacing(path) as temporary, open(temporary, "wb") as file:
        file.write(_FLO_TAG.tobytes() + np.array([width, height], "<i4").tobytes() + flow.astype("<f4").tobytes())


def write_npz(path: str | Path, flow: np.ndarray, visible: np.ndarray) -> None:
    """Write (H, W, 2) and bool (H, W) as ``evaluation.flow.load_flow`` reads them."""
    with replacing(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, flow=flow.astype(np.float32), visible=visible.astype(bool))
