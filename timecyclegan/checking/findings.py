"""What is wrong with a GAN's TimeCycle, told from what happened in a training step."""
import math
import traceback
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim.optimizer import Optimizer

from timecyclegan.checking.record import Event, Record, leaves, parameters_of
from timecyclegan.checking.snapshot import PACKAGE, is_installed
from timecyclegan.models.mixins.host import as_video
from timecyclegan.models.mixins.seq_d_mixin import SequenceDiscriminators
from timecyclegan.models.mixins.timecycle import TimeCycle
from timecyclegan.models.mixins.warp_loss_mixin import WarpLossMixin

TOLERANCE = 1e-3  # of the range of values: rounding is no fault
Faults = Iterator[tuple[str, str]]  # each has a name, and says what was seen and what to do
_CALLS = ("fed", "real", "generator", "discriminator")  # the events that are calls of a part
_PARTS = {  # what it is called, how to give it a step's videos, and what computes its losses
    TimeCycle: ("cycle", "timecycle_forward(fake, source)", "timecycle_backward"),
    SequenceDiscriminators: ("sequence discriminators", "set_seq_D_input(fake, real)", "seq_D_backward"),
    WarpLossMixin: ("warp loss", "warp_forward(fake, real)", "warp_backward"),
}
_TERMS = {"timecycle_backward": "term", "timecycle_backward_D": "discriminator's term"}  # others: as the methods
_TOO_LATE = ("back-propagated before the term was added", "the generator's loss had been back-propagated when "
             "timecycle_backward() was computed: add it before, or where .backward() is called by a method of the GAN "
             "do self.timecycle_backward().backward(retain_graph=True) before it (gradients add up)")  # fmt: skip


class Finding(NamedTuple):
    """A fault: its name, always in the same words, then what was seen and what to do."""

    name: str
    text: str

    def __str__(self) -> str:
        return f"{self.name}: {self.text}"


class Loss:
    """What became of a loss of a part, the generator's or the discriminators'."""

    def __init__(self, part: "Part", side: str, method: str):
        calls = [event for event in part.events if event.what == side]
        self.side, self.method, self.computed, self.record = side, method, bool(calls), part.record
        self.terms = {id(value): value for event in calls for value, _ in event.losses.values()}
        self.trains = set().union(*map(leaves, self.terms.values()))  # the parameters that it depends on
        # The host's losses that it was back-propagated in, "" where that is not known.
        self.inside = {event.given["loss"] for event in self.record.of("reached") if event.owner in self.terms}

    def fate(self, recipients: set[int], untouched: set[int]) -> str:
        """What became of its gradient: "waiting" for a step with ``recipients``, "used", or what happened before it."""
        fate = ""
        for event in self.record.events:
            if event.what == "reached" and event.owner in self.terms:
                fate = "waiting"
            elif fate == "waiting" and event.what == "zero_grad" and parameters_of(event.owner) & recipients:
                fate = "set to zero by zero_grad()"
            elif fate == "waiting" and event.what == "step" and (mine := event.given.keys() & recipients):
                left = {key for key in mine if event.given[key]}
                if left - untouched:
                    return "used"
                fate = fate if left else "taken away, not by zero_grad(),"
        return fate


class Part:
    """A cycle, a group of sequence discriminators, or the warp loss, and what happened to it."""

    def __init__(self, core: Any, name: str, record: Record):
        self.core, self.name, self.record, self.cycle = core, name, record, isinstance(core, TimeCycle)
        self.label, self.feed, method = next(words for kind, words in _PARTS.items() if isinstance(core, kind))
        self.events = [event for event in record.events if event.owner is core and event.what in _CALLS]
        self.generator = Loss(self, "generator", method)
        self.discriminator = Loss(self, "discriminator", f"{method}_D")
        calls = [event.what for event in self.events if event.what != "real"]
        self.fed, self.asked_before = "fed" in calls, bool(calls) and calls[0] != "fed"
        self.walks = [event.walk for event in self.events if event.walk]
        # Of terms on a walk, whether its sequence had no gradient, and whether what made it had got its own before.
        self.made_by, self.detached, self.late = set(), False, False
        for event in self.events:
            if event.what == "generator" and event.losses and event.walk:
                behind, other = leaves(event.walk.sequence), leaves(event.walk.condition)
                graded = {one.owner for one in record.of("graded") if one.index < event.index}
                self.made_by |= behind | other
                self.detached |= event.grad and event.walk.predictions.requires_grad and not behind
                self.late |= bool(graded & behind - other)
        # Of cycles: the parameters of the motion models, of those of the host's too that no sequence depends on.
        others = self.generator.trains - self.made_by - self.discriminator.trains
        self.motion = parameters_of(core) | others if self.cycle else set()


def find_faults(
    record: Record, cores: Iterable[tuple[str, Any]], optimizers: list[tuple[str, Optimizer]], error: Exception | None
) -> tuple[list[Finding], str]:
    """All that is wrong with ``cores``, cycles and groups of sequence discriminators with their names, and with others
    that the step used; and what was watched, in words. After an ``error`` it is what does not depend on a step's end.
    """
    known = {id(core): (core, name) for name, core in cores}
    for event in record.events:
        if event.what in _CALLS:
            known.setdefault(id(event.owner), (event.owner, "TimeCycle" * isinstance(event.owner, TimeCycle)))
    parts = [Part(core, name, record) for core, name in known.values()]
    labels, findings = [part.label for part in parts], {}

    def add(faults: Iterable[tuple[str, str]], part: Part | None = None) -> None:
        where = f"{part.label} {part.name!r}: " if part and labels.count(part.label) > 1 else ""
        for name, text in faults:
            findings.setdefault((name, where), Finding(name, where + text))

    explained = False  # whether a finding says why there is an error
    for part in parts:
        for event in part.events:
            faults = list(check_call(event))
            add(faults, part)
            explained |= event.error is error and bool(faults or part.asked_before)
        if part.late and "backward through the graph a second time" in str(error):
            explained = True
            add([_TOO_LATE], part)
    if error and not explained and not (findings and "does not require grad" in str(error)):  # a loss lacks something
        frames = traceback.extract_tb(error.__traceback__)
        theirs = [frame for frame in frames if not is_installed(frame.filename) and PACKAGE not in frame.filename]
        frame = (theirs or frames)[-1]
        add([("the step failed", f"{type(error).__name__} in {frame.filename}, line {frame.lineno}: {error}")])
    cycles, backwards = any(part.cycle for part in parts), bool(record.of("backward"))
    if not cycles:
        add([("no TimeCycle", "the GAN has no cycle: call define_timecycle in its __init__")])
    if cycles and not error and not optimizers:
        add([("no optimizer", "the step uses none and the GAN holds none, so nothing can be said about them: give a "
              "step that uses yours, with step=lambda batch: ...")])  # fmt: skip
    if cycles and not error and not backwards:
        add([("nothing back-propagated", "the step calls no .backward(), and there is no loss_G to call it on: give a "
              "whole step, with step=lambda batch: ...")])  # fmt: skip
    for part in parts:
        add(_check_losses(part, backwards and not error), part)
        add(_check_optimizers(part, optimizers, not error) if optimizers else (), part)
    watched = [part.name if part.cycle else f"{part.label} {part.name}".rstrip() for part in parts]
    return list(findings.values()), ", ".join(watched)


def check_call(event: Event) -> Faults:
    """What is wrong with what a call was given or made, and with the networks that it called."""
    core, walk = event.owner, event.what == "fed"
    for name, (value, _) in event.losses.items():
        if not value.isfinite().all():
            yield "not a number", f"the term {name!r} is {value.item()}"
    if isinstance(core, TimeCycle) and event.error and event.what in ("generator", "discriminator"):
        yield from _check_discriminators(core)
    if not isinstance(core, TimeCycle) or event.what not in ("fed", "real"):
        return
    condition, ignored, videos = event.given.get("condition"), event.given.get("ignore_first_n", 0), []
    given = {"sequence": event.given["sequence"]} if walk else {"real sequence": event.given["real"]}
    if condition is not None and (core.type.conditional or not walk):
        given["condition" if walk else "condition of the real one"] = condition
    elif core.type.conditional and walk:
        yield ("condition missing", "a conditional cycle sees the source of each frame: timecycle_forward(fake, "
               "source); without one, timecycle_type is 'unconditional'")  # fmt: skip
    for name, one in given.items():
        video = _attempt(as_video, one)
        if isinstance(video, Exception):
            yield "sequence of the wrong shape", f"the {name} cannot be read: {video}"
            return
        videos.append(video.detach()[:, ignored:])
        low, high = (video.min().item(), video.max().item()) if video.numel() else (0, 0)
        if not math.isfinite(low) or not math.isfinite(high):
            yield ("not a number", f"the {name} has values that are infinite or not a number: look for the cause in "
                   "the step before TimeCycle (a division by 0, a learning rate that is too high)")  # fmt: skip
        elif low < -1 - TOLERANCE or high > 1 + TOLERANCE:
            yield ("values outside [-1, 1]", f"the {name} goes from {low:.4g} to {high:.4g}, motion models make "
                   "[-1, 1]: scale the data (x / 127.5 - 1 for bytes), and let the generator end in tanh")  # fmt: skip
    if len({(*video.shape[:2], *video.shape[3:]) for video in videos}) > 1:
        yield "sequence and condition differ", f"{event.error}: frame t of the one must belong to frame t of the other"
        return
    (sequence, *conditions), history = videos, core.type.history
    frames, channels = sequence.shape[1:3]
    if walk and frames <= history:
        without = f" ({ignored} of them ignored)" if ignored else ""
        yield ("cycle of length 0", f"in a sequence of {frames + ignored} frame(s){without} there is nothing to walk, "
               f"so there is no loss: give at least {history + 1 + ignored} frames")  # fmt: skip
    if not walk or frames <= history or len(conditions) < core.type.conditional:
        return
    # The motion models: (N, [C_c +] history * C, H, W) to (N, C, H, W).
    shown = torch.cat([*(one[:, 0] for one in conditions), *sequence[:, :history].unbind(1)], dim=1)
    what = "".join(f"{one.shape[2]} of the condition, " for one in conditions) + f"{history} frame(s) of {channels}"
    remedy = f"define_timecycle(input_channels={shown.shape[1]}, output_channels={channels})"
    for name, network in zip(("motion model", "forward motion model"), core._walkers, strict=True):
        made = _attempt(network, shown) if network is not None else sequence[:, 0]
        if isinstance(made, Tensor) and made.shape[1:] != sequence.shape[2:]:
            yield ("wrong channel count", f"the {name} makes (C, H, W) = {tuple(made.shape[1:])}, a frame is "
                   f"{tuple(sequence.shape[2:])}: {remedy}, or mend your own motion model")  # fmt: skip
        elif isinstance(made, Exception) and event.error:
            fault, why = _misfit(network, shown, made)
            yield ("wrong channel count" if fault else "motion model fails", f"the {name} is shown {shown.shape[1]} "
                   f"channels ({what}), {why}{f': {remedy}' if fault else ''}")  # fmt: skip


def _check_discriminators(core: TimeCycle) -> Faults:
    """Why terms could not be computed: a step's videos do not fit, or a discriminator cannot take its pictures."""
    cases = _attempt(core.cases, "gan")
    if isinstance(cases, Exception):
        if hasattr(core.step, "sequence"):
            yield "discriminator with the wrong input", str(cases)
        else:
            yield "timecycle_forward never called", f"{cases}: call timecycle_forward(fake, source) in every step"
        return
    for judge, exhibit in ((case.judge, one) for case in cases for one in (*case.fake[:1], *case.real[:1])):
        shown, channels = exhibit.pictures(), exhibit.video.shape[2]
        error = _attempt(judge.network, shown)
        if isinstance(error, Exception):
            seen, known = (0 if one is None else one.shape[2] for one in (exhibit.condition, core.step.condition))
            what = f"{judge.n_frames} frame(s) of {channels}" + (f", {seen} of the condition of each" if seen else "")
            expected, why = _misfit(judge.network, shown, error)
            # What it may be built for: how many frames, and whether with the condition.
            ways = [f"n_frames={expected // each}{more}" for each, more in (
                (channels, ", conditional=False"), (channels + (seen or known), " and the condition of each frame, not "
                "conditional=False")) if expected and expected % each == 0]  # fmt: skip
            yield ("discriminator with the wrong input", f"{judge.name} is shown {shown.shape[1]} channels ({what}), "
                   f"{why}{': add it with ' * bool(ways)}{' or '.join(ways)}")  # fmt: skip


def _attempt(call: Callable[[Any], Any], argument: Any) -> Any:
    """What a call makes, or the exception that it raises."""
    try:
        with torch.no_grad():
            return call(argument)
    except Exception as error:
        return error


def _misfit(network: nn.Module, shown: Tensor, error: Exception) -> tuple[int, str]:
    """Where it can be told that its first layer takes another number of channels: that number; and what is wrong."""
    layers = network.modules() if isinstance(network, nn.Module) else ()
    expected = next((layer.in_channels for layer in layers if getattr(layer, "in_channels", None)), shown.shape[1])
    if expected == shown.shape[1]:
        return 0, f"{tuple(shown.shape)} in all: it raised {type(error).__name__}: {error}"
    return expected, f"its first layer takes {expected}"


def _check_losses(part: Part, steps: bool) -> Faults:
    """What was not given, not computed, or not back-propagated, and what should not have been."""
    if part.asked_before or (steps and not part.fed):
        yield (f"{part.feed.split('(')[0]} never called", f"there is no generated sequence of this step: call "
               f"{part.feed} once it is generated, before its losses, in every step")  # fmt: skip
    if part.detached:
        yield ("detached sequence", "the sequence that TimeCycle walks has no gradient, so the loss does not train the "
               "generator: give it as it is generated, without detach() and not made in torch.no_grad()")  # fmt: skip
    if not steps or not part.fed:
        return
    judged = getattr(part.core, "judges", ()) and (part.walks or not part.cycle)
    for loss, wanted, other in ((part.generator, True, "loss_D"), (part.discriminator, judged, "loss_G")):
        method, remedy = loss.method, f"add {loss.method}() to the {loss.side}'s loss"
        if wanted and not loss.computed:
            yield (f"{method} never called", f"the {loss.side}'s term was not computed in this step: {remedy} (if that "
                   "does not learn in every step, check several: see step)")  # fmt: skip
        elif not loss.inside and part.late and loss is part.generator:
            yield _TOO_LATE
        elif not loss.inside and (loss.trains or (loss.terms and loss is part.discriminator)):
            yield (f"{_TERMS.get(method, method)} never back-propagated", f"no .backward() went through {method}(): "
                   f"{remedy} before its .backward(), where what it trains requires gradients")  # fmt: skip
        if other in loss.inside:
            yield f"{method} in the other side's loss", f"{method}() is part of {other}: {remedy}"
    if not part.walks:
        return
    if part.generator.inside and part.motion and not part.motion & part.generator.trains:
        yield ("motion model gets no gradient", "the loss does not depend on its parameters: let them require "
               "gradients, and do not call timecycle_forward in torch.no_grad()")  # fmt: skip
    if part.generator.trains & part.discriminator.trains:
        yield ("discriminator trained by the generator's term", "timecycle_backward() sends gradients to it: make them "
               "known to its parameters(), so that it can be frozen, or clear them before its step")  # fmt: skip
    # Discriminators to which the host shows other things than the cycle does, or in another order.
    given = next((event.given for event in part.events[::-1] if event.what == "real" and not event.error), {})
    videos = [("image", given.get("real")), ("condition", given.get("condition"))]
    videos += [both for walk in part.walks for both in (("image", walk.sequence), ("condition", walk.condition))]
    videos = [(kind, as_video(video).detach()) for kind, video in videos if video is not None]

    def depicted(picture: Tensor, last: bool) -> str:
        """Of which kind of videos the first or last channels of a picture (C, H, W) are a frame, if that is clear."""
        ends = [picture[-v.shape[2] :] if last else picture[: v.shape[2]] for _, v in videos]
        return next((kind for (kind, v), end in zip(videos, ends, strict=True)
                     if end.shape == v.shape[2:] and (v == end).flatten(2).all(dim=2).any()), "")  # fmt: skip

    frames = part.walks[-1].sequence.shape[1]
    for judge in part.core.judges:
        if judge.n_frames > frames:
            yield ("discriminator sees nothing", f"{judge.name} wants {judge.n_frames} frames, the walk has {frames}: "
                   "give longer clips, or add it with a smaller n_frames")  # fmt: skip
        conditional = given.get("condition") is not None and judge.conditional is not False
        ours = ("condition" if conditional else "image", "image")
        pictures = part.record.shown.get(id(judge.network), ())
        theirs = [ends for picture in pictures if all(ends := (depicted(picture, False), depicted(picture, True)))]
        if theirs and ours not in theirs:
            yield ("discriminator with the wrong input", f"your GAN shows {judge.name} pictures that begin with the "
                   f"{theirs[0][0]} and end with the {theirs[0][1]}, the cycle begins with the {ours[0]} and ends with "
                   "the image: see conditional and n_frames of add_timecycle_discriminator, or let the network that "
                   "you add there reorder the channels")  # fmt: skip


def _check_optimizers(part: Part, optimizers: list[tuple[str, Optimizer]], completed: bool) -> Faults:
    """What no optimizer trains, or several do, and gradients that no optimizer used."""
    stepped = {id(event.owner) for event in part.record.of("step")}
    # Of each optimizer its name, its parameters, and whether it made a step.
    known = [(name or type(one).__name__, parameters_of(one), id(one) in stepped) for name, one in optimizers]
    held, motion, made_by = set().union(*(ids for _, ids, _ in known)), part.motion, part.made_by
    if any(parameters_of(network) - held for network in getattr(part.core, "networks", ())):
        yield ("sequence discriminators in no optimizer", "parameters of the sequence discriminators are in no "
               "optimizer, so they never learn: give self.seq_D_parameters() to the discriminator's")  # fmt: skip
    if missing := motion - held:
        yield ("motion model in no optimizer", f"{len(missing)} of the {len(motion)} parameters of its motion model "
               f"are in none of the optimizers ({', '.join(name for name, *_ in known)}), so they never learn: "
               'optimizer_G.add_param_group({"params": self.timecycle_parameters()})')  # fmt: skip
    if not part.cycle or missing:
        return
    holders = [one for one in known if one[1] & motion]
    names = " and ".join(name for name, *_ in holders)
    if sum(steps for *_, steps in holders) > 1:
        yield "motion model in several optimizers", f"{names} make steps with its parameters: keep the generator's only"
    # The discriminator's holds other parameters beside the motion model's, and none of those that made the sequence.
    misplaced = holders and held & made_by and all(ids - motion and not ids & made_by for _, ids, _ in holders)
    untouched = part.record.parameters.keys() - {event.owner for event in part.record.of("graded")}  # by any gradient
    for loss in (part.generator, part.discriminator):
        who = "motion model" if motion and loss is part.generator else loss.side
        # The parameters that tell whether an optimizer used the gradient.
        recipients = (motion & loss.trains if loss is part.generator else set()) or loss.trains
        fate = loss.fate(recipients, untouched)
        if fate in ("", "used") or not completed or not stepped:
            continue
        if misplaced and loss is part.generator:
            yield ("motion model in the discriminator's optimizer", f"{names} holds its parameters and none of the "
                   "generator's, so it never learns: add self.timecycle_parameters() to optimizer_G")  # fmt: skip
        elif recipients <= untouched:
            yield (f"{who} gets no gradient", f"{loss.method}() was back-propagated, but no gradient ever reached the "
                   f"parameters of the {who}: if .backward() is called with inputs=, name them there too")  # fmt: skip
        elif fate == "waiting":
            yield ("gradient never used", f"after {loss.method}() was back-propagated, the optimizer of the {who} made "
                   "no step: is it in the other side's loss, or does the step come before .backward()?")  # fmt: skip
        else:
            yield ("gradient cleared before it was used", f"the gradient of {loss.method}() was {fate} before "
                   f"the {who}'s optimizer used it: is it in the other side's loss, or changed before step()?"
                   )  # fmt: skip
