"""How judges label pairs that no human voted on."""

from typing import Literal

from pydantic import Field, field_validator

from wsdm_arena.config.base import StrictConfig
from wsdm_arena.config.prompts import TruncationPolicy

Order = Literal["ab", "ba"]


class LabellerConfig(StrictConfig):
    """One judge among those that label a table."""

    weight: float = Field(default=1.0, gt=0)
    """Share in the mean of probabilities, relative to the other judges."""
    orders: tuple[Order, ...] = Field(default=("ab",), min_length=1, max_length=2)
    """Orders in which it reads each pair: ``ab`` as it stands, ``ba`` exchanged; both are averaged."""

    @field_validator("orders")
    @classmethod
    def _orders_are_distinct(cls, orders: tuple[Order, ...]) -> tuple[Order, ...]:
        if len(set(orders)) != len(orders):
            raise ValueError(f"orders={list(orders)}: each order is read once; name it once")
        return orders


class ReadingConfig(StrictConfig):
    """How one judge reads a table that it labels."""

    truncation: TruncationPolicy
    """Policy by which long pairs are cut for it."""
    orders: tuple[Order, ...]
    """Orders in which it reads each pair."""


class PseudoLabelConfig(StrictConfig):
    """Labels of one table: the weighted mean of what its judges say."""

    truncation: TruncationPolicy
    """Policy by which long pairs are cut for these judges."""
    min_margin: float = Field(ge=0, lt=1)
    """Pairs with ``|probability_a - probability_b|`` up to this are dropped: the judges do not know either."""
    judges: dict[str, LabellerConfig] = Field(default_factory=dict)
    """By judge; one that is not named here has weight 1 and reads ``ab``."""

    def labeller(self, judge: str) -> LabellerConfig:
        """How one judge takes part."""
        return self.judges.get(judge, LabellerConfig())

    def reading(self, judge: str) -> ReadingConfig:
        """How one judge reads the table; what becomes of its probabilities is no part of it."""
        return ReadingConfig(truncation=self.truncation, orders=self.labeller(judge).orders)


class PseudoLabelsConfig(StrictConfig):
    """The two tables that are labelled."""

    collected_pairs: PseudoLabelConfig
    """Labelled by the teachers."""
    generated_pairs: PseudoLabelConfig
    """Labelled by the students."""
