"""Going on with a run, or beginning with another one's weights: what must agree, and what is said where it does not."""
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from timecyclegan.training import checkpoint, fitting
from timecyclegan.util.errors import UserError
from timecyclegan.util.options import Options
from timecyclegan.util.weights import load

# What may change when a run is resumed: where and how it runs and reports, and how long it goes on.
RESUMABLE = {
    "gpu", "threads", "num_epochs", "log_every", "log_images_every", "save_every", "save_minutes",
}  # fmt: skip


# What ``latest.pth`` holds; older ones have no "model", which only some models need.
STATE = {"options", "position", "data", "networks", "optimizers", "scaler", "random"}


def find_run(folder: Path, options: Options, resume: bool, overwrite: bool, growing: bool) -> dict[str, Any] | None:
    """The state of the run in ``folder`` to go on from, None to begin.

    Raises:
        UserError: there is a run, and neither to go on with it nor to lose it was asked for; or see :func:`read_run`.
    """
    if resume and overwrite:
        raise UserError("--resume goes on with a run and --overwrite loses it: give one of them")
    if resume and (folder / checkpoint.LATEST).exists():
        return read_run(folder, options, growing)
    weights = any(folder.glob("*.pth"))
    if weights and not overwrite and not (folder / checkpoint.OPTIONS).exists():
        raise UserError(
            f"{folder} holds weights that are not of a run of this program: begin from them under another name, "
            f"with --init_checkpoint_dir {folder}"
        )
    if weights and not overwrite and not resume:
        raise UserError(f"{folder} exists: go on with --resume, choose another name, or lose it with --overwrite")
    if resume:
        print(f"note: there is no checkpoint of {folder.name} to go on from: beginning")
    return None


def read_run(folder: Path, options: Options, growing: bool) -> dict[str, Any]:
    """The state of the run in ``folder``, to go on with ``options``.

    Raises:
        UserError: it cannot be read, or was begun with options that contradict these; names the first.
    """
    path = folder / checkpoint.LATEST
    saved = load(path)
    if not isinstance(saved, dict) or not saved.keys() >= STATE:
        raise UserError(f"checkpoint {path} is not one of this program's")
    before, now = Options.from_dict(saved["options"]).to_dict(), options.to_dict()
    for key, value in now.items():
        if value != before[key] and key not in RESUMABLE:
            raise UserError(
                f"--{key} {value} contradicts the run to resume, which has {before[key]}; leave the flag out, or "
                "train under another name"
            )
    if growing and now["num_epochs"] != before["num_epochs"]:
        raise UserError(f"--num_epochs of a growing run cannot change, it has {before['num_epochs']}")
    return saved


def describe_data(names: list, source: Path | None, target: Path) -> dict[str, str]:
    """What tells the data of a run from other data: the names of all frames, and the folders."""
    digest = hashlib.sha256(json.dumps(names).encode()).hexdigest()
    return {"digest": digest, "source": str(source.resolve()) if source else "", "target": str(target.resolve())}


def check_data(saved: Mapping[str, str], now: Mapping[str, str], folder: Path) -> None:
    """Resuming must see the same frames; other folders are fine if they hold sequences of the same names.

    Raises:
        UserError: frames of other names, or source and target swapped.
    """
    folders, before = (now["source"], now["target"]), (saved["source"], saved["target"])
    known = " and ".join(filter(None, before))
    if now["digest"] != saved["digest"] or folders == before[::-1] != before:
        raise UserError(
            f"the data changed: the run to resume was trained on other sequences, those of {known} as they were; "
            f"restore them, or begin anew with --init_checkpoint_dir {folder}"
        )
    if folders != before:
        print(f"note: the run was begun with {known}")


def load_initial(networks: Mapping[str, nn.Module], states: Mapping[str, checkpoint.State], origin: Path) -> None:
    """Give ``networks`` the weights to begin with; those that ``states`` lacks (another model's) begin anew.

    Raises:
        UserError: weights that do not fit, or none for any of the networks.
    """
    given = {name: network for name, network in networks.items() if name in states}
    if not given:
        hint = fitting.lacking(next(iter(networks)), states)
        raise UserError(f"{origin} has weights for {', '.join(states)}, none for {', '.join(networks)}{hint}")
    checkpoint.load_networks(given, states, origin)
    if anew := networks.keys() - given.keys():
        print(f"note: {origin} has no weights for {', '.join(sorted(anew))}: begun anew")
