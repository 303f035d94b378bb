"""One training step of a user's GAN, watched: says in plain words what is wrong with its TimeCycle."""
import functools
import inspect
import traceback
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import Optimizer

from timecyclegan.models.mixins.check_findings import Finding, Seen, Side, parameters_of
from timecyclegan.models.mixins.check_input import Find, look_at_order
from timecyclegan.models.mixins.check_record import Record
from timecyclegan.models.mixins.host import DEFAULT_NAME
from timecyclegan.models.mixins.timecycle import TimeCycle
from timecyclegan.training.checkpoint import random_state, set_random_state
from timecyclegan.util.errors import UserError
from timecyclegan.util.snapshot import Snapshot, reachable

LOSSES = ("loss_D", "loss_G")  # what a host that does not back-propagate leaves to be back-propagated


def check_mixin(gan: Any, batch: Any, step: Callable[[Any], Any] | None = None, verbose: bool = True) -> list[Finding]:
    """Make one training step of ``gan`` and find what is wrong with its TimeCycle.

    The GAN is left as it was, bit for bit: networks, gradients, modes, optimizers, schedulers, random numbers, and the
    attributes and containers of its own objects. What the step writes elsewhere (files, a logger) stays written.

    Args:
        gan: a host of ``TimeCycleMixin``, an object that holds a ``TimeCycle``, or, for a script, the ``TimeCycle``.
        batch: what a step takes.
        step: makes one step with a batch. Needed where the host has none of ``set_input`` with
            ``optimize_parameters``, ``training_step``, ``train_step``, or ``forward`` with ``backward`` (if nothing
            was back-propagated then, ``loss_D`` and ``loss_G`` are). A batch that is a dict, a tuple or a list is
            spread over the arguments, unless there is one called ``batch``. If the generator does not learn in every
            step, give a ``step`` that makes as many as it takes.
        verbose: print the findings.

    Returns:
        The findings, empty if all is well: ``assert not check_mixin(gan, batch)``. Each has a ``name``, always in the
        same words for the same fault, and a ``text`` that says what was seen and what to do. A step that raises an
        exception is a finding too.

    Raises:
        UserError: it cannot be told how to make a step.
    """
    make_step = functools.partial(step, batch) if step else _guess_step(gan, batch)
    numbers, snapshot = random_state(), Snapshot(gan, batch)
    for name, value in _around(step).items():
        snapshot.add(value, name)
    parameters = [parameter for _, parameter in snapshot.found(nn.Parameter)]
    record = Record(_named(snapshot.found(TimeCycle)), parameters, snapshot.add)
    try:
        with torch.enable_grad(), record.watching():
            completed = _make(gan, make_step, record)
        # Some are made in the first step.
        optimizers = {id(thing): (name, thing) for name, thing in [*reachable(gan), *snapshot.found(Optimizer)]
                      if isinstance(thing, Optimizer)}  # fmt: skip
        _diagnose(record, list(optimizers.values()), completed)
    finally:
        snapshot.restore()
        set_random_state(numbers)
    findings = list(record.findings.values())
    if verbose:
        _print(findings, record)
    return findings


def _named(cores: list[tuple[str, TimeCycle]]) -> dict[str, TimeCycle]:
    """Cycles by the last part of their paths where that is clear, or by path."""
    short = {name.rsplit(".", 1)[-1] or DEFAULT_NAME: core for name, core in cores}
    return short if len(short) == len(cores) else dict(cores)


# ---- the step


def _guess_step(gan: Any, batch: Any) -> Callable[[], Any]:
    def has(*names: str) -> bool:
        return all(callable(getattr(gan, name, None)) for name in names)

    if has("set_input", "optimize_parameters"):
        return lambda: (gan.set_input(batch), gan.optimize_parameters())[1]
    for name in ("training_step", "train_step", "optimize_parameters"):
        if has(name):
            return _spread(getattr(gan, name), batch)
    if has("forward", "backward"):
        forward, backward = _spread(gan.forward, batch), _spread(gan.backward, ())
        return lambda: (forward(), backward())[1]
    raise UserError(
        f"check_mixin: {type(gan).__name__} has no training_step, train_step, optimize_parameters, or forward with "
        "backward: say how to make a step with step=lambda batch: ..."
    )


def _spread(method: Callable[..., Any], batch: Any) -> Callable[[], Any]:
    """``method`` with a batch as its signature wants it."""
    signature = inspect.signature(method)
    index = [0] if any("idx" in name or "index" in name for name in list(signature.parameters)[1:2]) else []
    args, kwargs = [batch, *index], {}
    if "batch" not in signature.parameters:
        if isinstance(batch, dict):
            args, kwargs = [], batch
        elif isinstance(batch, (tuple, list)):
            args = [*batch]
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        raise UserError(
            f"check_mixin: {method.__name__}{signature} does not take this batch ({error}): say how to make a step "
            "with step=lambda batch: ..."
        ) from None
    return functools.partial(method, *args, **kwargs)


def _around(step: Callable[[Any], Any] | None) -> dict[str, Any]:
    """What a function gets from around it, by name; of a method, its object."""
    if step is None or not inspect.isroutine(step):
        return {"": step}
    around = inspect.getclosurevars(step)
    return {**around.globals, **around.nonlocals, "": getattr(step, "__self__", None)}


def _make(gan: Any, make_step: Callable[[], Any], record: Record) -> bool:
    """Make the step; returns whether it came to its end."""
    try:
        result = make_step()
        if not record.backwards:
            losses = [getattr(gan, name, None) for name in LOSSES]
            losses.append(result.get("loss") if isinstance(result, dict) else result)
            for loss in losses:
                if isinstance(loss, Tensor) and loss.requires_grad and loss.numel() == 1:
                    loss.backward(retain_graph=True)
    except Exception as error:
        if "backward through the graph a second time" in str(error):
            for seen in record.seen.values():
                if seen.generator.late:
                    record.find(*_TOO_LATE, seen.name)
                    record.explained = error
        elif "does not require grad" in str(error) and record.findings:  # a loss from which something is missing
            record.explained = error
        if error is not record.explained:
            frame = traceback.extract_tb(error.__traceback__)[-1]
            record.find("the step failed", f"{type(error).__name__} in {frame.filename}, line {frame.lineno}: {error}")
        return False
    return True


# ---- what to make of it

_TOO_LATE = (
    "back-propagated before the term was added",
    "the generator's loss had been back-propagated when timecycle_backward() was computed, so its gradient reaches "
    "nothing: add it to the loss before .backward(). Where the host's own method calls .backward() inside, do "
    "self.timecycle_backward().backward(retain_graph=True) before it: gradients add up",
)
_NEVER_BACKWARD = (
    "term never back-propagated",
    "timecycle_backward() was computed, but no .backward() went through it: add it to the generator's loss, and "
    "call .backward() on the sum",
)
_NEVER_BACKWARD_D = (
    "discriminator's term never back-propagated",
    "timecycle_backward_D() was computed, but no .backward() went through it: add it to the discriminator's loss "
    "before its .backward(), where the discriminator's parameters require gradients",
)


def _diagnose(record: Record, optimizers: list[tuple[str, Optimizer]], completed: bool) -> None:
    """Add the findings that show when the step is over; of one cut short, those that do not depend on its end."""
    if not record.seen:
        record.find("no TimeCycle", "the GAN has no cycle: call define_timecycle in its __init__")
    if completed and not optimizers and record.seen:
        record.find("no optimizer", "the step uses no optimizer and the GAN holds none, so nothing can be said about "
                    "them: give a step that uses yours, with step=lambda batch: ...")  # fmt: skip
    for seen in record.seen.values():
        find = functools.partial(record.find, cycle=seen.name)
        if completed:
            _diagnose_generator(find, seen)
            _diagnose_discriminators(find, seen)
        if optimizers:
            in_one = _diagnose_optimizers(find, seen, record, optimizers)
            if in_one and completed and record.stepped:
                _diagnose_use(find, seen, seen.generator, "the motion model" if seen.motion() else "the generator")
                _diagnose_use(find, seen, seen.discriminator, "the discriminator")


def _diagnose_generator(find: Find, seen: Seen) -> None:
    side = seen.generator
    if not seen.walks:
        find("timecycle_forward never called", "the cycle saw no sequence in this step: call "
             "timecycle_forward(fake, source) once the sequence is generated")  # fmt: skip
    elif not side.computed:
        find("timecycle_backward never called", "the cycle's loss was not computed in this step: add "
             "timecycle_backward() to the generator's loss")  # fmt: skip
    elif side.trains and not side.reached:
        find(*(_TOO_LATE if side.late else _NEVER_BACKWARD))
    elif side.trains and seen.motion() and not seen.motion().keys() & side.trains.keys():
        find("motion model gets no gradient", "the loss does not depend on its parameters: let them require gradients, "
             "and do not call timecycle_forward in torch.no_grad()")  # fmt: skip
    if side.trains.keys() & seen.discriminator.trains.keys():
        find("discriminator trained by the generator's term", "timecycle_backward() sends gradients to the parameters "
             "of a discriminator: make them known to its parameters(), so that they can be frozen, or clear them "
             "before the discriminator's step")  # fmt: skip


def _diagnose_discriminators(find: Find, seen: Seen) -> None:
    side = seen.discriminator
    if not seen.core._discriminators or not seen.core.cycle:
        return
    if not side.computed:
        find("timecycle_backward_D never called", "the cycle's discriminators do not learn from its images: add "
             "timecycle_backward_D() to the discriminator's loss")  # fmt: skip
    elif side.terms and not side.reached:
        find(*_NEVER_BACKWARD_D)
    look_at_order(find, seen.core, seen.shown)


def _diagnose_optimizers(
    find: Find, seen: Seen, record: Record, optimizers: list[tuple[str, Optimizer]]
) -> bool:
    """Whether all parameters of the motion model are in an optimizer."""
    motion = seen.motion()
    holders = [(name, o) for name, o in optimizers if motion.keys() & {id(p) for p in parameters_of(o)}]
    listed = " and ".join(name or type(o).__name__ for name, o in holders)
    held = {id(p) for _, o in holders for p in parameters_of(o)}
    if missing := motion.keys() - held:
        known = ", ".join(name or type(o).__name__ for name, o in optimizers)
        find("motion model in no optimizer", f"{len(missing)} of the {len(motion)} parameters of its motion model are "
             f"in none of the optimizers ({known}), so they never learn: after define_timecycle, "
             'optimizer_G.add_param_group({"params": self.timecycle_parameters()})')  # fmt: skip
        return False
    if sum(id(o) in record.stepped for _, o in holders) > 1:
        find("motion model in several optimizers", f"{listed} all make steps with its parameters: leave them in the "
             "generator's only")  # fmt: skip
    return True


def _diagnose_use(find: Find, seen: Seen, side: Side, whose: str) -> None:
    """A gradient that reached its parameters must be used; some optimizer made a step."""
    if not side.reached or side.used:
        return
    what = "timecycle_backward()" if side is seen.generator else "timecycle_backward_D()"
    if side.cleared:
        find("gradient cleared before it was used", f"the gradient of {what} was set to zero before the optimizer of "
             f"{whose} made its step: is it added to the loss of the other side?")  # fmt: skip
    else:
        find("gradient never used", f"after {what} was back-propagated, the optimizer of {whose} made no step: "
             "is it added to the loss of the other side, or does the step come before .backward()?")  # fmt: skip


def _print(findings: list[Finding], record: Record) -> None:
    if findings:
        print(f"check_mixin: {len(findings)} fault{'s' * (len(findings) > 1)} found")
        for number, finding in enumerate(findings, 1):
            print(f"{number}. {finding}")
    else:
        print(f"check_mixin: all is well ({', '.join(seen.name for seen in record.seen.values())})")
