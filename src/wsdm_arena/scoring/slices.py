"""Parts of a table of battles that are looked at apart: by language, source, length, models, truncation, flaw."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

MIN_SLICE_BATTLES = 30
"""Smaller slices are left out: their interval would be wider than 35 points."""
MAX_MODEL_PAIRS = 20
"""The most frequent pairs of models that have a slice: the contest's battles have thousands."""
SOUND = "none"
"""What a sound answer has in the truth's columns ``flaw_a`` and ``flaw_b``."""
ALIKE, TWICE = 1.25, 2.0
"""Answers are alike in length below the first ratio of characters, and far apart beyond the second."""
LENGTHS = ("alike", f"up to {TWICE:g}x", f"beyond {TWICE:g}x")
"""Values of the slice ``length``: how much longer the longer answer is."""


@dataclass(frozen=True)
class Slice:
    """Some of N battles.

    Attributes:
        name: ``language=en``; empty for all of them.
        mask: Which ones, ``(N,)``.
        labels: What counts as right, where that is not the vote; ``(N, C)``.
    """

    name: str
    mask: np.ndarray
    labels: np.ndarray | None = None


def find_slices(
    battles: pd.DataFrame,
    *,
    truth: pd.DataFrame | None = None,
    truncated: pd.Series | None = None,
    num_classes: int = 2,
) -> Iterator[Slice]:
    """All battles, then every slice that is large enough; of each kind the largest first, equal ones by name.

    A kind has no slice where all battles share its value, or where the table does not say it.

    Args:
        battles: N rows.
        truth: ``id``, ``flaw_a``, ``flaw_b`` of simulated battles.
        truncated: By ``pair_id``, whether the judge saw less than the whole texts.
        num_classes: C.
    """
    yield Slice("", np.ones(len(battles), dtype=bool))
    for kind, values in _values(battles, truncated):
        sizes = values.value_counts().sort_index().sort_values(ascending=False, kind="stable")
        if len(sizes) < 2:
            continue
        if kind == "models":
            sizes = sizes.head(MAX_MODEL_PAIRS)
        for value, size in sizes.items():
            if size >= MIN_SLICE_BATTLES:
                yield Slice(f"{kind}={value}", (values == value).fillna(False).to_numpy(dtype=bool))
    yield from _flaw_slices(battles, truth, num_classes)


def length_bins(battles: pd.DataFrame) -> pd.Series:
    """One of :data:`LENGTHS` for each battle; an empty answer counts as one character."""
    lengths = [battles[column].str.len().fillna(0).clip(lower=1) for column in ("response_a", "response_b")]
    ratios = np.maximum(lengths[0], lengths[1]) / np.minimum(lengths[0], lengths[1])
    return pd.Series(np.select([ratios < ALIKE, ratios <= TWICE], LENGTHS[:2], default=LENGTHS[2]), battles.index)


def _values(battles: pd.DataFrame, truncated: pd.Series | None) -> Iterator[tuple[str, pd.Series]]:
    """Each kind of slice, and the value that every battle has of it; null where it has none."""
    for column in ("source", "language"):
        if column in battles:
            yield column, battles[column]
    if {"response_a", "response_b"} <= set(battles):
        yield "length", length_bins(battles)
    if {"model_a", "model_b"} <= set(battles):
        yield "models", _model_pairs(battles)
    if truncated is not None:
        told = battles["pair_id"].map(truncated)
        yield "truncated", told.map({True: "yes", False: "no"})


def _model_pairs(battles: pd.DataFrame) -> pd.Series:
    """``first vs second``, in alphabetical order whichever was A; null where one is not known."""
    names = battles[["model_a", "model_b"]]
    known = names.notna().all(axis=1)
    pairs = [
        " vs ".join(sorted((str(a), str(b)))) if both else None
        for a, b, both in zip(names["model_a"], names["model_b"], known, strict=True)
    ]
    return pd.Series(pairs, battles.index, dtype=object)


def _flaw_slices(battles: pd.DataFrame, truth: pd.DataFrame | None, num_classes: int) -> Iterator[Slice]:
    """A slice a flaw: battles of a sound answer against one with that flaw; right is the sound one, not the vote."""
    if truth is None or truth.empty:
        return
    flaws = battles[["id"]].merge(truth[["id", "flaw_a", "flaw_b"]], on="id", how="left", validate="many_to_one")
    sound_a, sound_b = (flaws[column] == SOUND for column in ("flaw_a", "flaw_b"))
    labels = np.zeros((len(battles), num_classes))
    labels[:, 0], labels[:, 1] = sound_a & ~sound_b, sound_b & ~sound_a
    other = flaws["flaw_b"].where(sound_a, flaws["flaw_a"])[(sound_a ^ sound_b) & flaws["flaw_a"].notna()]
    for flaw, size in other.value_counts().items():
        if size >= MIN_SLICE_BATTLES:
            mask = np.isin(np.arange(len(battles)), other.index[other == flaw])
            yield Slice(f"flaw={flaw} vs {SOUND}", mask, labels)
