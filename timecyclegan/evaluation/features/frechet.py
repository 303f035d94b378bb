"""Fréchet's distance of two sets of feature vectors, in float64: their statistics, and the metrics made of them.

Of vectors of D numbers at most D are kept, of more their mean and their covariance, so memory does not grow with their
number.
"""
import json
import math
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

from timecyclegan.evaluation.base import Metric, Step, Value
from timecyclegan.util.errors import UserError, failed
from timecyclegan.util.files import replacing
from timecyclegan.util.names import expanded
from timecyclegan.util.torchscript import brief

ROUNDING = 1e-12  # of the traces: what a distance of equal sets may come to
TOO_FEW = ("{fewest} {what} on one side are fewer than the {dims} features: a covariance of so few is far from that of "
           "all, and the distance is biased upwards; compare only with numbers of as many")


@dataclass(frozen=True, eq=False)
class Statistics:
    """Mean and covariance of a set of feature vectors.

    Attributes:
        mean: (D,).
        factor: a matrix A of at most D rows with A^T A = the covariance (D, D), which is unbiased.
        n: how many vectors there were; None where the file does not say.
        facts: JSON-ready, what the features were made with; sets whose facts differ are not compared.

    Raises:
        UserError: there is one vector alone, or a number is not finite.
    """
    mean: np.ndarray
    factor: np.ndarray
    n: int | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.n is not None and self.n < 2:
            raise UserError(f"a covariance needs two pictures or clips, and there is {self.n}; give more")
        if not np.isfinite(self.mean).all() or not np.isfinite(self.factor).all():
            raise UserError("the features are not all finite numbers; check the network's weights")

    @classmethod
    def of(cls, features: np.ndarray, facts: Mapping[str, Any] | None = None) -> "Statistics":
        """Those of (n, D) features: where they are few, their differences from the mean are the factor."""
        (n, dims), mean = features.shape, features.mean(axis=0, dtype=np.float64)
        with np.errstate(invalid="ignore"):  # infinite ones are refused below
            centred = (features - mean) / math.sqrt(max(n - 1, 1))
        return cls(mean, centred if n <= dims else _factor(centred.T @ centred), n, facts or {})

    @property
    def cov(self) -> np.ndarray:
        """(D, D), the covariance."""
        return self.factor.T @ self.factor

    @property
    def trace(self) -> float:
        """Of the covariance."""
        return float(np.square(self.factor).sum())

    @property
    def dims(self) -> int:
        return len(self.mean)

    def save(self, path: str | Path) -> None:
        """Write an ``.npz`` with ``mu`` and ``sigma``, as pytorch-fid has it, ``facts`` and any ``n``."""
        counted = {} if self.n is None else {"n": self.n}
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez(file, mu=self.mean, sigma=self.cov, facts=json.dumps(dict(self.facts)), **counted)

    @classmethod
    def load(cls, path: str | Path) -> "Statistics":
        """Read what :meth:`save` or pytorch-fid wrote.

        Raises:
            UserError: the file is missing, damaged or of another kind.
        """
        try:
            with np.load(expanded(path), allow_pickle=False) as file:
                mean, cov = file["mu"].astype(np.float64), file["sigma"].astype(np.float64)
                facts = json.loads(str(file["facts"])) if "facts" in file else {}
                n = int(file["n"]) if "n" in file else None
        except FileNotFoundError:
            raise UserError(f"statistics {path} do not exist; save them with --save_stats") from None
        except Exception as error:  # zip, pickle, JSON: a damaged file can raise anything
            # NumPy takes other kinds of files for pickles
            said = brief(error) if zipfile.is_zipfile(expanded(path)) else "it is no .npz file"
            raise failed(f"cannot read {path}", error, f"{path} holds no statistics that can be read, mu and sigma "
                         f"({said}); make it again with --save_stats") from error
        if mean.ndim != 1 or cov.shape != 2 * mean.shape:
            raise UserError(f"{path}: expected mu (D,) and sigma (D, D), found shapes {mean.shape} and {cov.shape}")
        return cls(mean, _factor(cov), n, facts)


def _factor(cov: np.ndarray) -> np.ndarray:
    """The factor of a covariance (D, D): scaled eigenvectors, without those whose eigenvalues are mere rounding."""
    if not np.isfinite(cov).all():
        return cov  # which has no eigenvalues; whose factor it is refuses it
    values, vectors = np.linalg.eigh(cov)
    true = values > values[-1] * len(values) * np.finfo(np.float64).eps
    return np.sqrt(values[true])[:, None] * vectors[:, true].T


class Collected:
    """Takes feature vectors as they come; blocks of as many as they have numbers are folded into mean and scatter."""

    def __init__(self) -> None:
        self._folded = 0  # how many vectors are in the mean and the scatter alone
        self._waiting: list[np.ndarray] = []
        self._mean: np.ndarray | float = 0.0
        self._scatter: np.ndarray | float = 0.0  # the sum of (x - mean)(x - mean)^T

    @property
    def n(self) -> int:
        """How many were taken."""
        return self._folded + len(self._waiting)

    def add(self, vector: np.ndarray) -> None:
        """Take a vector (D,)."""
        if len(self._waiting) == len(vector):
            self._mean, self._scatter = self._with_waiting()
            self._folded, self._waiting = self.n, []
        self._waiting.append(vector)

    def _with_waiting(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and scatter of all; by Chan, Golub and LeVeque (1983), which subtracts no large numbers."""
        rows = np.stack(self._waiting).astype(np.float64)
        mean = rows.mean(axis=0)
        centred, shift = rows - mean, mean - self._mean
        between = np.outer(shift, shift) * (self._folded * len(rows) / self.n)
        return self._mean + shift * (len(rows) / self.n), self._scatter + centred.T @ centred + between

    def take(self, other: "Collected") -> None:
        """Take all that another one took."""
        if n := other._folded:
            whole, shift = self._folded + n, other._mean - self._mean
            self._mean = self._mean + shift * (n / whole)
            self._scatter = self._scatter + other._scatter + np.outer(shift, shift) * (self._folded * n / whole)
            self._folded = whole
        for vector in other._waiting:
            self.add(vector)

    @property
    def statistics(self) -> Statistics:
        """Of all that was added.

        Raises:
            UserError: it was nothing, or see :class:`Statistics`.
        """
        if not self.n:
            raise UserError("there are no pictures or clips")
        if not self._folded:
            return Statistics.of(np.stack(self._waiting))
        mean, scatter = self._with_waiting()
        return Statistics(mean, _factor(scatter / (self.n - 1)), self.n)


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
        UserError: the two were made with different networks (by their weights, not by their files' names), treatments
            of pixels, or numbers of features.
    """
    ours, theirs = ({**side.facts, "dims": side.dims} for side in (real, fake))
    for key in ours:
        if key != "network" and key in theirs and ours[key] != theirs[key]:
            raise UserError(f"the real and the generated statistics do not compare: {key} is {ours[key]} and "
                            f"{theirs[key]}; make both in the same manner")
    mean_term = float(np.square(real.mean - fake.mean).sum())
    trace_sqrt = float(np.linalg.svd(real.factor @ fake.factor.T, compute_uv=False).sum())
    value = mean_term + real.trace + fake.trace - 2 * trace_sqrt
    rounding = ROUNDING * (real.trace + fake.trace)
    return Frechet(value if value > rounding else 0.0, mean_term, real.trace, fake.trace, trace_sqrt)


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
    of_sets = in_own_sizes = True
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
                side.add(features)

    def take(self, others: Sequence["FrechetMetric"], order: Iterable[str]) -> None:
        super().take(others, order)
        for other in others:
            self.fake.take(other.fake)
            self.real.take(other.real)

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
