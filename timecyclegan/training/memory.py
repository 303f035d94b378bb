"""What a training step holds and computes, counted without computing it."""
import dataclasses
import itertools
import weakref
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from timecyclegan.losses import total
from timecyclegan.models import get_model, model_class
from timecyclegan.models.parts import FLOW
from timecyclegan.util.options import Options


class Held(TorchDispatchMode):
    """While it is active, counts the bytes of the tensors that are made, those there are ``now`` and the ``most`` that
    there were at once, and the ``flops``, floating-point operations of convolutions and products.

    What an operation uses within itself, and what an allocator rounds up to, it does not see.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = self.flops = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        made = func(*args, **kwargs)
        if count := flop_registry.get(func._overloadpacket):
            self.flops += count(*args, **kwargs, out_val=made)
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor):
                self.add(tensor)
        return made

    def add(self, tensor: Tensor) -> None:
        """Count this one as well, until it is gone."""
        storage = tensor.untyped_storage()
        if storage._cdata not in self._known:  # else it is a view
            self._known.add(storage._cdata)
            self.now += storage.nbytes()
            self.most = max(self.most, self.now)
            weakref.finalize(storage, self._gone, storage._cdata, storage.nbytes())

    def _gone(self, storage: int, count: int) -> None:
        self._known.discard(storage)
        self.now -= count


class Footprint(NamedTuple):
    """Of one training step: the most bytes that its tensors need at once, networks and optimizers included, and the
    floating-point operations of its convolutions and products."""

    memory: int
    flops: int


def footprint(options: Options) -> Footprint:
    """What a step of these options takes on a GPU in float32, after the first one.

    It runs on PyTorch's meta device, where tensors have shapes and no numbers, so that it may be larger than this
    machine; flow of the real clips comes with the batch there. What a convolution uses within itself and what an
    allocator keeps in reserve are not in it.
    """
    flow = {"flow_cache": "elsewhere"} if FLOW in model_class(options.model_type).parts else {}
    model = get_model(options.model_type, dataclasses.replace(options, **flow)).to("meta")
    options = model.options
    clip = options.batch_size, options.block_size, model.channels, options.image_height, options.image_width
    trained = {role: [p for network in model.networks(role).values() for p in network.parameters()] for role in "DG"}
    with Held() as held:
        for tensor in (*model.parameters(), *model.buffers()):
            held.add(tensor)
        for parameter in itertools.chain(*trained.values()):
            parameter.grad = torch.empty_like(parameter)  # of the step before
        drawn = model.draws(options.seed, 0, [options.batch_size])[0]
        model.drawn = {name: value.to("meta") for name, value in drawn.items()}
        for name, shape in model.noise_shapes().items():
            model.drawn[name] = torch.empty(options.batch_size, *shape, device="meta")
        model(**{name: torch.empty(_shape(name, clip), device="meta") for name in model.inputs})
        for role, losses in (("D", model.discriminator_losses), ("G", model.generator_losses)):
            loss = total(losses())
            for parameter in trained[role]:
                parameter.grad = None
            loss.backward()
        model.end_step()
    moments = 2 * sum(p.nbytes for p in {*itertools.chain(*trained.values())})  # Adam's
    return Footprint(held.most + moments, held.flops)


def _shape(name: str, clip: tuple[int, ...]) -> tuple[int, ...]:
    """Of what a batch holds under a name that is among a model's inputs."""
    kind, _, stride = name.partition("_")
    if not stride:
        return clip
    return clip[0], clip[1] - int(stride), {"flow": 2, "confidence": 1}[kind], *clip[3:]
