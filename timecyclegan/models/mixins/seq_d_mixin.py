"""Sequence discriminators: networks that judge several frames at once."""
import inspect
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from timecyclegan.losses import Losses, total
from timecyclegan.losses.gan import objective
from timecyclegan.models.adversarial_terms import Case, discriminator_terms, generator_terms
from timecyclegan.models.judge import Judge
from timecyclegan.models.mixins.host import (
    DEFAULT_NAME,
    CriterionPlace,
    Place,
    Step,
    Video,
    as_video,
    copy_host,
    locate,
    named,
    not_negative,
)
from timecyclegan.models.networks import define_discriminator
from timecyclegan.util.choices import GAN_MODES
from timecyclegan.util.errors import UserError, unknown


class SequenceDiscriminators:
    """One discriminator per temporal scale: scale i sees ``n_frames`` frames at stride ``n_frames ** i``.

    The networks are the caller's, who trains them. Give a step's clips to :meth:`set_input`, then take the terms; when
    both sides' were back-propagated, the clips are let go.

    Args:
        networks: one for each scale, or the ``host.Place`` where it lives; they see (N, n_frames * ([C_c +] C), H, W),
            see ``judge.Exhibit``.
        n_frames: frames that each of them sees.
        n_frames_ignored: frames at the beginning of a sequence that are not judged.
        conditional: whether they see the condition as well.
        matching_weight: of feature matching (the networks then need ``features``, or return features beside their
            prediction); 0 does not compute it.
        criterion: see ``losses.gan.objective``; or the ``host.Place`` where one is found.
        penalised: whether the discriminators' loss has a gradient penalty.
        weight: of the adversarial term in the generator's loss.
        inputs, prediction: see ``judge.Judge``.
    """

    def __init__(
        self, networks: Sequence[Any], n_frames: int, n_frames_ignored: int = 0, conditional: bool = False,
        matching_weight: float = 0.0, criterion: Any = "lsgan", penalised: bool = False,
        inputs: Sequence[str] | None = None, prediction: Callable[[Any], Any] | int | str | None = None,
        weight: float = 1.0,
    ):  # fmt: skip
        self.judges = [
            Judge(network, n_frames, n_frames**scale, conditional, f"sequence discriminator {scale}", inputs,
                  prediction)
            for scale, network in enumerate(networks)
        ]
        self.n_frames, self.ignored = n_frames, n_frames_ignored
        self.conditional, self.matching_weight = conditional, matching_weight
        self.criterion, self.penalised, self.weight = criterion, penalised, weight
        self.step = Step()

    @property
    def networks(self) -> list[nn.Module]:
        """The networks, one for each scale."""
        return [judge.network for judge in self.judges]

    def set_input(
        self, fake: Video, real: Video, condition: Video | None = None, between: Sequence[Tensor] | None = None
    ) -> None:
        """Take a step's clips, (N, T, C, H, W) or lists of T (N, C, H, W).

        Args:
            condition: of the frames, for conditional discriminators.
            between: for each scale, what lies between frames that are its stride apart, (N, T - stride, C_c, H, W);
                seen instead of a condition. T counts the frames that are not ignored.

        Raises:
            ValueError: the discriminators are conditional and there is no condition.
        """
        if self.conditional and condition is None:
            raise ValueError("conditional sequence discriminators need the conditioning sequence")
        fake, real = as_video(fake), as_video(real)
        for network in self.networks:
            if isinstance(network, nn.Module):
                network.to(fake.device)  # a host that is no nn.Module cannot move them
        condition = as_video(condition) if self.conditional else None
        self.step = Step("generator", "discriminator", fake=fake, real=real, condition=condition, between=between)

    def cases(self) -> list[Case]:
        """What ``gan_sequence_0``, ... show to the discriminator of each scale; means run over windows.

        Scales for which a clip is too short are left out.

        Raises:
            ValueError: there are no clips.
        """
        if not hasattr(self.step, "fake"):
            raise ValueError("the sequence discriminators have no input yet: call set_seq_D_input first, in every step")
        found = []
        for scale, judge in enumerate(self.judges):
            sides = []
            for video in (self.step.fake, self.step.real):
                if self.step.between is None:
                    sides.append(judge.show(video, self.step.condition, self.ignored))
                else:
                    shown = judge.show(video[:, self.ignored :])
                    sides.append([exhibit._replace(condition=self.step.between[scale]) for exhibit in shown])
            if all(sides):
                case = Case(f"gan_sequence_{scale}", judge, *sides, weight=self.weight, penalised=self.penalised,
                            owner=self)
                found.append(case)
        return found

    def discriminator_terms(self) -> Losses:
        """(real + fake) / 2 for each scale, ``gan_sequence_0``, ..."""
        return discriminator_terms(self.cases(), self.criterion)

    def judged(self, losses: Losses) -> None:
        """Take note of the discriminators' losses, whoever asked for them."""
        self.step.taken("discriminator", losses)

    def generator_terms(self) -> Losses:
        """The adversarial term of each scale, and feature matching beside it; they do not train a discriminator."""
        return self.step.taken("generator", generator_terms(self.cases(), self.criterion, self.matching_weight))


class SeqDMixin:
    """Adds sequence discriminators to a GAN class: put it before the GAN among the base classes.

    The host needs nothing but a cooperative ``super().__init__(*args, **kwargs)``; on an ``nn.Module`` the
    discriminators are registered::

        self.define_seq_D(n_frames=3)                                # in __init__, after super().__init__()
        optimizer_D.add_param_group({"params": self.seq_D_parameters()})
        self.set_seq_D_input(self.fake, self.real)                   # in every step
        loss_G = loss_G + self.seq_D_backward()
        loss_D = loss_D + self.seq_D_backward_D()

    Save ``self.seq_D_networks`` with your networks where the host is no ``nn.Module``.

    Args:
        seq_D_gan_mode: the adversarial objective, see ``losses.gan.gan_loss``; "wgangp" adds the gradient penalty.
            None: the host's ``criterion_GAN`` or ``criterionGAN``, else "lsgan".
        seq_D_criterion_GAN: a criterion that counts more than either, see ``losses.gan.objective``.
        seq_D_feature_matching_weight: weight of feature matching; 0 does not compute it.
        seq_D_gan_weight: weight of the adversarial terms in the generator's loss.
    """

    def __init__(
        self, *args: Any, seq_D_gan_mode: str | None = None, seq_D_feature_matching_weight: float = 0.0,
        seq_D_criterion_GAN: Any = None, seq_D_gan_weight: float = 1.0, **kwargs: Any,
    ):  # fmt: skip
        super().__init__(*args, **kwargs)
        if (seq_D_gan_mode or "lsgan") not in GAN_MODES:
            raise unknown("seq_D_gan_mode", seq_D_gan_mode, GAN_MODES)
        if seq_D_criterion_GAN is not None:
            objective(seq_D_criterion_GAN)  # refuses what is none
        self.seq_D_criterion_GAN = seq_D_criterion_GAN
        not_negative("seq_D_feature_matching_weight", seq_D_feature_matching_weight)
        not_negative("seq_D_gan_weight", seq_D_gan_weight)
        self.seq_D_gan_mode, self._seq_D_matching = seq_D_gan_mode, seq_D_feature_matching_weight
        self._seq_D_gan_weight = seq_D_gan_weight
        self.seq_Ds: dict[str, SequenceDiscriminators] = {}
        self.seq_D_networks: Any = nn.ModuleDict() if isinstance(self, nn.Module) else {}

    def define_seq_D(
        self, n_frames: int, temporal_scales: int = 1, n_frames_ignored: int = 0, conditional: bool = False,
        seq_D_name: str | None = None, discriminators: Sequence[Callable[..., Any] | Place] | None = None,
        channels: int = 3, condition_channels: int = 3, architecture: str = "basic", filters: int = 64,
        inputs: Sequence[str] | None = None, prediction: Callable[[Any], Any] | int | str | None = None,
    ) -> None:  # fmt: skip
        """Add a group of discriminators, one per temporal scale, see :class:`SequenceDiscriminators`.

        Args:
            seq_D_name: to tell it from other groups of the same model; without a name it is "target".
            discriminators: your own networks (or the places of yours that are registered already), one for each scale,
                whatever ``temporal_scales`` is; else they are built, see ``models.networks``, for frames of
                ``channels`` and conditions of ``condition_channels``. Functions are trained by whose parameters they
                use; a method of a module stands for the module.
            inputs, prediction: how your own are called, and which of what they return is judged, see ``judge.Judge``.
        """
        name = seq_D_name or DEFAULT_NAME
        if name in self.seq_Ds:
            raise ValueError(f"there are sequence discriminators called {name!r} already: give these a seq_D_name")
        if discriminators is None:
            if n_frames < 2:
                raise UserError(f"n_frames {n_frames} is no sequence: use 2 or more")
            seen = n_frames * (channels + (condition_channels if conditional else 0))
            discriminators = [define_discriminator(architecture, seen, filters) for _ in range(temporal_scales)]
        places = []
        for scale, network in enumerate(discriminators):
            place, key = locate(self, network), f"{name}_{scale}"
            module = _module(network, self)
            if module:
                self.seq_D_networks[key] = module
                if not isinstance(place, Place):
                    place = Place(self, "seq_D_networks", key, *([] if module is network else [network.__name__]))
            places.append(place)
        self.seq_Ds[name] = SequenceDiscriminators(
            places, n_frames, n_frames_ignored, conditional, self._seq_D_matching,
            CriterionPlace(self, "seq_D_criterion_GAN", "seq_D_gan_mode"),
            "wgangp" in (self.seq_D_gan_mode, self.seq_D_criterion_GAN), inputs, prediction, self._seq_D_gan_weight,
        )  # fmt: skip

    def set_seq_D_input(
        self, sequence: Video, real_sequence: Video, conditioning_sequence: Video | None = None,
        seq_D_name: str | None = None,
    ) -> None:  # fmt: skip
        """Give a step's generated and real clip, (N, T, C, H, W) or lists of T (N, C, H, W)."""
        self._seq_D(seq_D_name or DEFAULT_NAME)[seq_D_name or DEFAULT_NAME].set_input(
            sequence, real_sequence, conditioning_sequence
        )

    def seq_D_backward(self, seq_D_name: str | None = None) -> Tensor | float:
        """What to add to the generator's loss; a scalar. Without a name, of all groups together."""
        return total(self.seq_D_terms(seq_D_name))

    def seq_D_backward_D(self, seq_D_name: str | None = None) -> Tensor | float:
        """What to add to the discriminator's loss; a scalar. Without a name, of all groups together."""
        return total(self.seq_D_terms_D(seq_D_name))

    def seq_D_parameters(self) -> list[nn.Parameter]:
        """The discriminators' parameters, each once, for the discriminator's optimizer."""
        networks = [network for group in self.seq_Ds.values() for network in group.networks]
        modules = [module for network in networks if (module := _module(network, self))]
        return list({p: None for module in modules for p in module.parameters()})

    def seq_D_terms(self, seq_D_name: str | None = None) -> Losses:
        """What :meth:`seq_D_backward` adds up, as named terms with their weights."""
        return {key + self._suffix(name): term for name, group in self._seq_D(seq_D_name).items()
                for key, term in group.generator_terms().items()}  # fmt: skip

    def seq_D_terms_D(self, seq_D_name: str | None = None) -> Losses:
        """What :meth:`seq_D_backward_D` adds up, as named terms with their weights."""
        return {key + self._suffix(name): term for name, group in self._seq_D(seq_D_name).items()
                for key, term in group.discriminator_terms().items()}  # fmt: skip

    def seq_D_cases(self) -> list[Case]:
        """What the terms of :meth:`seq_D_terms_D` show to each discriminator, to be judged with what others show."""
        return [case._replace(suffix=self._suffix(name)) for name, group in self.seq_Ds.items()
                for case in group.cases()]  # fmt: skip

    __deepcopy__ = copy_host

    def _suffix(self, name: str) -> str:
        return "" if name == DEFAULT_NAME and len(self.seq_Ds) == 1 else f"_{name}"

    def _seq_D(self, name: str | None) -> dict[str, SequenceDiscriminators]:
        return named(self.seq_Ds, name, "group of sequence discriminators", "call define_seq_D first")


def _module(network: Any, host: Any) -> nn.Module | None:
    """The module that a discriminator is, or is a method of, unless that is the host."""
    module = network.__self__ if inspect.ismethod(network) else network
    return module if isinstance(module, nn.Module) and module is not host else None
