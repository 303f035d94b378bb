"""A training run small enough for tests, and ways to interrupt it."""
from pathlib import Path

import numpy as np
import pytest
import torch

from timecyclegan.models import MODELS, default_options, model_class
from timecyclegan.training import checkpoint, loop
from timecyclegan.training.run import Run
from timecyclegan.util.errors import UserError
from timecyclegan.util.options import Options
from timecyclegan.util.weights import load
from timecyclegan.video.frames import write_image

# Between them these have every part of the other model types, which are slow tests.
_EVERY_PART = {"dcgan", "pix2pix", "timecyclep2", "tricyclegan", "timecycledcgan", "timecyclevid2vid",
               "timerecycleganv2"}  # fmt: skip
EACH_MODEL = [pytest.param(name, marks=[pytest.mark.slow] * (name not in _EVERY_PART)) for name in MODELS]

TINY = {
    "image_height": 12, "image_width": 20, "generator_architecture": "resnet_1blocks", "generator_filters": 2,
    "discriminator_architecture": "pixel", "discriminator_filters": 2, "timecycle_motion_model_filters": 2,
    "block_size": 3, "threads": 0, "num_epochs": 2, "log_every": 1, "gpu": -1, "l1_loss_weight": 10.0,
}  # fmt: skip
P = {"model_type": "timecycle", "timecycle_loss_weight": 5.0, "timecycle_warp_loss_weight": 1.0}


def given(model_type, **changes):
    """What to give beside the defaults for a small model of this type, with every loss that it knows switched on."""
    kind = model_class(model_type)
    size = (64, 64) if kind.task == "unconditional" else (TINY["image_height"], TINY["image_width"])  # DCGANs need it
    options = {**TINY, "model_type": model_type, "image_height": size[0], "image_width": size[1], "block_size": 0,
               "recycle_predictor_architecture": "resnet_1blocks", "recycle_predictor_filters": 2, "pool_size": 2,
               **{name: 2.0 for name in kind.uses if name.endswith("_weight") and name != "perceptual_loss_weight"},
               }  # fmt: skip
    unwanted = kind.defaults.keys() | ({"l1_loss_weight"} - kind.uses)
    return {key: value for key, value in options.items() if key not in unwanted} | changes


def small(model_type, **changes):
    """All options of :func:`given`."""
    return vars(default_options(**given(model_type, **changes)))


class Killed(BaseException):
    """Stands for SIGKILL: nothing in the program catches it."""


def write_data(root, lengths=(8, 8), height=12, width=20, seed=0):
    """ROOT/source and ROOT/target: noise, a sequence for each of ``lengths``."""
    rng = np.random.default_rng(seed)
    for side in ("source", "target"):
        for sequence, length in enumerate(lengths):
            for t in range(length):
                image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
                write_image(Path(root) / side / f"s{sequence}" / f"{t}.png", image)
    return Path(root) / "source", Path(root) / "target"


def trainer(data, name="run", resume=False, overwrite=False, peers=None, **options):
    return Run(name, *data, Options(**{**TINY, **options}), resume, overwrite, peers)


def train(data, name="run", **options):
    return loop.train(trainer(data, name, **options))


def kill_at(monkeypatch, step, where="training_step"):
    """Let the process "die" at the ``step``-th call (from 1) of a method of Run or of its model."""
    from timecyclegan.models.base_model import BaseModel

    owner = BaseModel if hasattr(BaseModel, where) else Run
    original, calls = getattr(owner, where), iter(range(1, 10**6))

    def dying(self, *args, **kwargs):
        if next(calls) == step:
            raise Killed
        return original(self, *args, **kwargs)

    monkeypatch.setattr(owner, where, dying)


def killed(monkeypatch, data, step, where="training_step", **options):
    """Train until the ``step``-th call of ``where``."""
    with monkeypatch.context() as patch:
        kill_at(patch, step, where)
        with pytest.raises(Killed):
            train(data, **options)


def message(call, *args, **kwargs):
    with pytest.raises(UserError) as caught:
        call(*args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def same(a, b):
    """Equality of nested values, tensors bit for bit."""
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def weights(name):
    """The weight files of a run, by name, as bytes."""
    folder = checkpoint.CHECKPOINTS / name
    return {p.name: p.read_bytes() for p in folder.glob("*.pth") if p.name != checkpoint.LATEST}


def latest(name):
    return load(checkpoint.CHECKPOINTS / name / checkpoint.LATEST)


def stored(folder, name="generator", epoch=0):
    """The parameters of a network in a folder of weight files, read as a model's are."""
    return dict(checkpoint.parameters(name, checkpoint.read_networks(folder, epoch)))


def losses(name):
    return (Path("runs") / name / "losses.csv").read_text()


def assert_same_run(a, b):
    """Two runs ended in the same state and logged the same losses."""
    assert weights(a), "no weight files"
    assert weights(a) == weights(b)
    assert same(latest(a), latest(b))
    assert losses(a) == losses(b)
