"""Paired clips with the flow of their target frames, kept on disk."""
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from timecyclegan.datasets.video_dataset import Key, PairedVideoDataset, View
from timecyclegan.flow.cache import FlowCache
from timecyclegan.video.frames import to_video


class FlowVideoDataset(Dataset):
    """The samples of a :class:`PairedVideoDataset`, and for each of ``strides`` the flow of the target clip.

    ``flow_S`` (T - S, 2, height, width) in pixels and ``confidence_S`` (T - S, 1, height, width): entry t leads from
    frame t + S back to frame t. The flow is that of whole frames, seen through the sample's view as the frames are:
    cropped, and where they are mirrored, mirrored with dx turned round. :meth:`prepare` computes it, by ``device``.
    """

    def __init__(self, dataset: PairedVideoDataset, cache: FlowCache, strides: list[int],
                 device: torch.device | None = None):  # fmt: skip
        self.dataset, self.cache, self.strides, self.device = dataset, cache, strides, device or torch.device("cpu")
        self.prepared = False
        self.warnings, self.names, self.sequences = dataset.warnings, dataset.names, dataset.sequences

    def __len__(self) -> int:
        return len(self.dataset)

    def prepare(self) -> None:
        """Decode frames, see :meth:`PairedVideoDataset.prepare`, and compute the flow of all pairs that clips show."""
        self.dataset.prepare()
        if self.prepared:
            return
        self.prepared = True
        clips = [frames for domain, frames in self.dataset.long_enough() if domain == "target"]
        pairs = (pair for frames in clips for stride in self.strides
                 for pair in zip(frames[stride:], frames, strict=False))  # fmt: skip
        self.cache.fill(pairs, *self._loading(), self.device)

    def __getitem__(self, key: Key) -> dict[str, Any]:
        sample = self.dataset[key]
        name, start, view = self.dataset.draw(key)
        targets = [target for _, target in self.dataset.pairs[name][start:start + self.dataset.clips.n_frames]]
        for stride in self.strides:
            pairs = [self._pair(*pair, view) for pair in zip(targets[stride:], targets, strict=False)]
            sample[f"flow_{stride}"], sample[f"confidence_{stride}"] = map(torch.stack, zip(*pairs, strict=True))
        return sample

    def _pair(self, frame: Path, previous: Path, view: View) -> tuple[Tensor, Tensor]:
        flow, confidence = (x[:, view.rows, view.columns] for x in self.cache.flow(frame, previous, *self._loading()))
        if not view.mirrored:
            return flow, confidence
        return flow.flip(-1) * torch.tensor([-1.0, 1.0]).view(2, 1, 1), confidence.flip(-1)

    def _loading(self) -> tuple[tuple[int, int], Callable[[Path], Tensor], bool]:
        """Of whole target frames: their size, what reads them, and whether they are resized to the nearest pixel."""
        framing, pixels = self.dataset.framing, self.dataset.pixels["target"]
        return ((framing.load_height, framing.load_width),
                lambda path: to_video(framing.whole(path, pixels)[None])[0], pixels == "labels")  # fmt: skip
