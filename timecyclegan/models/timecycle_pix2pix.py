"""TimeCycleGAN for paired translation."""
from timecyclegan.models.mixins.timecycle_model import TimeCycleModel
from timecyclegan.models.mixins.warp_loss_mixin import WarpLossModel
from timecyclegan.models.sequential.sequential_pix2pix import SequentialPix2Pix


class TimeCyclePix2Pix(TimeCycleModel, SequentialPix2Pix):
    """TimeCycleGAN-P: recurrent pix2pix, sequence discriminators, and TimeCycle judged by both kinds of them."""


class TimeCyclePix2PixWarp(WarpLossModel, TimeCyclePix2Pix):
    """TimeCycleGAN-P++: P with a warp loss by optical flow."""
