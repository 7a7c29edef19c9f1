"""What a judge's model card says, gathered from its checkpoint, its training and its results."""

from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import pandas as pd

from wsdm_arena import __version__
from wsdm_arena.analysis.tables import JudgeAnalysis
from wsdm_arena.cards.licences import (
    Source,
    hub_name,
    source_of_backbone,
    sources_of_answers,
    sources_of_labels,
    sources_of_table,
)
from wsdm_arena.cards.model_card import Calibration, ModelCard
from wsdm_arena.cards.summaries import TrainingPart, answering_models, describe_training
from wsdm_arena.config import (
    LABELS,
    BackboneConfig,
    GenerationConfig,
    PackagedModelConfig,
    ResolvedJudge,
    TemplateConfig,
    TruncationConfig,
    package_of,
)
from wsdm_arena.config.fetching import SourcesConfig

ANSWERED_BY_MODELS = "generated_pairs"
"""The table whose answers come from models of the run's own choice, each with terms of its own."""


def describe_judge(
    checkpoint: Path,
    judge: ResolvedJudge,
    *,
    template: TemplateConfig,
    truncation: TruncationConfig,
    layouts: Sequence[str],
    calibration: Mapping[str, Any],
    selections: Mapping[str, pd.DataFrame | None],
    tables: Mapping[str, pd.DataFrame],
    scores: Sequence[Mapping[str, Any]],
    analysis: JudgeAnalysis | None,
    backbone: BackboneConfig | None,
    generation: GenerationConfig | None = None,
    labellers: Mapping[str, Mapping[str, BackboneConfig]] | None = None,
    packages: Mapping[str, PackagedModelConfig] | None = None,
    sources: SourcesConfig | None = None,
    confidence: float = 0.95,
) -> ModelCard:
    """Gather what a card says; see :class:`~wsdm_arena.cards.model_card.ModelCard`.

    Args:
        checkpoint: Of the judge.
        judge: As it was trained.
        template: Wording of the prompt.
        truncation: Limits of a battle's length.
        layouts: What the bundle holds of ``plain`` and ``fused``.
        calibration: What a bundle's ``calibration.json`` says.
        selections: What was trained on, by stage, the earliest first; None for what is not at hand.
        tables: Whose rows the selections name, by name.
        scores: Rows of the scoreboard: its own, those of a variant that saw fewer battles, baselines.
        analysis: Of the judge, or of that variant; None if that is not at hand.
        backbone: Where its backbone comes from; None if that is not at hand.
        generation: Whose answer models wrote the generated pairs; None if there are none.
        labellers: Backbones of the judges that labelled a table's pairs, by table of labels and judge.
        packages: Models that come as Python packages, by name; a backbone or an answer model may be one.
        sources: What is known of inputs; None if nothing.
        confidence: Of the intervals in ``scores`` and ``analysis``.

    Raises:
        CheckpointError: The checkpoint is damaged or something else.
    """
    import transformers

    from wsdm_arena.judging.hugging_face import describe_model  # imports torch
    from wsdm_arena.modeling.checkpoint import read_manifest

    facts, manifest = describe_model(checkpoint), read_manifest(checkpoint)
    training = _describe_training(selections, tables)
    packages, name = packages or {}, hub_name(backbone)
    is_packaged = backbone is not None and package_of(backbone.source) in packages
    answers = _list_answer_sources(training, tables, generation, packages, sources)
    judges: dict[str, BackboneConfig] = {}
    for table in dict.fromkeys(part.table for part in training):
        judges |= (labellers or {}).get(LABELS.get(table, ""), {})
    is_seen = bool(analysis and analysis["seen_in_training"])
    return ModelCard(
        judge=judge,
        num_classes=facts.num_classes,
        num_parameters=facts.num_parameters,
        model_type=facts.model_type,
        architecture=facts.architecture,
        has_softcap=facts.has_softcap,
        dtype=facts.dtype,
        layouts=layouts,
        template=template,
        truncation=truncation,
        backbone=source_of_backbone(judge.judge, backbone, packages, sources),
        base_model=name,
        is_simulated=bool(sources and sources.simulated),
        is_pretrained=is_packaged or name is not None,
        training=training,
        scores=scores,
        calibration=_describe_calibration(calibration, analysis),
        sources=[*_list_sources(training, sources), *answers, *sources_of_labels(judges, packages, sources)],
        analysed=f"{analysis['stage']}.{analysis['judge']}" if analysis else "",
        analysed_is_seen=is_seen,
        swap=_plain(analysis["swap"]) if analysis else None,
        length=_plain(analysis["length"]) if analysis and not is_seen else None,
        confidence=confidence,
        versions={"wsdm-arena": __version__, "transformers, which wrote the layout": transformers.__version__},
        fingerprints=_fingerprints(manifest),
    )


def _describe_training(
    selections: Mapping[str, pd.DataFrame | None], tables: Mapping[str, pd.DataFrame]
) -> list[TrainingPart]:
    return [
        part
        for stage, rows in selections.items()
        if rows is not None
        for part in describe_training(stage, rows, tables)
    ]


def _fingerprints(manifest: Mapping[str, Any]) -> dict[str, str]:
    trained = manifest["trained"]
    named = {
        "training": manifest["fingerprint"],
        "checkpoint that it continued": trained.get("initial_checkpoint"),
        "prompt template": manifest["template_hash"],
        "seed": trained.get("seed"),
    }
    return {name: str(value) for name, value in named.items() if value is not None}


def _describe_calibration(fit: Mapping[str, Any], analysis: JudgeAnalysis | None) -> Calibration:
    """Battles that were trained on prove nothing of how honest probabilities are."""
    measured = analysis["calibration"] if analysis and not analysis["seen_in_training"] else None
    judged = {"at temperature 1": measured["before"], "calibrated": measured["after"]} if measured else {}
    return Calibration(
        temperature=fit["temperature"],
        num_pairs=fit["num_pairs"],
        log_loss_before=fit["log_loss_before"],
        log_loss_after=fit["log_loss_after"],
        note=fit.get("note", ""),
        judged={name: _plain(scores) or {} for name, scores in judged.items()},
        judged_note=measured["note"] if measured else "",
    )


def _list_sources(training: Sequence[TrainingPart], sources: SourcesConfig | None) -> list[Source]:
    return list(dict.fromkeys(chain.from_iterable(sources_of_table(part.table, sources) for part in training)))


def _list_answer_sources(
    training: Sequence[TrainingPart],
    tables: Mapping[str, pd.DataFrame],
    generation: GenerationConfig | None,
    packages: Mapping[str, PackagedModelConfig],
    sources: SourcesConfig | None,
) -> list[Source]:
    table = tables.get(ANSWERED_BY_MODELS)
    if generation is None or table is None or all(part.table != ANSWERED_BY_MODELS for part in training):
        return []
    return sources_of_answers(answering_models(table), generation.answer_models, packages, sources)


def _plain(part: Any) -> dict[str, Any] | None:
    return dict(part) if part else None
