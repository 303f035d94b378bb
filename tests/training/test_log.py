"""What a run reports: TensorBoard events, and a table of losses, which are means since the last entry."""
import csv
import io
import time

import numpy as np
import pytest
import torch
from PIL import Image

from tests.training.helpers import P, assert_same_run, killed, latest, train, write_data
from timecyclegan.training.log import Means, TrainingLog
from timecyclegan.util.errors import UserError
from timecyclegan.util.weights import save


def rows(path):
    with open(path, newline="") as file:
        return list(csv.reader(file))


def events(path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(path), size_guidance={"images": 0, "scalars": 0})
    return found.Reload()


def test_tensorboard_has_scalars_hparams_pictures_and_gifs(tmp_path):
    log = TrainingLog(tmp_path / "run", 0)
    log.hparams({"learning_rate": 0.5, "model_type": "timecycle", "spatial_scaling": [0.5, 1.0], "flip": True})
    log.scalars({"Generator/l1": 0.25, "Discriminator/gan": 2.0}, 1, 1)
    log.scalars({"Generator/l1": 0.125, "Discriminator/gan": 1.0}, 2, 1)
    clip = torch.zeros(2, 4, 3, 6, 10)
    clip[0, 1], clip[0, 2], clip[0, 3] = 1, 0.5, -0.5
    log.videos({"source": clip, "fake": -clip, "real": clip}, 2)
    log.writer.close()

    found = events(tmp_path / "run")
    assert sorted(found.Tags()["scalars"]) == ["Loss/Discriminator/gan", "Loss/Generator/l1"]
    assert [(e.step, e.value) for e in found.Scalars("Loss/Generator/l1")] == [(1, 0.25), (2, 0.125)]
    assert found.Tags()["images"] == ["Frames/source_fake_real", "Video/source_fake_real"]
    (grid,), (video,) = (found.Images(tag) for tag in found.Tags()["images"])
    grid = np.asarray(Image.open(io.BytesIO(grid.encoded_image_string)))
    assert grid.shape == (3 * 6, 4 * 10, 3)  # a row for each video, a column for each frame
    assert [grid[row, column, 0] for row, column in ((0, 0), (0, 10), (6, 10), (12, 10))] == [128, 255, 0, 255]
    gif = Image.open(io.BytesIO(video.encoded_image_string))
    assert (gif.format, gif.n_frames, gif.size) == ("GIF", 4, (3 * 10, 6))
    text = b"".join(path.read_bytes() for path in (tmp_path / "run").glob("events*"))
    assert all(name in text for name in (b"hparams", b"learning_rate", b"spatial_scaling", b"[0.5, 1.0]"))
    assert rows(tmp_path / "run/losses.csv") == [
        ["step", "epoch", "Loss/Generator/l1", "Loss/Discriminator/gan"], ["1", "1", "0.25", "2"],
        ["2", "1", "0.125", "1"],
    ]  # fmt: skip


def test_a_still_model_logs_no_gif(tmp_path):
    log = TrainingLog(tmp_path / "run", 0)
    log.videos({"fake": torch.zeros(1, 1, 3, 4, 4)}, 1)
    log.writer.close()
    assert events(tmp_path / "run").Tags()["images"] == ["Frames/fake"]


def test_what_was_logged_after_the_checkpoint_is_dropped(tmp_path):
    log = TrainingLog(tmp_path / "run", 0)
    for step in (1, 2, 3, 10):
        log.scalars({"Generator/l1": float(step)}, step, 1)
    log.writer.close()
    time.sleep(1.1)  # TensorBoard reads files in the order of their names, which begin with the second
    log = TrainingLog(tmp_path / "run", 2)
    log.scalars({"Generator/l1": 33.0}, 3, 1)
    log.writer.close()
    assert [row[0] for row in rows(tmp_path / "run/losses.csv")] == ["step", "1", "2", "3"]
    logged = events(tmp_path / "run").Scalars("Loss/Generator/l1")
    assert [(entry.step, entry.value) for entry in logged] == [(1, 1), (2, 2), (3, 33)]


def test_a_table_that_is_no_log_is_named_and_kept(tmp_path):
    other = tmp_path / "losses.csv"
    other.write_text("name,x\na,1\n")
    with pytest.raises(UserError, match=f"{other} is no log of losses, it has no column step: move it away"):
        TrainingLog(tmp_path, 2)
    assert other.read_text() == "name,x\na,1\n"


# --- means since the last entry

@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"), lengths=(8, 7))  # four clips an epoch


def table(name):
    with open(f"runs/{name}/losses.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_a_name_is_averaged_over_the_steps_that_had_it():
    means = Means()
    for values in ({"a": 1.0}, {"a": 2.0, "b": 5.0}, {"a": 6.0}):
        means.add({name: torch.tensor(value) for name, value in values.items()})
    assert means.values() == Means(means.state()).values() == {"a": 3.0, "b": 5.0} == means.glance()
    means.clear()
    assert means.values() == {}


def test_entries_are_means_since_the_last_one(data):
    """Of the very steps that a run shows which logs each of them."""
    train(data, "each", **P)
    train(data, "third", log_every=3, **P)
    each, third = table("each"), table("third")
    assert [row["step"] for row in third] == ["3", "6"] and len(each) == 8
    for entry, row in enumerate(third):
        losses = [key for key in row if key.startswith("Loss/")]
        assert len(losses) >= 9
        for key in losses:
            steps = [float(step[key]) for step in each[3 * entry : 3 * entry + 3]]
            assert float(row[key]) == pytest.approx(sum(steps) / 3, rel=1e-5)
            assert float(row[key]) not in steps
        last = each[3 * entry + 2]
        assert (row["epoch"], row["learning_rate"]) == (last["epoch"], last["learning_rate"])


@pytest.mark.parametrize("step", [2, 4, 6, 7])
def test_what_came_since_the_last_entry_survives_a_kill(monkeypatch, data, step):
    options = {**P, "log_every": 3, "save_minutes": 0.0, "num_epochs": 3}
    train(data, "whole", **options)
    killed(monkeypatch, data, step, name="broken", **options)
    assert train(data, "broken", resume=True, **options)
    assert len(table("whole")) == 4
    assert_same_run("whole", "broken")


def test_an_entry_may_span_two_stages(monkeypatch, data):
    """The first, of short clips, has no walk: its mean is that of the steps that have one."""
    options = {**P, "temporal_scaling": (0.4, 1.0), "num_epochs": 1, "log_every": 4, "save_minutes": 0.0}
    train(data, "whole", **options)
    assert any(row["Loss/Generator/timecycle_target"] for row in table("whole"))
    for where, step in (("training_step", 4), ("begin_stage", 2)):
        train(data, "broken", overwrite=True, num_epochs=1)
        killed(monkeypatch, data, step, where, name="broken", overwrite=True, **options)
        assert train(data, "broken", resume=True, **options)
        assert_same_run("whole", "broken")


def test_a_checkpoint_from_before_there_were_means_goes_on(monkeypatch, data):
    options = {**P, "log_every": 3, "save_minutes": 0.0}
    killed(monkeypatch, data, 5, name="run", **options)
    state = latest("run")
    assert state.pop("means") and state["position"]["step"] == 4
    save("checkpoints/run/latest.pth", state)
    assert train(data, "run", resume=True, **options)
    assert [row["step"] for row in table("run")] == ["3", "6"]
