"""Numbers that know how they came about."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum


class Basis(IntEnum):
    """How a number came about; of several the weakest counts."""

    EXACT = 0
    """Counted in the very tables that the job reads."""
    MEASURED = 1
    """Read off a finished run, or measured by the user."""
    ESTIMATED = 2
    """Computed from something counted or measured."""
    ASSUMED = 3
    """Computed from the configuration's reference tables alone."""

    @property
    def label(self) -> str:
        """In lower case, as people and JSON read it."""
        return self.name.lower()


@dataclass(frozen=True)
class Figure:
    """A number and its basis."""

    value: float
    basis: Basis

    def __add__(self, other: "Figure") -> "Figure":
        return Figure(self.value + other.value, max(self.basis, other.basis))

    def times(self, factor: float, basis: Basis = Basis.EXACT) -> "Figure":
        """The product with a number whose basis is ``basis``."""
        return Figure(self.value * factor, max(self.basis, basis))


def total(figures: Iterable[Figure]) -> Figure:
    """Sum; the basis is the weakest of those that are not zero, exact where all are."""
    found = [figure for figure in figures if figure.value]
    return Figure(sum(figure.value for figure in found), max((f.basis for f in found), default=Basis.EXACT))
