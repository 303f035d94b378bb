"""Inception's features: those of pytorch-fid, of the same pixels and weights."""
import hashlib
import json
import shutil

import numpy as np
import pytest
import torch
from pytorch_fid.inception import FID_WEIGHTS_URL, InceptionV3

from tests.evaluation.helpers import CASES, texture
from tests.seeded import checksum
from timecyclegan.evaluation.base import Settings
from timecyclegan.evaluation.features.inception import InceptionView
from timecyclegan.util.errors import UserError

REFERENCE = json.loads((CASES / "reference.json").read_text())


def refuse(*args, **kwargs):
    raise AssertionError("a download was attempted")


def test_weights_are_the_agreed_ones(inception_file):
    state = torch.load(inception_file, weights_only=True)
    assert checksum(state) == pytest.approx(REFERENCE["seeded_inception_checksum"], rel=1e-12)


@pytest.mark.parametrize("dims", [64, 192, pytest.param(768, marks=pytest.mark.slow),
                                  pytest.param(2048, marks=pytest.mark.slow)])
def test_features_of_pytorch_fid_itself(inception, inception_file, dims):
    """Its network called plainly, one picture at a time, which it resizes: larger, smaller, odd and mixed sizes."""
    network = InceptionV3([InceptionV3.BLOCK_INDEX_BY_DIM[dims]]).eval()
    pictures = [texture(33, 47), texture(400, 301, seed=1), texture(299, 299, seed=2), texture(1, 9, seed=3, smooth=0)]
    found = inception(dims)(pictures)
    for picture, features in zip(pictures, found, strict=True):
        with torch.no_grad():
            output = network(torch.from_numpy(picture).permute(2, 0, 1)[None] / 255)[0]
        np.testing.assert_allclose(features, output.double().mean((0, 2, 3)), rtol=1e-4, atol=1e-5)


def test_batches_change_nothing_to_speak_of(inception):
    pictures = [texture(20, 30, seed) for seed in range(9)]
    together = inception(64)(pictures)
    alone = np.concatenate([inception(64)([picture]) for picture in pictures])
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-5)
    assert np.ptp(together, axis=0).max() > 0.01
    assert np.array_equal(together, inception(64)(pictures))
    assert inception(64)([]).shape == (0, 64)


def test_the_file_is_taken_from_the_cache(inception_file, monkeypatch):
    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    found = InceptionView(Settings(fid_dims=64)).facts
    assert found["weights"] == inception_file.name == "pt_inception-2015-12-05-6726825d.pth"
    assert found["weights_sha256"] == hashlib.sha256(inception_file.read_bytes()).hexdigest()
    assert json.loads(json.dumps(found)) == found


def test_other_numbers_of_features_are_refused():
    with pytest.raises(UserError, match="100 features of Inception; there are 64, 192, 768, 2048"):
        InceptionView(Settings(fid_dims=100))


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty hub cache; every attempt to fill it is counted."""
    attempts = []

    def fail(url, *args, **kwargs):
        attempts.append(url)
        raise OSError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder, attempts


def test_missing_weights(cache):
    folder, attempts = cache
    with pytest.raises(UserError) as error:
        InceptionView(Settings())
    assert str(folder / "pt_inception-2015-12-05-6726825d.pth") in str(error.value)
    assert FID_WEIGHTS_URL in str(error.value) and "\n" not in str(error.value)
    assert attempts == [FID_WEIGHTS_URL]


@pytest.mark.parametrize("content", [b"", b"no weights", {"layer.weight": torch.zeros(2)}, [1.0]])
def test_files_that_hold_other_things(cache, content):
    folder, attempts = cache
    path = folder / "pt_inception-2015-12-05-6726825d.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(UserError, match=path.name) as error:
        InceptionView(Settings())
    assert "\n" not in str(error.value) and not attempts


def test_a_cache_chosen_in_python(cache, inception_file, tmp_path, monkeypatch):
    """torch.hub.set_dir goes before TORCH_HOME, also for the package that reads the file."""
    chosen = tmp_path / "chosen"
    (chosen / "checkpoints").mkdir(parents=True)
    shutil.copy(inception_file, chosen / "checkpoints")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "other"))
    monkeypatch.setattr(torch.hub, "_hub_dir", str(chosen))
    assert InceptionView(Settings(fid_dims=64)).features([texture(8, 8)]).shape == (1, 64)
