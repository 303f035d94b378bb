"""The noise of a training sample is a function of (seed, epoch, index)."""
import itertools

import numpy as np
import torch

from timecyclegan.datasets.loading import make_loader
from timecyclegan.datasets.noise import NoisyDataset

SHAPES = {"fake": (2, 3, 8, 9), "code": (5,)}


class Numbers(torch.utils.data.Dataset):
    def __len__(self):
        return 7

    def __getitem__(self, key):
        return {"key": torch.tensor(key)}


def noise_of(key, seed=0):
    return NoisyDataset(Numbers(), SHAPES, seed)[key]["noise"]


def test_every_key_has_its_own():
    drawn = {key: noise_of(key[1:], key[0])["code"] for key in itertools.product((0, 1), (0, 1), (0, 1, 6))}
    for one, other in itertools.combinations(drawn.values(), 2):
        assert not torch.isin(one, other).any()
    again = noise_of((1, 6), 1)
    assert torch.equal(again["code"], drawn[1, 1, 6]) and again["fake"].shape == SHAPES["fake"]


def test_it_is_standard_normal():
    numbers = np.concatenate([noise_of((0, index))["fake"].numpy().ravel() for index in range(100)])
    n = len(numbers)
    assert abs(numbers.mean()) < 4 / n**0.5 and abs(numbers.var() - 1) < 4 * (2 / n) ** 0.5
    assert abs((np.abs(numbers) < 0.67449).mean() - 0.5) < 2 / n**0.5  # half of a normal distribution's


def test_neither_workers_nor_processes_nor_parts_change_it():
    def by_key(**arguments):
        found = {}
        for rank in range(arguments.get("ranks", 1)):
            loader = make_loader(NoisyDataset(Numbers(), SHAPES, 3), 3, seed=3,
                                 **{"threads": 0, **arguments, **({"rank": rank} if "ranks" in arguments else {})})
            for batch in loader:
                for key, code in zip(batch["key"].tolist(), batch["noise"]["code"], strict=True):
                    assert found.setdefault(tuple(key), code).equal(code)
        return found

    expected = {(0, index): noise_of((0, index), 3)["code"] for index in range(7)}
    for arguments in ({}, {"threads": 2}, {"ranks": 2}, {"ranks": 3, "parts": 2}):
        found = by_key(**arguments)
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[key], code) for key, code in expected.items())
