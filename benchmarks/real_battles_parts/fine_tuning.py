"""Fine-tuning end to end, by the project's own trainer."""

import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from wsdm_arena.config import (
    HeadConfig,
    LauncherConfig,
    PreferencesConfig,
    ProjectConfig,
    ResolvedJudge,
    SimulationConfig,
    TrainingConfig,
    deep_merge,
)
from wsdm_arena.preferences.battles import build_battles
from wsdm_arena.preferences.selection import select_teacher_rows
from wsdm_arena.prompts.store import build_token_store
from wsdm_arena.runs.files import replacing_file
from wsdm_arena.simulation.arena import simulate_arena
from wsdm_arena.training.launch import FinishedRun, describe_run, launch_training

logger = logging.getLogger(__name__)

NUM_SIMULATED = 16_000
"""Rows to simulate: half of them are English, and only so many of those are trained on as asked for."""


@dataclass(frozen=True)
class FineTuning:
    """Runs that differ in their head and in what they start from.

    Attributes:
        model: Directory of the language model.
        system_role: Whether its chat template takes a system message.
        project: Template, truncation and training of the environment small_llm.
        training: What differs from the project's ``training``.
        work: Folder for tokens, selections and runs; finished runs are reused, killed ones go on.
        launcher: Device and processes.
    """

    model: Path
    system_role: bool
    project: ProjectConfig
    training: dict[str, Any]
    work: Path
    launcher: LauncherConfig

    def run(
        self, battles: pd.DataFrame, stage: str, *, head: str, fold: int, initial: Path | None = None
    ) -> FinishedRun:
        """Train on all folds but one and judge that one.

        Args:
            battles: With ``fold``.
            stage: What they are, as the run's stage.
            head: Kind of the head.
            fold: That is held out.
            initial: A judge to go on from; None: the language model under a fresh head.
        """
        judge = ResolvedJudge(
            stage=stage,
            judge=f"{self.model.name}_{head}",
            system_role=self.system_role,
            head=HeadConfig(kind=head),
            attention="auto",
            sliding_window=True,
            truncation="shared_budget",
            training=TrainingConfig.model_validate(deep_merge(self.project.training, self.training)),
        )
        tokens = build_token_store(
            battles,
            table="battles",
            tokenizer_dir=self.model,
            template=self.project.template,
            system_role=self.system_role,
            truncation=self.project.truncation,
            policy=judge.truncation,
            root=self.work / "tokens",
            for_verbalizer=head == "verbalizer",
        )
        selection = self.work / f"selection.{tokens.name}.fold-{fold}.parquet"
        with replacing_file(selection) as temporary:
            select_teacher_rows(battles, PreferencesConfig(held_out_fold=fold)).to_parquet(temporary)
        described = describe_run(
            judge=judge,
            backbone=self.model,
            selection=selection,
            tokens={"battles": tokens},
            num_classes=2,
            seed=self.project.seed,
            launcher=self.launcher,
            initial_checkpoint=initial,
        )
        start = time.perf_counter()
        finished = launch_training(described, self.work / "runs" / judge.judge / described.fingerprint, self.launcher)
        logger.info("%s of %s, fold %d: %.0f s", judge.judge, stage, fold, time.perf_counter() - start)
        return finished


def simulate_battles(num_battles: int, seed: int = 0) -> pd.DataFrame:
    """English battles of the simulated arena; a tenth as many more are held out, as fold 0, to see what was learned."""
    size = min(NUM_SIMULATED, 50 + 4 * num_battles)
    arena = simulate_arena(SimulationConfig(seed=seed, num_battles=size, num_test_pairs=1, num_conversations=0))
    english = arena.train_table[arena.train_table["language"] == "English"]
    battles = build_battles(english, PreferencesConfig()).battles
    held_out = battles[battles["fold"] == 0].head(num_battles // 10)
    return pd.concat([held_out, battles[battles["fold"] != 0].head(num_battles)], ignore_index=True)
