"""Watches a training step of a user's GAN: what is given to its cycles, and what becomes of their losses."""
import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import Optimizer, register_optimizer_step_pre_hook

from timecyclegan.checking import inputs as check_input
from timecyclegan.checking.beside import Beside
from timecyclegan.checking.findings import Finding, Seen, Side, leaves, parameters_of
from timecyclegan.losses import Losses
from timecyclegan.models.mixins import timecycle
from timecyclegan.models.mixins.seq_d_mixin import SequenceDiscriminators
from timecyclegan.models.mixins.timecycle import TimeCycle


class Record:
    """Watches cycles, optimizers and backward passes during :meth:`watching`.

    Args:
        cores: the cycles by name.
        groups: of sequence discriminators, by name.
        parameters: of the whole GAN.
        meet: told of each optimizer before it changes anything.
    """

    def __init__(
        self, cores: dict[str, TimeCycle], groups: dict[str, SequenceDiscriminators],
        parameters: Iterable[nn.Parameter], meet: Callable[[Optimizer], None],
    ):  # fmt: skip
        self.seen = {id(core): Seen(name, core) for name, core in cores.items()}
        self.beside = Beside(groups, self._follow)
        self.parameters = [p for p in parameters if p.requires_grad]
        self.meet = meet
        self.findings: dict[tuple[str, str], Finding] = {}
        self.explained: Exception | None = None  # raised for a reason that is among the findings
        self.judging = False  # whether it is a cycle that calls a discriminator now
        self.backwards = 0
        self.loss = ""  # the host's that is back-propagated now, where that is known
        self.graded: set[int] = set()  # the parameters that got a gradient
        self.stepped: dict[int, Optimizer] = {}

    def find(self, name: str, text: str, cycle: str = "") -> None:
        """Note a fault, once for each cycle."""
        where = f"cycle {cycle!r}: " if len(self.seen) > 1 and cycle else ""
        self.findings.setdefault((name, cycle), Finding(name, where + text))

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """While the block runs, note what happens."""
        spies = [
            (TimeCycle, "forward", self._forward),
            (TimeCycle, "set_discriminator_input", self._set_discriminator_input),
            (TimeCycle, "generator_terms", self._generator_terms),
            (TimeCycle, "discriminator_terms", self._discriminator_terms),
            (TimeCycle, "judged", self._judged),
            (TimeCycle, "_walked", self._walked),
            (torch.autograd, "backward", self._backward),
            (Optimizer, "zero_grad", self._zero_grad),
            (nn.Module, "zero_grad", self._zero_grad),
            *self.beside.spies(),
        ]
        with contextlib.ExitStack() as stack:
            for owner, name, spy in spies:
                stack.enter_context(_replaced(owner, name, spy))
            handle = register_optimizer_step_pre_hook(lambda optimizer, *_: self._step(optimizer))
            stack.callback(handle.remove)
            for parameter in self.parameters:
                note = functools.partial(self._graded, id(parameter))
                stack.callback(parameter.register_hook(note).remove)
            for seen in self.seen.values():
                for judge in seen.core.judges:
                    spy = functools.partial(self._judge, seen.shown, judge.name)
                    stack.callback(judge.network.register_forward_pre_hook(spy).remove)
            yield

    # ---- the cycle

    def _of(self, core: TimeCycle) -> tuple[Seen, check_input.Find]:
        seen = self.seen.setdefault(id(core), Seen("TimeCycle", core))
        return seen, functools.partial(self.find, cycle=seen.name)

    def _forward(self, original, core, sequence, condition=None, ignore_first_n=0):
        seen, find = self._of(core)
        with self._explaining():
            given = {"sequence": sequence}
            if core.type.conditional and condition is None:
                find("condition missing", "a conditional cycle sees the source of each frame: "
                     "timecycle_forward(fake, source); without one, timecycle_type is 'unconditional'")  # fmt: skip
            elif core.type.conditional:
                given["condition"] = condition
            good = check_input.look_at(find, given, ignore_first_n)
            seen.walks += 1
            if len(good) < len(given):
                return original(core, sequence, condition, ignore_first_n)
            self._look_behind(seen, sequence, *([condition] if "condition" in given else []))
            check_input.look_at_length(find, core, good["sequence"], ignore_first_n)
            with check_input.motion_models(find, core, good["sequence"], good.get("condition")):
                return original(core, sequence, condition, ignore_first_n)

    def _look_behind(self, seen: Seen, *videos: Any) -> None:
        """Note what the sequence, first of ``videos``, and the condition were made by."""
        behind = [leaves([video] if isinstance(video, Tensor) else video) for video in videos]
        seen.attached = bool(behind[0])
        seen.generator_only = behind[0].keys() - set().union(*behind[1:])
        for some in behind:
            seen.made_by |= some

    def _set_discriminator_input(self, original, core, real, condition=None, ignore_first_n=0):
        _, find = self._of(core)
        with self._explaining():
            given = {"real sequence": real} | ({} if condition is None else {"condition of the real one": condition})
            check_input.look_at(find, given, ignore_first_n)
            return original(core, real, condition, ignore_first_n)

    def _walked(self, original, core):
        seen, find = self._of(core)
        with self._explaining():
            if not seen.walks:
                find("timecycle_forward never called", "the cycle's loss was asked for before it saw this step's "
                     "sequence: call timecycle_forward(fake, source) first, in every step")  # fmt: skip
            return original(core)

    def _generator_terms(self, original, core):
        seen, find = self._of(core)
        losses = self._computed(seen, find, functools.partial(original, core))
        self._note(seen, find, seen.generator, losses)
        if losses and torch.is_grad_enabled() and not seen.attached:
            find("detached sequence", "the sequence that TimeCycle walks has no gradient, so the loss does not train "
                 "the generator: give the generated sequence as it is, without detach() and not made in "
                 "torch.no_grad()")  # fmt: skip
        return losses

    def _discriminator_terms(self, original, core):
        seen, find = self._of(core)
        seen.discriminator.computed = True
        return self._computed(seen, find, functools.partial(original, core))

    def _judged(self, original, core, losses):
        seen, find = self._of(core)
        self._note(seen, find, seen.discriminator, losses)
        return original(core, losses)

    def _computed(self, seen: Seen, find: check_input.Find, compute: Callable[[], Losses]) -> Losses:
        def explain(error: Exception) -> None:
            unlike = check_input.unlike(seen.core)
            if unlike or (seen.walks and _raised_in(error, timecycle.__file__)):
                find("discriminator with the wrong input", unlike or str(error))

        with self._explaining(explain), check_input.discriminators(find, seen.core):
            self.judging = True
            try:
                return compute()
            finally:
                self.judging = False

    def _note(self, seen: Seen, find: check_input.Find, side: Side, losses: Losses) -> None:
        """Note on ``side`` what terms there are, and what becomes of them."""
        # Kept now: a step's tensors end with it.
        seen.walked |= seen.core.cycle is not None
        seen.videos = check_input.kept_videos(seen.core)
        seen.real_condition = getattr(seen.core._shown, "condition", None) is not None
        side.late = bool(seen.generator_only & self.graded)
        self._follow(side, losses)
        for name, (value, _) in losses.items():
            if not value.isfinite().all():
                find("not a number", f"the term {name!r} is {value.item()}")

    def _follow(self, side: Side, losses: Losses) -> None:
        """Note on ``side`` what becomes of its terms."""
        side.computed = True
        side.terms += len(losses)
        for value, _ in losses.values():
            if value.requires_grad:
                side.trains |= leaves([value])
                value.register_hook(functools.partial(self._reached, side))

    def _judge(self, shown: dict[str, Tensor], name: str, network: nn.Module, args: tuple[Tensor, ...]) -> None:
        if not self.judging and args:
            shown.setdefault(name, args[0].detach())

    @contextlib.contextmanager
    def _explaining(self, explain: Callable[[Exception], None] = lambda error: None) -> Iterator[None]:
        """An error that comes with a finding needs no other; ``explain`` may make one."""
        before = len(self.findings)
        try:
            yield
        except Exception as error:
            if len(self.findings) == before:
                explain(error)
            if len(self.findings) > before:
                self.explained = error
            raise

    # ---- gradients

    def _graded(self, parameter: int, gradient: Tensor) -> None:
        self.graded.add(parameter)

    def got_none(self, parameters: Iterable[int]) -> bool:
        """Whether surely no gradient reached any of ``parameters``."""
        return {id(p) for p in self.parameters} - self.graded >= set(parameters)

    def _reached(self, side: Side, gradient: Tensor) -> None:
        side.reached = side.waiting = True
        if self.loss:
            side.losses.add(self.loss)

    def _backward(self, original, *args, **kwargs):
        self.backwards += 1
        return original(*args, **kwargs)

    def _zero_grad(self, original, owner, *args, **kwargs):
        if isinstance(owner, Optimizer):
            self.meet(owner)
        parameters = {id(p) for p in (parameters_of(owner) if isinstance(owner, Optimizer) else owner.parameters())}
        for seen, side in self._sides():
            if side.waiting and parameters & seen.recipients(side).keys():
                side.waiting, side.cleared = False, True
        return original(owner, *args, **kwargs)

    def _step(self, optimizer: Optimizer) -> None:
        self.meet(optimizer)
        self.stepped[id(optimizer)] = optimizer
        parameters = {id(p) for p in parameters_of(optimizer)}
        for seen, side in self._sides():
            mine = [p for key, p in seen.recipients(side).items() if key in parameters]
            if side.waiting and mine:
                side.waiting = False
                side.used = any(p.grad is not None and not self.got_none([id(p)]) for p in mine)
                side.gone = all(p.grad is None for p in mine)

    def _sides(self) -> Iterator[tuple[Seen, Side]]:
        for seen in self.seen.values():
            yield seen, seen.generator
            yield seen, seen.discriminator


def _raised_in(error: Exception, file: str) -> bool:
    trace = error.__traceback__
    while trace.tb_next:
        trace = trace.tb_next
    return trace.tb_frame.f_code.co_filename == file


@contextlib.contextmanager
def _replaced(owner: Any, name: str, spy: Callable[..., Any]) -> Iterator[None]:
    """While the block runs, calls of ``owner.name`` go to ``spy``, with the original before their arguments."""
    original = getattr(owner, name)

    @functools.wraps(original)
    def call(*args, **kwargs):
        return spy(original, *args, **kwargs)

    setattr(owner, name, call)
    try:
        yield
    finally:
        setattr(owner, name, original)
