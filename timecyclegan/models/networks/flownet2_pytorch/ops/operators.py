"""Registers the operations with torch: schema, plain PyTorch for every device, shapes for tracing, and autograd."""
from collections.abc import Callable

import torch
from torch import Tensor

from timecyclegan.models.networks.flownet2_pytorch.ops import pytorch

NAMESPACE = "timecyclegan"

# Name: (schema, the shapes of what it gives).
OPERATORS: dict[str, tuple[str, Callable[..., list[tuple]]]] = {
    "correlation": (
        "(Tensor a, Tensor b, int radius, int stride) -> Tensor",
        lambda a, b, radius, stride: [(a.shape[0], (2 * radius + 1) ** 2, *a.shape[2:])],
    ),
    "correlation_backward": (
        "(Tensor grad, Tensor a, Tensor b, int radius, int stride) -> (Tensor, Tensor)",
        lambda grad, a, b, radius, stride: [a.shape, b.shape],
    ),
    "resample2d": (
        "(Tensor image, Tensor flow) -> Tensor",
        lambda image, flow: [(*image.shape[:2], *flow.shape[2:])],
    ),
    "resample2d_backward": (
        "(Tensor grad, Tensor image, Tensor flow) -> (Tensor, Tensor)",
        lambda grad, image, flow: [image.shape, flow.shape],
    ),
    "channelnorm": (
        "(Tensor x) -> Tensor",
        lambda x: [(x.shape[0], 1, *x.shape[2:])],
    ),
    "channelnorm_backward": (
        "(Tensor grad, Tensor x, Tensor norm) -> Tensor",
        lambda grad, x, norm: [x.shape],
    ),
}


def _define(name: str) -> None:
    """An operator without gradient."""
    schema, shapes = OPERATORS[name]
    qualified = f"{NAMESPACE}::{name}"
    torch.library.define(qualified, schema)

    def plain(*args):
        return getattr(pytorch, name)(*args)

    def fake(*args):
        outputs = tuple(args[0].new_empty(shape) for shape in shapes(*args))
        return outputs if len(outputs) > 1 else outputs[0]

    torch.library.impl(qualified, "default")(plain)
    torch.library.register_fake(qualified)(fake)


def _differentiate(name: str, needs_result: bool = False) -> None:
    """Take ``name_backward`` (gradient, then tensors, then numbers) as the gradient of an operator."""

    def keep(ctx, inputs, output):
        tensors = [x for x in inputs if isinstance(x, Tensor)]
        ctx.numbers = inputs[len(tensors):]
        ctx.save_for_backward(*tensors, *([output] if needs_result else []))

    def backward(ctx, grad):
        grads = getattr(torch.ops.timecyclegan, f"{name}_backward")(grad, *ctx.saved_tensors, *ctx.numbers)
        return *(grads if isinstance(grads, (tuple, list)) else [grads]), *(None for _ in ctx.numbers)

    torch.library.register_autograd(f"{NAMESPACE}::{name}", backward, setup_context=keep)


for _name in OPERATORS:
    _define(_name)
_differentiate("correlation")
_differentiate("resample2d")
_differentiate("channelnorm", needs_result=True)

active = getattr(torch.ops, NAMESPACE)  # `pytorch` in its place gives plain PyTorch also where kernels were built
