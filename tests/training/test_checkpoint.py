"""Reading checkpoints: whose weights they are, whether they fit, whether they are safe."""
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.training.helpers import P, latest, message, same, stored, train, trainer, weights, write_data
from timecyclegan.inference.trained import load_model, load_options
from timecyclegan.training import checkpoint
from timecyclegan.training.run import STATE
from timecyclegan.util.options import Options
from timecyclegan.util.weights import load, save

LATEST = Path("checkpoints/run/latest.pth")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"), lengths=(4,))


@pytest.fixture
def run(data):
    train(data, **P)


class Hostile:
    def __reduce__(self):
        return os.mkdir, ("hacked",)


# --- files that are not what they should be

def test_a_hostile_pickle_is_refused_and_does_not_run(run, data):
    torch.save({"networks": Hostile()}, LATEST)
    assert "could run code" in message(trainer, data, resume=True, **P)
    LATEST.write_bytes(pickle.dumps(Hostile(), protocol=2))
    message(trainer, data, resume=True, **P)
    torch.save(Hostile(), "checkpoints/run/generator_1.pth")
    message(stored, LATEST.parent, epoch=1)
    assert not Path("hacked").exists()


@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\x03\x04", None, {"a": 1}, [1, 2], 3], ids=str)
def test_a_damaged_latest_is_one_clear_line(run, data, content):
    if isinstance(content, bytes):
        LATEST.write_bytes(content)
    elif content is None:
        LATEST.write_bytes(LATEST.read_bytes()[:-1000])
    else:
        torch.save(content, LATEST)
    before = LATEST.read_bytes()
    assert str(LATEST) in message(trainer, data, resume=True, **P)
    assert LATEST.read_bytes() == before
    assert str(LATEST) in message(checkpoint.read_networks, LATEST.parent)


def test_a_link_that_leads_nowhere_is_no_missing_run(run, data):
    """A disk that is not mounted: the run is somewhere else, and must not begin again."""
    for file, uses in ((LATEST, (lambda: trainer(data, resume=True, **P), lambda: load_model("run", Options(**P)))),
                       (LATEST.with_name("options.json"), (lambda: load_options("run"),))):
        kept = file.rename(file.with_suffix(".away"))
        file.symlink_to("/no/disk/x")
        for use in uses:
            assert f"{file} is a link to /no/disk/x, which is not there" in message(use)
        kept.replace(file)


def test_files_are_read_onto_the_cpu_and_without_code(run, monkeypatch):
    """SPEC 7 item 14: checkpoints of a GPU load where there is none."""
    calls, plain = [], torch.load

    def spy(*args, **kwargs):
        calls.append(kwargs)
        return plain(*args, **kwargs)

    monkeypatch.setattr(torch, "load", spy)
    load(LATEST)
    assert calls == [{"map_location": "cpu", "weights_only": True}]


def test_what_is_saved_lies_on_the_cpu(run):
    """So that a weight file is the same wherever it was made."""
    def tensors(value):
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, (dict, list, tuple)):
            for item in value.values() if isinstance(value, dict) else value:
                yield from tensors(item)

    state = latest("run")
    assert state.keys() == STATE | {"model", "means"}
    assert all(value.device.type == "cpu" for value in tensors(state))


# --- weights that do not fit

def test_a_misfit_names_network_parameter_and_both_shapes(run, data):
    found = message(trainer, data, "new", init_checkpoint_dir="checkpoints/run", **{**P, "generator_filters": 3})
    assert "checkpoints/run: generator does not fit" in found
    assert "model.1.weight is (2, 6, 7, 7) where the model has (3, 6, 7, 7)" in found
    assert not Path("checkpoints/new").exists() and not Path("runs/new").exists()


@pytest.mark.parametrize("residual", [True, False])
def test_motion_models_of_the_other_kind_are_told_by_their_flag(data, residual):
    train(data, **{**P, "timecycle_motion_model_residual": residual})
    found = message(trainer, data, "new", init_checkpoint_dir="checkpoints/run",
                    **{**P, "timecycle_motion_model_residual": not residual})  # fmt: skip
    assert found.endswith(f"; use --{'' if residual else 'no-'}timecycle_motion_model_residual")


def test_missing_and_surplus_parameters_are_named(run, data):
    path = Path("checkpoints/run/generator_1.pth")
    state = load(path)
    save(path, {key: value for key, value in state.items() if key != "model.1.bias"})
    options = {"init_checkpoint_dir": "checkpoints/run", "init_epoch": 1, **P}
    assert "generator lacks the parameter model.1.bias" in message(trainer, data, "new", **options)
    save(path, {**state, "model.99.bias": torch.zeros(1)})
    assert "generator has a parameter model.99.bias" in message(trainer, data, "new", **options)


def test_networks_that_another_model_lacks_begin_anew(data, capsys):
    train(data, model_type="seqpix2pix")
    begun = trainer(data, "new", init_checkpoint_dir="checkpoints/run", **P)
    assert "no weights for sequence_discriminator_0, timecycles_target: begun anew" in capsys.readouterr().out
    weights = load(Path("checkpoints/run/generator_2.pth"))
    assert all(torch.equal(value, weights[key]) for key, value in begun.model.generator.state_dict().items())


def test_weights_of_no_network_of_the_model_are_refused(data):
    Path("other").mkdir()
    save(Path("other/classifier_3.pth"), {"weight": torch.zeros(1)})
    found = message(trainer, data, "new", init_checkpoint_dir="other", init_epoch=3, **P)
    assert "other has no weights for generator, " in found and found.endswith("; it has classifier")


# --- beginning with the weights of another run (SPEC 7 item 9: a missing checkpoint is an error)

@pytest.mark.parametrize(("options", "expected"), [
    ({"init_checkpoint_dir": "checkpoints/run"}, 2),
    ({"init_checkpoint_dir": "checkpoints/run", "init_epoch": 1}, 1),
    ({"init_checkpoint_dir": "checkpoints/run", "init_epoch": 2}, 2),
])  # fmt: skip
def test_initial_weights(run, data, options, expected):
    begun = trainer(data, "new", **options, **P)
    for name, network in begun.model.networks().items():
        assert same(dict(network.state_dict()), load(Path(f"checkpoints/run/{name}_{expected}.pth")))
    assert begun.position.step == 0 and not begun.model.optimizers["G"].state


def test_init_epoch_alone_means_this_run(run, data):
    begun = trainer(data, overwrite=True, init_epoch=1, **P)
    expected = load(Path("checkpoints/run/generator_1.pth"))
    assert same(dict(begun.model.generator.state_dict()), expected)


def test_initial_weights_that_do_not_exist(run, data):
    assert "there are epochs 1, 2" in message(trainer, data, "new", init_checkpoint_dir="checkpoints/run",
                                              init_epoch=7, **P)
    assert "nowhere" in message(trainer, data, "new", init_checkpoint_dir="nowhere", **P)
    assert "train first" in message(trainer, data, "new", init_epoch=7, **P)
    assert not Path("checkpoints/new").exists()


def test_epoch_1_is_not_epoch_11(data, capsys):
    train(data, num_epochs=11, **P)
    capsys.readouterr()
    states = checkpoint.read_networks(LATEST.parent, 1)
    assert sorted(states) == ["discriminator", "generator", "sequence_discriminator_0", "timecycles_target"]
    for name in states:
        assert same(stored(LATEST.parent, name, 1), load(LATEST.parent / f"{name}_1.pth"))
    assert capsys.readouterr().out == ""


def test_save_every(data):
    train(data, num_epochs=5, save_every=2, **P)
    assert sorted({name.rsplit("_", 1)[1] for name in weights("run")}) == ["2.pth", "4.pth", "5.pth"]


# --- writing

def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.pth"
    save(path, {"a": 1})

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    assert "No space left" in message(save, path, {"a": 2})
    assert load(path) == {"a": 1} and list(tmp_path.iterdir()) == [path]


# --- one process per name

def test_a_second_process_under_the_same_name_is_refused(data):
    # Another process: a record lock does not keep out its own.
    code = ("import fcntl, sys; f = open('checkpoints/.run.lock', 'w'); fcntl.lockf(f, fcntl.LOCK_EX); "
            "print(flush=True); sys.stdin.read()")
    Path("checkpoints").mkdir()
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        assert "another process is training run" in message(train, data, **P)
        assert not Path("checkpoints/run").exists() and not Path("runs").exists()
        other.communicate()
    assert train(data, **P)


def test_a_folder_that_cannot_be_written_to(data):
    Path("checkpoints").write_text("a file")
    assert "cannot write" in message(train, data, **P)
