"""The command line of the four scripts."""
import dataclasses
from pathlib import Path

import pytest

from tests.util.test_options import COMMON, TESTING, TRAINING, table
from timecyclegan.util.argparser import COMMANDS, build_parser, parse
from timecyclegan.util.errors import UserError
from timecyclegan.util.options import ControlOptions, Options, TestOptions

FOLDERS = {
    "train": ["source_dir", "target_dir"],
    "val": ["test_source_dir", "test_target_dir"],
    "test": ["test_source_dir", "test_target_dir"],
    "trainval": ["source_dir", "target_dir", "test_source_dir", "test_target_dir"],
}


def folders(command):
    return [f"d{i}" for i in range(len(FOLDERS[command]))]


def message(command, *argv):
    with pytest.raises(UserError) as caught:
        parse(command, list(argv))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("command", COMMANDS)
def test_name_and_folders(command):
    found = parse(command, ["run", *folders(command)])
    assert found.name == "run" and found.given == {}
    assert found.folders == {key: Path(f"d{i}") for i, key in enumerate(FOLDERS[command])}


def test_only_test_takes_no_target():
    assert parse("test", ["run", "d"]).folders == {"test_source_dir": Path("d"), "test_target_dir": None}
    assert "test_target_dir" in message("val", "run", "d")


def test_a_dash_stands_for_a_folder_that_is_not_there():
    """Also between flags, whose dashes are others."""
    found = parse("trainval", ["run", "-bs", "2", "-", "a", "-gpu", "-1", "-", "b"])
    assert found.folders == {"source_dir": None, "target_dir": Path("a"), "test_source_dir": None,
                             "test_target_dir": Path("b")}  # fmt: skip
    assert found.given == {"batch_size": 2, "gpu": -1}
    assert parse("test", ["run", "-", "-"]).folders == {"test_source_dir": None, "test_target_dir": None}
    assert "target_dir cannot be -" in message("train", "run", "a", "-")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_flag_is_known_by_both_names(command):
    rows = table(COMMON)
    rows += table(TRAINING) if command != "test" else []
    rows += table(TESTING) if command != "train" else []
    known = build_parser(command)._option_string_actions
    for name, short, _ in rows:
        assert known[short] is known[f"--{name}"]


def test_values_have_their_types():
    line = "run a b -llw 0.5 --learning_rate 1e-3 -bs 3 -ss 0.25 .5 1 -ts 1 -tcsmm --no-flip -tclw 2 -gpu -1 --resume"
    given = parse("train", line.split()).given
    assert given == {
        "l1_loss_weight": 0.5, "learning_rate": 1e-3, "batch_size": 3, "spatial_scaling": (0.25, 0.5, 1.0),
        "temporal_scaling": (1.0,), "timecycle_separate_motion_models": True, "flip": False,
        "timecycle_loss_weight": 2.0, "gpu": -1, "resume": True,
    }  # fmt: skip
    assert type(given["timecycle_loss_weight"]) is float


@pytest.mark.parametrize("argv", ["-tbs 2 run a b", "run -tbs 2 a b", "run a -tbs 2 b", "run a b -tbs 2"])
def test_folders_may_stand_between_flags(argv):
    found = parse("test", argv.split())
    assert found.folders["test_target_dir"] == Path("b") and found.given == {"test_batch_size": 2}


def test_options_take_what_was_given_and_leave_the_rest():
    found = parse("trainval", ["run", "a", "b", "c", "d", "-bs", "3", "-tbs", "2", "--resume"])
    assert found.options(Options) == Options(batch_size=3)
    assert found.options(TestOptions) == TestOptions(test_batch_size=2)
    assert found.options(ControlOptions) == ControlOptions(resume=True)


@pytest.mark.parametrize(("flag", "near"), [("--batchsize", "--batch_size"), ("--imge_height", "--image_height"),
                                            ("--model", "--model_type")])  # fmt: skip
def test_an_unknown_flag_suggests_the_nearest(flag, near):
    found = message("train", "run", "a", "b", flag, "3")
    assert flag in found and f"did you mean {near}?" in found


def test_flags_are_not_abbreviated():
    assert "--num_epoch " in message("train", "run", "a", "b", "--num_epoch", "3")


@pytest.mark.parametrize(("argv", "parts"), [
    ("-gn 0", ["--n_frames_generator", "above 0", "not 0"]),
    ("-llw -1", ["--l1_loss_weight", "0 or more", "not -1.0"]),
    ("-ss 0.5 2", ["--spatial_scaling", "at most 1", "not 2.0"]),
    ("-bs two", ["--batch_size", "two"]),
    ("-bs 1.5", ["--batch_size", "1.5"]),
    ("-gan wgan", ["--gan_mode", "wgan", "lsgan"]),
    ("--amp half", ["--amp", "half", "bfloat16"]),
    ("-bs", ["--batch_size"]),
])  # fmt: skip
def test_wrong_values_name_the_flag_and_what_is_allowed(argv, parts):
    found = message("train", "run", "a", "b", *argv.split())
    assert all(part in found for part in parts), found


def test_the_name_is_a_plain_folder_name():
    for name in ("a/b", "/a", "..", ".", "", "a/"):
        assert repr(name) in message("train", name, "a", "b")


def test_a_folder_whose_variable_is_not_set_is_not_left_out_in_silence():
    assert message("train", "run", "", "b") == "source_dir is empty: give a folder, or - for none"
    assert "test_target_dir is empty" in message("test", "run", "a", "")


def test_missing_and_surplus_arguments():
    assert "target_dir" in message("train", "run", "a")
    assert "c is not known" in message("train", "run", "a", "b", "c")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_lists_every_flag_with_its_default(command, capsys):
    with pytest.raises(SystemExit) as caught:
        parse(command, ["--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    for kind in COMMANDS[command][2]:
        for field in dataclasses.fields(kind):
            assert f"--{field.name}" in text
    assert "(default: resnet_6blocks)" in " ".join(text.split())
