"""What makes a TimeCycleGAN of a model of ours: sequence discriminators, and a TimeCycle that all kinds judge."""
import dataclasses
from typing import Any

from torch import nn

from timecyclegan.losses import Losses
from timecyclegan.models.mixins.seq_d_mixin import SeqDModel
from timecyclegan.models.mixins.timecycle_mixin import TimeCycleMixin
from timecyclegan.models.networks import Architecture, define_generator, generator
from timecyclegan.util.choices import CYCLE_TYPES
from timecyclegan.util.errors import UserError
from timecyclegan.util.options import Options, TimeCycleOptions

MOTION_MODEL = "--timecycle_motion_model_architecture"


class TimeCycleModel(TimeCycleMixin, SeqDModel):
    """Sequence discriminators and a TimeCycle for every domain of a ``BaseModel``, by its options.

    The frame discriminator and the first sequence discriminator of a domain also judge the images of its walk. A
    recurrent generator makes the first frame from noise, so sequence discriminators and the walk leave it out.
    """

    sequences_judge_walk = True  # whether the first sequence discriminator judges the walk
    uses = frozenset(field.name for field in dataclasses.fields(TimeCycleOptions))

    def __init__(self, options: Options, training: bool = True, **kwargs: Any):
        own = {key: value for key, value in vars(options).items() if key.startswith("timecycle_")}
        super().__init__(options, training, timecycle_gan_mode=options.gan_mode, **own, **kwargs)
        if training and _walks(options):
            for domain in self.domains:
                self._define_timecycle_of(domain)

    def _define_timecycle_of(self, domain: str) -> None:
        """The cycle that the options describe, and who judges it."""
        kind = CYCLE_TYPES[self.timecycle_type]
        if self.timecycle_type == "pingpong":
            self.define_timecycle_pingpong(self.network("generator", domain), domain)
        elif self.timecycle_type == "timerecycle":
            seen = kind.history * self.channels
            self.define_timecycle(seen, self.channels, domain, motion_model=self.network("predictor", domain))
        else:
            seen = kind.history * self.channels + (self.condition_channels if kind.conditional else 0)
            self.define_timecycle(seen, self.channels, domain)
            self.add_network(f"timecycles.{domain}", self.timecycles[domain], role="G")
        frame_discriminator = self.network("discriminator", domain)
        self.add_timecycle_discriminator(
            frame_discriminator, timecycle_name=domain, conditional=self.discriminator_sees_condition
        )
        group = self.seq_Ds[domain]
        for network in group.networks[:1] if self.sequences_judge_walk else ():
            self.add_timecycle_discriminator(network, group.n_frames, timecycle_name=domain, conditional=False)

    def _build_motion_model(self, input_channels: int, output_channels: int) -> nn.Module:
        options = self.options
        return define_generator(
            options.timecycle_motion_model_architecture, input_channels, output_channels,
            options.timecycle_motion_model_filters, flag=MOTION_MODEL, size=options.image_height,
        )  # fmt: skip

    # ---- options

    @classmethod
    def further_networks(cls, options: Options) -> dict[str, Architecture]:
        networks = super().further_networks(options)
        if _walks(options) and options.timecycle_type in ("conditional", "unconditional"):
            networks[MOTION_MODEL] = generator(options.timecycle_motion_model_architecture, flag=MOTION_MODEL)
        return networks

    @classmethod
    def check(cls, options: Options, training: bool = True) -> None:
        """Refuse what this model cannot do, before anything is built."""
        cls._check_type(options)
        if training and _walks(options):
            walked = CYCLE_TYPES[options.timecycle_type].history + 1
            cls.check_clip_length(options, walked, f"--timecycle_type {options.timecycle_type}")
        super().check(options, training)

    @classmethod
    def _check_type(cls, options: Options) -> None:
        kind, frames = options.timecycle_type, options.n_frames_generator
        if lacking := cls._lacks(kind):
            known = " or ".join(known for known in CYCLE_TYPES if not cls._lacks(known))
            raise UserError(f"--timecycle_type {kind} needs {lacking}, which --model_type {options.model_type} does "
                            f"not have: use {known}")  # fmt: skip
        if kind == "pingpong" and frames != 1:
            raise UserError(f"--timecycle_type pingpong feeds the generator one frame: use --n_frames_generator 1, not "
                            f"{frames}")  # fmt: skip

    @classmethod
    def _lacks(cls, kind: str) -> str | None:
        """What a walk of this kind needs and the model does not have."""
        if CYCLE_TYPES[kind].conditional and not cls.condition_channels:
            return "a source"
        if kind == "timerecycle" and not cls.predicts:
            return "RecycleGAN's predictor"
        return "a recurrent generator" if kind == "pingpong" and not cls.recurrent else None

    # ---- every step

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        made = super().forward(*args, **kwargs)
        conditional = CYCLE_TYPES[self.timecycle_type].conditional
        judge_sees = self.discriminator_sees_condition
        for domain, (fake, real, condition) in self.generated().items():
            if domain in self.timecycles:
                ignored = self.n_frames_ignored()
                self.timecycle_forward(fake, condition if conditional else None, ignored, domain)
                if real is not None:
                    self.set_timecycle_discriminator_input(real, condition if judge_sees else None, ignored, domain)
        return made

    def generator_losses(self) -> Losses:
        return {**super().generator_losses(), **self.timecycle_terms()}

    def discriminator_losses(self) -> Losses:
        return {**super().discriminator_losses(), **self.timecycle_terms_D()}


def _walks(options: Options) -> bool:
    return bool(options.timecycle_loss_weight or options.timecycle_warp_loss_weight)
