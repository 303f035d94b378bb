"""What is wrong with a GAN's TimeCycle: findings are predicates over the record of one training step."""
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.optimizer import Optimizer
from torch.utils import _pytree as tree

from timecyclegan.checking.record import Event, Record, fingerprint, leaves, origins, parameters_of, ways
from timecyclegan.checking.snapshot import PACKAGE, is_installed
from timecyclegan.models.mixins.host import as_video
from timecyclegan.models.mixins.seq_d_mixin import SequenceDiscriminators
from timecyclegan.models.mixins.timecycle import TimeCycle
from timecyclegan.models.mixins.timecycle_mixin import TimeCycleMixin
from timecyclegan.models.mixins.warp_loss_mixin import WarpLossMixin

TOLERANCE = 1e-3  # of the range of values: rounding is no fault
FAR_ABOVE = 100.0  # times the host's gradient, which then is noise beside TimeCycle's
CALLS = ("fed", "real", "generator", "discriminator")  # the events that are calls of a part
_PARTS = {  # what it is called, how to give it a step's videos, and what computes its losses
    TimeCycle: ("cycle", "timecycle_forward(fake, source)", "timecycle_backward", "self.timecycle_parameters()"),
    SequenceDiscriminators: ("sequence discriminators", "set_seq_D_input(fake, real)", "seq_D_backward",
                             "self.seq_D_parameters()"),
    WarpLossMixin: ("warp loss", "warp_forward(fake, real)", "warp_backward", ""),
}  # fmt: skip
_SCRIPT = {  # the same in the words of a script
    "self.timecycle_parameters": "cycle.parameters", "timecycle_forward": "cycle", "add_timecycle_": "cycle.add_",
    "set_timecycle_discriminator_input": "cycle.set_discriminator_input", "self.timecycle_backward_D":
    "cycle.discriminator_loss", "self.timecycle_backward": "cycle.generator_loss", "timecycle_backward_D":
    "cycle.discriminator_loss", "timecycle_backward": "cycle.generator_loss", "timecycle_type": "cycle_type",
    "define_timecycle(": "build a motion model (",
}  # fmt: skip


class Finding(NamedTuple):
    """A fault: its name, always in the same words, then what was seen and what to do."""

    name: str
    text: str

    def __str__(self) -> str:
        return f"{self.name}: {self.text}"


class Loss:
    """What became of a loss of a part, the generator's or the discriminators'."""

    def __init__(self, part: "Part", side: str, method: str):
        self.side, self.method, self.record = side, method, part.record
        self.title = {"timecycle_backward": "term", "timecycle_backward_D": "discriminator's term"}.get(method, method)
        self.events = [event for event in part.events if event.what == side]
        self.terms = {id(term.value): event for event in self.events for term in event.losses.values()}
        self.trains = leaves(*(term.value for event in self.events for term in event.losses.values()))
        self.reached = [event for event in self.record.of("reached") if event.owner in self.terms]
        self.passes = {event.during for event in self.reached}
        self.inside = {event.given["loss"] for event in self.reached}  # the host's losses, "" where that is not known

    def fates(self, recipients: set[int]) -> Iterator[Event | None]:
        """What came next where it left a gradient in ``recipients``: a step, what took it away, or nothing."""
        for history in map(self.record.histories.get, recipients & self.record.histories.keys()):
            for place, event in enumerate(history):
                if event.what == "graded" and event.during in self.passes:
                    yield next((later for later in history[place:] if later.what != "graded"), None)


class Part:
    """A cycle, a group of sequence discriminators, or the warp loss, and what happened to it."""

    def __init__(self, core: Any, name: str, record: Record):
        self.core, self.name, self.record, self.cycle = core, name, record, isinstance(core, TimeCycle)
        words = next(words for kind, words in _PARTS.items() if isinstance(core, kind))
        self.label, self.feed, method, self.parameters = words
        self.walk = self.feed.split("(")[0]
        self.events = [event for event in record.events if event.owner is core and event.what in CALLS]
        self.generator, self.discriminator = Loss(self, "generator", method), Loss(self, "discriminator", f"{method}_D")
        self.losses, self.complete = (self.generator, self.discriminator), record.complete
        calls = [event.what for event in self.events if event.what != "real"]
        self.fed, self.asked_before = "fed" in calls, bool(calls) and calls[0] != "fed"
        self.walks = [event for event in self.events if event.walk]
        # Of terms on a walk, whether its sequence had no gradient, and whether what made it had got its own before.
        self.made_by, self.detached, self.late = set(), False, False
        for event in self.walks:
            if event.what == "generator" and event.losses:
                behind, other = leaves(event.walk.sequence), leaves(event.walk.condition)
                graded = {one.owner for one in record.of("graded") if one.index < event.index}
                self.made_by |= behind | other
                self.detached |= event.grad and event.walk.predictions.requires_grad and not behind
                self.late |= bool(graded & behind - other)
        # Of cycles: the parameters of the motion models, of those of the host's too that no sequence depends on.
        self.judges = list(getattr(core, "judges", ()))
        networks = [judge.network for judge in self.judges if isinstance(judge.network, nn.Module)]
        walkers = [one for one in (core._walkers if self.cycle else ()) if isinstance(one, nn.Module)]
        self.judging = self.discriminator.trains.union(*map(parameters_of, networks)) - self.made_by
        self.judging -= set().union(*map(parameters_of, walkers))
        others = self.generator.trains - self.made_by - self.judging
        self.motion = parameters_of(core) | others if self.cycle else set()
        self.clips, self.unread, self.ignored = {}, [], 0  # given last, without what is ignored
        self.signed = self.fake_as_real = False  # whether the clip surely has values below 0; is given as the real one
        for event in (event for event in self.events if event.what in ("fed", "real")):
            for key, what in (("sequence", "sequence"), ("fake", "sequence"), ("real_sequence", "real sequence"),
                              ("real", "real sequence"), ("condition", "condition")):  # fmt: skip
                if (given := event.given.get(key)) is not None:
                    frames, clip = [given] if isinstance(given, Tensor) else given, attempt(as_video, given)
                    what += " of the real one" * (key == "condition" and event.what == "real")
                    if isinstance(clip, Exception):
                        self.unread.append({"what": what, "error": clip})
                        continue
                    self.ignored = event.given.get("ignore_first_n", 0)
                    self.clips[what] = clip.detach()[:, self.ignored :]
                    self.made_by |= leaves(*frames) if what == "sequence" else set()
                    self.fake_as_real |= what == "real sequence" and bool(leaves(*frames) & self.made_by)
                    self.signed |= what == "sequence" and any(
                        edge.node.name().startswith("Tanh") for frame in frames for edge in origins(frame))
        one, other = (self.clips.get(what) for what in ("sequence", "real sequence"))
        same = one is not None and other is not None and one.shape == other.shape and torch.equal(one, other)
        self.fake_as_real |= same and bool(self.made_by)
        if self.cycle and not core.type.conditional:
            self.clips.pop("condition", None)
        self.seen = {what: readings(self, clip) for what, clip in self.clips.items()}
        self.swapped = swapped(self)
        self.ranges = {what: clip.aminmax() for what, clip in self.clips.items() if clip.numel()}
        self.signed |= "sequence" in self.ranges and self.ranges["sequence"][0].item() < -0.25
        errors = [str(event.error) for event in self.events if event.error]
        self.over = any("walk first" in error for error in errors)
        self.weightless = self.cycle and bool(self.walks) and (
            core.weight == 0 or bool(reached := self.generator.reached) and all(event.given["zero"] for event in reached))
        self.steppers = [name for name, one, ids in record.optimizers if ids & self.motion and id(one) in record.stepped]
        self.pull = self.host_pull = 0.0  # norms of the gradients at the clip walked last: TimeCycle's, the host's
        if event := next((event for event in self.events[::-1] if "clip" in event.pulls), None):
            edges = [edge for edge in event.pulls if edge != "clip"]
            before = ways([one for edge in edges for one, _ in edge.node.next_functions])
            edges = [edge for edge in edges if edge.node not in before]  # of a recurrent generator the last frame
            ours = torch.autograd.grad(event.walk.sequence, edges, event.pulls["clip"], True, allow_unused=True)
            ours = [torch.zeros(1) if one is None else one for one in ours]
            self.pull, host = (sum(one.square().sum().item() for one in some) ** 0.5 for some in (
                ours, [event.pulls[edge] - one for edge, one in zip(edges, ours, strict=True)]))
            self.host_pull = host if host > 1e-5 * self.pull else 0.0  # less is rounding

    def saw(self) -> str:
        """What was watched, in words."""
        if "sequence" not in self.clips:
            return ""
        clip, plural = self.clips["sequence"], lambda number, what: f"{number} {what}{'s' * (number != 1)}"
        text = f"{'walked ' * self.cycle}{plural(len(clip), 'clip')} of {plural(clip.shape[1], 'frame')}, "
        text += "x".join(map(str, clip.shape[2:]))
        if "condition" in self.clips:
            text += f", condition {plural(self.clips['condition'].shape[2], 'channel')}"
        graded = {event.owner for event in self.record.of("graded") if event.during in self.generator.passes}
        sides = {"generator": self.made_by - self.motion, "motion model": self.motion}
        sides = [side for side, ids in sides.items() if ids & graded & self.generator.trains]
        low, high = self.ranges.get("sequence", (0, 0))
        text += f", values {low:.2g} to {high:.2g}, reaches {' and '.join(sides) or 'nothing'}"
        text += f"; gradient {self.pull:.2g}" * bool(self.pull)
        return text + f" beside the host's {self.host_pull:.2g}" * bool(self.pull and self.host_pull)


# ---- predicates that need more than a line: true, or what there is to say in each case


def attempt(call: Callable[[Any], Any], argument: Any) -> Any:
    """What a call makes, or the exception that it raises."""
    try:
        with torch.no_grad():
            return call(argument)
    except Exception as error:
        return error


def first_layer(network: Any) -> int:
    """How many channels the first layer of a network takes; 0 where that cannot be told."""
    layers = network.modules() if isinstance(network, nn.Module) else ()
    return next((layer.in_channels for layer in layers if getattr(layer, "in_channels", None)), 0)


def shows(pictures: Tensor, clip: Tensor) -> Tensor:
    """Which of ``pictures`` (M, C') show, from which channel on, which frame of ``clip`` (N, T, C), all fingerprints:
    (M, places, N, T)."""
    if pictures.dim() != 2 or not clip.shape[2] <= pictures.shape[1] <= 64:
        return torch.zeros(len(pictures), 1, *clip.shape[:2], dtype=torch.bool)
    windows = pictures.unfold(1, clip.shape[2], 1)[:, :, None, None]
    return (torch.isclose(windows, clip, rtol=1e-9, atol=1e-7) & windows.isfinite()).all(dim=-1)


def readings(part: Part, clip: Tensor) -> set[bool]:
    """How modules of the host see a clip (N, T, C, H, W): as that (True), as (N, C, T, H, W) (False), or not at all."""
    prints, seen = fingerprint(clip), set()
    for reading in (prints, prints.transpose(1, 2)):
        volume = reading.transpose(1, 2)
        for one in (one for _, size, *both in part.record.shown if size == clip.shape[3:] for one in sum(both, [])):
            same = one.shape == volume.shape and torch.isclose(one, volume).all()
            seen |= {reading is prints} if same or shows(one, reading).any() else set()
    return seen


def swapped(part: Part) -> list[dict[str, Any]]:
    """Clips with frames and channels swapped: modules see them so, or only so they fit each other or the motion model.
    """
    found, seen = {what for what in part.seen if part.seen[what] == {False}}, part.seen
    one, other = (part.clips.get(what) for what in ("sequence", "condition"))
    if one is not None and other is not None and one.shape[1] != other.shape[1]:
        found |= {"sequence"} if one.shape[2] == other.shape[1] and True not in seen["sequence"] else set()
        found |= {"condition"} if other.shape[2] == one.shape[1] and True not in seen["condition"] else set()
    elif part.cycle and one is not None and not seen["sequence"] and not part.walks and one.shape[1] != one.shape[2]:
        turned = part.core.type.history * one.shape[1] + (0 if other is None else other.shape[1])
        found |= {"sequence"} if first_layer(part.core._walkers[0]) == turned else set()
    return [{"what": what, "shape": tuple(part.clips[what].shape)} for what in found]


def misbuilt(part: Part, broken: bool) -> Iterator[dict[str, Any]]:
    """Motion models that cannot take or do not make frames; the ``broken`` ones for another reason than channels."""
    one, other = (part.clips.get(what) for what in ("sequence", "condition"))
    error = next((event.error for event in part.events if event.what == "fed"), None)
    fits = one is not None and (other is not None or not part.cycle or not part.core.type.conditional)
    if not part.cycle or not fits or (other is not None and one.shape[1] != other.shape[1]) or part.swapped:
        return
    history, (frames, channels) = part.core.type.history, one.shape[1:3]
    if frames <= history:
        return
    # (N, [C_c +] history * C, H, W) to (N, C, H, W)
    shown = torch.cat([*([] if other is None else [other[:, 0]]), *one[:, :history].unbind(1)], dim=1)
    given = "" if other is None else f"{other.shape[2]} of the condition, "
    remedy = f"define_timecycle(input_channels={shown.shape[1]}, output_channels={channels}), or mend your own one"
    if not part.seen["sequence"] and channels > 4:
        remedy = "if the clip is (N, C, T, H, W), give clip.transpose(1, 2)"  # it is hardly one of so many channels
    for name, network in zip(("motion model", "forward motion model"), part.core._walkers, strict=True):
        made = one[:, 0] if network is None else attempt(network, shown)
        expected = first_layer(network) or shown.shape[1]
        if isinstance(made, Tensor) and made.shape[1:] != one.shape[2:] and not broken:
            yield {"what": f"{name} makes (C, H, W) = {tuple(made.shape[1:])}, a frame is {tuple(one.shape[2:])}",
                   "remedy": remedy}  # fmt: skip
        elif isinstance(made, Exception) and error and broken == (expected == shown.shape[1]):
            why = f"raised {type(made).__name__}: {made}" if broken else f"its first layer takes {expected}"
            yield {"what": f"{name} is shown {shown.shape[1]} channels ({given}{history} frame(s) of {channels}), {why}",
                   "remedy": remedy}  # fmt: skip


def misjudged(part: Part) -> Iterator[dict[str, Any]]:
    """Discriminators that are called in vain, or by the cycle on other pictures than by the host."""
    if any(event.error and event.what in ("generator", "discriminator") for event in part.events) and part.cycle:
        cases = attempt(part.core.cases, "gan")
        if isinstance(cases, Exception):
            if hasattr(part.core.step, "sequence"):
                yield {"what": cases}
            return
        for judge, exhibit in ((case.judge, one) for case in cases for one in (*case.fake[:1], *case.real[:1])):
            shown, channels = exhibit.pictures(), exhibit.video.shape[2]
            if isinstance(error := attempt(judge.network, shown), Exception):
                seen = 0 if exhibit.condition is None else exhibit.condition.shape[2]
                what = f"{judge.n_frames} frame(s) of {channels}" + f", {seen} of the condition of each" * bool(seen)
                takes, known = first_layer(judge.network), seen or part.core.step.condition
                known = known if isinstance(known, int) else 0 if known is None else known.shape[2]
                # What it may be built for: how many frames, and whether with the condition.
                ways = [f"n_frames={takes // each}{more}" for each, more in ((channels, ", conditional=False"), (
                    channels + known, " and the condition of each frame, not conditional=False"))
                    if takes not in (0, shown.shape[1]) and takes % each == 0]  # fmt: skip
                why = f"its first layer takes {takes}" if ways else f"{tuple(shown.shape)} in all: {error}"
                yield {"what": f"{judge.name} is shown {shown.shape[1]} channels ({what}), {why}"
                               + f": add it with {' or '.join(ways)}" * bool(ways)}  # fmt: skip
    for judge in part.judges if part.complete and part.walks else ():
        conditional = "condition of the real one" in part.clips and judge.conditional is not False
        ours, theirs = ("condition" if conditional else "image", "image"), []
        for network, size, shown, _ in part.record.shown:
            clips = {what: fingerprint(clip) for what, clip in part.clips.items() if clip.shape[3:] == size}
            for one in shown if network is judge.network else ():
                ends = [next((("image", "condition")["condition" in what] for what in clips
                              if shows(one, clips[what])[:, place].any()), "") for place in (0, -1)]  # fmt: skip
                theirs += [tuple(ends)] if all(ends) else []
        if theirs and ours not in theirs:
            yield {"what": f"your GAN shows {judge.name} pictures that begin with the {theirs[0][0]} and end with the "
                   f"{theirs[0][1]}, the cycle begins with the {ours[0]} and ends with the image: see conditional and "
                   "n_frames of add_timecycle_discriminator, or let the network that you add there reorder the channels"}  # fmt: skip


def disordered(part: Part) -> bool:
    """Whether the host's modules see frames of a clip with other frames of its condition than those given with it."""
    for first, second in (("sequence", "condition"), ("real sequence", "condition of the real one")):
        pair = [part.clips[what] for what in (first, second) if what in part.clips]
        if len(pair) < 2 or pair[0].shape[:2] != pair[1].shape[:2] or pair[0].shape[3:] != pair[1].shape[3:]:
            continue
        image, other = map(fingerprint, pair)
        beside = torch.zeros(*image.shape[:2], image.shape[1], dtype=torch.bool)  # (N, T of the clip, T of the other)
        for pictures in (sum(both, []) for _, size, *both in part.record.shown if size == pair[0].shape[3:]):
            row = torch.cat([one for one in pictures if one.dim() == 2 and len(one) == len(pictures[0])] or
                            [image[:, 0, :0]], dim=1)  # fmt: skip
            here, there = (shows(row, one).any(dim=1) for one in (image, other))  # (M, N, T)
            beside |= (here.unsqueeze(-1) & there.unsqueeze(-2)).any(dim=0)
        wrong = beside & ~beside.diagonal(dim1=1, dim2=2).unsqueeze(-1)
        if wrong.flatten(0, 1).any(dim=0).sum() > 1:  # one alone may be a condition of the whole clip
            return True
    return False


def unused(part: Part) -> Iterator[dict[str, Any]]:
    """Losses whose gradient no optimizer used: the name of the finding, and why."""
    record = part.record
    if not part.cycle or not part.complete or not record.stepped or part.motion - record.held:
        return
    holders = [(name, ids) for name, _, ids in record.optimizers if ids & part.motion]
    for loss in part.losses:
        who = "motion model" if part.motion and loss is part.generator else loss.side
        # The parameters that tell whether an optimizer used the gradient.
        recipients = (part.motion & loss.trains if loss is part.generator else set()) or loss.trains
        fates = [*loss.fates(recipients)]
        if not loss.reached or not recipients or any(event and event.what == "step" for event in fates):
            continue
        misplaced = holders and record.held & part.made_by and loss is part.generator
        if misplaced and all(ids - part.motion and not ids & part.made_by for _, ids in holders):
            names = " and ".join(name for name, _ in holders)
            yield {"name": "motion model in the discriminator's optimizer", "why": f"{names} holds its parameters and "
                   f"none of the generator's, so it never learns: add {part.parameters} to optimizer_G"}  # fmt: skip
        elif not fates:
            yield {"name": f"{who} gets no gradient", "why": f"{loss.method}() was back-propagated, but no gradient "
                   f"reached the parameters of the {who}: if .backward() is called with inputs=, name them too"}  # fmt: skip
        elif cleared := next((event for event in fates if event), None):
            yield {"name": "gradient cleared before it was used", "why": f"the gradient of {loss.method}() was "
                   f"{cleared.given['how']} before the {who}'s optimizer used it: is it in the other side's loss, or "
                   "changed before step()?"}  # fmt: skip
        else:
            yield {"name": "gradient never used", "why": f"after {loss.method}() was back-propagated, the optimizer of "
                   f"the {who} made no step: is it in the other side's loss, or does the step come before .backward()?"}  # fmt: skip


def repeated(part: Part) -> list[dict[str, Any]]:
    """Losses whose terms on one clip are added more than once; the discriminators' in one backward pass."""
    found = []
    for loss in part.losses:
        times: Counter[Any] = Counter()
        for event in loss.reached:
            computed = loss.terms[event.owner]
            clip = max((fed.index for fed in part.events if fed.what == "fed" and fed.index < computed.index), default=0)
            name = next(name for name, term in computed.losses.items() if id(term.value) == event.owner)
            times[clip, name, loss is part.generator or event.during] += event.given["times"]
        found += [{"loss": loss}] if max(times.values(), default=0) > 1 else []
    return found


def still(part: Part) -> list[dict[str, Any]]:
    """What trains with a learning rate of 0, unless nothing else learns either or a scheduler begins so."""
    def rates(ids: set[int] | None) -> list[float]:
        return [float(group.get("lr", 1)) or group.get("initial_lr", 0.0) for _, one, _ in part.record.optimizers
                for group in one.param_groups if ids is None or ids & {id(p) for p in group["params"]}]  # fmt: skip

    motion, maker = rates(part.motion), rates(part.made_by - part.motion)
    found = ["motion model"] * (0 in motion) + ["generator"] * (bool(maker) and not any(maker))
    return [{"who": who} for who in found if any(rates(None))]


def alone(part: Part) -> bool:
    """Whether DistributedDataParallel averages the gradients of what makes the clip, and nothing the motion model's."""
    if not torch.distributed.is_available() or not torch.distributed.is_initialized():
        return False
    wrapped = set().union(*(parameters_of(one) for _, one in part.record.snapshot.found(DistributedDataParallel)))
    sent = [one for event in part.record.of("shared") for one in tree.tree_leaves(event.given)]
    motion = {id(p): p.numel() for _, p in part.record.snapshot.found(nn.Parameter) if id(p) in part.motion - wrapped}
    enough = sum(one.numel() for one in sent if isinstance(one, Tensor)) >= sum(motion.values())
    return torch.distributed.get_world_size() > 1 and bool(wrapped & part.made_by and motion) and not enough


def never_cleared(record: Record) -> list[dict[str, Any]]:
    """Optimizers that made a step with gradients, none of which was ever taken away."""
    histories = {name: [{event.what for event in record.histories[key]} for key in ids]
                 for name, one, ids in record.optimizers if id(one) in record.stepped}  # fmt: skip
    return [{"name": name} for name, kinds in histories.items()
            if any("graded" in one for one in kinds) and not any("cleared" in one for one in kinds)]  # fmt: skip


def left_over(record: Record, parts: list[Part]) -> list[dict[str, Any]]:
    """Optimizers that hold nothing of a generator, and use a gradient of its loss beside others: in this step, or in
    the next, if it is as this one."""
    made_by = set().union(*(part.made_by | part.motion for part in parts))
    passes = set().union(*(part.generator.passes for part in parts))
    passes -= set().union(*(part.discriminator.passes for part in parts))
    found = {}
    for name, optimizer, ids in record.optimizers:
        for history in (record.histories[key] for key in ids if not ids & made_by):
            held: set[int] = set()
            for event in history * 2 if any(event.what == "cleared" for event in history) else ():
                if event.what == "cleared":
                    held = set()
                elif event.what == "graded":
                    held |= {event.during}
                elif event.owner is optimizer and held & passes and held - passes:
                    found[name] = {"name": name}
    return list(found.values())


RULES: list[tuple[str, str, Callable[[Part], Any]]] = [
    ("not a number", "{what} is infinite or not a number: look for the cause in the step before TimeCycle (a division by "
     "0, a learning rate that is too high)", lambda p: [
        {"what": f"the {what}"} for what, both in p.ranges.items() if p.cycle and not all(map(torch.isfinite, both))
        ] + [{"what": f"the term {name!r}"} for event in p.events for name, (value, _) in event.losses.items()
             if not value.isfinite().all()]),
    ("values outside [-1, 1]", "the {what} goes from {low:.4g} to {high:.4g}, motion models make [-1, 1]: scale the data "
     "(x / 127.5 - 1 for bytes), and let the generator end in tanh", lambda p: [
        {"what": what, "low": low.item(), "high": high.item()} for what, (low, high) in p.ranges.items()
        if p.cycle and -torch.inf < low and high < torch.inf and (low < -1 - TOLERANCE or high > 1 + TOLERANCE)]),
    ("real clip in [0, 1]", "the real clip goes from {low:.2g} to {high:.2g}, the generator makes [-1, 1]: give "
     "2 * real - 1, or a discriminator tells them apart by that alone", lambda p: [
        {"low": low.item(), "high": high.item()} for low, high in [p.ranges["real sequence"]]
        if 0 <= low < 0.25 and high <= 1 + TOLERANCE and p.signed] if "real sequence" in p.ranges else ()),
    ("condition missing", "a conditional cycle sees the source of each frame: timecycle_forward(fake, source); without "
     "one, timecycle_type is 'unconditional'", lambda p: p.cycle and p.core.type.conditional and p.fed and not p.unread
     and "condition" not in p.clips),
    ("sequence of the wrong shape", "the {what} cannot be read: {error}", lambda p: p.unread),
    ("frames and channels swapped", "the {what} {shape} is read as (N, T, C, H, W), and seems to be (N, C, T, H, W): give "
     "clip.transpose(1, 2)", lambda p: p.swapped),
    ("sequence and condition differ", "{error}: frame t of the one must belong to frame t of the other",
     lambda p: [{"error": event.error} for event in p.events if event.what in ("fed", "real") and not p.swapped
                and "differ in" in str(event.error)]),
    ("condition in another order of time", "your GAN sees frames of the clip together with other frames of the condition "
     "than those that timecycle_forward gets at the same place: give both in the same order", disordered),
    ("cycle of length 0", "in a sequence of {frames} frame(s) ({ignored} of them ignored) there is nothing to walk, so "
     "there is no loss: give at least {least} frames", lambda p: [
        {"frames": clip.shape[1] + p.ignored, "ignored": p.ignored, "least": p.core.type.history + 1 + p.ignored}
        for clip in [p.clips["sequence"]] if clip.shape[1] <= p.core.type.history and not p.swapped]
        if p.cycle and "sequence" in p.clips else ()),
    ("wrong channel count", "the {what}: {remedy}", lambda p: misbuilt(p, False)),
    ("motion model fails", "the {what}", lambda p: misbuilt(p, True)),
    ("discriminator with the wrong input", "{what}", misjudged),
    ("discriminator sees nothing", "{name} wants {wanted} frames, the walk has {frames}: give longer clips, or add it "
     "with a smaller n_frames", lambda p: [
        {"name": judge.name, "wanted": judge.n_frames, "frames": p.clips["sequence"].shape[1]} for judge in p.judges
        if p.complete and p.walks and judge.n_frames > p.clips["sequence"].shape[1]]),
    ("generated clip given as real", "the real clip is the generated one, or was made by the same networks: give the "
     "clip of the data", lambda p: p.fake_as_real),
    ("{p.walk} never called", "there is no generated sequence of this step: call {p.feed} once it is generated, before "
     "its losses, in every step", lambda p: p.asked_before or (p.complete and not p.fed) or p.over),
    ("detached sequence", "the sequence that TimeCycle walks has no gradient, so the loss does not train the generator: "
     "give it as it is generated, without detach() and not made in torch.no_grad()", lambda p: p.detached),
    ("motion model gets no gradient", "{call}() ran under torch.no_grad(), so its loss trains nothing: call it where "
     "gradients are recorded", lambda p: [{"call": p.walk if event.what == "fed" else p.generator.method} for event in
                                          p.walks if event.what in ("fed", "generator") and not event.grad]),
    ("motion model gets no gradient", "the loss does not depend on its parameters: let them require gradients", lambda p:
     p.complete and p.walks and p.generator.reached and p.motion and not p.motion & p.generator.trains
     and not p.weightless),
    ("weight 0", "the weight of its loss is 0 in this step, so it trains nothing: give it a weight, and do not "
     "multiply the term by 0", lambda p: p.weightless),
    ("gradient far above the host's", "at the generated clip TimeCycle's gradient is {p.pull:.2g}, your GAN's own "
     "{p.host_pull:.2g}: lower the weight, or give shorter clips", lambda p: p.pull > FAR_ABOVE * p.host_pull > 0),
    ("{loss.method} never called", "the {loss.side}'s term was not computed in this step: add {loss.method}() to the "
     "{loss.side}'s loss (if that does not learn in every step, check several: see step)", lambda p: [
        {"loss": loss} for loss in p.losses if p.complete and p.fed and not loss.events
        and (loss is p.generator or (p.judges and (p.walks or not p.cycle)))]),
    ("{loss.title} never back-propagated", "no .backward() went through {loss.method}(): add {loss.method}() to the "
     "{loss.side}'s loss before its .backward(), where what it trains requires gradients", lambda p: [
        {"loss": loss} for loss in p.losses if p.complete and p.fed and not loss.reached and not (
            p.late and loss is p.generator) and (loss.trains or (loss.terms and loss is p.discriminator))]),
    ("{loss.method} in the other side's loss", "{loss.method}() is part of {other}: add it to the {loss.side}'s loss",
     lambda p: [{"loss": loss, "other": other} for loss, other in zip(p.losses, ("loss_D", "loss_G"), strict=True)
                if p.complete and other in loss.inside]),
    ("back-propagated before the term was added", "the generator's loss had been back-propagated when "
     "timecycle_backward() was computed: add it before, or where .backward() is called by a method of the GAN do "
     "self.timecycle_backward().backward(retain_graph=True) before it (gradients add up)", lambda p: p.late and (
        (p.complete and p.fed and not p.generator.reached) or "graph a second time" in str(p.record.error))),
    ("term added twice", "the {loss.side}'s term of one clip is back-propagated more than once: add {loss.method}() to "
     "one loss, once", repeated),
    ("discriminator trained by the generator's term", "timecycle_backward() sends gradients to it: make them known to its "
     "parameters(), so that it can be frozen, or clear them before its step", lambda p:
     p.generator.trains & p.judging),
    ("sequence discriminators in no optimizer", "parameters of the sequence discriminators are in no optimizer, so they "
     "never learn: give self.seq_D_parameters() to the discriminator's", lambda p: p.record.optimizers and any(
        parameters_of(network) - p.record.held for network in getattr(p.core, "networks", ()))),
    ("motion model in no optimizer", "{missing} of the {all} parameters of its motion model are in none of the "
     'optimizers ({names}), so they never learn: optimizer_G.add_param_group({{"params": self.timecycle_parameters()}})',
     lambda p: p.record.optimizers and p.motion - p.record.held and [
        {"missing": len(p.motion - p.record.held), "all": len(p.motion),
         "names": ", ".join(name for name, *_ in p.record.optimizers)}]),
    ("motion model in several optimizers", "{names} make steps with its parameters: keep the generator's only",
     lambda p: [{"names": " and ".join(p.steppers)}] if len(p.steppers) > 1 else ()),
    ("learning rate 0", "the parameters of the {who} are in a group with learning rate 0, so they never learn: give it "
     "another lr", still),
    ("motion model not synchronised", "DistributedDataParallel averages your generator's gradients over the processes, "
     "but not the motion model's, so each process gets a model of its own: wrap it, or average its gradients before "
     "the step", alone),
    ("{name}", "{why}", unused),
]


def find_faults(record: Record, cores: list[tuple[str, Any]], optimizers: list[tuple[str, Optimizer]],
                error: Exception | None) -> tuple[list[Finding], dict[str, str]]:  # fmt: skip
    """All that is wrong with ``cores``, cycles and groups of sequence discriminators with their names, and with others
    that the step used; and what was watched, in words. After an ``error`` it is what does not depend on a step's end.
    """
    record.optimizers = [(name or type(one).__name__, one, parameters_of(one)) for name, one in optimizers]
    record.held = set().union(*(ids for *_, ids in record.optimizers))
    record.stepped = {id(event.owner) for event in record.of("step")}
    record.error, record.complete = error, not error and bool(record.of("backward"))
    known = {id(core): (core, name) for name, core in cores}
    for event in record.events:
        if event.what in CALLS:
            known.setdefault(id(event.owner), (event.owner, "TimeCycle" * isinstance(event.owner, TimeCycle)))
    parts = [Part(core, name, record) for core, name in known.values()]
    labels, findings = [part.label for part in parts], {}
    hosts = [cycle for _, host in record.snapshot.found(TimeCycleMixin) for cycle in host.timecycles.values()]

    def add(name: str, sentence: str, found: Any, part: Part | None = None) -> None:
        for details in [{}] if found is True or isinstance(found, set) and found else found or ():
            texts = [text.format(p=part, **details) for text in (name, sentence)]
            if part and part.cycle and part.core not in hosts:
                for ours, theirs in _SCRIPT.items():
                    texts = [text.replace(ours, theirs) for text in texts]
            where = f"{part.label} {part.name!r}: " if part and labels.count(part.label) > 1 else ""
            findings.setdefault((texts[0], where), Finding(texts[0], where + texts[1]))

    for part in parts:
        for name, sentence, test in RULES:
            add(name, sentence, test(part), part)
    cycles = any(part.cycle for part in parts)
    ours = any(event.error is error for part in parts for event in part.events)
    told = "does not require grad" in str(error) or ours or "graph a second time" in str(error)
    if error and not (told and findings):
        frames = traceback.extract_tb(error.__traceback__)
        theirs = [frame for frame in frames if not is_installed(frame.filename) and PACKAGE not in frame.filename]
        frame = (theirs or frames)[-1]
        place = f"{type(error).__name__} in {frame.filename}, line {frame.lineno}: {error}"
        add("the step failed", "{place}", [{"place": place}])
    add("no TimeCycle", "the GAN has no cycle: call define_timecycle in its __init__", not cycles)
    add("no optimizer", "the step uses none and the GAN holds none, so nothing can be said about them: give a step that "
        "uses yours, with step=lambda batch: ...", cycles and not error and not optimizers)  # fmt: skip
    add("nothing back-propagated", "the step calls no .backward(), and there is no loss_G to call it on: give a whole "
        "step, with step=lambda batch: ...", cycles and not error and not record.of("backward"))  # fmt: skip
    late = [{"name": name} for name, one, _ in record.optimizers
            if len({"initial_lr" in group for group in one.param_groups}) > 1]  # fmt: skip
    add("scheduler made before the parameter group", "a learning-rate scheduler of {name} does not know a parameter group "
        "that was added later, and fails or leaves it out when it makes a step: make it after add_param_group", late)  # fmt: skip
    if record.complete:
        add("gradients never cleared", "{name} makes a step, but nothing clears its gradients, so those of all steps add "
            "up: call {name}.zero_grad() in every step before .backward()", never_cleared(record))  # fmt: skip
        add("gradients of the generator's loss in a discriminator", "{name} uses gradients that the generator's .backward() "
            "left in its parameters: call {name}.zero_grad() right before the discriminator's .backward()",
            left_over(record, parts))
    return list(findings.values()), {
        part.name if part.cycle else f"{part.label} {part.name}".rstrip(): part.saw() for part in parts
    }
