"""RecycleGAN with recurrent generators."""
from timecyclegan.models.baselines.recyclegan_model import RecycleGANModel
from timecyclegan.models.sequential.sequential_mixin import SequentialModel


class SequentialRecycleGAN(SequentialModel, RecycleGANModel):
    """RecycleGAN whose generators see their last outputs.

    On the way back they begin with the first two translated frames and go on with the predicted ones.
    """
