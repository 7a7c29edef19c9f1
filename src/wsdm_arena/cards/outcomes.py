"""What a table's report says of the rows that are not in it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_OUTCOMES: Mapping[str, str] = {
    "dropped": "dropped",
    "left_out": "left out",
    "repaired": "kept, with a cell repaired",
    "dropped_pairs": "dropped pairs",
}
"""Counts by reason in a report, and what the card calls them."""


@dataclass(frozen=True)
class Outcome:
    """How many rows something happened to, and why."""

    what: str
    reason: str
    num_rows: int


@dataclass(frozen=True)
class LabelOrigin:
    """A judge that gave labels.

    Attributes:
        judge: Its name.
        weight: As the configuration states it.
        orders: In which it read the pairs.
        fingerprint: Names its training.
    """

    judge: str
    weight: float
    orders: str
    fingerprint: str


def read_outcomes(report: Mapping[str, Any]) -> list[Outcome]:
    """List what became of rows that are not as they were, or not there; nothing for parts that a report lacks."""
    found = [
        Outcome(name, str(reason), int(rows))
        for key, name in _OUTCOMES.items()
        for reason, rows in _mapping(report, key).items()
    ]
    found += list(_dropped_answers(report))
    if "num_dropped_by_margin" in report:
        reason = f"the judges are unsure: |p(A) - p(B)| below {report.get('min_margin')}"
        found.append(Outcome("left out", reason, int(report["num_dropped_by_margin"])))
    return [outcome for outcome in found if outcome.num_rows]


def read_label_origins(report: Mapping[str, Any]) -> list[LabelOrigin]:
    """List the judges that gave labels; nothing for a table that has none of judges."""
    return [
        LabelOrigin(
            judge=str(name),
            weight=float(judge.get("weight", 1)),
            orders=" and ".join(judge.get("orders", ())),
            fingerprint=str(judge.get("judge_fingerprint", "")),
        )
        for name, judge in sorted(_mapping(report, "judges").items())
    ]


def _dropped_answers(report: Mapping[str, Any]) -> Iterator[Outcome]:
    """Answers by model and reason, summed over models."""
    total: dict[str, int] = {}
    for reasons in _mapping(report, "dropped_answers").values():
        for reason, rows in reasons.items():
            total[reason] = total.get(reason, 0) + int(rows)
    for reason, rows in sorted(total.items(), key=lambda item: (-item[1], item[0])):
        yield Outcome("dropped answers", reason, rows)


def _mapping(report: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    part = report.get(key)
    return part if isinstance(part, Mapping) else {}
