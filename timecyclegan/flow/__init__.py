"""Optical flow of two frames, from any of several back ends.

A back end is a callable ``(frame, previous) -> (flow, confidence)``: from two batches (N, 3, H, W) in [-1, 1] it gives
the flow (N, 2, H, W), in pixels, that leads from ``frame`` back to ``previous``, and how far it can be trusted,
(N, 1, H, W) in [0, 1]. It computes where its inputs are, or hands the flow back to there. Those of :data:`BACKENDS`
have their weight file as ``file``, None where there are no weights.
"""
import importlib
from collections.abc import Callable

from torch import Tensor

from timecyclegan.losses.warp import warp
from timecyclegan.util.errors import UserError, note, unknown
from timecyclegan.util.hub import hub_file, sha256
from timecyclegan.util.options import path_text

FlowBackend = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]

# name: (module, class). A class takes the path of a weight file, "" for where it is looked for by default.
BACKENDS = {
    "farneback": ("timecyclegan.flow.opencv", "Farneback"),
    "dis": ("timecyclegan.flow.opencv", "DIS"),
    "raft": ("timecyclegan.flow.networks", "RaftLarge"),
    "raft_small": ("timecyclegan.flow.networks", "RaftSmall"),
    "flownet2": ("timecyclegan.flow.networks", "FlowNet2Flow"),
}
WITHOUT_WEIGHTS = ("farneback", "dis")
TOLERANCE = 0.02  # of FlowNet2's wrapper: squared difference, summed over the channels of pictures in [-1, 1]


def check_backend(name: str, weights: str = "", option: str = "flow") -> None:
    """Refuse names that do not exist, and weights for what has none.

    Args:
        option: what errors call the two flags, ``--<option>_backend`` and ``--<option>_weights``.

    Raises:
        UserError: see there; the nearest name is suggested.
    """
    if name not in ("auto", *BACKENDS):
        raise unknown(f"--{option}_backend", name, ("auto", *BACKENDS))
    if weights and name in WITHOUT_WEIGHTS:
        raise UserError(f"--{option}_weights {weights}: --{option}_backend {name} has no weights; leave the flag out")


def choose_backend(name: str, weights: str = "", tell: bool = True) -> str:
    """The name of a back end; for "auto" FlowNet2, where its file is found, else Farneback, and says which if ``tell``.

    Raises:
        UserError: see :func:`check_backend`.
    """
    check_backend(name, weights)
    if name != "auto":
        return name
    from timecyclegan.models.networks.flownet2_pytorch.checkpoint import NAME

    chosen, instead = "flownet2", ""
    if not (weights or hub_file(NAME).exists()):
        chosen, instead = "farneback", f"; FlowNet2 would be taken if there were {hub_file(NAME)}"
    if tell:
        note(f"optical flow by {chosen}{instead}")
    return chosen


def flow_backend(name: str, weights: str = "") -> FlowBackend:
    """The back end called ``name``, or the one that "auto" chooses.

    Args:
        weights: its weight file; where "", the torch hub cache is looked into.

    Raises:
        UserError: see :func:`check_backend`; or its weights are missing or do not fit (says where to get them).
    """
    weights = path_text(weights)
    module, attribute = BACKENDS[choose_backend(name, weights)]
    return getattr(importlib.import_module(module), attribute)(weights)


def describe(name: str, backend: FlowBackend) -> dict[str, str | None]:
    """What computes the flow, to stand beside all that is made with it: its name, its weight file and the SHA-256."""
    digest = None if backend.file is None else sha256(backend.file)
    return {"flow_backend": name, "flow_weights": backend.file and str(backend.file), "flow_weights_sha256": digest}


def photometric_confidence(frame: Tensor, previous: Tensor, flow: Tensor) -> Tensor:
    """1 where ``previous``, warped by the flow, looks like ``frame``, else 0; (N, 1, H, W).

    The rule of FlowNet2's wrapper in vid2vid (Wang et al. 2018).
    """
    squared = (frame - warp(previous, flow)).square().sum(dim=1, keepdim=True)
    return (squared < TOLERANCE).to(frame.dtype)
