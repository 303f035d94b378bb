"""One training step of a user's GAN, watched: says in plain words what is wrong with its TimeCycle."""
import functools
import inspect
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.optim.optimizer import Optimizer

from timecyclegan.checking.diagnosis import TOO_LATE, diagnose
from timecyclegan.checking.findings import Finding
from timecyclegan.checking.random_state import random_state, set_random_state
from timecyclegan.checking.record import Record
from timecyclegan.checking.snapshot import Snapshot, is_installed, reachable
from timecyclegan.models.mixins.host import DEFAULT_NAME
from timecyclegan.models.mixins.seq_d_mixin import SequenceDiscriminators
from timecyclegan.models.mixins.timecycle import TimeCycle
from timecyclegan.util.errors import UserError

Core = TypeVar("Core")
_PACKAGE = str(Path(__file__).parents[1])
LOSSES = ("loss_D", "loss_G")  # what a host that does not back-propagate leaves to be back-propagated


def check_mixin(gan: Any, batch: Any, step: Callable[[Any], Any] | None = None, verbose: bool = True) -> list[Finding]:
    """Make one training step of ``gan`` and find what is wrong with its TimeCycle.

    Of sequence discriminators and the warp loss it finds only what is never called, never back-propagated, in the
    other side's loss or in no optimizer; of the warp loss nothing where ``warp_forward`` is not called.

    All that can be reached from ``gan``, ``batch`` and ``step`` is left as it was, bit for bit: networks, gradients,
    modes, optimizers, schedulers, attributes, containers; random numbers too. What the step writes elsewhere (files, a
    logger) stays written.

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
    own = getattr(gan, "__dict__", gan)  # is followed even where the GAN's class is an installed package's
    numbers, snapshot = random_state(), Snapshot(gan, own, batch)
    for name, value in _around(step).items():
        snapshot.add(value, name)
    parameters = [parameter for _, parameter in snapshot.found(nn.Parameter)]
    groups = _named(snapshot.found(SequenceDiscriminators))
    record = Record(_named(snapshot.found(TimeCycle)), groups, parameters, snapshot.add)
    try:
        with torch.enable_grad(), record.watching():
            completed = _make(gan, make_step, record)
        # Some are made in the first step.
        optimizers = {id(thing): (name, thing) for name, thing in [*reachable(own), *snapshot.found(Optimizer)]
                      if isinstance(thing, Optimizer)}  # fmt: skip
        diagnose(record, list(optimizers.values()), completed)
    finally:
        snapshot.restore()
        set_random_state(numbers)
    findings = list(record.findings.values())
    if verbose:
        _print(findings, record)
    return findings


def _named(cores: list[tuple[str, Core]]) -> dict[str, Core]:
    """Cycles, or groups of sequence discriminators, by the last part of their paths where that is clear, or by path."""
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
    if not inspect.isfunction(step) and not inspect.ismethod(step):
        return {"": step}
    around = inspect.getclosurevars(step)
    return {**around.globals, **around.nonlocals, "": getattr(step, "__self__", None)}


def _make(gan: Any, make_step: Callable[[], Any], record: Record) -> bool:
    """Make the step; returns whether it came to its end."""
    try:
        result = make_step()
        if not record.backwards:
            losses = {name: getattr(gan, name, None) for name in LOSSES}
            known = None not in losses.values()  # which side's is which
            losses[""] = result.get("loss") if isinstance(result, dict) else result
            for name, loss in losses.items():
                if isinstance(loss, Tensor) and loss.requires_grad and loss.numel() == 1:
                    record.loss = name if known else ""
                    loss.backward(retain_graph=True)
    except Exception as error:
        if "backward through the graph a second time" in str(error):
            for seen in record.seen.values():
                if seen.generator.late:
                    record.find(*TOO_LATE, seen.name)
                    record.explained = error
        elif "does not require grad" in str(error) and record.findings:  # a loss from which something is missing
            record.explained = error
        if error is not record.explained:
            frames = traceback.extract_tb(error.__traceback__)
            theirs = [frame for frame in frames if not is_installed(frame.filename) and _PACKAGE not in frame.filename]
            frame = (theirs or frames)[-1]
            record.find("the step failed", f"{type(error).__name__} in {frame.filename}, line {frame.lineno}: {error}")
        return False
    return True


def _print(findings: list[Finding], record: Record) -> None:
    if findings:
        print(f"check_mixin: {len(findings)} fault{'s' * (len(findings) > 1)} found")
        for number, finding in enumerate(findings, 1):
            print(f"{number}. {finding}")
    else:
        names = [*(seen.name for seen in record.seen.values()), *record.beside.names()]
        print(f"check_mixin: all is well ({', '.join(names)})")
