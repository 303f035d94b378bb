"""TimeCycle and sequence discriminators on RecycleGAN, frame by frame and recurrent."""
from typing import Any, ClassVar

from torch import Tensor

from timecyclegan.losses import Losses
from timecyclegan.models.baselines.recyclegan_model import RecycleGANModel
from timecyclegan.models.mixins.seq_d_mixin import SeqDMixin
from timecyclegan.models.mixins.timecycle_mixin import TimeCycleMixin
from timecyclegan.models.parts import (
    SEQUENCES,
    WALK,
    add_sequence_discriminators,
    add_walk,
    sequence_arguments,
    walk_arguments,
    walks,
)
from timecyclegan.models.sequential.sequential_recyclegan import SequentialRecycleGAN
from timecyclegan.util.options import Options


class TimeCycleRecycleGAN(TimeCycleMixin, SeqDMixin, RecycleGANModel):
    """RecycleGAN, sequence discriminators and a TimeCycle for each domain, on clips that are translated whole.

    The networks of ``TimeCycleCycleGAN`` and RecycleGAN's predictors; all frames are judged and walked, since none is
    made of noise.
    """

    parts = (WALK, SEQUENCES)
    translates_last = True

    def __init__(self, options: Options, training: bool = True, **kwargs: Any):
        super().__init__(options, training, **walk_arguments(options), **sequence_arguments(options), **kwargs)
        if training:
            add_sequence_discriminators(self)
            for domain in self.domains:
                add_walk(self, domain, judges=[self.frame_judge(domain), *self.seq_Ds[domain].judges[:1]])

    @staticmethod
    def predicts_change(options: Options) -> bool:
        """A predictor that walks is a motion model."""
        return walks(options) and options.timecycle_type == "timerecycle" and options.timecycle_motion_model_residual

    def forward(self, source: Tensor, target: Tensor) -> dict[str, Tensor]:
        made = super().forward(source, target)
        ignored = self.n_frames_ignored()
        for domain, (fake, real, condition) in self.generated().items():
            if self.seq_Ds:
                self.set_seq_D_input(fake, real, seq_D_name=domain)
            if self.timecycles:
                self.timecycle_forward(fake, condition, ignored, domain, self.drawn.get("returns"))
                self.set_timecycle_discriminator_input(real, None, ignored, domain)
        return made

    def generator_losses(self) -> Losses:
        return {**super().generator_losses(), **self.seq_D_terms(), **self.timecycle_terms()}

    def discriminator_losses(self) -> Losses:
        return self.discriminator_terms([*self.gan_cases(), *self.seq_D_cases(), *self.timecycle_cases()])


class TimeCycleRecycleGANv2(TimeCycleRecycleGAN, SequentialRecycleGAN):
    """Recurrent RecycleGAN, sequence discriminators, and a TimeCycle that RecycleGAN's own predictors walk."""

    defaults: ClassVar = {"timecycle_type": "timerecycle"}
