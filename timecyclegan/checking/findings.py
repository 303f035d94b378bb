"""What is wrong with a GAN's TimeCycle: findings are predicates over the record of one training step."""
import contextlib
import itertools
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.optimizer import Optimizer
from torch.utils import _pytree as tree

from timecyclegan.checking.record import Record, fingerprint, parameters_of, shows
from timecyclegan.models.mixins.host import as_video
from timecyclegan.models.mixins.seq_d_mixin import SequenceDiscriminators
from timecyclegan.models.mixins.timecycle import TimeCycle
from timecyclegan.models.mixins.timecycle_mixin import TimeCycleMixin
from timecyclegan.models.mixins.warp_loss_mixin import WarpLossMixin
from timecyclegan.util.graph import leaves, origins, ways
from timecyclegan.util.snapshot import PACKAGE, is_installed

TOLERANCE = 1e-3  # of the range of values: rounding is no fault
OTHERS = {"generator": "loss_D", "discriminator": "loss_G"}  # where a side's loss is not to be
AGAIN = "graph a second time"  # what PyTorch says of a graph that is used up
MUCH = 5.0  # times the host's gradient, from which on a lower weight is worth a try
FAR_ABOVE = 100.0  # times the host's gradient, which then is noise beside TimeCycle's
Details = list[dict[str, Any]]  # what a finding says, once for each case
_PARTS = {  # what it is called, how to give it a step's videos, and what computes its losses
    TimeCycle: ("cycle", "timecycle_forward(fake, source)", "timecycle_backward"),
    SequenceDiscriminators: ("sequence discriminators", "set_seq_D_input(fake, real)", "seq_D_backward"),
    WarpLossMixin: ("warp loss", "warp_forward(fake, real)", "warp_backward"),
}
_SCRIPT = {  # the words of a class, and of a script
    "self.timecycle_parameters": "cycle.parameters", "timecycle_forward": "cycle", "add_timecycle_": "cycle.add_",
    "self.timecycle_backward": "timecycle_backward", "timecycle_backward_D": "cycle.discriminator_loss",
    "timecycle_backward": "cycle.generator_loss", "timecycle_type": "cycle_type", "define_timecycle": "a network of ",
}  # fmt: skip
_CLIPS = {"sequence": "sequence", "fake": "sequence", "real": "real sequence", "real_sequence": "real sequence",
          "condition": "condition"}  # fmt: skip


class Finding(NamedTuple):
    """A fault: its name, always in the same words, then what was seen and what to do."""

    name: str
    text: str

    def __str__(self) -> str:
        return f"{self.name}: {self.text}"


class Loss:
    """What became of a loss of a part, the generator's or the discriminators'."""

    def __init__(self, part: "Part", side: str, method: str):
        self.side, self.method, self.histories = side, method, part.record.histories
        self.title = {"timecycle_backward": "term", "timecycle_backward_D": "discriminator's term"}.get(method, method)
        self.events = [event for event in part.events if event.what == side]
        self.terms = {id(term.value): (name, term.value.grad_fn, event.index) for event in self.events
                      for name, term in event.losses.items()}  # fmt: skip
        self.trains = leaves(*(term.value for event in self.events for term in event.losses.values()))
        self.passes: dict[int, str] = {}  # backward passes that it was in, and the host's losses where these are known
        self.who, self.lost = side, ""  # who learns from it, and what became of its gradient
        self.times: Counter[Any] = Counter()  # that a term of a clip was added; a discriminator's in one pass
        for event, (name, node, computed) in itertools.product(part.record.of("backward"), self.terms.values()):
            if times := event.given.get("ways", {}).get(node, 0):
                clip = sum(one.what == "fed" and one.index < computed for one in part.events)
                self.times[name, clip, event.index if side == "discriminator" else ""] += times
                self.passes[event.index] = event.given["loss"]

    def fate(self, ids: set[int]) -> str:
        """What came next where it left gradients in parameters: a "step" of any, or "cleared", "waiting", "none"."""
        ends = set()
        for history in map(self.histories.get, ids & self.histories.keys()):
            for place, event in enumerate(history):
                if event.what == "graded" and event.during in self.passes:
                    ends.add(next((later.what for later in history[place:] if later.what != "graded"), "waiting"))
        return "step" if "step" in ends else min(ends, default="none")


class Part:
    """A cycle, a group of sequence discriminators, or the warp loss, and what happened to it."""

    def __init__(self, core: Any, name: str, record: Record):
        self.core, self.name, self.record, self.cycle = core, name, record, isinstance(core, TimeCycle)
        self.label, self.feed, method = next(words for kind, words in _PARTS.items() if isinstance(core, kind))
        self.walk, self.complete = self.feed.split("(")[0], record.complete
        self.events = [event for event in record.events if event.owner is core]
        self.generator, self.discriminator = Loss(self, "generator", method), Loss(self, "discriminator", f"{method}_D")
        self.losses, self.judges = (self.generator, self.discriminator), list(getattr(core, "judges", ()))
        self.loss = self.generator  # the one that is looked at, of both in turn
        self.fed = any(event.what == "fed" for event in self.events)
        self.walks = [event for event in self.events if event.walk]
        # The clips given last, without what is ignored; what made them; and what was odd about that.
        self.clips, self.made_by = {}, set()
        self.late = self.detached = self.signed = False
        for event in self.events:
            for key in _CLIPS.keys() & event.given.keys() if event.what in ("fed", "real") else ():
                what = _CLIPS[key] + " of the real one" * (key == "condition" and event.what == "real")
                if self.cycle and what == "condition" and not core.type.conditional:
                    continue
                with contextlib.suppress(Exception):  # it is no clip, and TimeCycle has said so
                    clip = as_video(event.given[key])
                    self.clips[what] = clip.detach()[:, event.given.get("ignore_first_n", 0) :]
                    if what == "sequence":
                        self.made_by |= leaves(clip)
                        self.signed |= any(edge.node.name().startswith("Tanh") for edge in origins(clip))
            if event.what == "generator" and event.losses and event.walk:
                behind, other = leaves(event.walk.sequence), leaves(event.walk.condition)
                graded = {one.owner for one in record.of("graded") if one.index < event.index}
                self.made_by |= other
                self.detached |= event.grad and event.walk.predictions.requires_grad and not behind
                self.late |= bool(graded & behind - other)
        self.sequence, self.condition, self.real = map(self.clips.get, ("sequence", "condition", "real sequence"))
        self.ranges = {what: clip.aminmax() for what, clip in self.clips.items() if clip.numel()}
        self.range = self.ranges.get("sequence", (-1, 0))
        self.signed |= bool(self.range[0] < -0.25)
        self.frames = 0 if self.sequence is None else self.sequence.shape[1]
        self.readings, self.disordered, self.misjudged, self.unsigned = sightings(self)
        self.swapped = swapped(self)
        # The parameters of the motion models, and of those of the host's that no clip depends on.
        self.motion = parameters_of(core) | self.generator.trains - self.made_by if self.cycle else set()
        trained = self.motion.union(*map(parameters_of, getattr(core, "networks", ())))
        self.outside = trained - record.held if record.optimizers else set()
        for loss in self.losses:
            ids = (self.motion & loss.trains if loss is self.generator else set()) or loss.trains
            loss.who = "motion model" if self.motion and loss is self.generator else loss.side
            if self.cycle and self.complete and record.stepped and not self.outside and loss.passes and ids:
                loss.lost = loss.fate(ids)
        self.holders = [name for name, one, ids in record.optimizers if ids & self.motion and id(one) in record.stepped]
        self.pull = self.host_pull = 0.0  # norms of the gradients at the clip walked last: TimeCycle's, the host's
        event = next((event for event in self.events[::-1] if "clip" in event.pulls), None)
        slopes = [slope for event in self.generator.events for slope in event.slopes]
        unused = not getattr(core, "weight", 1) or (slopes and not any(map(torch.any, slopes)))
        self.weightless = self.cycle and self.walks and unused
        if event:
            edges = [edge for edge in event.pulls if edge != "clip"]
            before = ways(*(one for edge in edges for one, _ in edge.node.next_functions))
            edges = [edge for edge in edges if edge.node not in before]  # of a recurrent generator the last frame
            ours = torch.autograd.grad(event.walk.sequence, edges, event.pulls["clip"], True, allow_unused=True)
            pairs = [(event.pulls[edge], 0 * event.pulls[edge] if one is None else one)
                     for edge, one in zip(edges, ours, strict=True)]  # fmt: skip
            self.pull = sum(one.square().sum().item() for _, one in pairs) ** 0.5
            host = sum((both - one).square().sum().item() for both, one in pairs) ** 0.5
            self.host_pull = host if host > 1e-5 * self.pull else 0.0  # less is rounding

    def saw(self) -> str:
        """What was watched, in words."""
        if self.sequence is None:
            return ""
        (clips, frames, *size), condition = self.sequence.shape, self.condition
        numbers = [(clips, "clip"), (frames, "frame"), (0 if condition is None else condition.shape[2], "channel")]
        clips, frames, channels = (f"{number} {what}{'s' * (number != 1)}" for number, what in numbers)
        graded = {event.owner for event in self.record.of("graded") if event.during in self.generator.passes}
        sides = {"generator": self.made_by - self.motion, "motion model": self.motion}
        sides = [side for side, ids in sides.items() if ids & graded & self.generator.trains]
        low, high = self.range
        return (f"{'walked ' * self.cycle}{clips} of {frames}, {'x'.join(map(str, size))}"
                + f", condition {channels}" * (condition is not None)
                + f", values {low:.2g} to {high:.2g}, reaches {' and '.join(sides) or 'nothing'}"
                + f"; gradient {self.pull:.2g}" * bool(self.pull)
                + f" beside the host's {self.host_pull:.2g}" * bool(self.pull and self.host_pull)
                + " (lower the weight)" * (self.pull > MUCH * self.host_pull > 0))  # fmt: skip


# ---- predicates of more than a line: true, or what there is to say


def sightings(part: Part) -> tuple[dict[str, set[bool]], bool, Details, bool]:
    """How modules of the host see the clips: each as (N, T, C, H, W) (True), as (N, C, T, H, W) (False), or not at all;
    whether frames beside other frames of their condition only; judges that see frame and condition in another order;
    and whether those that see the clip see [0, 1] in its place another time."""
    prints, beside = {what: fingerprint(clip) for what, clip in part.clips.items()}, {}
    seen: dict[str, set[bool]] = {what: set() for what in prints}
    ranges, misjudged = defaultdict(lambda: ([], [])), {}  # of what was not, and was, the clip
    for sight in part.record.shown:
        known = {what: one for what, one in prints.items() if part.clips[what].shape[3:] == sight.size}
        hits = {what: shows(sight.rows, one) for what, one in known.items()}  # (M, places, N, T)
        ids = parameters_of(sight.module)
        judging = bool(ids) and not ids & part.made_by
        channels = sum(one.shape[1] for one in sight.given)
        for what, one in known.items():
            turned = shows(sight.rows, one.transpose(1, 2))
            seen[what] |= {as_it_is for as_it_is, hit in ((True, hits[what]), (False, turned)) if hit.any()}
        for what, other in (("sequence", "condition"), ("real sequence", "condition of the real one")):
            if {what, other} <= known.keys() and known[what].shape[:2] == known[other].shape[:2]:
                # A recurrent generator is given a frame beside the next condition: what it makes of them counts.
                here = hits[what][:, 0 if judging else channels :].any(dim=1)  # (M, N, T)
                there = hits[other].any(dim=1)
                beside[what] = beside.get(what, False) | (here.unsqueeze(-1) & there.unsqueeze(-2)).any(dim=0)
        if "sequence" in known and judging and sight.given:
            ranges[sight.module][bool(hits["sequence"].any())].append(torch.cat(sight.given, 1))
        places = [{what: place * max(channels - one.shape[2], 0) for what, one in known.items()} for place in (0, 1)]
        ends = [{"condition" in what for what, hit in hits.items() if hit[:, place[what]].any()} for place in places]
        for judge in part.judges if part.complete and {True, False} == set().union(*ends) else ():
            if judge.network is sight.module and judge.conditional is not False:
                order = judge.order(True)  # a whole picture begins with the condition
                if len(order) == len(sight.given) and ends == [{order[0] == "frame"}, {order[0] != "frame"}]:
                    misjudged[judge.name] = {"name": judge.name}
    # One frame of a condition beside all others may be meant for the whole clip.
    wrong = [one & ~one.diagonal(dim1=1, dim2=2).unsqueeze(-1) for one in beside.values()]  # (N, T, T of the condition)
    disordered = any(one.flatten(0, 1).any(dim=0).sum() > 1 for one in wrong)
    # Where the channels that are not the condition's are.
    pairs = [(other, (other != fake).any(dim=0)) for others, fakes in ranges.values() for other in others
             for fake in fakes if other.shape == fake.shape]  # fmt: skip
    found = any(unsigned(other[0, here].min(), other[1, here].max()) for other, here in pairs if here.any())
    return seen, disordered, list(misjudged.values()), found


def unsigned(low: Tensor, high: Tensor) -> Tensor:
    """Whether values of this range are pixels in [0, 1], and not a bright clip in [-1, 1]."""
    return (low >= 0) & (low < 0.25) & (high > 0.5) & (high <= 1 + TOLERANCE)


def swapped(part: Part) -> Details:
    """Clips with frames and channels swapped: modules see them so, or only so they fit each other."""
    found = {what for what, seen in part.readings.items() if seen == {False}}
    one, other = part.sequence, part.condition
    if one is not None and other is not None and one.shape[1] != other.shape[1]:
        fits = {"sequence": one.shape[2] == other.shape[1], "condition": other.shape[2] == one.shape[1]}
        found |= {what for what, fit in fits.items() if fit and True not in part.readings[what]}
    return [{"what": what, "shape": tuple(part.clips[what].shape)} for what in found]


def refused(part: Part) -> Details:
    """What a part, or a network that it calls, said of what it was given."""
    found = []
    for event in part.events if not part.swapped else ():
        error, default = str(event.error or ""), ("", "")
        if part.cycle and error:
            default = "motion model fails" if event.what == "fed" else "discriminator with the wrong input", ""
        name, remedy = next((words for pattern, *words in ERRORS if pattern in error), default)
        counted = event.what == "fed" and ("channels, but got" in error or "makes (C, H, W)" in error)
        if part.cycle and counted and part.sequence is not None:  # (N, [C_c +] history * C, H, W) to (N, C, H, W)
            history, channels = part.core.type.history, part.sequence.shape[2]
            other = 0 if part.condition is None else part.condition.shape[2]
            shown = other + history * channels
            what = f"{other} of the condition, " * bool(other) + f"{history} frame(s) of {channels}"
            name, error = "wrong channel count", f"the motion model is shown {shown} channels ({what}): {error}"
            remedy = f": define_timecycle(input_channels={shown}, output_channels={channels}), or mend your own"
            if True not in part.readings["sequence"]:  # the numbers may be those of frames
                remedy = ": if the clip is (N, C, T, H, W), give clip.transpose(1, 2)"
        found += [{"name": name.format(p=part), "error": error, "remedy": remedy.format(p=part)}] if name else []
    return found


def still(part: Part) -> Details:
    """What trains with a learning rate of 0, unless nothing else learns either or a scheduler begins so."""
    groups = [group for _, one, _ in part.record.optimizers for group in one.param_groups]
    rates = [[float(one.get("lr", 1)) or one.get("initial_lr", 0) for one in groups if ids & {*map(id, one["params"])}]
             for ids in (part.motion, part.made_by - part.motion, part.record.held)]  # fmt: skip
    found = ["motion model"] * (0 in rates[0]) + ["generator"] * (bool(rates[1]) and not any(rates[1]))
    return [{"who": who} for who in found if any(rates[2])]


def alone(part: Part) -> bool:
    """Whether DistributedDataParallel averages the gradients of what makes the clip, and nothing the motion model's."""
    if not torch.distributed.is_available() or not torch.distributed.is_initialized():
        return False
    wrapped = set().union(*(parameters_of(one) for _, one in part.record.snapshot.found(DistributedDataParallel)))
    sent = tree.tree_leaves([event.given for event in part.record.of("shared")])
    sizes = [p.numel() for _, p in part.record.snapshot.found(nn.Parameter) if id(p) in part.motion - wrapped]
    enough = sum(one.numel() for one in sent if isinstance(one, Tensor)) >= sum(sizes)
    return torch.distributed.get_world_size() > 1 and bool(wrapped & part.made_by and sizes) and not enough


def left_over(record: Record, parts: list[Part]) -> Details:
    """Optimizers that hold nothing of a generator, and use a gradient of its loss beside others: in this step, or in
    the next, if it is as this one."""
    made_by = set().union(*(part.made_by | part.motion for part in parts))
    passes = set().union(*(part.generator.passes for part in parts))
    passes, found = passes.difference(*(part.discriminator.passes for part in parts)), {}
    for name, optimizer, history in ((name, optimizer, record.histories[key]) for name, optimizer, ids
                                     in record.optimizers for key in ids if not ids & made_by):  # fmt: skip
        held: set[int] = set()
        for event in history * 2 if any(event.what == "cleared" for event in history) else ():
            if event.owner is optimizer and held & passes and held - passes:
                found[name] = {"name": name}
            held = held | {event.during} if event.what == "graded" else set() if event.what == "cleared" else held
    return list(found.values())


ERRORS = [  # what an error says, the name of the finding, and what to do where the error does not say it
    ("needs the conditioning", "condition missing", ": give timecycle_forward the source of each frame, or have "
     "timecycle_type 'unconditional'"),
    ("a sequence is (N", "sequence of the wrong shape", ""),
    ("differ in N", "sequence and condition differ", ": frame t of the one must belong to frame t of the other"),
    ("walk is given", "cycle of length 0", ""),
    ("walk first", "{p.walk} never called", ": call {p.feed} on the clip of this step, before its losses"),
    ("first, in every step", "{p.walk} never called", ""),
]
RULES: list[tuple[str, str, Callable[[Part], Any]]] = [  # name, sentence, predicate
    ("not a number", "{what} is infinite or not a number: look for the cause before TimeCycle", lambda p: [
        {"what": f"the {what}"} for what, both in p.ranges.items() if not all(map(torch.isfinite, both))] + [
        {"what": f"the term {key!r}"} for event in p.events for key, term in event.losses.items()
        if not term.value.isfinite().all()]),
    ("values outside [-1, 1]", "the {what} goes from {low:.4g} to {high:.4g}: scale the data (bytes: x / 127.5 - 1), "
     "let the generator end in tanh", lambda p: p.cycle and [
        {"what": what, "low": low, "high": high} for what, (low, high) in p.ranges.items()
        if low.isfinite() and high.isfinite() and (low < -1 - TOLERANCE or high > 1 + TOLERANCE)]),
    ("real clip in [0, 1]", "it has no value below 0, the generator makes [-1, 1]: give 2 * real - 1", lambda p:
     p.signed and (p.unsigned or (p.real is not None and unsigned(*p.ranges["real sequence"])))),
    ("frames and channels swapped", "the {what} {shape} is read as (N, T, C, H, W), and seems to be (N, C, T, H, W): "
     "give clip.transpose(1, 2)", lambda p: p.swapped),
    ("{name}", "{error}{remedy}", refused),
    ("condition in another order of time", "your GAN sees frames beside other frames of the condition than "
     "timecycle_forward does: give both in the same order", lambda p: p.disordered),
    ("discriminator with the wrong input", "your GAN gives {name} frame and condition in another order: see inputs= of "
     "add_timecycle_discriminator, or add a function that reorders channels", lambda p: p.misjudged),
    ("discriminator sees nothing", "{judge.name} sees {judge.n_frames} frames, the walk has {p.frames}: lower n_frames",
     lambda p: [{"judge": one} for one in p.judges if p.complete and p.walks and one.n_frames > p.frames]),
    ("generated clip given as real", "what is given as real was generated: give the clip of the data", lambda p:
     p.real is not None and p.sequence is not None and p.made_by and torch.equal(p.real, p.sequence)),
    ("{p.walk} never called", "call {p.feed} on the generated clip of every step, before its losses",
     lambda p: p.complete and not p.fed),
    ("detached sequence", "the walked clip has no gradient, so the loss does not train the generator: give it without "
     "detach() or torch.no_grad()", lambda p: p.detached),
    ("motion model gets no gradient", "{call}() ran under torch.no_grad(), so its loss trains nothing", lambda p: [
        {"call": {"fed": p.walk, "generator": p.generator.method}[event.what]} for event in p.walks
        if event.what in ("fed", "generator") and not event.grad]),
    ("motion model gets no gradient", "the loss does not depend on its parameters: let them require gradients",
     lambda p: p.complete and p.walks and p.generator.passes and p.motion and not p.motion & p.generator.trains
     and not p.weightless),
    ("weight 0", "the cycle loss is multiplied by 0 and trains nothing: give it a weight", lambda p: p.weightless),
    ("gradient far above the host's", "at the generated clip TimeCycle's gradient is {p.pull:.2g}, your GAN's own "
     "{p.host_pull:.2g}: lower the weight, or give shorter clips", lambda p: p.pull > FAR_ABOVE * p.host_pull > 0),
    ("{p.loss.method} never called", "add {p.loss.method}() to the {p.loss.side}'s loss (if that does not learn in "
     "every step, check several: see step)", lambda p: p.complete and p.fed and not p.loss.events and (
        p.loss is p.generator or bool(p.judges and (p.walks or not p.cycle)))),
    ("{p.loss.title} never back-propagated", "no .backward() went through {p.loss.method}(): add it to the "
     "{p.loss.side}'s loss before its .backward(), where what it trains requires gradients", lambda p: p.complete
     and p.fed and not p.loss.passes and (p.loss.terms if p.loss is p.discriminator else p.loss.trains and not p.late)),
    ("{p.loss.method} in the other side's loss", "add {p.loss.method}() to the {p.loss.side}'s loss",
     lambda p: p.complete and OTHERS[p.loss.side] in p.loss.passes.values()),
    ("back-propagated before the term was added", "add timecycle_backward() to the generator's loss before .backward();"
     " where a method of the GAN calls that, do self.timecycle_backward().backward(retain_graph=True) before it",
     lambda p: p.late and ((p.complete and p.fed and not p.generator.passes) or AGAIN in str(p.record.error))),
    ("term added twice", "the {p.loss.side}'s term of one clip is back-propagated more than once: add "
     "{p.loss.method}() once", lambda p: any(times > 1 for times in p.loss.times.values())),
    ("sequence discriminators in no optimizer", "give self.seq_D_parameters() to the discriminator's, or they never "
     "learn", lambda p: p.record.optimizers and p.outside and not p.cycle),
    ("motion model in no optimizer", "{n} of its {all} parameters are in none of the optimizers ({names}), so they "
     'never learn: optimizer_G.add_param_group({{"params": self.timecycle_parameters()}})', lambda p: p.cycle
     and p.outside and [{"n": len(p.outside), "all": len(p.motion), "names": ", ".join(
         name for name, *_ in p.record.optimizers)}]),
    ("motion model in several optimizers", "{names} make steps with its parameters: keep the generator's only",
     lambda p: [{"names": " and ".join(p.holders)}] * (len(p.holders) > 1)),
    ("{p.loss.who} gets no gradient", "{p.loss.method}() was back-propagated, but no gradient reached the parameters "
     "of the {p.loss.who}: if .backward() is called with inputs=, name them too", lambda p: p.loss.lost == "none"),
    ("gradient cleared before it was used", "the gradient of {p.loss.method}() was set to zero or taken away before "
     "the {p.loss.who}'s optimizer used it: is it, or the optimizer, the other side's?",
     lambda p: p.loss.lost == "cleared"),
    ("gradient never used", "after {p.loss.method}() was back-propagated, the {p.loss.who}'s optimizer made no step: "
     "is it the other side's, or does the step come before .backward()?", lambda p: p.loss.lost == "waiting"),
    ("learning rate 0", "the {who} is in a group with learning rate 0 and never learns: give it another lr", still),
    ("motion model not synchronised", "DistributedDataParallel averages your generator's gradients over the processes, "
     "but not the motion model's: wrap that too, or average its gradients before the step", alone),
]


def find_faults(
    record: Record, cores: list[tuple[str, Any]], error: Exception | None
) -> tuple[list[Finding], dict[str, str]]:
    """All that is wrong with ``cores``, cycles and groups of sequence discriminators with their names, and with others
    that the step used; and what was watched, in words. After an ``error`` it is what does not depend on a step's end.
    """
    record.optimizers = [(name or type(one).__name__, one, parameters_of(one))
                         for name, one in record.snapshot.found(Optimizer)]  # fmt: skip
    record.held = set().union(*(ids for *_, ids in record.optimizers))
    record.stepped = {id(event.owner) for event in record.of("step")}
    record.error, record.complete = error, not error and bool(record.of("backward"))
    known = {id(core): (core, name) for name, core in cores}
    for event in record.events:
        if event.what in ("fed", "generator", "discriminator", "real"):
            known.setdefault(id(event.owner), (event.owner, "TimeCycle" * isinstance(event.owner, TimeCycle)))
    parts, findings = [Part(core, name, record) for core, name in known.values()], {}
    hosts = [cycle for _, host in record.snapshot.found(TimeCycleMixin) for cycle in host.timecycles.values()]

    def add(name: str, sentence: str, found: Any, part: Part | None = None) -> None:
        for details in found if isinstance(found, list) else [{}] * bool(found):
            texts = [text.format(p=part, **details) for text in (name, sentence)]
            for ours, theirs in _SCRIPT.items() if part and part.cycle and part.core not in hosts else ():
                texts = [text.replace(ours, theirs) for text in texts]
            several = part and sum(part.label == other.label for other in parts) > 1
            where = f"{part.label} {part.name!r}: " if several else ""
            findings.setdefault((texts[0], where), Finding(texts[0], where + texts[1]))

    for part, number in itertools.product(parts, range(2)):
        part.loss = part.losses[number]
        for name, sentence, test in RULES:
            add(name, sentence, test(part), part)
    cycles, whole = any(part.cycle for part in parts), not error
    told = any(event.error is error for part in parts for event in part.events)
    if error and not (findings and (told or "not require grad" in str(error) or AGAIN in str(error))):
        frames = traceback.extract_tb(error.__traceback__)
        frame = [one for one in frames if not is_installed(one.filename) and PACKAGE not in one.filename] or frames
        where = f"{type(error).__name__} in {frame[-1].filename}, line {frame[-1].lineno}: {error}"
        add("the step failed", "{where}", [{"where": where}])
    add("no TimeCycle", "the GAN has no cycle: call define_timecycle in its __init__", not cycles)
    add("no optimizer", "none makes a step and the GAN holds none, so nothing can be said about them: give a step that "
        "uses yours, with step=lambda batch: ...", cycles and whole and not record.optimizers)  # fmt: skip
    add("nothing back-propagated", "the step calls no .backward(), and there is no loss_G to call it on: give a whole "
        "step, with step=lambda batch: ...", cycles and whole and not record.complete)  # fmt: skip
    add("scheduler made before the parameter group", "a scheduler of {name} does not know a parameter group that was "
        "added later, and fails at its next step or leaves it out: make it after add_param_group", [
            {"name": name} for name, one, _ in record.optimizers
            if len({"initial_lr" in group for group in one.param_groups}) > 1])  # fmt: skip
    motion = set().union(*(part.motion for part in parts))
    add("gradients not cleared in the step", "{name} makes a step, and nothing in it clears {whose} gradients, which "
        "add up unless the loop around does: call {name}.zero_grad() before .backward()", [
            {"name": name, "whose": "the motion model's" if kept <= motion else "its"}
            for name, one, ids in record.optimizers if record.complete and id(one) in record.stepped
            and (kept := {key for key in ids
                          if {"graded", "step"} == {event.what for event in record.histories[key]}})])  # fmt: skip
    add("gradients of the generator's loss in a discriminator", "{name} uses gradients that the generator's "
        ".backward() left in its parameters: call {name}.zero_grad() right before the discriminator's .backward()",
        left_over(record, parts) if record.complete else ())  # fmt: skip
    return list(findings.values()), {
        part.name if part.cycle else f"{part.label} {part.name}".rstrip(): part.saw() for part in parts
    }
