"""Rows of the scoreboard as a card shows them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wsdm_arena.cards.markdown import Markdown, number, share
from wsdm_arena.scoring.scoreboard_rows import STARTS

_LANGUAGE = "language="
_FLAW = "flaw="
_AGAINST_SOUND = " vs none"
FEW_BATTLES = 100
"""An accuracy measured on fewer battles is uncertain by some ten points to either side."""


@dataclass(frozen=True)
class Score:
    """How well a judge or baseline does on one set of battles; fields as the scoreboard has them.

    Attributes:
        name: Stage and judge, with a dot between.
        dataset: Whole table, such as ``battles[fold 0]``.
        part: Of the table, such as ``language=en``; empty for the whole.
    """

    name: str
    dataset: str
    part: str
    num_pairs: int
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    log_loss: float | None = None
    ece: float | None = None
    brier: float | None = None
    flip_rate: float | None = None
    swap_gap: float | None = None
    seen_in_training: bool = False

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> "Score":
        """Read a row of the scoreboard; what an older one lacks stays unknown."""
        dataset, bracket, rest = str(row["dataset"]).partition("]")
        if not bracket:
            dataset, _, rest = dataset.partition(" ")
        required = ("num_pairs", "accuracy", "accuracy_low", "accuracy_high")
        optional = ("log_loss", "ece", "brier", "flip_rate", "swap_gap")
        figures: dict[str, Any] = {name: row[name] for name in required} | {name: row.get(name) for name in optional}
        return cls(
            name=f"{row['stage']}.{row['judge']}",
            dataset=dataset + bracket,
            part=rest.strip(),
            seen_in_training=bool(row.get("seen_in_training")),
            **figures,
        )

    @property
    def is_baseline(self) -> bool:
        """Whether it is of no judge."""
        return self.name.startswith("baseline.")

    @property
    def is_start(self) -> bool:
        """Whether it is of what a training set out from."""
        return any(f".{kind}." in self.name for kind in STARTS)

    @property
    def is_zero_shot(self) -> bool:
        """Whether that was the language model as it was."""
        return ".zero_shot." in self.name

    @property
    def is_language(self) -> bool:
        """Whether it is about the battles of one language."""
        return self.part.startswith(_LANGUAGE)

    @property
    def is_flaw(self) -> bool:
        """Whether it is about sound answers against such with one flaw."""
        return self.part.startswith(_FLAW)

    @property
    def language(self) -> str:
        """Code of that language."""
        return self.part.removeprefix(_LANGUAGE)

    @property
    def flaw(self) -> str:
        """Name of that flaw, which is the unsound answer's."""
        return self.part.removeprefix(_FLAW).removesuffix(_AGAINST_SOUND)

    @property
    def with_interval(self) -> Markdown:
        """``79.8 % (78.1 to 81.5)``."""
        bounds = [number(100 * bound, 1) for bound in (self.accuracy_low, self.accuracy_high)]
        return Markdown(f"{share(self.accuracy)} ({bounds[0]} to {bounds[1]})")


@dataclass(frozen=True)
class ScoreSummary:
    """What a card shows of a scoreboard.

    Attributes:
        overall: Whole datasets, those that were not trained on first.
        languages: By accuracy, the best first; on battles that were not trained on where there are any.
        others: Other parts, such as by length or source, but for flaws; the worst first.
        flaws: Battles of a sound answer against one with a flaw: there the sound one is right, whatever the vote. The
            worst first.
        whole: All battles that these are parts of; None where they have no row.
        source: Name of the judge that these parts are of.
        is_seen: Whether that judge was trained on these battles.
    """

    overall: tuple[Score, ...]
    languages: tuple[Score, ...]
    others: tuple[Score, ...]
    flaws: tuple[Score, ...]
    whole: Score | None
    source: str
    is_seen: bool

    @classmethod
    def of_rows(cls, rows: Iterable[Mapping[str, Any]], name: str) -> "ScoreSummary":
        """Sort the rows of a judge, of the variant of it that saw fewer battles, and of baselines.

        Args:
            rows: Of the scoreboard.
            name: Stage and judge of the card, with a dot between.
        """
        scores = [Score.of_row(row) for row in rows]
        starts = [name.replace(".", f".{kind}.", 1) for kind in STARTS]
        datasets = {score.dataset for score in scores if not score.is_baseline}
        whole = [
            score
            for score in scores
            if not score.part and score.dataset in datasets and (not score.is_start or score.name in starts)
        ]
        overall = sorted(whole, key=lambda score: _rank(score, name))
        parts = [score for score in scores if score.part and not score.is_baseline]
        honest = [score for score in parts if not score.seen_in_training] or parts
        own = [score for score in honest if score.name == name] or honest
        own = [score for score in own if score.name == own[0].name and score.dataset == own[0].dataset]
        languages = sorted((s for s in own if s.is_language), key=lambda s: (-s.accuracy, s.language))
        others = sorted((s for s in own if not s.is_language), key=lambda s: (s.accuracy, s.part))
        return cls(
            overall=tuple(overall),
            languages=tuple(languages),
            others=tuple(s for s in others if not s.is_flaw),
            flaws=tuple(s for s in others if s.is_flaw),
            whole=next((s for s in whole if own and (s.name, s.dataset) == (own[0].name, own[0].dataset)), None),
            source=own[0].name if own else "",
            is_seen=bool(own and own[0].seen_in_training),
        )

    @property
    def headline(self) -> Score | None:
        """The result that says most: of battles that were not trained on, if there is one."""
        return next((score for score in self.overall if not score.is_baseline and not score.is_start), None)

    @property
    def weak(self) -> tuple[Score, ...]:
        """Those of the other parts whose interval lies wholly below the accuracy of all battles, the worst first."""
        bound = self.whole.accuracy if self.whole else 0.0
        return tuple(score for score in self.others if score.accuracy_high < bound)

    @property
    def kinds(self) -> tuple[str, ...]:
        """By what the other parts were made: ``length``, ``source``."""
        return tuple(sorted({score.part.partition("=")[0] for score in self.others}))

    def weak_languages(self, most: int = 3) -> Sequence[Score]:
        """Languages of the lowest accuracy, the worst first."""
        return tuple(reversed(self.languages))[:most]


def _rank(score: Score, name: str) -> tuple[Any, ...]:
    """Unseen before seen, the judge before its variant, its start and baselines."""
    kind = 3 if score.is_baseline else 2 if score.is_start else 1 if score.name != name else 0
    return (kind >= 2, score.seen_in_training, kind, score.name, score.dataset)
