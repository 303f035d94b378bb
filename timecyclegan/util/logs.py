"""What commands leave behind for their user: CSV tables and the command log."""
import csv
import datetime
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from timecyclegan.util.errors import UserError, reason
from timecyclegan.util.files import replacing, writing

TRAIN_LOG = Path("train_log.csv")
METRICS = Path("metrics.csv")
COMMAND_LOG = Path("command_log.txt")
RUNS = Path("runs")


def now() -> str:
    """Local time, to the second."""
    return datetime.datetime.now().isoformat(sep=" ", timespec="seconds")


def log_command() -> None:
    """Append the running command to ``command_log.txt``."""
    try:
        with open(COMMAND_LOG, "a") as file:
            file.write(f"{now()} {shlex.join(sys.argv)}\n")
    except OSError as error:
        why = f"cannot write {COMMAND_LOG.absolute()}: {reason(error)}"
        raise UserError(f"{why}; mend that, or run in another folder") from error


def read_csv(path: Path) -> list[dict[str, str]]:
    """The rows of a table by column; none where there is no file."""
    if not path.exists():
        return []
    with open(path, newline="") as file:
        # A row with more cells than the head, edited by hand, has the surplus under None.
        return [{k: v for k, v in row.items() if k is not None} for row in csv.DictReader(file)]


def write_csv(path: Path, rows: list[dict[str, Any]], columns: list[str]) -> None:
    """Write a whole table; a row without a column's value leaves it empty."""
    with replacing(path) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)


def append_csv(path: Path, row: dict[str, Any]) -> None:
    """Append a row; a table that lacks one of its columns is rewritten with it."""
    known = columns(path)
    if known and set(row) <= set(known):
        with writing(path), open(path, "a", newline="") as file:
            csv.DictWriter(file, known, restval="").writerow(row)
    else:
        write_csv(path, [*read_csv(path), row], [*known, *(name for name in row if name not in known)])


def columns(path: Path) -> list[str]:
    """The head of a table; empty where there is no file."""
    if not path.exists():
        return []
    with open(path, newline="") as file:
        return next(csv.reader(file), [])


def git_commit() -> str:
    """The commit that this code stands at; empty where it is in no git repository, or git is not installed."""
    try:
        import git  # fails without the git program

        return git.Repo(Path(__file__).parent, search_parent_directories=True).head.commit.hexsha
    except Exception:
        return ""


def log_training(name: str, hparams: Mapping[str, Any]) -> None:
    """Append a training run to ``train_log.csv``."""
    pairs = ";".join(f"{key}:{value}" for key, value in hparams.items())
    append_csv(TRAIN_LOG, {"datetime": now(), "name": name, "commit": git_commit(), "hparams": pairs})
