"""What commands leave behind for their user: CSV tables and the command log."""
import contextlib
import csv
import datetime
import errno
import fcntl
import io
import os
import shlex
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from itertools import dropwhile
from pathlib import Path
from typing import Any, BinaryIO

from tqdm import tqdm

from timecyclegan.util.errors import UserError, reason
from timecyclegan.util.files import replacing, writing
from timecyclegan.util.names import one_line

TRAIN_LOG = Path("train_log.csv")
METRICS = Path("metrics.csv")
COMMAND_LOG = Path("command_log.txt")
RUNS = Path("runs")
CHECKPOINTS = Path("checkpoints")

# How tables and logs are stored whatever the locale: a name whose bytes are no UTF-8 keeps them.
TEXT: dict[str, str] = {"encoding": "utf-8", "errors": "surrogateescape", "newline": ""}
GIT_PLACES = "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY", "GIT_PREFIX"


def now() -> str:
    """Local time, to the second."""
    return datetime.datetime.now().isoformat(sep=" ", timespec="seconds")


def log_command() -> None:
    """Append the running command to ``command_log.txt``; of several processes, as torchrun starts them, the first's."""
    if int(os.environ.get("RANK", 0)):
        return
    try:
        with open(COMMAND_LOG, "a", **TEXT) as file:
            file.write(f"{now()} {' '.join(map(_quoted, sys.argv))}\n")
    except OSError as error:
        why = f"cannot write {COMMAND_LOG.absolute()}: {reason(error)}"
        raise UserError(f"{why}; mend that, or run in another folder") from error


def _quoted(word: str) -> str:
    """A word of a command for a shell, in one line: bash's $'...' where it holds line breaks or the like."""
    escaped = one_line(word)
    if escaped == word:
        return shlex.quote(word)
    plain = word.replace("\\", "\\\\").replace("'", "\\'")
    return f"$'{one_line(plain)}'"


@contextlib.contextmanager
def _lines(path: Path) -> Iterator[Iterator[str]]:
    """The lines of a table from its head on; none where there is no file."""
    csv.field_size_limit(2**31 - 1)  # of a process; else 131072 letters, beyond which the reader raises
    if not path.exists():
        yield iter(())
        return
    with open(path, **TEXT | {"encoding": "utf-8-sig"}) as file:
        yield dropwhile(str.isspace, file)


def read_csv(path: Path) -> list[dict[str, str]]:
    """The rows of a table by column; none where there is no file."""
    with _lines(path) as lines:
        # A row with more cells than the head, edited by hand, has the surplus under None.
        return [{k: v for k, v in row.items() if k is not None} for row in csv.DictReader(lines)]


def columns(path: Path) -> list[str]:
    """The head of a table; empty where there is no file."""
    with _lines(path) as lines:
        return next(csv.reader(lines), [])


def write_csv(path: Path, rows: list[dict[str, Any]], columns: list[str]) -> None:
    """Write a whole table; a row without a column's value leaves it empty."""
    with replacing(path) as temporary, open(temporary, "w", **TEXT) as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)


def append_csv(path: Path, row: dict[str, Any]) -> None:
    """Append a row; a table that lacks one of its columns is rewritten with it.

    Processes that do so at once wait for each other. One that is killed leaves the table as it was.

    Raises:
        UserError: it cannot be written to.
    """
    path = Path(os.path.realpath(path))  # a link stays one
    with writing(path), _locked(path) as file:
        known = columns(path)
        if known and set(row) <= set(known):
            file.seek(-1, os.SEEK_END)
            text = io.StringIO("" if file.read() in b"\r\n" else "\r\n", newline="")
            text.seek(0, os.SEEK_END)  # an editor may have left out the last row's end
            csv.DictWriter(text, known, restval="").writerow(row)
            data, size = text.getvalue().encode(TEXT["encoding"], TEXT["errors"]), file.seek(0, os.SEEK_END)
            if file.write(data) < len(data):  # at once, so that there is no half of a row
                file.truncate(size)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        else:
            write_csv(path, [*read_csv(path), row], [*known, *(name for name in row if name not in known)])


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[BinaryIO]:
    """The file, made if there is none, to append to while no other process does."""
    while True:
        file = open(path, "a+b", buffering=0)  # noqa: SIM115 (it may be given up)
        with contextlib.suppress(OSError):  # some file systems have no locks
            fcntl.flock(file, fcntl.LOCK_EX)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
                break
        file.close()  # another process has put a wider table in its place
    with file:
        yield file


@contextlib.contextmanager
def progress(total: int, what: str, unit: str) -> Iterator[Callable[[int], None]]:
    """A bar of work that precedes a training, on stderr once it takes longer than a second; yields what moves it on.

    Any thread may.
    """
    seen = 0.1 if sys.stderr.isatty() else 10.0  # seconds; a log file need not hold every step
    lock = threading.Lock()
    with tqdm(total=total, desc=what, unit=unit, delay=1, mininterval=seen, dynamic_ncols=True) as bar:

        def advance(count: int) -> None:
            with lock:
                bar.update(count)

        yield advance


def git_commit() -> str:
    """The commit of the project's own repository that this code stands at, "-dirty" behind it if the code was changed.

    Changed are files of the repository that differ from the commit, and modules of the package that are not in it.
    Empty where the package is installed, in whatever repository that may lie, and where there is no git program.
    """
    package = Path(__file__).resolve().parents[1]
    # A hook of another repository, say, would have git look there.
    surroundings = {name: value for name, value in os.environ.items() if name not in GIT_PLACES}

    def git(*arguments: str) -> str:
        return subprocess.run(["git", "--no-optional-locks", *arguments], cwd=package.parent, env=surroundings,
                              check=True, capture_output=True, text=True).stdout.strip()  # fmt: skip

    try:
        if not os.path.samefile(git("rev-parse", "--show-toplevel"), package.parent):
            return ""
        git("ls-files", "--error-unmatch", str(package / "__init__.py"))
        changes = git("status", "--porcelain", "--untracked-files=no")
        changes += git("status", "--porcelain", "--untracked-files=all", "--", f"{package.name}/*.py")
        return git("rev-parse", "HEAD") + "-dirty" * bool(changes)
    except (OSError, subprocess.SubprocessError, ValueError):
        return ""


def log_training(name: str, hparams: Mapping[str, Any]) -> None:
    """Append a training run to ``train_log.csv``."""
    pairs = ";".join(f"{key}:{value}" for key, value in hparams.items())
    append_csv(TRAIN_LOG, {"datetime": now(), "name": name, "commit": git_commit(), "hparams": pairs})
