"""Snapshots: the state of live objects is put back in place."""
import random

import numpy as np
import pytest
import torch
from torch import nn

from timecyclegan.util.snapshot import Snapshot


def test_snapshot_restores_in_place():
    inner = [1, 2]
    thing = {"list": inner, "set": {1}, "nested": ({"deep": torch.zeros(2)},)}
    tensor = thing["nested"][0]["deep"]
    snapshot = Snapshot(thing)
    inner.append(3)
    thing["set"].clear()
    tensor.fill_(float("nan"))
    thing["new"] = 1
    del thing["list"]
    snapshot.restore()
    assert thing.keys() == {"list", "set", "nested"} and thing["list"] is inner == [1, 2] and thing["set"] == {1}
    assert thing["nested"][0]["deep"] is tensor and tensor.tolist() == [0, 0]


def test_snapshot_keeps_gradients_with_their_identity():
    weight = torch.ones(2, requires_grad=True)
    weight.sum().backward()
    gradient = weight.grad
    snapshot = Snapshot([weight])
    (3 * weight).sum().backward()  # adds in place
    weight.requires_grad_(False)
    snapshot.restore()
    assert weight.grad is gradient and gradient.tolist() == [1, 1] and weight.requires_grad
    weight.grad = None
    snapshot.restore()
    assert weight.grad is gradient


def test_snapshot_of_tensors_that_lie_in_memory_in_other_ways():
    """Expanded, and sparse."""
    still, sparse = torch.arange(3.0), torch.eye(3).to_sparse()
    clip = still.view(1, 1, 3).expand(2, 4, 3)
    snapshot = Snapshot([clip, sparse])
    still.add_(1)
    sparse.mul_(2)
    snapshot.restore()
    assert still.tolist() == [0, 1, 2] and torch.equal(sparse.to_dense(), torch.eye(3))


def test_snapshot_of_a_tensor_written_with_a_history():
    average, weight = torch.zeros(2), torch.ones(2, requires_grad=True)
    snapshot = Snapshot([average])
    average.add_(weight)
    assert not average.is_leaf
    snapshot.restore()
    assert average.is_leaf and not average.requires_grad and average.tolist() == [0, 0]


def test_a_graph_survives_the_restoring():
    """Who was about to back-propagate can still do so."""
    weight = torch.ones(2, requires_grad=True)
    loss = (weight * weight).sum()
    snapshot = Snapshot([weight])
    snapshot.restore()
    loss.backward()
    assert weight.grad.tolist() == [2, 2]


def test_snapshot_ends_where_other_packages_begin():
    class Videos(torch.utils.data.Dataset):
        def __init__(self):
            self.frames = torch.zeros(3)

    data, itself = Videos(), {}
    itself["itself"] = itself
    snapshot = Snapshot([data, pytest, np, random.random, print, itself, lambda: data])
    assert snapshot.found(torch.Tensor) == []


def test_found_by_the_shortest_path():
    layer = nn.Linear(1, 1)
    network = nn.Sequential(nn.Sequential(layer))
    network.again = layer
    assert Snapshot(network).found(nn.Linear) == [("_modules.again", layer)]


def test_random_numbers_come_back():
    snapshot = Snapshot()
    first = torch.rand(3), np.random.rand(), random.random()
    torch.manual_seed(torch.initial_seed() + 1)
    snapshot.restore()
    assert torch.equal(first[0], torch.rand(3)) and first[1:] == (np.random.rand(), random.random())
