"""Pictures to translate from, made of the pictures to translate to: a paired data set out of any video."""
from collections.abc import Callable

import cv2
import numpy as np

from timecyclegan.flow.opencv import farneback
from timecyclegan.flow.pictures import flow_picture
from timecyclegan.video.frames import resize_image

LOWRES = 4  # how many times smaller
FASTEST = 1 / 20  # of the width: motion from one frame to the next that has full colour

# What makes the source of a frame from it and the frame before it (None: it is the first), uint8 (H, W, 3) all of them.
Maker = Callable[[np.ndarray, np.ndarray | None], np.ndarray]


def edges(frame: np.ndarray, _previous: np.ndarray | None) -> np.ndarray:
    """White lines on black: Canny's. Its thresholds do not depend on the frame, so that lines do not come and go."""
    gray = cv2.GaussianBlur(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), (0, 0), 1.0)
    return cv2.Canny(gray, 40, 100)[..., None].repeat(3, -1)


def gray(frame: np.ndarray, _previous: np.ndarray | None) -> np.ndarray:
    """The luminance (ITU-R BT.601)."""
    return cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)[..., None].repeat(3, -1)


def lowres(frame: np.ndarray, _previous: np.ndarray | None) -> np.ndarray:
    """:data:`LOWRES` times smaller, and enlarged again, bicubic."""
    height, width = frame.shape[:2]
    return resize_image(resize_image(frame, max(1, height // LOWRES), max(1, width // LOWRES)), height, width)


def flow(frame: np.ndarray, previous: np.ndarray | None) -> np.ndarray:
    """Farneback's motion back to the frame before, in colours (``flow.pictures``); a first frame's is white."""
    motion = np.zeros((*frame.shape[:2], 2), np.float32) if previous is None else farneback(frame, previous)
    return flow_picture(motion, frame.shape[1] * FASTEST)


MAKERS: dict[str, Maker] = {"edges": edges, "gray": gray, "lowres": lowres, "flow": flow}
