"""What is known about a user's cycles after a training step."""
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor
from torch.optim.optimizer import Optimizer

from timecyclegan.models.mixins.timecycle import TimeCycle


class Finding(NamedTuple):
    """A fault: its name, always in the same words, then what was seen and what to do."""

    name: str
    text: str

    def __str__(self) -> str:
        return f"{self.name}: {self.text}"


@dataclass
class Side:
    """What became of a cycle's loss for the generator's side, or for the discriminators'."""

    computed: bool = False
    terms: int = 0  # in it
    trains: dict[int, Tensor] = field(default_factory=dict)  # the parameters that it depends on
    reached: bool = False  # a backward pass went through it
    late: bool = False  # the generator had its gradient before this loss was computed
    waiting: bool = False  # its gradient was neither used nor cleared yet
    cleared: bool = False  # by zero_grad
    gone: bool = False  # there was none when its optimizer made a step
    used: bool = False  # an optimizer made a step with it
    losses: set[str] = field(default_factory=set)  # of the host's that it is in, where that is known


@dataclass
class Seen:
    """What happened to one cycle."""

    name: str
    core: TimeCycle
    walks: int = 0
    attached: bool = False  # whether the last sequence has a gradient
    made_by: dict[int, Tensor] = field(default_factory=dict)  # the parameters behind sequences and conditions
    generator_only: set[int] = field(default_factory=set)  # those that only the last sequence depends on
    shown: dict[str, Tensor] = field(default_factory=dict)  # what the host showed each discriminator first
    walked: bool = False  # whether there was something to walk when the terms were taken
    videos: dict[str, list[Tensor]] = field(default_factory=dict)  # what the cycle had then
    real_condition: bool = False  # whether the real sequence came with one
    generator: Side = field(default_factory=Side)
    discriminator: Side = field(default_factory=Side)

    def motion(self) -> dict[int, Tensor]:
        """The parameters of the motion models, of those of the host's too that the sequence does not depend on."""
        registered = {id(p): p for p in self.core.parameters()}
        others = self.generator.trains.keys() - self.made_by.keys() - self.discriminator.trains.keys()
        return registered | {key: self.generator.trains[key] for key in others}

    def recipients(self, side: Side) -> dict[int, Tensor]:
        """The parameters that tell whether an optimizer used a gradient of ``side``."""
        motion = {key: p for key, p in self.motion().items() if key in side.trains}
        return motion if side is self.generator and motion else side.trains


def parameters_of(optimizer: Optimizer) -> list[Tensor]:
    """All parameters of an optimizer."""
    return [p for group in optimizer.param_groups for p in group["params"]]


def leaves(tensors: Iterable[Tensor]) -> dict[int, Tensor]:
    """By id, the tensors that learn, which the graph of ``tensors`` begins with."""
    found = {id(t): t for t in tensors if t.requires_grad and t.is_leaf}
    ahead, known = [t.grad_fn for t in tensors if t.grad_fn is not None], set()
    while ahead:
        node = ahead.pop()
        if node in known:
            continue
        known.add(node)
        if hasattr(node, "variable"):
            found[id(node.variable)] = node.variable
        ahead += [following for following, _ in node.next_functions if following is not None]
    return found
