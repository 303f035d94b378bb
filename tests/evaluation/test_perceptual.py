"""The perceptual view: each frame's distances from its partner and its predecessor."""
import hashlib
import itertools
from pathlib import Path

import lpips
import numpy as np
import pytest
import torch

from tests.evaluation.helpers import moving, noisy, texture
from timecyclegan.evaluation.base import Settings, Step
from timecyclegan.evaluation.features import alexnet as perceptual
from timecyclegan.evaluation.features.alexnet import (
    SMALLEST,
    Perceptual,
    PerceptualView,
    distance,
)
from timecyclegan.evaluation.variants import CroppedPerceptualView, tecogan_crop
from timecyclegan.util.errors import UserError

SIZE = (40, 48)
NEAR = {"rtol": 0, "atol": 5e-8}


def frames_of(*clips):
    """Steps for a view from clips of (real, fake) pictures; real may be None."""
    return [Step(real, fake, *(clip[t - 1] if t else (None, None))) for clip in clips
            for t, (real, fake) in enumerate(clip)]


def clip_of(length, seed=0, height=SIZE[0], width=SIZE[1]):
    real = moving(length, height, width, seed, step=2)
    return list(zip(real, noisy(real, 20, seed), strict=True))


@pytest.fixture(scope="module")
def view(alexnet):
    return PerceptualView(Settings(gpu=-1))


@pytest.mark.parametrize("size", [(31, 31), (33, 47), (64, 48)])
def test_squared_distances_of_vectors_are_lpips(alexnet, plain_lpips, size):
    pictures = [texture(*size), texture(*size, seed=1), np.zeros((*size, 3), np.uint8), texture(*size, smooth=0)]
    vectors = PerceptualView(Settings()).vectors(pictures)
    for (one, a), (two, b) in itertools.combinations(zip(pictures, vectors, strict=True), 2):
        expected = plain_lpips(one, two)
        assert expected > 1e-3
        assert distance(a, b) == pytest.approx(expected, abs=1e-7, rel=1e-6)


def test_pixels_without_any_feature_do_no_harm(alexnet):
    view = PerceptualView(Settings())
    view._network[1].slice5.get_submodule("10").bias.data.fill_(-1e6)  # before a ReLU
    first, second = view.vectors([texture(*SIZE), texture(*SIZE, seed=1)])
    assert (first[-256:] == 0).all() and 0 < distance(first, second) < 1


def test_a_frame_is_compared_with_its_partner_and_its_predecessor(view, plain_lpips):
    clip = clip_of(4)
    for t, seen in enumerate(view(frames_of(clip))):
        assert seen.between == pytest.approx(plain_lpips(*clip[t]), abs=1e-7)
        for side, found in enumerate(seen[1:]):
            expected = plain_lpips(clip[t - 1][side], clip[t][side]) if t else None
            assert found == (pytest.approx(expected, abs=1e-7) if t else None)


def numbers(seen):
    return np.array([[np.nan if value is None else value for value in entry] for entry in seen])


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_batches_do_not_matter_and_sequences_are_not_crossed(view, size):
    """Batches that end within sequences, at their ends and beyond them, against each sequence by itself."""
    clips = [clip_of(3), clip_of(1, seed=1), clip_of(4, seed=2), clip_of(1, seed=3)]
    expected = np.concatenate([numbers(view(frames_of(clip))) for clip in clips])
    frames = frames_of(*clips)
    found = np.concatenate([numbers(view(frames[at:at + size])) for at in range(0, len(frames), size)])
    assert np.isnan(found[[0, 3, 4, 8], 1:]).all() and not np.isnan(found[:, 0]).any()
    np.testing.assert_allclose(found, expected, **NEAR)


def test_each_frame_goes_through_the_network_once(view, monkeypatch):
    seen, vectors = [], view.vectors
    monkeypatch.setattr(view, "vectors", lambda frames: seen.append(len(frames)) or vectors(frames))
    frames = frames_of(clip_of(5), clip_of(4, seed=1))
    view(frames[:8]), view(frames[8:])
    assert sum(seen) == 2 * 9 and max(seen) == 8


def test_of_large_frames_fewer_go_at_once(view, monkeypatch):
    frames = frames_of(clip_of(5))
    expected, (height, width) = view(frames), SIZE
    seen, vectors = [], view.vectors
    monkeypatch.setattr(view, "vectors", lambda frames: seen.append(len(frames)) or vectors(frames))
    for pixels, most in ((2 * height * width, 2), (height * width - 1, 1)):
        monkeypatch.setattr(perceptual, "PIXELS", pixels)
        np.testing.assert_allclose(numbers(view(frames)), numbers(expected), **NEAR)
        assert max(seen) == most
        seen.clear()


def test_of_a_batch_one_frame_is_kept(view):
    frames = frames_of(clip_of(8))
    view(frames)
    kept = {vector.untyped_storage().nbytes() for vector in view._previous}
    assert kept == {view.vectors([frames[0].fake]).nbytes}


def test_identical_frames_are_at_distance_0(view):
    real = moving(6, *SIZE)
    for seen in view(frames_of(list(zip(real, real, strict=True)))):
        assert seen.between == 0 and seen.real == seen.fake != 0


def test_without_real_frames_the_fake_ones_are_compared(view):
    clip = clip_of(3)
    expected = [Perceptual(None, None, entry.fake) for entry in view(frames_of(clip))]
    assert view(frames_of([(None, fake) for _, fake in clip])) == expected


def test_the_smallest_frames(view):
    for size in ((SMALLEST, SMALLEST - 1), (SMALLEST - 1, 64)):
        assert view(frames_of(clip_of(2, 0, *size))) == [Perceptual()] * 2
        with pytest.raises(RuntimeError):  # which the view saves them from
            view.vectors([texture(*size)])
    assert view(frames_of(clip_of(2, 0, SMALLEST, SMALLEST)))[1].fake > 0


def test_the_cropped_view_is_that_of_cropped_frames(alexnet, view):
    cropped, crop = CroppedPerceptualView(Settings(gpu=-1)), tecogan_crop(50, 100)
    clip = clip_of(3, 0, 50, 100)
    assert cropped(frames_of(clip)) == view(frames_of([(real[crop], fake[crop]) for real, fake in clip]))
    assert cropped(frames_of(clip_of(2, 0, 47, 100))) == [Perceptual()] * 2
    assert cropped.facts["input"] != view.facts["input"]


def test_facts_name_both_files(alexnet, view):
    linear = Path(lpips.__file__).parent / "weights/v0.1/alex.pth"
    assert view.facts["weights"] == alexnet.name and view.facts["linear_weights"] == linear.name
    for key, path in (("weights_sha256", alexnet), ("linear_weights_sha256", linear)):
        assert view.facts[key] == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def checkpoints(tmp_path, monkeypatch):
    """torch hub's cache, empty."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def test_missing_weights_say_where_to_put_them(checkpoints):
    with pytest.raises(UserError) as error:
        PerceptualView(Settings(gpu=-1))
    message = str(error.value)
    assert "\n" not in message
    for part in (str(checkpoints / "alexnet-owt-7be5be79.pth"), perceptual.URL, "LPIPS", "tLP"):
        assert part in message
    assert not any(checkpoints.iterdir())


@pytest.mark.parametrize("wrong", ["other network", "other shape", "a layer lacks", "no state dict", "no weights"])
def test_wrong_weights_are_refused(checkpoints, alexnet_state, wrong):
    path, state = checkpoints / "alexnet-owt-7be5be79.pth", dict(alexnet_state)
    if wrong == "a layer lacks":
        del state["features.10.bias"]
    if wrong == "no weights":
        path.write_text("<html>not found</html>")
    else:
        torch.save({"other network": {"weight": torch.zeros(3)}, "no state dict": [1, 2],
                    "other shape": {**state, "features.8.bias": torch.zeros(7)}}.get(wrong, state), path)
    with pytest.raises(UserError) as error:
        PerceptualView(Settings())
    assert str(path) in str(error.value) and perceptual.URL in str(error.value)
