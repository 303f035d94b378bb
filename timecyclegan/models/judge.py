"""A discriminator with the frames and the condition that it sees, and its losses on all that a step shows it.

The same for discriminators of frames and of sequences, for generated clips and for the images of a walk, in our models
and beside a user's GAN. Here alone discriminators are called, and what they return is turned into predictions.
"""
import contextlib
import functools
import inspect
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from timecyclegan.losses import Losses, Term
from timecyclegan.losses.feature_matching import feature_matching_loss
from timecyclegan.losses.gan import GRADIENT_PENALTY_WEIGHT, gradient_penalty, objective, required
from timecyclegan.models.mixins.host import find
from timecyclegan.util.errors import UserError

_WRAPPERS = (nn.DataParallel, nn.parallel.DistributedDataParallel)


class Exhibit(NamedTuple):
    """Pictures for a discriminator, each some frames of one video as channels: [their conditions, the frames].

    Attributes:
        video: (N, T, C, H, W).
        condition: (N, T, C_c, H, W), or None. What lies between two frames, such as flow, is (N, T - stride, C_c, H,
            W): a picture then has one condition less than frames.
        frames: of each of the W pictures, which frames of the video.
    """

    video: Tensor
    condition: Tensor | None
    frames: tuple[range, ...]

    def parts(self) -> list[Tensor]:
        """The conditions, where there are any, and the frames of each picture: (W, N, T_p * C, H, W) each."""
        if len(self.frames[0]) == 1:  # a range of single frames, in one go
            place = slice(self.frames[0].start, self.frames[-1].stop)
            return [part[:, place].transpose(0, 1) for part in (self.condition, self.video) if part is not None]
        folded = []
        for part in (self.condition, self.video):
            if part is not None:
                fewer = self.video.shape[1] - part.shape[1]
                windows = [part[:, frames.start : frames.stop - fewer : frames.step] for frames in self.frames]
                folded.append(torch.stack(windows).flatten(2, 3))  # (W, N, T_p, C, ..) to (W, N, T_p * C, ..)
        return folded

    def channels(self) -> list[int]:
        """T_p * C of the :meth:`parts`."""
        picture, found = self.frames[0], [len(self.frames[0]) * self.video.shape[2]]
        if self.condition is not None:
            fewer = self.video.shape[1] - self.condition.shape[1]
            seen = len(range(picture.start, picture.stop - fewer, picture.step)) if len(picture) > 1 else 1
            found.insert(0, seen * self.condition.shape[2])
        return found

    def pictures(self) -> Tensor:
        """(W * N, C', H, W), [conditions, frames], the first picture of every sample first."""
        return torch.cat(self.parts(), dim=2).flatten(0, 1)

    def by_sample(self) -> Tensor:
        """The pictures, those of the first sample first where they are single frames."""
        pictures = self.pictures()
        if len(self.frames[0]) > 1:
            return pictures
        return pictures.unflatten(0, (len(self.frames), -1)).transpose(0, 1).flatten(0, 1)


class Judge:
    """A discriminator and what it sees; the network is its owner's, who trains it.

    Args:
        network: maps (N, n_frames * ([C_c +] C), H, W) to predictions: a module, a function, a bound method; or the
            ``host.Place`` where one lives.
        n_frames: 1 for a discriminator of frames, more for one of sequences.
        stride: from one of the frames that it sees to the next.
        conditional: whether it sees the condition; None: where there is one.
        name: how error messages call it.
        inputs: ``("condition", "frame")`` or ``("frame", "condition")`` for one that takes two arguments, (N,
            n_frames * C_c, H, W) and (N, n_frames * C, H, W), instead of one picture. None finds out only what is
            certain: that it has to be given two, of which one's name begins with ``cond``.
        prediction: which of what it returns is judged: an index, a key or an attribute, or a function of all that it
            returns, to a tensor or to a list of tensors. None: see :func:`predictions`.

    Raises:
        UserError: ``inputs`` or ``prediction`` is nothing of that, or the network cannot be called.
    """

    def __init__(self, network: Any, n_frames: int = 1, stride: int = 1, conditional: bool | None = None,
                 name: str = "discriminator", inputs: Sequence[str] | None = None,
                 prediction: Callable[[Any], Any] | int | str | None = None):  # fmt: skip
        self.place, self.n_frames, self.stride = network, n_frames, stride
        self.conditional, self.name = conditional, name
        self.inputs, self.prediction = None if inputs is None else tuple(inputs), prediction
        if network is not None and not callable(self.network):
            raise UserError(f"{name} is a {type(self.network).__name__}, which cannot be called: give a module or a "
                            "function of a picture; several are added one by one")  # fmt: skip
        if inputs is not None and sorted(self.inputs) != ["condition", "frame"]:
            raise UserError(f"inputs of {name} are ('condition', 'frame') or ('frame', 'condition'), as it takes them, "
                            f"not {inputs!r}")  # fmt: skip
        if prediction is not None and not callable(prediction) and not isinstance(prediction, (int, str)):
            raise UserError(f"prediction of {name} is an index, a key or an attribute of what it returns, or a "
                            f"function of it, not {prediction!r}")  # fmt: skip

    @property
    def network(self) -> Any:
        """The network, the one that is at its place now."""
        return find(self.place)

    @property
    def called(self) -> str:
        """What it is, for error messages."""
        network = self.network
        return f"{self.name} ({getattr(network, '__qualname__', type(network).__name__)})"

    def show(self, video: Tensor, condition: Tensor | None = None, first: int = 0, stop: int | None = None
             ) -> list[Exhibit]:  # fmt: skip
        """What it sees of frames ``first`` to ``stop`` (not included) of a video (N, T, C, H, W) and its condition.

        Windows of several frames share their end frames: each begins where the last one ended.

        Returns:
            One exhibit; none where there are too few frames for one picture.
        """
        span = (self.n_frames - 1) * self.stride  # from the first to the last frame of a picture
        starts = range(first, (video.shape[1] if stop is None else stop) - span, max(span, 1))
        frames = tuple(range(start, start + span + 1, self.stride) for start in starts)
        return [Exhibit(video, None if self.conditional is False else condition, frames)] if frames else []

    def arguments(self, exhibits: Sequence[Exhibit]) -> list[Tensor]:
        """What it is called with: all pictures, or their frames and conditions, (W * N, C', H, W) each."""
        return self.arguments_of(torch.cat([one.pictures() for one in exhibits]), exhibits[0].channels())

    def arguments_of(self, pictures: Tensor, channels: Sequence[int]) -> list[Tensor]:
        """The same from pictures and the ``channels`` of their parts."""
        order = self.order(len(channels) == 2)
        if order == ("picture",):
            return [pictures]
        parts = dict(zip(("condition", "frame"), pictures.split(list(channels), dim=1), strict=True))
        return [parts[one].contiguous() for one in order]

    def order(self, conditions: bool) -> tuple[str, ...]:
        """What it takes, ``("picture",)`` or frame and condition, where there are ``conditions`` or are none.

        Raises:
            UserError: it takes two, and it is not clear which is which, or there are not two.
        """
        order, names = self.inputs, self.inputs
        if order is None:
            network = getattr(self.network, "_orig_mod", self.network)  # a compiled one
            names = required(network.module if isinstance(network, _WRAPPERS) else network)
            if len(names) != 2:
                return ("picture",)
            # A call with one picture would fail: it takes two. Which is which is certain where one says so.
            about = [name.lower().startswith("cond") for name in names]
            if sum(about) == 1:
                order = ("condition", "frame") if about[0] else ("frame", "condition")
            elif conditions:
                raise UserError(f"{self.called} takes two arguments, {' and '.join(names)}, and it is not clear which "
                                "is the condition: add it with inputs=('frame', 'condition') or inputs=('condition', "
                                "'frame')")  # fmt: skip
        if not conditions:
            raise UserError(f"{self.called} takes two arguments, {' and '.join(names)}, and there is no condition: "
                            "give one with the real sequence, and add the discriminator without conditional=False; or, "
                            "if it takes something else, add a function of a picture that calls it")  # fmt: skip
        return order

    def ask(self, arguments: Sequence[Tensor]) -> Any:
        """All that it returns.

        Raises:
            UserError: it cannot take this.
        """
        try:
            return self.network(*arguments)
        except torch.OutOfMemoryError:
            raise
        except (TypeError, RuntimeError) as error:
            shapes = " and ".join(str(tuple(one.shape)) for one in arguments)
            seen = f"{self.n_frames} frame(s)" if self.conditional is False else (
                f"the conditions, where there are any, and {self.n_frames} frame(s)")
            raise UserError(
                f"{self.called} was called with {shapes}, {seen}, and raised {_in_short(error)}. Look at how it is "
                "added: n_frames, conditional (False: it sees no condition), and inputs (('frame', 'condition') or "
                "('condition', 'frame'): it takes two arguments)"
            ) from error

    def predictions(self, output: Any) -> list[Tensor]:
        """The tensors in ``output``, of :meth:`ask`, that say how real the pictures are.

        Raises:
            UserError: it is not clear which they are.
        """
        if self.prediction is None:
            try:
                return predictions(output)
            except ValueError as error:
                remedy = ("add it with prediction=, the index of the prediction or a function of all that it returns, "
                          "such as prediction=lambda output: output[0]")  # fmt: skip
                raise UserError(f"{self.called} returned {_described(output)}: {error}; {remedy}") from None
        try:
            if callable(self.prediction):
                picked = self.prediction(output)
            elif isinstance(output, Tensor):
                raise TypeError("it is a tensor, of which that would be a sample")
            else:
                named = isinstance(self.prediction, str) and not isinstance(output, Mapping)
                picked = getattr(output, self.prediction) if named else output[self.prediction]
                if not isinstance(picked, Tensor):
                    raise TypeError(f"that is {_described(picked)}, not a tensor: give a function")
        except (TypeError, KeyError, IndexError, AttributeError) as error:
            raise UserError(f"{self.called} returned {_described(output)}, where prediction={self.prediction!r} does "
                            f"not work: {_in_short(error)}") from error  # fmt: skip
        found = list(_tensors(picked))
        if not found:
            raise UserError(f"{self.called} returned {_described(output)}, of which prediction= makes "
                            f"{_described(picked)}: let it make a tensor or a list of tensors")  # fmt: skip
        return found

    def features(self, arguments: Sequence[Tensor]) -> tuple[list[Tensor], Any]:
        """Its features and all that it returns: by a method ``features`` (a list that ends in the prediction), or
        what it returns beside predictions (always where one picks them).

        Raises:
            UserError: it shows no features.
        """
        method = getattr(self.network, "features", None)
        if inspect.ismethod(method) and self.prediction is None:
            made = method(*arguments)
            if isinstance(made, (tuple, list)) and made and _judged(made[-1]):  # else it means something else by it
                return list(made[:-1]), made[-1]
        output = self.ask(arguments)
        judged = {id(one) for one in self.predictions(output)}
        features = [one for one in _tensors(output) if id(one) not in judged and one.dim() > 1]
        if not features:
            raise UserError(f"feature matching needs features, and {self.called} has neither a method features nor "
                            f"returned any, but {_described(output)}: give it one, or set the weight to 0")  # fmt: skip
        return features, output


# ---- what a discriminator returned


def predictions(output: Any) -> list[Tensor]:
    """The predictions among what a discriminator returned; each of them is judged.

    A lone tensor is one, whatever its shape. Among several, predictions are those with one channel, (N,) or (N, 1,
    ..), and others are features; None is nothing. Beside features, in the same list, there is one prediction; a list
    without any is one of features. Several predictions are those of several scales: a list of tensors of one channel,
    or of lists that are alike (as many entries, of the same kinds).

    Raises:
        ValueError: says why it is not clear.
    """
    tensors = list(_tensors(output))
    if len(tensors) == 1:
        return tensors
    found = _judged(output)
    if not found:
        raise ValueError("no tensor in it has one channel, as predictions have" if tensors else "no tensor is in it")
    return found


def _judged(output: Any) -> list[Tensor]:
    if isinstance(output, Tensor):
        one_channel = output.dim() == 1 or (output.dim() > 1 and output.shape[1] == 1)
        return [output] if one_channel and output.is_floating_point() else []
    entries = [entry for entry in _entries(output) if entry is not None]
    found = [some for some in map(_judged, entries) if some]
    scales = len(found) == len(entries) and not isinstance(output, Mapping) and len(set(map(_form, entries))) == 1
    if len(found) > 1 and not scales:
        raise ValueError("several tensors in it have one channel, and they are not those of equal scales")
    return [one for some in found for one in some]


def _entries(output: Any) -> list[Any]:
    if isinstance(output, Mapping):
        return list(output.values())
    return list(output) if isinstance(output, (tuple, list)) else []


def _tensors(output: Any) -> Iterator[Tensor]:
    """All tensors of numbers in it."""
    if isinstance(output, Tensor):
        if output.is_floating_point():
            yield output
    else:
        for entry in _entries(output):
            yield from _tensors(entry)


def _form(output: Any) -> Any:
    """How it is nested, whatever the shapes."""
    return None if isinstance(output, Tensor) else (type(output), *map(_form, _entries(output)))


def _described(output: Any) -> str:
    """Its kinds and shapes, in short."""
    if isinstance(output, Tensor):
        return str(tuple(output.shape))
    if isinstance(output, Mapping):
        return "{" + ", ".join(f"{key!r}: {_described(value)}" for key, value in output.items()) + "}"
    if isinstance(output, (tuple, list)):
        return f"{type(output).__name__}[{', '.join(map(_described, output))}]"
    return "None" if output is None else type(output).__name__


def _in_short(error: Exception) -> str:
    """Its kind and what it says, in one line: PyTorch's may have many, of which the first tells what is wrong."""
    said = str(error).strip().split("\n")[0].rstrip(".:")
    return f"{type(error).__name__}: {said}"


class Case(NamedTuple):
    """What one loss shows to one judge. Cases of the same name add up to one loss.

    Attributes:
        name, prefix, suffix: of the loss, which is called prefix + name + suffix.
        penalised: whether there is a gradient penalty beside it, prefix + name_gradient_penalty + suffix.
        owner: its ``judged`` is given the discriminators' losses of its cases, by name without prefix and suffix.
    """

    name: str
    judge: Judge
    fake: Sequence[Exhibit]
    real: Sequence[Exhibit]
    prefix: str = ""
    suffix: str = ""
    penalised: bool = False
    owner: Any = None


def discriminator_terms(cases: Iterable[Case], criterion: Any) -> Losses:
    """For each case the discriminator's loss, (real + fake) / 2, and its gradient penalty.

    Gradients reach the discriminators alone. Each network is called once, on the real and generated pictures of all
    its cases together, and once more for each gradient penalty; real pictures that cases share are judged once. A
    network that may look at its batch (:func:`judges_each_alone`) sees real and generated ones apart, case by case.
    Where a discriminator makes several predictions (of several scales) their losses and penalties add up, as those of
    several discriminators do.

    Args:
        criterion: see ``losses.gan.objective``; or the ``host.Place`` where one is found. One of somebody's own may be
            made for lists: where a discriminator returns one and no ``prediction`` is picked, the criterion is given
            the list, as it is in its own GAN (pix2pixHD, SPADE), and each prediction if it cannot take that.
    """
    cases = [case for case in cases if case.fake and case.real]
    criterion = objective(find(criterion))
    losses: Losses = {}
    owners: dict[str, tuple[Any, str]] = {}  # by the name of a loss, whose it is and what it is called there
    for case, (real, fake) in zip(cases, _verdicts(cases), strict=True):
        value = _judgement(criterion.discriminator, case.judge, (real, fake), criterion.takes_lists)
        terms = {case.name: Term(value)}
        if case.penalised:
            shown = [torch.cat([exhibit.by_sample() for exhibit in side]).detach() for side in (case.real, case.fake)]
            scales = range(len(case.judge.predictions(fake)))
            penalty = sum(gradient_penalty(_critic(case, scale), *shown) for scale in scales)
            terms[f"{case.name}_gradient_penalty"] = Term(penalty, GRADIENT_PENALTY_WEIGHT)
        for name, term in terms.items():
            whole = f"{case.prefix}{name}{case.suffix}"
            _add(losses, whole, *term)
            owners[whole] = case.owner, name
    for owner in {id(case.owner): case.owner for case in cases if case.owner}.values():
        owner.judged({name: losses[whole] for whole, (theirs, name) in owners.items() if theirs is owner})
    return losses


def generator_terms(cases: Iterable[Case], criterion: Any, matching_weight: float = 0.0) -> Losses:
    """For each case how far its judge is from taking the generated pictures for real.

    It leaves no trace in a discriminator: gradients reach the pictures alone, wherever the network has its parameters
    from, and running statistics (batch norm) stay as they are.

    Args:
        criterion: see :func:`discriminator_terms`.
        matching_weight: of feature matching, the L1 distance between features (:meth:`Judge.features`) of generated and
            real pictures, called ``feature_matching`` where the loss is called ``gan``; 0 does not compute it.
    """
    losses: Losses = {}
    criterion = objective(find(criterion))
    for case in cases:
        if not case.fake:
            continue
        judge = case.judge

        def judged(shown: Sequence[Tensor], case: Case = case, judge: Judge = judge) -> list[Tensor]:
            features, output = judge.features(shown) if matching_weight else ([], judge.ask(shown))
            values = [_judgement(criterion.generator, judge, (output,), criterion.takes_lists)]
            if matching_weight:
                with torch.no_grad():
                    targets, _ = judge.features(judge.arguments(case.real))
                values.append(feature_matching_loss(features, targets))
            return values

        with _buffers_kept(judge.network):
            gan, *matching = _seen_alone(judged, judge.arguments(case.fake))
        _add(losses, f"{case.prefix}{case.name}{case.suffix}", gan)
        if matching:
            name = case.name.replace("gan", "feature_matching", 1)
            _add(losses, f"{case.prefix}{name}{case.suffix}", matching[0], matching_weight)
    return losses


def _add(losses: Losses, name: str, value: Tensor, weight: float = 1.0) -> None:
    losses[name] = Term(losses[name].value + value if name in losses else value, weight)


def _judgement(side: Callable[..., Tensor], judge: Judge, outputs: Sequence[Any], takes_lists: bool) -> Tensor:
    """What a side of a criterion says of all that a judge returned, on one or on both kinds of pictures."""
    found = [judge.predictions(output) for output in outputs]
    if takes_lists:
        lists = [[[one] for one in some] for some in found]  # as those of scales, without features
        if judge.prediction is None and isinstance(outputs[0], (list, tuple)) and (
                isinstance(outputs[0], list) or len(found[0]) == len(list(_tensors(outputs[0])))):
            lists = outputs  # what goes unpacked in its own GAN, (prediction, features), is no list for its criterion
        with contextlib.suppress(Exception):
            return side(*lists)
    try:
        return sum(side(*same) for same in zip(*found, strict=True))
    except torch.OutOfMemoryError:
        raise
    except (TypeError, AttributeError, ValueError, RuntimeError) as error:
        shapes = " and ".join(_described(one if len(one) > 1 else one[0]) for one in found)
        raise UserError(
            f"criterion_GAN raised {_in_short(error)}, on the predictions of {judge.called}, {shapes}. "
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
    """``judged(shown)``, scalars, whose gradients reach ``shown`` and nothing else that they were computed with."""
    if not torch.is_grad_enabled() or not any(one.requires_grad for one in shown):
        with torch.no_grad():
            return judged(shown)
    # What is judged has a history of its own, the sum with zeros that take no memory. It is not a leaf, as PyTorch lets
    # no network begin with something in place on one.
    zeros = [one.new_zeros(()).expand_as(one).requires_grad_(one.requires_grad) for one in shown]
    values = judged([one.detach() + zero for one, zero in zip(shown, zeros, strict=True)])
    return list(_SeenAlone.apply((values, zeros), *shown))


class _SeenAlone(torch.autograd.Function):
    """Hands on values, and their gradients by the zeros in their history to the tensors of which these stand in place.

    To run the network with detached parameters would do for modules whose parameters are all known, not for functions,
    scripted or wrapped ones; to switch ``requires_grad`` off, not beside DDP with ``find_unused_parameters``.
    """

    @staticmethod
    def forward(ctx: Any, inner: tuple[list[Tensor], list[Tensor]], *shown: Tensor) -> tuple[Tensor, ...]:
        values, zeros = inner
        ctx.save_for_backward(*values, *zeros)
        return tuple(value.detach() for value in values)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors
        values, zeros = saved[: len(gradients)], saved[len(gradients) :]
        known = [pair for pair in zip(values, gradients, strict=True) if pair[0].requires_grad]
        found = iter(torch.autograd.grad(
            [value for value, _ in known], [zero for zero in zeros if zero.requires_grad],
            [gradient for _, gradient in known], retain_graph=_graph_is_kept(), allow_unused=True,
        ) if known else ())  # fmt: skip
        return None, *(next(found, None) if zero.requires_grad else None for zero in zeros)


def _graph_is_kept() -> bool:
    """Whether the running backward pass was told ``retain_graph=True``. Compiled networks refuse that, hence it must
    not be said to them for nothing; PyTorch asks in the same way when it does so."""
    return getattr(torch._C._autograd, "_get_current_graph_task_keep_graph", lambda: True)()


@contextlib.contextmanager
def _buffers_kept(network: Any) -> Iterator[None]:
    """While the block runs, modules use copies of their buffers: the statistics of batch norm, the vectors of spectral
    norm, and whatever else they learn from being called."""
    modules = {module for root in _modules(network) for module in root.modules()}
    before = {module: dict(module._buffers.items()) for module in modules}
    for module, buffers in before.items():
        for name, buffer in buffers.items():
            if buffer is not None:
                module._buffers[name] = buffer.clone()
    try:
        yield
    finally:
        for module, buffers in before.items():
            for name, buffer in buffers.items():
                module._buffers[name] = buffer


def _modules(network: Any) -> list[nn.Module]:
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
    if isinstance(thing, (tuple, list)):
        return list(thing)
    if isinstance(thing, dict):
        return list(thing.values())
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
    "timecyclegan.models.networks.", "torch._dynamo.eval_frame", "torch.nn.parallel.",
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
