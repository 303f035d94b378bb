"""The operations' kernels, where ``build.py`` has built them: loading them, and what torch has to know of them."""
import functools
import hashlib
import platform
import shlex
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from timecyclegan.util.errors import note

PACKAGE = Path(__file__).resolve().parents[1]
SOURCES = Path(__file__).parent / "csrc"
INSTALL = f"bash {shlex.quote(str(PACKAGE / 'install.sh'))}"


def path() -> Path:
    """Where the library of these sources for this torch and this kind of processor is, if it was built."""
    digest = hashlib.sha256()
    for source in sorted(SOURCES.glob("*.[ch]*")):
        digest.update(source.read_bytes())
    name = f"flow_ops-torch{torch.__version__}-{platform.machine()}-{digest.hexdigest()[:8]}.so"
    return PACKAGE / "build" / name


def load() -> tuple[str, ...]:
    """Load the library, and say what it is for: "CPU" and CUDA's architectures, or nothing if none was built."""
    if not path().is_file():
        return ()
    try:
        torch.ops.load_library(path())
    except OSError as error:
        note(f"{path()} cannot be loaded ({error}); build it again: {INSTALL}")
        return ()
    _register("correlation", lambda a, b, radius, stride: (a.shape[0], (2 * radius + 1) ** 2, *a.shape[2:]))
    _register("resample2d", lambda image, flow: (*image.shape[:2], *flow.shape[2:]))
    _register("channelnorm", lambda x: (x.shape[0], 1, *x.shape[2:]), backward_needs_result=True)
    return tuple(torch.ops.timecyclegan.built_for().split())


def _register(name: str, shape: Callable[..., tuple], backward_needs_result: bool = False) -> None:
    """Tell torch the shapes that an operator of ``ops.cpp`` gives, for tracing, and that it has a gradient.

    ``shape`` is a function of the operator's arguments. ``<name>_backward`` takes the gradient, the tensors (and the
    result, where it needs it) and the numbers, and gives the gradient of each tensor.
    """
    def keep(ctx, inputs, output):
        tensors = [x for x in inputs if isinstance(x, Tensor)]
        ctx.numbers = inputs[len(tensors):]
        ctx.save_for_backward(*tensors, *([output] if backward_needs_result else []))

    def backward(ctx, grad):
        grads = getattr(torch.ops.timecyclegan, f"{name}_backward")(grad, *ctx.saved_tensors, *ctx.numbers)
        return *(grads if isinstance(grads, (tuple, list)) else [grads]), *(None for _ in ctx.numbers)

    def backward_shapes(_grad, *args):
        grads = tuple(torch.empty_like(x, memory_format=torch.contiguous_format) for x in args if isinstance(x, Tensor))
        return grads[0] if backward_needs_result else grads

    torch.library.register_fake(f"timecyclegan::{name}", lambda *args: args[0].new_empty(shape(*args)))
    torch.library.register_fake(f"timecyclegan::{name}_backward", backward_shapes)
    torch.library.register_autograd(f"timecyclegan::{name}", backward, setup_context=keep)


BUILT = load()


def computes(device: str) -> bool:
    """Whether kernels were built for a kind of device, "cpu" or "cuda" or another."""
    return bool(BUILT) if device == "cpu" else device == "cuda" and len(BUILT) > 1


@functools.cache
def announce(device: str) -> None:
    """Say once for each kind of device how the operations are computed there."""
    note(f"FlowNet2 on {device}: {describe(device)}")


def describe(device: str) -> str:
    """How the operations are computed on a kind of device."""
    if computes(device):
        return "built kernels" + (f" ({', '.join(BUILT[1:])})" if device == "cuda" else "")
    return "plain PyTorch" + (f"; faster kernels: {INSTALL}" if device in ("cpu", "cuda") else "")
