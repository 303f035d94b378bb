"""Tables and the command log."""
import csv
import fcntl
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from timecyclegan.util import logs
from timecyclegan.util.errors import UserError, command
from timecyclegan.util.files import check_writable
from timecyclegan.util.logs import progress


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


def test_empty_lines_above_the_head_of_a_table_are_none_of_it():
    Path("a.csv").write_text("\n \nname,x\nold,1\n")
    logs.append_csv(Path("a.csv"), {"name": "new", "x": 2})
    assert [*logs.read_csv(Path("a.csv"))] == [{"name": "old", "x": "1"}, {"name": "new", "x": "2"}]
    logs.append_csv(Path("a.csv"), {"y": 3})
    assert rows("a.csv") == [["name", "x", "y"], ["old", "1", ""], ["new", "2", ""], ["", "", "3"]]


def test_a_cell_of_any_length():
    """Python's reader takes 131072 letters, unless it is told otherwise."""
    Path("a.csv").write_text(f"name,x\n{'o' * 140000},1\n")
    logs.append_csv(Path("a.csv"), {"name": "new", "y": 2})
    assert [len(row["name"]) for row in logs.read_csv(Path("a.csv"))] == [140000, 3]


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_last_row_without_its_end_is_no_part_of_the_next(end):
    Path("a.csv").write_text(f"name,x{end}" if end else "name,x\nold,1")
    logs.append_csv(Path("a.csv"), {"name": "new", "x": 2})
    logs.append_csv(Path("a.csv"), {"name": "newer", "x": 3})
    assert rows("a.csv") == [["name", "x"], *([] if end else [["old", "1"]]), ["new", "2"], ["newer", "3"]]


def test_names_of_any_bytes_and_letters():
    names = ["first", os.fsdecode(b"caf\xe9"), "straße\n2", "日本"]
    Path("a.csv").write_bytes("\ufeffname\nfirst\n".encode())  # as a spreadsheet saves it
    for name in names[1:]:
        logs.append_csv(Path("a.csv"), {"name": name})
    logs.append_csv(Path("a.csv"), {"name": "wide", "x": 1})
    assert [row["name"] for row in logs.read_csv(Path("a.csv"))] == [*names, "wide"]


APPEND = """
import sys
from pathlib import Path
from timecyclegan.util.logs import append_csv
print("ready", flush=True)
sys.stdin.readline()
for i in range(25):
    append_csv(Path("m.csv"), {"name": f"{sys.argv[1]}-{i}", **{f"column{sys.argv[1]}{i // 5}": i}})
"""


def test_processes_at_once_lose_no_row(folder):
    """Four that append and widen an older file, which lacks its last end."""
    Path("m.csv").write_text("name\nold")
    environment = os.environ | {"PYTHONPATH": str(Path(logs.__file__).parents[2])}
    writers = [subprocess.Popen([sys.executable, "-c", APPEND, str(w)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                text=True, env=environment) for w in range(4)]  # fmt: skip
    for writer in writers:
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        writer.stdin.write("go\n")
        writer.stdin.flush()
    assert [writer.wait(timeout=60) for writer in writers] == [0] * 4
    for writer in writers:
        writer.stdin.close()
        writer.stdout.close()
    found = logs.read_csv(Path("m.csv"))
    assert sorted(row["name"] for row in found) == sorted(["old", *(f"{w}-{i}" for w in range(4) for i in range(25))])
    for row in found[1:]:
        writer, i = row["name"].split("-")
        filled = {column: text for column, text in row.items() if text and column != "name"}
        assert filled == {f"column{writer}{int(i) // 5}": i}
    assert [path.name for path in folder.iterdir()] == ["m.csv"]


KILLED = """
import os
from pathlib import Path
from timecyclegan.util.logs import append_csv
os.replace = lambda *_: os.kill(os.getpid(), 9)
append_csv(Path("m.csv"), {"name": "new", "x": 1})
"""


def test_a_process_that_is_killed_while_it_widens_leaves_the_table():
    Path("m.csv").write_text("name\r\nold\r\n")
    environment = os.environ | {"PYTHONPATH": str(Path(logs.__file__).parents[2])}
    assert subprocess.run([sys.executable, "-c", KILLED], env=environment).returncode == -9
    assert rows("m.csv") == [["name"], ["old"]]
    logs.append_csv(Path("m.csv"), {"name": "new", "x": 1})  # nothing waits for the dead one
    assert rows("m.csv") == [["name", "x"], ["old", ""], ["new", "1"]]


def test_a_link_stays_one_and_a_file_system_without_locks_is_no_obstacle(folder, monkeypatch):
    (folder / "shared").mkdir()
    Path("m.csv").symlink_to("shared/all.csv")
    monkeypatch.setattr(fcntl, "flock", lambda *_: (_ for _ in ()).throw(OSError(37, "No locks available")))
    for row in ({"name": "a"}, {"name": "b", "x": 1}):
        logs.append_csv(Path("m.csv"), row)
    assert Path("m.csv").is_symlink() and rows("shared/all.csv") == [["name", "x"], ["a", ""], ["b", "1"]]


def test_a_table_that_cannot_be_written():
    Path("m.csv").mkdir()
    with pytest.raises(UserError, match=r"cannot write .*m.csv: Is a directory"):
        logs.append_csv(Path("m.csv"), {"x": 1})
    with pytest.raises(UserError, match=r"cannot write m.csv: it is a folder"):
        check_writable("m.csv")


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

def git(*arguments):
    identity = ["-c", "user.name=me", "-c", "user.email=me@here", "-c", "commit.gpgsign=false"]
    return subprocess.run(["git", *identity, *map(str, arguments)], check=True, capture_output=True, text=True).stdout


@pytest.fixture
def repository(folder, monkeypatch):
    """A repository of the package, in which this code seems to be."""
    for name in ("timecyclegan/__init__.py", "timecyclegan/util/logs.py", "train.py"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x = 1\n")
    git("init", "-q")
    git("add", "-A")
    git("commit", "-qm", "begin")
    monkeypatch.setattr(logs, "__file__", str(folder / "timecyclegan/util/logs.py"))
    return git("rev-parse", "HEAD").strip()


def test_the_commit_is_that_of_the_code_and_changes_are_marked(repository, folder, monkeypatch):
    monkeypatch.chdir("/")
    assert logs.git_commit() == repository and len(repository) == 40
    (folder / "results").mkdir()
    (folder / "results/metrics.csv").touch()  # what commands leave behind is no change of the code
    assert logs.git_commit() == repository
    for name in ("timecyclegan/new.py", "timecyclegan/util/deep/new.py"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
        assert logs.git_commit() == f"{repository}-dirty"
        (folder / name).unlink()
    (folder / "train.py").write_text("x = 2\n")
    assert logs.git_commit() == f"{repository}-dirty"
    monkeypatch.chdir(folder)
    git("commit", "-qam", "more")
    assert logs.git_commit() == git("rev-parse", "HEAD").strip() != repository


@pytest.mark.parametrize("place", ["venv/lib/site-packages", "."])
def test_an_installed_package_has_no_commit(folder, monkeypatch, place):
    """Whatever repository it was installed into, also right beside that's own files."""
    git("init", "-q")
    Path("theirs.py").touch()
    git("add", "-A")
    git("commit", "-qm", "theirs")
    installed = folder / place / "timecyclegan"
    (installed / "util").mkdir(parents=True)
    (installed / "__init__.py").touch()
    monkeypatch.setattr(logs, "__file__", str(installed / "util/logs.py"))
    assert logs.git_commit() == ""
    if place != ".":  # a copy in the repository of another project is as little this one's
        git("add", "-A")
        git("commit", "-qm", "vendored")
        assert logs.git_commit() == ""


def test_the_surroundings_of_a_hook_lead_to_no_other_repository(repository, folder, monkeypatch, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    git("init", "-q", other)
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))
    assert logs.git_commit() == repository


def test_without_a_repository_the_commit_is_empty(monkeypatch, folder):
    monkeypatch.setattr(logs, "__file__", str(folder / "timecyclegan" / "util" / "logs.py"))
    assert logs.git_commit() == ""
    logs.log_training("run", {"a": 1, "b": [0.5]})
    header, row = rows("train_log.csv")
    assert header == ["datetime", "name", "commit", "hparams"] and row[1:] == ["run", "", "a:1;b:[0.5]"]


@pytest.mark.parametrize("missing", ["program", "commits"])
def test_without_git_the_commit_is_empty(monkeypatch, repository, missing, folder):
    if missing == "program":
        monkeypatch.setenv("PATH", str(folder))
    else:
        shutil.rmtree(".git")
        git("init", "-q")
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


def test_a_bar_is_shown_of_what_takes_longer_than_a_second(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with progress(3, "counting", "number") as advance:
        advance(1)
        assert capsys.readouterr().err == ""
        time.sleep(1.01)
        advance(2)
    assert re.search(r"counting: 100%.* 3/3 .*number", capsys.readouterr().err)
