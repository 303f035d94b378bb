"""TimeCycleGAN for unpaired translation."""
from timecyclegan.models.mixins.timecycle_model import TimeCycleModel
from timecyclegan.models.sequential.sequential_cyclegan import SequentialCycleGAN


class TimeCycleCycleGAN(TimeCycleModel, SequentialCycleGAN):
    """TimeCycleGAN-UP: recurrent CycleGAN, sequence discriminators and a TimeCycle for each domain."""
