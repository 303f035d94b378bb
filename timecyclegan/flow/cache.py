"""Flow of frames on disk, computed once: for training, where the same pairs come every epoch."""
import contextlib
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from timecyclegan.flow import FlowBackend, flow_backend
from timecyclegan.util.errors import UserError
from timecyclegan.util.files import replacing
from timecyclegan.util.names import user_path
from timecyclegan.util.options import path_text


class FlowCache:
    """Flow of pairs of frame files, from ``folder`` where it is there, else computed and put there.

    A file's name is a hash of everything that the flow depends on: both frames' paths, sizes in bytes and times of
    change, the size that they are resized to, the back end and its weight file. Files are written under a temporary
    name and renamed, so any number of workers and processes may share a folder; one that is damaged is made anew.

    Args:
        folder: made when the first flow is written.
        backend: the name of a back end, not "auto".
        weights: its weight file, or "".
    """

    def __init__(self, folder: str | Path, backend: str, weights: str = ""):
        self.folder, self.backend, self.weights = user_path(folder), backend, path_text(weights)
        self._compute: FlowBackend | None = None  # each worker has its own

    def flow(
        self, frame: Path, previous: Path, size: tuple[int, int], load: Callable[[Path], Tensor], nearest: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Flow (2, H, W) in pixels from ``frame`` back to ``previous``, and its confidence (1, H, W) in [0, 1].

        Args:
            size: (height, width) of what ``load`` gives, (3, height, width) in [-1, 1].
            nearest: whether it resizes to the nearest pixel, else smoothly.
        """
        files = [frame, previous, *([Path(self.weights)] if self.weights else [])]
        try:
            facts = [[str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns] for file in files]
        except OSError as error:
            raise UserError(f"cannot read {error.filename}: {error.strerror}") from error
        key = hashlib.sha256(json.dumps([facts, [*size, *["nearest"] * nearest], self.backend]).encode()).hexdigest()
        path = self.folder / key[:2] / f"{key}.npz"
        # Where there is none, or it is damaged, it is computed.
        with contextlib.suppress(Exception), np.load(path, allow_pickle=False) as archive:
            return torch.from_numpy(archive["flow"]), torch.from_numpy(archive["confidence"])
        self._compute = self._compute or flow_backend(self.backend, self.weights)
        flow, confidence = (x[0].float() for x in self._compute(load(frame)[None], load(previous)[None]))
        with replacing(path) as temporary, open(temporary, "wb") as file:
            np.savez(file, flow=flow.numpy(), confidence=confidence.numpy())
        return flow, confidence
