"""How to evaluate: what to compute, with which networks, on pictures of which size."""
from collections.abc import Collection
from dataclasses import dataclass

from timecyclegan.evaluation.flow import Estimator

FARNEBACK = Estimator()


@dataclass(frozen=True)
class Settings:
    """What an evaluation depends on besides its frames.

    Attributes:
        only: names of the metrics to compute; None: all that are defined by default.
        also: names of further ones, see :data:`~timecyclegan.evaluation.variants.VARIANTS`.
        require: names of metrics whose absence is an error.
        flow: what estimates optical flow.
        gpu: of networks; -1 is the CPU.
        fid_dims: which of Inception's features FID compares: 64, 192, 768 or 2048.
        resize: (height, width) to bring all frames to, bicubic, before anything is computed; None keeps their size.
        progress: show a bar on stderr.
    """
    only: Collection[str] | None = None
    also: Collection[str] = ()
    require: Collection[str] = ()
    flow: Estimator = FARNEBACK
    gpu: int = -1
    fid_dims: int = 2048
    resize: tuple[int, int] | None = None
    progress: bool = False
