"""Checkpoints: a training run's whole state in one file, and weight files for each network.

``checkpoints/NAME`` holds ``options.json``, ``latest.pth`` (everything that a run needs to go on) and, for each saved
epoch, a ``<network>_<epoch>.pth`` with that network's parameters alone.
"""
from collections.abc import Iterable, Mapping
from pathlib import Path

from torch import nn

from timecyclegan.training import foreign, misfit
from timecyclegan.util import logs
from timecyclegan.util.errors import UserError, note
from timecyclegan.util.files import is_there
from timecyclegan.util.weights import load, without_wrappers

LATEST = "latest.pth"
OPTIONS = "options.json"
CHECKPOINTS = logs.CHECKPOINTS
AVERAGE = "ema_"  # before the name of a network whose averaged parameters they are

State, Parts = misfit.State, foreign.Parts


def read_networks(folder: Path, epoch: int = 0) -> Mapping[str, State | Parts]:
    """By network, its parameters in the newest checkpoint, or the weight files of an epoch, which are read when needed;
    and, where there are any, averaged ones by :data:`AVERAGE` and the network.

    A folder without ``latest.pth`` may hold what other programs saved, see ``training.foreign``.

    Raises:
        UserError: nothing to read, or it cannot be read.
    """
    if epoch or not is_there(folder / LATEST):
        return foreign.find(folder, epoch)
    content = load(folder / LATEST)
    if not isinstance(content, dict) or "networks" not in content:
        raise UserError(f"checkpoint {folder / LATEST} is not one of this program's")
    averages = content.get("model", {}).get("averages", {})
    return content["networks"] | {f"{AVERAGE}{name}": state for name, state in averages.items()}


def files_of(state: State | Parts) -> list[Path]:
    """Where parameters are to be read from; nowhere if they are there."""
    return [value for value in state.values() if isinstance(value, Path)]


def parameters(name: str, states: Mapping[str, State | Parts]) -> State:
    """Those of a network, none if it is not there; files are read, and announced if they are another program's.

    Raises:
        UserError: a file cannot be read, or holds no weights.
    """
    state = states.get(name, {})
    files = files_of(state)
    if not files:
        return without_wrappers(state)
    for path in files:
        if not (path.parent / LATEST).exists():
            print(f"{path} -> {name}")
    return foreign.read(state)


def _origin(name: str, states: Mapping[str, State | Parts], origin: object) -> object:
    files = files_of(states[name])
    return " and ".join(map(str, files)) if files else origin


def load_networks(
    networks: Mapping[str, nn.Module], states: Mapping[str, State | Parts], origin: Path, partly: bool = False
) -> None:
    """Give each of ``networks`` its parameters from ``states``, which came from ``origin``.

    Args:
        partly: networks that ``states`` lacks (another model's) begin anew, if any of the others is there.

    Raises:
        UserError: one is missing or does not fit; names the network, the parameter and both shapes.
    """
    missing = [name for name in networks if name not in states]
    if missing and (not partly or len(missing) == len(networks)):
        hint = ""
        if missing[0].startswith("generator") and any(name.startswith("generator") for name in states):
            hint = ("; choose the --model_type by it: paired models have one generator, unpaired ones generator_target "
                    "and, for the way back, generator_source; to do without that, give - for its folder")  # fmt: skip
        raise UserError(f"{origin} has no weights for {', '.join(missing)}; it has {', '.join(states) or 'none'}{hint}")
    for name, network in networks.items():
        if name in states:
            state = parameters(name, states)
            misfit.check_fit(name, state, network.state_dict(), _origin(name, states, origin))
            network.load_state_dict(state)
    if missing:
        note(f"{origin} has no weights for {', '.join(sorted(missing))}: begun anew")


def note_unused(networks: Iterable[str], states: Mapping[str, State | Parts]) -> None:
    """Say which files of another program are none of ``networks``."""
    files = [path for name, state in states.items() if name not in networks for path in files_of(state)]
    if files and not (files[0].parent / LATEST).exists():
        note(f"not used: {', '.join(map(str, files))}")


def transfer(networks: Mapping[str, nn.Module], states: Mapping[str, State | Parts]) -> None:
    """Give ``networks`` those parameters of ``states`` that still fit, for growing; print what is begun anew."""
    anew = []
    for name, network in networks.items():
        own, given = network.state_dict(), parameters(name, states)
        if given:
            misfit.check_norm(name, given, own, _origin(name, states, "the stage before"))
        kept = {key: given[key] for key, value in own.items() if key in given and given[key].shape == value.shape}
        network.load_state_dict({**own, **kept})
        if not kept:
            anew.append(f"{name}: all of it")
            continue
        for key in own.keys() - kept.keys():
            before = tuple(given[key].shape) if key in given else "absent"
            anew.append(f"{name}.{key}: {before} -> {tuple(own[key].shape)}")
    print("\n".join(f"begun anew in this stage: {line}" for line in sorted(anew)) or "all weights were kept")
