"""Textures that move by known amounts, for tests and ``benchmarks/flow_epe.py``."""
import cv2
import numpy as np

SIZE = 256
MARGIN = 32  # of the larger texture that a window moves over, so that nothing unseen comes in
TRANSLATION = np.array([[1, 0, 3.5], [0, 1, 0]])
ROTATION = cv2.getRotationMatrix2D((MARGIN + (SIZE - 1) / 2,) * 2, 2, 1)  # 2 degrees around the centre


def texture(seed, size, sigma=2.5):
    """float32 (size, size, 3) in [0, 255]: noise, smoothed so that flow has something to hold."""
    noise = np.random.default_rng(seed).random((size, size, 3)).astype(np.float32)
    image = cv2.GaussianBlur(noise, (0, 0), sigma)
    return (image - image.min()) / (image.max() - image.min()) * 255


def moved(matrix, seed=0):
    """A texture before and after a motion, and the flow back.

    Args:
        matrix: (2, 3), takes a pixel (x, y, 1) of the frame before to where it is now.

    Returns:
        frame, previous: uint8 (SIZE, SIZE, 3); flow: (SIZE, SIZE, 2), previous(p + flow(p)) = frame(p).
    """
    whole = SIZE + 2 * MARGIN
    before = texture(seed, whole)
    now = cv2.warpAffine(before, matrix, (whole, whole), flags=cv2.INTER_LANCZOS4, borderMode=cv2.BORDER_REFLECT)
    y, x = np.mgrid[:whole, :whole].astype(float)
    flow = np.stack([x, y, np.ones_like(x)], -1) @ cv2.invertAffineTransform(matrix).T - np.stack([x, y], -1)
    window = slice(MARGIN, -MARGIN), slice(MARGIN, -MARGIN)
    frame, previous = (np.clip(np.rint(image[window]), 0, 255).astype(np.uint8) for image in (now, before))
    return frame, previous, flow[window]


def end_point_error(flow, true, where=...):
    """Mean length of the difference of two flows (H, W, 2), in pixels, over the pixels ``where``."""
    return float(np.linalg.norm(flow - true, axis=-1)[where].mean())
