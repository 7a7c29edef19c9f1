"""Frozen, validated configuration. The classes are the reference: YAML holds only what differs from them."""

from wsdm_arena.config.base import StrictConfig, deep_merge
from wsdm_arena.config.judges import STAGES, HeadConfig, JudgeConfig, JudgeOverride, ResolvedJudge, StageConfig
from wsdm_arena.config.project import (
    PreferencesConfig,
    ProjectConfig,
    ReportingConfig,
    RosterConfig,
    SimulationConfig,
    resolve_judge,
)
from wsdm_arena.config.prompts import TemplateConfig, TruncationConfig, TruncationPolicy
from wsdm_arena.config.run import RunConfig, TokenTable
from wsdm_arena.config.training import (
    CheckpointConfig,
    EvaluationConfig,
    LauncherConfig,
    OptimizerConfig,
    ScheduleConfig,
    TrainingConfig,
)

__all__ = [
    "STAGES",
    "CheckpointConfig",
    "EvaluationConfig",
    "HeadConfig",
    "JudgeConfig",
    "JudgeOverride",
    "LauncherConfig",
    "OptimizerConfig",
    "PreferencesConfig",
    "ProjectConfig",
    "ReportingConfig",
    "ResolvedJudge",
    "RosterConfig",
    "RunConfig",
    "ScheduleConfig",
    "SimulationConfig",
    "StageConfig",
    "StrictConfig",
    "TemplateConfig",
    "TokenTable",
    "TrainingConfig",
    "TruncationConfig",
    "TruncationPolicy",
    "deep_merge",
    "resolve_judge",
]
