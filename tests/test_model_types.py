"""Every model type by command, from training to metrics; and what the scripts do for each task."""
import csv
import json
import shutil
from pathlib import Path

import pytest

from tests import test_commands
from tests.report.report_page import embedded
from tests.training import helpers
from timecyclegan import directions
from timecyclegan.datasets import video_dataset
from timecyclegan.models import MODELS, get_task
from timecyclegan.training import checkpoint
from timecyclegan.util.options import Options
from timecyclegan.util.weights import load, save

folder, script, refused, pictures, size = (
    test_commands.folder, test_commands.script, test_commands.refused, test_commands.pictures, test_commands.size
)  # fmt: skip
TEMPORAL, OF_SETS = {"tof", "flicker", "flicker_real"}, {"sharpness", "sharpness_real", "grid", "grid_real"}
FILLED = {
    "paired": TEMPORAL | {"e_warp", "e_warp_real", "motion", "motion_real"} | OF_SETS | {"psnr", "ssim", "l1"},
    "unpaired": TEMPORAL | {"e_warp", "e_warp_real", "motion", "motion_real"} | OF_SETS,
    "unconditional": TEMPORAL | OF_SETS,
}
BOTH = ["source_to_target", "target_to_source"]
# What each task generates: by direction, the pictures.
SOURCES, TARGETS = {f"s{s}/{t}.png" for s in range(2) for t in range(3 - s)}, {f"s0/{t}.png" for t in range(4)}
EXPECTED = {
    "paired": {"": SOURCES},
    "unpaired": dict(zip(BOTH, (SOURCES, TARGETS), strict=True)),
    "unconditional": {"": TARGETS},
}
SIZE = {"paired": (16, 28), "unpaired": (16, 28), "unconditional": (64, 64)}
VARIANTS = {"pingpong": ("timecycle", {"timecycle_type": "pingpong"})}


def flags(model_type, **changes):
    height, width = SIZE[get_task(model_type)]
    given = helpers.given(model_type, image_height=height, image_width=width, **changes)
    return [text for key, value in given.items() for text in (f"--{key}", *([] if value is True else [value]))]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """By task, the four folders: paired ones match, unpaired ones differ in sequences, sizes and counts."""
    root = tmp_path_factory.mktemp("data")
    train = helpers.write_data(root / "train", (6,), 16, 28)
    test = helpers.write_data(root / "test", (3, 2), 16, 28, seed=1)
    others = helpers.write_data(root / "more", (5, 6), 20, 24, seed=2)[1]
    test_others = helpers.write_data(root / "test_more", (4,), 20, 24, seed=3)[1]
    return {"paired": (*train, *test), "unpaired": (train[0], others, test[0], test_others),
            "unconditional": ("-", others, "-", test_others)}  # fmt: skip


def rows():
    with open("metrics.csv", newline="") as file:
        return list(csv.DictReader(file))


def found(results):
    """By direction, the pictures' names."""
    names = list(pictures(results))
    if not any(name.startswith(tuple(BOTH)) for name in names):
        return {"": set(names)}
    return {way: {name.removeprefix(f"{way}/") for name in names if name.startswith(way)} for way in BOTH}


@pytest.mark.parametrize("name", [*MODELS, *VARIANTS])
def test_trainval_then_testing_from_the_checkpoint_alone(script, data, folder, name):
    model_type, changes = VARIANTS.get(name, (name, {}))
    task = get_task(model_type)
    # Without entries in the log of losses: drawing their curves takes longer than all the rest.
    assert script("trainval", "run", *data[task], *flags(model_type, log_every=100, **changes)) == 0
    results = folder / "results/run"
    assert found(results) == EXPECTED[task]
    assert {size(path) for path in results.rglob("*.png")} == {SIZE[task]}
    for row, (direction, expected) in zip(rows(), EXPECTED[task].items(), strict=True):
        assert (row["name"], row["direction"], row["epoch"]) == ("run", direction, "newest")
        facts = {"name", "epoch", "datetime", "flow_backend", "kind", "frame_size"}
        facts |= {"direction"} if direction else set()
        measured = {key for key, text in row.items() if text and not key.startswith("n_")}
        definitions = {f"{key}_definition" for key in FILLED[task] if not key.endswith("_real")}
        assert measured == FILLED[task] | facts | definitions
        metrics = json.loads((results / direction / "metrics.json").read_text())
        assert (metrics["kind"], metrics["direction"]) == (task, direction)
        assert metrics["metrics"]["flicker"]["frames"] == len(expected)
        videos = {path.name for path in (results / direction / "videos").iterdir()}
        assert videos == {f"{picture.split('/')[0]}.webm" for picture in expected}
        assert (results / direction / "report.html").stat().st_size > 1000
    # From options and newest weights alone, and from an epoch's weights.
    shutil.rmtree("runs")
    for weights in Path("checkpoints/run").glob("*_1.pth"):
        weights.unlink()
    assert script("test", "run", *data[task][2:], "-gpu", "-1", "-to", "again") == 0
    assert pictures("again/run") == pictures("results/run")
    Path("checkpoints/run/latest.pth").unlink()
    assert script("test", "run", *data[task][2:], "-gpu", "-1", "-to", "again", "-tie", "2") == 0
    assert pictures("again/run/epoch2") == pictures("results/run")


# --- one trained run of each task

@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """A folder with a run called after each task; made without training, which these tests are not about."""
    root = tmp_path_factory.mktemp("trained")
    for task, model_type in {"paired": "seqpix2pix", "unpaired": "seqcyclegan", "unconditional": "seqdcgan"}.items():
        height, width = SIZE[task]
        options = helpers.small(model_type, image_height=height, image_width=width)
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(root)
            source, target = (None if path == "-" else path for path in data[task][:2])
            run = helpers.Run(task, source, target, Options(**options))
            run.options.save(run.folder / checkpoint.OPTIONS)
            run.save()
    return root


@pytest.fixture
def inside(trained, folder, monkeypatch):
    """Be where a copy of the runs is."""
    shutil.copytree(trained, folder / "runs_of_each")
    monkeypatch.chdir(folder / "runs_of_each")


def translated(script, name, *argv, command="test"):
    """The pictures of a test, by name below results/NAME."""
    shutil.rmtree("results", ignore_errors=True)
    assert script(command, name, *argv, "-gpu", "-1") == 0
    return pictures(f"results/{name}")


def test_unpaired_ways(script, data, inside):
    """Both, one by leaving the other's folder out, or only back by -tts; the pictures are always the same."""
    source, target = data["unpaired"][2:]
    both = translated(script, "unpaired", source, target)
    forth, back = ({k: v for k, v in both.items() if k.startswith(way)} for way in BOTH)
    assert forth and back and len(forth) + len(back) == len(both)
    for expected, argv in ((forth, [source]), (forth, [source, "-"]), (back, ["-", target]),
                           (back, [source, target, "-tts"]), (back, [target, "-tts"]), (back, ["-", target, "-tts"])):
        assert translated(script, "unpaired", *argv) == expected, argv
    # The two generators differ, and each has its own direction.
    other = translated(script, "unpaired", target)
    assert {name.split("/")[-1] for name in other} == {name.split("/")[-1] for name in back}
    assert not set(other.values()) & set(back.values())


def test_val_of_one_direction(script, data, inside):
    source, target = data["unpaired"][2:]
    for argv in ([source, "-"], ["-", target], [source, target]):
        translated(script, "unpaired", *argv, command="val")
    assert [row["direction"] for row in rows()] == [*BOTH, *BOTH]
    # With both folders there are real pictures of what is generated as well, and what needs them.
    own = {"datetime", "n_images", *OF_SETS, "sharpness_definition", "grid_definition"}
    one, two, *again = ({key: text for key, text in row.items() if key not in own} for row in rows())
    assert [one, two] == again != [two, one]
    assert [bool(row[key]) for row in rows() for key in OF_SETS] == [False] * 8 + [True] * 8


def test_each_direction_is_measured_against_what_went_in(script, data, inside):
    translated(script, "unpaired", *data["unpaired"][2:], command="val")
    for way, root, frames in zip(BOTH, data["unpaired"][2:], (5, 4), strict=True):
        metrics = json.loads(Path(f"results/unpaired/{way}/metrics.json").read_text())
        assert metrics["reference"] == "source clip" and metrics["reference_frames"] == frames
        page = Path(f"results/unpaired/{way}/report.html").read_text()
        assert embedded(page, "page")[0]["evaluation"]["reference"] == "source clip"
        assert list(embedded(page)[0]["panels"])[:2] == ["source", "generated"]
        assert metrics["metrics"]["e_warp"]["definition"] == "ewarp-fwd-farneback-1-source"
        assert not (root.parent / "flow").exists()


def test_the_true_flow_of_the_source_clip_is_used(script, data, inside, folder):
    import numpy as np

    shutil.copytree(data["unpaired"][2].parent, folder / "with_flow")
    for picture in SOURCES:
        path = folder / "with_flow/flow" / Path(picture).with_suffix(".npz")
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, flow=np.zeros((16, 28, 2)), visible=np.ones((16, 28), bool))
    translated(script, "unpaired", folder / "with_flow/source", data["unpaired"][3], command="val")
    definitions = [json.loads(Path(f"results/unpaired/{way}/metrics.json").read_text())["metrics"]["e_warp"][
        "definition"] for way in BOTH]  # fmt: skip
    assert definitions == ["ewarp-fwd-true-flow-1-source", "ewarp-fwd-farneback-1-source"]


def test_both_reports_compare_with_an_earlier_epoch(script, data, inside):
    for name, state in load(Path("checkpoints/unpaired/latest.pth"))["networks"].items():
        save(Path(f"checkpoints/unpaired/{name}_1.pth"), state)
    assert script("val", "unpaired", *data["unpaired"][2:], "-gpu", "-1", "-tie", "1") == 0
    assert script("val", "unpaired", *data["unpaired"][2:], "-gpu", "-1") == 0
    for way in BOTH:
        assert "after epoch 1" in Path(f"results/unpaired/{way}/report.html").read_text()
        assert "after epoch" not in Path(f"results/unpaired/epoch1/{way}/report.html").read_text()


# --- from nothing

def test_as_many_as_asked_for(script, data, inside):
    made = translated(script, "unconditional", "-", "--n_sequences", "2", "--n_frames", "3")
    assert list(made) == [f"sequence_{s:03}/{t:05}.png" for s in range(2) for t in range(3)]
    assert len(set(made.values())) == 6
    assert {path.name for path in Path("results/unconditional/videos").iterdir()} == {
        "sequence_000.webm", "sequence_001.webm"}


def test_noise_follows_the_seed_and_the_sequence(script, data, inside, folder):
    flags = ["-", "--n_sequences", "2", "--n_frames", "2"]
    made = translated(script, "unconditional", *flags)
    assert made == translated(script, "unconditional", *flags, "-tbs", "2")
    assert made == translated(script, "unconditional", data["unpaired"][2], *flags[1:])  # a source is not read
    assert not set(made.values()) & set(translated(script, "unconditional", *flags, "--test_seed", "1").values())
    longer = translated(script, "unconditional", "-", "--n_sequences", "3", "--n_frames", "4")
    assert longer.items() >= made.items()
    names = helpers.write_data(folder / "named", (2,), 8, 8)[1]
    (names / "s0").rename(names / "sequence_001")
    found = translated(script, "unconditional", "-", names)
    assert list(found.values()) == [made[f"sequence_001/0000{t}.png"] for t in range(2)]


def test_sets_of_another_size_are_measured_and_shown_beside_some_real_clip(script, data, inside):
    target = data["unconditional"][3]  # one sequence of four frames
    made = translated(script, "unconditional", "-", target, "--n_sequences", "2", "--n_frames", "6", command="val")
    assert len(made) == 12
    metrics = json.loads(Path("results/unconditional/metrics.json").read_text())
    assert metrics["metrics"]["tof"]["definition"] == "tof-farneback-1-means"
    assert (metrics["metrics"]["tof"]["frames"], metrics["reference_frames"], metrics["reference"]) == (
        12, 4, "real clips")
    page = Path("results/unconditional/report.html").read_text()
    assert [list(clip["panels"]) for clip in embedded(page)] == [["generated", "a real clip"]] * 2
    assert embedded(page, "page")[0]["evaluation"]["reference"] == "real clips"


def test_a_real_clip_to_look_at():
    clips = {name: [Path(f"{name}{t}") for t in range(length)] for name, length in {"a": 2, "b": 3}.items()}
    fakes = {name: [Path(f"f{t}") for t in range(3)] for name in ("x", "y", "z", "a")}
    way = directions.Direction("unconditional", fakes, clips, Path("root"))
    beside = [[path.name for path in sequence.example] for sequence in way.shown(fakes)]
    assert beside == [["a0", "a1", "a1"], ["b0", "b1", "b2"], ["a0", "a1", "a1"], ["a0", "a1", "a1"]]
    assert [list(sequence.panels()) for sequence in way.shown(fakes)] == [["generated", "a real clip"]] * 4
    alone = directions.Direction("unconditional", fakes, None, None)
    assert [list(sequence.panels()) for sequence in alone.shown(fakes)] == [["generated"]] * 4


@pytest.mark.parametrize("name", ["paired", "unpaired", "unconditional"])
def test_metrics_by_another_flow_say_so_everywhere(script, data, inside, name, capsys):
    made = ["val", name, *data[name][2:], "-gpu", "-1"]
    assert script(*made, "--metric_flow_backend", "dis") == 0
    assert "optical flow by dis" in capsys.readouterr().out
    assert script(*made) == 0
    found = rows()
    assert {row["flow_backend"] for row in found[: len(found) // 2]} == {"dis"}
    assert {row["flow_backend"] for row in found[len(found) // 2 :]} == {"farneback"}
    for row, usual in zip(found[: len(found) // 2], found[len(found) // 2 :], strict=True):
        assert row["tof"] != usual["tof"] and row["flicker"] == usual["flicker"]
    assert script(*made, "--metric_flow_backend", "dis") == 0
    for way in {row["direction"] for row in found}:
        metrics = json.loads((Path("results") / name / way / "metrics.json").read_text())
        assert metrics["flow"] == {"flow_backend": "dis", "flow_weights": None, "flow_weights_sha256": None}
        assert metrics["metrics"]["tof"]["definition"].startswith("tof-dis-1")


@pytest.mark.parametrize(("argv", "part"), [
    (["--metric_flow_backend", "diss"], "--metric_flow_backend 'diss' is not known; did you mean dis?"),
    (["--metric_flow_weights", "x"], "--metric_flow_weights x: --metric_flow_backend farneback has no weights"),
    (["--metric_flow_backend", "raft", "--metric_flow_weights", "none.pth"], "none.pth"),
])  # fmt: skip
def test_flow_that_the_metrics_cannot_have_is_said_before_the_work(refused, data, inside, argv, part):
    assert part in refused("val", "paired", *data["paired"][2:], "-gpu", "-1", *argv)
    assert not Path("results").exists()
    assert part in refused("trainval", "new", *data["paired"], *flags("pix2pix"), *argv)
    assert not Path("checkpoints/new").exists()


# --- training

def test_a_source_is_not_read_but_mentioned(script, data, folder, capsys):
    assert script("train", "run", "/nowhere", data["unconditional"][1], *flags("dcgan", num_epochs=1)) == 0
    assert "/nowhere is not read, - can stand in its place" in capsys.readouterr().out
    assert script("train", "run", "-", data["unconditional"][1], "--resume", "-ne", "2") == 0
    assert "not read" not in (out := capsys.readouterr().out) and "begun with" not in out
    assert Path("checkpoints/run/generator_2.pth").exists()


def test_short_sequences_of_both_domains_are_mentioned(script, data, folder, capsys):
    source, target = (helpers.write_data(folder / name, lengths, 8, 8)[0] for name, lengths in
                      (("a", (2, 4)), ("b", (5, 3, 2))))
    assert script("train", "run", source, target, *flags("seqcyclegan", block_size=4, num_epochs=1)) == 0
    notes = [line for line in capsys.readouterr().out.splitlines() if "not used" in line]
    assert [f"1 of 2 sequences in {source}" in notes[0], f"2 of 3 sequences in {target}" in notes[1]] == [True, True]


@pytest.mark.parametrize("swap", [False, True])
def test_other_unpaired_data_are_no_resumption(script, refused, data, folder, swap):
    source, target, *_ = data["unpaired"]
    assert script("train", "run", source, target, *flags("cyclegan", num_epochs=1)) == 0
    now = (target, source) if swap else (source, source)
    assert "the data changed" in refused("train", "run", *now, "--resume", "-ne", "2")


def test_a_preset_gives_way_to_flags(script, refused, data, folder):
    small = [text for key, value in helpers.given("tricyclegan").items() if not key.endswith("_weight")
             for text in (f"--{key}", value)]
    plain = ["-ss", "1", "-ts", "1"]  # a run that grows is not given other epochs
    small += plain
    assert script("train", "run", *data["unpaired"][:2], "--preset", "up", *small, "-clw", "3") == 0
    options = Options.load("checkpoints/run/options.json")
    assert (options.model_type, options.cycle_loss_weight, options.timecycle_loss_weight) == ("tricyclegan", 3.0, 5.0)
    assert (options.spatial_scaling, options.temporal_scaling, options.grow_batch) == ((1.0,), (1.0,), False)
    again = ["train", "run", *data["unpaired"][:2], "--resume", "-ne", "3", *plain]
    assert script(*again, "--preset", "up", "-clw", "3") == 0
    assert "--cycle_loss_weight 10.0 contradicts" in refused(*again, "--preset", "up")
    assert "did you mean" in refused("train", "other", *data["unpaired"][:2], "--preset", "pp")


# --- what is refused

@pytest.mark.parametrize(("name", "argv", "part"), [
    ("paired", ["S", "-tts"], "--test_unpaired_target_to_source is for unpaired models, --model_type seqpix2pix"),
    ("unconditional", ["-", "T", "-tts"], "--model_type seqdcgan is unconditional"),
    ("paired", ["S", "--n_frames", "3"], "--n_sequences and --n_frames are for unconditional models"),
    ("unpaired", ["S", "--n_sequences", "3"], "--n_sequences and --n_frames are for unconditional models"),
    ("unconditional", ["-", "--n_frames", "3"], "belong together"),
    ("unconditional", ["-", "T", "--n_sequences", "3"], "belong together"),
    ("unconditional", ["-"], "give a target folder, to generate as many sequences and frames as it has, or --n_seq"),
    ("unconditional", ["S"], "give a target folder"),
    ("paired", ["-", "T"], "test_source_dir"),
    ("unpaired", ["-"], "nothing to translate"),
    ("unpaired", ["-", "-tts"], "nothing to translate"),
    ("unpaired", ["-", "/nowhere"], "/nowhere"),
    ("unconditional", ["-", "/nowhere"], "/nowhere"),
    ("unconditional", ["-", "T", "-ih", "60"], "60x64"),
])  # fmt: skip
def test_testing_that_cannot_be(refused, data, inside, name, argv, part):
    folders = dict(zip("ST", data["unpaired"][2:], strict=True))
    assert part in refused("test", name, *(folders.get(text, text) for text in argv), "-gpu", "-1")
    assert not Path("results").exists()


@pytest.mark.parametrize("name", ["paired", "unconditional"])
def test_there_are_no_metrics_without_real_frames(refused, data, inside, name):
    source = data[name][2]
    more = ["--n_sequences", "2", "--n_frames", "2"] if name == "unconditional" else []
    assert "needs test_target_dir" in refused("val", name, source, "-", *more, "-gpu", "-1")
    assert not Path("results").exists()


@pytest.mark.parametrize(("model_type", "argv", "changes", "part"), [
    ("pix2pix", ["-", "T", "S", "T"], [], "source_dir"),
    ("cyclegan", ["-", "T", "S", "T"], [], "source_dir"),
    ("cyclegan", ["S", "T", "-", "-"], [], "nothing to translate"),
    ("cyclegan", ["S", "-", "S", "T"], [], "target_dir cannot be -"),
    ("pix2pix", ["S", "T", "-", "T"], [], "test_source_dir"),
    ("pix2pix", ["S", "T", "S", "-"], [], "test_target_dir"),
    ("dcgan", ["-", "T", "-", "-"], [], "test_target_dir"),
    ("pix2pix", ["S", "T", "S", "T"], ["-tts"], "for unpaired models"),
    ("cyclegan", ["S", "T", "S", "T"], ["--n_frames", "2"], "for unconditional models"),
    ("timecycledcgan", ["-", "T", "-", "T"], ["-tct", "conditional"], "--timecycle_type conditional needs a source"),
    ("tricyclegan", ["S", "T", "S", "T"], ["-tct", "timerecycle"], "timerecycle"),
    ("tricyclegan", ["S", "T", "S", "T"], ["-b", "2"], "--block_size is 2"),
    ("dcgan", ["-", "T", "-", "T"], ["-ih", "96"], "96x64"),
    ("dcgan", ["-", "T", "-", "T"], ["-g", "resnet_1blocks"], "resnet_1blocks"),
    ("cyclegan", ["S", "T", "S", "T"], ["-g", "dcgan"], "dcgan"),
    ("seqcyclegann", ["S", "T", "S", "T"], [], "did you mean seqcyclegan"),
    ("pix2pix", ["S", "T", "S", "T"], ["-clw", "-1"], "--cycle_loss_weight"),
    ("pix2pix", ["S", "T", "S", "T"], ["-gn", "0"], "--n_frames_generator"),
    ("pix2pix", ["S", "T", "S", "T"], ["--preset", "up"], "--preset up"),
])  # fmt: skip
def test_mistakes_are_found_before_data_are_read(refused, data, folder, monkeypatch, model_type, argv, changes, part):
    def never(root):
        raise AssertionError("data were read")

    for module in (directions, video_dataset):
        monkeypatch.setattr(module, "find_sequences", never)
    folders = dict(zip("ST", data["paired"][:2], strict=True))
    options = flags(model_type) if model_type in MODELS else ["-m", model_type]
    assert part in refused("trainval", "run", *(folders.get(text, text) for text in argv), *options, *changes)
    assert {path.name for path in folder.iterdir()} <= {"command_log.txt"}


def test_test_folders_are_looked_at_before_training(refused, data, folder):
    source, target, test_source, _ = data["unpaired"]
    assert "/nowhere" in refused("trainval", "run", source, target, test_source, "/nowhere", *flags("cyclegan"))
    assert {path.name for path in folder.iterdir()} == {"command_log.txt"}
