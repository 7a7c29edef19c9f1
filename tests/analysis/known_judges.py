"""Battles whose odds are known, and judges of whom it is known what they say."""

from typing import Any

import numpy as np
import pandas as pd

from wsdm_arena.scoring.predictor import canonical_probabilities


def make_battles(num: int, *, num_prompts: int | None = None, seed: int = 0, **columns: Any) -> pd.DataFrame:
    """Battles of fold 0 that A wins with the odds ``exp(margin)``; the margin is a column."""
    draws = np.random.default_rng(seed)
    margins = draws.normal(0, 1.5, num)
    wins = (draws.random(num) < 1 / (1 + np.exp(-margins))).astype(float)
    names = [f"{number:032x}" for number in range(num)]
    prompts = np.arange(num) % (num_prompts or num)
    table = {
        "pair_id": names,
        "battle_id": names,
        "fold": 0,
        "prompt_group": [f"p{number}" for number in prompts],
        "response_a": ["x" * int(length) for length in draws.integers(1, 60, num)],
        "response_b": ["x" * int(length) for length in draws.integers(1, 60, num)],
        "probability_a": wins,
        "probability_b": 1 - wins,
        "margin": margins,
    }
    return pd.DataFrame(table | columns)


def read(pair_ids: Any, ab: np.ndarray, ba: np.ndarray | None = None, *, seed: int = 0) -> pd.DataFrame:
    """Predictions in random order.

    Args:
        pair_ids: N of them.
        ab: What the judge says where A is shown first, in canonical order: margins ``(N,)`` or logits ``(N, C)``.
        ba: The same where B is shown first; None: it read one order only.
        seed: Of the order of rows.
    """
    tables = []
    for order, said in (("ab", ab), ("ba", ba)):
        if said is None:
            continue
        said = np.asarray(said, dtype=np.float64)
        logits = np.stack([said / 2, -said / 2], axis=1) if said.ndim == 1 else said.copy()
        if order == "ba":
            logits[:, :2] = logits[:, 1::-1]  # logits stand in the order in which answers are shown
        probabilities = canonical_probabilities(logits, np.full(len(logits), order == "ba"))
        tables.append(
            pd.DataFrame(
                {
                    "pair_id": list(pair_ids),
                    "order": order,
                    "logits": list(logits),
                    "probabilities": list(probabilities),
                }
            )
        )
    return pd.concat(tables, ignore_index=True).sample(frac=1, random_state=seed, ignore_index=True)


def numbers_in(value: Any, path: str = "") -> dict[str, Any]:
    """Every leaf of nested JSON by its path, so that whole analyses can be compared up to rounding."""
    if isinstance(value, dict):
        parts = [(f"{path}.{name}", part) for name, part in value.items()]
    elif isinstance(value, list):
        parts = [(f"{path}[{number}]", part) for number, part in enumerate(value)]
    else:
        return {path: value}
    return {name: leaf for inner, part in parts for name, leaf in numbers_in(part, inner).items()}
