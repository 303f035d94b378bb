"""Tables, logs and TensorBoard events."""
import csv
import io
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

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


# --- one run's log

def events(path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(path), size_guidance={"images": 0, "scalars": 0})
    return found.Reload()


def test_tensorboard_has_scalars_hparams_pictures_and_gifs(folder):
    log = logs.TrainingLog(folder / "run", 0)
    log.hparams({"learning_rate": 0.5, "model_type": "timecycle", "spatial_scaling": [0.5, 1.0], "flip": True})
    log.scalars({"Generator/l1": 0.25, "Discriminator/gan": 2.0}, 1, 1)
    log.scalars({"Generator/l1": 0.125, "Discriminator/gan": 1.0}, 2, 1)
    clip = torch.zeros(2, 4, 3, 6, 10)
    clip[0, 1], clip[0, 2], clip[0, 3] = 1, 0.5, -0.5
    log.videos({"source": clip, "fake": -clip, "real": clip}, 2)
    log.close()

    found = events(folder / "run")
    assert sorted(found.Tags()["scalars"]) == ["Loss/Discriminator/gan", "Loss/Generator/l1"]
    assert [(e.step, e.value) for e in found.Scalars("Loss/Generator/l1")] == [(1, 0.25), (2, 0.125)]
    assert found.Tags()["images"] == ["Frames/source_fake_real", "Video/source_fake_real"]
    (grid,), (video,) = (found.Images(tag) for tag in found.Tags()["images"])
    grid = np.asarray(Image.open(io.BytesIO(grid.encoded_image_string)))
    assert grid.shape == (3 * 6, 4 * 10, 3)  # a row for each video, a column for each frame
    assert [grid[row, column, 0] for row, column in ((0, 0), (0, 10), (6, 10), (12, 10))] == [128, 255, 0, 255]
    gif = Image.open(io.BytesIO(video.encoded_image_string))
    assert (gif.format, gif.n_frames, gif.size) == ("GIF", 4, (3 * 10, 6))
    text = b"".join(path.read_bytes() for path in (folder / "run").glob("events*"))
    assert all(name in text for name in (b"hparams", b"learning_rate", b"spatial_scaling", b"[0.5, 1.0]"))
    assert rows(folder / "run/losses.csv") == [
        ["step", "epoch", "Loss/Generator/l1", "Loss/Discriminator/gan"], ["1", "1", "0.25", "2"],
        ["2", "1", "0.125", "1"],
    ]  # fmt: skip


def test_a_still_model_logs_no_gif(folder):
    log = logs.TrainingLog(folder / "run", 0)
    log.videos({"fake": torch.zeros(1, 1, 3, 4, 4)}, 1)
    log.close()
    assert events(folder / "run").Tags()["images"] == ["Frames/fake"]


def test_what_was_logged_after_the_checkpoint_is_dropped(folder):
    log = logs.TrainingLog(folder / "run", 0)
    for step in (1, 2, 3, 10):
        log.scalars({"Generator/l1": float(step)}, step, 1)
    log.close()
    log = logs.TrainingLog(folder / "run", 2)
    log.scalars({"Generator/l1": 33.0}, 3, 1)
    log.close()
    assert [row[0] for row in rows(folder / "run/losses.csv")] == ["step", "1", "2", "3"]
    assert [(e.step, e.value) for e in events(folder / "run").Scalars("Loss/Generator/l1")] == [(1, 1), (2, 2), (3, 33)]


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


def test_a_mistake_of_ours_raises():
    @command
    def main():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        main()
    assert command(lambda: None)() == 0 and command(lambda: 3)() == 3
