"""What a run reads: battles to train on, by phase, and pairs to score, joined to their tokens by key."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from wsdm_arena.config import RunConfig
from wsdm_arena.errors import UserError
from wsdm_arena.prompts.store import TokenStore
from wsdm_arena.scoring.predictor import TokenizedPairs

logger = logging.getLogger(__name__)

LABEL_COLUMNS = ("probability_a", "probability_b", "probability_tie")
_DRAW = 1_000  # keeps the draws below apart from those of other users of the same seed


class SelectionError(UserError, ValueError):
    """The selection is not a table of battles that the token tables know."""


@dataclass(frozen=True)
class LabelledBattles:
    """Battles with their tokens and labels.

    Attributes:
        tokens: Of each battle's pair.
        labels: ``(N, C)`` float32 in canonical order, rows sum to 1; NaN where a held-out battle has no vote.
        folds: ``(N,)``.
    """

    tokens: TokenizedPairs
    labels: npt.NDArray[np.float32]
    folds: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.tokens)

    def take(self, positions: npt.NDArray[Any]) -> "LabelledBattles":
        """Some of the battles, in the given order."""
        return LabelledBattles(self.tokens.take(positions), self.labels[positions], self.folds[positions])

    def unique_pairs(self) -> "LabelledBattles":
        """The first battle of each pair: what has to be read to score all of them."""
        _, first = np.unique(self.tokens.pair_ids.astype(str), return_index=True)
        return self.take(np.sort(first))

    def draw_pairs(self, max_pairs: int | None, seed: int) -> "LabelledBattles":
        """All battles of a seeded draw of at most ``max_pairs`` pairs."""
        unique = np.unique(self.tokens.pair_ids.astype(str))
        if max_pairs is None or len(unique) <= max_pairs:
            return self
        drawn = np.random.default_rng([seed, _DRAW]).choice(unique, size=max_pairs, replace=False)
        return self.take(np.flatnonzero(np.isin(self.tokens.pair_ids.astype(str), drawn)))


@dataclass(frozen=True)
class RunData:
    """Everything that one run reads.

    Attributes:
        train: Battles of all phases.
        phases: For each phase, in order, positions in ``train``.
        held_out: Battles to score, those of the split ``seen`` included; a pair with two votes stands here twice.
        template_hash: Of the prompt that the tokens were made with.
        tokenizer_hash: Of the tokenizer.
    """

    train: LabelledBattles
    phases: tuple[npt.NDArray[np.int64], ...]
    held_out: LabelledBattles
    template_hash: str
    tokenizer_hash: str


def load_run_data(config: RunConfig) -> RunData:
    """Open the token tables and join the selection to them.

    Raises:
        SelectionError: Columns, splits, labels or tokens are missing, a pair to train on is held out, too, or a battle
            is in a phase twice; names the file and the rows.
    """
    stores = {table.table: TokenStore.open(table.path) for table in config.tokens}
    origins = {(store.template.hash, str(store.manifest["tokenizer_hash"])) for store in stores.values()}
    if len(origins) != 1:
        raise SelectionError(
            f"token tables {sorted(stores)} were made with {len(origins)} combinations of template and tokenizer; "
            "must be one"
        )
    selection = _read_selection(config.selection, config.num_classes)
    train = _join(selection[selection["split"] == "train"], stores, config)
    held_out = _join(selection[selection["split"].isin(["held_out", "seen"])], stores, config)
    phase_of_row = selection.loc[selection["split"] == "train", "phase"].to_numpy()
    phases = tuple(
        _draw(np.flatnonzero(phase_of_row == phase), config.judge.training.max_battles, config.seed, int(phase))
        for phase in np.unique(phase_of_row)
    )
    if not phases:
        raise SelectionError(f"{config.selection}: no row has split 'train'")
    _require_labels(train, config.selection)
    return RunData(train, phases, held_out, *origins.pop())


def _read_selection(path: Path, num_classes: int) -> pd.DataFrame:
    if not path.is_file():
        raise SelectionError(f"{path}: there is no such file; run the node that selects the training rows")
    selection = pd.read_parquet(path)
    required = ["table", "pair_id", "battle_id", "split", "phase", *LABEL_COLUMNS[:num_classes]]
    missing = [column for column in required if column not in selection.columns]
    if missing:
        raise SelectionError(f"{path}: columns {missing} are missing; there are {list(selection.columns)}")
    unknown = sorted(set(selection["split"]) - {"train", "held_out", "seen"})
    if unknown:
        raise SelectionError(f"{path}: split must be 'train', 'held_out' or 'seen', found {unknown}")
    _require_separate_splits(selection, path)
    return selection.reset_index(drop=True)


def _require_separate_splits(selection: pd.DataFrame, path: Path) -> None:
    is_train = selection["split"] == "train"
    train, held_out = selection[is_train], selection[selection["split"] == "held_out"]
    leaked = train[train["pair_id"].isin(held_out["pair_id"])]
    if len(leaked):
        raise SelectionError(
            f"{path}: {_name_rows(leaked, 'pair_id')} are both to train on and held out, which would flatter "
            "the scores; leave them out of one split"
        )
    repeated = train[train.duplicated(["phase", "battle_id"])]
    if len(repeated):
        raise SelectionError(
            f"{path}: {_name_rows(repeated, 'battle_id')} stand more than once in phase {repeated['phase'].iloc[0]}; "
            "keep one row a battle, and set training.epochs to read battles several times"
        )


def _name_rows(rows: pd.DataFrame, key: str) -> str:
    unique = rows.drop_duplicates(key)
    return f"{len(unique)} {key}s of tables {sorted(set(unique['table']))}, first {unique[key].head(5).tolist()},"


def _join(rows: pd.DataFrame, stores: dict[str, TokenStore], config: RunConfig) -> LabelledBattles:
    try:
        tokens = TokenizedPairs.look_up(rows["pair_id"].tolist(), rows["table"].tolist(), stores)
    except ValueError as error:
        raise SelectionError(f"{config.selection}: {error}; tokenise the tables again") from error
    labels = rows[list(LABEL_COLUMNS[: config.num_classes])].to_numpy(dtype=np.float32)
    folds = rows["fold"].to_numpy() if "fold" in rows.columns else np.full(len(rows), -1)
    return LabelledBattles(tokens, labels, folds.astype(np.int64))


def _draw(positions: npt.NDArray[np.int64], max_battles: int | None, seed: int, phase: int) -> npt.NDArray[np.int64]:
    if max_battles is None or len(positions) <= max_battles:
        return positions
    drawn = np.random.default_rng([seed, _DRAW, phase]).choice(positions, size=max_battles, replace=False)
    logger.info("phase %d: %d of %d battles are drawn (max_battles)", phase, max_battles, len(positions))
    return np.sort(drawn)


def _require_labels(train: LabelledBattles, path: Path) -> None:
    is_bad = ~np.isclose(train.labels.sum(axis=1), 1.0, atol=1e-3) | (train.labels < 0).any(axis=1)
    if is_bad.any():
        raise SelectionError(
            f"{path}: {int(is_bad.sum())} rows to train on have labels that do not sum to 1, "
            f"first pairs {train.tokens.pair_ids[is_bad][:5].tolist()}"
        )
