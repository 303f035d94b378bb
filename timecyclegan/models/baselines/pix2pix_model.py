"""pix2pix (Isola et al. 2017): paired translation, frame by frame or in blocks of frames."""
from torch import nn

from timecyclegan.losses import Losses, Term
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
        """A block of frames is one picture, but for recurrent models."""
        return 1 if self.recurrent else self.options.block_size

    # ---- losses

    def discriminator_losses(self) -> Losses:
        return self.discriminator_terms(self.gan_cases())

    def generator_losses(self) -> Losses:
        options = self.options
        return {
            **self.generator_terms(self.gan_cases(), options.feature_matching_loss_weight),
            **self.l1_terms(options.l1_loss_weight),
            **self.perceptual_terms(options.perceptual_loss_weight),
        }

    def l1_terms(self, weight: float) -> Losses:
        """``l1``: the mean absolute difference of generated and real frames."""
        return {"l1": Term((self.step.fake - self.step.target).abs().mean(), weight)} if weight else {}

    def perceptual_terms(self, weight: float) -> Losses:
        """``perceptual``: of generated and real frames, see ``losses.perceptual``."""
        if not weight:
            return {}
        fake, target = self.step.fake.flatten(0, 1), self.step.target.flatten(0, 1)  # (N, T, ..) to (N * T, ..)
        return {"perceptual": Term(perceptual_loss(self._perceptual[0].to(fake.device), fake, target), weight)}
