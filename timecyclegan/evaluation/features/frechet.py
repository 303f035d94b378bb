"""Fréchet's distance of two sets of feature vectors, in float64: their statistics, and the metrics made of them.

A set of at most D vectors of D numbers is kept as it is, a larger one as its mean and its covariance, so memory does
not grow with the number of vectors.
"""
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

from timecyclegan.evaluation.base import Metric, Step, Value
from timecyclegan.util.errors import UserError
from timecyclegan.util.files import replacing

TOO_FEW = ("{fewest} {what} on one side are fewer than the {dims} features: a covariance of so few is far from that of "
           "all, and the distance is biased upwards; compare only with numbers of as many")


@dataclass(frozen=True, eq=False)
class Statistics:
    """Mean and covariance of a set of feature vectors.

    Attributes:
        mean: (D,).
        n: how many vectors there were; None where the file does not say.
        features: (n, D), the vectors themselves, where they were kept.
        covariance: (D, D), where they were not.
        facts: JSON-ready, what the features were made with; sets whose facts differ are not compared.
    """
    mean: np.ndarray
    n: int | None = None
    features: np.ndarray | None = None
    covariance: np.ndarray | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, features: np.ndarray, facts: Mapping[str, Any] | None = None) -> "Statistics":
        """Those of (n, D) features, which are kept."""
        features = np.asarray(features, np.float64)
        return cls(features.mean(axis=0), len(features), features, facts=facts or {})

    @property
    def dims(self) -> int:
        return len(self.mean)

    def check(self) -> None:
        """
        Raises:
            UserError: there is one vector alone, or a number is not finite.
        """
        if self.n is not None and self.n < 2:
            raise UserError(f"a covariance needs two pictures or clips, and there is {self.n}; give more")
        if not np.isfinite(self.mean).all() or (self.features is None and not np.isfinite(self.cov).all()):
            raise UserError("the features are not all finite numbers; check the network's weights")

    @cached_property
    def _centred(self) -> np.ndarray:
        return (self.features - self.mean) / math.sqrt(self.n - 1)

    @cached_property
    def cov(self) -> np.ndarray:
        """(D, D), unbiased."""
        return self.covariance if self.features is None else self._centred.T @ self._centred

    @cached_property
    def factor(self) -> np.ndarray:
        """A matrix A of at most D rows with A^T A = cov: the centred features, or scaled eigenvectors.

        Eigenvalues that are nothing but rounding are left out.
        """
        if self.features is not None and self.n <= self.dims:
            return self._centred
        values, vectors = np.linalg.eigh(self.cov)
        true = values > values[-1] * len(values) * np.finfo(np.float64).eps
        return np.sqrt(values[true])[:, None] * vectors[:, true].T

    @cached_property
    def trace(self) -> float:
        """Of the covariance."""
        return float(np.trace(self.cov) if self.features is None else np.square(self._centred).sum())

    def equals(self, other: "Statistics") -> bool:
        """Whether both hold the same vectors, in whatever order, or the same mean and covariance."""
        if self.features is not None and other.features is not None:
            return sorted(map(bytes, self.features)) == sorted(map(bytes, other.features))
        return np.array_equal(self.mean, other.mean) and np.array_equal(self.cov, other.cov)

    def save(self, path: str | Path) -> None:
        """Write an ``.npz`` with ``mu`` and ``sigma``, as pytorch-fid has it, ``n``, ``facts`` and any ``features``."""
        self.check()
        kept = {}
        if self.features is not None:
            single = self.features.astype(np.float32)  # networks' features lose nothing by it
            kept["features"] = single if np.array_equal(single, self.features) else self.features
        if self.n is not None:
            kept["n"] = self.n
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez(file, mu=self.mean, sigma=self.cov, facts=json.dumps(dict(self.facts)), **kept)

    @classmethod
    def load(cls, path: str | Path) -> "Statistics":
        """Read what :meth:`save` or pytorch-fid wrote.

        Raises:
            UserError: the file is missing, damaged or of another kind.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                found = {name: file[name] for name in ("mu", "sigma", "n", "facts", "features") if name in file}
            facts, n = json.loads(str(found.get("facts", "{}"))), int(found["n"]) if "n" in found else None
            mean, cov = found["mu"].astype(np.float64), found["sigma"].astype(np.float64)
        except FileNotFoundError:
            raise UserError(f"statistics {path} do not exist; save them with --save_stats") from None
        except Exception as error:  # zip, pickle, JSON: a damaged file can raise anything
            raise UserError(f"{path} holds no statistics that can be read, mu and sigma ({_brief(error)}); "
                            "make it again with --save_stats") from error
        if mean.ndim != 1 or cov.shape != 2 * mean.shape:
            raise UserError(f"{path}: expected mu (D,) and sigma (D, D), found shapes {mean.shape} and {cov.shape}")
        if found.get("features", mean[None]).shape[1:] != mean.shape:
            raise UserError(f"{path}: expected features (n, {len(mean)}), found {found['features'].shape}")
        if "features" in found:
            return cls.of(found["features"], facts)
        return cls(mean, n, covariance=cov, facts=facts)


def _brief(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:120]


class Collected:
    """Takes feature vectors as they come; :attr:`statistics` are the same however they were cut into batches."""

    def __init__(self) -> None:
        self.n = self._folded = 0  # vectors taken; how many of them are in the mean and the scatter alone
        self._waiting: list[np.ndarray] = []
        self._mean: np.ndarray | float = 0.0
        self._scatter: np.ndarray | float = 0.0  # the sum of (x - mean)(x - mean)^T

    def add(self, features: np.ndarray) -> None:
        """Take (N, D) features."""
        self.n += len(features)
        self._waiting.append(np.asarray(features, np.float64))
        if self.n - self._folded > (dims := features.shape[1]):
            rows = np.concatenate(self._waiting)
            while len(rows) > dims:
                self._mean, self._scatter = self._with(rows[:dims])
                self._folded, rows = self._folded + dims, rows[dims:]
            self._waiting = [rows]

    def _with(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and scatter with further rows; by Chan, Golub and LeVeque (1983), which subtracts no large numbers."""
        mean, n = rows.mean(axis=0), self._folded + len(rows)
        centred, shift = rows - mean, mean - self._mean
        between = np.outer(shift, shift) * (self._folded * len(rows) / n)
        return self._mean + shift * (len(rows) / n), self._scatter + centred.T @ centred + between

    @property
    def statistics(self) -> Statistics:
        """Of all that was added.

        Raises:
            UserError: nothing was.
        """
        if not self.n:
            raise UserError("there are no pictures or clips")
        rows = np.concatenate(self._waiting)
        if not self._folded:
            return Statistics.of(rows)
        mean, scatter = self._with(rows)
        return Statistics(mean, self.n, covariance=scatter / (self.n - 1))


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


class Features(NamedTuple):
    """What a view makes of a frame: vectors (D,) of the generated side and, where there is a partner that shows what
    it should, of the real one; None where none ends at this frame."""
    fake: np.ndarray | None = None
    real: np.ndarray | None = None


class FrechetMetric(Metric):
    """Fréchet's distance of all features of a view; it has no value per sequence or frame.

    Attributes:
        clip: how many frames a vector stands for.
        fake, real: the features of both sides.
    """
    of_sets = True
    clip: ClassVar[int] = 1
    what: ClassVar[str] = "pictures"

    def __init__(self) -> None:
        super().__init__()
        self.fake, self.real = Collected(), Collected()

    def sample(self, step: Step) -> Features:
        return step.seen[self.view]

    def add(self, sample: Features) -> None:
        super().add(None)  # counts the frame
        for side, features in ((self.fake, sample.fake), (self.real, sample.real)):
            if features is not None:
                side.add(features[None])

    def result(self) -> Value:
        return self._against(self.real)

    def beside(self, real: "FrechetMetric") -> Value:
        """Of the frames added here against those added to ``real``, where they count as generated ones."""
        return self._against(real.fake)

    def _against(self, real: Collected) -> Value:
        counted = replace(super().result(), per_sequence={}, per_frame={}, reason=None)
        if skipped := counted.frames - self.fake.n * self.clip:
            counted = replace(counted, skipped=skipped, skipped_because=self.undefined)
        try:
            if min(real.n, self.fake.n) < 2:
                raise UserError(f"needs two {self.what} on each side; there are {real.n} real and {self.fake.n} "
                                "generated")
            sides = real.statistics, self.fake.statistics
            distance = frechet_distance(*sides)
        except UserError as error:
            return replace(counted, reason=str(error))
        what = "frames" if self.clip == 1 else "clips"
        details = {"dims": sides[0].dims, f"real_{what}": real.n, f"fake_{what}": self.fake.n, **asdict(distance)}
        del details["value"]
        if warning := few(real.n, self.fake.n, sides[0].dims, self.what):
            details["note"] = warning
        return replace(counted, value=distance.value, details=details)


def few(real: int | None, fake: int | None, dims: int, what: str) -> str | None:
    """What to bear in mind of a Fréchet distance of so many; None where there are enough."""
    fewest = min((n for n in (real, fake) if n is not None), default=dims)
    return TOO_FEW.format(fewest=fewest, dims=dims, what=what) if fewest < dims else None
