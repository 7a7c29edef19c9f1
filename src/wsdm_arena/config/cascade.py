"""How two judges share the work of a submission."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from wsdm_arena.config.base import WITHOUT_EFFECT, StrictConfig
from wsdm_arena.config.judges import AttentionName


class CascadeConfig(StrictConfig):
    """The first judge reads every pair as it stands, the second exchanged, where it can still change the winner."""

    weights: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    """By judge; one that is not named has 1. Only their ratio counts."""
    threshold: float | None = Field(default=None, gt=0, le=1)
    """The second judge reads pairs with ``|p_a - p_b|`` of the first below this; null: below ``w2 / w1``, beyond which
    it cannot change the winner. A larger one costs time and changes probabilities only."""
    fit_share: float | None = Field(default=None, gt=0, le=1)
    """Fit weights and threshold on held-out predictions (the final cascade's on those of ``final_held_out``), so that
    about this share of the pairs is read twice; null: take those above. The fit replaces ``weights``, which the log
    says; ``threshold`` must be null."""
    max_prompt_characters: int | None = Field(default=None, ge=1)
    """Prompts are cut to so many characters before they are tokenised; null: not at all."""

    @model_validator(mode="after")
    def _require_one_source_of_the_threshold(self) -> Self:
        if self.fit_share is not None and self.threshold is not None:
            raise ValueError(
                f"fit_share={self.fit_share:g} fits the threshold, but threshold={self.threshold:g} is set; remove one "
                "of them or set it to null"
            )
        return self


class SubmissionConfig(StrictConfig):
    """From bundles to ``submission.csv``."""

    student: CascadeConfig = CascadeConfig()
    """The students' cascade."""
    final: CascadeConfig = CascadeConfig()
    """The final judges' cascade."""
    compare_with_threshold: float = Field(default=0.8, gt=0, le=1)
    """A threshold whose share of pairs is reported beside the actual one."""
    time_budget_s: float | None = Field(default=None, gt=0)
    """Wall-clock seconds of one cascade, loading included; what the second judge leaves unread keeps the first's
    verdict; what the first leaves unread, the longest pairs, goes to the longer answer."""
    max_tokens_per_batch: Annotated[int, WITHOUT_EFFECT] = Field(default=8_192, ge=1)
    """Packed tokens of a micro-batch; a longer single sequence gets one of its own."""
    devices: Annotated[tuple[str, ...], WITHOUT_EFFECT] = Field(default=("auto",), min_length=1)
    """Where a judge runs; with several, such as ``[cuda:0, cuda:1]``, its layers are split over them and micro-batches
    follow one another through them. ``auto``: the GPU if there is one."""
    dtype: Literal["auto", "float16", "bfloat16", "float32"] = "auto"
    """Of weights and activations; ``auto``: bfloat16 where the GPU has it, else float16, float32 without a GPU."""
    attention: Annotated[AttentionName, WITHOUT_EFFECT] = "auto"
    """Kernel for packed sequences; ``auto`` takes the fastest that this machine and model allow."""
