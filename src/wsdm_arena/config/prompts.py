"""How a battle becomes text, and how much of it is kept."""

from typing import Literal

from pydantic import Field, model_validator

from wsdm_arena.config.base import StrictConfig

TruncationPolicy = Literal["per_field", "shared_budget"]


class TemplateConfig(StrictConfig):
    """The judging prompt: one chat turn that ends where the judge would name the winner."""

    instruction: str
    """What the judge is asked; the system message where the judge has a system role."""
    battle_start: str
    """Text before the user's prompt; marks the begin of the battle."""
    prompt_heading: str
    """Text between ``battle_start`` and the user's prompt."""
    response_a_heading: str
    """Text before the answer that is displayed first."""
    response_b_heading: str
    """Text before the answer that is displayed second."""
    battle_end: str
    """Text after the second answer; closes the user's message."""
    verdict_prefix: str
    """Appended after the chat template's generation prompt, so that the next token would be A or B."""
    missing_text: str = "null"
    """Stands in for a prompt or answer that is null; the same in training and at inference."""


class PerFieldTruncation(StrictConfig):
    """Each text has a cap of its own; the middle of a longer one is cut out."""

    max_prompt_tokens: int = Field(ge=8)
    """Cap of the prompt, marker included."""
    max_response_tokens: int = Field(ge=8)
    """Cap of each answer, marker included."""


class SharedBudgetTruncation(StrictConfig):
    """Nothing is cut unless the three texts together exceed the battle's budget.

    Then the prompt is capped and the answers share what is left in proportion to their lengths.
    """

    reserved_tokens: int = Field(ge=0)
    """Part of ``max_battle_tokens`` set aside for the headings."""
    max_prompt_tokens: int = Field(ge=8)
    """Cap of the prompt once the budget is exceeded, marker included."""


class TruncationConfig(StrictConfig):
    """Both policies; a stage names the one it uses. All figures are tokens."""

    max_battle_tokens: int = Field(ge=32)
    """The three texts and their headings. Instruction and chat template come on top."""
    marker: str
    """Stands where the middle of a text was cut out; counted within the caps."""
    per_field: PerFieldTruncation
    """Limits in stages with ``truncation: per_field``."""
    shared_budget: SharedBudgetTruncation
    """Limits in stages with ``truncation: shared_budget``."""

    @model_validator(mode="after")
    def _caps_fit_the_battle(self) -> "TruncationConfig":
        fields = self.per_field.max_prompt_tokens + 2 * self.per_field.max_response_tokens
        if fields > self.max_battle_tokens:
            raise ValueError(
                f"truncation.per_field: prompt and two responses may take {fields} tokens, more than "
                f"max_battle_tokens={self.max_battle_tokens}; lower max_prompt_tokens or max_response_tokens"
            )
        room = self.max_battle_tokens - self.shared_budget.reserved_tokens
        if self.shared_budget.max_prompt_tokens > room - 16:
            raise ValueError(
                f"truncation.shared_budget.max_prompt_tokens={self.shared_budget.max_prompt_tokens} leaves no room for "
                f"the responses within max_battle_tokens - reserved_tokens = {room}; lower it"
            )
        return self
