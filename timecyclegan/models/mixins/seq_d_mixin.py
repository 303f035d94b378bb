"""Sequence discriminators: networks that judge several frames at once."""
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from timecyclegan.losses import Losses, Term
from timecyclegan.losses.feature_matching import feature_matching_loss
from timecyclegan.models.networks import define_discriminator


def windows(video: Tensor, n_frames: int, scale: int = 0, condition: Tensor | None = None) -> Tensor | None:
    """All windows of ``n_frames`` frames at stride ``n_frames ** scale`` as pictures, for a sequence discriminator.

    Neighbouring windows share their end frames: each begins where the last one ended.

    Args:
        video: (N, T, C, H, W).
        condition: (N, T, C_c, H, W), put before the frames of each window: [conditions, frames].

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
        window = slice(start, start + span + 1, stride)
        parts = [video[:, window]] if condition is None else [condition[:, window], video[:, window]]
        folded.append(torch.cat([part.flatten(1, 2) for part in parts], dim=1))
    return torch.cat(folded)


class SeqDMixin:
    """Adds one discriminator per temporal scale: scale i sees ``n_frames`` frames at stride ``n_frames ** i``.

    It asks of its host for ``add_network``, ``criterion_GAN``, ``adversarial_D`` and ``options``, as
    ``models.base_model.BaseModel`` has them.
    """

    def define_seq_D(self, n_frames: int, temporal_scales: int, n_frames_ignored: int = 0, conditional: bool = False):
        """Build the discriminators.

        Args:
            n_frames: frames that each of them sees.
            temporal_scales: how many there are.
            n_frames_ignored: frames at the beginning of a sequence that are not judged.
            conditional: whether they see the source frames as well.
        """
        self.seq_D_frames, self.seq_D_ignored, self.seq_D_conditional = n_frames, n_frames_ignored, conditional
        self.seq_D_names = []
        channels = n_frames * self.channels * (2 if conditional else 1)
        for scale in range(temporal_scales):
            name = f"sequence_discriminator_{scale}"
            network = define_discriminator(
                self.options.discriminator_architecture, channels, self.options.discriminator_filters
            )
            self.add_network(name, network, role="D")
            self.seq_D_names.append(name)

    def _seq_D(
        self, *videos: Tensor, condition: Tensor | None
    ) -> Iterator[tuple[str, nn.Module, tuple[Tensor, ...]]]:
        """For each scale that has a window: the name of its loss, its network, the windows of each of ``videos``."""
        condition = condition[:, self.seq_D_ignored :] if self.seq_D_conditional else None
        for scale, name in enumerate(self.seq_D_names):
            cut = [windows(v[:, self.seq_D_ignored :], self.seq_D_frames, scale, condition) for v in videos]
            if cut[0] is not None:
                yield f"gan_sequence_{scale}", getattr(self, name), tuple(cut)

    def seq_D_discriminator_losses(self, real: Tensor, fake: Tensor, condition: Tensor | None = None) -> Losses:
        """(real + fake) / 2 for each scale; videos are (N, T, C, H, W), means run over windows."""
        losses: Losses = {}
        for name, network, (real_windows, fake_windows) in self._seq_D(real, fake, condition=condition):
            losses |= self.adversarial_D(name, network, real_windows, fake_windows)
        return losses

    def seq_D_generator_losses(
        self, fake: Tensor, condition: Tensor | None = None, real: Tensor | None = None, matching_weight: float = 0.0
    ) -> Losses:
        """The adversarial term of each scale, and with ``real`` and a weight feature matching beside it."""
        losses: Losses = {}
        videos = (fake, real) if matching_weight else (fake,)
        for name, network, (fake_windows, *real_windows) in self._seq_D(*videos, condition=condition):
            *features, prediction = network.features(fake_windows)
            losses[name] = Term(self.criterion_GAN(prediction, True))
            if real_windows:
                with torch.no_grad():
                    *targets, _ = network.features(real_windows[0])
                matching = feature_matching_loss(features, targets)
                losses[name.replace("gan", "feature_matching")] = Term(matching, matching_weight)
        return losses


class SeqDMixinPaired(SeqDMixin):
    """Sequence discriminators on the generated and the target video of a ``PairedModel``, with feature matching."""

    def discriminator_losses(self) -> Losses:
        losses = self.seq_D_discriminator_losses(self.target, self.fake, self.source)
        return {**super().discriminator_losses(), **losses}

    def generator_losses(self) -> Losses:
        losses = self.seq_D_generator_losses(
            self.fake, self.source, self.target, self.options.feature_matching_loss_weight
        )
        return {**super().generator_losses(), **losses}
