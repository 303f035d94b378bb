"""Writing files so that a killed process never leaves half of one under its real name."""
import contextlib
import errno
import fcntl
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from timecyclegan.util.errors import UserError, failed, note, reason
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
def alone_in(folder: Path) -> Iterator[bool]:
    """Around what fills a folder that processes share: another one waits, then finds what is there, and a note says so.

    The folder is made. Yields whether there is nobody else: where the file system knows no locks, none waits.

    Raises:
        UserError: the folder cannot be made or written to.
    """
    with writing(folder / ".lock"):
        folder.mkdir(parents=True, exist_ok=True)
        file = open(folder / ".lock", "w")  # noqa: SIM115 (closed below)
    with file:
        locked = False
        with contextlib.suppress(OSError):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                note(f"another process is filling {folder}: waiting until it is done")
                fcntl.flock(file, fcntl.LOCK_EX)
            locked = True
        try:
            yield locked
        finally:
            with contextlib.suppress(OSError):  # a forked process may have inherited it: to close it is not enough
                fcntl.flock(file, fcntl.LOCK_UN)


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


def is_there(path: str | Path) -> bool:
    """Whether there is something of this name.

    Raises:
        UserError: it is a link that leads nowhere: what is meant is there, but somewhere else (a disk, say).
    """
    path = Path(path)
    if path.is_symlink() and not path.exists():
        raise UserError(f"{path} is a link to {os.readlink(path)}, which is not there: bring that back, or remove the "
                        "link")
    return path.exists()


def check_writable(path: str | Path, append: bool = False) -> None:
    """Refuse a file that could not be written, before what it is to hold is computed; nothing is left behind.

    Args:
        append: it will not be replaced.

    Raises:
        UserError: see :func:`replacing`; or there is something of this name that is no file.
    """
    path = Path(path)
    with writing(path):
        folder = next(parent for parent in path.absolute().parents if parent.exists())  # the others would be made
        if path.exists() and not path.is_file():
            what = "a folder" if path.is_dir() else "no file"
            raise UserError(f"cannot write {path}: it is {what}; give the name of a file")
        if not folder.is_dir():
            raise UserError(f"cannot write {path}: {folder} is not a folder")
        with tempfile.TemporaryFile(dir=folder):
            pass
        if append and path.exists():
            open(path, "ab").close()


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
