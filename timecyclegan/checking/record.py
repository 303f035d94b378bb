"""Notes what happens in a training step of a user's GAN, while it runs."""
import contextlib
import functools
import inspect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import Optimizer, register_optimizer_step_pre_hook

from timecyclegan.losses import Losses
from timecyclegan.losses.timecycle import Cycle
from timecyclegan.models.mixins.seq_d_mixin import SequenceDiscriminators
from timecyclegan.models.mixins.timecycle import TimeCycle
from timecyclegan.models.mixins.warp_loss_mixin import WarpLossMixin

_TERMS = {"generator_terms": "generator", "discriminator_terms": "discriminator", "judged": "discriminator"}
_WATCHED = {  # methods, and what a call of each is noted as
    TimeCycle: {"forward": "fed", "set_discriminator_input": "real", **_TERMS},
    SequenceDiscriminators: {"set_input": "fed", **_TERMS},
    WarpLossMixin: {"warp_forward": "fed", "warp_terms": "generator"},
    Optimizer: {"__init__": "made", "zero_grad": "zero_grad"},
    nn.Module: {"zero_grad": "zero_grad"},
    torch.autograd: {"backward": "backward"},
}


@dataclass
class Event:
    """A call of a watched method with its arguments, or one of the following. Parameters are known by their ids.

    A backward pass ``"reached"`` the term with the id ``owner``, or ``"graded"`` a parameter; given is the host's
    ``loss`` that was back-propagated, where that is known. ``"step"``: of an optimizer; given is for each of its
    parameters whether it has a gradient.
    """

    index: int
    what: str
    owner: Any
    given: dict[Any, Any]
    grad: bool  # whether gradients were recorded
    losses: Losses  # terms that were computed
    walk: Cycle | None = None  # of a cycle, the one that it had then
    error: Exception | None = None


class Record:
    """What happens during :meth:`watching`; ``meet`` is told of each optimizer before it changes any parameters."""

    def __init__(self, parameters: Iterable[nn.Parameter], meet: Callable[[Optimizer], None]):
        self.parameters = {id(p): p for p in parameters if p.requires_grad}
        self.meet = meet
        self.events: list[Event] = []
        self.shown: dict[int, Tensor] = {}  # by the id of a discriminator, what the host itself showed it first
        self.loss = ""  # the host's that is back-propagated now, where that is known
        self._judging = False  # whether it is a cycle that calls a discriminator now

    def of(self, what: str) -> list[Event]:
        """The events of this kind."""
        return [event for event in self.events if event.what == what]

    @contextlib.contextmanager
    def watching(self, discriminators: Iterable[nn.Module]) -> Iterator[None]:
        """While the block runs, note what happens, and what the host shows to ``discriminators``."""
        with contextlib.ExitStack() as stack:
            for owner, methods in _WATCHED.items():
                for name, what in methods.items():
                    stack.callback(setattr, owner, name, getattr(owner, name))
                    setattr(owner, name, self._watched(getattr(owner, name), what))
            hooks = [p.register_hook(functools.partial(self._pass, "graded", id(p))) for p in self.parameters.values()]
            hooks += [network.register_forward_pre_hook(self._show) for network in discriminators]
            for hook in [*hooks, register_optimizer_step_pre_hook(self._step)]:
                stack.callback(hook.remove)
            yield

    def _watched(self, original: Callable[..., Any], what: str) -> Callable[..., Any]:
        signature = inspect.signature(original)

        @functools.wraps(original)
        def call(*args, **kwargs):
            given = signature.bind(*args, **kwargs).arguments
            owner = next(iter(given.values()))
            event, judging = self._note(what, owner, given), self._judging
            self._judging |= isinstance(owner, TimeCycle)
            if what == "zero_grad" and isinstance(owner, Optimizer):
                self.meet(owner)
            try:
                made = original(*args, **kwargs)
            except Exception as error:
                event.error = error
                raise
            finally:
                self._judging = judging
            event.losses = made if what == "generator" else given.get("losses", {})
            event.walk = owner.cycle if isinstance(owner, TimeCycle) else None
            for value, _ in event.losses.values():
                if value.requires_grad:  # the hook must not hold the term, which holds it
                    value.register_hook(functools.partial(self._pass, "reached", id(value)))
            return made

        return call

    def _note(self, what: str, owner: Any, given: dict[Any, Any]) -> Event:
        self.events.append(Event(len(self.events), what, owner, given, torch.is_grad_enabled(), {}))
        return self.events[-1]

    def _pass(self, what: str, owner: int, gradient: Tensor) -> None:
        self._note(what, owner, {"loss": self.loss})

    def _step(self, optimizer: Optimizer, *args: Any) -> None:
        self.meet(optimizer)
        parameters = (p for group in optimizer.param_groups for p in group["params"])
        self._note("step", optimizer, {id(p): p.grad is not None for p in parameters})

    def _show(self, network: nn.Module, args: tuple[Tensor, ...]) -> None:
        if not self._judging and args:
            self.shown.setdefault(id(network), args[0].detach())


def parameters_of(owner: Optimizer | nn.Module) -> set[int]:
    """The parameters of an optimizer or a module."""
    groups = owner.param_groups if isinstance(owner, Optimizer) else [{"params": owner.parameters()}]
    return {id(p) for group in groups for p in group["params"]}


def leaves(tensor: Tensor | None) -> set[int]:
    """The parameters, or other tensors that learn, which the graph of ``tensor`` begins with."""
    found, known, ahead = set(), {None}, [getattr(tensor, "grad_fn", None)]
    while ahead:
        node = ahead.pop()
        if node not in known:
            known.add(node)
            found |= {id(node.variable)} if hasattr(node, "variable") else set()
            ahead += [following for following, _ in node.next_functions]
    return found
