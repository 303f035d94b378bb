"""Loading what a run has trained: its options, and the generating part of its model."""
import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

from timecyclegan.models import default_options, get_model, get_task
from timecyclegan.models.base_model import BaseModel
from timecyclegan.training import checkpoint
from timecyclegan.training.checkpoint import AVERAGE
from timecyclegan.util.device import pick_device
from timecyclegan.util.errors import UserError
from timecyclegan.util.files import is_there
from timecyclegan.util.names import look_alike, present
from timecyclegan.util.options import Options, RunOptions


def load_options(name: str, given: Mapping[str, Any] | None = None) -> Options:
    """The options that the run ``name`` was trained with, replaced by the ``given`` ones where they may change.

    Weights of other programs (``training.foreign``) come without: the given ones describe their model. So they do for a
    model type that is not trained. How training computed says nothing of how to translate: ``amp`` is "off" and
    ``cuda_graph`` "auto", ``ema`` 0 unless they are given.

    Raises:
        UserError: there is no such run, or an option would change the trained model (only ``RunOptions`` do not).
    """
    folder = present(checkpoint.CHECKPOINTS / name)
    given = {key: value for key, value in (given or {}).items() if value != "auto"}  # which is what the run has found
    path = folder / checkpoint.OPTIONS
    if not is_there(path):
        options = default_options(**given)
        foreign_weights = any(folder.glob("*.pth")) and not (folder / checkpoint.LATEST).exists()
        if not foreign_weights and get_task(options.model_type) != "other":
            runs = [run.name for run in checkpoint.CHECKPOINTS.glob("*/")]
            raise UserError(f"there is no run called {name}: {path.absolute()} does not exist; train it first"
                            + look_alike(name, runs))
        return options
    saved, free = Options.load(path), {field.name for field in dataclasses.fields(RunOptions)}
    for key, value in given.items():
        if key not in free and (made_with := getattr(saved, key)) != value:
            raise UserError(f"--{key} {value} contradicts the checkpoint, which was made with {made_with!r}")
    return dataclasses.replace(saved, **{"amp": "off", "cuda_graph": "auto", "ema": 0.0, **given})


def load_model(name: str, options: Options, epoch: int = 0, domains: Collection[str] | None = None) -> BaseModel:
    """The generating part of the run ``name`` with its newest weights or those of an epoch, on ``options.gpu``.

    Args:
        options: with ``ema``, it is the averaged weights that are loaded.
        domains: what it will generate, all by default; an unpaired model's other generator gets no weights.

    Raises:
        UserError: no such run or epoch, its weights do not fit ``options``, or there are no averaged ones.
    """
    folder = present(checkpoint.CHECKPOINTS / name)
    device = pick_device(options.gpu)
    model = get_model(options.model_type, options, training=False)
    states = checkpoint.read_networks(folder, epoch)
    idle = {model.name_in(domain, "generator") for domain in model.domains if domains and domain not in domains}
    networks = {key: network for key, network in model.networks().items() if key not in idle}
    if options.ema:
        averages = {key: states[f"{AVERAGE}{key}"] for key in networks if f"{AVERAGE}{key}" in states}
        if len(averages) < len(networks):
            of = f" of epoch {epoch}" if epoch else ""
            raise UserError(f"{folder} has no averaged weights{of}, which --ema asks for: train with --ema 0.999, or "
                            "leave it out here")
        states = averages
    checkpoint.load_networks(networks, states, folder)
    checkpoint.note_unused(networks, states)
    return model.to(device).eval()
