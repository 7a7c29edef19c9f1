"""The whole parameter tree, validated at once, so that a misspelt judge or stage is an error too."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from wsdm_arena.config.base import StrictConfig, deep_merge
from wsdm_arena.config.cascade import SubmissionConfig
from wsdm_arena.config.export import ExportConfig
from wsdm_arena.config.generation import GenerationConfig
from wsdm_arena.config.judges import JudgeConfig, JudgeOverride, ResolvedJudge, StageConfig
from wsdm_arena.config.lineup import COLLECTED_PAIRS, GENERATED_PAIRS, HELD_OUT_VARIANT, LABELS, STAGES, RosterConfig
from wsdm_arena.config.packages import PACKAGE_SCHEME, PackagedModelConfig, package_of
from wsdm_arena.config.planning import PlanningConfig
from wsdm_arena.config.prompts import TemplateConfig, TruncationConfig
from wsdm_arena.config.pseudo_labels import PseudoLabelConfig, PseudoLabelsConfig
from wsdm_arena.config.training import LauncherConfig, TrainingConfig

_JUDGE_NAME = re.compile("[a-z][a-z0-9_]*")
_RESERVED_NAMES = frozenset(
    [
        "both",
        "fallback",
        "battles",
        "pairs",
        "test_pairs",
        "config",
        "preferences",
        "submission",
        "cascade",
        "launcher",
        "token_store",
        "stage",
    ]
)
"""What nodes that take judges by name call their other arguments, and what verdicts say beside judges' names."""


class PreferencesConfig(StrictConfig):
    """From raw tables to validated battles."""

    tie_policy: Literal["drop", "half", "class"] = "drop"
    """``drop`` leaves ties out, ``half`` labels them 0.5 : 0.5, ``class`` makes them a third class."""
    num_folds: int = Field(default=5, ge=2)
    """Parts that the battles are split into; all battles of a prompt fall into one."""
    fold_seed: int = Field(default=0, ge=0, lt=2**32)
    """Of the shuffle that spreads prompts over folds."""
    held_out_fold: int = Field(default=0, ge=0)
    """Counted from 0: never trained on, every judge is scored on it."""
    first_phase_language: str = "en"
    """Code of the language whose battles the final training reads first."""
    hold_back_every: int = Field(default=10, ge=2)
    """One in how many of those battles waits for the second phase, with all other languages."""

    @property
    def num_classes(self) -> int:
        """Classes a judge tells apart: A wins, B wins and, with ``tie_policy: class``, a tie."""
        return 3 if self.tie_policy == "class" else 2

    @model_validator(mode="after")
    def _fold_exists(self) -> "PreferencesConfig":
        if self.held_out_fold >= self.num_folds:
            raise ValueError(
                f"held_out_fold={self.held_out_fold} does not exist: folds are numbered 0 to {self.num_folds - 1}"
            )
        return self


class SimulationConfig(StrictConfig):
    """Size and seed of the simulated arena."""

    seed: int = Field(default=0, ge=0, lt=2**32)
    """Of all draws of the arena: models, prompts, answers, votes."""
    num_battles: int = Field(default=10_500, ge=50)
    """Rows of the training table, ugly ones included."""
    num_test_pairs: int = Field(default=1_000, ge=1)
    """Rows of the test table."""
    num_collected_pairs: int = Field(default=1_500, ge=0)
    """Pairs without a vote, over two files."""
    num_conversations: int = Field(default=9_000, ge=0)
    """Conversations with one model each, over six files."""
    ugly_row_rate: float = Field(default=0.01, ge=0, le=0.5)
    """Share of rows with nulls, empty or identical answers, huge texts, control tokens, repeated votes."""


class ReportingConfig(StrictConfig):
    """Intervals of the scoreboard and the report."""

    confidence: float = Field(default=0.95, gt=0, lt=1)
    """Chance that the true accuracy lies within the interval shown."""
    bootstrap_samples: int = Field(default=1_000, ge=100)
    """How often the held-out prompts are drawn anew, with replacement, to see how far a figure moves."""


class ProjectConfig(StrictConfig):
    """Every top-level parameter key."""

    seed: int = Field(ge=0, lt=2**32)
    """Of every draw but those with a seed of their own: order of battles, samples, dropout, fresh heads."""
    simulation: SimulationConfig = SimulationConfig()
    """The simulated arena."""
    preferences: PreferencesConfig = PreferencesConfig()
    """From votes to labelled battles in folds."""
    template: TemplateConfig
    """Wording of the judging prompt."""
    truncation: TruncationConfig
    """Limits of a battle's length."""
    training: dict[str, Any] = Field(default_factory=dict)
    """What every stage and judge has in common; see :class:`~wsdm_arena.config.training.TrainingConfig`."""
    launcher: LauncherConfig = LauncherConfig()
    """Processes and devices of a training."""
    packaged_models: dict[str, PackagedModelConfig] = Field(default_factory=dict)
    """By name: language models that come as Python packages, for judges and for answers."""
    roster: RosterConfig
    """Who takes part."""
    judges: dict[str, JudgeConfig]
    """By name (lower-case letters, digits and underscores): what each judge is."""
    stages: dict[str, StageConfig]
    """By name, one of :data:`~wsdm_arena.config.lineup.STAGES`: how judges are trained in it."""
    pseudo_labels: PseudoLabelsConfig
    """How judges label pairs that no human voted on."""
    generation: GenerationConfig = GenerationConfig()
    """From conversations to generated pairs."""
    export: ExportConfig = ExportConfig()
    """What a bundle holds."""
    submission: SubmissionConfig = SubmissionConfig()
    """How test pairs are judged."""
    reporting: ReportingConfig = ReportingConfig()
    """What scoreboard and report show."""
    planning: PlanningConfig = PlanningConfig()
    """What ``kedro plan`` assumes where nothing is on disk to be looked at; changes no result."""

    @model_validator(mode="before")
    @classmethod
    def _names_are_usable(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        for package in values.get("packaged_models") or ():
            if not _JUDGE_NAME.fullmatch(str(package)):
                raise ValueError(
                    f"packaged_models.{package}: a name is a lower-case letter, then lower-case letters, digits and "
                    f"underscores, got {package!r}"
                )
        for judge in values.get("judges") or ():
            if not _JUDGE_NAME.fullmatch(str(judge)):
                raise ValueError(
                    f"judges.{judge}: a judge's name is a lower-case letter, then lower-case letters, digits and "
                    f"underscores (a dot would separate namespaces), got {judge!r}"
                )
            if judge in _RESERVED_NAMES:
                raise ValueError(f"judges.{judge}: the name means something else in this project; take another")
        for stage in values.get("stages") or ():
            if stage not in STAGES:
                raise ValueError(f"stages.{stage}: there is no such stage; known: {list(STAGES)}")
        return values

    @model_validator(mode="after")
    def _roster_is_described(self) -> "ProjectConfig":
        for role, names in self.roster:
            if unknown := sorted(set(names) - set(self.judges)):
                raise ValueError(f"roster.{role}: {unknown} not described under judges; known: {sorted(self.judges)}")
        named = {f"pseudo_labels.{table}.judges": config.judges for table, config in self.pseudo_labels} | {
            f"submission.{stage}.weights": getattr(self.submission, stage).weights for stage in ("student", "final")
        }
        for place, judges in named.items():
            if unknown := sorted(set(judges) - set(self.judges)):
                raise ValueError(f"{place}: {unknown} not described under judges; known: {sorted(self.judges)}")
        return self

    @model_validator(mode="after")
    def _packages_are_described(self) -> "ProjectConfig":
        sources = {f"judges.{name}.backbone.source": judge.backbone.source for name, judge in self.judges.items()} | {
            f"generation.answer_models.{name}.model": model.model
            for name, model in self.generation.answer_models.items()
        }
        for place, source in sources.items():
            package = package_of(source)
            if package is not None and package not in self.packaged_models:
                raise ValueError(
                    f"{place}: {PACKAGE_SCHEME}{package} is not described under packaged_models; "
                    f"known: {sorted(self.packaged_models)}"
                )
        return self

    @model_validator(mode="after")
    def _verbalizers_have_an_answer_for_each_class(self) -> "ProjectConfig":
        wanted, given = self.preferences.num_classes, self.template.answers
        for name, judge in self.judges.items():
            if judge.head.kind == "verbalizer" and len(given) != wanted:
                raise ValueError(
                    f"template.answers: {list(given)} are {len(given)}, but judges.{name}.head.kind: verbalizer tells "
                    f"{wanted} classes apart (preferences.tie_policy: {self.preferences.tie_policy})"
                )
        return self

    @model_validator(mode="after")
    def _stages_of_the_roster_are_described(self) -> "ProjectConfig":
        needed = STAGES if self.roster.students else ("teacher",)
        if missing := [stage for stage in needed if stage not in self.stages]:
            raise ValueError(f"stages: {missing} are not described, but the roster trains judges in them")
        return self

    @model_validator(mode="after")
    def _every_cell_resolves(self) -> "ProjectConfig":
        for stage_name, stage in self.stages.items():
            for judge in stage.overrides:
                if judge not in self.judges:
                    raise ValueError(
                        f"stages.{stage_name}.overrides.{judge}: there is no such judge; known: {sorted(self.judges)}"
                    )
            for judge in self.judges:
                self.resolve(stage_name, judge)
        return self

    @model_validator(mode="after")
    def _final_continues_pretraining(self) -> "ProjectConfig":
        for judge in self.roster.students:
            before, after = self.resolve("pretraining", judge), self.resolve("final", judge)
            if before.sliding_window != after.sliding_window:
                raise ValueError(
                    f"stages.final.overrides.{judge}.sliding_window={after.sliding_window}: the final training "
                    f"continues the pretraining's judge, which has {before.sliding_window}; set both alike"
                )
        return self

    @model_validator(mode="after")
    def _final_cascade_is_fitted_on_what_was_not_seen(self) -> "ProjectConfig":
        variants = self.roster.judges_of(HELD_OUT_VARIANT)
        missing = [judge for judge in self.roster.students if judge not in variants]
        if self.submission.final.fit_share is not None and missing:
            raise ValueError(
                f"submission.final.fit_share: the final judges {missing} have seen the held-out fold; add them to "
                "roster.final_held_out, or remove fit_share"
            )
        return self

    def labellings(self) -> Iterator[tuple[str, PseudoLabelConfig, tuple[str, ...]]]:
        """Every table of labels: its catalog name, its configuration, and the judges that label."""
        if self.roster.students:
            yield LABELS[COLLECTED_PAIRS], self.pseudo_labels.collected_pairs, self.roster.teachers
            yield LABELS[GENERATED_PAIRS], self.pseudo_labels.generated_pairs, self.roster.students

    def resolve(self, stage: str, judge: str) -> ResolvedJudge:
        """Merge every layer that describes ``judge`` in ``stage``; the held-out variant is described by ``final``."""
        return resolve_judge(
            stage_name=stage,
            judge_name=judge,
            judge=self.judges[judge],
            stage=self.stages["final" if stage == HELD_OUT_VARIANT else stage],
            training=self.training,
        )


def resolve_judge(
    *, stage_name: str, judge_name: str, judge: JudgeConfig, stage: StageConfig, training: Mapping[str, Any]
) -> ResolvedJudge:
    """Merge the layers that describe one judge in one stage.

    Raises:
        ValueError: A key is misspelt or a value out of range; the message names its YAML path.
    """
    override = stage.overrides.get(judge_name, JudgeOverride())
    layers: dict[str, Mapping[str, Any]] = {
        "training": training,
        f"judges.{judge_name}.training": judge.training,
        f"stages.{stage_name}.training": stage.training,
        f"stages.{stage_name}.overrides.{judge_name}.training": override.training,
    }
    try:
        resolved = TrainingConfig.model_validate(deep_merge(*layers.values()))
    except ValidationError as error:
        raise ValueError(_name_places(error, layers)) from None
    window = judge.sliding_window if override.sliding_window is None else override.sliding_window
    return ResolvedJudge(
        stage=stage_name,
        judge=judge_name,
        system_role=judge.system_role,
        head=judge.head,
        attention=judge.attention,
        sliding_window=window,
        truncation=stage.truncation,
        training=resolved,
    )


def _name_places(error: ValidationError, layers: Mapping[str, Mapping[str, Any]]) -> str:
    """Say in which layer, the last that holds the key, each bad value stands."""
    lines = []
    for problem in error.errors():
        location = [str(part) for part in problem["loc"]]
        holders = [place for place, layer in layers.items() if _holds(layer, location)] or ["training"]
        message = "there is no such key; is it misspelt?" if problem["type"] == "extra_forbidden" else problem["msg"]
        lines.append(f"{'.'.join([holders[-1], *location])}: {message} (got {problem['input']!r})")
    return "; ".join(lines)


def _holds(layer: Mapping[str, Any], location: list[str]) -> bool:
    node: Any = layer
    for part in location:
        if not isinstance(node, Mapping):
            return True  # an index into a list: the list itself stands here
        if part not in node:
            return False
        node = node[part]
    return True
