"""Nodes of export; the library does the work."""

import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from wsdm_arena import __version__
from wsdm_arena.analysis.tables import JudgeAnalysis
from wsdm_arena.cards.model_card import write_model_card
from wsdm_arena.config import (
    BackboneConfig,
    ExportConfig,
    GenerationConfig,
    PackagedModelConfig,
    PreferencesConfig,
    ReportingConfig,
    ResolvedJudge,
    TemplateConfig,
    TruncationConfig,
)
from wsdm_arena.config.fetching import SourcesConfig
from wsdm_arena.judging.model_card import describe_judge
from wsdm_arena.prompts.template import render_template
from wsdm_arena.prompts.tokenizers import load_tokenizer
from wsdm_arena.runs.fingerprint import fingerprint, manifest_digest
from wsdm_arena.runs.formats import BUNDLE_FORMAT, result_format
from wsdm_arena.runs.source_code import CARDS
from wsdm_arena.runs.work import record_work

NO_GENERATION = GenerationConfig()
"""Stages before the answers of models are generated read none."""

logger = logging.getLogger(__name__)


def calibrate(predictions: pd.DataFrame, battles: pd.DataFrame, preferences: PreferencesConfig) -> dict[str, Any]:
    """Fit the temperature that makes a judge as sure as it is right, on the held-out fold.

    Returns:
        What a bundle's ``calibration.json`` says: the temperature, how well it fits, and whose predictions it fits.
    """
    from wsdm_arena.scoring.calibration import CalibrationError, fit_temperature  # imports torch

    held_out = battles[battles["fold"] == preferences.held_out_fold]
    calibration = fit_temperature(predictions, held_out)
    if len(held_out) and not calibration.num_pairs:
        raise CalibrationError(
            f"no battle of fold {preferences.held_out_fold} has a prediction: the judge was trained when another fold "
            "was held out (preferences.held_out_fold), or on other battles; train again"
        )
    return asdict(calibration) | {"fitted_on": sorted(predictions["judge_fingerprint"].unique())}


def leave_uncalibrated(judge: ResolvedJudge) -> dict[str, Any]:
    """Say that nothing is known of how sure a judge may be: it has seen every battle, and no variant of it has not."""
    note = f"not calibrated: {judge.judge} is not in roster.final_held_out, so all battles were trained on"
    return {"temperature": 1.0, "num_pairs": 0, "log_loss_before": None, "log_loss_after": None, "note": note} | {
        "fitted_on": []
    }


@result_format(BUNDLE_FORMAT, CARDS)
def export_judge(
    checkpoint: Path,
    calibration: dict[str, Any],
    judge: ResolvedJudge,
    template: TemplateConfig,
    truncation: TruncationConfig,
    export: ExportConfig,
    run_context: dict[str, Any],
    bundle_store: Path,
    selection: pd.DataFrame,
    scores: list[dict[str, Any]],
    baseline_scores: list[dict[str, Any]],
    analysis: JudgeAnalysis,
    backbone: BackboneConfig,
    packaged_models: dict[str, Any],  # no class of their own, as Kedro would hide those within it from other nodes
    labellers: dict[str, Any],
    reporting: ReportingConfig,
    sources: SourcesConfig,
    # Last, as Kedro finds the types of parameters by the positions of a node's inputs, and these may be left out.
    held_out_scores: Sequence[dict[str, Any]] = (),
    initial_selection: pd.DataFrame | None = None,
    generation: GenerationConfig = NO_GENERATION,
    **tables: pd.DataFrame,
) -> Path:
    """Put a judge's weights, tokenizer, prompt, calibration, provenance and model card into one folder.

    An equal one that is there already is reused; only its card is written anew.

    Args:
        checkpoint: Of the judge.
        calibration: As :func:`calibrate` found it.
        judge: As it was trained.
        template: Wording of the prompt.
        truncation: Limits of a battle's length.
        export: What the bundle holds.
        run_context: Which run this is.
        bundle_store: Folder of all bundles.
        selection: What the judge was trained on; for the card.
        initial_selection: What the checkpoint that it was continued from was trained on; for the card.
        scores: Its rows of the scoreboard; for the card.
        held_out_scores: Those of the variant of it that was not trained on the held-out fold; for the card.
        baseline_scores: Those of the baselines; for the card.
        analysis: Of the judge, or of that variant where there is one; for the card.
        backbone: Where its backbone comes from; for the card.
        packaged_models: Those that a backbone or an answer model may be, as the configuration describes them; for the
            card.
        labellers: Backbones of the judges that labelled pairs, by table of labels and judge; for the card.
        reporting: How its scores were measured; for the card.
        sources: Inputs and their licences, ``sources.yml``; for the card.
        generation: Whose models wrote the answers of generated_pairs; for the card.
        tables: Those that the selections name: battles, collected_pairs, generated_pairs; for the card.
    """
    from wsdm_arena.judging.bundle import (  # imports torch
        Bundle,
        BundleError,
        BundlePrompt,
        write_bundle,
        write_card,
    )
    from wsdm_arena.modeling.checkpoint import read_manifest

    manifest = read_manifest(checkpoint)
    prompt = BundlePrompt(
        template=template, system_role=judge.system_role, truncation=truncation, policy=judge.truncation
    )
    provenance = {
        "stage": judge.stage,
        "judge": judge.judge,
        "env": run_context["env"],
        "wsdm_arena": __version__,
        "fingerprint": manifest["fingerprint"],
        "trained": manifest["trained"],
    }
    rendered = render_template(load_tokenizer(checkpoint), template, system_role=judge.system_role)
    if rendered.hash != manifest["template_hash"]:
        raise BundleError(
            f"{judge.stage}.{judge.judge} was trained with another prompt ({manifest['template_hash']}) than template "
            f"and judges.{judge.judge}.system_role describe now ({rendered.hash}); set them back, or train again"
        )
    card = write_model_card(
        describe_judge(
            checkpoint,
            judge,
            template=template,
            truncation=truncation,
            layouts=export.layouts,
            calibration=calibration,
            selections={"pretraining": initial_selection, judge.stage: selection},
            tables=tables,
            scores=[*scores, *held_out_scores, *baseline_scores],
            analysis=analysis,
            backbone=backbone,
            generation=generation,
            labellers={
                table: {judge: BackboneConfig.model_validate(each) for judge, each in backbones.items()}
                for table, backbones in labellers.items()
            },
            packages={name: PackagedModelConfig.model_validate(model) for name, model in packaged_models.items()},
            sources=sources,
            confidence=reporting.confidence,
        )
    )
    name = fingerprint(
        {
            "format": BUNDLE_FORMAT,
            "checkpoint": manifest_digest(checkpoint),
            "prompt": prompt.model_dump(mode="json"),
            "layouts": list(export.layouts),
            "calibration": calibration,
            "provenance": provenance,
        }
    )
    directory = bundle_store / f"{judge.stage}.{judge.judge}" / name
    if directory.exists():
        try:
            logger.info("%s.%s: bundle %s is there already", judge.stage, judge.judge, Bundle.open(directory).path)
            write_card(directory, card)
            record_work("bundle", name, "reused", directory)
            return directory
        except BundleError as error:
            logger.warning("%s.%s: the bundle is exported again: %s", judge.stage, judge.judge, error)
    write_bundle(
        directory,
        checkpoint=checkpoint,
        prompt=prompt,
        layouts=export.layouts,
        temperature=calibration["temperature"],
        calibration=calibration,
        provenance=provenance,
        card=card,
    )
    record_work("bundle", name, "made", directory)
    return directory
