"""Remember the state of live objects and put it back, bit for bit."""
import sys
import sysconfig
import types
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

Kind = TypeVar("Kind")
Undo = Callable[[], None]
_STDLIB = sysconfig.get_path("stdlib")


class Snapshot:
    """The state of everything that can be reached from some objects.

    Followed are containers, attributes of what has a ``state_dict`` (modules, optimizers, schedulers), and attributes
    of other objects unless their class is an installed package's. Tensors are kept with their gradients. Data sets and
    loaders are left alone: they may be large, and a training step does not change them.
    """

    def __init__(self, *roots: Any):
        self._things: dict[int, tuple[str, Any]] = {}  # holds what it knows, so that no id comes twice
        self._undo: list[Undo] = []
        for root in roots:
            self.add(root)

    def add(self, root: Any, name: str = "") -> None:
        """Remember ``root`` too, as it is now; what is known already keeps its earlier state."""
        ahead = deque([(name, root)])
        while ahead:  # breadth first, so that a thing gets the shortest of its names
            name, thing = ahead.popleft()
            if id(thing) in self._things:
                continue
            undo = _undo(thing)
            if undo is not None:
                self._undo.append(undo)
            children = list(_children(name, thing))
            if undo is not None or children:
                self._things[id(thing)] = (name, thing)
            ahead.extend(children)

    def found(self, kind: type[Kind]) -> list[tuple[str, Kind]]:
        """All things of a ``kind``, each once, with their attribute paths."""
        return [(name, thing) for name, thing in self._things.values() if isinstance(thing, kind)]

    def restore(self) -> None:
        """Put everything back."""
        for undo in self._undo:
            undo()


def _children(name: str, thing: Any) -> Iterator[tuple[str, Any]]:
    dot = f"{name}." if name else ""
    if isinstance(thing, dict):
        for place, (key, value) in enumerate(thing.items()):
            yield f"{dot}{key}" if isinstance(key, str) else f"{name}[{place}]", value
    elif isinstance(thing, (list, tuple, set, frozenset, deque)):
        yield from ((f"{name}[{place}]", value) for place, value in enumerate(thing))
    elif _has_state(thing):
        yield name, vars(thing)


def _has_state(thing: Any) -> bool:
    no_state = (type, types.ModuleType, types.FunctionType, Tensor, Dataset, DataLoader)
    if isinstance(thing, no_state) or not hasattr(thing, "__dict__"):
        return False
    if hasattr(type(thing), "state_dict"):
        return True
    module = type(thing).__module__
    file = getattr(sys.modules.get(module), "__file__", None) or ""  # none in a notebook
    return module != "builtins" and not (file.startswith(_STDLIB) or "site-packages" in file or "dist-packages" in file)


def _undo(thing: Any) -> Undo | None:
    """What puts ``thing`` itself back; None for what has no state of its own."""
    if isinstance(thing, Tensor):
        return _undo_tensor(thing) if thing.is_leaf else None
    if isinstance(thing, torch.Generator):
        state = thing.get_state()
        return lambda: thing.set_state(state)
    if isinstance(thing, (list, deque)):
        items = list(thing)
        return lambda: (thing.clear(), thing.extend(items))
    if isinstance(thing, (dict, set)):
        items = thing.copy() if isinstance(thing, set) else dict(thing)
        return lambda: (thing.clear(), thing.update(items))
    return None


def _undo_tensor(tensor: Tensor) -> Undo:
    values, gradient, wanted = tensor.detach().clone(), tensor.grad, tensor.requires_grad
    slopes = None if gradient is None else gradient.detach().clone()

    def undo() -> None:
        if not tensor.is_leaf:  # it was written in place, with a history
            tensor.detach_()
        tensor.requires_grad_(wanted)
        tensor.data.copy_(values)  # through data: a graph that needs the tensor sees no change
        tensor.grad = gradient
        if gradient is not None:
            gradient.data.copy_(slopes)

    return undo
