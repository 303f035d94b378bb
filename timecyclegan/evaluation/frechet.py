"""Distances between two sets of feature vectors, in float64: Fréchet's, of their Gaussians, and the kernel MMD."""
import math
from dataclasses import dataclass

import numpy as np

from timecyclegan.evaluation.feature_statistics import Statistics
from timecyclegan.util.errors import UserError


@dataclass(frozen=True)
class Frechet:
    """The squared Fréchet distance and its terms: ``value`` = mean_term + trace_real + trace_fake - 2 trace_sqrt."""
    value: float
    mean_term: float
    trace_real: float
    trace_fake: float
    trace_sqrt: float


def frechet_distance(real: Statistics, fake: Statistics) -> Frechet:
    """|m1 - m2|^2 + Tr(S1) + Tr(S2) - 2 Tr((S1 S2)^1/2) (Dowson and Landau 1982; Heusel et al. 2017).

    With S1 = A^T A and S2 = B^T B the eigenvalues of S1 S2 are the squares of the singular values of A B^T, whose sum
    is thus the last trace: no square root of a matrix is taken and nothing small is squared. Never negative; exactly 0
    for equal sets.

    Raises:
        UserError: the sets do not compare, or one does not pass its ``check``.
    """
    check_comparable(real, fake)
    real.check(), fake.check()
    if real.equals(fake):
        return Frechet(0.0, 0.0, real.trace, real.trace, real.trace)
    mean_term = float(np.square(real.mean - fake.mean).sum())
    trace_sqrt = float(np.linalg.svd(real.factor @ fake.factor.T, compute_uv=False).sum())
    value = mean_term + real.trace + fake.trace - 2 * trace_sqrt
    return Frechet(max(value, 0.0), mean_term, real.trace, fake.trace, trace_sqrt)


def check_comparable(real: Statistics, fake: Statistics) -> None:
    """
    Raises:
        UserError: the two were made with different networks (by their weights, not by their files' names), treatments
            of pixels, or numbers of features.
    """
    ours, theirs = ({**side.facts, "dims": side.dims} for side in (real, fake))
    for key in ours:
        if key != "network" and key in theirs and ours[key] != theirs[key]:
            raise UserError(f"the real and the generated statistics do not compare: {key} is {ours[key]} and "
                            f"{theirs[key]}; make both in the same manner")


def polynomial_mmd(real: np.ndarray, fake: np.ndarray) -> float:
    """The unbiased squared MMD of (N, D) and (M, D) features, float64, with the kernel (x.y / D + 1)^3.

    That is KID's (Bińkowski et al. 2018, "Demystifying MMD GANs"). Of equal distributions it may be a little below 0.

    Raises:
        UserError: a side has fewer than two vectors.
    """
    if min(len(real), len(fake)) < 2:
        raise UserError(f"the MMD needs two pictures or clips on each side; there are {len(real)} and {len(fake)}")
    within = [(_kernel(x, x) - _kernel_of_selves(x)) / (len(x) * (len(x) - 1)) for x in (real, fake)]
    return sum(within) - 2 * _kernel(real, fake) / (len(real) * len(fake))


def _kernel(first: np.ndarray, second: np.ndarray, rows: int = 1024) -> float:
    """The sum over all pairs, some rows at a time."""
    return math.fsum(float(((first[at:at + rows] @ second.T / first.shape[1] + 1) ** 3).sum())
                     for at in range(0, len(first), rows))


def _kernel_of_selves(features: np.ndarray) -> float:
    return float(((np.square(features).sum(axis=1) / features.shape[1] + 1) ** 3).sum())


def mmd_of_subsets(real: np.ndarray, fake: np.ndarray, subsets: int, size: int = 1000,
                   seed: int = 0) -> tuple[float, float]:
    """Mean and standard deviation of :func:`polynomial_mmd` over random subsets, at most ``size`` vectors a side."""
    rng, size = np.random.default_rng(seed), min(size, len(real), len(fake))
    values = [polynomial_mmd(*(side[rng.choice(len(side), size, replace=False)] for side in (real, fake)))
              for _ in range(subsets)]
    return float(np.mean(values)), float(np.std(values))
