"""A run that is interrupted and resumed ends in the same bytes as one that is not."""
import hashlib
import json
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training.helpers import (
    EACH_MODEL,
    P,
    assert_same_run,
    killed,
    latest,
    losses,
    message,
    small,
    train,
    trainer,
    weights,
    write_data,
)
from timecyclegan.models import calculate_block_size, get_task
from timecyclegan.training import checkpoint, loop
from timecyclegan.training import run as run_module
from timecyclegan.util.options import Options
from timecyclegan.util.weights import load, save

GROWING = {"spatial_scaling": (0.5, 1.0), "temporal_scaling": (0.4, 1.0), "num_epochs": 1}
VARIANTS = {
    "blockwise": small("pix2pix", block_size=3),
    "history": small("seqpix2pix", n_frames_generator=2, bptt=2),
    "pingpong": small("timecycle", timecycle_type="pingpong"),
    "separate": small("timecycle", timecycle_separate_motion_models=True, block_size=4, max_return=1,
                      checkpointing=True),
    "unconditional": small("timecycle", timecycle_type="unconditional"),
    "predictor GAN": small("recyclegan", recycle_predictor_gan=True),
    **{f"flow cache, {model_type}": small(model_type, flow_cache="flow", flow_backend="farneback")
       for model_type in ("vid2vid", "timecyclevid2vid", "timecyclep2")},
    "flow cache, workers": small("vid2vid", flow_cache="flow", flow_backend="farneback", threads=2),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"), lengths=(8, 7))


@pytest.fixture(scope="module")
def data_of(data, tmp_path_factory):
    """By task: an unpaired target has other sequences, and more; an unconditional model's source is not there."""
    _, target = write_data(tmp_path_factory.mktemp("other"), lengths=(6, 9, 5), seed=1)
    return {"paired": data, "unpaired": (data[0], target), "unconditional": (None, target)}


def scramble():
    """A new process would not go on with this one's random states."""
    torch.manual_seed(random.randrange(10**6))
    np.random.seed(random.randrange(10**6))


def interrupted(monkeypatch, data, where, step, **options):
    train(data, "whole", **options)
    scramble()
    killed(monkeypatch, data, step, where, name="broken", **options)
    scramble()
    assert train(data, "broken", resume=True, **options)
    assert_same_run("whole", "broken")


@pytest.mark.parametrize("model_type", EACH_MODEL)
def test_any_model_killed_mid_epoch(monkeypatch, data_of, model_type):
    """With an image pool of two, what a resumed CycleGAN shows its discriminators depends on what was saved of it."""
    options = small(model_type, save_minutes=0.0)
    options["batch_size"] = 1 if calculate_block_size(Options(**options)) > 1 else 4  # frames make long epochs
    interrupted(monkeypatch, data_of[get_task(model_type)], "training_step", 4, **options)


@pytest.mark.parametrize("variant", VARIANTS)
def test_variants_killed_mid_epoch(monkeypatch, data_of, variant):
    options = VARIANTS[variant]
    interrupted(monkeypatch, data_of[get_task(options["model_type"])], "training_step", 4,
                **{**options, "save_minutes": 0.0})  # fmt: skip


@pytest.mark.parametrize("model_type", ["vid2vid", "timecyclep2"])
def test_kept_flow_is_the_flow_that_would_be_computed(data, model_type):
    """A run that keeps it, one that finds it, and one that keeps none: the same bytes, where nothing is mirrored."""
    options = small(model_type, flip=False, num_epochs=1, flow_backend="farneback")
    train(data, "none", **options)
    found = {}
    for name in ("kept", "found"):
        train(data, name, **{**options, "flow_cache": "flow"})
        found[name] = {path: path.stat().st_mtime_ns for path in Path("flow").rglob("*.npz")}
        assert weights(name) == weights("none") and losses(name) == losses("none")
    assert found["kept"] and found["found"] == found["kept"]


def test_moments_in_another_layout_are_the_same_moments(monkeypatch, data):
    """As a run with --channels_last leaves them: fused Adam takes memory as it lies, without a word."""
    train(data, "whole", **P)
    killed(monkeypatch, data, 4, "training_step", name="broken", save_minutes=0.0, **P)
    path = Path("checkpoints/broken/latest.pth")
    saved = load(path)
    for optimizer in saved["optimizers"].values():
        for state in optimizer["state"].values():
            for key, value in state.items():
                if value.dim() == 4:
                    state[key] = value.to(memory_format=torch.channels_last)
    save(path, saved)
    assert train(data, "broken", resume=True, **P)
    assert weights("broken") == weights("whole")


@pytest.mark.parametrize(("step", "save_minutes"), [(1, 0.0), (3, 10.0), (5, 0.0), (6, 10.0), (8, 0.0)])
def test_killed_at_any_step(monkeypatch, data, step, save_minutes):
    """With 10 minutes there is no checkpoint in the first epoch, and only the first epoch's one in the second."""
    interrupted(monkeypatch, data, "training_step", step, save_minutes=save_minutes, **P)


@pytest.mark.parametrize("options", [{"batch_size": 3}, {"threads": 1}, {"batch_size": 3, "threads": 1}], ids=str)
def test_batches_and_workers(monkeypatch, data, options):
    interrupted(monkeypatch, data, "training_step", 2, save_minutes=0.0, **P, **options)


def test_killed_between_weight_files_and_latest(monkeypatch, data):
    train(data, "whole", **P)
    killed(monkeypatch, data, 2, "save", name="broken", **P)  # the second epoch's
    assert weights("broken") == weights("whole") and latest("broken")["position"]["epoch"] == 1
    train(data, "broken", resume=True, **P)
    assert_same_run("whole", "broken")


def test_killed_between_two_weight_files(monkeypatch, data):
    train(data, "whole", **P)
    save, calls = run_module.save, iter(range(100))

    class Dead(BaseException):
        pass

    def dying(path, content):
        if next(calls) == 6:  # 4 weight files and latest.pth of the first epoch, 1 of the second
            raise Dead
        save(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(run_module, "save", dying)
        with pytest.raises(Dead):
            train(data, "broken", **P)
    assert len(weights("broken")) == 5
    train(data, "broken", resume=True, **P)
    assert_same_run("whole", "broken")


@pytest.mark.parametrize(("where", "step"), [
    ("training_step", 4), ("begin_stage", 2), ("begin_stage", 3), ("save", 1), ("save", 2),
])  # fmt: skip
def test_growing(monkeypatch, data, where, step):
    """With a sequence discriminator that is there only from the last stage on."""
    interrupted(monkeypatch, data, where, step, **P, **GROWING)


def test_interrupted_again_and_again(monkeypatch, data):
    options = {**P, "save_minutes": 0.0}
    train(data, "whole", **options)
    killed(monkeypatch, data, 2, name="broken", **options)
    for _ in range(3):
        killed(monkeypatch, data, 2, name="broken", resume=True, **options)
    train(data, "broken", resume=True, **options)
    assert_same_run("whole", "broken")


def test_the_number_of_workers_changes_nothing(data):
    train(data, "none", threads=0, **P)
    train(data, "two", threads=2, **P)
    assert weights("none") == weights("two")


def test_seeds_differ_and_repeat(data):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train(data, name, seed=seed, num_epochs=1, **P)
    assert weights("a") == weights("b")
    assert weights("a") != weights("c")


# --- what a resumed run accepts

CHANGED = {
    "learning_rate": 0.1, "batch_size": 2, "generator_filters": 4, "image_height": 16, "l1_loss_weight": 1.0,
    "seed": 3, "model_type": "seqpix2pix", "flip": False, "timecycle_type": "pingpong", "temporal_scaling": (0.5, 1.0),
}  # fmt: skip


@pytest.fixture
def begun(monkeypatch, data):
    killed(monkeypatch, data, 3, save_minutes=0.0, **P)
    return latest("run")


@pytest.mark.parametrize("key", CHANGED)
def test_changed_options_are_refused(begun, data, key):
    found = message(trainer, data, resume=True, **{"save_minutes": 0.0, **P, key: CHANGED[key]})
    before = begun["options"][key]
    assert f"--{key} " in found and str(before) in found
    shown = list(CHANGED[key]) if isinstance(CHANGED[key], tuple) else CHANGED[key]
    assert str(shown) in found and found.index(str(shown)) < found.rindex(str(before))
    assert same_as_before(begun)


def same_as_before(begun):
    from tests.training.helpers import same

    return same(latest("run"), begun)


def test_what_does_not_change_the_result_may_change(begun, data):
    free = {"threads": 1, "log_every": 2, "log_images_every": 3, "save_every": 2, "save_minutes": 5.0, "gpu": 0,
            "checkpointing": True}  # fmt: skip
    assert train(data, resume=True, **P, **free)
    train(data, "whole", **P)
    last = {name: content for name, content in weights("whole").items() if name.endswith("_2.pth")}
    assert last and last == {name: weights("run")[name] for name in last}


def test_changed_data_are_refused(begun, tmp_path):
    more = write_data(tmp_path / "more", lengths=(8, 7, 8))
    found = message(trainer, more, resume=True, save_minutes=0.0, **P)
    assert "data changed" in found and "other sequences" in found
    assert same_as_before(begun)


def test_more_epochs_go_on_from_a_finished_run(data):
    train(data, num_epochs=1, **P)
    assert train(data, resume=True, num_epochs=3, **P)
    assert latest("run")["position"] == {"stage": 0, "epoch": 3, "batch": 0, "step": 12, "earlier": 0}
    assert {name.rsplit("_", 1)[1] for name in weights("run")} == {"1.pth", "2.pth", "3.pth"}


@pytest.mark.parametrize(("first", "then", "told"), [
    # After 2 epochs of 2 the last one had half of 0.0002; of 4, two are constant, then it falls by thirds.
    (2, 4, "--num_epochs 4 instead of 2: the learning rate was 0.0001 and goes on at 0.000133, and falls linearly to "
           "0, which it reaches when epoch 4 ends"),
    (2, 8, "--num_epochs 8 instead of 2: the learning rate was 0.0001 and goes on at 0.0002, stays there until epoch "
           "4 ends, and falls linearly to 0, which it reaches when epoch 8 ends"),
    (2, 2, ""),
])  # fmt: skip
def test_other_epochs_say_how_the_learning_rate_moves(data, capsys, first, then, told):
    train(data, **{**P, "num_epochs": first})
    capsys.readouterr()
    trainer(data, resume=True, **{**P, "num_epochs": then})
    assert (f"note: {told}\n" if told else "") == "".join(
        line for line in capsys.readouterr().out.splitlines(keepends=True) if "learning rate" in line)


def test_flow_that_was_kept_on_another_machine(monkeypatch, data, capsys):
    """Where its folder cannot be, the run keeps its flow beside itself; the same in a new place is no other run."""
    options = small("vid2vid", flow_cache="flow", flow_backend="farneback")
    train(data, "whole", **options)
    killed(monkeypatch, data, 3, **{**options, "save_minutes": 0.0})
    shutil.rmtree("flow")
    Path("flow").write_text("no folder")
    capsys.readouterr()
    run = trainer(data, resume=True, **{**options, "save_minutes": 0.0})
    assert "note: --flow_cache flow cannot be written here: flow is kept in checkpoints/run/flow_cache\n" in (
        capsys.readouterr().out)
    assert loop.train(run)
    assert weights("run") == weights("whole") and list(Path("checkpoints/run/flow_cache").rglob("*.npz"))
    trainer(data, resume=True, **{**options, "flow_cache": "elsewhere"})
    assert "--flow_cache  contradicts" in message(trainer, data, resume=True, **{**options, "flow_cache": ""})


def test_more_epochs_of_a_growing_run_are_of_the_stages_that_remain(data, capsys):
    """Here of the last of three, also where the checkpoint is of a version that did not count epochs over stages."""
    train(data, **P, **GROWING)
    old = latest("run")
    del old["position"]["earlier"]
    torch.save(old, "checkpoints/run/latest.pth")
    assert train(data, resume=True, **P, **GROWING)
    assert "finished after 3 epochs" in capsys.readouterr().out
    assert train(data, resume=True, **{**P, **GROWING, "num_epochs": 3})
    assert {name: latest("run")["position"][name] for name in ("stage", "epoch", "earlier")} == {
        "stage": 2, "epoch": 3, "earlier": 2}  # fmt: skip
    assert {name.rsplit("_", 1)[1] for name in weights("run")} == {f"{epoch}.pth" for epoch in range(1, 6)}


def files():
    return {p: p.read_bytes() for root in ("checkpoints", "runs") for p in Path(root).rglob("*") if p.is_file()}


def test_resuming_a_finished_run_does_nothing_and_says_so(data, capsys):
    train(data, **P)
    before = files()
    capsys.readouterr()
    assert train(data, resume=True, **P)
    assert files() == before
    assert "2 epochs" in capsys.readouterr().out


def test_resuming_what_never_began_begins(data):
    assert train(data, resume=True, **P)
    train(data, "whole", **P)
    assert_same_run("whole", "run")


def test_an_existing_run_is_refused_and_untouched(data):
    train(data, num_epochs=1, **P)
    before = files()
    found = message(trainer, data, num_epochs=1, **P)
    assert "--resume" in found and "--overwrite" in found
    assert files() == before


def test_overwrite_begins_anew(data):
    train(data, num_epochs=3, seed=5, **P)
    train(data, overwrite=True, **P)
    train(data, "whole", **P)
    assert_same_run("whole", "run")  # no weight file, and no row of losses, is left of the first


def test_overwrite_that_is_refused_keeps_the_run(data, tmp_path):
    train(data, num_epochs=1, **P)
    before = files()
    message(trainer, data, overwrite=True, **{**P, "image_height": 2})
    message(trainer, (tmp_path / "nowhere", data[1]), overwrite=True, **P)
    assert files() == before


def test_overwrite_with_init_epoch_survives_a_kill(monkeypatch, data):
    """The weights that the run began with are gone then, but for the new run's own checkpoint."""
    train(data, num_epochs=1, **P)
    options = {**P, "init_epoch": 1, "num_epochs": 1, "seed": 3}
    killed(monkeypatch, data, 2, overwrite=True, **options)
    assert train(data, resume=True, **options)


def test_leftovers_of_killed_writes_are_removed(monkeypatch, data, tmp_path):
    killed(monkeypatch, data, 3, save_minutes=0.0, **P)
    leftovers = [tmp_path / "checkpoints/run/.latest.99.tmp.pth", tmp_path / "checkpoints/run/.options.7.tmp.json",
                 tmp_path / "runs/run/.losses.99.tmp.csv"]  # fmt: skip
    for path in leftovers:
        path.write_text("half")
    train(data, resume=True, save_minutes=0.0, **P)
    assert not any(path.exists() for path in leftovers)


def test_rows_torn_by_a_power_cut_are_dropped(monkeypatch, data, tmp_path):
    train(data, "whole", save_minutes=0.0, **P)
    killed(monkeypatch, data, 3, name="broken", save_minutes=0.0, **P)
    with open(tmp_path / "runs/broken/losses.csv", "a") as file:
        file.write("1,1,0.3")  # of "1234,1,0.3..."
    train(data, "broken", resume=True, save_minutes=0.0, **P)
    assert_same_run("whole", "broken")


def test_a_run_on_names_in_the_other_unicode_form_goes_on(data, tmp_path):
    """Also one whose digest was made of the names as they were stored, before they were compared in one form."""
    roots = [tmp_path / "decomposed" / side.name for side in data]
    for side, root in zip(data, roots, strict=True):
        for path in side.glob("*/*.png"):
            (root / f"{path.parent.name}e\u0301").mkdir(parents=True, exist_ok=True)
            (root / f"{path.parent.name}e\u0301" / f"e\u0301{path.name}").write_bytes(path.read_bytes())
    train(roots, num_epochs=1, **P)
    frames = [[f"s{s}e\u0301", [[f"e\u0301{t}.png"] * 2 for t in range(len(list((data[0] / f"s{s}").iterdir())))]]
              for s in range(len(list(data[0].iterdir())))]  # fmt: skip
    saved = latest("run")
    saved["data"]["digest"] = hashlib.sha256(json.dumps(frames).encode()).hexdigest()
    save(checkpoint.CHECKPOINTS / "run" / checkpoint.LATEST, saved)
    assert train(roots, resume=True, num_epochs=2, **P)
