"""pix2pix (Isola et al. 2017): paired translation, frame by frame or in blocks of frames."""
import torch
from torch import nn

from timecyclegan.losses import Losses, Term
from timecyclegan.losses.gan import generator_terms
from timecyclegan.losses.perceptual import perceptual_loss
from timecyclegan.models.base_model import PairedModel
from timecyclegan.models.networks import Architecture, vgg19
from timecyclegan.util.options import Options


class Pix2PixModel(PairedModel):
    """Generator and conditional PatchGAN with L1, feature matching and perceptual terms by weight.

    With a block size above 1 a block of frames is one picture of 3 * block_size channels: the model predicts blocks,
    and testing keeps the middle frame of the block around each frame.
    """

    discriminator_sees_condition = True
    uses = frozenset({"l1_loss_weight", "feature_matching_loss_weight", "perceptual_loss_weight"})

    def __init__(self, options: Options, training: bool = True, **kwargs):
        super().__init__(options, training, **kwargs)
        self.add_generators()
        self._perceptual: list[nn.Module] = []  # not registered: neither saved nor trained
        if training:
            self.add_discriminators((self.condition_channels + self.channels) * self.frames_per_call)
            if options.perceptual_loss_weight:
                self._perceptual.append(vgg19.VGG19Features())

    @classmethod
    def further_networks(cls, options: Options) -> dict[str, Architecture]:
        networks = super().further_networks(options)
        if options.perceptual_loss_weight:
            networks["--perceptual_loss_weight"] = Architecture(vgg19.VGG19Features, vgg19.size_error)
        return networks

    @property
    def frames_per_call(self) -> int:
        """A block of frames is one picture; the sequential models change this."""
        return self.options.block_size

    # ---- losses

    def discriminator_losses(self) -> Losses:
        source = self.fold(self.source)
        real, fake = self.fold(self.target), self.fold(self.fake)
        real, fake = torch.cat([source, real], dim=1), torch.cat([source, fake], dim=1)
        return {**super().discriminator_losses(), **self.adversarial_D("gan", self.discriminator, real, fake)}

    def generator_losses(self) -> Losses:
        options, losses = self.options, super().generator_losses()
        source = self.fold(self.source)
        weight = options.feature_matching_loss_weight
        fake = torch.cat([source, self.fold(self.fake)], dim=1)
        real = torch.cat([source, self.fold(self.target)], dim=1) if weight else None
        losses |= generator_terms("", self.discriminator, fake, real, self.criterion_GAN, weight)
        if options.l1_loss_weight:
            losses["l1"] = Term((self.fake - self.target).abs().mean(), options.l1_loss_weight)
        if options.perceptual_loss_weight:
            network = self._perceptual[0].to(self.fake.device)
            distance = perceptual_loss(network, self.fake.flatten(0, 1), self.target.flatten(0, 1))
            losses["perceptual"] = Term(distance, options.perceptual_loss_weight)
        return losses
