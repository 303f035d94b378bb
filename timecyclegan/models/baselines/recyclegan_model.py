"""RecycleGAN (Bansal et al. 2018): unpaired translation that also predicts how a domain goes on in time."""
from typing import Any

import torch
from torch import Tensor

from timecyclegan.losses import Losses, Term
from timecyclegan.models.base_model import OTHER, UnpairedModel
from timecyclegan.models.networks import Architecture, define_generator, generator
from timecyclegan.util.errors import UserError
from timecyclegan.util.options import Options

PREDICTOR = "--recycle_predictor_architecture"


class RecycleGANModel(UnpairedModel):
    """Generators, discriminators, and for each domain a predictor of a frame from the two before it.

    A clip of T frames is translated up to frame T - 2; the predictor of the new domain makes frames 2 .. T - 1 of it
    from each two translated frames. Translated back, they shall be the frames of the clip (the recycle loss). The
    paper's step is T = 3; longer clips take the means over all frames that there are.
    """

    default_block_size = 3
    predicts = True
    translates_last = False  # whether the last frame is translated too, which RecycleGAN's own losses do not need
    uses = frozenset({"cycle_loss_weight", "recycle_loss_weight", "recycle_predictor_architecture",
                      "recycle_predictor_filters", "recycle_predictor_gan"})  # fmt: skip

    def __init__(self, options: Options, training: bool = True, **kwargs: Any):
        super().__init__(options, training, **kwargs)
        self.add_generators()
        if training:
            for domain in self.domains:
                network = define_generator(
                    options.recycle_predictor_architecture, 2 * self.channels, self.channels,
                    options.recycle_predictor_filters, flag=PREDICTOR, size=options.image_height,
                )  # fmt: skip
                self.add_network(f"predictor_{domain}", network, role="G")
            self.add_discriminators(self.channels)

    @classmethod
    def further_networks(cls, options: Options) -> dict[str, Architecture]:
        predictor = generator(options.recycle_predictor_architecture, flag=PREDICTOR)
        return {**super().further_networks(options), PREDICTOR: predictor}

    @classmethod
    def check(cls, options: Options, training: bool = True) -> None:
        """Refuse clips from which nothing can be predicted, and two weights for one loss."""
        super().check(options, training)
        if training and 0 < options.block_size < 3:
            grown = "" if options.temporal_scaling == (1.0,) else ", also where --temporal_scaling shortens clips"
            raise UserError(
                f"--block_size {options.block_size}: RecycleGAN predicts a frame from two, use 3 or more{grown}"
            )
        weights = options.cycle_loss_weight, options.recycle_loss_weight
        if all(weights) and weights[0] != weights[1]:
            raise UserError(
                f"--cycle_loss_weight {weights[0]:g} and --recycle_loss_weight {weights[1]:g} both weigh RecycleGAN's "
                "recycle and predictor losses: give one of them"
            )

    def predict(self, domain: str, clip: Tensor) -> Tensor:
        """Frames 2 .. T of a clip (N, T, 3, H, W) of ``domain``, each from the two before it."""
        pairs = torch.cat([clip[:, :-1], clip[:, 1:]], dim=2)
        return self.network("predictor", domain)(pairs.flatten(0, 1)).unflatten(0, pairs.shape[:2])

    def forward(self, source: Tensor, target: Tensor) -> dict[str, Tensor]:
        """As ``UnpairedModel.forward``; also predicts, kept as ``self.predicted``, (N, T - 2, 3, H, W) by domain.

        The last frame of ``self.fake`` is a prediction unless the model translates it too.
        """
        self.real = {"target": target, "source": source}
        self.fake, self.predicted = {}, {}
        for domain in self.domains:
            clip = self.real[OTHER[domain]]
            fake = self.translate(domain, clip if self.translates_last else clip[:, :-1])
            self.predicted[domain] = self.predict(domain, fake[:, : clip.shape[1] - 1])
            if not self.translates_last:
                fake = torch.cat([fake, self.predicted[domain][:, -1:]], dim=1)
            self.fake[domain] = fake
        return self.fake

    def _judged(self, domain: str) -> Tensor:
        """The pictures that the discriminator of ``domain`` judges: translated frames 0 .. T - 2, predicted ones."""
        return self.fold(torch.cat([self.fake[domain][:, :-1], self.predicted[domain]], dim=1))

    def discriminator_losses(self) -> Losses:
        losses = super().discriminator_losses()
        for domain, real in self.real.items():
            judge = self.network("discriminator", domain)
            losses |= self.adversarial_D("gan", judge, self.fold(real), self._judged(domain), domain)
            if self.options.recycle_predictor_gan:
                with torch.no_grad():
                    predicted = self.predict(domain, real[:, :-1])
                real_frames, predicted = self.fold(real[:, 2:]), self.fold(predicted)
                losses |= self.adversarial_D("gan_predictor", judge, real_frames, predicted, domain)
        return losses

    def generator_losses(self) -> Losses:
        losses = super().generator_losses()
        weight = self.options.recycle_loss_weight or self.options.cycle_loss_weight
        for domain, real in self.real.items():
            judge, other = self.network("discriminator", domain), OTHER[domain]
            losses |= self.adversarial_G("gan", judge, self._judged(domain), domain)
            if weight:
                back = self.translate(domain, self.predicted[other], before=self.fake[other][:, :2])
                losses[f"recycle_{domain}"] = Term((back - real[:, 2:]).abs().mean(), weight)
            if weight or self.options.recycle_predictor_gan:
                predicted = self.predict(domain, real[:, :-1])
            if weight:
                losses[f"predictor_{domain}"] = Term((predicted - real[:, 2:]).abs().mean(), weight)
            if self.options.recycle_predictor_gan:
                losses |= self.adversarial_G("gan_predictor", judge, self.fold(predicted), domain)
        return losses
