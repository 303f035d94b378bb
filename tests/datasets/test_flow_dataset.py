"""Flow from disk through the same view as the frames, and a training that does not notice where flow comes from."""
import pytest
import torch

from tests.training import helpers
from timecyclegan.datasets.flow_dataset import FlowVideoDataset
from timecyclegan.datasets.video_dataset import PairedVideoDataset
from timecyclegan.flow import flow_backend
from timecyclegan.flow.cache import FlowCache
from timecyclegan.models import MODELS, model_class
from timecyclegan.util.device import to_floats
from timecyclegan.video.frames import to_video


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return helpers.write_data(tmp_path / "data", (6, 5))


def build(data, tmp_path, load=(0, 0), flip=False, strides=(1, 2)):
    plain = PairedVideoDataset(*data, 4, 12, 20, *load, flip)
    return FlowVideoDataset(plain, FlowCache(tmp_path / "flow", "farneback"), list(strides))


def test_without_crop_it_is_the_flow_of_the_clip(data, tmp_path):
    dataset = build(data, tmp_path)
    sample = dataset[0, 1]
    for stride in (1, 2):
        target = to_floats(sample["target"])
        flow, confidence = flow_backend("farneback")(target[stride:], target[:-stride])
        assert torch.equal(sample[f"flow_{stride}"], flow)
        assert torch.equal(sample[f"confidence_{stride}"], confidence)
    assert len(dataset) == len(dataset.dataset) and dataset.names() == dataset.dataset.names()


def test_cropped_and_mirrored_as_the_frames_are(data, tmp_path):
    """Each entry is that of the whole frames at the place that the sample shows."""
    dataset = build(data, tmp_path, load=(16, 30), flip=True, strides=[1])
    mirrored = 0
    for epoch in range(6):
        sample = dataset[epoch, 1]
        name, start, view = dataset.dataset.draw((epoch, 1))
        paths = [target for _, target in dataset.dataset.pairs[name]][start : start + 4]
        whole = torch.cat([to_video(dataset.dataset.framing.whole(path)[None]) for path in paths])
        flow, confidence = flow_backend("farneback")(whole[1:], whole[:-1])
        for y, x in ((0, 0), (5, 7), (11, 19)):
            column = view.columns.start + (19 - x if view.mirrored else x)
            there = flow[:, :, view.rows.start + y, column] * torch.tensor([-1.0 if view.mirrored else 1.0, 1.0])
            torch.testing.assert_close(sample["flow_1"][:, :, y, x], there)
            assert torch.equal(sample["confidence_1"][:, :, y, x], confidence[:, :, view.rows.start + y, column])
            target = to_floats(sample["target"])
            torch.testing.assert_close(target[:, :, y, x], whole[:, :, view.rows.start + y, column])
        mirrored += view.mirrored
    assert 0 < mirrored < 6


@pytest.mark.parametrize("model_type", [name for name in MODELS if "flow_cache" in model_class(name).uses])
def test_training_is_the_same_with_a_cache(data, model_type):
    options = helpers.given(model_type, num_epochs=1, flip=False, flow_backend="farneback", block_size=4,
                            discriminator_temporal_scales=1, n_frames_discriminator=2)  # fmt: skip
    helpers.train(data, name="without", **options)
    for name in ("first", "second"):  # computed, then read
        helpers.train(data, name=name, **options | {"flow_cache": "flow", "threads": int(name == "first")})
        assert helpers.weights(name) == helpers.weights("without")
        assert helpers.losses(name) == helpers.losses("without")


def test_all_pairs_that_clips_show_are_computed_before_training(data, tmp_path, monkeypatch):
    """Sequences of 6 and 5 frames: 5 + 4 pairs a frame apart, 4 + 3 two apart; a sequence of 3 has no clip of 4."""
    short = helpers.write_data(tmp_path / "more", (6, 5, 3))
    dataset = build(short, tmp_path)
    dataset.prepare()
    assert len(list((tmp_path / "flow").rglob("*.npz"))) == 9 + 7
    monkeypatch.setattr("timecyclegan.flow.cache.flow_backend", None)  # nothing is computed any more
    for epoch in range(4):
        for index in range(len(dataset)):
            assert dataset[epoch, index]["flow_2"].shape == (2, 2, 12, 20)
