"""The one file a training process reads: a run is a value."""

from pathlib import Path

from pydantic import Field

from wsdm_arena.config.base import StrictConfig
from wsdm_arena.config.judges import ResolvedJudge


class TokenTable(StrictConfig):
    """Tokens of one table, as :mod:`wsdm_arena.prompts.store` wrote them."""

    table: str
    """Name of the pair table, as in the selection's column ``table``."""
    path: Path


class RunConfig(StrictConfig):
    """Everything ``python -m wsdm_arena.training`` needs; written to ``<run_dir>/run.json``."""

    format: int = 2
    """Raised when the meaning of a field changes, so that old runs are not taken for new ones."""
    seed: int
    fingerprint: str
    """Names the work: same fingerprint, same result."""
    judge: ResolvedJudge
    backbone: Path
    """Directory of a plain checkpoint with its tokenizer."""
    initial_checkpoint: Path | None
    """A checkpoint of ours whose backbone and head are continued; None starts from the backbone with a fresh head."""
    num_classes: int = Field(default=2, ge=2, le=3)
    selection: Path
    """Parquet table: which rows are trained on, in which phase, and which are scored."""
    tokens: tuple[TokenTable, ...]
    device: str = "auto"
    backend: str = "auto"
    threads_per_process: int | None = None
