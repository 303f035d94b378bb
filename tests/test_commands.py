"""The four scripts from end to end, in this process but for what only a process shows."""
import csv
import hashlib
import importlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.training.helpers import write_data
from timecyclegan.datasets import frame_cache
from timecyclegan.models.base_model import BaseModel
from timecyclegan.util.logs import RUNS
from timecyclegan.video.frames import read_image

ROOT = Path(__file__).parents[1]
SMALL = "-g resnet_1blocks -gf 2 -d pixel -df 2 -tcmmf 2 -ih 32 -iw 48 -b 3 -ne 1 -t 0 -le 1 -gpu -1 -llw 10 --no-flip"
TINY = SMALL.split()
P = ["-m", "timecycle", "-tclw", "5", "-tcwlw", "1", *TINY]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    return *write_data(root / "train", (6,), 32, 48), *write_data(root / "test", (5, 3, 4), 32, 48, seed=1)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(ROOT))  # as python adds the script's folder
    return tmp_path


@pytest.fixture
def script(monkeypatch):
    """``script("train", ...)`` runs train.py with these arguments and returns its exit code."""
    def run(command, *argv):
        module = importlib.import_module(command)
        assert Path(module.__file__) == ROOT / f"{command}.py"
        monkeypatch.setattr(sys, "argv", [f"{command}.py", *map(str, argv)])
        return module.main()

    monkeypatch.delitem(sys.modules, "test", raising=False)  # Python has a package of this name
    yield run
    for command in ("train", "val", "test", "trainval"):
        sys.modules.pop(command, None)


@pytest.fixture
def refused(script, capsys):
    """Run a script that must refuse: one line on stderr, exit code 2; returns the line."""
    def run(*argv):
        capsys.readouterr()
        assert script(*argv) == 2
        err = capsys.readouterr().err
        assert err.startswith("error: ") and err.count("\n") == 1 and err.endswith("\n")
        return err

    return run


def pictures(root):
    return {p.relative_to(root).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
            for p in sorted(Path(root).rglob("*.png"))}  # fmt: skip


def size(path):
    return Image.open(path).size[::-1]


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


EXPECTED = {f"s{s}/{t}.png" for s, length in enumerate((5, 3, 4)) for t in range(length)}
MODELS = {  # every model type: tests/test_model_types.py
    "timecycle": P,
    "frames": ["-m", "pix2pix", *TINY, "-b", "1"],
    "blockwise": ["-m", "pix2pix", *TINY],
    "gn2": [*P, "-gn", "2"],  # SPEC 7 item 6: could be trained but not loaded for testing
}


@pytest.mark.parametrize("model", MODELS)
def test_trainval(script, data, folder, model):
    assert script("trainval", "run", *data, *MODELS[model]) == 0
    results = folder / "results/run"
    assert set(pictures(results)) == EXPECTED and {size(p) for p in results.rglob("*.png")} == {(32, 48)}
    assert {p.name for p in (results / "videos").iterdir()} == {"s0.webm", "s1.webm", "s2.webm"}
    assert (results / "report.html").stat().st_size > 1000
    metrics = json.loads((results / "metrics.json").read_text())
    assert metrics["name"] == "run" and metrics["options"]["model_type"] == MODELS[model][1]
    (row,) = rows("metrics.csv")
    assert list(row)[:5] == ["name", "fid", "lpips", "tlp", "tof"]
    assert (row["name"], row["fid"], row["lpips"], row["tlp"], row["epoch"]) == ("run", "", "", "", "newest")
    assert float(row["tof"]) >= 0 and float(row["psnr"]) > 0
    (row,) = rows("train_log.csv")
    assert list(row) == ["datetime", "name", "commit", "hparams"] and row["name"] == "run"
    assert f"model_type:{MODELS[model][1]};" in row["hparams"]
    (line,) = Path("command_log.txt").read_text().splitlines()
    assert line.endswith(f"trainval.py run {' '.join(map(str, [*data, *MODELS[model]]))}")
    assert list((RUNS / "run").glob("events*"))
    assert len(rows(RUNS / "run/losses.csv")) == (6 if model == "frames" else 2)  # a step for every clip


def test_tensorboard_events_of_a_training(script, data):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert script("train", "run", *data[:2], *P) == 0
    tags = EventAccumulator(str(RUNS / "run")).Reload().Tags()
    assert {"Loss/Generator/l1", "Loss/Generator/timecycle_target", "Loss/Generator/total", "Loss/Discriminator/gan",
            "learning_rate"} <= set(tags["scalars"])  # fmt: skip
    assert all(name.startswith("Loss/") for name in set(tags["scalars"]) - {"learning_rate"})
    assert tags["images"] == ["Frames/source_fake_real", "Video/source_fake_real"]
    assert "_hparams_/session_start_info" in str((RUNS / "run").glob("events*").__next__().read_bytes())


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """A folder with the trained run "run"."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(str(ROOT))
        patch.setattr(sys, "argv", ["train.py", "run", *map(str, data[:2]), *P, "-ne", "2", "-gn", "2"])
        assert importlib.import_module("train").main() == 0
    return folder


@pytest.fixture
def inside(trained, monkeypatch):
    """Be where the run is."""
    monkeypatch.chdir(trained)
    return trained


@pytest.fixture
def copied(trained, folder, monkeypatch):
    """Be where a copy of the run is, to change it."""
    shutil.copytree(trained, folder / "copy")
    monkeypatch.chdir(folder / "copy")


def test_test_needs_no_target(script, data, inside):
    assert script("test", "run", data[2], "-gpu", "-1", "-to", "plain") == 0
    assert script("test", "run", *data[2:], "-gpu", "-1", "-to", "beside") == 0
    assert pictures("plain/run") == pictures("beside/run")
    assert set(pictures("plain/run")) == EXPECTED
    assert not (inside / "metrics.csv").exists() and not (inside / "plain/run/metrics.json").exists()


def test_an_epoch_of_choice(script, data, inside, monkeypatch):
    for epoch in ("1", "2"):
        assert script("test", "run", data[2], "-gpu", "-1", "-tie", epoch, "-to", "old") == 0
    newest = script("test", "run", data[2], "-gpu", "-1", "-to", "old")
    assert newest == 0
    one, two = pictures("old/run/epoch1"), pictures("old/run/epoch2")
    assert one.keys() == two.keys() and one != two
    assert pictures("old/run").items() >= two.items()


def test_validation_tells_the_epochs_apart(script, data, inside):
    assert script("val", "run", *data[2:], "-gpu", "-1", "-tie", "1", "-to", "val") == 0
    assert script("val", "run", *data[2:], "-gpu", "-1", "-to", "val") == 0
    assert [row["epoch"] for row in rows("metrics.csv")] == ["1", "newest"]
    assert (inside / "val/run/epoch1/metrics.json").exists()
    assert "after epoch 1" in (inside / "val/run/report.html").read_text()
    (inside / "metrics.csv").unlink()


def test_sequences_side_by_side_are_the_same_pictures(script, data, inside):
    """Of different length, so that rows leave the batch on the way."""
    for size in ("1", "2", "3"):
        assert script("test", "run", data[2], "-gpu", "-1", "-tbs", size, "-to", f"by{size}") == 0
    names = [path.relative_to("by1") for path in Path("by1/run").glob("*/*.png")]
    assert len(names) == len(pictures("by1/run")) and pictures("by1/run").keys() == pictures("by3/run").keys()
    for name in names:
        shown = [np.asarray(Image.open(f"by{size}/{name}")).astype(int) for size in (1, 2, 3)]
        # A batch of another size may round the last bits of a float otherwise, and so a pixel.
        assert max(abs(shown[0] - other).max() for other in shown[1:]) <= 1


def test_a_sequence_alone_is_the_same_as_after_another(script, data, inside, folder):
    """The recurrent state begins anew with every sequence, and is carried within one."""
    (folder / "alone").mkdir()
    (folder / "alone/s1").symlink_to(data[2] / "s1")
    assert script("test", "run", folder / "alone", "-gpu", "-1", "-to", "alone") == 0
    assert script("test", "run", data[2], "-gpu", "-1", "-to", "all") == 0
    assert pictures("alone/run") == {k: v for k, v in pictures("all/run").items() if k.startswith("s1/")}
    # Without its first frame the rest of the sequence changes: the state comes from there.
    (folder / "cut/s1").mkdir(parents=True)
    for t in (1, 2):
        (folder / f"cut/s1/{t}.png").symlink_to(data[2] / f"s1/{t}.png")
    assert script("test", "run", folder / "cut", "-gpu", "-1", "-to", "cut") == 0
    assert pictures("cut/run")["s1/2.png"] != pictures("all/run")["s1/2.png"]


# --- SPEC 7 item 2: height and width were swapped

@pytest.mark.parametrize(("height", "width"), [(16, 48), (30, 50)])
def test_height_is_height(script, data, folder, height, width):
    sizes = ["-ih", height, "-iw", width]
    assert script("trainval", "run", *data, *P, *sizes) == 0
    assert {size(p) for p in (folder / "results/run").rglob("*.png")} == {(height, width)}
    for path in (folder / "results/run/s0").iterdir():  # no half is black, as it was
        image = np.asarray(Image.open(path)).astype(float)
        assert image[height // 2:].std() > 0 and image[:, width // 2:].std() > 0


def test_another_size_for_testing(script, data, inside):
    assert script("test", "run", data[2], "-gpu", "-1", "-ih", "20", "-iw", "60", "-to", "other") == 0
    assert {size(p) for p in Path("other/run").rglob("*.png")} == {(20, 60)}


# --- what is refused, with nothing half-written

@pytest.mark.parametrize(("flags", "parts"), [
    ("-gf 8", ["--generator_filters 8", "2"]), ("-gn 1", ["--n_frames_generator 1", "2"]),
    ("-m pix2pix", ["--model_type pix2pix", "timecycle"]), ("-g resnet_2blocks", ["resnet_2blocks", "resnet_1blocks"]),
    ("--upsample resize", ["--upsample resize", "transposed"]), ("-tie 9", ["epoch 9", "1, 2"]),
])  # fmt: skip
def test_flags_that_contradict_the_checkpoint(refused, data, inside, flags, parts):
    line = refused("test", "run", data[2], "-gpu", "-1", "-to", "never", *flags.split())
    assert all(part in line for part in parts), line
    assert not (inside / "never").exists()


def test_repeated_flags_are_fine(script, data, inside):
    assert script("test", "run", data[2], "-gpu", "-1", "-gf", "2", "-gn", "2", "-to", "same") == 0


def written(folder):
    return {p.name for p in Path(folder).iterdir()} - {"command_log.txt", "broken", "empty"}


@pytest.mark.parametrize("command", ["train", "val", "test", "trainval"])
def test_mistakes_write_nothing(refused, data, folder, command):
    folders = {"train": data[:2], "val": data[2:], "test": data[2:], "trainval": data}[command]
    nowhere = folder / "nowhere"
    assert "--nmu_epochs" in refused(command, "run", *folders, "--nmu_epochs", "3")
    assert not list(folder.iterdir())
    assert "above 0" in refused(command, "run", *folders, "-gn", "0")
    assert "NAME" in refused(command, "a/b", *folders)
    line = refused(command, "run", nowhere, *folders[1:], *(TINY if "train" in command else []))
    assert str(nowhere) in line or "options.json" in line
    assert written(folder) == set()


@pytest.mark.parametrize(("flags", "part"), [
    (["-m", "timecycl"], "did you mean timecycle?"), (["-g", "resnet"], "--generator_architecture"),
    (["-d", "huge"], "--discriminator_architecture"), (["-tcmm", "x", "-tclw", "1"], "--timecycle_motion_model"),
    (["-g", "unet_128"], "multiples of 128, not 32x48"), (["-b", "20"], "20 frames"), (["-gpu", "7"], "--gpu 7"),
    (["-lh", "16"], "--load_height 16"), (["-i", "nowhere"], "nowhere"), (["-tct", "timerecycle"], "timerecycle"),
])  # fmt: skip
def test_training_that_cannot_be_writes_nothing(refused, data, folder, flags, part):
    assert part in refused("train", "run", *data[:2], *P, *flags)
    assert written(folder) == set()


def test_data_that_cannot_be_write_nothing(refused, data, folder):
    (folder / "empty").mkdir()
    assert "no images" in refused("train", "run", folder / "empty", data[1], *P)
    short, _ = write_data(folder / "broken", (5,), 8, 8)
    assert "numbers of frames differ" in refused("train", "run", short, data[1], *P)
    assert written(folder) == set()


@pytest.mark.parametrize("threads", ["0", "1"])
def test_a_damaged_image_is_named(script, capsys, folder, threads):
    source, target = write_data(folder / "broken", (3,), 8, 8)
    path = source / "s0/1.png"
    path.write_bytes(path.read_bytes()[:40])
    assert script("train", "run", source, target, *P, "-t", threads) == 2
    *bar, line = capsys.readouterr().err.splitlines()  # the progress bar had begun
    assert line.startswith("error: ") and str(path) in line and not any("Traceback" in text for text in bar)


# --- resuming by command

def test_resume_needs_no_flags(script, data, folder, capsys):
    assert script("train", "run", *data[:2], *P) == 0
    weights = {p: p.read_bytes() for p in Path("checkpoints/run").iterdir()}
    assert script("train", "run", *data[:2], "--resume") == 0
    assert "finished after 1 epochs" in capsys.readouterr().out
    assert weights == {p: p.read_bytes() for p in Path("checkpoints/run").iterdir()}
    assert script("train", "run", *data[:2], "--resume", "-ne", "2") == 0
    assert Path("checkpoints/run/generator_2.pth").exists()
    assert len(rows("train_log.csv")) == 1  # still one training


def test_an_existing_run_is_refused(refused, script, data, folder):
    assert script("train", "run", *data[:2], *P) == 0
    assert "--resume" in refused("train", "run", *data[:2], *P)
    assert "--learning_rate 0.1" in refused("train", "run", *data[:2], "--resume", "-lr", "0.1")
    assert script("train", "run", *data[:2], *P, "--overwrite", "-gf", "3") == 0


def test_a_weight_that_does_nothing_is_mentioned(script, data, folder, capsys):
    assert script("train", "run", *data[:2], "-m", "pix2pix", *TINY, "-clw", "5") == 0
    assert "--cycle_loss_weight has no effect on --model_type pix2pix" in capsys.readouterr().out


def test_a_loss_that_is_not_finite_ends_with_exit_code_2(script, data, folder, capsys):
    assert script("train", "run", *data[:2], *P, "-lr", "1e30") == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith(("error: the loss ", "error: the weights of "))
    assert not Path("checkpoints/run/latest.pth").exists()


# --- training that is only tried

def test_a_dry_run_writes_nothing(script, refused, data, folder, capsys):
    assert script("train", "run", *data[:2], *P, "--dry_run") == 0
    printed = capsys.readouterr().out
    assert "  timecycle_target " in printed and "nothing was written" in printed and "an epoch: 2 steps" in printed
    assert script("trainval", "run", *data, *P, "--dry_run") == 0
    assert "--flags" in refused("train", "run", *data[:2], *P, "--dry_run", "--flags")
    assert "did you mean timecycle?" in refused("train", "run", *data[:2], *P, "--dry_run", "-m", "timecycl")
    assert "--dry_run is not known" in refused("val", "run", *data[2:], "--dry_run")
    assert "/nowhere" in refused("trainval", "run", *data[:3], "/nowhere", *P, "--dry_run")
    assert list(folder.iterdir()) == []


def test_a_dry_run_leaves_a_run_as_it_is(script, data, folder, capsys):
    assert script("train", "run", *data[:2], *P, "-tclw", "7") == 0
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert script("train", "run", *data[:2], "--resume", "--dry_run") == 0
    assert "7  --timecycle_loss_weight" in capsys.readouterr().out
    assert script("train", "run", *data[:2], *P, "-t", "1", "--dry_run") == 0
    assert script("train", "run", *data[:2], *P[2:], "-m", "timecyclep2", "-wlw", "1", "--flow_cache", "flow",
                  "--dry_run") == 0  # fmt: skip
    assert "  warp " in capsys.readouterr().out
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_testing_what_was_never_trained(refused, data, folder):
    assert "checkpoints/run/options.json" in refused("test", "run", data[2])
    assert written(folder) == set()


def test_resume_of_nothing_says_so(script, data, folder, capsys):
    assert script("train", "typo", *data[:2], *P, "--resume") == 0
    assert "no checkpoint of typo to go on from" in capsys.readouterr().out


def test_a_run_that_failed_at_once_may_be_repeated(script, data, folder, capsys):
    assert script("train", "run", *data[:2], *P, "-lr", "1e30") == 2
    assert "begin again with a lower --learning_rate" in capsys.readouterr().err
    assert script("train", "run", *data[:2], *P) == 0


def test_swapped_folders_are_no_resumption(script, refused, data, folder):
    assert script("train", "run", *data[:2], *P) == 0
    assert "the data changed" in refused("train", "run", data[1], data[0], "--resume", "-ne", "2")


def test_resume_with_moved_data(script, data, folder, capsys):
    copy = folder / "elsewhere"
    shutil.copytree(data[0].parent, copy)
    assert script("train", "run", *data[:2], *P) == 0
    assert script("train", "run", copy / "source", copy / "target", "--resume", "-ne", "2") == 0
    assert f"begun with {data[0]} and {data[1]}" in capsys.readouterr().out


def test_an_unreadable_frame_costs_no_learning(script, folder, capsys):
    """The run stops at it, saved; mended and resumed it ends in the same bytes as without it."""
    source, target = write_data(folder / "data", (15,), 32, 48)
    flags = [*P, "-ne", "2", "--cache", "off", "-t", "1"]
    assert script("train", "whole", source, target, *flags) == 0
    frames, calls = {path: path.read_bytes() for path in source.rglob("*.png")}, []

    def damaged_later(path):
        calls.append(path)
        if len(calls) == 13:  # after two of the epoch's five clips, of three frames from two folders each
            for frame, content in frames.items():
                frame.write_bytes(content[:50])
        return read_image(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frame_cache, "read_image", damaged_later)
        assert script("train", "run", source, target, *flags) == 2
    assert str(source) in (err := capsys.readouterr().err) and "go on with --resume" in err
    assert torch.load("checkpoints/run/latest.pth", weights_only=True)["position"]["step"] == 2
    for frame, content in frames.items():
        frame.write_bytes(content)
    assert script("train", "run", source, target, *flags, "--resume") == 0
    for path in Path("checkpoints/whole").glob("*_2.pth"):
        assert path.read_bytes() == (Path("checkpoints/run") / path.name).read_bytes()


@pytest.mark.parametrize(("flags", "parts"), [
    (("-b", "2"), ("--timecycle_type conditional", "3 frames", "--block_size is 2")),
    (("-b", "5", "-dts", "2"), ("--discriminator_temporal_scales 2", "14 frames")),
    (("-b", "5", "-dn", "5"), ("--n_frames_discriminator 5", "6 frames")),
    (("-dn", "1"), ("--n_frames_discriminator 1",)),
    (("-tct", "timerecycle"), ("timerecycle",)),
])  # fmt: skip
def test_clips_too_short_for_what_looks_at_sequences(refused, data, folder, flags, parts):
    line = refused("train", "run", *data[:2], *P, *flags)
    assert all(part in line for part in parts)
    assert written(folder) == set()


# --- results that are not as they were left

def test_validation_survives_what_others_put_into_its_folders(script, copied, data):
    Path("results/run/epoch1_old").mkdir(parents=True)
    Path("results/run/epoch2").mkdir()
    Path("results/run/epoch2/metrics.json").write_text("{")
    Path("metrics.csv").write_text("name,fid,lpips,tlp,tof\nold,1,2,3,4,5,6\n")
    assert script("val", "run", *data[2:]) == 0
    assert [row["name"] for row in rows("metrics.csv")] == ["old", "run"]


def test_the_report_compares_only_with_the_same_run(script, copied, data):
    assert script("val", "run", *data[2:], "-tie", "1") == 0
    assert script("val", "run", *data[2:]) == 0
    assert "after epoch 1" in Path("results/run/report.html").read_text()
    earlier = Path("results/run/epoch1/metrics.json")
    other = json.loads(earlier.read_text())
    other["options"]["seed"] += 1
    earlier.write_text(json.dumps(other))
    assert script("val", "run", *data[2:]) == 0
    assert "after epoch 1" not in Path("results/run/report.html").read_text()


def test_options_edited_by_hand(refused, copied, data):
    path = Path("checkpoints/run/options.json")
    path.write_text(path.read_text().replace('"generator_filters": 2', '"generator_filters": "two"'))
    line = refused("test", "run", data[2])
    assert "generator_filters" in line and str(path) in line


def test_a_full_disk_is_one_line(data, folder):
    command = [sys.executable, ROOT / "train.py", "run", *data[:2], *P, "-gf", "16"]
    limited = f"ulimit -f 40; exec {shlex.join(map(str, command))}"  # no file may exceed 40 KiB
    done = subprocess.run(["bash", "-c", limited], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "File too large" in done.stderr.splitlines()[-1]
    assert not list(Path("checkpoints/run").glob("*.pth*"))


def test_too_many_open_files_are_no_full_disk(data, folder):
    command = [sys.executable, ROOT / "train.py", "run", *data[:2], *P, "-t", "16"]
    limited = f"ulimit -n 64; exec {shlex.join(map(str, command))}"
    done = subprocess.run(["bash", "-c", limited], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "Traceback" not in done.stderr and "AttributeError" not in done.stderr
    assert done.stderr.splitlines()[-1] == (
        "error: cannot start the 16 processes that load data: Too many open files (this process may open 64, see "
        "ulimit -n); lower --threads 16 (0 loads without other processes). There is no checkpoint yet: mend that, then "
        "begin again")


# --- the machine

def test_the_device_is_said_and_a_gpu_that_is_asked_for_must_be_there(script, refused, data, folder, capsys):
    assert script("train", "run", *data[:2], *P) == 0
    assert "run trains on the CPU\n" in capsys.readouterr().out
    automatic = [word for word in P if word not in ("-gpu", "-1")]
    assert script("train", "automatic", *data[:2], *automatic) == 0
    out = capsys.readouterr().out
    assert re.search(r"automatic trains on the CPU \(.*(CUDA|NVIDIA).*\)\n", out) and "note" not in out  # and why
    commands = [("train", "new", *data[:2], *automatic), ("train", "run", *data[:2], "--resume"),
                ("test", "run", data[2]), ("val", "run", *data[2:])]  # fmt: skip
    for command in commands:
        assert "--gpu 0 cannot be used, of 0 GPUs: " in (line := refused(*command, "-gpu", "0"))
        assert re.search("CUDA|NVIDIA", line)
    assert not Path("checkpoints/new").exists()


def test_a_gpu_that_a_run_remembers_of_another_machine(script, data, folder, capsys):
    assert script("train", "run", *data[:2], *P) == 0
    path = Path("checkpoints/run/options.json")
    path.write_text(path.read_text().replace('"gpu": -1', '"gpu": 3'))
    for command in (("train", "run", *data[:2], "--resume", "-ne", "2"), ("test", "run", data[2]),
                    ("train", "run", *data[:2], "--resume", "--dry_run")):  # fmt: skip
        assert script(*command) == 0
        assert capsys.readouterr().out.count("note: GPU 3 cannot be used here (") == 1
    assert json.loads(path.read_text())["gpu"] == 3  # where it comes back, it is used again


def test_a_signal_in_the_last_step_does_not_keep_from_validating(script, data, folder, monkeypatch):
    original, calls = BaseModel.training_step, iter(range(1, 100))

    def signalled(self, *args, **kwargs):
        if next(calls) == 2:  # the last one
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, *args, **kwargs)

    monkeypatch.setattr(BaseModel, "training_step", signalled)
    assert script("trainval", "run", *data, *P) == 0
    assert Path("results/run/metrics.json").exists()


# --- processes

@pytest.mark.parametrize("command", ["train", "val", "test", "trainval"])
def test_help_of_the_script_itself(command, folder):
    found = subprocess.run([sys.executable, ROOT / f"{command}.py", "--help"], cwd=folder, capture_output=True,
                           text=True)  # fmt: skip
    assert found.returncode == 0 and found.stdout.startswith(f"usage: {command}.py")
    assert list(folder.iterdir()) == []
