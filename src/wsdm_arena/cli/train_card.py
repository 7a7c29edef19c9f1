"""The model card of a judge that was trained on one's own battles."""

from pathlib import Path
from typing import Any

from wsdm_arena import __version__
from wsdm_arena.analysis.tables import JudgeAnalysis
from wsdm_arena.cards.licences import source_of_backbone
from wsdm_arena.cards.model_card import Calibration, ModelCard, write_model_card
from wsdm_arena.cards.summaries import describe_training
from wsdm_arena.judging.own_results import CardContents


def write_own_card(contents: CardContents) -> str:
    """Write what is known: data, recipe, scores, calibration. Of licences nothing is known but the backbone's name.

    Returns:
        Markdown.
    """
    import transformers

    from wsdm_arena.judging.hugging_face import describe_model  # imports torch

    facts = describe_model(contents.checkpoint)
    analysis = _analyse(contents)
    backbone, fit = contents.config.judge.backbone, contents.calibration
    is_directory = backbone.source is None or Path(backbone.source).expanduser().is_dir()
    hub_name = None if is_directory else backbone.source
    return write_model_card(
        ModelCard(
            judge=contents.judge,
            num_classes=facts.num_classes,
            num_parameters=facts.num_parameters,
            model_type=facts.model_type,
            architecture=facts.architecture,
            has_softcap=facts.has_softcap,
            dtype=facts.dtype,
            layouts=contents.config.export.layouts,
            template=contents.config.template,
            truncation=contents.config.truncation,
            backbone=source_of_backbone(contents.judge.judge, hub_name, backbone.revision, None),
            base_model=hub_name,
            training=describe_training(contents.judge.stage, contents.selection, {"battles": contents.battles}),
            scores=contents.rows,
            calibration=Calibration(
                temperature=fit["temperature"],
                num_pairs=fit["num_pairs"],
                log_loss_before=fit["log_loss_before"],
                log_loss_after=fit["log_loss_after"],
                note=fit["note"],
                judged={}
                if analysis["calibration"]["note"]
                else {
                    "at temperature 1": _plain(analysis["calibration"]["before"]),
                    "calibrated": _plain(analysis["calibration"]["after"]),
                },
            ),
            analysed=f"{analysis['stage']}.{analysis['judge']}",
            swap=_plain(analysis["swap"]) or None,
            length=_plain(analysis["length"]) or None,
            versions={"wsdm-arena": __version__, "transformers, which wrote the layout": transformers.__version__},
            fingerprints={"training": contents.provenance["fingerprint"], "seed": str(contents.config.seed)},
        )
    )


def _analyse(contents: CardContents) -> JudgeAnalysis:
    from wsdm_arena.analysis.judges import analyse_judge  # imports torch and scipy

    config = contents.config
    return analyse_judge(
        contents.predictions,
        contents.battles,
        stage=contents.judge.stage,
        judge=contents.judge.judge,
        fold=config.preferences.held_out_fold,
        seen_in_training=False,
        confidence=config.reporting.confidence,
        num_bootstrap_samples=config.reporting.bootstrap_samples,
        seed=config.seed,
    )


def _plain(part: Any) -> dict[str, Any]:
    return dict(part or {})
