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


@pytest.mark.parametrize(("clears", "known"), [("optimizer", "gan"), ("network", "gan"), ("optimizer", "cycle")])
def test_an_optimizer_that_cannot_be_seen_from_the_gan(clears, known):
    """It shows itself when it clears gradients or makes a step; until then nothing has changed it."""
    one = example("separate_steps")
    hidden = torch.optim.SGD(one.gan.parameters(), lr=0.1, momentum=0.9)
    del one.gan.optimizer_G, one.gan.optimizer_D

    def inside(batch):
        {"optimizer": hidden, "network": one.gan}[clears].zero_grad()
        maps, real = (list(video.unbind(dim=1)) for video in batch)
        one.gan.fake = one.gan(maps)
        one.gan.timecycle_forward(one.gan.fake, maps)
        one.gan.set_timecycle_discriminator_input(real, maps)
        (one.gan.timecycle_backward() + one.gan.timecycle_backward_D()).backward()
        hidden.step()

    batch = one.batch()
    inside(batch)
    before, momentum = state(one), str(hidden.state_dict())
    assert check_mixin(getattr(one, known), batch, lambda batch: inside(batch), verbose=False) == []
    assert state(one) == before and str(hidden.state_dict()) == momentum
    inside(batch)
    assert str(hidden.state_dict()) != momentum
