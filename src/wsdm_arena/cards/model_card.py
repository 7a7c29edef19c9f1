"""The card of an exported judge: a README that people and the Hugging Face Hub read."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from wsdm_arena.cards.licences import ANSWERS, LABELS, Source
from wsdm_arena.cards.markdown import Markdown, front_matter, render
from wsdm_arena.cards.scores import FEW_BATTLES, Score, ScoreSummary
from wsdm_arena.cards.summaries import TrainingPart
from wsdm_arena.config import HeadConfig, OptimizerConfig, ResolvedJudge, TemplateConfig, TruncationConfig

TASK = "text-classification"
TAGS = ("wsdm-arena", "preference", "pairwise-judge", "llm-as-a-judge")
FEW_TRAINING_ROWS = 100
"""Languages of fewer training rows are named among the limits."""
_LANGUAGE_CODE = re.compile("[a-z]{2,3}")
_NOT_CALIBRATED = "not calibrated: "
_MOST_PARTS = 8
_TEMPLATE = "model_card.md.j2"


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """How honest probabilities are, and what makes them so.

    Attributes:
        temperature: Logits are divided by it.
        num_pairs: On which it was fitted.
        log_loss_before: In nats, of those pairs, at temperature 1; None if it was not fitted.
        log_loss_after: The same at ``temperature``.
        note: Why it is not to be relied on, or why there is none; empty if it is.
        judged: Scores on battles that another temperature was not fitted on, ``{"before": ..., "after": ...}`` with
            ``log_loss``, ``brier`` and ``ece`` each; empty if that was not measured.
        judged_note: Why these are not to be relied on; empty if they are.
    """

    temperature: float
    num_pairs: int = 0
    log_loss_before: float | None = None
    log_loss_after: float | None = None
    note: str = ""
    judged: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    judged_note: str = ""

    @property
    def is_fitted(self) -> bool:
        """Whether the temperature comes from held-out battles."""
        return self.log_loss_before is not None

    @property
    def reason(self) -> str:
        """The note, for a sentence that says already that nothing was calibrated."""
        return self.note.removeprefix(_NOT_CALIBRATED)


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """All that a model card says; what is not known is left empty, and the card says so or leaves it out.

    Attributes:
        judge: As it was trained.
        num_classes: 2, or 3 with ties.
        num_parameters: Backbone and head.
        model_type: Of the backbone, as transformers calls it.
        architecture: Transformers' class that reads the bundle; None if the head lies beside an ``AutoModel``.
        has_softcap: Whether the backbone caps its attention logits.
        dtype: Of the plain layout.
        layouts: What the bundle holds of ``plain`` and ``fused``.
        template: Wording of the prompt.
        system_role: Whether the instruction is a message of its own.
        truncation: Limits of a battle's length.
        backbone: Where the backbone comes from; None if that is not known.
        base_model: Its name at the Hugging Face Hub; None for one from elsewhere.
        is_simulated: Whether the data are those of the simulated arena.
        is_pretrained: Whether the backbone is a language model, and not one of the simulated arena's.
        training: What it was trained on.
        scores: Rows of the scoreboard: its own, those of a variant that saw fewer battles, baselines.
        calibration: Its temperature.
        sources: Data from outside, and its terms.
        analysed: Stage and judge that ``swap``, ``length`` and what was judged of the calibration are of.
        analysed_is_seen: Whether that judge was trained on what it was analysed on.
        swap: ``flip_rate``, ``gap``, ``first_shown`` with ``value``, ``low``, ``high``, ``num_battles`` each; None if
            not measured. What no battle was measured on is left out.
        length: ``names_longer``, ``longer_won``, ``accuracy_longer_won`` and ``accuracy_shorter_won`` likewise.
        confidence: Of all intervals.
        versions: Of the software, by name.
        fingerprints: What names judge, prompt and checkpoint.
    """

    judge: ResolvedJudge
    num_classes: int
    num_parameters: int
    model_type: str
    architecture: str | None
    has_softcap: bool
    dtype: str
    layouts: Sequence[str]
    template: TemplateConfig
    truncation: TruncationConfig
    calibration: Calibration
    backbone: Source | None = None
    base_model: str | None = None
    is_simulated: bool = False
    is_pretrained: bool = False
    training: Sequence[TrainingPart] = ()
    scores: Sequence[Mapping[str, Any]] = ()
    sources: Sequence[Source] = ()
    analysed: str = ""
    analysed_is_seen: bool = False
    swap: Mapping[str, Mapping[str, Any]] | None = None
    length: Mapping[str, Mapping[str, Any]] | None = None
    confidence: float = 0.95
    versions: Mapping[str, str] = field(default_factory=dict)
    fingerprints: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Stage and judge."""
        return f"{self.judge.stage}.{self.judge.judge}"

    @property
    def languages(self) -> dict[str, int]:
        """Rows that are trained on, by language, the most frequent first."""
        total: dict[str, int] = {}
        for part in self.training:
            for language, rows in part.languages.items():
                total[language] = total.get(language, 0) + rows
        return dict(sorted(total.items(), key=lambda item: (-item[1], item[0])))


def write_model_card(contents: ModelCard) -> str:
    """Write a judge's model card; equal contents give equal text.

    Names that people have chosen are escaped: none can end a table, open a link or break the front matter.

    Returns:
        Markdown with YAML front matter, as the Hugging Face Hub reads it.
    """
    summary = ScoreSummary.of_rows(contents.scores, contents.name)
    values = {
        "card": contents,
        "front_matter": front_matter(_metadata(contents, summary.headline)),
        "summary": summary,
        "weak": summary.weak[:_MOST_PARTS],
        "num_weak_left_out": len(summary.weak[_MOST_PARTS:]),
        "level": Markdown(f"{100 * contents.confidence:g} %"),
        "swap": _measured(contents.swap),
        "length": _measured(contents.length),
        "recipe": _recipe(contents.judge, contents.template),
        "messages": _messages(contents),
        "few_rows": [name for name, rows in contents.languages.items() if rows < FEW_TRAINING_ROWS],
        "few_battles": [score.language for score in summary.languages if score.num_pairs < FEW_BATTLES],
        "limits": _limits(contents.judge, contents.truncation),
        "marker": json.dumps(contents.truncation.marker, ensure_ascii=False),
        "has_start": any(score.is_start and not score.is_zero_shot for score in summary.overall),
        "has_zero_shot": any(score.is_zero_shot for score in summary.overall),
    }
    return render(_TEMPLATE, values)


def _measured(parts: Mapping[str, Any] | None) -> dict[str, Mapping[str, Any]]:
    """Intervals of at least one battle; one of none stands for "there are none"."""
    return {
        name: part
        for name, part in (parts or {}).items()
        if isinstance(part, Mapping) and "value" in part and part.get("num_battles") != 0
    }


def _metadata(card: ModelCard, headline: Score | None) -> dict[str, Any]:
    """What the Hub reads: https://huggingface.co/docs/hub/model-cards#model-card-metadata."""
    licence = card.backbone.hub_licence if card.backbone else None
    is_other = licence == "other" and card.backbone is not None
    models = [source for source in card.sources if source.what in (ANSWERS, LABELS)]
    if card.backbone and licence is not None and not all(map(card.backbone.shares_terms_with, models)):
        licence, is_other = "other", False  # terms of several models; the section on licences has them all
    return {
        "language": [name for name in card.languages if _LANGUAGE_CODE.fullmatch(name)],
        "license": licence,
        "license_name": card.backbone.licence if is_other and card.backbone else None,
        "license_link": card.backbone.licence_url if is_other and card.backbone else None,
        "library_name": "transformers" if "plain" in card.layouts else None,
        "pipeline_tag": TASK,
        "base_model": card.base_model,
        "tags": [*TAGS, card.model_type],
        "model-index": _model_index(card, headline),
    }


def _model_index(card: ModelCard, headline: Score | None) -> list[dict[str, Any]] | None:
    """The accuracy of this very judge, on battles that it was not trained on."""
    if headline is None or headline.seen_in_training or headline.name != card.name:
        return None
    result = {
        "task": {"type": TASK, "name": "Which of two answers do people prefer?"},
        "dataset": {"type": "battles", "name": headline.dataset},
        "metrics": [
            {"type": "accuracy", "value": round(headline.accuracy, 4)},
            {"type": "log_loss", "value": None if headline.log_loss is None else round(headline.log_loss, 4)},
        ],
    }
    return [{"name": card.name, "results": [result]}]


def _messages(card: ModelCard) -> list[tuple[str, str]]:
    """The conversation around a battle: who speaks, and what."""
    template = card.template
    battle = (
        f"{template.battle_start}{template.prompt_heading}{{PROMPT}}{template.response_a_heading}{{FIRST ANSWER}}"
        f"{template.response_b_heading}{{SECOND ANSWER}}{template.battle_end}"
    )
    verdict = ("assistant, begun and left open", template.verdict_prefix)
    if card.judge.system_role:
        return [("system", template.instruction), ("user", battle), verdict]
    instruction = template.instruction and template.instruction.rstrip("\n") + "\n\n"
    return [("user", instruction + battle), verdict]


def _limits(judge: ResolvedJudge, truncation: TruncationConfig) -> str:
    """Which lengths a battle is cut to."""
    if judge.truncation == "per_field":
        own = truncation.per_field
        return f"prompts to {own.max_prompt_tokens:,} tokens and answers to {own.max_response_tokens:,} each"
    shared = truncation.shared_budget
    return (
        f"prompts to {shared.max_prompt_tokens:,} tokens, and the answers share what is then left of "
        f"{truncation.max_battle_tokens:,}"
    )


def _recipe(judge: ResolvedJudge, template: TemplateConfig) -> list[tuple[str, str]]:
    training, optimizer = judge.training, judge.training.optimizer
    schedule = training.schedule
    drawn = f", of at most {training.max_battles:,} drawn a phase" if training.max_battles else ""
    return [
        ("stage", judge.stage),
        ("head", _describe_head(judge.head, template)),
        ("sliding window", "as in the backbone" if judge.sliding_window else "off: every layer reads everything"),
        ("optimizer", _describe_optimizer(optimizer)),
        ("peak learning rate", f"{optimizer.peak_learning_rate:g}"),
        (
            "schedule",
            f"linear warm-up over {schedule.warmup_fraction:.0%} of the updates from {schedule.initial_factor:g} of "
            f"the peak, linear decay to {schedule.final_factor:g} of it",
        ),
        ("epochs", f"{training.epochs}{drawn}"),
        ("battles an update", f"{training.battles_per_update:,}, each read in both orders"),
        ("tokens a micro-batch", f"{training.max_tokens_per_micro_batch:,} on each process"),
        ("type", training.dtype),
    ]


def _describe_head(head: HeadConfig, template: TemplateConfig) -> str:
    if head.kind == "mlp":
        return f"mlp, dropout {head.dropout}"
    if head.kind == "linear":
        return "linear, without bias"
    answers = [json.dumps(answer, ensure_ascii=False) for answer in template.answers]
    named = f"{', '.join(answers[:-1])} and {answers[-1]}"
    return (
        "verbalizer: linear, without bias. Before training its weights were those with which the language model writes "
        f"{named} next, so that it set out from what that already thought"
    )


def _describe_optimizer(optimizer: OptimizerConfig) -> str:
    name = {"adamw": "AdamW", "stable_adamw": "StableAdamW"}[optimizer.name]
    kahan = ", Kahan summation" if optimizer.kahan_summation else ""
    betas = ", ".join(f"{beta:g}" for beta in optimizer.betas)
    return f"{name}, betas {betas}, epsilon {optimizer.epsilon:g}, weight decay {optimizer.weight_decay:g}{kahan}"
