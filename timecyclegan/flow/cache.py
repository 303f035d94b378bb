"""Flow of frames on disk, computed once: for training, where the same pairs come every epoch."""
import contextlib
import functools
import hashlib
import itertools
import json
import zipfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from timecyclegan.flow import WITHOUT_WEIGHTS, FlowBackend, flow_backend
from timecyclegan.util.device import cores
from timecyclegan.util.errors import UserError
from timecyclegan.util.files import alone_in, replacing
from timecyclegan.util.logs import progress
from timecyclegan.util.names import user_path
from timecyclegan.util.options import path_text
from timecyclegan.util.signals import giving_way

BATCH = 8 * 256 * 256  # pixels whose flow is computed at a time

Pair = tuple[Path, Path]  # a frame and the one, before it, that the flow leads back to


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
        self._compute: FlowBackend | None = None  # each process has its own

    def flow(
        self, frame: Path, previous: Path, size: tuple[int, int], load: Callable[[Path], Tensor], nearest: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Flow (2, H, W) in pixels from ``frame`` back to ``previous``, and its confidence (1, H, W) in [0, 1].

        Args:
            size: (height, width) of what ``load`` gives, (3, height, width) in [-1, 1].
            nearest: whether it resizes to the nearest pixel, else smoothly.
        """
        path = self._file((frame, previous), size, nearest, _facts)
        # Where there is none, or it is damaged, it is computed.
        with contextlib.suppress(Exception), np.load(path, allow_pickle=False) as archive:
            return torch.from_numpy(archive["flow"]), torch.from_numpy(archive["confidence"])
        (found,) = self._make({(frame, previous): path}, map(load, (frame, previous)), torch.device("cpu"))
        return found

    def fill(self, pairs: Iterable[Pair], size: tuple[int, int], load: Callable[[Path], Tensor], nearest: bool,
             device: torch.device) -> None:  # fmt: skip
        """Compute what is missing, in batches, with a bar: networks on ``device``, where loading processes cannot.

        ``size``, ``load`` and ``nearest`` are those of :meth:`flow`; ``load`` is called in threads.

        Other processes that fill this folder wait, and find it filled. A signal that asks to leave ends it
        (``util.signals``).

        Raises:
            UserError: a frame cannot be read, or the folder cannot be written to.
        """
        facts = functools.cache(_facts)  # each frame is in two pairs
        files = {pair: self._file(pair, size, nearest, facts) for pair in pairs}

        def missing() -> list[tuple[Pair, Path]]:
            # The end of a file tells whether it is whole, without the rest of it.
            return [(pair, file) for pair, file in files.items() if not zipfile.is_zipfile(file)]

        if not missing():
            return
        with giving_way(), alone_in(self.folder), ThreadPoolExecutor(cores()) as pool:
            todo = missing()
            room = max(1, BATCH // (size[0] * size[1]))
            where = torch.device("cpu") if self.backend in WITHOUT_WEIGHTS else device
            with progress(len(todo), f"optical flow by {self.backend}", "pair") as advance:
                for begin in range(0, len(todo), room):
                    batch = dict(todo[begin : begin + room])
                    self._make(batch, pool.map(load, _frames(batch)), where)
                    advance(len(batch))
        self._compute = None  # its memory is for the training
        if where.type == "cuda":
            torch.cuda.empty_cache()

    def _file(self, pair: Pair, size: tuple[int, int], nearest: bool, facts: Callable[[Path], list]) -> Path:
        try:
            known = [facts(file) for file in (*pair, *([Path(self.weights)] if self.weights else []))]
        except OSError as error:
            raise UserError(f"cannot read {error.filename}: {error.strerror}") from error
        key = hashlib.sha256(json.dumps([known, [*size, *["nearest"] * nearest], self.backend]).encode()).hexdigest()
        return self.folder / key[:2] / f"{key}.npz"

    def _make(self, files: dict[Pair, Path], loaded: Iterable[Tensor], device: torch.device
              ) -> list[tuple[Tensor, Tensor]]:  # fmt: skip
        """Compute the flow of pairs, whose ``_frames`` are ``loaded``, write each to its file, and return them."""
        self._compute = self._compute or flow_backend(self.backend, self.weights)
        images = dict(zip(_frames(files), loaded, strict=True))
        pairs = (torch.stack([images[frame] for frame in side]).to(device) for side in zip(*files, strict=True))
        found = list(zip(*(x.float().cpu() for x in self._compute(*pairs)), strict=True))
        for path, (flow, confidence) in zip(files.values(), found, strict=True):
            with replacing(path) as temporary, open(temporary, "wb") as file:
                np.savez(file, flow=flow.numpy(), confidence=confidence.numpy())
        return found


def _frames(pairs: Iterable[Pair]) -> list[Path]:
    """Each frame once: most are in two pairs."""
    return list(dict.fromkeys(itertools.chain.from_iterable(pairs)))


def _facts(file: Path) -> list:
    """What tells a file, or a frame of one, from what it was before."""
    found = file.stat()
    return [str(file.resolve()), found.st_size, found.st_mtime_ns]
