"""What is wrong with a cycle, told from what happened to it in a training step."""
import functools

from torch.optim.optimizer import Optimizer

from timecyclegan.checking.findings import Seen, Side, parameters_of
from timecyclegan.checking.inputs import Find, look_at_order
from timecyclegan.checking.record import Record

TOO_LATE = (
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


def diagnose(record: Record, optimizers: list[tuple[str, Optimizer]], completed: bool) -> None:
    """Add the findings that show when the step is over; of one cut short, those that do not depend on its end."""
    if not record.seen:
        record.find("no TimeCycle", "the GAN has no cycle: call define_timecycle in its __init__")
    if completed and not optimizers and record.seen:
        record.find("no optimizer", "the step uses no optimizer and the GAN holds none, so nothing can be said about "
                    "them: give a step that uses yours, with step=lambda batch: ...")  # fmt: skip
    if completed and not record.backwards and record.seen:
        record.find("nothing back-propagated", "the step calls no .backward(), and there is no loss_G to call it on: "
                    "give a whole step, with step=lambda batch: ...")  # fmt: skip
    record.beside.diagnose(record.find, optimizers, completed and bool(record.backwards))
    for seen in record.seen.values():
        find = functools.partial(record.find, cycle=seen.name)
        if completed and record.backwards:
            _diagnose_generator(find, seen)
            _diagnose_discriminators(find, seen)
            for side, method, other in ((seen.generator, "timecycle_backward", "loss_D"),
                                        (seen.discriminator, "timecycle_backward_D", "loss_G")):  # fmt: skip
                if other in side.losses:
                    find(f"{method} in the other side's loss", f"{method}() is part of {other}: add it to "
                         f"{'loss_G' if other == 'loss_D' else 'loss_D'}")  # fmt: skip
        if optimizers:
            in_one = _diagnose_optimizers(find, seen, record, optimizers)
            if in_one and completed and record.stepped:
                if not _diagnose_place(find, seen, optimizers):
                    _diagnose_use(find, seen, seen.generator, record)
                _diagnose_use(find, seen, seen.discriminator, record)


def _diagnose_generator(find: Find, seen: Seen) -> None:
    side = seen.generator
    if not seen.walks:
        find("timecycle_forward never called", "the cycle saw no sequence in this step: call "
             "timecycle_forward(fake, source) once the sequence is generated")  # fmt: skip
    elif not side.computed:
        find("timecycle_backward never called", "the cycle's loss was not computed in this step: add "
             "timecycle_backward() to the generator's loss (if that does not learn in every step, check several: see "
             "step)")  # fmt: skip
    elif side.trains and not side.reached:
        find(*(TOO_LATE if side.late else _NEVER_BACKWARD))
    elif side.trains and seen.motion() and not seen.motion().keys() & side.trains.keys():
        find("motion model gets no gradient", "the loss does not depend on its parameters: let them require gradients, "
             "and do not call timecycle_forward in torch.no_grad()")  # fmt: skip
    if side.trains.keys() & seen.discriminator.trains.keys():
        find("discriminator trained by the generator's term", "timecycle_backward() sends gradients to the parameters "
             "of a discriminator: make them known to its parameters(), so that they can be frozen, or clear them "
             "before the discriminator's step")  # fmt: skip


def _diagnose_discriminators(find: Find, seen: Seen) -> None:
    side = seen.discriminator
    if not seen.core.judges or not seen.walked:
        return
    if not side.computed:
        find("timecycle_backward_D never called", "the cycle's discriminators do not learn from its images: add "
             "timecycle_backward_D() to the discriminator's loss")  # fmt: skip
    elif side.terms and not side.reached:
        find(*_NEVER_BACKWARD_D)
    look_at_order(find, seen.core, seen.shown, seen.videos, seen.real_condition)


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


def _diagnose_place(find: Find, seen: Seen, optimizers: list[tuple[str, Optimizer]]) -> bool:
    """Whether the motion model does not learn because it is in the discriminator's optimizer only."""
    motion = seen.motion().keys()
    if not seen.generator.reached or seen.generator.used:
        return False
    held = [(name or type(o).__name__, {id(p) for p in parameters_of(o)}) for name, o in optimizers]
    mine = [(name, ids) for name, ids in held if ids & motion]
    misplaced = mine and all(ids - motion and not ids & seen.made_by.keys() for _, ids in mine)
    if not misplaced or not any(ids & seen.made_by.keys() for _, ids in held):
        return False
    find("motion model in the discriminator's optimizer", f"{' and '.join(name for name, _ in mine)} holds its "
         "parameters and none of the generator's, so it never learns from the generator's loss: add "
         "self.timecycle_parameters() to the generator's optimizer instead")  # fmt: skip
    return True


def _diagnose_use(find: Find, seen: Seen, side: Side, record: Record) -> None:
    """A gradient that reached its parameters must be used; some optimizer made a step."""
    if not side.reached or side.used:
        return
    generators = side is seen.generator
    what = "timecycle_backward()" if generators else "timecycle_backward_D()"
    whose = "discriminator" if not generators else "motion model" if seen.motion() else "generator"
    if record.got_none(seen.recipients(side)):
        find(f"{whose} gets no gradient", f"{what} was back-propagated, but no gradient ever reached the parameters of "
             f"the {whose}: if .backward() is called with inputs=, name them there too")  # fmt: skip
    elif side.cleared:
        find("gradient cleared before it was used", f"zero_grad() set the gradient of {what} to zero before the "
             f"optimizer of the {whose} made its step: is it added to the loss of the other side, or zero_grad() "
             "called after .backward()?")  # fmt: skip
    elif side.gone:
        find("gradient cleared before it was used", f"the gradient of {what} had been taken away, not by zero_grad(), "
             f"when the optimizer of the {whose} made its step: leave .grad alone between .backward() and "
             "step()")  # fmt: skip
    else:
        find("gradient never used", f"after {what} was back-propagated, the optimizer of the {whose} made no step: "
             "is it added to the loss of the other side, or does the step come before .backward()?")  # fmt: skip
