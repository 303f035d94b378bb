"""What the mixins ask of the class that they are mixed into, which may be any class, and what they keep in it."""
import copy
import inspect
import weakref
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from timecyclegan.losses import Losses
from timecyclegan.util.errors import UserError

DEFAULT_NAME = "target"  # of the only cycle, or group of sequence discriminators, that a host has
Video = Tensor | Sequence[Tensor]


def as_video(sequence: Video) -> Tensor:
    """A (N, T, C, H, W) tensor, or a list of T tensors (N, C, H, W), as the former."""
    video = sequence if isinstance(sequence, Tensor) else torch.stack(list(sequence), dim=1)
    if video.dim() != 5:
        raise ValueError(f"a sequence is (N, T, C, H, W) or a list of (N, C, H, W), not {tuple(video.shape)}")
    if not video.is_floating_point():
        raise ValueError(f"a sequence has values in [-1, 1], not numbers of {video.dtype}: give bytes as x / 127.5 - 1")
    return video


def check_ignored(ignore_first_n: int) -> None:
    """Refuse what is no number of frames to leave out."""
    if ignore_first_n < 0:
        raise ValueError(f"ignore_first_n is a number of frames, not {ignore_first_n}")


def not_negative(name: str, weight: float) -> None:
    """Refuse a weight below 0, which would reward what a loss punishes."""
    if not 0 <= weight < float("inf"):
        raise UserError(f"{name} must be 0 or more, not {weight}")


def named(parts: Mapping[str, Any], name: str | None, kind: str, remedy: str) -> dict[str, Any]:
    """Of a host's ``parts`` the one called ``name``, or all of them.

    Raises:
        ValueError: there is none of this name; says which there are, and the ``remedy``.
    """
    if name is None:
        return dict(parts.items())
    if name not in parts:
        known = ", ".join(parts.keys()) or "none"
        raise ValueError(f"there is no {kind} called {name!r} (defined: {known}): {remedy}")
    return {name: parts[name]}


# ---- the tensors of a step


class Step:
    """The tensors of one training step, as attributes. They end with it: a copy of their owner begins without them.

    Args:
        sides: whose losses are computed from the tensors. When those of all sides were back-propagated, the tensors
            are let go; without sides, when :meth:`clear` is called.
    """

    def __init__(self, *sides: str, **tensors: Any):
        self._ahead = set(sides)
        vars(self).update(tensors)

    def taken(self, side: str, losses: Losses) -> Losses:
        """Note that the ``losses`` of a side were computed; they are returned."""
        # The graph holds its hooks: they must not hold the tensors, which hold the graph.
        step = weakref.ref(self)
        for value, _ in losses.values():
            if value.requires_grad:
                value.register_hook(lambda gradient: _back_propagated(step(), side))
        return losses

    def clear(self) -> None:
        """Let go of everything, also of what steps among the attributes hold."""
        inner = [value for value in vars(self).values() if isinstance(value, Step)]
        vars(self).clear()
        for step in inner:
            step.clear()

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"there is no {name}: the training step has not begun, or is over")

    def __deepcopy__(self, memo: dict[int, Any]) -> "Step":
        return Step()

    def __reduce__(self) -> tuple[Any, ...]:
        return Step, ()


def _back_propagated(step: Step | None, side: str) -> None:
    ahead = vars(step).get("_ahead", set()) if step else set()
    if side in ahead:
        ahead.remove(side)
        if not ahead:
            step.clear()


def copy_host(host: Any, memo: dict[int, Any]) -> Any:
    """``__deepcopy__`` of a host. What a step left in attributes, lists and dictionaries (losses, generated clips) is
    copied without its history: PyTorch refuses to copy such tensors."""
    ahead, known = [vars(host)], set()
    while ahead:
        thing = ahead.pop()
        if isinstance(thing, Tensor) and not thing.is_leaf:
            memo[id(thing)] = thing.detach().clone()
        elif isinstance(thing, (dict, list, tuple)) and id(thing) not in known:
            known.add(id(thing))
            ahead += thing.values() if isinstance(thing, dict) else thing
    # The next class behind the mixins that says how it is copied; those before them have called this.
    bases = type(host).__mro__
    last = max(place for place, base in enumerate(bases) if vars(base).get("__deepcopy__") is copy_host)
    for base in bases[last + 1 :]:
        if "__deepcopy__" in vars(base):
            return base.__deepcopy__(host, memo)
    make, arguments, state, *_ = host.__reduce_ex__(4)
    twin = memo[id(host)] = make(*arguments)
    state = copy.deepcopy(state, memo)
    if hasattr(twin, "__setstate__"):
        twin.__setstate__(state)
    else:
        attributes, slots = state if isinstance(state, tuple) else (state, None)
        vars(twin).update(attributes or {})
        for name, value in (slots or {}).items():
            setattr(twin, name, value)
    return twin


# ---- networks that belong to the host


class Place:
    """Where a network of a host's lives, so that one which was put in its place (wrapped, compiled) is the one used."""

    def __init__(self, owner: Any, *path: Any):
        self.owner, self.path = owner, path

    def find(self) -> Any:
        """The network that is there now."""
        thing = self.owner
        for key in self.path:
            thing = thing[key] if isinstance(thing, (dict, list, tuple, nn.ModuleDict)) else getattr(thing, key)
        return thing


class CriterionPlace(Place):
    """Where a host's adversarial criterion is to be found: first at ``given``, the attribute with what the caller
    gave for it, then at ``criterion_GAN`` and ``criterionGAN``, which may come later; else it is "lsgan"."""

    def __init__(self, owner: Any, *given: str):
        super().__init__(owner, *given, "criterion_GAN", "criterionGAN")

    def find(self) -> Any:
        """The criterion that there is now, see ``losses.gan.objective``."""
        found = (getattr(self.owner, name, None) for name in self.path)
        return next((criterion for criterion in found if criterion is not None), "lsgan")


def find(network: Any) -> Any:
    """The network (or criterion) itself, or the one at a :class:`Place`."""
    return network.find() if isinstance(network, Place) else network


def locate(owner: Any, network: Any) -> Any:
    """The :class:`Place` of ``network`` among the attributes of ``owner``, in its modules and containers too; if it is
    nowhere there, the network itself, and a place as it is. A method of a network is at the network's place."""
    if isinstance(network, Place):
        return network
    if inspect.ismethod(network):  # made anew each time: what it is a method of has a place
        place = locate(owner, network.__self__)
        return Place(owner, *place.path, network.__name__) if isinstance(place, Place) else network
    ahead: deque[tuple[tuple[Any, ...], Any]] = deque([((), vars(owner))])
    known: set[int] = set()
    while ahead:  # breadth first: the shortest path
        path, thing = ahead.popleft()
        if thing is network:
            return Place(owner, *path)
        if id(thing) in known:
            continue
        known.add(id(thing))
        if isinstance(thing, nn.Module):
            ahead.extend(((*path, name), child) for name, child in thing.named_children())
        if isinstance(thing, dict):
            ahead.extend(((*path, key), value) for key, value in thing.items() if key != "_modules")
            ahead.extend(((*path, key), value) for key, value in thing.get("_modules", {}).items())
        elif isinstance(thing, (list, tuple)):
            ahead.extend(((*path, place), value) for place, value in enumerate(thing))
    return network
