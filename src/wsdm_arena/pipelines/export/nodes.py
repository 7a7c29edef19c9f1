"""Nodes of export; the library does the work."""

import logging
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from wsdm_arena import __version__
from wsdm_arena.config import ExportConfig, PreferencesConfig, ResolvedJudge, TemplateConfig, TruncationConfig
from wsdm_arena.runs.fingerprint import fingerprint, manifest_digest

logger = logging.getLogger(__name__)


def calibrate(predictions: pd.DataFrame, battles: pd.DataFrame, preferences: PreferencesConfig) -> dict[str, Any]:
    """Fit the temperature that makes a judge as sure as it is right, on the held-out fold."""
    from wsdm_arena.scoring.calibration import fit_temperature  # imports torch

    held_out = battles[battles["fold"] == preferences.held_out_fold]
    calibration = fit_temperature(predictions, held_out)
    return asdict(calibration) | {"fitted_on": sorted(predictions["judge_fingerprint"].unique())}


def export_judge(
    checkpoint: Path,
    calibration: dict[str, Any],
    judge: ResolvedJudge,
    template: TemplateConfig,
    truncation: TruncationConfig,
    export: ExportConfig,
    run_context: dict[str, Any],
    bundle_store: Path,
) -> Path:
    """Put a judge's weights, tokenizer, prompt, calibration and provenance into one folder; an equal one is reused."""
    from wsdm_arena.judging.bundle import Bundle, BundleError, BundlePrompt, write_bundle  # imports torch

    prompt = BundlePrompt(
        template=template, system_role=judge.system_role, truncation=truncation, policy=judge.truncation
    )
    provenance = {
        "stage": judge.stage,
        "judge": judge.judge,
        "env": run_context["env"],
        "wsdm_arena": __version__,
        "training": judge.training.model_dump(mode="json"),
    }
    name = fingerprint(
        {
            "checkpoint": manifest_digest(checkpoint),
            "prompt": prompt.model_dump(mode="json"),
            "layouts": list(export.layouts),
            "calibration": calibration,
            "provenance": provenance,
        }
    )
    directory = bundle_store / f"{judge.stage}.{judge.judge}" / name
    with suppress(BundleError):
        logger.info("%s.%s: bundle %s is there already", judge.stage, judge.judge, Bundle.open(directory).path)
        return directory
    return write_bundle(
        directory,
        checkpoint=checkpoint,
        prompt=prompt,
        layouts=export.layouts,
        temperature=calibration["temperature"],
        calibration=calibration,
        provenance=provenance,
    )
