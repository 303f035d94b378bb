"""Distances between sets of vectors: closed forms, identities, and what other programs make of the same vectors."""
import itertools
import tempfile

import numpy as np
import pytest
import scipy.linalg
import torch
from torchmetrics.image.fid import FrechetInceptionDistance

from timecyclegan.evaluation.features.frechet import (
    Collected,
    Statistics,
    frechet_distance,
)
from timecyclegan.util.errors import UserError


def gaussian(mean, cov):
    """Statistics as a file has them."""
    with tempfile.TemporaryDirectory() as folder:
        np.savez(f"{folder}/stats.npz", mu=np.array(mean, float), sigma=np.array(cov, float))
        return Statistics.load(f"{folder}/stats.npz")


def folded(features):
    """Statistics as of many vectors: there is a covariance alone."""
    return gaussian(features.mean(0), np.cov(features, rowvar=False))


def vectors(n, dims, seed=0, spectrum=1.0):
    rng = np.random.default_rng(seed)
    rotation = np.linalg.qr(rng.normal(size=(dims, dims)))[0]
    return rng.normal(size=(n, dims)) * np.sqrt(spectrum) @ rotation + rng.normal(size=dims)


def test_gaussians_of_one_dimension():
    found = frechet_distance(gaussian([3], [[4]]), gaussian([1], [[25]]))
    assert found.value == pytest.approx(2**2 + (5 - 2) ** 2, rel=1e-14)
    assert (found.mean_term, found.trace_real, found.trace_fake) == (4, 4, 25)
    assert found.trace_sqrt == pytest.approx(10, rel=1e-14)


def test_gaussians_whose_covariances_commute():
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(5, 5)))[0]
    a, b = np.array([1, 4, 9, 0, 2]), np.array([4, 1, 0, 16, 2])
    found = frechet_distance(gaussian(np.zeros(5), rotation * a @ rotation.T),
                             gaussian(np.ones(5), rotation * b @ rotation.T))
    assert found.value == pytest.approx(5 + np.square(np.sqrt(a) - np.sqrt(b)).sum(), rel=1e-7)


@pytest.mark.parametrize("n", [5, 40])  # fewer than the dimensions, and more
@pytest.mark.parametrize("statistics", [Statistics.of, folded])
def test_moved_and_scaled_vectors(n, statistics):
    x = vectors(n, 12)
    total = np.cov(x, rowvar=False).trace()
    moved = frechet_distance(statistics(x), statistics(x + 0.5))
    assert moved.value == pytest.approx(12 * 0.25, rel=1e-9)
    scaled = frechet_distance(statistics(x - x.mean(0)), statistics(1.5 * (x - x.mean(0))))
    assert scaled.value == pytest.approx(0.25 * total, rel=1e-9)


@pytest.mark.parametrize(("n", "m"), [(5, 9), (5, 40), (40, 5), (40, 60)])
@pytest.mark.parametrize("kinds", list(itertools.product([Statistics.of, folded], repeat=2)))
def test_any_counts_in_any_form(n, m, kinds):
    """Eigenvalues of the product of the covariances, which is no symmetric matrix: exact to its rounding alone."""
    x, y = vectors(n, 12), vectors(m, 12, seed=1)
    a, b = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = np.sqrt(np.linalg.eigvals(a @ b).astype(complex)).real.sum()
    expected = np.square(x.mean(0) - y.mean(0)).sum() + a.trace() + b.trace() - 2 * root
    found = frechet_distance(kinds[0](x), kinds[1](y))
    assert found.value == pytest.approx(expected, rel=1e-6)
    assert found.value == pytest.approx(
        found.mean_term + found.trace_real + found.trace_fake - 2 * found.trace_sqrt, rel=1e-14)
    assert frechet_distance(kinds[1](y), kinds[0](x)).value == pytest.approx(found.value, rel=1e-7)


def test_the_square_root_of_scipy():
    x, y = vectors(60, 12), vectors(50, 12, seed=1, spectrum=np.linspace(0.1, 3, 12))
    a, b = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = scipy.linalg.sqrtm(a @ b).real.trace()
    expected = np.square(x.mean(0) - y.mean(0)).sum() + a.trace() + b.trace() - 2 * root
    for kind in (Statistics.of, folded):
        assert frechet_distance(kind(x), kind(y)).value == pytest.approx(expected, rel=1e-10)


def test_torchmetrics():
    class Itself(torch.nn.Module):
        num_features = 12

        def forward(self, x):
            return x

    x, y = vectors(60, 12), vectors(50, 12, seed=1)
    metric = FrechetInceptionDistance(Itself()).set_dtype(torch.float64)
    metric.update(torch.from_numpy(x), real=True)
    metric.update(torch.from_numpy(y), real=False)
    theirs = metric.compute().item()
    assert frechet_distance(Statistics.of(x), Statistics.of(y)).value == pytest.approx(theirs, rel=1e-9)


def test_small_distances_between_many_vectors():
    """(s - 1)^2 Tr(S), where the last dimensions have next to no variance and the square of it is below rounding."""
    x = vectors(150, 64, spectrum=np.exp(-np.linspace(0, 20, 64)))
    x -= x.mean(0)
    expected = 0.01**2 * np.cov(x, rowvar=False).trace()
    assert frechet_distance(folded(x), folded(1.01 * x)).value == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("n", [2, 7, 40])
def test_equal_sets_have_the_distance_0(n):
    x = vectors(n, 12)
    shuffled = np.random.default_rng(1).permutation(x)
    for one, other in ((Statistics.of(x), Statistics.of(x.copy())), (folded(x), folded(x)),
                       (Statistics.of(x), Statistics.of(shuffled))):
        assert frechet_distance(one, other).value == 0.0
    assert 0 <= frechet_distance(folded(x), folded(shuffled)).value < 1e-12
    assert frechet_distance(Statistics.of(x), Statistics.of(x + 1e-3)).value > 0


def test_it_is_never_negative():
    for seed in range(30):
        x = vectors(6, 12, seed)
        for kind in (Statistics.of, folded):
            assert 0 <= frechet_distance(kind(x), kind(x * (1 + 1e-15))).value < 1e-6


def test_vectors_that_are_all_the_same():
    constant = np.full((4, 6), 2.0)
    assert frechet_distance(Statistics.of(constant), folded(constant + 1)).value == 6
    spread = vectors(20, 6)
    expected = np.square(spread.mean(0) - 2).sum() + np.cov(spread, rowvar=False).trace()
    assert frechet_distance(folded(constant), Statistics.of(spread)).value == pytest.approx(expected, rel=1e-12)


def test_what_does_not_compare_is_refused():
    x = vectors(5, 4)
    with pytest.raises(UserError, match="dims is 4 and 3"):
        frechet_distance(Statistics.of(x), Statistics.of(x[:, :3]))
    with pytest.raises(UserError, match="weights_sha256 is a1 and b2"):
        frechet_distance(Statistics.of(x, {"weights_sha256": "a1"}), Statistics.of(x, {"weights_sha256": "b2"}))
    assert frechet_distance(Statistics.of(x, {"weights_sha256": "a1"}), Statistics.of(x)).value == 0
    with pytest.raises(UserError, match="two pictures or clips, and there is 1"):
        frechet_distance(Statistics.of(x), Statistics.of(x[:1]))
    with pytest.raises(UserError, match="finite"):
        frechet_distance(Statistics.of(x), Statistics.of(np.where(x > 0, np.nan, x)))
    with pytest.raises(UserError, match="there are no pictures"):
        Collected().statistics  # noqa: B018


@pytest.mark.parametrize("counts", [(3, 4), (40, 5), (0, 30), (17, 60, 1)])
def test_what_several_collected_is_what_one_collects(counts):
    rows, dims = vectors(sum(counts), 12), 12
    collected, start = [], 0
    for count in counts:
        collected.append(Collected())
        for row in rows[start : start + count]:
            collected[-1].add(row)
        start += count
    whole = Collected()
    for each in collected:
        whole.take(each)
    found = whole.statistics
    assert found.n == whole.n == sum(counts)
    np.testing.assert_allclose(found.mean, rows.mean(0), rtol=1e-12)
    np.testing.assert_allclose(found.cov, np.cov(rows, rowvar=False), atol=1e-12 * dims)
