"""What a training step holds and computes, counted without computing it."""
import contextlib
import dataclasses
import weakref
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.flop_counter import flop_registry

from timecyclegan.models import get_model, model_class
from timecyclegan.models.parts import FLOW
from timecyclegan.util.options import Options


class Held(TorchDispatchMode):
    """While it is active, counts the bytes of the tensors that are made, those there are ``now`` and the ``most`` that
    there were at once, and the ``flops``, floating-point operations of convolutions and products.

    What an operation uses within itself, and what an allocator rounds up to, it does not see. On the meta device the
    shapes of an operation's results are worked out once for arguments of the same shapes, and then remembered: that
    takes PyTorch far longer than to make the tensors, and a walk calls its network hundreds of times.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = self.flops = 0
        self._known: set[int] = set()
        self._results: dict[Any, tuple[bool, list[tuple | None], int]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        key = _shapes(func, args, kwargs)
        if key in self._results:
            one, layouts, flops = self._results[key]
            results = [layout and torch.empty_strided(*layout[:2], dtype=layout[2], device="meta")
                       for layout in layouts]  # fmt: skip
            made = results[0] if one else tuple(results)
        else:
            made = func(*args, **kwargs)
            one = isinstance(made, Tensor)
            results = [made] if one else tree_leaves(made)
            count = flop_registry.get(func._overloadpacket)
            flops = count(*args, **kwargs, out_val=made) if count else 0
            if key is not None and all(result is None or isinstance(result, Tensor) for result in results):
                layouts = [result if result is None else (result.shape, result.stride(), result.dtype)
                           for result in results]  # fmt: skip
                self._results[key] = one, layouts, flops
        self.flops += flops
        for result in results:
            if isinstance(result, Tensor):
                self.add(result)
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


def _shapes(func: Any, args: Any, kwargs: Any) -> Any:
    """What the shapes of an operation's results depend on; None where they are to be asked for: off the meta device,
    and where a result is, or shares memory with, an argument."""
    if any(returned.alias_info for returned in func._schema.returns):
        return None
    found, tensors = [func], 0
    for argument in (*args, *kwargs.items()):
        for item in argument if isinstance(argument, (list, tuple)) else (argument,):
            if isinstance(item, Tensor):
                if item.device.type != "meta":
                    return None
                item, tensors = (item.shape, item.stride(), item.dtype), tensors + 1
            elif isinstance(item, (list, tuple)):
                if any(isinstance(inner, Tensor) for inner in item):
                    return None
                item = tuple(item)
            found.append((type(item), item))
        found.append(isinstance(argument, (list, tuple)))
    return tuple(found) if tensors else None


@contextlib.contextmanager
def _mixed_precision(dtype: torch.dtype) -> Iterator[None]:
    """``torch.autocast`` of convolutions and linear layers on the meta device, which has none, also of what a backward
    pass computes again. As there, a parameter is cast once. All else computes in the precision that it is given.
    """
    known: dict[tuple[Tensor, bool], Tensor] = {}

    def narrow(value: Any) -> Any:
        if not isinstance(value, Tensor) or value.dtype != torch.float32:
            return value
        if not (value.is_leaf and value.requires_grad):
            return value.to(dtype)
        key = value, torch.is_grad_enabled()  # what was cast without gradients would cut them off
        if key not in known:
            known[key] = value.to(dtype)
        return known[key]

    def narrowed(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        return lambda *args, **kwargs: function(*map(narrow, args), **tree_map(narrow, kwargs))

    wide = {name: getattr(functional, name) for name in ("conv2d", "conv_transpose2d", "linear")}
    try:
        for name, function in wide.items():
            setattr(functional, name, narrowed(function))
        yield
    finally:
        for name, function in wide.items():
            setattr(functional, name, function)


class Footprint(NamedTuple):
    """Of one training step: the most bytes that its tensors need at once, networks and optimizers included, and the
    floating-point operations of its convolutions and products; of the bytes, those that are ``kept`` from step to step:
    weights, their gradients, Adam's two moments."""

    memory: int
    flops: int
    kept: int


def footprint(options: Options) -> Footprint:
    """What a step of these options takes, after the first one: weights, gradients and Adam's moments with the rest.

    It is the model's own step on PyTorch's meta device, where tensors have shapes and no numbers, so that it may be
    larger than this machine; flow of the real clips comes with the batch there. A batch of more than two parts
    (``--accumulate``) is counted with two: the further ones only lie there, and take as many operations as the second.
    What a convolution uses within itself and what an allocator keeps in reserve are not in it.

    Raises:
        UserError: options that do not go together.
    """
    flow = {"flow_cache": "elsewhere"} if FLOW in model_class(options.model_type).parts else {}
    model = get_model(options.model_type, dataclasses.replace(options, **flow)).to("meta")
    options, parts = model.options, min(options.accumulate, 2)
    samples = [options.batch_size] * parts
    clip = sum(samples), options.block_size, model.channels, options.image_height, options.image_width
    noise = {name: (clip[0], *shape) for name, shape in model.noise_shapes().items()}
    inputs = {name: _shape(name, clip) for name in model.inputs}
    with Held() as held:
        for tensor in (*model.parameters(), *model.buffers()):
            held.add(tensor)
        model.make_optimizers()
        for optimizer in model.optimizers.values():
            for parameter in (p for group in optimizer.param_groups for p in group["params"]):
                parameter.grad = torch.empty_like(parameter)
            optimizer.step()  # of the step before, which leaves moments and gradients
        kept = held.now
        batch: dict[str, Any] = {name: torch.empty(shape, device="meta") for name, shape in inputs.items()}
        batch["noise"] = {name: torch.empty(shape, device="meta") for name, shape in noise.items()}
        batch["draws"] = model.draws(options.seed, 0, samples)
        held.most, held.flops = held.now, 0
        with _mixed_precision(getattr(torch, options.amp)) if options.amp != "off" else contextlib.nullcontext():
            model.training_step(batch, torch.amp.GradScaler(enabled=False),
                                parts=[[count] for count in samples] if parts > 1 else None)
        further = options.accumulate - parts
        waiting = sum(tensor.nbytes for tensor in tree_leaves(batch) if isinstance(tensor, Tensor)) // parts
    return Footprint(held.most + further * waiting, held.flops + further * held.flops // 2, kept)


def _shape(name: str, clip: tuple[int, ...]) -> tuple[int, ...]:
    """Of what a batch holds under a name that is among a model's inputs."""
    kind, _, stride = name.partition("_")
    if not stride:
        return clip
    return clip[0], clip[1] - int(stride), {"flow": 2, "confidence": 1}[kind], *clip[3:]
