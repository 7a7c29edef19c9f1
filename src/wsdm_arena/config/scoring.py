"""The one file a scoring process reads: which judge reads which table how."""

from pathlib import Path

from pydantic import Field, field_validator

from wsdm_arena.config.base import StrictConfig
from wsdm_arena.config.judges import AttentionName
from wsdm_arena.config.pseudo_labels import Order
from wsdm_arena.config.training import DType


class ScoringConfig(StrictConfig):
    """Everything ``python -m wsdm_arena.scoring`` needs; written to ``<run_dir>/scoring.json``."""

    format: int = 1
    """Raised when the meaning of a field changes, so that old runs are not taken for new ones."""
    fingerprint: str
    """Names the work: same fingerprint, same result."""
    checkpoint: Path
    """Directory of a trained judge with its tokenizer."""
    tokens: Path
    """Directory of a token table, all of whose pairs are read."""
    table: str
    """Name of the pair table that the tokens are of."""
    orders: tuple[Order, ...] = Field(min_length=1)
    """In which orders every pair is read."""
    dtype: DType
    """Of weights and activations."""
    attention: AttentionName = "auto"
    """Kernel for packed sequences."""
    max_tokens_per_batch: int = Field(ge=1)
    """Packed tokens of a micro-batch on each process; a longer single sequence gets one of its own."""
    pairs_per_part: int = Field(default=2_048, ge=1)
    """Pairs that are read between two writes: what a killed run may lose."""
    device: str = "auto"
    backend: str = "auto"
    threads_per_process: int | None = None

    @field_validator("orders")
    @classmethod
    def _orders_are_distinct(cls, orders: tuple[Order, ...]) -> tuple[Order, ...]:
        if len(set(orders)) != len(orders):
            raise ValueError(f"orders={list(orders)}: each order is read once; name it once")
        return tuple(sorted(orders))
