"""The noise that training samples come with."""
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from timecyclegan.datasets.video_dataset import Key


class NoisyDataset(Dataset):
    """The samples of a ``dataset``, each with the N(0, 1) numbers that a training step on it begins from.

    ``dataset[epoch, index]["noise"]`` has, by name, float32 tensors of the given ``shapes``: a function of (seed,
    epoch, index), so that they are the same for any number of workers, processes and devices.
    """

    def __init__(self, dataset: Dataset, shapes: Mapping[str, tuple[int, ...]], seed: int):
        self.dataset, self.shapes, self.seed = dataset, shapes, seed

    def __len__(self) -> int:
        return len(self.dataset)

    def prepare(self) -> None:
        """What the dataset has to do before the first epoch, if anything, see :meth:`VideoDataset.prepare`."""
        getattr(self.dataset, "prepare", lambda: None)()

    def __getitem__(self, key: Key) -> dict[str, Any]:
        # The spawn key keeps this stream apart from those of the samples and of their order.
        rng = np.random.default_rng(np.random.SeedSequence([self.seed, *key], spawn_key=(3,)))
        noise = {name: rng.standard_normal(shape, dtype=np.float32) for name, shape in self.shapes.items()}
        return {**self.dataset[key], "noise": {name: torch.from_numpy(drawn) for name, drawn in noise.items()}}
