"""Frozen, validated configuration. The classes are the reference: YAML holds only what differs from them."""

from wsdm_arena.config.base import WITHOUT_EFFECT, StrictConfig, deep_merge, describe_effect
from wsdm_arena.config.cascade import CascadeConfig, SubmissionConfig
from wsdm_arena.config.export import ExportConfig
from wsdm_arena.config.generation import AnswerModelConfig, GenerationConfig, MiningConfig, RoundConfig, SamplingConfig
from wsdm_arena.config.judges import BackboneConfig, HeadConfig, JudgeConfig, JudgeOverride, ResolvedJudge, StageConfig
from wsdm_arena.config.lineup import HELD_OUT_VARIANT, LABELS, STAGES, TRAINING_TABLES, Lineup, RosterConfig, Training
from wsdm_arena.config.packages import PackagedModelConfig, package_of
from wsdm_arena.config.planning import PlanningConfig
from wsdm_arena.config.project import (
    PreferencesConfig,
    ProjectConfig,
    ReportingConfig,
    SimulationConfig,
    resolve_judge,
)
from wsdm_arena.config.prompts import TemplateConfig, TruncationConfig, TruncationPolicy
from wsdm_arena.config.pseudo_labels import LabellerConfig, PseudoLabelConfig, PseudoLabelsConfig, ReadingConfig
from wsdm_arena.config.run import RunConfig, TokenTable
from wsdm_arena.config.scoring import ScoringConfig
from wsdm_arena.config.training import (
    CheckpointConfig,
    EvaluationConfig,
    LauncherConfig,
    OptimizerConfig,
    ScheduleConfig,
    TrainingConfig,
)

__all__ = [
    "HELD_OUT_VARIANT",
    "LABELS",
    "STAGES",
    "TRAINING_TABLES",
    "WITHOUT_EFFECT",
    "AnswerModelConfig",
    "BackboneConfig",
    "CascadeConfig",
    "CheckpointConfig",
    "EvaluationConfig",
    "ExportConfig",
    "GenerationConfig",
    "HeadConfig",
    "JudgeConfig",
    "JudgeOverride",
    "LabellerConfig",
    "LauncherConfig",
    "Lineup",
    "MiningConfig",
    "OptimizerConfig",
    "PackagedModelConfig",
    "PlanningConfig",
    "PreferencesConfig",
    "ProjectConfig",
    "PseudoLabelConfig",
    "PseudoLabelsConfig",
    "ReadingConfig",
    "ReportingConfig",
    "ResolvedJudge",
    "RosterConfig",
    "RoundConfig",
    "RunConfig",
    "SamplingConfig",
    "ScheduleConfig",
    "ScoringConfig",
    "SimulationConfig",
    "StageConfig",
    "StrictConfig",
    "SubmissionConfig",
    "TemplateConfig",
    "TokenTable",
    "Training",
    "TrainingConfig",
    "TruncationConfig",
    "TruncationPolicy",
    "deep_merge",
    "describe_effect",
    "package_of",
    "resolve_judge",
]
