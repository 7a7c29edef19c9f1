"""How a battle becomes text, and how much of it is kept."""

from typing import Literal

from pydantic import Field, model_validator

from wsdm_arena.config.base import StrictConfig

TruncationPolicy = Literal["per_field", "shared_budget"]


_INSTRUCTION = """\
Two assistants, A and B, have answered the same user. Decide which answer a person would rather have received.
Look at how far each one helps, stays on the question, gets its facts right, goes into the matter, shows thought of \
its own and brings the right amount of detail.
Be fair: it must not matter which answer comes first, how long it is or what the assistants are called.
Answer with "[[A]]" if A is better and with "[[B]]" if B is better."""


class TemplateConfig(StrictConfig):
    """The judging prompt: one chat turn that ends where the judge would name the winner.

    The defaults are the recipe's, as ``conf/base`` states it.
    """

    instruction: str = _INSTRUCTION
    """What the judge is asked; the system message where the judge has a system role."""
    battle_start: str = "<battle>\n"
    """Text before the user's prompt; marks the begin of the battle."""
    prompt_heading: str = "### User:\n"
    """Text between ``battle_start`` and the user's prompt."""
    response_a_heading: str = "\n\n### Assistant A:\n"
    """Text before the answer that is displayed first."""
    response_b_heading: str = "\n\n### Assistant B:\n"
    """Text before the answer that is displayed second."""
    battle_end: str = "\n</battle>"
    """Text after the second answer; closes the user's message."""
    verdict_prefix: str = "verdict is: [["
    """Appended after the chat template's generation prompt, so that the next token would be A or B."""
    answers: tuple[str, ...] = Field(default=("A", "B"), min_length=2, max_length=3)
    """What a language model would write after ``verdict_prefix`` if the answer displayed first is better, if the second
    is, and, with ``tie_policy: class``, if neither. Only heads of kind ``verbalizer`` look at it."""
    missing_text: str = "null"
    """Stands in for a prompt or answer that is null; the same in training and at inference."""


class PerFieldTruncation(StrictConfig):
    """Each text has a cap of its own; the middle of a longer one is cut out."""

    max_prompt_tokens: int = Field(default=1_362, ge=8)
    """Cap of the prompt, marker included."""
    max_response_tokens: int = Field(default=1_342, ge=8)
    """Cap of each answer, marker included."""


class SharedBudgetTruncation(StrictConfig):
    """Nothing is cut unless the three texts together exceed the battle's budget.

    Then the prompt is capped and the answers share what is left in proportion to their lengths.
    """

    reserved_tokens: int = Field(default=13, ge=0)
    """Part of ``max_battle_tokens`` set aside for the headings."""
    max_prompt_tokens: int = Field(default=1_365, ge=8)
    """Cap of the prompt once the budget is exceeded, marker included."""


class TruncationConfig(StrictConfig):
    """Both policies; a stage names the one it uses. All figures are tokens; the defaults are the recipe's."""

    max_battle_tokens: int = Field(default=4_096, ge=32)
    """The three texts and their headings. Instruction and chat template come on top."""
    marker: str = "\n...\n...\n"
    """Stands where the middle of a text was cut out; counted within the caps."""
    per_field: PerFieldTruncation = PerFieldTruncation()
    """Limits in stages with ``truncation: per_field``."""
    shared_budget: SharedBudgetTruncation = SharedBudgetTruncation()
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
