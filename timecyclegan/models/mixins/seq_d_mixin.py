"""Sequence discriminators: networks that judge several frames at once."""
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from timecyclegan.losses import Losses, total
from timecyclegan.losses.gan import discriminator_terms, frozen, gan_loss, generator_terms
from timecyclegan.models.mixins.host import DEFAULT_NAME, Video, as_video, host_criterion, named, not_negative
from timecyclegan.models.networks import define_discriminator
from timecyclegan.util.choices import GAN_MODES
from timecyclegan.util.errors import UserError, unknown
from timecyclegan.util.options import Options


def windows(video: Tensor, n_frames: int, scale: int = 0, condition: Tensor | None = None) -> Tensor | None:
    """All windows of ``n_frames`` frames at stride ``n_frames ** scale`` as pictures, for a sequence discriminator.

    Neighbouring windows share their end frames: each begins where the last one ended.

    Args:
        video: (N, T, C, H, W).
        condition: (N, T, C_c, H, W), put before the frames of each window: [conditions, frames]. What lies between
            two frames, such as flow, is (N, T - stride, C_c, H, W): a window then has one condition less than frames.

    Returns:
        (windows * N, n_frames * (C_c + C), H, W), or None where the video is too short for one window.
    """
    stride = n_frames**scale
    span = (n_frames - 1) * stride  # from the first to the last frame of a window
    starts = range(0, video.shape[1] - span, max(span, 1))
    if not starts:
        return None
    folded = []
    for start in starts:
        parts = [video[:, start : start + span + 1 : stride]]
        if condition is not None:
            end = start + span + 1 - (video.shape[1] - condition.shape[1])
            parts.insert(0, condition[:, start:end:stride])
        folded.append(torch.cat([part.flatten(1, 2) for part in parts], dim=1))
    return torch.cat(folded)


class SequenceDiscriminators:
    """One discriminator per temporal scale: scale i sees ``n_frames`` frames at stride ``n_frames ** i``.

    The networks are the caller's, who trains them. Give a step's clips to :meth:`set_input`, then take the
    terms.

    Args:
        networks: one for each scale; they see (N, n_frames * ([C_c +] C), H, W) as :func:`windows` makes it.
        n_frames: frames that each of them sees.
        n_frames_ignored: frames at the beginning of a sequence that are not judged.
        conditional: whether they see the condition as well.
        matching_weight: of feature matching (the networks then need ``features``); 0 does not compute it.
        criterion: ``(prediction, is_real) -> scalar``.
        penalised: whether the discriminators' loss has a gradient penalty.
    """

    def __init__(
        self, networks: list[nn.Module], n_frames: int, n_frames_ignored: int = 0, conditional: bool = False,
        matching_weight: float = 0.0, criterion: Callable[[Tensor, bool], Tensor] = gan_loss, penalised: bool = False,
    ):  # fmt: skip
        self.networks, self.n_frames, self.ignored = networks, n_frames, n_frames_ignored
        self.conditional, self.matching_weight = conditional, matching_weight
        self.criterion, self.penalised = criterion, penalised
        self._fake = self._real = None

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
        self._fake, self._real = as_video(fake, self.ignored), as_video(real, self.ignored)
        for network in self.networks:
            network.to(self._fake.device)  # a host that is no nn.Module cannot move them
        same = as_video(condition, self.ignored) if self.conditional else None
        self._conditions = [same] * len(self.networks) if between is None else between

    def discriminator_terms(self) -> Losses:
        """(real + fake) / 2 for each scale, ``gan_sequence_0``, ...; means run over windows."""
        losses: Losses = {}
        for name, network, fake, real in self._scales():
            losses |= discriminator_terms(f"gan_{name}", network, real, fake, self.criterion, self.penalised)
        return losses

    def generator_terms(self) -> Losses:
        """The adversarial term of each scale, and feature matching beside it; they do not train a discriminator."""
        losses: Losses = {}
        for name, network, fake, real in self._scales():
            with frozen(network):
                losses |= generator_terms(f"_{name}", network, fake, real, self.criterion, self.matching_weight)
        return losses

    def _scales(self) -> Iterator[tuple[str, nn.Module, Tensor, Tensor]]:
        """For each scale that has a window: its name, its network, the windows of the fake and the real clip."""
        if self._fake is None:
            raise ValueError("the sequence discriminators have no input yet: call set_seq_D_input first")
        for scale, (network, seen) in enumerate(zip(self.networks, self._conditions, strict=True)):
            fake, real = (windows(video, self.n_frames, scale, seen) for video in (self._fake, self._real))
            if fake is not None and real is not None:
                yield f"sequence_{scale}", network, fake, real


class SeqDMixin:
    """Adds sequence discriminators to a GAN class: put it before the GAN among the base classes.

    The host needs nothing but a cooperative ``super().__init__(*args, **kwargs)``; on an ``nn.Module`` the
    discriminators are registered. The objective is the host's ``criterion_GAN(prediction, is_real)`` (or
    ``criterionGAN``) where it has one::

        self.define_seq_D(n_frames=3)                                # in __init__, after super().__init__()
        optimizer_D.add_param_group({"params": self.seq_D_parameters()})
        self.set_seq_D_input(self.fake, self.real)                   # in every step
        loss_G = loss_G + self.seq_D_backward()
        loss_D = loss_D + self.seq_D_backward_D()

    Save ``self.seq_D_networks`` with your networks where the host is no ``nn.Module``.

    Args:
        seq_D_gan_mode: else this objective, see ``losses.gan.gan_loss``; "wgangp" adds the gradient penalty.
        seq_D_feature_matching_weight: weight of feature matching; 0 does not compute it.
    """

    def __init__(
        self, *args: Any, seq_D_gan_mode: str = "lsgan", seq_D_feature_matching_weight: float = 0.0, **kwargs: Any
    ):
        super().__init__(*args, **kwargs)
        if seq_D_gan_mode not in GAN_MODES:
            raise unknown("seq_D_gan_mode", seq_D_gan_mode, GAN_MODES)
        not_negative("seq_D_feature_matching_weight", seq_D_feature_matching_weight)
        self.seq_D_gan_mode, self._seq_D_matching = seq_D_gan_mode, seq_D_feature_matching_weight
        self.seq_Ds: dict[str, SequenceDiscriminators] = {}
        self.seq_D_networks: Any = nn.ModuleDict() if isinstance(self, nn.Module) else {}

    def define_seq_D(
        self,
        n_frames: int,
        temporal_scales: int = 1,
        n_frames_ignored: int = 0,
        conditional: bool = False,
        seq_D_name: str | None = None,
        discriminators: Sequence[nn.Module] | None = None,
        channels: int = 3,
        condition_channels: int = 3,
        architecture: str = "basic",
        filters: int = 64,
    ) -> None:
        """Add a group of discriminators, one per temporal scale, see :class:`SequenceDiscriminators`.

        Args:
            seq_D_name: to tell it from other groups of the same model; without a name it is "target".
            discriminators: your own networks, one for each scale, whatever ``temporal_scales`` is; else they are
                built, see ``models.networks``, for frames of ``channels`` and conditions of ``condition_channels``.
        """
        name = seq_D_name or DEFAULT_NAME
        if name in self.seq_Ds:
            raise ValueError(f"there are sequence discriminators called {name!r} already: give these a seq_D_name")
        if discriminators is None:
            if n_frames < 2:
                raise UserError(f"n_frames {n_frames} is no sequence: use 2 or more")
            seen = n_frames * (channels + (condition_channels if conditional else 0))
            discriminators = [define_discriminator(architecture, seen, filters) for _ in range(temporal_scales)]
        for scale, network in enumerate(discriminators):
            self._register_seq_D(name, scale, network)
        self.seq_Ds[name] = SequenceDiscriminators(
            list(discriminators), n_frames, n_frames_ignored, conditional, self._seq_D_matching,
            self._seq_D_criterion, self.seq_D_gan_mode == "wgangp",
        )  # fmt: skip

    def _seq_D_criterion(self, prediction: Tensor, is_real: bool) -> Tensor:
        return host_criterion(self, prediction, is_real, self.seq_D_gan_mode)

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
        return list({p: None for network in networks for p in network.parameters()})

    def seq_D_terms(self, seq_D_name: str | None = None) -> Losses:
        """What :meth:`seq_D_backward` adds up, as named terms with their weights."""
        return self._collect_seq_D({name: d.generator_terms() for name, d in self._seq_D(seq_D_name).items()})

    def seq_D_terms_D(self, seq_D_name: str | None = None) -> Losses:
        """What :meth:`seq_D_backward_D` adds up, as named terms with their weights."""
        return self._collect_seq_D({name: d.discriminator_terms() for name, d in self._seq_D(seq_D_name).items()})

    def _collect_seq_D(self, terms: dict[str, Losses]) -> Losses:
        named_terms = {}
        for name, losses in terms.items():
            suffix = "" if name == DEFAULT_NAME and len(self.seq_Ds) == 1 else f"_{name}"
            named_terms |= {key + suffix: term for key, term in losses.items()}
        return named_terms

    def _register_seq_D(self, name: str, scale: int, network: nn.Module) -> None:
        self.seq_D_networks[f"{name}_{scale}"] = network

    def _seq_D(self, name: str | None) -> dict[str, SequenceDiscriminators]:
        return named(self.seq_Ds, name, "group of sequence discriminators", "call define_seq_D first")


class SeqDModel(SeqDMixin):
    """Sequence discriminators on everything that a ``BaseModel`` generates, by its options.

    The frames at the beginning that the model ignores (``n_frames_ignored``) are not judged.
    """

    uses = frozenset({"n_frames_discriminator", "discriminator_temporal_scales"})

    def __init__(self, options: Options, training: bool = True, **kwargs: Any):
        matching = options.feature_matching_loss_weight if "feature_matching_loss_weight" in self.uses else 0.0
        mode = {"seq_D_gan_mode": options.gan_mode, "seq_D_feature_matching_weight": matching}
        super().__init__(options, training, **mode, **kwargs)
        if not training:
            return
        n_frames, scales = self.seq_D_shape(options)
        for domain in self.domains:
            networks = [self.define_discriminator(self.seq_D_channels(n_frames)) for _ in range(scales)]
            self.define_seq_D(n_frames, scales, self.n_frames_ignored(), seq_D_name=domain, discriminators=networks)

    @classmethod
    def check(cls, options: Options, training: bool = True) -> None:
        """Refuse clips that have no window for a sequence discriminator: it would be left out without a word."""
        super().check(options, training)
        scales, block = options.discriminator_temporal_scales, options.block_size or cls.default_block_size
        n_frames = options.n_frames_discriminator or max(block - cls.n_frames_ignored(), 2)
        if training and n_frames < 2:
            raise UserError(f"--n_frames_discriminator {n_frames} is no sequence: use 2 or more, or 0")
        if training and scales:
            flags = f"--n_frames_discriminator {n_frames} with --discriminator_temporal_scales {scales}"
            cls.check_clip_length(options, (n_frames - 1) * n_frames ** (scales - 1) + 1, flags)

    @classmethod
    def seq_D_shape(cls, options: Options) -> tuple[int, int]:
        """How many frames a discriminator sees, and how many discriminators there are."""
        judged = (options.block_size or cls.default_block_size) - cls.n_frames_ignored()
        n_frames = options.n_frames_discriminator or judged
        # While a run grows in time its clips may be too short for anything that looks at sequences.
        return n_frames, options.discriminator_temporal_scales if 2 <= n_frames <= judged else 0

    def seq_D_channels(self, n_frames: int) -> int:
        """Channels that a sequence discriminator sees."""
        return n_frames * self.channels

    def seq_D_between(self, domain: str) -> Sequence[Tensor] | None:
        """What the discriminators of ``domain`` are shown beside frames, see :meth:`SequenceDiscriminators.set_input`.
        """
        return None

    def _register_seq_D(self, name: str, scale: int, network: nn.Module) -> None:
        self.add_network(self.name_in(name, f"sequence_discriminator_{scale}"), network, role="D")

    def _show_seq_Ds(self) -> None:
        for domain, (fake, real, _) in self.generated().items():
            if domain in self.seq_Ds:
                self.seq_Ds[domain].set_input(fake, real, between=self.seq_D_between(domain))

    def discriminator_losses(self) -> Losses:
        self._show_seq_Ds()
        return {**super().discriminator_losses(), **self.seq_D_terms_D()}

    def generator_losses(self) -> Losses:
        self._show_seq_Ds()
        return {**super().generator_losses(), **self.seq_D_terms()}


# The 2020 release had one for each kind of model.
SeqDMixinPaired = SeqDMixinUnpaired = SeqDModel
