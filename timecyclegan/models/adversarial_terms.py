"""What discriminators say of all that a training step shows them, as losses of theirs and of the generators."""
import contextlib
import functools
import inspect
import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from timecyclegan.losses import Losses, Term
from timecyclegan.losses.feature_matching import feature_matching_loss
from timecyclegan.losses.gan import GRADIENT_PENALTY_WEIGHT, WrongSide, gradient_penalty, objective
from timecyclegan.models.judge import Exhibit, Judge, described, in_short, tensors
from timecyclegan.models.mixins.host import find
from timecyclegan.util.errors import UserError


class Case(NamedTuple):
    """What one loss shows to one judge. Cases of the same name add up to one loss.

    Attributes:
        name, prefix, suffix: of the loss, which is called prefix + name + suffix.
        weight: of its loss among the generators'.
        penalised: whether there is a gradient penalty beside it, prefix + name_gradient_penalty + suffix.
        share: what its losses are multiplied by, where several cases make one mean.
        owner: its ``judged`` is given the discriminators' losses of its cases, by name without prefix and suffix.
    """

    name: str
    judge: Judge
    fake: Sequence[Exhibit]
    real: Sequence[Exhibit]
    prefix: str = ""
    suffix: str = ""
    weight: float = 1.0
    penalised: bool = False
    owner: Any = None
    share: float = 1.0


def discriminator_terms(cases: Iterable[Case], criterion: Any, noise: Tensor | None = None) -> Losses:
    """For each case the discriminator's loss, (real + fake) / 2, and its gradient penalty.

    Gradients reach the discriminators alone. Each network is called once, on the real and generated pictures of all
    its cases together, and once more for each gradient penalty; real pictures that cases share are judged once. A
    network that may look at its batch (:func:`judges_each_alone`) sees real and generated ones apart, case by case.
    Where a discriminator makes several predictions (of several scales) their losses and penalties add up, as those of
    several discriminators do.

    Args:
        criterion: see ``losses.gan.objective``; or the ``host.Place`` where one is found. One of somebody's own may be
            made for lists, as pix2pixHD's and SPADE's are: it is given the list that a discriminator returns, else a
            list of lists of one prediction each; and each prediction alone where it cannot take these.
        noise: N(0, 1) numbers (N, K) of each sample for gradient penalties, K pictures of it at the most; where None,
            torch's generator is asked.
    """
    cases = [case for case in cases if case.fake and case.real]
    if not cases:
        return {}  # a criterion that nothing is judged by may be anything
    criterion = objective(find(criterion))
    losses: Losses = {}
    owners: dict[str, tuple[Any, str]] = {}  # by the name of a loss, whose it is and what it is called there
    for case, (real, fake) in zip(cases, _verdicts(cases), strict=True):
        value = _judgement(criterion.discriminator, case.judge, (real, fake), criterion.takes_lists)
        terms = {case.name: Term(value)}
        if case.penalised:
            shown = [torch.cat([exhibit.by_sample() for exhibit in side]).detach() for side in (case.real, case.fake)]
            scales = range(len(case.judge.predictions(fake)))
            mix = None if noise is None else _by_picture(noise, case.real)
            penalty = sum(gradient_penalty(_critic(case, scale), *shown, mix) for scale in scales)
            terms[f"{case.name}_gradient_penalty"] = Term(penalty, GRADIENT_PENALTY_WEIGHT)
        for name, term in terms.items():
            whole = f"{case.prefix}{name}{case.suffix}"
            _add(losses, whole, *term, case.share)
            owners[whole] = case.owner, name
    for owner in {id(case.owner): case.owner for case in cases if case.owner}.values():
        owner.judged({name: losses[whole] for whole, (theirs, name) in owners.items() if theirs is owner})
    return losses


def generator_terms(cases: Iterable[Case], criterion: Any, matching_weight: float = 0.0) -> Losses:
    """For each case how far its judge is from taking the generated pictures for real.

    It leaves no trace in a discriminator: gradients reach the pictures alone, wherever the network has its parameters
    from, and the buffers of its modules (statistics of batch norm, vectors of spectral norm) stay as they are.

    Args:
        criterion: see :func:`discriminator_terms`.
        matching_weight: of feature matching, the L1 distance between features (:meth:`Judge.features`) of generated and
            real pictures, called ``feature_matching`` where the loss is called ``gan``; 0 does not compute it.
    """
    cases = [case for case in cases if case.fake]
    if not cases:
        return {}
    criterion = objective(find(criterion))
    losses: Losses = {}
    for case in cases:
        judge = case.judge

        def judged(shown: Sequence[Tensor], case: Case = case, judge: Judge = judge) -> list[Tensor]:
            features, output = judge.features(shown) if matching_weight else ([], judge.ask(shown))
            values = [_judgement(criterion.generator, judge, (output,), criterion.takes_lists)]
            if matching_weight:
                with torch.no_grad():
                    targets, _ = judge.features(judge.arguments(case.real))
                values.append(feature_matching_loss(features, targets))
            return values

        with buffers_replaced(buffers(judge.network)):
            gan, *matching = _seen_alone(judged, judge.arguments(case.fake))
        _add(losses, f"{case.prefix}{case.name}{case.suffix}", gan, case.weight, case.share)
        if matching:
            name = case.name.replace("gan", "feature_matching", 1)
            _add(losses, f"{case.prefix}{name}{case.suffix}", matching[0], matching_weight, case.share)
    return losses


def _by_picture(noise: Tensor, shown: Sequence[Exhibit]) -> Tensor:
    """A number from [0, 1) for each real picture of a case, its sample's, in the order of ``Exhibit.by_sample``."""
    uniform = torch.special.ndtr(noise[:, : sum(len(exhibit.frames) for exhibit in shown)])  # the normal distribution's
    return (uniform if len(shown[0].frames[0]) == 1 else uniform.t()).flatten()


def _add(losses: Losses, name: str, value: Tensor, weight: float = 1.0, share: float = 1.0) -> None:
    value = value if share == 1 else share * value
    losses[name] = Term(losses[name].value + value if name in losses else value, weight)


def _judgement(side: Callable[..., Tensor], judge: Judge, outputs: Sequence[Any], takes_lists: bool) -> Tensor:
    """What a side of a criterion says of all that a judge returned, on one or on both kinds of pictures."""
    if takes_lists:
        first = outputs[0] if judge.prediction is None else None
        try:
            # What goes unpacked in its own GAN, (prediction, features), is no list for its criterion.
            if isinstance(first, list) or (
                    isinstance(first, tuple) and len(judge.predictions(first)) == len(list(tensors(first)))):
                return side(*outputs)
            return side(*([[one] for one in judge.predictions(output)] for output in outputs))  # as of scales
        except WrongSide:
            raise
        except Exception:
            pass  # it cannot take lists, or not these
    found = [judge.predictions(output) for output in outputs]
    try:
        return sum(side(*same) for same in zip(*found, strict=True))
    except torch.OutOfMemoryError:
        raise
    except (TypeError, AttributeError, ValueError, RuntimeError) as error:
        shapes = " and ".join(described(one if len(one) > 1 else one[0]) for one in found)
        raise UserError(
            f"criterion_GAN raised {in_short(error)}, on the predictions of {judge.called}, {shapes}. "
            "Pick them with prediction= when you add it, or give a criterion that judges them"
        ) from error


def _critic(case: Case, scale: int) -> Callable[[Tensor], Tensor]:
    """The judge of a case as a function of whole pictures, [conditions, frames], to the prediction of one scale."""

    def critic(pictures: Tensor) -> Tensor:
        arguments = case.judge.arguments_of(pictures, case.fake[0].channels())
        return case.judge.predictions(case.judge.ask(arguments))[scale]

    return critic


# ---- judged without a trace


def _seen_alone(judged: Callable[[Sequence[Tensor]], list[Tensor]], shown: Sequence[Tensor]) -> list[Tensor]:
    """``judged(shown)``, scalars, whose gradients reach ``shown`` and nothing else that they were computed with.

    Freezing the parameters is not enough: those of a function are not known, and DDP with ``find_unused_parameters``
    fails when they change in between. So it has a graph of its own, which the outer one goes through.
    """
    if not torch.is_grad_enabled() or not any(one.requires_grad for one in shown):
        with torch.no_grad():
            return judged(shown)
    # Gradients are taken with respect to zeros that are added to the pictures and take no memory: the pictures would be
    # leaves, which must not be changed in place, and a network may begin with that.
    zeros = [one.new_zeros(()).expand_as(one).requires_grad_(one.requires_grad) for one in shown]
    values = judged([one.detach() + zero for one, zero in zip(shown, zeros, strict=True)])
    return list(_SeenAlone.apply((values, zeros), *shown))


class _SeenAlone(torch.autograd.Function):
    """Hands on values, and hands back their gradients with respect to the zeros in them as those of ``shown``."""

    @staticmethod
    def forward(ctx: Any, inner: tuple[list[Tensor], list[Tensor]], *shown: Tensor) -> tuple[Tensor, ...]:
        values, zeros = inner
        ctx.save_for_backward(*values, *zeros)
        return tuple(value.detach() for value in values)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():  # what depends on the gradient would miss this part of it
            raise UserError("the adversarial term of a generator beside discriminators cannot be differentiated twice: "
                            "back-propagate it without create_graph=True (retain_graph=True keeps the graph)")
        saved = ctx.saved_tensors
        values, zeros = saved[: len(gradients)], saved[len(gradients) :]
        known = [pair for pair in zip(values, gradients, strict=True) if pair[0].requires_grad]
        found = iter(torch.autograd.grad(
            [value for value, _ in known], [zero for zero in zeros if zero.requires_grad],
            [gradient for _, gradient in known], retain_graph=_graph_is_kept(), allow_unused=True,
        ) if known else ())  # fmt: skip
        return None, *(next(found, None) if zero.requires_grad else None for zero in zeros)


def _graph_is_kept() -> bool:
    """Whether the running backward pass was told ``retain_graph=True``, which compiled networks refuse: the inner one
    must not say it where the outer one did not."""
    return getattr(torch._C._autograd, "_get_current_graph_task_keep_graph", lambda: True)()


Buffers = dict[nn.Module, dict[str, Tensor]]


def buffers(network: Any) -> Buffers:
    """By module of a network (or of what a function holds) its buffers: the statistics of batch norm, the vectors of
    spectral norm, and whatever else it learns from being called."""
    found = {module: {name: buffer for name, buffer in module._buffers.items() if buffer is not None}
             for root in modules(network) for module in root.modules()}  # fmt: skip
    return {module: known for module, known in found.items() if known}


@contextlib.contextmanager
def buffers_replaced(values: Buffers) -> Iterator[None]:
    """While the block runs, the modules use copies of these ``values``; then they have the buffers again that they had.
    """
    before = [(module, name, module._buffers[name]) for module, known in values.items() for name in known]
    for module, name, _ in before:
        module._buffers[name] = values[module][name].clone()
    try:
        yield
    finally:
        for module, name, buffer in before:
            module._buffers[name] = buffer


def modules(network: Any) -> list[nn.Module]:
    """The modules that a function holds: it is one, or one is among its variables and defaults, the arguments of a
    ``functools.partial``, the attributes of what it is a method of, or in containers and attributes of these."""
    found, known, things = [], set(), [network]
    for _ in range(5):  # a function, its self, the attributes, a list among them, the networks in it
        held: list[Any] = []
        for thing in things:
            if isinstance(thing, nn.Module):
                found.append(thing)
            elif id(thing) not in known:
                known.add(id(thing))
                held += _held(thing)
        things = held
    return found


def _held(thing: Any) -> list[Any]:
    """What a function, an object or a container has within, one level deep."""
    if isinstance(thing, (tuple, list, dict)):
        entries = thing.values() if isinstance(thing, dict) else thing
        return list(entries) if len(entries) < 1000 else []  # that is data
    if isinstance(thing, functools.partial):
        return [thing.func, *thing.args, *thing.keywords.values()]
    if inspect.ismethod(thing):
        return [thing.__self__, thing.__func__]
    if inspect.isfunction(thing):
        held = [thing.__defaults__, thing.__kwdefaults__]
        with contextlib.suppress(ValueError):  # a variable that has no value yet
            used = inspect.getclosurevars(thing)
            held += [*used.nonlocals.values(), *used.globals.values()]
        return held
    if isinstance(thing, (type, types.ModuleType, Tensor)):
        return []
    return list(getattr(thing, "__dict__", {}).values())


# ---- one call for all


def _verdicts(cases: Sequence[Case]) -> list[tuple[Any, Any]]:
    """By case, what its judge returns of its real and of its generated pictures."""
    networks = [case.judge.network for case in cases]
    calls = {id(network): _OneCall(network) for network in networks if judges_each_alone(network)}
    for case, network in zip(cases, networks, strict=True):
        if id(network) in calls:
            calls[id(network)].add([*case.real, *case.fake])
    found = []
    for case, network in zip(cases, networks, strict=True):
        call = calls.get(id(network))
        if call:
            found.append((call.predictions(case.judge, case.real), call.predictions(case.judge, case.fake)))
        else:
            found.append(tuple(case.judge.ask([one.detach() for one in case.judge.arguments(side)])
                               for side in (case.real, case.fake)))
    return found


class _OneCall:
    """One call of a network for many exhibits, each picture once."""

    def __init__(self, network: nn.Module):
        self.network = network
        self.shown: list[Exhibit] = []
        self.answers: tuple[Tensor, ...] = ()  # for each exhibit

    def add(self, exhibits: Iterable[Exhibit]) -> None:
        """Show these as well, unless their pictures are shown already."""
        self.shown += [exhibit for exhibit in exhibits if self._place(exhibit) is None]

    def _place(self, exhibit: Exhibit) -> int | None:
        """The number of the exhibit that has all pictures of this one."""
        for number, (video, condition, frames) in enumerate(self.shown):
            if video is exhibit.video and condition is exhibit.condition and set(frames) >= set(exhibit.frames):
                return number
        return None

    def predictions(self, judge: Judge, exhibits: Sequence[Exhibit]) -> Tensor:
        """What the network says of the pictures of ``exhibits``; the first question, of one of its judges, calls it."""
        if not self.answers:
            pictures = [exhibit.pictures().detach() for exhibit in self.shown]
            self.answers = judge.ask([torch.cat(pictures)]).split([len(some) for some in pictures])
        found = []
        for exhibit in exhibits:
            number = self._place(exhibit)
            frames, answer = self.shown[number].frames, self.answers[number]
            if frames != exhibit.frames:
                by_picture = answer.unflatten(0, (len(frames), -1))  # (W * N, ..) to (W, N, ..)
                answer = torch.cat([by_picture[frames.index(some)] for some in exhibit.frames])
            found.append(answer)
        return torch.cat(found)


# Modules of code whose layers do not look across the batch axis, and of wrappers, whose inner layers are looked at too.
_ALONE = (
    "timecyclegan.models.networks", "torch._dynamo.eval_frame", "torch.nn.parallel.",
    *(f"torch.nn.modules.{name}" for name in ("activation", "container", "conv", "dropout", "linear", "normalization",
                                              "padding", "pixelshuffle", "pooling", "upsampling")),
)  # fmt: skip


def judges_each_alone(network: Any) -> bool:
    """Whether a prediction surely depends on nothing but its own picture, so that a batch may be of any make-up.

    Only layers that are known can tell: ours and PyTorch's, in ``nn.Sequential``. Batch norm in training mode looks at
    the batch, and a ``forward`` of somebody's own may.
    """
    return isinstance(network, nn.Module) and all(_treats_each_alone(layer) for layer in network.modules())


def _treats_each_alone(layer: nn.Module) -> bool:
    if isinstance(layer, _BatchNorm):
        return not layer.training and layer.running_mean is not None
    if isinstance(layer, _InstanceNorm):
        return not (layer.training and layer.track_running_stats)
    return type(layer).__module__.startswith(_ALONE) and getattr(layer, "dim", None) != 0  # a softmax over the batch
