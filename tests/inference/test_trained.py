"""The options of a trained run: what may be given anew, and what describes weights that come without."""
import pytest

from tests.training.helpers import message
from timecyclegan.inference.trained import load_options
from timecyclegan.training import checkpoint
from timecyclegan.util.options import Options


@pytest.fixture(autouse=True)
def saved(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = Options(spatial_scaling=(0.5, 1.0))
    options.save(checkpoint.CHECKPOINTS / "run" / checkpoint.OPTIONS)
    return options


def test_a_trained_model_cannot_change_but_how_it_runs_can(saved):
    free = {"gpu": -1, "image_height": 64, "image_width": 32, "threads": 3}
    found = load_options("run", {**free, "spatial_scaling": (0.5, 1.0), "generator_filters": 64})
    assert vars(found) == vars(saved) | free
    for key, value in {"generator_filters": 8, "n_frames_generator": 2, "upsample": "resize", "block_size": 7,
                       "learning_rate": 0.1}.items():  # fmt: skip
        line = message(load_options, "run", {key: value})
        assert f"--{key} {value} contradicts the checkpoint" in line and repr(getattr(saved, key)) in line


def test_auto_is_what_the_run_has_found():
    Options(source_pixels="labels", flow_backend="dis").save(checkpoint.CHECKPOINTS / "run" / checkpoint.OPTIONS)
    found = load_options("run", {"source_pixels": "auto", "flow_backend": "auto"})
    assert (found.source_pixels, found.flow_backend) == ("labels", "dis")
    assert "contradicts" in message(load_options, "run", {"source_pixels": "pictures"})


def test_a_run_that_is_not_there():
    assert "there is no run called none" in message(load_options, "none")
    assert load_options("none", {"model_type": "flownet", "gpu": -1}).gpu == -1
