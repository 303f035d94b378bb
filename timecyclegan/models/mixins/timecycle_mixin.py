"""TimeCycle for any GAN class by inheritance."""
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from timecyclegan.losses import Losses
from timecyclegan.losses.gan import objective
from timecyclegan.models.adversarial_terms import Case
from timecyclegan.models.mixins.host import (
    DEFAULT_NAME,
    CriterionPlace,
    Place,
    Video,
    as_video,
    copy_host,
    locate,
    named,
)
from timecyclegan.models.mixins.timecycle import TimeCycle
from timecyclegan.models.networks import define_motion_model
from timecyclegan.util.choices import CYCLE_TYPES, DISTANCES, GAN_MODES
from timecyclegan.util.errors import UserError


class TimeCycleMixin:
    """Adds the TimeCycle loss to a GAN: put it before the GAN among the base classes.

    The host needs nothing but a cooperative ``super().__init__(*args, **kwargs)``; it may be a plain class or an
    ``nn.Module`` (then the motion models are its submodules)::

        self.define_timecycle(input_channels=C_c + C, output_channels=C)  # in __init__, after super().__init__()
        self.optimizer_G.add_param_group({"params": self.timecycle_parameters()})
        self.timecycle_forward(self.fake, self.source)                    # in every step
        loss_G = loss_G + self.timecycle_backward()

    and, where a discriminator judges the images of the walk as well::

        self.add_timecycle_discriminator(self.discriminator)              # in __init__
        self.set_timecycle_discriminator_input(self.real, self.source)    # in every step
        loss_D = loss_D + self.timecycle_backward_D()

    The options below are taken from the keyword arguments, the rest is passed on. A model may have several cycles, told
    apart by ``timecycle_name``; without a name it is the one called "target". If the host is no ``nn.Module``, save
    ``self.timecycles[name]``, a module, with its networks. Where the host is in your hands, or computes its losses in
    one long method, :class:`TimeCycle` inside it is as short.

    Args:
        timecycle_type: "conditional" (the motion model sees the condition and a frame), "unconditional" (two frames),
            "pingpong" (the recurrent generator itself walks) or "timerecycle" (a frame predictor of yours walks).
        timecycle_loss: "l1" or "l2".
        timecycle_loss_weight: weight of the cycle loss, see :class:`TimeCycle`.
        timecycle_motion_model_architecture, timecycle_motion_model_filters: the motion model that
            :meth:`define_timecycle` builds, see ``models.networks.generator``.
        timecycle_motion_model_residual: it predicts the change since the nearest known frame, so that gradients do not
            grow with the length of the walk; False is the 2020 release's, for weights of that form.
        timecycle_separate_motion_models: one model for each direction of time instead of a shared one.
        timecycle_warp_loss_weight: weight of the motion warp loss; 0 does not compute it.
        timecycle_gan_mode: the adversarial objective, "lsgan", "vanilla", "wgangp" (which adds the gradient penalty) or
            "hinge". None: the host's ``criterion_GAN`` or ``criterionGAN``, else "lsgan".
        timecycle_criterion_GAN: a criterion that counts more than either, see ``losses.gan.objective``.
        timecycle_checkpointing: compute what the gradients of a walk need again, and keep its images alone.
        timecycle_gan_loss_weight: weight of what discriminators say of the images of the walk; 0 shows them nothing.
        timecycle_max_return: the walk returns from at most this many frames, see :class:`TimeCycle`; 0: from all.
        timecycle_sharpness: how strongly the cycle loss asks for detail, because blur would lower it; 1 balances that.
    """

    def __init__(
        self,
        *args: Any,
        timecycle_type: str = "conditional",
        timecycle_loss: str = "l1",
        timecycle_loss_weight: float = 1.0,
        timecycle_motion_model_architecture: str = "resnet_1blocks",
        timecycle_motion_model_filters: int = 64,
        timecycle_motion_model_residual: bool = True,
        timecycle_separate_motion_models: bool = False,
        timecycle_warp_loss_weight: float = 0.0,
        timecycle_gan_mode: str | None = None,
        timecycle_criterion_GAN: Any = None,
        timecycle_checkpointing: bool = False,
        timecycle_max_return: int = 0,
        timecycle_gan_loss_weight: float = 1.0,
        timecycle_sharpness: float = 0.0,
        **kwargs: Any,
    ):
        super().__init__(*args, **kwargs)
        for name, value, known in (
            ("timecycle_type", timecycle_type, CYCLE_TYPES),
            ("timecycle_loss", timecycle_loss, DISTANCES),
            ("timecycle_gan_mode", timecycle_gan_mode or "lsgan", GAN_MODES),
        ):
            if value not in known:
                raise UserError(f"{name} must be one of {', '.join(known)}, not {value!r}")
        if timecycle_criterion_GAN is not None:
            objective(timecycle_criterion_GAN)  # refuses what is none
        self.timecycle_type, self.timecycle_gan_mode = timecycle_type, timecycle_gan_mode
        self.timecycle_criterion_GAN = timecycle_criterion_GAN
        self._timecycle_loss = {"loss": timecycle_loss, "weight": timecycle_loss_weight,
                                "warp_weight": timecycle_warp_loss_weight, "checkpointing": timecycle_checkpointing,
                                "max_return": timecycle_max_return,
                                "gan_weight": timecycle_gan_loss_weight, "sharpness": timecycle_sharpness}  # fmt: skip
        self._timecycle_model = {"name": timecycle_motion_model_architecture, "filters": timecycle_motion_model_filters,
                                 "residual": timecycle_motion_model_residual}  # fmt: skip
        self._timecycle_models = 2 if timecycle_separate_motion_models else 1
        self.timecycles: Any = nn.ModuleDict() if isinstance(self, nn.Module) else {}

    # ---- definition

    def define_timecycle(
        self, input_channels: int, output_channels: int, timecycle_name: str | None = None,
        motion_model: nn.Module | tuple[nn.Module, nn.Module] | None = None,
    ) -> None:  # fmt: skip
        """Add a cycle.

        Args:
            input_channels: channels that the motion model sees: those of the condition, if it has one, and of the
                frames of history (6 for an RGB image with an RGB condition; 6 for two RGB frames without one).
            output_channels: channels of a frame.
            timecycle_name: to tell it from other cycles of the same model.
            motion_model: your own module for both directions of time, or a pair (forward, backward); in several
                processes wrapped (``DistributedDataParallel``, Fabric's ``setup``), or each trains one of its own.
        """
        if motion_model is None:
            if self.timecycle_type in ("pingpong", "timerecycle"):
                # One built here would be trained by nobody.
                raise ValueError(
                    f"{self.timecycle_type} walks with a network of yours: give it as motion_model, or for pingpong "
                    "call define_timecycle_pingpong(generator)"
                )
            models = [define_motion_model(in_channels=input_channels, out_channels=output_channels,
                                          flag="timecycle_motion_model_architecture", **self._timecycle_model)
                      for _ in range(self._timecycle_models)]  # fmt: skip
            motion_model = models[0] if len(models) == 1 else models
        else:
            pair = motion_model if isinstance(motion_model, (tuple, list)) else (motion_model, motion_model)
            motion_model = tuple(locate(self, network) for network in pair)
        self._add_timecycle(motion_model, self.timecycle_type, timecycle_name)

    def define_timecycle_pingpong(self, generator: nn.Module, timecycle_name: str | None = None) -> None:
        """Add a cycle in which the recurrent ``generator``, fed [c_t, x_{t+1}], walks back; it stays the host's."""
        self._add_timecycle(locate(self, generator), "pingpong", timecycle_name)

    def add_timecycle_discriminator(
        self, discriminator: Callable[..., Any] | Place, n_frames: int = 1, discriminator_name: str | None = None,
        timecycle_name: str | None = None, conditional: bool | None = None, inputs: Sequence[str] | None = None,
        prediction: Callable[[Any], Any] | int | str | None = None,
    ) -> None:  # fmt: skip
        """Let a discriminator of the host's judge the images of the cycle; several add up.

        Args:
            discriminator: a module, a function or a bound method; sees [condition, image] or just the image, (N,
                channels, H, W). Put another module in its place among the attributes of the host (a wrapped one), and
                that one judges. No generator's term trains it, wherever it has its parameters from.
            n_frames: 1 for a frame discriminator; a sequence discriminator sees this many frames as channels.
            discriminator_name: how error messages call it.
            conditional: whether it sees the condition; None, where a conditioning sequence is given.
            inputs: ``("frame", "condition")`` or ``("condition", "frame")`` where it takes two arguments.
            prediction: where it returns several tensors and it is not clear (see ``judge.predictions``) which of them
                are judged: an index, or a function of all that it returns.
        """
        self._timecycle(timecycle_name).add_discriminator(
            locate(self, discriminator), n_frames, conditional, discriminator_name, inputs, prediction
        )

    # ---- every step

    def timecycle_forward(
        self, sequence: Video, conditioning_sequence: Video | None = None, ignore_first_n: int = 0,
        timecycle_name: str | None = None, returns: Tensor | None = None,
    ) -> None:  # fmt: skip
        """Walk the generated ``sequence``, (N, T, C, H, W) or a list of T (N, C, H, W), in [-1, 1].

        Args:
            sequence: not detached: the loss trains what made it. Of a video (N, C, T, H, W) give ``transpose(1, 2)``.
            conditioning_sequence: (N, T, C_c, H, W), what each frame was made of, where the cycle is conditional.
            ignore_first_n: frames at the beginning that are left out, such as one that was made of noise.
            returns: the frames that the walk returns from, where their number is bounded, see
                :meth:`TimeCycle.forward`; None: they are drawn.

        Raises:
            ValueError: see :meth:`TimeCycle.forward`; fewer than 2 frames, or 3 of an unconditional walk, for example.
        """
        sequence = as_video(sequence)
        cycle = self._timecycle(timecycle_name)
        cycle.to(sequence.device)  # a host that is no nn.Module cannot move its motion models
        cycle(sequence, conditioning_sequence, ignore_first_n, returns)

    def set_timecycle_discriminator_input(
        self, real_sequence: Video, conditioning_sequence: Video | None = None, ignore_first_n: int = 0,
        timecycle_name: str | None = None,
    ) -> None:  # fmt: skip
        """Give the real sequence that the cycle's discriminators compare with, and what they are shown beside it.

        Of the same form, length and ``ignore_first_n`` as what is walked.
        """
        self._timecycle(timecycle_name).set_discriminator_input(real_sequence, conditioning_sequence, ignore_first_n)

    def timecycle_backward(self, timecycle_name: str | None = None) -> Tensor:
        """What to add to the generator's loss: cycle, motion warp and adversarial terms, weighted; a scalar.

        Without a name, of all cycles together. Nothing is back-propagated yet.
        """
        return sum(cycle.generator_loss() for cycle in self._named(timecycle_name).values())

    def timecycle_backward_D(self, timecycle_name: str | None = None) -> Tensor:
        """What to add to the discriminator's loss; a scalar. Without a name, of all cycles together."""
        return sum(cycle.discriminator_loss() for cycle in self._named(timecycle_name).values())

    # ---- for the host's optimizer and logger

    def timecycle_parameters(self) -> list[nn.Parameter]:
        """The motion models' parameters, each once, for the generator's optimizer."""
        return list({p: None for cycle in self.timecycles.values() for p in cycle.parameters()})

    def timecycle_losses(self) -> dict[str, Tensor]:
        """The unweighted terms of the last step, detached: ``timecycle_target``, ``timecycle_warp_target``, ..."""
        return self._collect(TimeCycle.terms)

    def timecycle_terms(self) -> Losses:
        """What :meth:`timecycle_backward` adds up, as named terms with their weights."""
        return self._collect(TimeCycle.generator_terms)

    def timecycle_terms_D(self) -> Losses:
        """What :meth:`timecycle_backward_D` adds up, as named terms."""
        return self._collect(TimeCycle.discriminator_terms)

    def timecycle_cases(self) -> list[Case]:
        """What the terms of :meth:`timecycle_terms_D` show to each discriminator, to be judged with what others show.
        """
        return [case._replace(prefix="timecycle_", suffix=f"_{name}")
                for name, cycle in self.timecycles.items() for case in cycle.cases("discriminator")]  # fmt: skip

    # ---- inside

    __deepcopy__ = copy_host

    def _add_timecycle(self, motion_model, cycle_type: str, name: str | None) -> None:
        name = name or DEFAULT_NAME
        if name in self.timecycles:
            raise ValueError(f"there is a TimeCycle called {name!r} already: give this one a timecycle_name")
        self.timecycles[name] = TimeCycle(
            motion_model, cycle_type, penalised="wgangp" in (self.timecycle_gan_mode, self.timecycle_criterion_GAN),
            criterion_GAN=CriterionPlace(self, "timecycle_criterion_GAN", "timecycle_gan_mode"), **self._timecycle_loss,
        )  # fmt: skip

    def _timecycle(self, name: str | None) -> TimeCycle:
        return self._named(name or DEFAULT_NAME)[name or DEFAULT_NAME]

    def _named(self, name: str | None) -> dict[str, TimeCycle]:
        return named(self.timecycles, name, "TimeCycle", "call define_timecycle first")

    def _collect(self, terms: Callable[[TimeCycle], dict[str, Any]]) -> dict[str, Any]:
        """The terms of all cycles, under their names in a host."""
        return {f"timecycle_{name}" if key == "cycle" else f"timecycle_{key}_{name}": term
                for name, cycle in self.timecycles.items() for key, term in terms(cycle).items()}  # fmt: skip
