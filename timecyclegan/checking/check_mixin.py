"""One training step of a user's GAN, watched: says in plain words what is wrong with its TimeCycle."""
import functools
import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from timecyclegan.checking.findings import Finding, find_faults
from timecyclegan.checking.record import Record
from timecyclegan.models.mixins.host import DEFAULT_NAME
from timecyclegan.models.mixins.seq_d_mixin import SequenceDiscriminators
from timecyclegan.models.mixins.timecycle import TimeCycle
from timecyclegan.util.errors import UserError
from timecyclegan.util.snapshot import Snapshot


def check_mixin(gan: Any, batch: Any, step: Callable[[Any], Any] | None = None, verbose: bool = True) -> list[Finding]:
    """Make one training step of ``gan`` and find what is wrong with its TimeCycle.

    Of sequence discriminators and the warp loss it finds less, of a warp loss that is not used nothing. All that can be
    reached from ``gan``, ``batch`` and ``step``, or is met in the step, is left as it was, bit for bit, and random
    numbers too. What the step writes elsewhere (files, a logger) stays written.

    Args:
        gan: a host of ``TimeCycleMixin``, an object that holds a ``TimeCycle``, or, for a script, the ``TimeCycle``.
        batch: what a step takes.
        step: makes one step with a batch. Needed where the host has none of ``set_input`` with
            ``optimize_parameters``, ``training_step``, ``train_step``, or ``forward`` with ``backward`` (if nothing
            was back-propagated then, ``loss_D`` and ``loss_G`` are); a dict, a tuple or a list is spread over their
            arguments, unless one is called ``batch``. Makes several steps if the generator does not learn in each.
        verbose: print what was seen, and the findings.

    Returns:
        The findings, empty if all is well: ``assert not check_mixin(gan, batch)``; an exception is one too. Each has a
        ``name``, always in the same words (a class's or a script's), and a ``text``: what was seen and what to do.

    Raises:
        UserError: it cannot be told how to make a step.
    """
    make_step = functools.partial(step, batch) if step else _guess_step(gan, batch)
    # The attributes are followed even where the GAN's class is an installed package's.
    snapshot = Snapshot(gan, getattr(gan, "__dict__", gan), batch)
    snapshot.add(getattr(step, "__self__", step))
    if inspect.isfunction(step) or inspect.ismethod(step):  # what it gets from around it
        for name, value in {**(found := inspect.getclosurevars(step)).globals, **found.nonlocals}.items():
            snapshot.add(value, name)
    record = Record(snapshot)
    try:
        with torch.enable_grad():
            with record.watching():
                error = _make(gan, make_step, record)
            groups = [(name, group) for name, group in snapshot.found(SequenceDiscriminators) if group.judges]
            findings, watched = find_faults(record, [*_named(snapshot.found(TimeCycle)), *_named(groups)], error)
    finally:
        snapshot.restore()
    if verbose:
        lines = [f"check_mixin: {name}: {saw}" for name, saw in watched.items() if saw]
        verdict = f"{len(findings)} fault{'s' * (len(findings) > 1)} found"
        lines.append(f"check_mixin: {verdict}" if findings else f"check_mixin: all is well ({', '.join(watched)})")
        print("\n".join([*lines, *(f"{number}. {finding}" for number, finding in enumerate(findings, 1))]))
    return findings


def _named(cores: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """Cycles, or groups of sequence discriminators, by the last part of their paths where that is clear, or by path."""
    short = [(name.rsplit(".", 1)[-1] or DEFAULT_NAME, core) for name, core in cores]
    return short if len({name for name, _ in short}) == len(cores) else cores


def _guess_step(gan: Any, batch: Any) -> Callable[[], Any]:
    """The first of the known ways to make a step that the GAN has."""
    for first, *others in (("set_input", "optimize_parameters"), ("training_step",), ("train_step",),
                           ("optimize_parameters",), ("forward", "backward")):  # fmt: skip
        if all(callable(getattr(gan, name, None)) for name in (first, *others)):
            calls = [_spread(getattr(gan, first), batch, whole=first == "set_input")]
            calls += [_spread(getattr(gan, name), ()) for name in others]
            return lambda: [call() for call in calls][-1]
    raise UserError(f"check_mixin: {type(gan).__name__} has no training_step, train_step, optimize_parameters, or "
                    "forward with backward: say how to make a step with step=lambda batch: ...")  # fmt: skip


def _spread(method: Callable[..., Any], batch: Any, whole: bool = False) -> Callable[[], Any]:
    """``method`` with a batch as its signature wants it."""
    signature = inspect.signature(method)
    index = [0] if any("idx" in name or "index" in name for name in list(signature.parameters)[1:2]) else []
    args, kwargs = [batch, *index], {}
    if not whole and "batch" not in signature.parameters and isinstance(batch, (dict, tuple, list)):
        args, kwargs = ([], batch) if isinstance(batch, dict) else ([*batch], {})
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        raise UserError(f"check_mixin: {method.__name__}{signature} does not take this batch ({error}): say how to "
                        "make a step with step=lambda batch: ...") from None  # fmt: skip
    return functools.partial(method, *args, **kwargs)


def _make(gan: Any, make_step: Callable[[], Any], record: Record) -> Exception | None:
    """Make the step; returns the error that ended it. Where nothing was back-propagated, the host's losses are."""
    try:
        result = make_step()
        losses = {name: getattr(gan, name, None) for name in ("loss_D", "loss_G")}
        known = None not in losses.values()  # which side's is which
        result = result.get("loss") if isinstance(result, dict) else result
        losses |= {} if any(result is loss for loss in losses.values()) else {"": result}
        for name, loss in losses.items() if not record.of("backward") else ():
            if isinstance(loss, Tensor) and loss.requires_grad and loss.numel() == 1:
                record.loss = name if known else ""
                loss.backward(retain_graph=True)
    except Exception as error:
        return error
    return None
