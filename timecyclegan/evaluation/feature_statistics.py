"""Mean and covariance of sets of feature vectors: computed as the vectors come, saved and loaded.

Everything is float64. A set of at most D vectors of D numbers is kept as it is, a larger one as its mean and its
covariance, so memory does not grow with the number of vectors.
"""
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from timecyclegan.util.errors import UserError
from timecyclegan.util.files import replacing


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
    """Takes feature vectors as they come; :attr:`statistics` are the same however they were cut into batches.

    Args:
        facts: of :class:`Statistics`.
        keep: keep all vectors, as the MMD needs them, at the price of memory.
    """

    def __init__(self, facts: Mapping[str, Any] | None = None, keep: bool = False) -> None:
        self._facts, self._keep = facts or {}, keep
        self._waiting: list[np.ndarray] = []
        self._folded = _Moments()
        self.n = 0

    def add(self, features: np.ndarray) -> None:
        """Take (N, D) features."""
        self.n += len(features)
        self._waiting.append(np.asarray(features, np.float64))
        if not self._keep and self.n - self._folded.n > features.shape[1]:
            self._fold(features.shape[1])

    def _fold(self, dims: int) -> None:
        rows = np.concatenate(self._waiting)
        while len(rows) > dims:
            self._folded, rows = self._folded.joined(rows[:dims]), rows[dims:]
        self._waiting = [rows]

    @property
    def statistics(self) -> Statistics:
        """Of all that was added.

        Raises:
            UserError: nothing was.
        """
        if not self.n:
            raise UserError("there are no pictures or clips")
        rows = np.concatenate(self._waiting)
        if not self._folded.n:
            return Statistics.of(rows, self._facts)
        moments = self._folded.joined(rows)
        return Statistics(moments.mean, self.n, covariance=moments.scatter / (self.n - 1), facts=self._facts)


@dataclass(frozen=True)
class _Moments:
    """n vectors' mean, and scatter: the sum of (x - mean)(x - mean)^T."""
    n: int = 0
    mean: np.ndarray | float = 0.0
    scatter: np.ndarray | float = 0.0

    def joined(self, rows: np.ndarray) -> "_Moments":
        """With further (N, D) vectors; by Chan, Golub and LeVeque (1983), which subtracts no large numbers."""
        mean = rows.mean(axis=0)
        centred, shift, n = rows - mean, mean - self.mean, self.n + len(rows)
        between = np.outer(shift, shift) * (self.n * len(rows) / n)
        return _Moments(n, self.mean + shift * (len(rows) / n), self.scatter + centred.T @ centred + between)
