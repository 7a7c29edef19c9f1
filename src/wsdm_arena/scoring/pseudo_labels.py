"""Soft labels for pairs that nobody voted on: the weighted mean of what judges say, where they are sure enough.

Sure is meant between the two answers: the margin is ``|p_a - p_b|``, also with a third class, so that a pair that is
surely a tie is dropped as a pair is that nobody knows anything about.
"""

from collections.abc import Collection, Mapping
from itertools import combinations
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from wsdm_arena.columns import LABEL_COLUMNS
from wsdm_arena.config import LabellerConfig, PseudoLabelConfig
from wsdm_arena.errors import UserError
from wsdm_arena.scoring.ensemble import PredictionsError, average_judges, average_orders, probabilities_by_row

MARGIN_RESOLUTION = 1e-7
"""Probabilities are stored in float32: a margin this little above the bound cannot be told from one at it."""
_NUM_BINS = 10
_NEEDED_COLUMNS = ("pair_id", "order", "probabilities", "judge_fingerprint", "template_hash", "truncated")


class PseudoLabelError(UserError, ValueError):
    """Pairs must not be labelled, or judges did not read what they were to read."""


class PseudoLabelTables(NamedTuple):
    """What labelling a table gives.

    Attributes:
        labels: ``pair_id``, ``prompt_group``, ``probability_a``, ``probability_b``[, ``probability_tie``], a row a
            pair that is kept, sorted by ``pair_id``; see :class:`wsdm_arena.schemas.PseudoLabels`.
        report: JSON: where the labels come from, and how many were dropped.
    """

    labels: pd.DataFrame
    report: dict[str, Any]


def pseudo_label(
    pairs: pd.DataFrame,
    predictions: Mapping[str, pd.DataFrame],
    config: PseudoLabelConfig,
    *,
    num_classes: int = 2,
    forbidden_groups: Mapping[str, Collection[str]] = MappingProxyType({}),
) -> PseudoLabelTables:
    """Average each judge over its orders and the judges by their weights; drop what they are unsure of.

    Args:
        pairs: As :class:`wsdm_arena.schemas.UnlabelledPairs` describes them.
        predictions: By judge: every pair in every order that the configuration names for it, and nothing else.
        config: Weights, orders and the margin up to which a pair is dropped.
        num_classes: That every judge must tell apart.
        forbidden_groups: Prompt groups that must never be labelled, by what they belong to, such as
            ``{"held-out battles": ..., "test pairs": ...}``.

    Raises:
        PseudoLabelError: A pair's prompt is forbidden; or a judge has read other pairs or orders, a row twice, with
            two checkpoints or templates, or tells another number of classes apart.
    """
    _refuse_forbidden(pairs, forbidden_groups)
    _require_unique(pairs)
    if not predictions:
        raise PseudoLabelError("there are no predictions: at least one judge must have read the pairs")
    judges = {judge: _read_judge(judge, table, pairs, config, num_classes) for judge, table in predictions.items()}
    weights = {judge: config.labeller(judge).weight for judge in judges}
    means = average_judges(judges, weights)
    margins = _margins(means)
    labels = _as_labels(means[margins > config.min_margin + MARGIN_RESOLUTION], pairs)
    report = {
        "num_pairs": len(pairs),
        "num_kept": len(labels),
        "num_dropped_by_margin": len(pairs) - len(labels),
        "min_margin": config.min_margin,
        "margin_deciles": _deciles(margins),
        "labels": _describe_labels(labels),
        "judges": {
            judge: _describe_judge(predictions[judge], judges[judge], config.labeller(judge))
            | {"share": weights[judge] / sum(weights.values())}
            for judge in judges
        },
        "agreement": _agreement(judges),
    }
    return PseudoLabelTables(labels, report)


def _refuse_forbidden(pairs: pd.DataFrame, forbidden_groups: Mapping[str, Collection[str]]) -> None:
    problems = []
    for name, groups in forbidden_groups.items():
        found = pairs[pairs["prompt_group"].isin(set(groups))]
        if len(found):
            problems.append(f"{len(found)} with a prompt of the {name} (first pairs {_examples(found['pair_id'])})")
    if problems:
        raise PseudoLabelError(
            f"{len(pairs)} pairs to label, among them {'; '.join(problems)}: labels for them would leak into training "
            "what judges are measured on; drop these pairs from the table"
        )


def _require_unique(pairs: pd.DataFrame) -> None:
    repeated = pairs[pairs["pair_id"].duplicated()]
    if len(repeated):
        raise PseudoLabelError(
            f"{len(repeated)} pairs stand twice in the table, first {_examples(repeated['pair_id'])}"
        )


def _read_judge(
    judge: str, predictions: pd.DataFrame, pairs: pd.DataFrame, config: PseudoLabelConfig, num_classes: int
) -> pd.DataFrame:
    """Check one judge's predictions and average them over its orders: one row a pair, sorted by ``pair_id``."""
    if absent := [column for column in _NEEDED_COLUMNS if column not in predictions]:
        raise PseudoLabelError(f"{judge}: columns {absent} are missing from its predictions")
    for column in ("judge_fingerprint", "template_hash"):
        values = sorted(set(predictions[column]))
        if len(values) > 1:
            raise PseudoLabelError(
                f"{judge}: its predictions have {len(values)} values of {column}, {values}; score anew"
            )
    try:
        rows = probabilities_by_row(predictions)
    except PredictionsError as error:
        raise PseudoLabelError(f"{judge}: {error}") from error
    _require_rows(judge, rows, pairs, sorted(set(config.labeller(judge).orders)))
    if len(rows) and len(rows.columns) != num_classes:
        raise PseudoLabelError(
            f"{judge} tells {len(rows.columns)} classes apart, not {num_classes}; train it with the same "
            "preferences.tie_policy as the others"
        )
    return average_orders(rows.reindex(columns=list(LABEL_COLUMNS[:num_classes])))


def _require_rows(judge: str, rows: pd.DataFrame, pairs: pd.DataFrame, orders: list[str]) -> None:
    """Make sure that a judge has read each pair in each order and nothing else."""
    found_orders = sorted(set(rows.index.get_level_values("order")))
    if len(rows) and found_orders != orders:
        raise PseudoLabelError(
            f"{judge} has read orders {found_orders}, but its labels are made of {orders}; score the pairs again"
        )
    expected: pd.Index = pd.MultiIndex.from_product([pairs["pair_id"], orders], names=rows.index.names)
    missing, surplus = expected.difference(rows.index), rows.index.difference(expected)
    if len(missing) or len(surplus):
        raise PseudoLabelError(
            f"{judge} has read other rows than the {len(pairs)} pairs in order {' and '.join(orders)}: "
            f"{len(missing)} are missing {_examples(missing)}, {len(surplus)} are too many {_examples(surplus)}; "
            "score the pairs again"
        )


def _margins(means: pd.DataFrame) -> pd.Series:
    return (means["probability_a"] - means["probability_b"]).abs()


def _as_labels(means: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    labels = means.reset_index()
    labels.insert(1, "prompt_group", labels["pair_id"].map(pairs.set_index("pair_id")["prompt_group"]))
    return labels.astype({"pair_id": "str", "prompt_group": "str"})  # of an empty table, too


def _describe_judge(predictions: pd.DataFrame, means: pd.DataFrame, labeller: LabellerConfig) -> dict[str, Any]:
    margins = _margins(means)
    return {
        "weight": labeller.weight,
        "orders": sorted(set(labeller.orders)),
        "judge_fingerprint": _only(predictions["judge_fingerprint"]),
        "template_hash": _only(predictions["template_hash"]),
        "num_truncated": int(predictions.groupby("pair_id")["truncated"].any().sum()),
        "mean_margin": float(margins.mean()) if len(margins) else None,
    }


def _agreement(judges: Mapping[str, pd.DataFrame]) -> list[dict[str, Any]]:
    """For every two judges the share of all pairs for which they name the same winner."""
    winners = {judge: np.sign(table["probability_a"] - table["probability_b"]) for judge, table in judges.items()}
    return [
        {
            "judges": [first, second],
            "same_winner": float((winners[first] == winners[second]).mean()) if len(winners[first]) else None,
        }
        for first, second in combinations(judges, 2)
    ]


def _describe_labels(labels: pd.DataFrame) -> dict[str, Any]:
    """Means of the classes, who wins how often, and how many pairs have ``probability_a`` in each tenth."""
    columns = [column for column in LABEL_COLUMNS if column in labels]
    counts, _ = np.histogram(labels["probability_a"], bins=_NUM_BINS, range=(0.0, 1.0))
    return {
        "means": {column: float(labels[column].mean()) if len(labels) else None for column in columns},
        "num_a_wins": int((labels["probability_a"] > labels["probability_b"]).sum()),
        "num_b_wins": int((labels["probability_a"] < labels["probability_b"]).sum()),
        "probability_a_histogram": counts.tolist(),
    }


def _deciles(margins: pd.Series) -> list[float]:
    """Of the margins of all pairs, from the smallest to the largest; empty without pairs."""
    return [float(value) for value in margins.quantile(np.linspace(0, 1, _NUM_BINS + 1))] if len(margins) else []


def _only(values: pd.Series) -> str | None:
    return None if values.empty else str(values.iloc[0])


def _examples(keys: pd.Series | pd.Index) -> list[Any]:
    return keys[:3].tolist()
