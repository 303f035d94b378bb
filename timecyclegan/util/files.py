"""Writing files so that a killed process never leaves half of one under its real name."""
import contextlib
import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from timecyclegan.util.errors import UserError, failed, reason


@contextlib.contextmanager
def replacing(path: str | Path, sync: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it is renamed to ``path``, on failure removed.

    The temporary name keeps the suffix, so writers that choose a format by suffix work. With ``sync`` the
    bytes and the rename are on disk when the block ends (for what must survive a power cut).

    Raises:
        UserError: the folder cannot be made or written to, or the disk is full.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        with writing(path, temporary):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            if sync:
                _sync(temporary)
            os.replace(temporary, path)
            if sync:
                _sync(path.parent)
    finally:
        with contextlib.suppress(OSError):  # must not hide what went wrong above
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def writing(path: str | Path, temporary: Path | None = None) -> Iterator[None]:
    """Around what writes to ``path``, by way of ``temporary`` if that is given.

    Raises:
        UserError: the system refuses it, in its own words; names another file if it is that which failed.
    """
    path = Path(path)
    try:
        yield
    except (UserError, BrokenPipeError):  # the latter is of the terminal, or of a process
        raise
    except Exception as error:
        what, other = f"cannot write {path}", getattr(error, "filename", None)
        places = (path, *path.parents) if isinstance(error, FileExistsError) else path.parents
        above = next((place for place in places if os.path.lexists(place) and not os.path.isdir(place)), None)
        if above and isinstance(error, OSError):
            raise UserError(f"{what}: {above} is {'a link to no' if above.is_symlink() else 'not a'} folder") from error
        if not isinstance(error, OSError) and reason(error) is None:
            raise
        ours = {os.fspath(place) for place in (path, temporary or path, *path.parents)}
        if isinstance(other, (str, os.PathLike)) and os.fspath(other).removeprefix("file:") not in ours:
            what += f": {other}"  # what is copied, say
        raise failed(what, error, f"{what}: {error}") from error


def write_json(path: str | Path, value: Any, sync: bool = False) -> None:
    """Write ``value`` as JSON, by :func:`replacing`; NaN and infinity, which JSON does not know, are a ValueError."""
    with replacing(path, sync) as temporary:
        temporary.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n")


# What a sync says where data did not reach the disk. All else says that this file system does not sync (FUSE and
# network shares refuse it, many only for folders): then there is nothing to wait for, and no harm done.
_LOST = {errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.ESTALE}


def _sync(path: Path) -> None:
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno in _LOST:
            raise
