"""Losses: pure functions of tensors, and the named, weighted terms that a model makes of them."""
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:  # torch is not needed to name the terms
    from torch import Tensor


class Term(NamedTuple):
    """One loss: a scalar, and its weight in the total. The logs show it unweighted."""

    value: "Tensor"
    weight: float = 1.0


Losses = dict[str, Term]


def total(losses: Losses) -> "Tensor | float":
    """The weighted sum of all terms; 0.0 where there are none."""
    return sum((term.weight * term.value for term in losses.values()), 0.0)
