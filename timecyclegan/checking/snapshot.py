"""Remember the state of live objects and put it back, bit for bit."""
import sys
import sysconfig
import types
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

Kind = TypeVar("Kind")
Undo = Callable[[], None]
_PLAIN = (str, bytes, int, float, complex, type(None))  # they neither change nor hold anything
_PACKAGE = str(Path(__file__).parents[1])  # ours, which may be installed too
_STDLIB = sysconfig.get_path("stdlib")


class Snapshot:
    """The state of everything that :func:`reachable` finds, tensors with their gradients."""

    def __init__(self, *roots: Any):
        self._things: dict[int, tuple[str, Any]] = {}
        self._undo: list[Undo] = []
        for root in roots:
            self.add(root)

    def add(self, root: Any, name: str = "") -> None:
        """Remember ``root`` too, as it is now; what is known already keeps its earlier state."""
        for _, thing in reachable(root, name, self._things):
            if undo := _undo(thing):
                self._undo.append(undo)

    def found(self, kind: type[Kind]) -> list[tuple[str, Kind]]:
        """All things of a ``kind``, each once, with their attribute paths."""
        return [(name, thing) for name, thing in self._things.values() if isinstance(thing, kind)]

    def restore(self) -> None:
        """Put everything back."""
        for undo in self._undo:
            undo()


def reachable(root: Any, name: str = "", known: dict[int, tuple[str, Any]] | None = None) -> Iterator[tuple[str, Any]]:
    """``root`` and all that can be reached from it, each once, with the shortest attribute path from ``name`` on.

    Followed are containers, attributes of what has a ``state_dict`` (modules, optimizers, schedulers), and attributes
    of other objects unless their class is another installed package's. Data sets and loaders are left alone: they may
    be large, and a training step does not change them.

    Args:
        known: by id, what is not followed again; what is found is added.
    """
    known = {} if known is None else known
    ahead = deque([(name, root)])
    while ahead:  # breadth first, so that a path is the shortest
        name, thing = ahead.popleft()
        if id(thing) not in known and not isinstance(thing, _PLAIN):
            known[id(thing)] = name, thing  # held, so that no id comes twice
            yield name, thing
            ahead.extend(_children(name, thing))


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
    no_state = (type, types.ModuleType, types.FunctionType, types.MethodType, Tensor, Dataset, DataLoader)
    if isinstance(thing, no_state) or not hasattr(thing, "__dict__"):
        return False
    if hasattr(type(thing), "state_dict"):
        return True
    file = getattr(sys.modules.get(type(thing).__module__), "__file__", None) or ""  # none in a notebook
    return file.startswith(_PACKAGE) or not is_installed(file)


def is_installed(file: str) -> bool:
    """Whether a source file belongs to Python or to an installed package."""
    return file.startswith(_STDLIB) or "site-packages" in file or "dist-packages" in file


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
