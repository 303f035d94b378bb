"""Warping by optical flow, and the loss that asks a video to move as the real one does.

A flow is (N, 2, H, W), (dx, dy) in pixels: ``flow(a -> b)`` at p says that what a shows at p, b shows at p + flow(p).
"""
import torch
from torch import Tensor


def warp(image: Tensor, flow: Tensor) -> Tensor:
    """``image`` at p + flow(p) for each p of the flow: (N, C, H, W) and (N, 2, h, w) to (N, C, h, w).

    Bilinear between the four pixels around each position; positions outside take the border's pixels. Zero flow is
    exactly the identity and integer flow exactly a shift, which ``grid_sample`` with its rescaled coordinates is not.
    Differentiable in both.
    """
    height, width = image.shape[-2:]
    flow = flow.to(torch.promote_types(flow.dtype, torch.float32))  # half a float does not count to 300 pixels
    x = torch.arange(flow.shape[-1], device=flow.device, dtype=flow.dtype) + flow[:, 0]
    y = torch.arange(flow.shape[-2], device=flow.device, dtype=flow.dtype)[:, None] + flow[:, 1]
    left, top = x.floor(), y.floor()
    right_share, lower_share = (x - left).unsqueeze(1), (y - top).unsqueeze(1)
    pixels = image.flatten(2)
    top, left = top.nan_to_num(), left.nan_to_num()  # the shares keep what is not a number, so it reaches the loss

    def look_up(rows: Tensor, columns: Tensor) -> Tensor:
        place = rows.clamp(0, height - 1).long() * width + columns.clamp(0, width - 1).long()
        return pixels.gather(2, place.flatten(1)[:, None].expand(-1, image.shape[1], -1)).unflatten(2, x.shape[1:])

    upper = (1 - right_share) * look_up(top, left) + right_share * look_up(top, left + 1)
    lower = (1 - right_share) * look_up(top + 1, left) + right_share * look_up(top + 1, left + 1)
    return (1 - lower_share) * upper + lower_share * lower


def warp_loss(video: Tensor, flow: Tensor, confidence: Tensor | None = None) -> Tensor:
    """Mean over neighbouring frames of |m * warp(x_t, flow_t) - m * x_(t+1)|, the warped frame detached.

    Args:
        video: (N, T, C, H, W), the generated x; gradients flow to x_1 .. x_(T-1), each as the later of a pair.
        flow: (N, T - 1, 2, H, W), entry t leads from frame t + 1 back to frame t of the real video.
        confidence: (N, T - 1, 1, H, W) in [0, 1], the m above; 1 where None.

    Returns:
        A scalar, the mean over all elements.

    Raises:
        ValueError: shapes that do not fit.
    """
    pairs = (video.shape[0], video.shape[1] - 1)
    for name, channels, given in (("flow", 2, flow), ("confidence", 1, confidence)):
        expected = (*pairs, channels, *video.shape[3:])
        if given is not None and given.shape != expected:
            raise ValueError(f"{name} for a video {tuple(video.shape)} is {expected}, not {tuple(given.shape)}")
    with torch.no_grad():
        warped = warp(video[:, :-1].flatten(0, 1), flow.flatten(0, 1)).unflatten(0, pairs)
    difference = warped - video[:, 1:]
    return (difference if confidence is None else confidence * difference).abs().mean()
