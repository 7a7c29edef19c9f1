"""A training on one's own battles, outside of a Kedro project: the project's own keys, but for one judge."""

import re
from collections.abc import Mapping
from typing import Any

from pydantic import Field, ValidationError, field_validator

from wsdm_arena.config.base import StrictConfig, deep_merge
from wsdm_arena.config.export import ExportConfig
from wsdm_arena.config.judges import AttentionName, BackboneConfig, HeadConfig, ResolvedJudge
from wsdm_arena.config.project import PreferencesConfig, ReportingConfig
from wsdm_arena.config.prompts import TemplateConfig, TruncationConfig, TruncationPolicy
from wsdm_arena.config.training import LauncherConfig, TrainingConfig
from wsdm_arena.errors import UserError

STAGE = "own"
"""What stands for a stage of the recipe in names."""
_NAME = re.compile("[a-z][a-z0-9_]*")

DEFAULTS: Mapping[str, Any] = {
    "judge": {"truncation": "shared_budget"},
    "training": {
        "battles_per_update": 16,
        "max_tokens_per_micro_batch": 8_192,
        "checkpoint": {"every_minutes": 10},
    },
    "export": {"layouts": ["plain"]},
}
"""Where the defaults differ from the recipe's.

One's own file is smaller than the contest's, so updates are, too (16 battles, as the recipe has them for Llama, instead
of 80); GPUs may have less than 80 GB (half the recipe's micro-batch); a training of an hour should not lose half of it.
``shared_budget`` is the policy of the recipe's last step: it cuts nothing that fits. The fused layout is only for the
contest's inference code.
"""


class OwnTrainingError(UserError, ValueError):
    """The options or the configuration file of a training are not what they should be."""


class OwnJudgeConfig(StrictConfig):
    """The judge that is trained: what the project has under ``judges.<judge>`` and ``stages.<stage>``."""

    backbone: BackboneConfig = BackboneConfig()
    """Pretrained weights and tokenizer."""
    system_role: bool | None = None
    """Whether the chat template takes a system message; null: found out by trying."""
    head: HeadConfig = HeadConfig()
    """Classifier on top of the backbone."""
    attention: AttentionName = "auto"
    """Kernel for packed sequences."""
    sliding_window: bool = True
    """False reads the whole sequence in every layer of a backbone that has sliding-window layers."""
    truncation: TruncationPolicy = "shared_budget"
    """Policy by which long battles are cut, one of those under ``truncation``."""


class OwnTrainingConfig(StrictConfig):
    """Everything that ``python -m wsdm_arena train`` can be told, but the battles."""

    name: str = "judge"
    """Of the judge: lower-case letters, digits and underscores."""
    seed: int = Field(default=3, ge=0, lt=2**32)
    """Of every draw but the folds'."""
    preferences: PreferencesConfig = PreferencesConfig()
    """From votes to labelled battles in folds."""
    template: TemplateConfig = TemplateConfig()
    """Wording of the judging prompt."""
    truncation: TruncationConfig = TruncationConfig()
    """Limits of a battle's length."""
    training: TrainingConfig = TrainingConfig.model_validate(DEFAULTS["training"])
    """Optimizer, schedule, batches, precision. Unless ``dtype`` is set: bfloat16 on a GPU, float32 on a CPU."""
    judge: OwnJudgeConfig = OwnJudgeConfig()
    """Backbone, head, attention."""
    launcher: LauncherConfig = LauncherConfig()
    """Processes and devices. Unless ``processes_per_node`` is set: one a GPU, or one."""
    reporting: ReportingConfig = ReportingConfig()
    """Intervals of the table at the end."""
    export: ExportConfig = ExportConfig.model_validate(DEFAULTS["export"])
    """What the bundle holds."""

    @field_validator("name")
    @classmethod
    def _is_a_name(cls, name: str) -> str:
        if not _NAME.fullmatch(name):
            raise ValueError("a name is a lower-case letter, then lower-case letters, digits and underscores")
        return name

    def resolve(self, *, system_role: bool) -> ResolvedJudge:
        """Describe the judge as every training does."""
        judge = self.judge
        return ResolvedJudge(
            stage=STAGE,
            judge=self.name,
            system_role=system_role,
            head=judge.head,
            attention=judge.attention,
            sliding_window=judge.sliding_window,
            truncation=judge.truncation,
            training=self.training,
        )


def resolve_own_training(layers: Mapping[str, Mapping[str, Any]]) -> OwnTrainingConfig:
    """Merge what a file and options say into the defaults, and validate all of it at once.

    Where only ``truncation.max_battle_tokens`` is given, the limits within it shrink or grow with it.

    Args:
        layers: Trees of keys by the name that messages call them; later ones win.

    Raises:
        OwnTrainingError: A key is misspelt or a value out of range; each is named by its path and layer.
    """
    said = deep_merge(*layers.values())
    tree = deep_merge(DEFAULTS, _shrunken_limits(said), said)
    if isinstance(tree["training"], Mapping) and tree["training"].get("dtype") == "auto":
        tree["training"] = {key: value for key, value in tree["training"].items() if key != "dtype"}
    try:
        return OwnTrainingConfig.model_validate(tree)
    except ValidationError as error:
        raise OwnTrainingError(_describe(error, layers)) from None


def _shrunken_limits(said: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe's limits of texts in proportion to another limit of the battle."""
    truncation = said.get("truncation")
    whole = truncation.get("max_battle_tokens") if isinstance(truncation, Mapping) else None
    if not isinstance(whole, int) or isinstance(whole, bool) or whole < 1:
        return {}  # not given, or refused by the validation
    recipe = TruncationConfig()

    def part(limit: int) -> int:
        return max(limit * whole // recipe.max_battle_tokens, 8)

    return {
        "truncation": {
            "per_field": {
                "max_prompt_tokens": part(recipe.per_field.max_prompt_tokens),
                "max_response_tokens": part(recipe.per_field.max_response_tokens),
            },
            "shared_budget": {"max_prompt_tokens": part(recipe.shared_budget.max_prompt_tokens)},
        }
    }


def _describe(error: ValidationError, layers: Mapping[str, Mapping[str, Any]]) -> str:
    """Say of each bad value where it stands: its path, and the last layer that has it."""
    lines = []
    for problem in error.errors():
        location = [str(part) for part in problem["loc"]]
        holders = [name for name, layer in layers.items() if _holds(layer, location)]
        message = "there is no such key; is it misspelt?" if problem["type"] == "extra_forbidden" else problem["msg"]
        where = f"{holders[-1]}: " if holders else ""
        shown = str(problem["input"])
        got = f" (got {shown!r})" if len(shown) <= 100 else ""
        lines.append(f"{where}{'.'.join(location)}: {message.removeprefix('Value error, ')}{got}")
    return "\n".join(lines)


def _holds(layer: Any, location: list[str]) -> bool:
    for part in location:
        if not isinstance(layer, Mapping):
            return True  # an index into a list: the list itself stands here
        if part not in layer:
            return False
        layer = layer[part]
    return True
