"""What leaves the project."""

from typing import Literal

from pydantic import Field

from wsdm_arena.config.base import StrictConfig

Layout = Literal["plain", "fused"]


class ExportConfig(StrictConfig):
    """Contents of a bundle."""

    layouts: tuple[Layout, ...] = Field(default=("plain", "fused"), min_length=1)
    """``plain`` is what transformers reads, in the type it was trained in; ``fused`` is float16 with gate and up
    projections in one matrix, as the contest's inference code reads it."""
