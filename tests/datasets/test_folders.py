"""make_folder: wherever it is killed and whatever is in the way, FOLDER stays as it is, and OUT is as it should be."""
import errno
import os
import subprocess

import pytest

from tests.data.killing import check_killed_anywhere, contents, killed_before, really_killed_before, write
from tests.datasets.helpers import message
from timecyclegan.datasets.folders import files_below, images_below, make_folder

FILES = {"a/1": b"one", "a/2": b"two", "a/3": b"two", "b/1": b"four", "top": b"five"}
# Names that others have, files of the same bytes, one that is made, one that is left out.
NAMES = {"a/1": "a/2", "a/2": "a/3", "a/3": "new/double", "b/1": "top", "top": None}
MADE = {"a/2": b"one", "a/3": b"two", "new/double": b"twotwo", "top": b"four"}


def double(path):
    return 2 * path.read_bytes() if path.match("a/3") else None


def run(folder, out, names=NAMES, **options):
    make_folder(folder, out, names, double, **options)


def no_links(*_, **__):
    raise OSError(errno.EXDEV, "Invalid cross-device link")


def test_only_what_it_left_itself_is_removed(tmp_path):
    torn, mine = {".top.12.tmp": b"to"}, {".notes.2.tmp.txt": b"mine", "a/.top.12.tmp": b"mine", ".top.x.tmp": b"mine"}
    folder, out = write(tmp_path / "in", FILES), write(tmp_path / "out", torn | mine)
    run(folder, out)
    assert contents(out) == MADE | mine


@pytest.mark.parametrize("way", ["links", "copies", "no links", "real"])
def test_it_survives_any_kill(tmp_path, monkeypatch, way):
    if way == "no links":  # as between file systems
        monkeypatch.setattr(os, "link", no_links)
    kill = really_killed_before if way == "real" else killed_before
    check_killed_anywhere(tmp_path, FILES, MADE, lambda *folders: run(*folders, copy=way == "copies"), kill)
    linked = (tmp_path / "in0/a/1").samefile(tmp_path / "out0/a/2")
    assert linked == (way in ("links", "real"))


def test_what_is_there_is_kept_and_a_second_run_writes_nothing(tmp_path, capsys):
    folder, out = write(tmp_path / "in", FILES), write(tmp_path / "out", {"new/double": b"twotwo", "other": b"mine"})
    run(folder, out)
    said = capsys.readouterr().out
    assert "1 file of" in said and "left out: top" in said
    assert f"4 files in {out} (1 were there already); 3 are hard links" in said and "--copy" in said
    stamps = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    run(folder, out)
    assert "(4 were there already)\n" in capsys.readouterr().out
    assert stamps == {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    assert contents(out) == MADE | {"other": b"mine"} and contents(folder) == FILES
    run(folder, out, copy=True)  # links become copies
    (out / "a/2").write_bytes(b"changed")
    assert contents(folder) == FILES


def test_conflicts_are_found_before_anything_is_written(tmp_path):
    folder = write(tmp_path / "in", FILES)
    out = write(tmp_path / "out", {"taken": b"else", "folder/1": b"", "two": b"two"})
    times = (folder / "a/1").stat()
    (out / "one").write_bytes(b"ONE")
    os.utime(out / "one", ns=(times.st_atime_ns, times.st_mtime_ns))
    (out / "nowhere").symlink_to("gone")
    (out / "back").symlink_to(folder)
    before = contents(tmp_path)
    for names, words in [
        ({"a/1": "taken"}, f"{out}/taken is there and is not what {folder}/a/1 becomes"),
        ({"a/1": "one"}, f"{out}/one is there and is not"), ({"a/3": "two"}, f"{out}/two is there and is not"),
        ({"a/1": "folder"}, f"{out}/folder is there"), ({"a/1": "nowhere"}, "nowhere is there"),
        ({"a/1": "x", "a/2": "x"}, f"{folder}/a/1 and {folder}/a/2 would become x and x, which cannot both be"),
        ({"a/1": "d/x", "a/2": "d/X"}, "would become d/x and d/X, which cannot both be on every file system"),
        ({"a/1": "D/x", "a/2": "d/y"}, "would become D/x and d/y, which"),
        ({"a/1": "\u00e9", "a/2": "e\u0301"},
         "which cannot both be on every file system ('\u00e9' and 'e\u0301' differ in their Unicode form"),
        ({"a/1": "x", "a/2": "x/y"}, "would become x and x/y, which"),
        ({"a/1": "x/y", "a/2": "x"}, "would become x/y and x, which"),
        ({"a/1": "taken/below"}, f"{out}/taken is a file where a folder must be"),
        ({"a/1": 256 * "n"}, "a longer name than file systems take"), ({"gone": "1"}, "is no file that can be read"),
        ({"a/1": "../x"}, "no name below"), ({"a/1": "/x"}, "no name below"), ({"a/1": ""}, "no name below"),
        ({"a/1": "back/new"}, f"is or lies in {folder}, which is only read"),
    ]:
        assert words in message(run, folder, out, {"top": "free", **names}), names
    assert contents(tmp_path) == before
    file = out / "taken"
    assert "is a file where a folder must be" in message(run, folder, file)


def test_out_is_never_the_folder_or_in_it(tmp_path):
    folder = write(tmp_path / "in", FILES)
    (tmp_path / "link").symlink_to(folder)
    for out in (folder, folder / "deep/er", tmp_path / "link/b", tmp_path / "in/../in"):
        for call in (lambda out=out: run(folder, out), lambda out=out: files_below(folder, out)):
            assert f"{out} is or lies in {folder}, which is only read; choose another OUT" in message(call)
    assert contents(folder) == FILES


def test_links_are_followed_and_their_files_stay(tmp_path):
    other = write(tmp_path / "other", {"file": b"linked", "deep/1": b"1"})
    folder, out = write(tmp_path / "in", {"own": b"own"}), tmp_path / "out"
    (folder / "file").symlink_to("../other/file")
    (folder / "folder").symlink_to(other / "deep")
    names = files_below(folder, out)
    assert names == ["file", "folder/1", "own"]
    make_folder(folder, out, {name: f"new/{name}" for name in names})
    assert contents(out) == {"new/file": b"linked", "new/folder/1": b"1", "new/own": b"own"}
    assert not any(path.is_symlink() for path in out.rglob("*")) and (out / "new/file").samefile(other / "file")
    (folder / "again").symlink_to(folder)
    assert f"{folder}/again is a link to a folder above it" in message(files_below, folder, out)
    (folder / "again").unlink()
    (folder / "to").symlink_to(out)
    assert f"{folder}/to leads into {out}" in message(files_below, folder, out)
    (folder / "to").unlink()
    (folder / "broken").symlink_to("gone")
    assert "a link to none" in message(run, folder, out, {"broken": "x"})
    assert f"{folder}/broken (a link to gone, which is not there)" in message(files_below, folder, out)
    (folder / "broken").unlink()
    (folder / "broken").symlink_to("broken")
    assert f"{folder}/broken (a link to itself)" in message(files_below, folder, out)
    assert "cannot read folder" in message(files_below, folder / "broken", out)


def test_a_dry_run_says_what_would_be_made_and_changes_nothing(tmp_path, capsys):
    folder, out = write(tmp_path / "in", FILES), tmp_path / "out"
    run(folder, out, dry_run=True, before=lambda: 1 / 0)
    assert f"{folder}/a/1 -> {out}/a/2\n" in capsys.readouterr().out
    assert not out.exists() and contents(folder) == FILES
    assert "cannot both be" in message(run, folder, out, {"a/1": "x", "a/2": "x"}, dry_run=True)


def test_files_below_are_in_natural_order_without_hidden_ones(tmp_path, capsys):
    names = ["10/1.png", "9/10.npz", "9/9.npz", ".hidden/1", "9/.hidden", "top"]
    write(tmp_path / "in", dict.fromkeys(names, b""))
    assert files_below(tmp_path / "in", tmp_path / "out") == ["9/9.npz", "9/10.npz", "10/1.png", "top"]
    assert capsys.readouterr().out == (f"note: {tmp_path}/in: left out are hidden files and folders: .hidden, "
                                       "9/.hidden\n")
    assert list(images_below(tmp_path / "in", tmp_path).values()) == [None, None, "10/1.png", None]
    (tmp_path / "empty").mkdir()
    assert "holds no files" in message(files_below, tmp_path / "empty", tmp_path / "out")
    assert "cannot read folder" in message(files_below, tmp_path / "gone", tmp_path / "out")
    assert "holds no images" in message(images_below, write(tmp_path / "x", {"1.txt": b""}), tmp_path / "out")


def test_a_full_disk_is_one_line_and_the_same_command_goes_on(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1M", "none", disk], capture_output=True).returncode:
        pytest.skip("a small disk cannot be mounted here")
    try:
        given = {f"{number}": bytes([number]) * 200_000 for number in range(4)}
        folder, out = write(tmp_path / "in", given), disk / "out"
        (disk / "ballast").write_bytes(bytes(600_000))
        text = message(make_folder, folder, out, {name: name for name in given})
        assert "cannot write" in text and "No space left on device" in text
        there = contents(out)
        assert 0 < len(there) < len(given) and there.items() <= given.items() and contents(folder) == given
        (disk / "ballast").unlink()
        make_folder(folder, out, {name: name for name in given})
        assert contents(out) == given
    finally:
        subprocess.run(["umount", disk], check=True)


def test_names_of_all_lengths_survive_a_kill(tmp_path):
    """Temporary names have no room for all of the longest names."""
    long = {f"{letter * 125}x.png": letter.encode() for letter in "éè"} | {"x" * 255: b"x"}
    check_killed_anywhere(tmp_path, long, long, lambda *folders: make_folder(*folders, {name: name for name in long},
                                                                             copy=True))
