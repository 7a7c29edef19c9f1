"""Predictions of all methods, and how good they are."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from wsdm_arena.metrics import compare_paired, correctness, read_both_ways
from wsdm_arena.runs.files import replacing_file
from wsdm_arena.scoring.ensemble import average_orders, probabilities_by_row
from wsdm_arena.scoring.scoreboard_rows import (
    Measurement,
    ScoreboardRow,
    describe_scored,
    measure_rows,
    prompt_groups,
    slice_of,
)

LABELS = ["probability_a", "probability_b"]
FOLDS = ".folds-"
"""Between the name of a scope and the folds of it that were asked about."""


class Results:
    """What each method said of battles that it was not trained on, a file each.

    A scope is what was trained on: a source, or several together.

    Args:
        folder: ``<folder>/<scope>/<method>.parquet``; made if missing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def has(self, scope: str, method: str) -> bool:
        """Whether a method was asked already."""
        return self._path(scope, method).is_file()

    def add(self, scope: str, method: str, predicted: pd.DataFrame) -> None:
        """Keep ``battle_id``, ``pair_id``, a probability a class and, where both orders were read, ``flips``."""
        path = self._path(scope, method)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing_file(path) as temporary:
            predicted.to_parquet(temporary, index=False)

    def add_predictions(self, scope: str, method: str, battles: pd.DataFrame, predictions: pd.DataFrame) -> None:
        """Average both orders and keep a row a battle."""
        means = average_orders(probabilities_by_row(predictions)).reindex(battles["pair_id"]).reset_index(drop=True)
        flips = read_both_ways(predictions)["flips"].reindex(battles["pair_id"]).to_numpy()
        keys = battles[["battle_id", "pair_id"]].reset_index(drop=True)
        self.add(scope, method, pd.concat([keys, means], axis=1).assign(flips=flips))

    def read(self) -> dict[str, dict[str, pd.DataFrame]]:
        """All of them, by scope and method."""
        found: dict[str, dict[str, pd.DataFrame]] = {}
        for path in sorted(self.folder.glob("*/*.parquet")):
            found.setdefault(path.parent.name, {})[path.stem] = pd.read_parquet(path)
        return found

    def _path(self, scope: str, method: str) -> Path:
        return self.folder / scope / f"{method}.parquet"


def add_means(results: Results, judges: Mapping[str, tuple[str, ...]]) -> None:
    """Average methods with equal weights, wherever all of them were asked.

    Args:
        results: Read from and added to.
        judges: For each name of a mean the methods in it.
    """
    for scope, methods in results.read().items():
        for name, members in judges.items():
            if not set(members) <= set(methods):
                continue
            tables = [methods[member].set_index("battle_id") for member in members]
            mean = tables[0][["pair_id"]].copy()
            for label in LABELS:
                mean[label] = np.mean([table[label].reindex(mean.index) for table in tables], axis=0)
            results.add(scope, name, mean.reset_index())


def restrict_scopes(results: Results, battles: pd.DataFrame) -> None:
    """Give scopes that are a part of another one, such as ``human.folds-0``, that one's methods on the same battles.

    Args:
        results: Read from and added to; what is there already stays.
        battles: With ``fold`` and ``source``; methods that were not asked about all of them are left out.
    """
    scopes = results.read()
    for scope, (whole, folds) in {name: name.split(FOLDS) for name in scopes if FOLDS in name}.items():
        wanted = next(iter(scopes[scope].values()))["battle_id"]
        asked = set(battles.loc[battles["fold"].isin([int(fold) for fold in folds.split("-")]), "battle_id"])
        for method, predicted in scopes.get(whole, {}).items():
            known = predicted["battle_id"].isin(asked)
            if method not in scopes[scope] and set(wanted) <= set(predicted.loc[known, "battle_id"]):
                results.add(scope, method, predicted[known])


def measure_all(results: Results, battles: pd.DataFrame) -> list[dict[str, Any]]:
    """A row for each scope, method, source and, where a source has several, language; bootstrapped over prompts."""
    rows: list[dict[str, Any]] = []
    for scope, methods in results.read().items():
        for method, predicted in methods.items():
            asked = battles[battles["battle_id"].isin(predicted["battle_id"])]
            for source, part in asked.groupby("source"):
                common = describe_scored(scope, method, None, part, Measurement())
                measured = measure_rows(part, predicted, common, str(source), Measurement())
                flips = predicted.set_index("battle_id")["flips"] if "flips" in predicted else None
                rows += [_round(scope, str(source), row, part, flips) for row in measured if _is_told(row)]
    return rows


def compare_all(results: Results, battles: pd.DataFrame, rivals: Sequence[str]) -> list[dict[str, Any]]:
    """Each method against each rival of the same scope, on each source, paired."""
    found = []
    for scope, methods in results.read().items():
        for method, rival in product([name for name in methods if name not in rivals], rivals):
            if rival not in methods:
                continue
            keys = methods[method]["battle_id"]
            asked = battles[battles["battle_id"].isin(keys[keys.isin(methods[rival]["battle_id"])])]
            for source, part in asked.groupby("source"):
                credits = [_credits(methods[name], part) for name in (method, rival)]
                compared = asdict(compare_paired(*credits, prompt_groups(part)))
                numbers = {name: round(value, 5) for name, value in compared.items()}
                found.append({"trained_on": scope, "method": method, "rival": rival, "source": source, **numbers})
    return found


def _is_told(row: ScoreboardRow) -> bool:
    """Of a source's slices only those by language."""
    which = slice_of(row)
    return not which or which.startswith("language=")


def _round(scope: str, source: str, row: ScoreboardRow, part: pd.DataFrame, flips: pd.Series | None) -> dict[str, Any]:
    language = slice_of(row).removeprefix("language=") or None
    flip_rate = None if flips is None or language else float(flips.reindex(part["battle_id"]).mean())
    return {
        "trained_on": scope,
        "method": row["judge"],
        "source": source,
        "language": language,
        "num_battles": row["num_pairs"],
        "accuracy": round(row["accuracy"], 4),
        "accuracy_low": round(row["accuracy_low"], 4),
        "accuracy_high": round(row["accuracy_high"], 4),
        "log_loss": round(row["log_loss"], 4),
        "flip_rate": None if flip_rate is None else round(flip_rate, 4),
    }


def _credits(predicted: pd.DataFrame, battles: pd.DataFrame) -> np.ndarray:
    aligned = predicted.set_index("battle_id").reindex(battles["battle_id"])[LABELS]
    return correctness(aligned.to_numpy(dtype=float), battles[LABELS].to_numpy(dtype=float))
