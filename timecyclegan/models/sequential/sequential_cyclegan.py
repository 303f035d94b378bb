"""CycleGAN with recurrent generators."""
from timecyclegan.models.baselines.cyclegan_model import CycleGANModel
from timecyclegan.models.sequential.sequential_mixin import SequentialModel


class SequentialCycleGAN(SequentialModel, CycleGANModel):
    """CycleGAN whose generators see their last outputs; whole clips go to the other domain and back."""
