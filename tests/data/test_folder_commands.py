"""rename_images, combine_subfolders and switch_subfolders: the right names, back again, and killed half-way."""
import pytest

from tests.data.killing import check_killed_anywhere, contents, write
from tests.datasets.helpers import message
from timecyclegan.data import combine_subfolders, rename_images, switch_subfolders

TREE = {"10/frame9.PNG": b"a", "10/frame10.png": b"b", "10/frame1.jpeg": b"c", "9/00001.png": b"d", "9/00002.png": b"e",
        "9/00003.png": b"e"}
RENAMED = {"10/00001.png": b"a", "10/00002.png": b"b", "10/00000.jpeg": b"c", "9/00000.png": b"d", "9/00001.png": b"e",
           "9/00002.png": b"e"}
DEEP = {"a/b/1.png": b"1", "a/b/deep/2.npz": b"2", "a/c/1.png": b"3", "b/a/1.png": b"4", "b/c/1.png": b"5"}


def failed(command, *arguments):
    assert command.main([*map(str, arguments)]) == 2


def done(command, *arguments):
    assert command.main([*map(str, arguments)]) == 0


# ---- rename_images

def test_images_are_numbered_in_natural_order_wherever_killed(tmp_path):
    """9/00001.png becomes 00000.png, 00002.png becomes 00001.png: names that others leave."""
    check_killed_anywhere(lambda number: write(tmp_path / str(number), TREE),
                          lambda folder: done(rename_images, folder), RENAMED, TREE.values(), stride=3)


def test_a_second_run_has_nothing_to_do_and_names_are_undone(tmp_path, capsys):
    folder, names = write(tmp_path / "data", TREE), tmp_path / "names.csv"
    done(rename_images, folder, "--names", names)
    assert contents(folder) == RENAMED
    assert names.read_text().splitlines()[:2] == ["new,old", "9/00000.png,9/00001.png"]
    done(rename_images, folder)
    assert "nothing to do" in capsys.readouterr().out
    assert contents(folder) == RENAMED
    failed(rename_images, folder, "--names", names)  # other names
    done(rename_images, folder, "--undo", names)
    assert contents(folder) == TREE


def test_names_are_not_written_where_there_is_a_conflict(tmp_path, capsys):
    folder = write(tmp_path / "data", {"a/1.png": b"1"})
    write(tmp_path / "out", {"a/00000.png": b"another"})
    failed(rename_images, folder, tmp_path / "out", "--names", tmp_path / "names.csv")
    assert "exists with other content" in capsys.readouterr().err
    assert not (tmp_path / "names.csv").exists() and not list(tmp_path.rglob(".*"))


def test_digits_and_first_number(tmp_path):
    folder = write(tmp_path / "data", {f"{number}.png": bytes([number]) for number in range(12)})
    done(rename_images, folder, tmp_path / "out", "--copy", "--digits", 1, "--first", 98)
    assert contents(tmp_path / "out") == {f"{number + 98:03}.png": bytes([number]) for number in range(12)}
    assert len(contents(folder)) == 12
    failed(rename_images, folder, "--digits", 0)


@pytest.mark.parametrize("text", ["", "old,new\n1.png,2.png\n", "new,old\n1.png\n", "new,old\n1.png,../2.png\n",
                                  "new,old\n1.png,/2.png\n"])
def test_a_bad_list_of_names_is_refused(tmp_path, text, capsys):
    folder = write(tmp_path / "data", {"1.png": b""})
    (tmp_path / "names.csv").write_text(text)
    failed(rename_images, folder, "--undo", tmp_path / "names.csv")
    assert str(tmp_path / "names.csv") in capsys.readouterr().err
    assert contents(folder) == {"1.png": b""}


def test_a_dry_run_of_each_changes_nothing(tmp_path, capsys):
    for command in (rename_images, combine_subfolders, switch_subfolders):
        folder = write(tmp_path / command.__name__, {f"a/b/{name}.png": b"" for name in range(3)})
        before = contents(tmp_path)
        done(command, folder, "--dry_run", *(["--names", tmp_path / "n"] if command is rename_images else []))
        assert contents(tmp_path) == before
        assert "move: " in capsys.readouterr().out


# ---- combine_subfolders

def test_files_of_subfolders_come_into_one_folder_and_back_wherever_killed(tmp_path):
    combined = {name.replace("/", "__"): content for name, content in DEEP.items()}
    check_killed_anywhere(lambda number: write(tmp_path / "there" / str(number), DEEP),
                          lambda folder: done(combine_subfolders, folder), combined, DEEP.values(), stride=3)
    check_killed_anywhere(lambda number: write(tmp_path / "back" / str(number), combined),
                          lambda folder: done(combine_subfolders, folder, "--undo"), DEEP, DEEP.values(), stride=3)


@pytest.mark.parametrize("name", ["a__b/1.png", "a_/1.png", "1__2.png"])
def test_names_that_could_not_be_undone_are_refused(tmp_path, name, capsys):
    folder = write(tmp_path, {name: b"1", "a/2": b"2"})
    failed(combine_subfolders, folder)
    assert "--separator" in capsys.readouterr().err
    done(combine_subfolders, folder, "--separator", "+")
    assert contents(folder) == {name.replace("/", "+"): b"1", "a+2": b"2"}


@pytest.mark.parametrize("name", ["a__..__b", "a____b", "a__.__b", "__b"])
def test_names_that_lead_elsewhere_are_not_taken_apart(tmp_path, name, capsys):
    folder = write(tmp_path / "data", {name: b"1"})
    failed(combine_subfolders, folder, "--undo")
    assert "is no name that combine_subfolders made" in capsys.readouterr().err
    assert contents(tmp_path) == {f"data/{name}": b"1"}


def test_copies_leave_the_folder_as_it_is(tmp_path):
    folder = write(tmp_path / "data", DEEP)
    done(combine_subfolders, folder, tmp_path / "out", "--copy")
    assert contents(folder) == DEEP and len(contents(tmp_path / "out")) == len(DEEP)
    failed(combine_subfolders, folder, "--copy")
    assert "without /" in message(combine_subfolders.combine_subfolders, folder, separator="/")


# ---- switch_subfolders

def test_levels_are_exchanged_wherever_killed(tmp_path):
    """a/b and b/a exist both, and change places."""
    switched = {"b/a/1.png": b"1", "b/a/deep/2.npz": b"2", "c/a/1.png": b"3", "a/b/1.png": b"4", "c/b/1.png": b"5"}
    check_killed_anywhere(lambda number: write(tmp_path / str(number), DEEP),
                          lambda folder: done(switch_subfolders, folder), switched, DEEP.values(), stride=3)
    folder = write(tmp_path / "twice", DEEP)
    done(switch_subfolders, folder)
    done(switch_subfolders, folder)
    assert contents(folder) == DEEP


def test_a_file_that_does_not_lie_two_folders_deep_is_named(tmp_path, capsys):
    folder = write(tmp_path, DEEP | {"a/stray.txt": b""})
    failed(switch_subfolders, folder)
    assert "a/stray.txt does not lie two folders deep" in capsys.readouterr().err
    assert contents(folder) == DEEP | {"a/stray.txt": b""}
