"""What is said of calls that fail: the system's own reason, a library's limit, or damage, and never one for another."""
import errno
import fcntl
import os
import resource
import shutil
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, PngImagePlugin

from tests.training.helpers import message
from timecyclegan.evaluation.features.frechet import Statistics
from timecyclegan.evaluation.flow import load_flow
from timecyclegan.training.run import exclusive
from timecyclegan.util import device, weights
from timecyclegan.util.device import pick_device, require_gpu
from timecyclegan.util.errors import UserError, command, machine_errno, reason
from timecyclegan.util.files import replacing, write_json, writing
from timecyclegan.util.logs import append_csv
from timecyclegan.util.options import Options
from timecyclegan.util.torchscript import load_torchscript
from timecyclegan.video.frames import read_image, write_image
from timecyclegan.video.reader import VideoFile

ROOT = Path(__file__).parents[2]
REFUSALS = [errno.EMFILE, errno.ENFILE, errno.EACCES, errno.EIO, errno.ESTALE, errno.ENOMEM]


def refuse(monkeypatch, number, owner=os, name="open"):
    """Let a call fail with the system's error."""
    def refusing(*_args, **_kwargs):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(owner, name, refusing)


# --- reading

READERS = {
    "weights.pth": weights.load, "a.png": read_image, "options.json": Options.load, "flow.npz": load_flow,
    "stats.npz": Statistics.load, "a.mp4": VideoFile,
    "net.pt": lambda path: load_torchscript(path, torch.device("cpu"), "--model"),
}  # fmt: skip


@pytest.mark.parametrize("name", READERS)
def test_reading_what_the_system_refuses_is_no_damage(tmp_path, name):
    """Every reader, by errors that libraries wrap (FFmpeg, TorchScript) or that Python raises."""
    path = tmp_path / name
    path.write_bytes(b"damaged")
    damaged = message(READERS[name], path)
    assert str(path) in damaged and not any(os.strerror(number) in damaged for number in REFUSALS)
    assert "pickle" not in damaged  # nor an invitation to read it unsafely
    held = []
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
    try:
        with pytest.raises(OSError):
            while True:
                held.append(os.open(os.devnull, os.O_RDONLY))
        said = message(READERS[name], path)
    finally:
        for number in held:
            os.close(number)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert str(path) in said and "Too many open files (this process may open 64, see ulimit -n)" in said
    assert "damaged" not in said and "replace" not in said and "expected" not in said and "save" not in said


def test_a_picture_too_large_for_pillow_is_not_called_damaged(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    write_image(path, np.zeros((30, 30, 3), np.uint8))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 400)
    said = message(read_image, path)
    assert "exceeds limit of 800 pixels" in said and "damaged" not in said and "remove" not in said


def test_a_text_too_long_for_pillow_is_not_called_damage(tmp_path):
    path, text = tmp_path / "a.png", PngImagePlugin.PngInfo()
    text.add_text("Comment", "a" * (PngImagePlugin.MAX_TEXT_CHUNK + 1), zip=True)
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(path, pnginfo=text)
    said = message(read_image, path)
    assert "MAX_TEXT_CHUNK" in said and "damaged" not in said


@pytest.mark.parametrize(("error", "number"), [
    (OSError(errno.EDQUOT, "Disk quota exceeded"), errno.EDQUOT),
    (RuntimeError("unable to open shared memory object </torch_1> in read-write mode: Too many open files (24)"), 24),
    (RuntimeError("open file failed because of errno 24 on fopen: Too many open files, file path: a.pt"), 24),
    (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes."), 12),
    (MemoryError(), errno.ENOMEM), (ValueError("no such thing"), None), (EOFError(), None), (zlib.error("-3"), None),
    (OSError("image file is truncated"), None), (OSError(errno.ENOENT, "No such file or directory"), errno.ENOENT),
])  # fmt: skip
def test_the_system_behind_an_error(error, number):
    assert machine_errno(error) == number
    assert (reason(error) is None) == (number is None)
    for wrap in (lambda: RuntimeError("wrapped"), lambda: KeyError("wrapped")):
        try:
            try:
                raise error
            except Exception:
                raise wrap()  # noqa: B904 (as libraries do)
        except Exception as outer:
            # A missing file amid a library's search is none of its outcome.
            assert machine_errno(outer) == (None if number == errno.ENOENT else number)


# --- writing

@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.EFBIG, errno.EIO])
def test_writing_says_the_reason_and_leaves_nothing(tmp_path, monkeypatch, number):
    path = tmp_path / "a.pth"
    weights.save(path, {"a": torch.zeros(9)})
    with monkeypatch.context() as patch:
        refuse(patch, number, os, "fsync")
        if number in (errno.EROFS, errno.EMFILE):  # never of a sync
            refuse(patch, number, os, "replace")
        assert os.strerror(number) in (said := message(weights.save, path, {"a": torch.ones(9)}))
    assert str(path) in said and "disk full" not in said
    assert weights.load(path)["a"].sum() == 0 and list(tmp_path.iterdir()) == [path]


def test_a_write_that_fails_amid_an_archive_has_the_systems_reason(tmp_path):
    """PyTorch's writer wraps what the file raised."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10000, hard))
    try:
        assert message(weights.save, tmp_path / "a.pth", {"a": torch.zeros(90000)}) == (
            f"cannot write {tmp_path / 'a.pth'}: File too large")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_copied_is_named_and_not_its_copy(tmp_path):
    with pytest.raises(UserError) as caught, replacing(tmp_path / "new") as temporary:
        shutil.copy2(tmp_path / "old", temporary)
    assert str(caught.value) == f"cannot write {tmp_path / 'new'}: {tmp_path / 'old'}: No such file or directory"


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.EACCES, errno.EPERM, errno.ENOSYS, errno.EBADF])
@pytest.mark.parametrize("folders", [True, False])
def test_a_file_system_that_does_not_sync(tmp_path, monkeypatch, number, folders):
    """FUSE and network shares refuse it for folders, or altogether: nothing is lost by that."""
    sync = os.fsync

    def refusing(descriptor):
        if not folders or os.path.isdir(f"/dev/fd/{descriptor}"):
            raise OSError(number, os.strerror(number))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", refusing)
    write_json(tmp_path / "a.json", [1], sync=True)
    assert (tmp_path / "a.json").read_text() == "[\n 1\n]\n"


def test_rows_that_cannot_be_appended(tmp_path):
    table = tmp_path / "a.csv"
    append_csv(table, {"a": 1})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (table.stat().st_size, hard))
    try:
        assert message(append_csv, table, {"a": 2}) == f"cannot write {table}: File too large"
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_closed_pipe_is_not_blamed_on_a_file(tmp_path):
    with pytest.raises(BrokenPipeError), writing(tmp_path / "a"):
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")


@pytest.mark.parametrize(("kind", "said"), [("file", "is not a folder"), ("link", "is a link to no folder")])
def test_what_stands_where_a_folder_must_be(tmp_path, kind, said):
    place = tmp_path / "place"
    place.touch() if kind == "file" else place.symlink_to(tmp_path / "nowhere")
    assert message(write_json, place / "a.json", 1) == f"cannot write {place / 'a.json'}: {place} {said}"


# --- locks

@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL])
def test_a_file_system_without_locks_is_noted(tmp_path, monkeypatch, capsys, number):
    refuse(monkeypatch, number, fcntl, "lockf")
    entered = []
    with exclusive(tmp_path / "run"):
        entered.append(True)
    assert entered
    assert f"without locks ({os.strerror(number)}): see to it yourself" in capsys.readouterr().out


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.EACCES])
def test_a_lock_that_another_process_has(tmp_path, monkeypatch, number):
    refuse(monkeypatch, number, fcntl, "lockf")
    with pytest.raises(UserError, match="another process is training run"), exclusive(tmp_path / "run"):
        pass


# --- commands

@pytest.mark.parametrize(("error", "code", "line"), [
    (OSError(errno.EMFILE, "Too many open files", "a.png"), 2, "error: a.png: Too many open files (this process may "),
    (MemoryError(), 2, "error: the computer's memory is too small: lower the batch size, "),
    (RuntimeError("DefaultCPUAllocator: can't allocate memory"), 2, "error: the computer's memory is too small: lower"),
    (BrokenPipeError(errno.EPIPE, "Broken pipe"), 141, ""),
])  # fmt: skip
def test_what_nothing_else_caught_is_one_line(error, code, line, capsys):
    @command
    def main():
        raise error

    assert main() == code
    out, err = capsys.readouterr()
    assert out == "" and err.startswith(line) and err.count("\n") == bool(line)


@pytest.mark.parametrize("at_once", [True, False])
def test_an_output_on_a_full_disk_is_named(at_once):
    """``> log.txt``: not a file of ours."""
    code = f"""
from timecyclegan.util.errors import command
@command
def main():
    print("epoch 1", flush={at_once})
raise SystemExit(main())"""
    for environment in ({}, {"PYTHONUNBUFFERED": "1"}):
        inherited = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
        with open("/dev/full", "w") as full:
            ran = subprocess.run([sys.executable, "-c", code], stdout=full, stderr=subprocess.PIPE, text=True, cwd=ROOT,
                                 env=inherited | environment)
        assert ran.returncode == 2
        assert ran.stderr == "error: cannot write the standard output: No space left on device\n"


def test_a_current_folder_that_is_gone_is_named(tmp_path, monkeypatch, capsys):
    @command
    def main():
        raise AssertionError("not reached: libraries blame files of their own")

    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert main() == 2
    assert capsys.readouterr().err == "error: the current folder is gone: change into one that is there\n"


def test_without_an_output(monkeypatch, capsys):
    """``>&-`` closes it; programs with windows and daemons have none."""
    @command
    def main():
        print("to nobody")
        sys.stderr.write("to nobody")
        return 3

    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    assert main() == 3


# --- GPUs

def test_a_gpu_that_is_remembered_and_one_that_is_asked_for(monkeypatch, capsys):
    """No GPU is in sight of these tests."""
    assert [pick_device(number).type for number in (-1, 0)] == ["cpu", "cpu"]
    assert capsys.readouterr().out == ""
    assert pick_device(3).type == pick_device(3).type == "cpu"
    with pytest.raises((RuntimeError, AssertionError)) as torchs:
        torch.cuda.init()
    why = str(torchs.value).partition("\n")[0].rstrip(".")
    note = f"note: GPU 3 cannot be used here ({why}): computing on the CPU; --gpu chooses another device\n"
    assert capsys.readouterr().out == note
    monkeypatch.setattr(device, "trouble", lambda number: "invalid device ordinal" if number else "")
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "H100")
    assert [str(pick_device(number)) for number in (-1, 0, 2)] == ["cpu", "cuda:0", "cuda:0"]
    assert "note: GPU 2 cannot be used here (invalid device ordinal): computing on GPU 0, H100;" in (
        capsys.readouterr().out)
    monkeypatch.undo()
    require_gpu(-1)
    for number in (0, 3):
        assert message(require_gpu, number) == (f"--gpu {number} cannot be used, of 0 GPUs: {why}; give the number of "
                                                "one that can, from 0 on, or -1 for the CPU")
