"""Checkpoints: a training run's whole state in one file, and weight files for each network.

``checkpoints/NAME`` holds ``options.json``, ``latest.pth`` (everything that a run needs to go on) and, for each saved
epoch, a ``<network>_<epoch>.pth`` with that network's parameters alone.
"""
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from timecyclegan.training import foreign, misfit
from timecyclegan.util.errors import UserError
from timecyclegan.util.weights import load

LATEST = "latest.pth"
OPTIONS = "options.json"
CHECKPOINTS = Path("checkpoints")

State = misfit.State


def read_networks(folder: Path, epoch: int = 0) -> Mapping[str, State]:
    """Parameters by network, of an epoch's weight files or (epoch 0) of the newest checkpoint.

    A folder without ``latest.pth`` may hold what other programs saved, see ``training.foreign``.

    Raises:
        UserError: nothing to read, or it cannot be read.
    """
    own = (folder / LATEST).exists()
    if epoch or not own:
        return foreign.Weights(folder, epoch, announce=not own)
    content = load(folder / LATEST)
    if not isinstance(content, dict) or "networks" not in content:
        raise UserError(f"checkpoint {folder / LATEST} is not one of this program's")
    return content["networks"]


def load_networks(networks: Mapping[str, nn.Module], states: Mapping[str, State], origin: Path) -> None:
    """Give each of ``networks`` its parameters from ``states``.

    Raises:
        UserError: one is missing or does not fit; names the network, the parameter and both shapes.
    """
    for name, network in networks.items():
        if name not in states:
            hint = misfit.lacking(name, states)
            raise UserError(f"{origin} has no weights for {name}; it has {', '.join(states) or 'none'}{hint}")
        state = states[name]
        where = states.origin(name) if isinstance(states, foreign.Weights) else origin
        misfit.check_fit(name, state, network.state_dict(), where)
        network.load_state_dict(state)


def load_initial(networks: Mapping[str, nn.Module], states: Mapping[str, State], origin: Path) -> None:
    """Give ``networks`` the weights to begin with; those that ``states`` lacks (another model's) begin anew.

    Raises:
        UserError: weights that do not fit, or none for any of the networks.
    """
    given = {name: network for name, network in networks.items() if name in states}
    if not given:
        hint = misfit.lacking(next(iter(networks)), states)
        raise UserError(f"{origin} has weights for {', '.join(states)}, none for {', '.join(networks)}{hint}")
    load_networks(given, states, origin)
    if anew := networks.keys() - given.keys():
        print(f"note: {origin} has no weights for {', '.join(sorted(anew))}: begun anew")


def transfer(networks: Mapping[str, nn.Module], states: Mapping[str, State]) -> list[str]:
    """Give ``networks`` those parameters of ``states`` that still fit; for growing.

    Returns:
        What was begun anew, one line each; empty if everything fitted.
    """
    anew = []
    for name, network in networks.items():
        own, given = network.state_dict(), states.get(name, {})
        kept = {key: given[key] for key, value in own.items() if key in given and given[key].shape == value.shape}
        network.load_state_dict({**own, **kept})
        if not kept:
            anew.append(f"{name}: all of it")
            continue
        for key in own.keys() - kept.keys():
            before = tuple(given[key].shape) if key in given else "absent"
            anew.append(f"{name}.{key}: {before} -> {tuple(own[key].shape)}")
    return sorted(anew)


def seed_random(seed: int) -> None:
    """Seed all global random generators."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


def random_state() -> dict[str, Any]:
    """The states of all global random generators, as tensors and plain values."""
    kind, keys, *rest = np.random.get_state()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [kind, keys.tolist(), *rest],
        "python": random.getstate(),
    }


def set_random_state(state: Mapping[str, Any]) -> None:
    """Put back what :func:`random_state` returned; GPUs that are not there now are left out."""
    torch.set_rng_state(state["torch"])
    for device, value in list(enumerate(state["cuda"]))[: torch.cuda.device_count()]:
        torch.cuda.set_rng_state(value, device)
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, np.array(keys, dtype=np.uint32), *rest))
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
