"""What surrounds a training run: one process for a name, logs that cannot be written, weights that are no numbers."""
import contextlib
import fcntl
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from timecyclegan.models.base_model import NonFiniteLoss
from timecyclegan.util.errors import UserError


@contextlib.contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Two processes that train into one ``folder`` would overwrite each other's checkpoints.

    Raises:
        UserError: another process is inside this block for the same folder, or the lock cannot be written.
    """
    lock = folder.parent / f".{folder.name}.lock"
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        file = open(lock, "w")  # noqa: SIM115 (closed below)
    except OSError as error:
        raise UserError(f"cannot write {lock.absolute()}: {error.strerror}; run in another folder") from error
    with file:
        try:
            # A record lock: it ends with this process, even if data workers outlive it for a moment.
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UserError(f"another process is training {folder.name} at this moment") from error
        # The file stays: removing it would let a third process lock a new one while a second still opens this.
        yield


@contextlib.contextmanager
def log_errors(folder: Path) -> Iterator[None]:
    """What TensorBoard raises when its files in ``folder`` cannot be written, as an error of the user's.

    Its writing thread raises first, and prints a traceback; then the call that finds the thread dead raises.
    """
    printed = threading.excepthook

    def quiet(args: Any) -> None:
        if not issubclass(args.exc_type, OSError):
            printed(args)

    threading.excepthook = quiet
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot write the logs in {folder}: {error.strerror or error}; is the disk full?") from error
    finally:
        threading.excepthook = printed


def check_finite(networks: Mapping[str, nn.Module]) -> None:
    """A finite loss can have an infinite gradient: such weights must not replace the last good checkpoint.

    Raises:
        NonFiniteLoss: a parameter is infinite or not a number.
    """
    for name, network in networks.items():
        if not all(value.isfinite().all() for value in network.state_dict().values()):
            raise NonFiniteLoss(f"the weights of {name} became infinite or not a number")
