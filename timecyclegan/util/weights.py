"""Files of tensors and plain values. They are written under a temporary name, synced and renamed, so that a killed
process leaves whole files; they are read with ``weights_only=True``, so that they cannot run code."""
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from timecyclegan.util.errors import UserError, failed
from timecyclegan.util.files import replacing
from timecyclegan.util.names import expanded


def save(path: Path, content: Any) -> None:
    """Write tensors and plain values so that ``path`` is always whole."""
    # Given a file instead of its name, torch.save does not put the temporary name into the archive.
    with replacing(path, sync=True) as temporary, open(temporary, "wb") as file:
        try:
            torch.save(content, file)
        except RuntimeError as error:  # what its archive writer makes of a write that fails
            what, said = f"cannot write {path}", str(error).partition("\n")[0]
            raise failed(what, error, f"{what}: {said}") from error


def load(path: Path) -> Any:
    """Read what :func:`save` (or ``torch.save``) wrote, onto the CPU.

    Raises:
        UserError: the file is missing, cannot be read, is damaged, or holds anything but tensors and plain values.
    """
    try:
        return torch.load(expanded(path), map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise UserError(f"checkpoint {path} does not exist") from error
    except pickle.UnpicklingError as error:
        raise UserError(
            f"checkpoint {path} was refused: it is damaged, or holds objects that could run code instead of weights "
            "(save a network's state_dict(), not the network)"
        ) from error
    except Exception as error:  # zip, pickle, EOF and storage errors: what a damaged file raises is anyone's guess
        what = f"checkpoint {path} cannot be read"
        raise failed(what, error, f"{what}, it seems damaged ({type(error).__name__})") from error


# What wrappers put into the names of the parameters below them: nn.DataParallel and DistributedDataParallel,
# torch.compile, and activation checkpointing.
WRAPPERS = {"module", "_orig_mod", "_checkpoint_wrapped_module"}


def without_wrappers(state: Mapping[str, Any]) -> dict[str, Any]:
    """Values by their names without what wrappers put in front of them or amid them, in any order.

    Raises:
        UserError: two names become one.
    """
    found: dict[str, str] = {}
    for key in state:
        name = ".".join(part for part in key.split(".") if part not in WRAPPERS)
        if found.setdefault(name, key) != key:
            raise UserError(f"the parameters {found[name]} and {key} are both called {name}: expected one of them")
    return {name: state[key] for name, key in found.items()}
