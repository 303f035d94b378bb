"""The three operations and their gradients in plain PyTorch: for every device and type, and what kernels must equal.

Every function has the signature of its operator (see ``SCHEMAS`` in this package) and gives contiguous tensors.
"""
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor


def correlation(a: Tensor, b: Tensor, radius: int, stride: int) -> Tensor:
    """Mean over channels of a(p) b(p + d) for displacements d in {-radius, ..., radius}² * stride; b is 0 outside.

    (N, C, H, W) twice to (N, (2 radius + 1)², H, W); the vertical displacement is the slow index (Dosovitskiy et al.
    2015, FlowNet, equation 1 with patches of one pixel).
    """
    out = a.new_empty(a.shape[0], (2 * radius + 1) ** 2, *a.shape[2:])
    margin = radius * stride
    padded = F.pad(b, (margin,) * 4)
    for k, (rows, columns) in enumerate(_windows(a, radius, stride)):
        torch.mean(a * padded[..., rows, columns], dim=1, out=out[:, k])
    return out


def correlation_backward(grad: Tensor, a: Tensor, b: Tensor, radius: int, stride: int) -> tuple[Tensor, Tensor]:
    """The gradients of both maps."""
    margin = radius * stride
    padded = F.pad(b, (margin,) * 4)
    grad_a, grad_padded = a.new_zeros(a.shape), b.new_zeros(padded.shape)
    grad = grad / a.shape[1]
    for k, (rows, columns) in enumerate(_windows(a, radius, stride)):
        weight = grad[:, k, None]
        grad_a += weight * padded[..., rows, columns]
        grad_padded[..., rows, columns] += weight * a
    return grad_a, F.pad(grad_padded, (-margin,) * 4).contiguous()


def _windows(a: Tensor, radius: int, stride: int) -> Iterator[tuple[slice, slice]]:
    """Where each displacement looks in a map that was padded by radius * stride."""
    height, width = a.shape[2:]
    offsets = range(0, (2 * radius + 1) * stride, stride)
    return ((slice(y, y + height), slice(x, x + width)) for y in offsets for x in offsets)


def resample2d(image: Tensor, flow: Tensor) -> Tensor:
    """The image (N, C, H, W) at p + flow(p), bilinear, for each p of the flow (N, 2, h, w), x first.

    Pixels outside are those of the border. The weights are those of the position before it is clamped, so their
    derivative at the border is a one-sided one, the same as inside.
    """
    corners, right, down = _corners(image, flow)
    top_left, top_right, bottom_left, bottom_right = (_gather(image, index, flow) for index in corners)
    top = (1 - right) * top_left + right * top_right
    bottom = (1 - right) * bottom_left + right * bottom_right
    return ((1 - down) * top + down * bottom).contiguous()


def resample2d_backward(grad: Tensor, image: Tensor, flow: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients of the image and of the flow."""
    corners, right, down = _corners(image, flow)
    top_left, top_right, bottom_left, bottom_right = (_gather(image, index, flow) for index in corners)
    slope_x = (1 - down) * (top_right - top_left) + down * (bottom_right - bottom_left)
    slope_y = (1 - right) * (bottom_left - top_left) + right * (bottom_right - top_right)
    grad_flow = torch.stack([(grad * slope_x).sum(1), (grad * slope_y).sum(1)], dim=1)
    weights = ((1 - down) * (1 - right), (1 - down) * right, down * (1 - right), down * right)
    grad_image = image.new_zeros(image.shape).flatten(2)
    for index, weight in zip(corners, weights, strict=True):
        grad_image.scatter_add_(2, index.expand(-1, image.shape[1], -1), (grad * weight).flatten(2))
    return grad_image.view(image.shape), grad_flow


def _corners(image: Tensor, flow: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
    """Pixels around each position, as (N, 1, h w) indices into the flattened image, and the distances (N, 1, h, w)."""
    height, width = image.shape[2:]
    x = torch.arange(flow.shape[3], dtype=flow.dtype, device=flow.device) + flow[:, :1]
    y = torch.arange(flow.shape[2], dtype=flow.dtype, device=flow.device)[:, None] + flow[:, 1:]
    left, top = x.floor(), y.floor()
    columns, rows = [_index(left, width), _index(left + 1, width)], [_index(top, height), _index(top + 1, height)]
    return [(row * width + column).flatten(2) for row in rows for column in columns], x - left, y - top


def _index(position: Tensor, size: int) -> Tensor:
    """The nearest index below ``size``; 0 for no number, whose result is no number whatever is looked up."""
    return position.nan_to_num(0).clamp(0, size - 1).long()


def _gather(image: Tensor, index: Tensor, flow: Tensor) -> Tensor:
    values = image.flatten(2).gather(2, index.expand(-1, image.shape[1], -1))
    return values.unflatten(2, flow.shape[2:])


def channelnorm(x: Tensor) -> Tensor:
    """The Euclidean norm over channels: (N, C, H, W) to (N, 1, H, W)."""
    out = x.new_empty(x.shape[0], 1, *x.shape[2:])
    return torch.sum(x * x, dim=1, keepdim=True, out=out).sqrt_()


def channelnorm_backward(grad: Tensor, x: Tensor, norm: Tensor) -> Tensor:
    """x / norm, but 0 where the norm is 0."""
    return (grad / (norm + 1e-9) * x).contiguous()
