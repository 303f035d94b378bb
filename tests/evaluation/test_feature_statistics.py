"""Statistics of feature vectors: as they come in batches, and on disk."""
from dataclasses import replace

import numpy as np
import pytest

from timecyclegan.evaluation.features.frechet import Collected, Statistics, frechet_distance
from timecyclegan.util.errors import UserError

DIMS = 12
FACTS = {"network": "none", "range": [-1.0, 1.0]}


def vectors(n, seed=0):
    """As networks give them: float32 numbers."""
    return np.random.default_rng(seed).normal(size=(n, DIMS)).astype(np.float32).astype(np.float64)


def collected(features):
    collected = Collected()
    for vector in features:
        collected.add(vector)
    assert collected.n == len(features)
    return collected.statistics


@pytest.mark.parametrize("n", [2, DIMS, DIMS + 1, 3 * DIMS, 100])
def test_mean_and_covariance(n):
    features = vectors(n)
    found = collected(features)
    np.testing.assert_allclose(found.mean, features.mean(0), rtol=0, atol=1e-14)
    np.testing.assert_allclose(found.cov, np.cov(features, rowvar=False), rtol=0, atol=1e-13)
    assert found.trace == pytest.approx(np.cov(features, rowvar=False).trace(), rel=1e-13)
    np.testing.assert_allclose(found.factor.T @ found.factor, found.cov, rtol=0, atol=1e-13)
    assert len(found.factor) == min(n, DIMS) and found.n == n and found.dims == DIMS


def test_many_vectors_are_not_kept():
    held = Collected()
    for vector in vectors(350):
        held.add(vector)
        assert len(held._waiting) <= DIMS
    assert held.statistics.n == 350 and held.statistics.factor.shape == (DIMS, DIMS)


def test_a_mean_far_from_0():
    features = vectors(200)
    found = collected(features + 1e6)
    np.testing.assert_allclose(found.cov, np.cov(features, rowvar=False), rtol=0, atol=1e-8)


@pytest.mark.parametrize("n", [5, 100])
def test_saved_is_as_good_as_direct(tmp_path, n):
    direct, other = replace(collected(vectors(n)), facts=FACTS), collected(vectors(30, seed=1))
    direct.save(tmp_path / "direct.npz")
    loaded = Statistics.load(tmp_path / "direct.npz")
    assert loaded.facts == FACTS and loaded.n == n
    assert frechet_distance(direct, loaded).value == 0.0
    assert frechet_distance(loaded, other).value == pytest.approx(frechet_distance(direct, other).value, rel=1e-12)


@pytest.mark.parametrize("n", [5, 100])
def test_the_format_of_pytorch_fid(tmp_path, n):
    features, other = vectors(n), Statistics.of(vectors(30, seed=1))
    mu, sigma = features.mean(0), np.cov(features, rowvar=False)
    np.savez_compressed(tmp_path / "theirs.npz", mu=mu, sigma=sigma)
    theirs = Statistics.load(tmp_path / "theirs.npz")
    assert theirs.n is None
    assert frechet_distance(theirs, other).value == pytest.approx(
        frechet_distance(Statistics.of(features), other).value, rel=1e-9)
    assert frechet_distance(theirs, theirs).value == 0.0

    Statistics.of(features).save(tmp_path / "ours.npz")
    with np.load(tmp_path / "ours.npz") as ours:
        np.testing.assert_allclose(ours["mu"], mu, rtol=0, atol=1e-14)
        np.testing.assert_allclose(ours["sigma"], sigma, rtol=0, atol=1e-13)


def truncated(path):
    Statistics.of(vectors(5)).save(path)
    path.write_bytes(path.read_bytes()[:-200])


DAMAGED = {
    "missing": lambda path: None,
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("mu sigma"),
    "truncated": truncated,
    "others": lambda path: np.savez(path, flow=np.zeros((2, 2))),
    "half": lambda path: np.savez(path, mu=np.zeros(3)),
    "shapes": lambda path: np.savez(path, mu=np.zeros(3), sigma=np.zeros((3, 4))),
    "objects": lambda path: np.savez(path, mu=np.array([{}]), sigma=np.zeros((1, 1))),
    "array": lambda path: np.save(path.open("wb"), np.zeros(3)),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_files_that_hold_no_statistics(tmp_path, kind):
    path = tmp_path / "stats.npz"
    DAMAGED[kind](path)
    with pytest.raises(UserError, match=r"stats\.npz") as error:
        Statistics.load(path)
    assert "\n" not in str(error.value)


def test_no_file_can_run_code(tmp_path):
    class Code:
        def __reduce__(self):
            return (tmp_path / "ran").touch, ()

    np.savez(tmp_path / "stats.npz", mu=np.array([Code()], dtype=object), sigma=np.zeros((1, 1)))
    with pytest.raises(UserError):
        Statistics.load(tmp_path / "stats.npz")
    assert not (tmp_path / "ran").exists()


def test_what_is_worth_nothing_is_not_saved(tmp_path):
    for features in (vectors(1), np.full((3, DIMS), np.inf)):
        with pytest.raises(UserError):
            Statistics.of(features).save(tmp_path / "stats.npz")
    assert not list(tmp_path.iterdir())
