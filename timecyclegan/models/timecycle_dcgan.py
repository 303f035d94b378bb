"""TimeCycleGAN for video from noise."""
from typing import ClassVar

from timecyclegan.models.mixins.timecycle_model import TimeCycleModel
from timecyclegan.models.sequential.sequential_dcgan import SequentialDCGAN


class TimeCycleDCGAN(TimeCycleModel, SequentialDCGAN):
    """TimeCycleGAN-U: recurrent DCGAN, sequence discriminators, and an unconditional TimeCycle."""

    defaults: ClassVar = {"timecycle_type": "unconditional"}
