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
        self._undo: list[Callable[[], None]] = []
        for get, put in (
            (torch.get_rng_state, torch.set_rng_state), (np.random.get_state, np.random.set_state),
            (random.getstate, random.setstate), (torch.cuda.get_rng_state_all, torch.cuda.set_rng_state_all),
        )[: 4 if torch.cuda.is_available() else 3]:  # fmt: skip
            self._undo.append(functools.partial(put, get()))
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
        values, gradient, wanted = thing.detach().clone(), thing.grad, thing.requires_grad
        slopes = None if gradient is None else gradient.detach().clone()

        def restore() -> None:
            if not thing.is_leaf:  # it was written in place, with a history
                thing.detach_()
            thing.requires_grad_(wanted)
            thing.data.copy_(values)  # through data: a graph that needs the tensor sees no change
            thing.grad = gradient
            if gradient is not None:
                gradient.data.copy_(slopes)

        yield restore
    elif isinstance(thing, torch.Generator):
        state = thing.get_state()
        yield lambda: thing.set_state(state)
    elif isinstance(thing, (list, deque)):
        items = list(thing)
        yield lambda: (thing.clear(), thing.extend(items))
    elif isinstance(thing, (dict, set)):
        items = thing.copy() if isinstance(thing, set) else dict(thing)
        yield lambda: (thing.clear(), thing.update(items))
