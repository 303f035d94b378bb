"""Writing files so that a killed process never leaves half of one under its real name."""
import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from timecyclegan.util.errors import UserError
from timecyclegan.util.names import LONGEST, expanded, fitting

_SUFFIX = 16  # bytes; longer ones say nothing of a file's kind


@contextlib.contextmanager
def replacing(path: str | Path, sync: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it is renamed to ``path``, on failure removed.

    The temporary name keeps the suffix, so writers that choose a format by suffix work. With ``sync`` the
    bytes and the rename are on disk when the block ends (for what must survive a power cut).

    Raises:
        UserError: the folder cannot be made or written to, or the disk is full.
    """
    path = expanded(path)
    head, suffix = temporary_parts(path.name)
    temporary = path.with_name(f"{head}.{os.getpid()}.tmp{suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        if sync:
            _sync(temporary)
        os.replace(temporary, path)
        if sync:
            _sync(path.parent)
    except OSError as error:
        file = next((parent for parent in path.parents if os.path.isfile(parent)), None)
        reason = f"{file} is not a folder" if file else error.strerror or error
        raise UserError(f"cannot write {path}: {reason}") from error
    finally:
        with contextlib.suppress(OSError):  # must not hide what went wrong above
            temporary.unlink(missing_ok=True)


def temporary_parts(name: str) -> tuple[str, str]:
    """How the temporary name of a file of this name begins, and how it ends, see :func:`replacing`."""
    suffix = Path(name).suffix
    if len(os.fsencode(suffix)) > _SUFFIX:  # of no kind of file
        suffix = ""
    return fitting(f".{name.removesuffix(suffix)}", room=LONGEST - _SUFFIX - len(".4194304.tmp")), suffix


def write_json(path: str | Path, value: Any, sync: bool = False) -> None:
    """Write ``value`` as JSON, by :func:`replacing`; NaN and infinity, which JSON does not know, are a ValueError."""
    with replacing(path, sync) as temporary:
        temporary.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
