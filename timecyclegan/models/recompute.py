"""Networks whose calls keep their input alone until the backward pass, which computes the rest again.

Checkpointing (Chen et al. 2016, "Training deep nets with sublinear memory cost"): a step computes each such call twice,
and holds what the layers of one call need, not what those of all calls do.
"""
import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from timecyclegan.models.adversarial_terms import buffers, buffers_replaced, judges_each_alone, modules

Network = Callable[[Tensor], Tensor]
PIXELS = 2**19  # that are computed again at once, where a call may be split: 8 pictures of 256x256

# Modules that draw no random numbers: ours and PyTorch's, but for those below.
_KNOWN = ("timecyclegan.models.networks", "torch.nn.modules.", "torch.nn.parallel.", "torch._dynamo.eval_frame")
_DRAWING = (nn.modules.dropout._DropoutNd, nn.RReLU, nn.FractionalMaxPool2d, nn.FractionalMaxPool3d)


def recomputed(network: Network, split: bool = False) -> Network:
    """``network`` as a function whose backward pass computes each call again, with the same gradients.

    The second call sees what the first one saw: autocast, the buffers (of batch norm, spectral norm) that the network
    had, the random numbers. What the network learns from being called it learns once. One that was compiled runs as if
    it was not: what it would keep is not certain to be the same in both calls.

    Args:
        network: maps (M, C, H, W) to (M, C', H, W): a module, wrapped or not, or a function.
        split: also give it no more than :data:`PIXELS` pixels at once, where it surely looks at each picture alone.
    """

    def call(x: Tensor) -> Tensor:
        at_once = len(x)
        if split and judges_each_alone(network):
            at_once = max(PIXELS // (x.shape[-2] * x.shape[-1]), 1)
        made = [_checkpointed(network, some) for some in x.split(at_once)]
        return made[0] if len(made) == 1 else torch.cat(made)

    return call


def _checkpointed(network: Network, x: Tensor) -> Tensor:
    if not torch.is_grad_enabled():
        return network(x)
    known = {module: {name: value.clone() for name, value in found.items()}
             for module, found in buffers(network).items()}  # fmt: skip
    uncompiled = _uncompiled if _is_compiled(network) else contextlib.nullcontext
    called = network

    @contextlib.contextmanager
    def again() -> Iterator[None]:
        nonlocal called
        # What DDP does around a call, to prepare for the gradients that are to come, it has done.
        called = network.module if isinstance(network, DistributedDataParallel) else network
        with uncompiled(), buffers_replaced(known):
            yield

    return checkpoint(lambda some: called(some), x, use_reentrant=False, preserve_rng_state=_may_draw(network),
                      context_fn=lambda: (_Entered(uncompiled), _Entered(again)))  # fmt: skip


class _Entered(contextlib.AbstractContextManager):
    """A context that is made anew whenever it is entered: a graph that is kept is computed again several times."""

    def __init__(self, make: Callable[[], contextlib.AbstractContextManager[None]]):
        self.make = make

    def __enter__(self) -> None:
        self.entered = self.make()
        self.entered.__enter__()

    def __exit__(self, *raised: Any) -> bool | None:
        return self.entered.__exit__(*raised)


@contextlib.contextmanager
def _uncompiled() -> Iterator[None]:
    with torch.compiler.set_stance("force_eager"):
        yield


def _is_compiled(network: Any) -> bool:
    """Whether it, or a network in it, was given to ``torch.compile``."""
    return hasattr(network, "_torchdynamo_orig_callable") or any(
        hasattr(module, "_orig_mod") or module._compiled_call_impl is not None
        for root in modules(network) for module in root.modules())  # fmt: skip


def _may_draw(network: Any) -> bool:
    """Whether it may draw random numbers: what is not known may. (To look after them is to wait for a GPU.)"""
    if not isinstance(network, nn.Module):
        return True
    return not all(type(module).__module__.startswith(_KNOWN) and not isinstance(module, _DRAWING)
                   and not getattr(module, "dropout", 0) for module in network.modules())  # fmt: skip
