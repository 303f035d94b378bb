"""Optical flow as a model type: nothing is trained, ``test.py`` draws the flow of any frames."""
from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor, nn

from timecyclegan.flow import check_backend, choose_backend, flow_backend
from timecyclegan.util.options import Options


class Flownet2Model(nn.Module):
    """Flow by the back end of ``--flow_backend``, FlowNet2 or another one; see ``timecyclegan.flow``.

    It has no losses and, as seen by a module, no parameters: the back end keeps its own.

    Raises:
        UserError: the back end's weights are missing or do not fit.
    """

    task = "other"
    default_block_size = 2
    defaults: ClassVar[Mapping[str, Any]] = {}
    uses = frozenset({"flow_backend", "flow_weights"})

    def __init__(self, options: Options, training: bool = False):
        super().__init__()
        self.options = options
        self.backend_name = choose_backend(options.flow_backend, options.flow_weights)
        self.backend = flow_backend(self.backend_name, options.flow_weights)

    @classmethod
    def check(cls, options: Options, training: bool = False) -> None:
        """Refuse a back end that does not exist."""
        check_backend(options.flow_backend, options.flow_weights)

    @classmethod
    def idle(cls, options: Options) -> dict[str, str]:
        """See ``BaseModel.idle``: what it knows has an effect."""
        return {}

    def forward(self, frame: Tensor, previous: Tensor) -> tuple[Tensor, Tensor]:
        """The flow (N, 2, H, W) in pixels from ``frame`` back to ``previous``, and its confidence (N, 1, H, W).

        Both frames are (N, 3, H, W) in [-1, 1]; the confidence is in [0, 1].
        """
        return self.backend(frame, previous)
