"""Plans are checked as a whole and carried out wholly, wherever the process is killed."""
import errno
import fcntl
import itertools
import os
import subprocess
import sys

import pytest

from tests.data import killing
from tests.data.killing import check_killed_anywhere, contents, killed_before, really_killed_before
from tests.datasets.helpers import message
from timecyclegan.data import moving
from timecyclegan.data.moving import carry_out
from timecyclegan.data.planning import COPY, MOVE, Job, Step, files_below

FILES = {"a/1": b"one", "a/2": b"two", "a/3": b"two", "b/1": b"four", "top": b"five"}
# A chain, a cycle of two, files of the same bytes, one that stays, one to a new folder.
STEPS = [Step("a/1", "a/2", MOVE), Step("a/2", "a/3", MOVE), Step("a/3", "new/3", MOVE), Step("b/1", "top", MOVE),
         Step("top", "b/1", MOVE)]
MOVED = {"a/2": b"one", "a/3": b"two", "new/3": b"two", "top": b"four", "b/1": b"five"}


def write(folder, files=FILES):
    return killing.write(folder, files)


def doubled(old, new):
    new.write_bytes(2 * old.read_bytes())


def run(folder, steps=STEPS, out="", **options):
    carry_out(Job("test", folder, folder / out if out else folder, {}, {"double": doubled}), lambda: steps, **options)


def no_links(*_, **__):
    raise OSError(errno.EXDEV, "Invalid cross-device link")


@pytest.mark.parametrize("links", [True, False])
def test_moves_to_names_that_others_leave_survive_any_kill(tmp_path, monkeypatch, links):
    if not links:  # as between file systems
        monkeypatch.setattr(os, "link", no_links)
    check_killed_anywhere(lambda number: write(tmp_path / str(number)), run, MOVED, FILES.values())


@pytest.mark.parametrize("stride", [7, pytest.param(1, marks=pytest.mark.slow)])
def test_moves_survive_sigkill(tmp_path, stride):
    check_killed_anywhere(lambda number: write(tmp_path / str(number)), run, MOVED, FILES.values(),
                          really_killed_before, stride)


def test_moves_copies_and_makes_to_another_folder_survive_any_kill(tmp_path):
    steps = [Step("a/1", "x/1", MOVE), Step("a/2", "x/2", COPY), Step("a/3", "y", "double"), Step("top", "z", MOVE)]
    result = {"from/a/2": b"two", "from/a/3": b"two", "from/b/1": b"four",
              "to/x/1": b"one", "to/x/2": b"two", "to/y": b"twotwo", "to/z": b"five"}

    def call(folder):
        carry_out(Job("test", folder / "from", folder / "to", {}, {"double": doubled}), lambda: steps)

    check_killed_anywhere(lambda number: write(tmp_path / str(number) / "from").parent, call, result, FILES.values())


def test_what_is_made_in_place_survives_any_kill(tmp_path):
    """A maker that ran twice on a file would double it twice."""
    steps = [Step(name, name, "double") for name in FILES]
    result = {name: 2 * content for name, content in FILES.items()}
    check_killed_anywhere(lambda number: write(tmp_path / str(number)), lambda folder: run(folder, steps), result, [])


def test_folders_that_became_empty_go_and_others_stay(tmp_path):
    write(tmp_path, FILES | {"deep/er/1": b"six", "deep/.hidden": b"seven"})
    run(tmp_path, [Step("deep/er/1", "new/1", MOVE), Step("b/1", "new/2", MOVE)])
    assert not (tmp_path / "deep/er").exists() and not (tmp_path / "b").exists()
    assert (tmp_path / "deep/.hidden").exists() and (tmp_path / "a").is_dir()


@pytest.mark.parametrize("act", [MOVE, COPY, "double"])
def test_conflicts_are_found_before_anything_is_moved(tmp_path, act):
    folder, there = write(tmp_path / "from"), {"taken": b"else", "two": b"two", "twotwo": b"twotwo", "folder/1": b""}
    out = write(tmp_path / "to", there)
    before = contents(tmp_path)

    def said(*targets):
        steps = [Step("top", "free", act), *(Step(name, target, act) for name, target in targets)]
        return message(run, folder, steps, "../to")

    assert f"{folder}/a/1 would become {out}/taken, which exists with other content" in said(("a/1", "taken"))
    assert f"a/1 and a/2 would both become {out}/same" in said(("a/1", "same"), ("a/2", "same"))
    assert "cannot be a file and a folder" in said(("a/1", "taken/below"))
    assert "cannot be a file and a folder" in said(("a/1", "x"), ("a/2", "x/y"))
    assert "exists with other content" in said(("a/1", "folder"))
    assert "longer name than file systems take" in said(("a/1", 256 * "n"))
    assert "is no file" in said(("gone", "1"))
    assert contents(tmp_path) == before
    run(folder, [Step("a/2", "twotwo" if act == "double" else "two", act)], "../to")  # there already, as it should be
    assert (folder / "a/2").exists() == (act != MOVE)
    assert contents(out) == there


def test_copies_need_another_folder_and_it_must_not_lie_inside(tmp_path):
    write(tmp_path / "from")
    assert "give the folder OUT" in message(run, tmp_path / "from", [Step("a/1", "c", COPY)])
    assert "lies in" in message(run, tmp_path / "from", [], "below")
    assert "cannot read folder" in message(run, tmp_path / "gone")


def test_a_dry_run_says_what_would_be_done_and_changes_nothing(tmp_path, capsys):
    write(tmp_path)
    run(tmp_path, STEPS, dry_run=True)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"move: {tmp_path}/a/1 -> {tmp_path}/a/2" and lines[-1].endswith("move 5 files")
    assert contents(tmp_path) == FILES
    assert "would both become" in message(run, tmp_path, [Step("a/1", "x", MOVE), Step("a/2", "x", MOVE)], dry_run=True)


def test_another_command_is_not_begun_amid_one(tmp_path, monkeypatch):
    folder = write(tmp_path / "from")
    with monkeypatch.context() as patch:
        patch.setattr(moving._Mover, "_bring", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            run(folder)
    other = Job("test", folder, folder, {"digits": 4})
    text = message(carry_out, other, lambda: STEPS)
    assert text.startswith(f"{folder} holds an unfinished run of test on {folder}; run that again")
    run(folder)
    assert contents(folder) == MOVED


def test_a_maker_that_fails_leaves_nothing_and_can_be_tried_again(tmp_path):
    folder = write(tmp_path)
    wrong = Job("test", folder, folder, {}, {"double": no_links})
    for _ in range(2):
        assert "cannot write" in message(carry_out, wrong, lambda: [Step(name, name, "double") for name in FILES])
        assert contents(folder) == FILES


def test_a_bad_copy_is_noticed_and_the_original_stays(tmp_path, monkeypatch):
    folder = write(tmp_path / "from")
    monkeypatch.setattr(os, "link", no_links)
    monkeypatch.setattr(moving.shutil, "copy2", lambda old, new: new.write_bytes(b"0" * old.stat().st_size))
    assert "differs from" in message(run, folder, [Step("a/1", "1", MOVE)], "../to")
    assert contents(folder) == FILES


def test_a_copy_that_was_changed_since_the_kill_is_noticed_and_the_original_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "link", no_links)
    steps = [Step("a/1", "1", MOVE)]
    for number in itertools.count():
        folder, copy = write(tmp_path / str(number) / "from"), tmp_path / str(number) / "to/1"
        assert killed_before(number, lambda folder=folder: run(folder, steps, "../to"))
        if copy.exists():
            break
    copy.write_bytes(b"ONE")
    assert "differs from" in message(run, folder, steps, "../to")
    assert contents(folder) == FILES


def test_a_link_to_a_file_becomes_the_file_and_its_own_file_stays(tmp_path):
    folder, other = tmp_path / "from", write(tmp_path / "other", {"file": b"linked"})
    folder.mkdir()
    (folder / "link").symlink_to("../other/file")
    run(folder, [Step("link", "deep/er/name", MOVE)])
    assert contents(folder) == {"deep/er/name": b"linked"} and not (folder / "deep/er/name").is_symlink()
    assert contents(other) == {"file": b"linked"} and (other / "file").stat().st_nlink == 1


def test_a_file_that_appears_meanwhile_is_not_overwritten(tmp_path, monkeypatch):
    folder = write(tmp_path)
    place = moving._Mover._place
    with monkeypatch.context() as patch:
        patch.setattr(moving._Mover, "_place", lambda *arguments: (
            write(folder, {"a/3": b"new"}) if arguments[-1].target == "a/3" else None, place(*arguments)))
        assert f"{folder}/a/3 appeared while the command ran" in message(run, folder)
    (folder / "a/3").unlink()
    run(folder)
    assert contents(folder) == MOVED


@pytest.mark.parametrize("busy", ["from", "to"])
def test_two_processes_do_not_work_in_one_folder(tmp_path, busy):
    folder, out = write(tmp_path / "from"), tmp_path / "to"
    out.mkdir()
    holder = subprocess.Popen([sys.executable, "-c", "import fcntl, os, sys; "
                               f"fcntl.flock(os.open({str(tmp_path / busy)!r}, os.O_RDONLY), {fcntl.LOCK_EX}); "
                               "print(flush=True); sys.stdin.read()"],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    holder.stdout.readline()
    steps = [Step(name, name, MOVE) for name in FILES]
    assert f"another process is working in {tmp_path / busy}" in message(run, folder, steps, "../to")
    holder.communicate()
    run(folder, steps, "../to")
    assert contents(folder) == {} and contents(out) == FILES


def test_two_runs_at_once_into_one_folder_are_one_after_the_other(tmp_path):
    """The second is refused while the first plans, wherever it comes from, and finds its results then."""
    first, second, out = write(tmp_path / "1"), write(tmp_path / "2", {"x": b"x"}), tmp_path / "deep/out"

    def plan():
        assert f"another process is working in {out}" in message(run, second, [Step("x", "x", MOVE)], "../deep/out")
        return [Step("a/1", "y", MOVE)]

    carry_out(Job("test", first, out), plan)
    run(second, [Step("x", "x", MOVE)], "../deep/out")
    assert contents(out) == {"x": b"x", "y": b"one"}


def test_folders_of_results_are_made_for_results_alone(tmp_path):
    folder = write(tmp_path / "from")
    assert "longer name" in message(run, folder, [Step("a/1", 256 * "n", MOVE)], "../deep/out")
    run(folder, [Step("a/1", "1", MOVE)], "../deep/out", dry_run=True)
    assert not (tmp_path / "deep").exists()
    (tmp_path / "file").write_bytes(b"")
    assert f"cannot make folder {tmp_path}/file/out" in message(run, folder, [], "../file/out")


def test_files_below_are_in_natural_order_without_hidden_ones(tmp_path):
    names = ["10/1.png", "9/10.npz", "9/9.npz", ".hidden/1", "9/.hidden", "top"]
    write(tmp_path, dict.fromkeys(names, b""))
    assert files_below(tmp_path) == ["9/9.npz", "9/10.npz", "10/1.png", "top"]
    (tmp_path / "link").symlink_to(tmp_path / "9")
    assert "link to another folder" in message(files_below, tmp_path)
    (tmp_path / "empty").mkdir()
    assert "holds no files" in message(files_below, tmp_path / "empty")
