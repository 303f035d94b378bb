"""pix2pix with a recurrent generator."""
from timecyclegan.models.baselines.pix2pix_model import Pix2PixModel
from timecyclegan.models.sequential.sequential_mixin import SequentialModel


class SequentialPix2Pix(SequentialModel, Pix2PixModel):
    """Pix2Pix whose generator sees its last outputs; the discriminator still judges every frame on its own."""
