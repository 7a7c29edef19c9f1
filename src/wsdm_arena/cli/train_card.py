"""The model card of a judge that was trained on one's own battles."""

from wsdm_arena.analysis.tables import JudgeAnalysis
from wsdm_arena.cards.model_card import write_model_card
from wsdm_arena.judging.model_card import describe_judge
from wsdm_arena.own_training.results import CardContents


def write_own_card(contents: CardContents) -> str:
    """Write what is known: data, recipe, scores, calibration. Of licences nothing is known but the backbone's name.

    Returns:
        Markdown.
    """
    config, judge = contents.config, contents.judge
    return write_model_card(
        describe_judge(
            contents.checkpoint,
            judge,
            template=config.template,
            truncation=config.truncation,
            layouts=config.export.layouts,
            calibration=contents.calibration,
            selections={judge.stage: contents.selection},
            tables={"battles": contents.battles},
            scores=contents.rows,
            analysis=_analyse(contents),
            backbone=config.judge.backbone,
            confidence=config.reporting.confidence,
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
