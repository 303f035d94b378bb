"""The choices that losses offer, by name. Free of torch, so that the command line can list them at once."""
from dataclasses import dataclass

GAN_MODES = ("lsgan", "vanilla", "wgangp", "hinge")
DISTANCES = ("l1", "l2")
NORMS = ("instance", "batch")
CUDA_GRAPH = ("auto", "on", "off")
PRECISIONS = ("off", "bfloat16", "float16")  # of mixed precision
PIXELS = ("auto", "pictures", "labels", "flow")  # what the pixels of frames mean, see datasets.pixels


@dataclass(frozen=True)
class CycleType:
    """What a motion model sees (``history`` frames, with or without a condition) and whether the walk returns."""

    history: int
    conditional: bool
    returns: bool


CYCLE_TYPES = {
    "conditional": CycleType(history=1, conditional=True, returns=True),
    "unconditional": CycleType(history=2, conditional=False, returns=True),
    # The recurrent generator itself walks back, so there is no model that could return.
    "pingpong": CycleType(history=1, conditional=True, returns=False),
    # RecycleGAN's predictor walks both ways.
    "timerecycle": CycleType(history=2, conditional=False, returns=True),
}
