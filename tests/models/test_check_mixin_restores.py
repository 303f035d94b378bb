"""check_mixin leaves a GAN as it was, bit for bit, whatever its step does and however it ends."""
import random
from collections import deque

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils import _pytree as tree

from tests.example_gans import EXAMPLES, example
from timecyclegan import check_mixin
from timecyclegan.util.snapshot import Snapshot

EACH = pytest.mark.parametrize("name", EXAMPLES)


def parts(one):
    """All that an example holds: attributes of its class, or of its script."""
    found = {**vars(one.module), **(vars(one.gan) if one.gan is not None else {})}
    return {key: value for key, value in found.items() if not key.startswith("__")}


def state(one):
    """Everything that a step changes, as bytes and plain values."""
    found = {"torch": torch.get_rng_state(), "numpy": str(np.random.get_state()), "python": random.getstate()}
    for key, value in [*parts(one).items(), ("gan", one.gan)]:
        if isinstance(value, nn.Module):
            found[f"{key} networks"] = value.state_dict()
            found[f"{key} modes"] = [module.training for module in value.modules()]
            found[f"{key} learning"] = [parameter.requires_grad for parameter in value.parameters()]
            found[f"{key} gradients"] = [parameter.grad for parameter in value.parameters()]
        elif isinstance(value, torch.optim.Optimizer):
            found[key] = value.state_dict()
        elif isinstance(value, torch.optim.lr_scheduler.LRScheduler):
            found[key] = {name: item for name, item in value.state_dict().items() if not callable(item)}
    return tree.tree_map_only(torch.Tensor, lambda t: (t.dtype, t.shape, t.numpy(force=True).tobytes()), found)


def trained(name, *changes):
    """An example that has made a step, so that optimizers and gradients are not empty."""
    one = example(name, *changes)
    torch.manual_seed(1)
    batch = one.batch()
    one.make_step(batch)
    return one, batch


@EACH
def test_nothing_is_changed(name):
    one, batch = trained(name)
    before, kept = state(one), tree.tree_map(torch.clone, batch)
    held = {key: id(value) for key, value in parts(one).items()}
    random_numbers = np.random.get_state()[1].copy()
    assert check_mixin(one.gan, batch, one.step, verbose=False) == []
    assert state(one) == before and (np.random.get_state()[1] == random_numbers).all()
    assert held == {key: id(value) for key, value in parts(one).items()}
    assert tree.tree_all(lambda same: same, tree.tree_map(torch.equal, batch, kept))
    one.make_step(batch)
    assert state(one) != before  # the comparison would see a step


@EACH
def test_training_goes_on_as_if_it_had_not_been_checked(name):
    ends = []
    for checked in (False, True):
        one, batch = trained(name)
        if checked:
            check_mixin(one.gan, batch, one.step, verbose=False)
        for _ in range(2):
            one.make_step(batch)
        ends.append(state(one))
    assert ends[0] == ends[1]


@EACH
def test_nothing_is_changed_before_the_first_step(name):
    one = example(name)
    batch = one.batch()
    before, held = state(one), set(parts(one))
    assert check_mixin(one.gan, batch, one.step, verbose=False) == []
    assert state(one) == before and set(parts(one)) == held


FAILING = {
    "plain_class": ("10 * (self.fake", "10 / 0 * (self.fake"),
    "separate_steps": ("self.optimizer_D.step()", "self.optimizer_D.step(); raise KeyError"),
    "dcgan_script": ("    optimizerG.step()\n", "    optimizerG.step(); raise KeyError\n"),
    "pix2pix_style": ("self.optimizer_D.step()", "self.optimizer_D.step(); raise KeyError"),
    "lightning_style": ("optimizer_D.step()", "optimizer_D.step(); raise KeyError"),
}


@EACH
def test_nothing_is_changed_by_a_step_that_fails(name):
    one = example(name, FAILING[name])
    batch = one.batch()
    before = state(one)
    assert [finding.name for finding in check_mixin(one.gan, batch, one.step, verbose=False)] == ["the step failed"]
    assert state(one) == before


class Busy(nn.Module):
    """Its step changes about everything that a step can change."""

    def __init__(self, like):
        super().__init__()
        self.like = like
        self.norm = nn.BatchNorm2d(3)
        self.register_buffer("mean", torch.zeros(3))
        self.pool, self.recent, self.counts, self.seen = [], deque(maxlen=2), {"steps": 0}, {1}
        self.noise = torch.Generator().manual_seed(3)
        self.steps = 0
        self.scheduler = torch.optim.lr_scheduler.ExponentialLR(like.optimizer_G, 0.5)

    def train_step(self, batch):
        self.like.train_step(*batch)
        self.eval()
        self.train()
        self.norm.eval().requires_grad_(False)
        self.mean = self.mean * 0.9 + self.norm(batch[1][:, 0]).mean((0, 2, 3))
        self.norm.weight.data.mul_(2)
        self.norm.weight.grad = torch.ones(3)
        self.pool.append(batch[1].clone())
        self.pool[0].mul_(2)
        self.recent.append(self.steps)
        self.counts["steps"] += 1
        self.counts["more"] = 1
        self.seen.add(2)
        self.steps += 1
        self.new = 1
        torch.rand(1, generator=self.noise)
        np.random.rand()
        random.random()
        torch.rand(1)
        batch[0].zero_()
        self.scheduler.step()
        self.like.optimizer_G = None


def test_what_else_a_step_changes():
    one = example("plain_class")
    busy, batch = Busy(one.gan), one.batch()
    for _ in range(2):
        optimizer = one.gan.optimizer_G
        busy.train_step(one.batch())
        one.gan.optimizer_G = optimizer

    def everything():
        plain = {key: value for key, value in vars(busy).items() if isinstance(value, (int, dict, set, list, deque))
                 and not key.startswith("_")}  # fmt: skip
        return [*tree.tree_map_only(torch.Tensor, torch.Tensor.tolist, [plain, batch, list(busy.pool)]),
                busy.noise.get_state().tolist(), busy.scheduler.state_dict(), busy.norm.weight.grad.tolist(),
                busy.norm.training, busy.norm.weight.requires_grad, busy.mean.tolist(), str(busy.state_dict()),
                str(optimizer.state_dict()), one.gan.optimizer_G is optimizer]  # fmt: skip

    del busy.new
    before, numbers = everything(), state(one)
    assert check_mixin(busy, batch, verbose=False) == []
    assert everything() == before and state(one) == numbers and not hasattr(busy, "new")


# ---- the snapshot itself


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
