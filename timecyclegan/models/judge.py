"""A discriminator with the frames and the condition that it sees, and its losses on all that a step shows it.

The same for discriminators of frames and of sequences, for generated clips and for the images of a walk, in our models
and beside a user's GAN.
"""
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from timecyclegan.losses import Losses, Term
from timecyclegan.losses.feature_matching import feature_matching_loss
from timecyclegan.losses.gan import GRADIENT_PENALTY_WEIGHT, frozen, gradient_penalty
from timecyclegan.models.mixins.host import find

Criterion = Callable[[Tensor, bool], Tensor]  # (prediction, is_real) to a scalar, the mean over the prediction


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

    def pictures(self) -> Tensor:
        """(W * N, C', H, W), the first picture of every sample first."""
        if len(self.frames[0]) == 1:  # a range of single frames, in one go
            place = slice(self.frames[0].start, self.frames[-1].stop)
            parts = [self.video] if self.condition is None else [self.condition, self.video]
            return torch.cat([part[:, place].transpose(0, 1) for part in parts], dim=2).flatten(0, 1)
        folded = []
        for frames in self.frames:
            parts = [self.video[:, frames.start : frames.stop : frames.step]]
            if self.condition is not None:
                end = frames.stop - (self.video.shape[1] - self.condition.shape[1])
                parts.insert(0, self.condition[:, frames.start : end : frames.step])
            folded.append(torch.cat([part.flatten(1, 2) for part in parts], dim=1))  # (N, T, C, ..) to (N, T * C, ..)
        return torch.cat(folded)

    def by_sample(self) -> Tensor:
        """The pictures, those of the first sample first where they are single frames."""
        pictures = self.pictures()
        if len(self.frames[0]) > 1:
            return pictures
        return pictures.unflatten(0, (len(self.frames), -1)).transpose(0, 1).flatten(0, 1)


class Judge:
    """A discriminator and what it sees; the network is its owner's, who trains it.

    Args:
        network: maps (N, n_frames * ([C_c +] C), H, W) to predictions; or the ``host.Place`` where one lives.
        n_frames: 1 for a discriminator of frames, more for one of sequences.
        stride: from one of the frames that it sees to the next.
        conditional: whether it sees the condition; None: where there is one.
        name: how error messages call it.
    """

    def __init__(self, network: Any, n_frames: int = 1, stride: int = 1, conditional: bool | None = None,
                 name: str = "discriminator"):  # fmt: skip
        self.place, self.n_frames, self.stride = network, n_frames, stride
        self.conditional, self.name = conditional, name

    @property
    def network(self) -> Any:
        """The network, the one that is at its place now."""
        return find(self.place)

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


def discriminator_terms(cases: Iterable[Case], criterion: Criterion) -> Losses:
    """For each case the discriminator's loss, (real + fake) / 2, and its gradient penalty.

    Gradients reach the discriminators alone. Each network is called once, on the real and generated pictures of all
    its cases together, and once more for each gradient penalty; real pictures that cases share are judged once. A
    network that may look at its batch (:func:`judges_each_alone`) sees real and generated ones apart, case by case.
    """
    cases = [case for case in cases if case.fake and case.real]
    losses: Losses = {}
    owners: dict[str, tuple[Any, str]] = {}  # by the name of a loss, whose it is and what it is called there
    for case, (real, fake) in zip(cases, _verdicts(cases), strict=True):
        terms = {case.name: Term((criterion(real, True) + criterion(fake, False)) / 2)}
        if case.penalised:
            shown = [torch.cat([exhibit.by_sample() for exhibit in side]).detach() for side in (case.real, case.fake)]
            penalty = gradient_penalty(case.judge.network, *shown)
            terms[f"{case.name}_gradient_penalty"] = Term(penalty, GRADIENT_PENALTY_WEIGHT)
        for name, term in terms.items():
            whole = f"{case.prefix}{name}{case.suffix}"
            _add(losses, whole, *term)
            owners[whole] = case.owner, name
    for owner in {id(case.owner): case.owner for case in cases if case.owner}.values():
        owner.judged({name: losses[whole] for whole, (theirs, name) in owners.items() if theirs is owner})
    return losses


def generator_terms(cases: Iterable[Case], criterion: Criterion, matching_weight: float = 0.0) -> Losses:
    """For each case how far its judge is from taking the generated pictures for real; no discriminator is trained.

    Args:
        matching_weight: of feature matching, the L1 distance between ``network.features`` of generated and real
            pictures, called ``feature_matching`` where the loss is called ``gan``; 0 does not compute it.
    """
    losses: Losses = {}
    for case in cases:
        if not case.fake:
            continue
        network, fake = case.judge.network, _pictures(case.fake)
        features = targets = ()
        with frozen(network):
            if matching_weight:
                *features, prediction = network.features(fake)
                with torch.no_grad():
                    *targets, _ = network.features(_pictures(case.real))
            else:
                prediction = network(fake)
        _add(losses, f"{case.prefix}{case.name}{case.suffix}", criterion(prediction, True))
        if matching_weight:
            name = case.name.replace("gan", "feature_matching", 1)
            _add(losses, f"{case.prefix}{name}{case.suffix}", feature_matching_loss(features, targets), matching_weight)
    return losses


def _add(losses: Losses, name: str, value: Tensor, weight: float = 1.0) -> None:
    losses[name] = Term(losses[name].value + value if name in losses else value, weight)


def _pictures(exhibits: Sequence[Exhibit]) -> Tensor:
    return torch.cat([exhibit.pictures() for exhibit in exhibits])


# ---- one call for all


def _verdicts(cases: Sequence[Case]) -> list[tuple[Tensor, Tensor]]:
    """By case, the predictions on its real and on its generated pictures."""
    networks = [case.judge.network for case in cases]
    calls = {id(network): _OneCall(network) for network in networks if judges_each_alone(network)}
    for case, network in zip(cases, networks, strict=True):
        if id(network) in calls:
            calls[id(network)].add([*case.real, *case.fake])
    found = []
    for case, network in zip(cases, networks, strict=True):
        call = calls.get(id(network))
        if call:
            found.append((call.predictions(case.real), call.predictions(case.fake)))
        else:
            found.append((network(_pictures(case.real).detach()), network(_pictures(case.fake).detach())))
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

    def predictions(self, exhibits: Sequence[Exhibit]) -> Tensor:
        """What the network says of the pictures of ``exhibits``; the first question calls it."""
        if not self.answers:
            pictures = [exhibit.pictures().detach() for exhibit in self.shown]
            self.answers = self.network(torch.cat(pictures)).split([len(some) for some in pictures])
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
