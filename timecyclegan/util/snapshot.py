"""Remember the state of live objects, and of all random generators, and put it back, bit for bit."""
import functools
import random
import sys
import sysconfig
import types
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

PACKAGE = str(Path(__file__).parents[1])  # ours, which may be installed too
_STDLIB = sysconfig.get_path("stdlib")
_PLAIN = (str, bytes, int, float, complex, type(None))  # they neither change nor hold anything
_ALONE = (type, types.ModuleType, types.FunctionType, types.MethodType, Tensor, Dataset, DataLoader)


class Snapshot:
    """The state of ``roots`` and all that is reached from them, tensors with their gradients, and of the global random
    generators. Followed are containers, attributes of what has a ``state_dict`` (modules, optimizers, schedulers), and
    those of other objects unless their class is another installed package's. Data sets and loaders are left alone:
    they may be large, and a training step does not change them."""

    def __init__(self, *roots: Any):
        self.things: dict[int, tuple[str, Any]] = {}  # held, so that no id comes twice
        self._undo: list[Callable[[], None]] = [
            functools.partial(np.random.set_state, np.random.get_state()),
            functools.partial(random.setstate, random.getstate()),
            functools.partial(torch.set_rng_state, torch.get_rng_state()),
        ]
        if torch.cuda.is_available():
            self._undo.append(functools.partial(torch.cuda.set_rng_state_all, torch.cuda.get_rng_state_all()))
        for root in roots:
            self.add(root)

    def add(self, root: Any, name: str = "") -> None:
        """Remember ``root`` too, as it is now; what is known already keeps its earlier state."""
        ahead = deque([(name, root)])
        while ahead:  # breadth first, so that a path is the shortest
            name, thing = ahead.popleft()
            if id(thing) not in self.things and not isinstance(thing, _PLAIN):
                self.things[id(thing)] = name, thing
                ahead.extend(_children(name, thing))
                self._undo += _undo(thing)

    def found(self, kind: type) -> list[tuple[str, Any]]:
        """All things of a ``kind``, each once, with their shortest attribute paths."""
        return [(name, thing) for name, thing in self.things.values() if isinstance(thing, kind)]

    def restore(self) -> None:
        """Put everything back."""
        for undo in self._undo:
            undo()


def is_installed(file: str) -> bool:
    """Whether a source file belongs to Python or to an installed package."""
    return file.startswith(_STDLIB) or "site-packages" in file or "dist-packages" in file


def _children(name: str, thing: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(thing, dict):
        for place, (key, value) in enumerate(thing.items()):
            yield f"{name}.{key}".removeprefix(".") if isinstance(key, str) else f"{name}[{place}]", value
    elif isinstance(thing, (list, tuple, set, frozenset, deque)):
        yield from ((f"{name}[{place}]", value) for place, value in enumerate(thing))
    elif hasattr(thing, "__dict__") and not isinstance(thing, _ALONE):
        file = getattr(sys.modules.get(type(thing).__module__), "__file__", None) or ""  # none in a notebook
        if hasattr(type(thing), "state_dict") or file.startswith(PACKAGE) or not is_installed(file):
            yield name, vars(thing)


def _undo(thing: Any) -> Iterator[Callable[[], None]]:
    """What puts ``thing`` itself back, if it has a state of its own."""
    if isinstance(thing, Tensor) and thing.is_leaf:
        yield functools.partial(_put, thing, thing.detach().clone(), thing.requires_grad)
        if (gradient := thing.grad) is not None:
            yield functools.partial(setattr, thing, "grad", gradient)
            yield functools.partial(gradient.data.copy_, gradient.detach().clone())
    elif isinstance(thing, torch.Generator):
        yield functools.partial(thing.set_state, thing.get_state())
    for kinds, kind, refill in (((list, deque), list, "extend"), (dict, dict, "update"), (set, set, "update")):
        if isinstance(thing, kinds):
            yield thing.clear
            yield functools.partial(getattr(thing, refill), kind(thing))


def _put(tensor: Tensor, values: Tensor, learns: bool) -> None:
    if not tensor.is_leaf:  # it was written in place, with a history
        tensor.detach_()
    tensor.requires_grad_(learns)
    # Through data: a graph that needs the tensor sees no change.
    if tensor.layout is torch.strided:
        once = tuple(slice(None if stride else 1) for stride in tensor.stride())  # expanded, it lies in memory once
        tensor.data[once].copy_(values[once])
    else:
        tensor.data = values
    tensor.grad = None
