"""Names: what users write for a path, one name in several Unicode forms, look-alikes, names that are too long."""
import json
import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest

from timecyclegan.util import logs
from timecyclegan.util.argparser import parse
from timecyclegan.util.errors import UserError, command, note
from timecyclegan.util.files import replacing, write_json
from timecyclegan.util.names import fitting, look_alike, present, readable, user_path
from timecyclegan.util.options import Options, TestOptions, VideoOptions

BYTES = os.fsdecode(b"caf\xe9 \xff")
NFC, NFD = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))


@pytest.fixture
def home(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_home_is_expanded_once_and_everywhere(home):
    for given in ("~/a", Path("~/a"), home / "a", os.fsencode(home / "a")):
        assert user_path(given) == home / "a" == user_path(user_path(given))
    assert user_path("~") == home and user_path("a/~") == Path("a/~") and user_path("~no user/x") == Path("~no user/x")
    # What a shell would not expand stays, however often it is read.
    assert user_path(user_path("./~")) == Path.cwd() / "~"
    write_json("~/deep/a.json", 1)
    assert json.loads((home / "deep/a.json").read_text()) == 1 and not list(Path.cwd().iterdir())


def test_home_is_expanded_in_every_option_that_is_a_path(home):
    paths = {Options: ("flow_weights", "flow_cache", "init_checkpoint_dir"), VideoOptions: ("video",),
             TestOptions: ("test_output_dir", "metric_flow_weights")}  # fmt: skip
    for kind, names in paths.items():
        made = kind(**dict.fromkeys(names, "~/x.mp4"))
        assert [getattr(made, name) for name in names] == [str(home / "x.mp4")] * len(names)
        assert getattr(kind(**{names[0]: Path("~/x.mp4")}), names[0]) == str(home / "x.mp4")
    assert Options().flow_weights == "" and TestOptions(test_output_dir="./a//b/").test_output_dir == "./a//b/"
    given = parse("test", ["run", "~/in", "~/real", "--test_output_dir=~/out", "--flow_weights", "~/w"])
    assert given.folders == {"test_source_dir": home / "in", "test_target_dir": home / "real"}
    assert given.given == {"test_output_dir": str(home / "out"), "flow_weights": str(home / "w")}


def test_one_name_in_two_unicode_forms_is_one_path(tmp_path, monkeypatch):
    (tmp_path / NFD / "deep").mkdir(parents=True)
    assert present(tmp_path / NFC / "deep" / "new") == tmp_path / NFD / "deep" / "new"
    assert user_path(tmp_path / NFD) == tmp_path / NFD and present(Path("é")) == Path("é")
    (tmp_path / "checkpoints" / NFD).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert parse("test", [NFC, "in"]).name == NFD and parse("test", ["naïve", "in"]).name == "naïve"


@pytest.mark.parametrize("stem", ["a" * 251, "é" * 125, "😀" * 62 + "abc", os.fsdecode(b"\xff" * 251)])
def test_a_file_of_the_longest_name_can_be_written(tmp_path, stem):
    path = tmp_path / f"{stem}.txt"
    with replacing(path) as temporary:
        assert temporary.suffix == ".txt" and temporary != path
        temporary.write_text("x")
    assert os.listdir(tmp_path) == [path.name]


def test_names_that_do_not_fit_are_cut_between_characters_and_stay_apart():
    assert fitting("a" * 250, ".webm") == "a" * 250 + ".webm"
    for character in ("a", "é", "€", "😀", "\udcff"):
        stems = [character * 255 + last for last in "xy"]
        made = [fitting(stem, ".webm") for stem in stems]
        assert len(set(made)) == 2 and fitting(stems[0], ".webm") == made[0]
        for name in made:
            assert 250 < len(os.fsencode(name)) <= 255 and name.endswith(".webm")
            assert set(name.partition("~")[0]) == {character}


@pytest.mark.parametrize("name, other, said", [
    (NFC, NFD, "Unicode form (NFC, NFD): U+00E9 LATIN SMALL LETTER E WITH ACUTE against U+0065 LATIN SMALL LETTER E, "
               "U+0301 COMBINING ACUTE ACCENT"),
    ("Train", "train", "case: U+0054 LATIN CAPITAL LETTER T against U+0074 LATIN SMALL LETTER T"),
    ("a ", "a", "spaces at an end: U+0020 SPACE against nothing"),
    ("a\u200bb", "ab", "not seen: U+200B ZERO WIDTH SPACE against nothing"),
    ("a\u00a0b", "a b", "look alike or are not seen: U+00A0 NO-BREAK SPACE against U+0020 SPACE"),
    ("сat", "cat", "U+0441 CYRILLIC SMALL LETTER ES against U+0063 LATIN SMALL LETTER C"),
    ("a–b", "a-b", "U+2013 EN DASH against U+002D HYPHEN-MINUS"),
    (os.fsdecode(b"caf\xe9"), "café", "byte 0xE9 against U+00E9 LATIN SMALL LETTER E WITH ACUTE"),
])  # fmt: skip
def test_look_alikes_are_told_apart(name, other, said):
    found = look_alike(name, ["else", name, other])
    assert said in found and "\n" not in found
    assert look_alike(name, ["else", name]) == ""


def test_a_dash_that_a_text_processor_made_is_pointed_out(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as caught:
        parse("train", ["run", "a", "b", "–batch_size", "4"])
    assert str(caught.value) == (
        "–batch_size is not known; did you mean --batch_size?; '–batch_size' and '--batch_size' differ in characters "
        "that look alike or are not seen: U+2013 EN DASH against U+002D HYPHEN-MINUS, U+002D HYPHEN-MINUS (see --help)")


def test_messages_stay_one_line_and_notes_are_said_once(capsys):
    name = "a\nb\x1b[31m\u202e\u2028\r"
    assert str(UserError(f"cannot read {name}")) == "cannot read a\\nb\\x1b[31m\\u202e\\u2028\\r"

    @command
    def main():
        for _ in range(2):
            note(f"about {name}")
            note(f"about {BYTES}")

    main()
    main()
    assert capsys.readouterr().out == 2 * ("note: about a\\nb\\x1b[31m\\u202e\\u2028\\r\n"
                                           "note: about caf\\xe9 \\xff\n")


def test_a_terminal_without_unicode_prints_all_names():
    code = f"""
from timecyclegan.util.errors import UserError, command
@command
def main():
    print({NFC + BYTES!a})
    raise UserError({NFC + BYTES!a})
raise SystemExit(main())"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=Path(__file__).parents[2],
                         env={**os.environ, "PYTHONIOENCODING": "ascii", "LC_ALL": "C"})
    assert ran.returncode == 2 and ran.stdout == b"caf\\xe9caf\\udce9 \\udcff\n"
    assert ran.stderr == b"error: " + ran.stdout


def test_tables_and_the_command_log_keep_names_as_they_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table, names = tmp_path / "t.csv", [BYTES, NFD, "a\nb", 'q"uo,te', "😀", " lead", "="]
    for name in names:
        logs.append_csv(table, {"name": name})
    assert [row["name"] for row in logs.read_csv(table)] == names
    logs.append_csv(table, {"name": "x", "new": "column"})  # the table is made anew
    assert [row["name"] for row in logs.read_csv(table)] == [*names, "x"]
    monkeypatch.setattr(sys, "argv", ["train.py", "run", *names, "it's\n\\n"])
    logs.log_command()
    line, end = logs.COMMAND_LOG.read_bytes().split(b"\n")
    assert end == b""
    words = line.split(b" ", 2)[2]
    ran = subprocess.run([b"bash", b"-c", b"printf '%s\\0' " + words], capture_output=True)
    assert ran.stdout.split(b"\0")[:-1] == [os.fsencode(word) for word in sys.argv]


def test_names_of_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert parse("test", ["ü" * 127, "in"]).name == "ü" * 127
    for name in ("a/b", "..", "", "ü" * 128):
        with pytest.raises(UserError, match="plain folder name of at most 255 bytes"):
            parse("test", [name, "in"])


def test_readable_is_utf_8_and_changes_nothing_else():
    assert readable(f"{NFC} 😀 {BYTES}").encode() == f"{NFC} 😀 ".encode() + b"caf\\xe9 \\xff"
