"""What a GAN has beside its cycles, sequence discriminators and the warp loss: whether a training step uses it."""
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch.optim.optimizer import Optimizer

from timecyclegan.checking.findings import Side, parameters_of
from timecyclegan.checking.inputs import Find
from timecyclegan.losses import Losses
from timecyclegan.models.mixins.seq_d_mixin import SequenceDiscriminators
from timecyclegan.models.mixins.warp_loss_mixin import WarpLossMixin


@dataclass
class Group:
    """What happened to a group of sequence discriminators."""

    name: str
    core: SequenceDiscriminators
    shown: bool = False
    generator: Side = field(default_factory=Side)
    discriminator: Side = field(default_factory=Side)


class Beside:
    """Watches sequence discriminators and the warp loss.

    Args:
        groups: of sequence discriminators, by name.
        follow: notes for a side what becomes of terms.
    """

    def __init__(self, groups: Mapping[str, SequenceDiscriminators], follow: Callable[[Side, Losses], None]):
        self.groups = {id(core): Group(name, core) for name, core in groups.items() if core.networks}
        self.warp = Side()
        self.warped = False
        self._follow = follow

    def names(self) -> list[str]:
        """What was watched."""
        return [f"sequence discriminators {g.name}" for g in self.groups.values()] + ["warp loss"] * self.warped

    def spies(self) -> list[tuple[type, str, Callable[..., Any]]]:
        """The methods to watch, with what to call in their place."""
        return [
            (SequenceDiscriminators, "set_input", self._set_input),
            (SequenceDiscriminators, "generator_terms", self._generator_terms),
            (SequenceDiscriminators, "discriminator_terms", self._discriminator_terms),
            (SequenceDiscriminators, "judged", self._judged),
            (WarpLossMixin, "warp_forward", self._warp_forward),
            (WarpLossMixin, "warp_terms", self._warp_terms),
        ]

    def _set_input(self, original, core, *args, **kwargs):
        if id(core) in self.groups:
            self.groups[id(core)].shown = True
        return original(core, *args, **kwargs)

    def _generator_terms(self, original, core):
        losses = original(core)
        if id(core) in self.groups:
            self._follow(self.groups[id(core)].generator, losses)
        return losses

    def _discriminator_terms(self, original, core):
        if id(core) in self.groups:
            self.groups[id(core)].discriminator.computed = True
        return original(core)

    def _judged(self, original, core, losses):
        if id(core) in self.groups:
            self._follow(self.groups[id(core)].discriminator, losses)
        return original(core, losses)

    def _warp_forward(self, original, host, *args, **kwargs):
        self.warped = True
        return original(host, *args, **kwargs)

    def _warp_terms(self, original, host):
        losses = original(host)
        self._follow(self.warp, losses)
        return losses

    # ---- when the step is over

    def diagnose(self, find: Find, optimizers: list[tuple[str, Optimizer]], completed: bool) -> None:
        """Note what is missing; of a step cut short, only what does not depend on its end."""
        held = {id(p) for _, optimizer in optimizers for p in parameters_of(optimizer)}

        def note(name: str, wrong: Callable[[Group], bool], text: str) -> None:
            if at_fault := [group.name for group in self.groups.values() if wrong(group)]:
                find(name, f"{' and '.join(at_fault)}: {text}")

        if optimizers:
            note("sequence discriminators in no optimizer",
                 lambda g: any(id(p) not in held for network in g.core.networks for p in network.parameters()),
                 "parameters of the sequence discriminators are in no optimizer, so they never learn: give "
                 "self.seq_D_parameters() to the discriminator's")  # fmt: skip
        if not completed:
            return
        note("set_seq_D_input never called", lambda g: not g.shown,
             "the sequence discriminators saw nothing in this step: call set_seq_D_input(fake, real)")  # fmt: skip
        for side, method, whose in (("generator", "seq_D_backward", "generator's"),
                                    ("discriminator", "seq_D_backward_D", "discriminator's")):  # fmt: skip
            note(f"{method} never called", lambda g, side=side: g.shown and not getattr(g, side).computed,
                 f"their term was not computed in this step: add {method}() to the {whose} loss")  # fmt: skip
            other = "loss_D" if side == "generator" else "loss_G"
            note(f"{method} in the other side's loss",
                 lambda g, side=side, other=other: other in getattr(g, side).losses,
                 f"{method}() is part of {other}: add it to the {whose} loss")  # fmt: skip
            note(f"{method} never back-propagated", lambda g, side=side: _unreached(getattr(g, side)),
                 f"{method}() was computed, but no .backward() went through it: add it to the {whose} loss before "
                 "its .backward()")  # fmt: skip
        if self.warped and not self.warp.computed:
            find("warp_backward never called", "the warp loss was not asked for in this step: add warp_backward() to "
                 "the generator's loss")  # fmt: skip
        elif _unreached(self.warp):
            find("warp_backward never back-propagated", "warp_backward() was computed, but no .backward() went "
                 "through it: add it to the generator's loss before its .backward()")  # fmt: skip


def _unreached(side: Side) -> bool:
    return bool(side.trains) and not side.reached
