"""Tables and the command log."""
import csv
import os
import sys
from pathlib import Path

import pytest
import torch

from timecyclegan.util import logs
from timecyclegan.util.errors import UserError, command


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def rows(path):
    with open(path, newline="") as file:
        return list(csv.reader(file))


# --- tables

def test_rows_are_appended(folder):
    logs.append_csv(Path("a.csv"), {"x": 1, "y": 'a "b", c'})
    logs.append_csv(Path("a.csv"), {"y": 3})
    assert rows("a.csv") == [["x", "y"], ["1", 'a "b", c'], ["", "3"]]


def test_an_old_table_is_widened():
    Path("metrics.csv").write_text("name,fid\nold,1.5\n")
    logs.append_csv(Path("metrics.csv"), {"name": "new", "tof": 2, "fid": ""})
    assert rows("metrics.csv") == [["name", "fid", "tof"], ["old", "1.5", ""], ["new", "", "2"]]


def test_an_empty_table_is_begun():
    Path("a.csv").touch()
    logs.append_csv(Path("a.csv"), {"x": 1})
    assert rows("a.csv") == [["x"], ["1"]]


def test_the_command_is_logged(monkeypatch):
    for argv in (["train.py", "run", "a b"], ["val.py", "run"]):
        monkeypatch.setattr(sys, "argv", argv)
        logs.log_command()
    lines = Path("command_log.txt").read_text().splitlines()
    assert [line.split(" ", 2)[2] for line in lines] == ["train.py run 'a b'", "val.py run"]


def test_a_folder_without_permission(monkeypatch):
    Path("command_log.txt").mkdir()
    with pytest.raises(UserError, match=r"cannot write .*command_log.txt"):
        logs.log_command()


# --- SPEC 7 item 14: no git repository, no git

def test_the_commit_is_that_of_the_code():
    assert logs.git_commit() == "" or len(logs.git_commit()) == 40


def test_without_a_repository_the_commit_is_empty(monkeypatch, folder):
    monkeypatch.setattr(logs, "__file__", str(folder / "timecyclegan" / "util" / "logs.py"))
    assert logs.git_commit() == ""
    logs.log_training("run", {"a": 1, "b": [0.5]})
    header, row = rows("train_log.csv")
    assert header == ["datetime", "name", "commit", "hparams"] and row[1:] == ["run", "", "a:1;b:[0.5]"]


@pytest.mark.parametrize("missing", ["program", "package", "commits"])
def test_without_git_the_commit_is_empty(monkeypatch, missing, folder):
    if missing == "package":
        monkeypatch.setitem(sys.modules, "git", None)
    elif missing == "program":
        for name in [name for name in sys.modules if name.split(".")[0] == "git"]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setenv("PATH", str(folder))
        monkeypatch.setenv("GIT_PYTHON_GIT_EXECUTABLE", "")
    else:
        os.system("git init -q .")
        monkeypatch.setattr(logs, "__file__", str(folder / "logs.py"))
    assert logs.git_commit() == ""


# --- errors of the user

@pytest.mark.parametrize(("error", "code", "line"), [
    (UserError("--x is wrong"), 2, "error: --x is wrong\n"), (KeyboardInterrupt(), 130, "interrupted\n"),
])  # fmt: skip
def test_an_error_of_the_user_is_one_line(error, code, line, capsys):
    @command
    def main():
        raise error

    assert main() == code
    assert capsys.readouterr() == ("", line)


def test_too_little_memory_is_one_line(capsys):
    @command
    def main():
        raise torch.OutOfMemoryError("CUDA out of memory")

    assert main() == 2
    assert capsys.readouterr().err.startswith("error: the GPU's memory is too small: lower the batch size, ")


def test_a_mistake_of_ours_raises():
    @command
    def main():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        main()
    assert command(lambda: None)() == 0 and command(lambda: 3)() == 3
