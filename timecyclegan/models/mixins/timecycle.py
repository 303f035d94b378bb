"""TimeCycle as a module of its own: motion models, the last walk, and the losses on it."""
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from timecyclegan.losses import Losses, Term, total
from timecyclegan.losses.gan import discriminator_terms, frozen, gan_loss
from timecyclegan.losses.timecycle import Cycle, motion_warp_loss, timecycle_loss, walk
from timecyclegan.models.mixins.host import Video, as_video, not_negative
from timecyclegan.models.mixins.seq_d_mixin import windows
from timecyclegan.util.choices import CYCLE_TYPES, DISTANCES


class _Discriminator(NamedTuple):
    network: nn.Module
    n_frames: int
    conditional: bool | None  # None: conditional where a conditioning sequence is given
    name: str


class TimeCycle(nn.Module):
    """The TimeCycle loss for one generated video domain, usable beside any GAN.

    Call it on the generated sequence, then add :meth:`generator_loss` to the generator's loss::

        cycle = TimeCycle(motion_model, weight=10.0)
        cycle(fake, source)
        loss_G = loss_G + cycle.generator_loss()

    Args:
        motion_model: maps [condition, known frames] to a frame, see ``losses.timecycle.walk``. A module is used for
            both ways in time; a pair ``(forward_model, backward_model)`` makes them two.
        cycle_type: a key of ``losses.modes.CYCLE_TYPES``. For ``"pingpong"`` and ``"timerecycle"`` the networks
            belong to the host: they are neither registered here nor in :meth:`parameters`.
        loss: ``"l1"`` or ``"l2"``.
        weight: of the cycle loss in :meth:`generator_loss`.
        warp_weight: of the motion warp loss there; 0 does not compute it.
        criterion_GAN: ``(prediction, is_real) -> scalar``, a mean over the prediction's elements.
        penalised: whether the discriminators' loss has a gradient penalty (for the criterion of "wgangp").
    """

    def __init__(
        self,
        motion_model: nn.Module | tuple[nn.Module, nn.Module],
        cycle_type: str = "conditional",
        loss: str = "l1",
        weight: float = 1.0,
        warp_weight: float = 0.0,
        criterion_GAN: Callable[[Tensor, bool], Tensor] = gan_loss,
        penalised: bool = False,
    ):
        super().__init__()
        if cycle_type not in CYCLE_TYPES:
            raise ValueError(f"cycle_type must be one of {', '.join(CYCLE_TYPES)}, not {cycle_type!r}")
        if loss not in DISTANCES:
            raise ValueError(f"loss must be one of {', '.join(DISTANCES)}, not {loss!r}")
        self.type = CYCLE_TYPES[cycle_type]
        pair = motion_model if isinstance(motion_model, (tuple, list)) else (motion_model, motion_model)
        forward_model, backward_model = pair
        if cycle_type in ("conditional", "unconditional"):
            self.backward_model = backward_model
            if forward_model is not backward_model:
                self.forward_model = forward_model
        # In a tuple, nn.Module does not register them: the host's own networks are trained by the host.
        self._walkers = (backward_model, forward_model if self.type.returns else None)
        self.loss, self.weight, self.warp_weight = loss, weight, warp_weight
        not_negative("weight", weight)
        not_negative("warp_weight", warp_weight)
        self.criterion_GAN, self.penalised = criterion_GAN, penalised
        self._discriminators: list[_Discriminator] = []
        self._real = self._real_condition = None
        self._reset()

    def _reset(self) -> None:
        self.cycle: Cycle | None = None
        self._sequence = self._condition = None
        self._terms: dict[str, Tensor] = {}

    def add_discriminator(
        self,
        discriminator: nn.Module,
        n_frames: int = 1,
        conditional: bool | None = None,
        name: str | None = None,
    ) -> None:
        """Let ``discriminator`` judge the images of the cycle; it stays the host's and is not registered here.

        Args:
            n_frames: 1 for a frame discriminator, which sees (N, [C_c +] C, H, W); more for a sequence
                discriminator, which sees (N, n_frames * ([C_c +] C), H, W).
            conditional: whether it sees the condition as well; None, where a conditioning sequence is given.
            name: how error messages call it.
        """
        name = name or f"discriminator {len(self._discriminators)}"
        self._discriminators.append(_Discriminator(discriminator, n_frames, conditional, name))

    def forward(self, sequence: Video, condition: Video | None = None, ignore_first_n: int = 0) -> Cycle | None:
        """Walk a generated ``sequence`` (N, T, C, H, W); returns the walk, None where there are too few frames.

        Raises:
            ValueError: a conditional cycle has no condition, or one of another length or size.
        """
        self._reset()
        sequence = as_video(sequence, ignore_first_n)
        if self.type.conditional:
            if condition is None:
                raise ValueError("a conditional TimeCycle needs the conditioning sequence")
            condition = as_video(condition, ignore_first_n)
            _check_alike(sequence, condition, "sequence", "condition")
            self._condition = condition
        self._sequence = sequence
        backward, forward = self._walkers
        self.cycle = walk(sequence, backward, forward, self._condition, self.type.history)
        return self.cycle

    def set_discriminator_input(
        self, real: Video, condition: Video | None = None, ignore_first_n: int = 0
    ) -> None:
        """Give the real sequence (N, T, C, H, W) that the discriminators compare with, and their condition."""
        self._real = as_video(real, ignore_first_n)
        self._real_condition = None if condition is None else as_video(condition, ignore_first_n)
        if condition is not None:
            _check_alike(self._real, self._real_condition, "real sequence", "condition")

    def generator_terms(self) -> Losses:
        """The terms ``cycle``, ``warp`` and ``gan`` of the last walk with their weights; none without a walk.

        Their gradients reach the sequence and the motion models, never a discriminator.
        """
        losses: Losses = {}
        if self._walked() is None:
            return losses
        if self.weight:
            losses["cycle"] = Term(timecycle_loss(self.cycle, self.loss), self.weight)
        if self.warp_weight:
            backward, forward = self._walkers
            warp = motion_warp_loss(self._sequence, backward, forward, self._condition, self.type.history)
            losses["warp"] = Term(warp, self.warp_weight)
        adversarial = []
        for judge, fake in self._judged():
            with frozen(judge.network):
                adversarial.append(self.criterion_GAN(judge.network(fake), True))
        if adversarial:
            losses["gan"] = Term(sum(adversarial))
        return self._keep(losses)

    def discriminator_terms(self) -> Losses:
        """The term ``discriminator``: the sum over discriminators of (real + fake) / 2 on the last walk's images."""
        losses: Losses = {}
        self._walked()
        for judge, fake in self._judged():
            real = self._reals(judge).detach()
            terms = discriminator_terms(
                "discriminator", judge.network, real, fake, self.criterion_GAN, self.penalised
            )
            for name, (value, weight) in terms.items():
                losses[name] = Term(losses[name].value + value if name in losses else value, weight)
        return self._keep(losses)

    def generator_loss(self) -> Tensor:
        """The weighted sum of :meth:`generator_terms`, a scalar: add it to the generator's loss.

        It is 0 where there is no walk, and can be back-propagated all the same.
        """
        terms = self.generator_terms()
        return _zero_of([self._sequence]) + total(terms)

    def discriminator_loss(self) -> Tensor:
        """The sum of :meth:`discriminator_terms`, a scalar: add it to the discriminator's loss."""
        terms = self.discriminator_terms()
        parameters = [p for judge in self._discriminators for p in judge.network.parameters()]
        return _zero_of([self._sequence.detach(), *parameters]) + total(terms)

    def terms(self) -> dict[str, Tensor]:
        """The unweighted terms of the last step, detached: those of cycle, warp, gan, discriminator that there were."""
        return dict(self._terms)

    def _keep(self, losses: Losses) -> Losses:
        self._terms |= {name: term.value.detach() for name, term in losses.items()}
        return losses

    def _walked(self) -> Cycle | None:
        if self._sequence is None:
            raise ValueError("walk first: this TimeCycle was not called on a generated sequence")
        return self.cycle

    def _judged(self) -> Iterator[tuple[_Discriminator, Tensor]]:
        """Each discriminator with what it sees of the walk; those for which the walk is too short are left out."""
        if self.cycle is None:
            return
        if self._discriminators and self._real is None:
            raise ValueError("a TimeCycle with discriminators needs the real sequence: set the discriminator input")
        for judge in self._discriminators:
            shown = self._fakes(judge)
            if shown is not None:
                yield judge, shown

    def _judge_condition(self, judge: _Discriminator) -> Tensor | None:
        if judge.conditional and self._real_condition is None:
            raise ValueError(f"{judge.name} is conditional: set its input with a conditioning sequence")
        walked, real = self._sequence.shape, self._real.shape
        if walked[1] != real[1] or walked[3:] != real[3:]:
            raise ValueError(f"the walked sequence is {tuple(walked)}, the real one {tuple(real)}: they differ in T, H "
                             "or W; give the same ignore_first_n to both")  # fmt: skip
        if judge.conditional is False or self._real_condition is None:
            return None
        # Of another length, it would show images the conditions of other frames.
        _check_alike(self._sequence, self._real_condition, "sequence", "real condition (see ignore_first_n)")
        return self._real_condition

    def _fakes(self, judge: _Discriminator) -> Tensor | None:
        """What ``judge`` sees of the walk, each image with the condition of the frame that it depicts."""
        cycle, condition = self.cycle, self._judge_condition(judge)
        if judge.n_frames > 1:
            known = cycle.sequence[:, cycle.length :]
            clips = [torch.cat([video, known], dim=1) for video in cycle.backward_images()]
            shown = [windows(clip, judge.n_frames, condition=condition) for clip in clips]
        else:
            here = last = None
            if condition is not None:
                here, last = condition[:, : cycle.length], condition[:, -1:].expand(-1, cycle.length, -1, -1, -1)
            shown = [windows(video, 1, condition=here) for video in cycle.backward_images()]
            shown += [windows(video, 1, condition=last) for video in cycle.returned_images()]
        return None if shown[0] is None else torch.cat(shown)

    def _reals(self, judge: _Discriminator) -> Tensor:
        """What ``judge`` sees of the real sequence: its frames 0 .. K-1, or its windows."""
        end = self.cycle.length if judge.n_frames == 1 else None
        condition = self._judge_condition(judge)
        return windows(self._real[:, :end], judge.n_frames, condition=None if condition is None else condition[:, :end])


def _zero_of(tensors: list[Tensor]) -> Tensor:
    """A zero that hangs on ``tensors``, so that it can be back-propagated, and gives them gradients of 0."""
    return sum(tensor.flatten()[:0].sum().to(tensors[0].device) for tensor in tensors)


def _check_alike(one: Tensor, other: Tensor, one_name: str, other_name: str) -> None:
    """The two videos must agree in everything but their channels."""
    if one.shape[:2] != other.shape[:2] or one.shape[3:] != other.shape[3:]:
        raise ValueError(
            f"{one_name} {tuple(one.shape)} and {other_name} {tuple(other.shape)} differ in N, T, H or W"
        )
