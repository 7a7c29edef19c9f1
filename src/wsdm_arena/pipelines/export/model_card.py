"""What the model card of an exported judge says, gathered from the run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from wsdm_arena import __version__
from wsdm_arena.analysis.tables import JudgeAnalysis
from wsdm_arena.cards.licences import Source, source_of_backbone, sources_of_table
from wsdm_arena.cards.model_card import Calibration, ModelCard
from wsdm_arena.cards.summaries import describe_training
from wsdm_arena.config import (
    BackboneConfig,
    ExportConfig,
    ResolvedJudge,
    TemplateConfig,
    TruncationConfig,
)
from wsdm_arena.config.fetching import SourcesConfig


def describe_judge(
    checkpoint: Path,
    manifest: Mapping[str, Any],
    calibration: Mapping[str, Any],
    judge: ResolvedJudge,
    template: TemplateConfig,
    truncation: TruncationConfig,
    export: ExportConfig,
    *,
    selection: pd.DataFrame | None,
    initial_selection: pd.DataFrame | None,
    tables: Mapping[str, pd.DataFrame],
    scores: Sequence[Mapping[str, Any]],
    analysis: JudgeAnalysis | None,
    backbone: BackboneConfig | None,
    sources: SourcesConfig | None,
) -> ModelCard:
    """Gather what a card says; see :class:`~wsdm_arena.cards.model_card.ModelCard`.

    Args:
        checkpoint: Of the judge.
        manifest: Its own.
        calibration: As ``calibrate`` found it.
        judge: As it was trained.
        template: Wording of the prompt.
        truncation: Limits of a battle's length.
        export: What the bundle holds.
        selection: What it was trained on; None if that is not at hand.
        initial_selection: What the checkpoint that it was continued from was trained on; None if there is none.
        tables: Whose rows the selections name, by name.
        scores: Rows of the scoreboard: its own, those of a variant that saw fewer battles, baselines.
        analysis: Of the judge, or of that variant.
        backbone: Where its backbone comes from; None if that is not at hand.
        sources: What is known of inputs.
    """
    import transformers

    from wsdm_arena.judging.hugging_face import describe_model  # imports torch

    facts = describe_model(checkpoint)
    selections = {"pretraining": initial_selection, judge.stage: selection}
    parts = [
        part
        for stage, rows in selections.items()
        if rows is not None
        for part in describe_training(stage, rows, tables)
    ]
    is_simulated = bool(sources and sources.simulated)
    hub_name = _hub_name(backbone)
    trained_tables = list(dict.fromkeys(part.table for part in parts))
    return ModelCard(
        judge=judge,
        num_classes=facts.num_classes,
        num_parameters=facts.num_parameters,
        model_type=facts.model_type,
        architecture=facts.architecture,
        has_softcap=facts.has_softcap,
        dtype=facts.dtype,
        layouts=export.layouts,
        template=template,
        truncation=truncation,
        backbone=source_of_backbone(judge.judge, hub_name, backbone.revision if backbone else None, sources),
        base_model=hub_name,
        is_simulated=is_simulated,
        training=parts,
        scores=scores,
        calibration=_describe_calibration(calibration, analysis),
        sources=_sources(trained_tables, tables, sources),
        analysed=f"{analysis['stage']}.{analysis['judge']}" if analysis else "",
        analysed_is_seen=bool(analysis and analysis["seen_in_training"]),
        swap=_plain(analysis["swap"]) if analysis else None,
        length=_plain(analysis["length"]) if analysis and not analysis["seen_in_training"] else None,
        versions={"wsdm-arena": __version__, "transformers, which wrote the layout": transformers.__version__},
        fingerprints=_fingerprints(manifest),
    )


def _fingerprints(manifest: Mapping[str, Any]) -> dict[str, str]:
    trained = manifest["trained"]
    named = {
        "training": manifest["fingerprint"],
        "checkpoint that it continued": trained.get("initial_checkpoint"),
        "prompt template": manifest["template_hash"],
        "seed": trained.get("seed"),
    }
    return {name: str(value) for name, value in named.items() if value is not None}


def _hub_name(backbone: BackboneConfig | None) -> str | None:
    """Name of the backbone's repository; None where it is a directory of one's own or an input of the run."""
    if backbone is None or backbone.source is None or Path(backbone.source).is_dir():
        return None
    return backbone.source if backbone.source.count("/") == 1 and not backbone.source.startswith((".", "/")) else None


def _describe_calibration(fit: Mapping[str, Any], analysis: JudgeAnalysis | None) -> Calibration:
    judged: dict[str, Any] = {}
    if analysis and not analysis["seen_in_training"]:
        measured = analysis["calibration"]
        judged = {} if measured["note"] else {"at temperature 1": measured["before"], "calibrated": measured["after"]}
    return Calibration(
        temperature=fit["temperature"],
        num_pairs=fit["num_pairs"],
        log_loss_before=fit["log_loss_before"],
        log_loss_after=fit["log_loss_after"],
        note=fit.get("note", ""),
        judged=judged,
    )


def _sources(names: Sequence[str], tables: Mapping[str, pd.DataFrame], sources: SourcesConfig | None) -> list[Source]:
    found = []
    for name in names:
        table = tables.get(name) if name == "generated_pairs" else None
        models = () if table is None else pd.concat([table["model_a"], table["model_b"]]).dropna().unique()
        found += sources_of_table(name, sources, models)
    return list(dict.fromkeys(found))


def _plain(part: Any) -> dict[str, Any] | None:
    return dict(part) if part else None
