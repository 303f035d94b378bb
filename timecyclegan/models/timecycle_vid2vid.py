"""TimeCycle on vid2vid."""
from typing import Any

from torch import Tensor

from timecyclegan.losses import Losses
from timecyclegan.models.baselines.vid2vid_model import Vid2VidModel
from timecyclegan.models.mixins.timecycle_mixin import TimeCycleMixin
from timecyclegan.models.parts import WALK, add_walk, walk_arguments
from timecyclegan.util.options import Options


class TimeCycleVid2Vid(TimeCycleMixin, Vid2VidModel):
    """vid2vid with a TimeCycle that its frame discriminator judges; the others ask for flow, which a walk has not."""

    parts = (WALK,)

    def __init__(self, options: Options, training: bool = True, **kwargs: Any):
        super().__init__(options, training, **walk_arguments(options), **kwargs)
        if training:
            add_walk(self, "target", judges=[self.frame_judge()])

    def forward(self, source: Tensor, target: Tensor | None = None, **flows: Tensor) -> Tensor:
        fake = super().forward(source, target, **flows)
        if self.timecycles:
            self.timecycle_forward(fake, source, ignore_first_n=1, returns=self.drawn.get("returns"))
            if target is not None:
                self.set_timecycle_discriminator_input(target, source, ignore_first_n=1)
        return fake

    def generator_losses(self) -> Losses:
        return {**super().generator_losses(), **self.timecycle_terms()}

    def discriminator_losses(self) -> Losses:
        return self.discriminator_terms([*self.gan_cases(), *self.seq_D_cases(), *self.timecycle_cases()])
