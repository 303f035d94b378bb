"""What one run of a user's training step lets be seen, noted while it runs."""
import contextlib
import functools
import inspect
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.optim.optimizer import Optimizer, register_optimizer_step_pre_hook

from timecyclegan.losses import Losses
from timecyclegan.losses.timecycle import Cycle
from timecyclegan.models.mixins.seq_d_mixin import SequenceDiscriminators
from timecyclegan.models.mixins.timecycle import TimeCycle
from timecyclegan.models.mixins.warp_loss_mixin import WarpLossMixin
from timecyclegan.util.graph import origins, ways
from timecyclegan.util.snapshot import Snapshot

_TERMS = {"generator_terms": "generator", "discriminator_terms": "discriminator", "judged": "discriminator"}
_WATCHED = {  # methods, and what a call of each is noted as
    TimeCycle: {"forward": "fed", "set_discriminator_input": "real", **_TERMS},
    SequenceDiscriminators: {"set_input": "fed", **_TERMS},
    WarpLossMixin: {"warp_forward": "fed", "warp_terms": "generator"},
    Optimizer: {"__init__": "made", "zero_grad": "zero_grad"},
    nn.Module: {"zero_grad": "zero_grad"},
    torch.amp.GradScaler: {"step": "scaled step"},
    torch.autograd: {"backward": "backward"},
    getattr(torch.distributed, "ProcessGroup", None): dict.fromkeys(("allreduce", "allgather", "broadcast"), "shared"),
}


@dataclass
class Event:
    """A call of a watched method with its arguments, or what was seen of a parameter, known by its id: it was
    ``"graded"``, or ``"cleared"``, or an optimizer made a ``"step"``."""

    index: int
    what: str
    owner: Any
    given: dict[str, Any]
    grad: bool  # whether gradients were recorded
    during: int  # the backward pass, by its index
    losses: Losses = field(default_factory=dict)  # terms that were computed
    walk: Cycle | None = None  # of a cycle, the one that it had then
    slopes: list[Tensor] = field(default_factory=list)  # gradients at the terms
    pulls: dict[Any, Tensor] = field(default_factory=dict)  # gradients at the walked clip, and at its origins
    error: Exception | None = None


class Sight(NamedTuple):
    """What a module of the host's saw, and then what it made of it, in M pictures of one size (H, W)."""

    module: nn.Module
    size: tuple[int, int]
    rows: Tensor  # (M, C), fingerprints of all that it saw and made, one after the other
    given: list[Tensor]  # (2, channels) for each tensor that it saw, the lowest and highest values there


class Record:
    """What happens during :meth:`watching`; what may change is added to ``snapshot`` before."""

    def __init__(self, snapshot: Snapshot):
        self.snapshot = snapshot
        self.events: list[Event] = []
        self.histories: dict[int, list[Event]] = defaultdict(list)  # of each parameter
        self.shown: list[Sight] = []
        self.loss = ""  # the host's that is back-propagated now, where that is known
        self._gradients: dict[int, tuple[Tensor, Tensor | None, int]] = {}  # a parameter, its last one and its version
        self._stack = contextlib.ExitStack()
        self._ours = False  # whether it is a cycle that calls modules now
        self._pass: Event | None = None

    def of(self, what: str) -> list[Event]:
        """The events of this kind."""
        return [event for event in self.events if event.what == what]

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """While the block runs, note what happens."""
        with self._stack:
            for owner, methods in _WATCHED.items():
                for name, what in methods.items():
                    if original := getattr(owner, name, None):
                        # As it stands in the class: what getattr makes of a C++ method (a collective, say) is not it.
                        self._stack.callback(setattr, owner, name, vars(owner)[name])
                        setattr(owner, name, self._watched(original, what))
            self._follow(parameter for _, parameter in self.snapshot.found(nn.Parameter))
            self._hook(register_optimizer_step_pre_hook(self._step), register_module_forward_hook(self._show),
                       register_module_forward_pre_hook(lambda module, args: self._meet(module)))  # fmt: skip
            yield
            for parameter, *_ in list(self._gradients.values()):
                self._look(parameter)

    def _hook(self, *hooks: Any) -> None:
        for hook in hooks:
            self._stack.callback(hook.remove)

    def _watched(self, original: Callable[..., Any], what: str) -> Callable[..., Any]:
        signature = None if what == "shared" else inspect.signature(original)

        @functools.wraps(original)
        def call(*args, **kwargs):
            given = dict(signature.bind(*args, **kwargs).arguments) if signature else {"tensors": args[1:]}
            owner, before = next(iter(given.values())), (self._ours, self._pass)
            event = self._note(what, owner, given)
            self._ours |= isinstance(owner, TimeCycle)
            if what == "zero_grad":
                self._meet(owner)
            elif what == "scaled step":  # which may find infinities, and make none
                self._step(given["optimizer"])
            elif what == "backward" and not self._pass:
                roots, self._pass = given["tensors"], event
                event.given = {"ways": ways(*([roots] if isinstance(roots, Tensor) else roots)), "loss": self.loss}
                self._follow(node.variable for node in event.given["ways"] if hasattr(node, "variable"))
            try:
                made = original(*args, **kwargs)
            except Exception as error:
                event.error = error
                raise
            finally:
                self._ours, self._pass = before
            if what == "made":
                self._meet(owner)
            event.losses = made if what == "generator" else given.get("losses", {})
            event.walk = owner.cycle if isinstance(owner, TimeCycle) else None
            for value, _ in event.losses.values():
                if value.requires_grad:  # the hook must not hold the term, which holds it
                    self._hook(value.register_hook(event.slopes.append))
            if what == "fed" and event.walk and event.walk.sequence.requires_grad:
                self._hook(event.walk.sequence.register_hook(functools.partial(self._pull, event, "clip")))
                for edge in origins(event.walk.sequence):
                    pull = functools.partial(self._pull, event, edge)
                    self._hook(edge.node.register_prehook(lambda all_, pull=pull, edge=edge: pull(all_[edge[1]])))
            return made

        return call

    def _note(self, what: str, owner: Any, given: dict[str, Any] | None = None) -> Event:
        during = self._pass.index if self._pass else -1
        self.events.append(Event(len(self.events), what, owner, given or {}, torch.is_grad_enabled(), during))
        if what in ("graded", "cleared"):
            self.histories[owner].append(self.events[-1])
        return self.events[-1]

    def _pull(self, event: Event, place: Any, gradient: Tensor | None) -> None:
        if self._pass and gradient is not None:
            event.pulls[place] = event.pulls.get(place, 0) + gradient.detach()

    def _meet(self, owner: nn.Module | Optimizer) -> None:
        known = len(self.snapshot.things)
        self.snapshot.add(owner)
        if len(self.snapshot.things) > known:
            self._follow(parameter for _, parameter in self.snapshot.found(nn.Parameter))

    def _follow(self, parameters: Iterable[Tensor]) -> None:
        """Watch their gradients. Where there is none they get zeros, so that taking these away can be seen."""
        for parameter in parameters:
            if id(parameter) not in self._gradients and parameter.is_leaf and parameter.is_floating_point():
                self.snapshot.add(parameter)
                wanted = parameter.requires_grad
                parameter.requires_grad_(True)  # else it takes no hooks; the step may thaw it
                parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
                self._hook(parameter.register_hook(lambda gradient, parameter=parameter: self._look(parameter)),
                           parameter.register_post_accumulate_grad_hook(self._graded))  # fmt: skip
                parameter.requires_grad_(wanted)
                self._gradients[id(parameter)] = parameter, parameter.grad, parameter.grad._version

    def _graded(self, parameter: Tensor) -> None:
        self._note("graded", id(parameter))
        self._gradients[id(parameter)] = parameter, parameter.grad, parameter.grad._version

    def _look(self, parameter: Tensor) -> None:
        """Note whether its gradient was taken away or set to zero since it was last seen."""
        (_, old, version), gradient = self._gradients[id(parameter)], parameter.grad
        if gradient is None or ((gradient is not old or gradient._version != version) and not gradient.any()):
            self._note("cleared", id(parameter))
        self._gradients[id(parameter)] = parameter, gradient, 0 if gradient is None else gradient._version

    def _step(self, optimizer: Optimizer, *args: Any) -> None:
        self._meet(optimizer)
        event = self._note("step", optimizer)
        for key in parameters_of(optimizer) & self._gradients.keys():
            self._look(self._gradients[key][0])
            self.histories[key].append(event)

    def _show(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if self._ours or self._pass:
            return
        volumes, seen = any(p.dim() == 5 for p in module.parameters()), defaultdict(lambda: ([], []))
        for place, one in [*((0, one) for one in args), (1, output)]:
            if isinstance(one, Tensor) and one.dim() == 4 + volumes and one.is_floating_point() and one.numel():
                pictures = one.detach().transpose(1, 2).flatten(0, 1) if volumes else one.detach()
                if pictures.shape[1] <= 64:  # more are features
                    rows, given = seen[len(pictures), *pictures.shape[2:]]
                    rows.append(fingerprint(pictures))
                    given.extend([torch.stack(pictures.transpose(0, 1).flatten(1).aminmax(dim=1)).cpu()] * (not place))
        for (_, *size), (rows, given) in seen.items():
            self.shown.append(Sight(module, tuple(size), torch.cat(rows, 1), given))


def parameters_of(owner: Optimizer | nn.Module) -> set[int]:
    """The parameters of an optimizer or a module."""
    groups = owner.param_groups if isinstance(owner, Optimizer) else [{"params": owner.parameters()}]
    return {id(p) for group in groups for p in group["params"]}


def fingerprint(video: Tensor) -> Tensor:
    """Pictures (.., H, W) as numbers (..), which are equal, but for rounding, where the pictures are."""
    weights = torch.rand(video.shape[-2] * video.shape[-1], 1, generator=torch.Generator().manual_seed(1)).double()
    return (video.detach().double().flatten(-2) @ weights.to(video.device)).squeeze(-1).cpu()


def shows(rows: Tensor, clip: Tensor) -> Tensor:
    """Which of ``rows`` (M, C') show, from which channel on, which frame of ``clip`` (N, T, C), all fingerprints:
    (M, places, N, T)."""
    if clip.shape[2] > rows.shape[1]:
        return torch.zeros(len(rows), 1, *clip.shape[:2], dtype=torch.bool)
    windows = rows.unfold(1, clip.shape[2], 1)[:, :, None, None]
    return (torch.isclose(windows, clip, rtol=1e-9, atol=1e-7) & windows.isfinite()).all(dim=-1)
