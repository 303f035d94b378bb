"""TimeCycle as a module of its own: motion models, the last walk, and the losses on it."""
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from timecyclegan.losses import Losses, Term, total
from timecyclegan.losses.gan import objective
from timecyclegan.losses.timecycle import Cycle, draw_returns, motion_warp_loss, timecycle_loss, walk
from timecyclegan.models.adversarial_terms import Case, discriminator_terms, generator_terms
from timecyclegan.models.judge import Exhibit, Judge
from timecyclegan.models.mixins.host import Place, Step, Video, as_video, check_ignored, find, not_negative
from timecyclegan.models.recompute import recomputed
from timecyclegan.util.choices import CYCLE_TYPES, DISTANCES


class TimeCycle(nn.Module):
    """The TimeCycle loss for one generated video domain, usable beside any GAN, in a script or inside a class.

    Call it on the generated sequence, then add :meth:`generator_loss` to the generator's loss::

        motion_model = define_motion_model("resnet_1blocks", in_channels=C_c + C, out_channels=C, filters=32)
        cycle = TimeCycle(motion_model, weight=5.0)
        optimizer_G.add_param_group({"params": cycle.parameters()})

        cycle(fake, source)                               # in every step: (N, T, C, H, W) and (N, T, C_c, H, W)
        loss_G = loss_G + cycle.generator_loss()

    With discriminators (:meth:`add_discriminator`) also, in every step::

        cycle.set_discriminator_input(real, source)
        loss_D = loss_D + cycle.discriminator_loss()

    The tensors of a walk are kept until the losses of both sides were back-propagated, at the latest until the next.
    Move it to their device and save its ``state_dict()`` with your networks, and clear its gradients with theirs.

    Args:
        motion_model: maps [condition, known frames], (N, [C_c +] history * C, H, W), the nearest frame last, to a frame
            (N, C, H, W). A module is used for both ways in time; a pair ``(forward_model, backward_model)`` makes them
            two. ``models.networks.define_motion_model`` builds one whose gradients do not grow along the walk.
        cycle_type: "conditional" (it sees the condition of the frame that it makes, and the frame beside it),
            "unconditional" (two frames), or "pingpong" and "timerecycle", which walk with networks of the host's (its
            recurrent generator, its predictor of the next frame): these are neither registered here nor in
            :meth:`parameters`.
        loss: ``"l1"`` or ``"l2"``.
        weight: of the cycle loss in :meth:`generator_loss`. Sensible is one whose gradient at the clip is about half of
            the GAN's own; ``check_mixin`` prints both.
        warp_weight: of the motion warp loss there; 0 does not compute it.
        criterion_GAN: the adversarial criterion as your GAN has it, see ``losses.gan.objective``: a name ("lsgan",
            "vanilla", "wgangp", "hinge"), a function ``(prediction, is_real)`` that may take ``for_discriminator``, a
            pair of functions (generator's, discriminator's), ``nn.BCEWithLogitsLoss()`` and the like.
        penalised: whether the discriminators' loss has a gradient penalty; None: if the criterion is "wgangp".
        checkpointing: keep nothing of a walk but its images, and compute what else its gradients need again: the same
            gradients of far fewer bytes, for one more call of every motion model (``models.recompute``).
        max_return: the walk returns from at most this many frames, others in every step; 0: from all. Its losses are
            then unbiased estimates of those of the whole walk, see ``losses.timecycle.draw_returns``.
        sharpness: how strongly the cycle loss asks for detail, because blur would lower it, see
            ``losses.timecycle.timecycle_loss``; 0: not at all, as the thesis has it; 1 balances the blur.
        gan_weight: of the discriminators' opinion in :meth:`generator_loss`; 0 shows them nothing.
    """

    def __init__(
        self, motion_model: nn.Module | tuple[nn.Module, nn.Module], cycle_type: str = "conditional", loss: str = "l1",
        weight: float = 1.0, warp_weight: float = 0.0, criterion_GAN: Any = "lsgan",
        penalised: bool | None = None, checkpointing: bool = False, max_return: int = 0,
        gan_weight: float = 1.0, sharpness: float = 0.0,
    ):  # fmt: skip
        super().__init__()
        if cycle_type not in CYCLE_TYPES:
            raise ValueError(f"cycle_type must be one of {', '.join(CYCLE_TYPES)}, not {cycle_type!r}")
        if loss not in DISTANCES:
            raise ValueError(f"loss must be one of {', '.join(DISTANCES)}, not {loss!r}")
        self.cycle_type, self.type = cycle_type, CYCLE_TYPES[cycle_type]
        pair = motion_model if isinstance(motion_model, (tuple, list)) else (motion_model, motion_model)
        forward_model, backward_model = map(find, pair)
        # Networks that live with the host. In a tuple, nn.Module does not register them.
        self._lent = pair if any(isinstance(network, Place) for network in pair) else None
        if cycle_type in ("conditional", "unconditional"):
            self.backward_model = backward_model
            if forward_model is not backward_model:
                self.forward_model = forward_model
        else:  # the host's own networks are trained by the host
            self._lent = tuple(pair)
        self.loss, self.weight, self.warp_weight = loss, weight, warp_weight
        not_negative("weight", weight)
        not_negative("warp_weight", warp_weight)
        not_negative("gan_weight", gan_weight)
        not_negative("sharpness", sharpness)
        self.gan_weight, self.sharpness = gan_weight, sharpness
        not_negative("max_return", max_return)
        self.checkpointing, self.max_return = checkpointing, max_return
        if not isinstance(criterion_GAN, Place):
            objective(criterion_GAN)  # refuses what is none
        self.criterion_GAN = criterion_GAN
        self.penalised = criterion_GAN == "wgangp" if penalised is None else penalised
        self.skips_short = False  # True: a host that grows in time begins with clips that have no walk, and no loss
        self.judges: list[Judge] = []
        self.step = Step()  # of the last walk: sequence, condition, cycle, real
        self._shown = Step()  # to the discriminators: real, condition, first
        self._terms: dict[str, Tensor] = {}

    @property
    def _walkers(self) -> tuple[Any, Any]:
        """B and F, as they stand at their places now; F is None where the walk does not return."""
        if self._lent:
            forward, backward = map(find, self._lent)
        else:
            backward, forward = self.backward_model, getattr(self, "forward_model", self.backward_model)
        if self.checkpointing:
            backward, forward = recomputed(backward, split=True), recomputed(forward, split=True)
        return backward, forward if self.type.returns else None

    @property
    def cycle(self) -> Cycle | None:
        """The last walk, None where it is over, or where too few frames were skipped."""
        return getattr(self.step, "cycle", None)

    def add_discriminator(
        self, discriminator: Any, n_frames: int = 1, conditional: bool | None = None, name: str | None = None,
        inputs: Sequence[str] | None = None, prediction: Callable[[Any], Any] | int | str | None = None,
    ) -> None:  # fmt: skip
        """Let ``discriminator`` judge the images of the cycle; it stays the host's and is not registered here.

        Args:
            discriminator: a module, a function or a bound method; or the ``host.Place`` where a network lives.
            n_frames: 1 for a frame discriminator, which sees (N, [C_c +] C, H, W); more for a sequence
                discriminator, which sees (N, n_frames * ([C_c +] C), H, W).
            conditional: whether it sees the condition as well; None, where a conditioning sequence is given.
            name: how error messages call it.
            inputs: ``("frame", "condition")`` or ``("condition", "frame")`` where it takes two arguments.
            prediction: which of what it returns is judged, see ``judge.Judge``.
        """
        name = name or f"discriminator {len(self.judges)}"
        self.judges.append(Judge(discriminator, n_frames, conditional=conditional, name=name, inputs=inputs,
                                 prediction=prediction))  # fmt: skip

    def forward(
        self, sequence: Video, condition: Video | None = None, ignore_first_n: int = 0, returns: Tensor | None = None
    ) -> Cycle | None:
        """Walk a generated ``sequence`` (N, T, C, H, W), or a list of T (N, C, H, W), in [-1, 1]; returns the walk.

        Args:
            sequence: as it was generated, with its history, which the loss trains; frames in the order of time.
            condition: (N, T, C_c, H, W), what each frame was made of; a cycle that sees none ignores it.
            ignore_first_n: frames at the beginning that are left out of both, such as one made of noise.
            returns: with ``max_return``, the frames that this walk returns from, as ``losses.timecycle.draw_returns``
                draws them, (K,) of int64 beside the sequence; None: drawn here, from PyTorch's generator on the CPU.

        Raises:
            ValueError: a conditional cycle has no condition, or one of another length or size. Fewer than 2 frames
                remain, or 3 where a frame is predicted from two ("unconditional", "timerecycle").
        """
        self.step, self._terms = Step(), {}
        check_ignored(ignore_first_n)
        sequence = as_video(sequence)[:, ignore_first_n:]
        frames, least = sequence.shape[1], self.type.history + 1
        if frames < least and not self.skips_short:
            left_out = f" ({ignore_first_n} left out)" * (ignore_first_n > 0)
            raise ValueError(f"a {self.cycle_type} walk is given {frames} frame(s){left_out} and needs {least} or "
                             f"more, {least - 1} to begin from and one to walk to: generate longer clips")
        if self.type.conditional:
            if condition is None:
                raise ValueError("a conditional TimeCycle needs the conditioning sequence")
            condition = as_video(condition)[:, ignore_first_n:]
            _check_alike(sequence, condition, "sequence", "condition")
        else:
            condition = None
        backward, forward = self._walkers
        length = frames - self.type.history
        if not 0 < self.max_return < length:
            returns = None
        elif returns is None:
            seed = int(torch.randint(2**62, (), device="cpu"))
            returns = torch.from_numpy(draw_returns(seed, 0, length, self.max_return)).to(sequence.device)
        cycle = walk(sequence, backward, forward, condition, self.type.history, returns)
        sides = ("generator", "discriminator") if self.judges and self.gan_weight else ("generator",)
        self.step = Step(*sides, sequence=sequence, condition=condition, cycle=cycle)
        return cycle

    def set_discriminator_input(
        self, real: Video, condition: Video | None = None, ignore_first_n: int = 0
    ) -> None:
        """Give the real sequence (N, T, C, H, W) that the discriminators compare with, and their condition.

        Args:
            real: as many frames as are walked, none of them generated.
            condition: (N, T, C_c, H, W), of the walked frames, for discriminators that see it.
            ignore_first_n: the same as for the walk.
        """
        check_ignored(ignore_first_n)
        # Whole, as they were given: pictures of the same clip need to be judged once only.
        real, condition = as_video(real), None if condition is None else as_video(condition)
        if condition is not None:
            _check_alike(real[:, ignore_first_n:], condition[:, ignore_first_n:], "real sequence", "condition")
        self._shown = Step(real=real, condition=condition, first=ignore_first_n)

    def generator_terms(self) -> Losses:
        """The terms ``cycle``, ``warp`` and ``gan`` of the last walk with their weights; none without a walk.

        Their gradients reach the sequence and the motion models, never a discriminator.
        """
        losses: Losses = {}
        if self._walked() is None:
            return losses
        if self.weight:
            losses["cycle"] = Term(timecycle_loss(self.cycle, self.loss, self.sharpness), self.weight)
        if self.warp_weight:
            backward, forward = self._walkers
            warp = motion_warp_loss(self.step.sequence, backward, forward, self.step.condition, self.type.history)
            losses["warp"] = Term(warp, self.warp_weight)
        losses |= generator_terms(self.cases("gan"), self.criterion_GAN)
        return self._keep("generator", losses)

    def discriminator_terms(self) -> Losses:
        """The term ``discriminator``: the sum over discriminators of (real + fake) / 2 on the last walk's images."""
        return discriminator_terms(self.cases("discriminator"), self.criterion_GAN)

    def judged(self, losses: Losses) -> None:
        """Take note of the discriminators' losses, whoever asked for them."""
        self._keep("discriminator", losses)

    def generator_loss(self) -> Tensor:
        """The weighted sum of :meth:`generator_terms`, a scalar: add it to the generator's loss.

        It is 0 where there is no walk, and can be back-propagated all the same.
        """
        terms = self.generator_terms()
        return _zero_of([self.step.sequence]) + total(terms)

    def discriminator_loss(self) -> Tensor:
        """The sum of :meth:`discriminator_terms`, a scalar: add it to the discriminator's loss."""
        terms = self.discriminator_terms()
        networks = [judge.network for judge in self.judges]
        parameters = [p for network in networks if isinstance(network, nn.Module) for p in network.parameters()]
        if self.judges and not parameters:  # those of functions are not known
            parameters = [torch.zeros(1, requires_grad=True)]
        return _zero_of([self.step.sequence.detach(), *parameters]) + total(terms)

    def terms(self) -> dict[str, Tensor]:
        """The unweighted terms of the last step, detached: those of cycle, warp, gan, discriminator that there were."""
        return dict(self._terms)

    def cases(self, name: str) -> list[Case]:
        """What the loss ``name`` shows to each discriminator of the last walk and of the real sequence.

        A frame discriminator sees each image with the condition of the frame that it depicts, and the real frames
        0 .. L-1; a sequence discriminator sees windows. Those for which the walk is too short are left out.
        Where the walk returned from some frames alone, the images of the way back are a case of their own, so that each
        kind of images weighs what it weighs in a whole walk.

        Raises:
            ValueError: there was no walk, or no real sequence, or they do not fit.
        """
        cycle = self._walked()
        if cycle is None or not self.judges or not self.gan_weight:
            return []
        if not hasattr(self._shown, "real"):
            raise ValueError("a TimeCycle with discriminators needs the real sequence: set the discriminator input "
                             "in every step")
        self.step.shown = self._shown  # it ends with the walk
        real, condition, first = self._shown.real, self._shown.condition, self._shown.first
        self._check_real(real[:, first:], None if condition is None else condition[:, first:])
        cases = []
        for judge in self.judges:
            conditions = None if condition is None or judge.conditional is False else condition[:, first:]
            if judge.n_frames == 1:
                shown, stop = _frames(judge, cycle, conditions), first + cycle.length
            else:
                known = cycle.sequence[:, cycle.length :]  # the frames that the walk began from
                clips = [torch.cat([video, known], dim=1) for video in cycle.backward_images()]
                shown, stop = [[exhibit for clip in clips for exhibit in judge.show(clip, conditions)]], None
            if shown[0]:
                beside = judge.show(real, condition, first, stop)
                cases += [Case(name, judge, fake, beside, weight=self.gan_weight, penalised=self.penalised, owner=self,
                               share=1 / len(shown)) for fake in shown]  # fmt: skip
        return cases

    def _keep(self, side: str, losses: Losses) -> Losses:
        self._terms |= {name: term.value.detach() for name, term in losses.items()}
        return self.step.taken(side, losses)

    def _walked(self) -> Cycle | None:
        if not hasattr(self.step, "sequence"):
            raise ValueError("walk first: this TimeCycle was not called on a generated sequence since its losses were "
                             "back-propagated")  # fmt: skip
        return self.step.cycle

    def _check_real(self, real: Tensor, condition: Tensor | None) -> None:
        for judge in self.judges:
            if judge.conditional and condition is None:
                raise ValueError(f"{judge.name} is conditional: set its input with a conditioning sequence")
        walked = self.step.sequence.shape
        if walked[1] != real.shape[1] or walked[3:] != real.shape[3:]:
            raise ValueError(f"the walked sequence is {tuple(walked)}, the real one {tuple(real.shape)}: they differ "
                             "in T, H or W; give the same ignore_first_n to both")  # fmt: skip
        if condition is not None and any(judge.conditional is not False for judge in self.judges):
            # Of another length, it would show images the conditions of other frames.
            _check_alike(self.step.sequence, condition, "sequence", "real condition (see ignore_first_n)")


def _frames(judge: Judge, cycle: Cycle, condition: Tensor | None) -> list[list[Exhibit]]:
    """The images of a walk as single frames: predictions of frame t beside c_t, of the last frame beside its own.

    Those of one list may be judged as one; of which there are more or fewer frames than of others is in another.
    """
    here = last = None
    backward, returned = cycle.backward_images(), cycle.returned_images()
    if condition is not None:
        here = condition[:, : cycle.length]
        last = condition[:, -1:].expand(-1, returned[0].shape[1], -1, -1, -1) if returned else None
    shown = [exhibit for video in backward for exhibit in judge.show(video, here)]
    arrived = [exhibit for video in returned for exhibit in judge.show(video, last)]
    return [shown, arrived] if returned and returned[0].shape[1] < cycle.length else [shown + arrived]


def _zero_of(tensors: list[Tensor]) -> Tensor:
    """A zero that hangs on ``tensors``, so that it can be back-propagated, and gives them gradients of 0."""
    return sum(tensor.flatten()[:0].sum().to(tensors[0].device) for tensor in tensors)


def _check_alike(one: Tensor, other: Tensor, one_name: str, other_name: str) -> None:
    """The two videos must agree in everything but their channels."""
    if one.shape[:2] != other.shape[:2] or one.shape[3:] != other.shape[3:]:
        raise ValueError(
            f"{one_name} {tuple(one.shape)} and {other_name} {tuple(other.shape)} differ in N, T, H or W: both are "
            "(N, T, C, H, W), frame t of the one belongs to frame t of the other"
        )
