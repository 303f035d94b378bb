"""rename_images, combine_subfolders and switch_subfolders: the right names, and back again."""
import pytest

from tests.data.killing import check_killed_anywhere, contents, write
from timecyclegan.data import combine_subfolders, rename_images, switch_subfolders

TREE = {"10/frame9.PNG": b"a", "10/frame10.png": b"b", "10/frame1.jpeg": b"c", "9/00001.png": b"d", "9/00002.png": b"e",
        "9/00003.png": b"e"}
RENAMED = {"10/00001.png": b"a", "10/00002.png": b"b", "10/00000.jpeg": b"c", "9/00000.png": b"d", "9/00001.png": b"e",
           "9/00002.png": b"e"}
DEEP = {"a/b/1.png": b"1", "a/b/deep/2.npz": b"2", "a/c/1.png": b"3", "b/a/1.png": b"4", "b/c/1.png": b"5"}


def done(command, *arguments):
    assert command.main([*map(str, arguments)]) == 0


def failed(capsys, command, *arguments):
    assert command.main([*map(str, arguments)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    return error


def test_images_are_numbered_in_natural_order_and_names_are_undone(tmp_path, capsys):
    names = tmp_path / "names.csv"
    check_killed_anywhere(tmp_path, TREE, RENAMED, lambda *folders: done(rename_images, *folders, "--names", names))
    assert names.read_text().splitlines()[:2] == ["new,old", "9/00000.png,9/00001.png"]
    done(rename_images, tmp_path / "out0", tmp_path / "back", "--undo", names)
    assert contents(tmp_path / "back") == TREE
    write(tmp_path / "in0", {"9/.hidden": b"", "9/notes.txt": b""})
    (tmp_path / "in0/9/00001.png").unlink()
    assert "holds other names" in failed(capsys, rename_images, tmp_path / "in0", tmp_path / "new", "--names", names)
    done(rename_images, tmp_path / "in0", tmp_path / "new")
    assert "1 file of" in (said := capsys.readouterr().out) and "left out: 9/notes.txt" in said
    (tmp_path / "out0/9/00000.png").unlink()
    assert "lists files that" in failed(capsys, rename_images, tmp_path / "out0", tmp_path / "new", "--undo", names)


def test_names_are_not_written_where_there_is_a_conflict_or_a_dry_run(tmp_path, capsys):
    folder, names = write(tmp_path / "data", {"a/1.png": b"1"}), tmp_path / "names.csv"
    inside = failed(capsys, rename_images, folder, tmp_path / "new", "--names", folder / "names.csv")
    assert "which is only read" in inside and not (tmp_path / "new").exists()
    out = write(tmp_path / "out", {"a/00000.png": b"another"})
    assert "is there and is not" in failed(capsys, rename_images, folder, out, "--names", names)
    done(rename_images, folder, tmp_path / "new", "--names", names, "--dry_run")
    assert not names.exists() and not (tmp_path / "new").exists()


def test_digits_and_first_number(tmp_path, capsys):
    folder = write(tmp_path / "data", {f"{number}.png": bytes([number]) for number in range(12)})
    done(rename_images, folder, tmp_path / "out", "--copy", "--digits", 1, "--first", 98)
    assert contents(tmp_path / "out") == {f"{number + 98:03}.png": bytes([number]) for number in range(12)}
    assert "expected 1 or more" in failed(capsys, rename_images, folder, tmp_path / "new", "--digits", 0)
    assert "OUT" in failed(capsys, rename_images, folder)


def test_a_bad_list_of_names_is_refused(tmp_path, capsys):
    folder, names = write(tmp_path / "data", {"1.png": b""}), tmp_path / "names.csv"
    for text in ("", "old,new\n1.png,2.png\n", "new,old\n1.png\n"):
        names.write_text(text)
        assert str(names) in failed(capsys, rename_images, folder, tmp_path / "out", "--undo", names)
    names.write_text("new,old\n1.png,../2.png\n")
    assert "no name below" in failed(capsys, rename_images, folder, tmp_path / "out", "--undo", names)
    assert contents(tmp_path).keys() == {"data/1.png", "names.csv"}


def test_files_of_subfolders_come_into_one_folder_and_back(tmp_path):
    combined = {name.replace("/", "__"): content for name, content in DEEP.items()}
    check_killed_anywhere(tmp_path / "there", DEEP, combined, lambda *folders: done(combine_subfolders, *folders))
    check_killed_anywhere(tmp_path / "back", combined, DEEP,
                          lambda *folders: done(combine_subfolders, *folders, "--undo"))


def test_names_that_could_not_be_undone_or_lead_elsewhere_are_refused(tmp_path, capsys):
    for number, name in enumerate(("a__b/1.png", "a_/1.png", "1__2.png")):
        folder, out = write(tmp_path / f"in{number}", {name: b"1", "a/2": b"2"}), tmp_path / f"out{number}"
        assert "--separator" in failed(capsys, combine_subfolders, folder, out)
        done(combine_subfolders, folder, out, "--separator", "+")
        assert contents(out) == {name.replace("/", "+"): b"1", "a+2": b"2"}
        assert "without /" in failed(capsys, combine_subfolders, folder, out, "--separator", "/")
    for number, name in enumerate(("a__..__b", "a____b", "a__.__b", "__b")):
        folder = write(tmp_path / f"undo{number}", {name: b"1"})
        assert "is no name that" in failed(capsys, combine_subfolders, folder, tmp_path / "out", "--undo")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("stray", [{}, {"a/stray.txt": b"", "top.txt": b""}])
def test_levels_are_exchanged(tmp_path, capsys, stray):
    """a/b and b/a exist both, and change places."""
    switched = {"b/a/1.png": b"1", "b/a/deep/2.npz": b"2", "c/a/1.png": b"3", "a/b/1.png": b"4", "c/b/1.png": b"5"}
    check_killed_anywhere(tmp_path, DEEP | stray, switched, lambda *folders: done(switch_subfolders, *folders))
    assert ("left out: a/stray.txt, top.txt" in capsys.readouterr().out) == bool(stray)
    done(switch_subfolders, tmp_path / "out0", tmp_path / "twice")
    assert contents(tmp_path / "twice") == DEEP
