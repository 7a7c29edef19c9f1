"""What a judge is: backbone, head, attention."""

from typing import Annotated, Any, Literal

from pydantic import Field

from wsdm_arena.config.base import NAMES_DIRECTORY, WITHOUT_EFFECT, StrictConfig
from wsdm_arena.config.prompts import TruncationPolicy
from wsdm_arena.config.training import TrainingConfig

AttentionName = Literal["auto", "flash_attention", "varlen", "flex", "segments"]


class BackboneConfig(StrictConfig):
    """Where a judge's backbone comes from."""

    source: Annotated[str | None, NAMES_DIRECTORY] = None
    """Directory of a checkpoint (a relative one starts from the project's directory), hub name, or ``package:<name>``
    for one of ``packaged_models``; null: the catalog's ``raw_checkpoint.<judge>``."""
    revision: str | None = None
    """Commit of the hub's repository; for hub names only."""
    model_type: str | None = None
    """Architecture that the checkpoint must be of, as its ``config.json`` says (``gemma2``, ``llama``); null: any."""
    layout: Literal["plain", "fused"] = "plain"
    """``plain``: as transformers writes it. ``fused``: the contest's inference layout, where ``gate_up_proj`` holds
    gate and up projections one above the other."""
    old_head: tuple[str, ...] = ()
    """Prefixes of weights that are left behind on purpose, such as ``score.``; any other surplus weight is an error."""


class HeadConfig(StrictConfig):
    """Classifier on the hidden state of a sequence's last token.

    ``mlp`` is Dropout - Linear(h, h/2) - Dropout - GELU - Linear(h/2, classes); ``linear`` is one layer without bias;
    ``verbalizer`` is the same, but starts as the language model's own output for ``template.answers``.
    """

    kind: Literal["mlp", "linear", "verbalizer"] = "mlp"
    """``mlp`` has a hidden layer and dropout, ``linear`` neither. Both start at random; ``verbalizer``, a linear one,
    starts from what the language model thinks before any training."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Probability that a hidden value is zeroed in training; ``mlp`` only."""


class JudgeConfig(StrictConfig):
    """One judge: the same in every stage but for ``stages.<stage>.overrides.<judge>``."""

    backbone: BackboneConfig = BackboneConfig()
    """Pretrained weights and tokenizer."""
    system_role: bool
    """Whether the chat template takes a system message; without one the instruction opens the user's message."""
    head: HeadConfig = HeadConfig()
    """Classifier on top of the backbone."""
    attention: Annotated[AttentionName, WITHOUT_EFFECT] = "auto"
    """Kernel for packed sequences; ``auto`` takes the fastest that this machine and model allow."""
    sliding_window: bool = True
    """False reads the whole sequence in every layer of a backbone that has sliding-window layers."""
    training: dict[str, Any] = Field(default_factory=dict)
    """What differs from ``training``."""


class JudgeOverride(StrictConfig):
    """The cells of the recipe's table that depend on stage and judge."""

    sliding_window: bool | None = None
    """Replaces the judge's own; null keeps it."""
    training: dict[str, Any] = Field(default_factory=dict)
    """What differs from ``training`` for this judge in this stage; wins over every other layer."""


class StageConfig(StrictConfig):
    """One stage: what it trains on is wired in its pipeline, how it trains is here."""

    truncation: TruncationPolicy
    """Policy by which long battles are cut, one of those under ``truncation``."""
    training: dict[str, Any] = Field(default_factory=dict)
    """What differs from ``training`` for every judge."""
    overrides: dict[str, JudgeOverride] = Field(default_factory=dict)
    """By judge: what differs for it in this stage only."""


class ResolvedJudge(StrictConfig):
    """A judge in a stage: nothing left to merge."""

    stage: str
    judge: str
    system_role: bool
    head: HeadConfig
    attention: Annotated[AttentionName, WITHOUT_EFFECT]
    sliding_window: bool
    truncation: TruncationPolicy
    training: TrainingConfig
