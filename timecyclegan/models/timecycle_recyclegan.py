"""TimeCycle on RecycleGAN."""
from typing import ClassVar

from timecyclegan.models.baselines.recyclegan_model import RecycleGANModel
from timecyclegan.models.mixins.timecycle_model import TimeCycleModel
from timecyclegan.models.sequential.sequential_recyclegan import SequentialRecycleGAN


class TimeCycleRecycleGAN(TimeCycleModel, RecycleGANModel):
    """RecycleGAN, sequence discriminators and a TimeCycle for each domain, on clips that are translated whole."""

    translates_last = True


class TimeCycleRecycleGANv2(TimeCycleModel, SequentialRecycleGAN):
    """Recurrent RecycleGAN, sequence discriminators, and a TimeCycle that RecycleGAN's own predictors walk."""

    translates_last = True
    defaults: ClassVar = {"timecycle_type": "timerecycle"}
