"""Which sequences a training reads: counted in its selection and token tables, or foretold from what there is.

Where a selection and its tokens are on disk the counts are the trainer's own. Else the selection is computed from the
tables that it is made of; else rows and lengths come from ``planning``.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from wsdm_arena.config import HELD_OUT_VARIANT, LABELS, TRAINING_TABLES, ProjectConfig, ResolvedJudge, TruncationPolicy
from wsdm_arena.planning.figures import Basis, Figure
from wsdm_arena.planning.lengths import Lengths, assumed_lengths, repeat_to, sampled_lengths, weakest
from wsdm_arena.planning.places import DataFolder, count_rows, read_table
from wsdm_arena.planning.rounds import count_prompts
from wsdm_arena.preferences.selection import (
    TRAIN,
    select_final_held_out_rows,
    select_final_rows,
    select_teacher_rows,
)
from wsdm_arena.prompts.store import TokenStore, TokenStoreError
from wsdm_arena.prompts.tokenizers import PromptError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingRows:
    """What a training reads, by lengths.

    Attributes:
        phases: By number of the phase, tokens of each battle's sequence, the same in both orders, in the selection's
            order.
        held_out: Tokens of each pair that is scored, once a pair, in the order of ``pair_id``.
        rows: How the numbers of rows came about.
        lengths: How the lengths did.
    """

    phases: Mapping[int, Lengths]
    held_out: Lengths
    rows: Basis
    lengths: Basis


class RowSource:
    """Reads each table once, and only when it is asked for.

    Args:
        config: The whole tree.
        folder: Data folder of the environment.
        is_quick: Count rows only: no table, token or tokenizer is read; lengths are assumed.
    """

    def __init__(self, config: ProjectConfig, folder: DataFolder, *, is_quick: bool = False) -> None:
        self._config, self._folder, self._is_quick = config, folder, is_quick
        self._sampled: dict[tuple[str, str, str], tuple[Lengths, Basis]] = {}

    def training_rows(self, judge: ResolvedJudge) -> TrainingRows:
        """What the training of a judge in a stage reads, before ``max_battles`` limits it."""
        if not self._is_quick:
            selection, tokens = self._selection(judge), self._token_stores(judge)
            if selection is not None:
                exact = None if tokens is None else self._look_up(selection, tokens)
                return exact or self._estimate(selection, judge)
        return self._foretell(judge)

    def table_lengths(
        self, table: str, judge: ResolvedJudge, policy: TruncationPolicy, tokens: Path | None
    ) -> tuple[Lengths, Basis]:
        """Lengths of all distinct pairs of a table as a judge reads them under a policy, and how sure they are.

        Args:
            table: Its name.
            judge: Who reads.
            policy: How long pairs are cut.
            tokens: Where tokens of the table may be, as ``tokens.json`` of the job says.
        """
        store = self._open(tokens, table)
        if store is not None and self._is_current(store, judge, policy):
            return store.lengths.astype(np.int64), Basis.EXACT
        sample, basis = self._lengths(table, judge, policy)
        rows = self.num_rows(table)
        return repeat_to(sample, int(rows.value)), weakest(basis, rows.basis, Basis.ESTIMATED)

    def num_rows(self, table: str) -> Figure:
        """Rows of ``battles``, ``collected_pairs``, ``generated_pairs`` or ``test_pairs``."""
        if (path := self._folder.table(table)) is not None:
            return Figure(count_rows(path), Basis.EXACT)
        sizes = self._config.planning.sizes
        if table == "generated_pairs":
            return count_prompts(self._config, self._folder)
        return Figure(getattr(sizes, table), Basis.ASSUMED)

    def num_labelled(self, table: str) -> Figure:
        """Rows of a table that are trained on once they are labelled; all of it before they are."""
        labels = self._folder.labels(LABELS[table])
        if labels is not None:
            return Figure(count_rows(labels), Basis.EXACT)
        return self.num_rows(table).times(1, Basis.ESTIMATED)

    # ---- exact: a selection, and tokens of its tables

    def _selection(self, judge: ResolvedJudge) -> pd.DataFrame | None:
        """Keys, split and phase of every row; as it was saved, else as it would be now; None if tables are missing."""
        columns = ["table", "pair_id", "battle_id", "split", "phase"]
        if (path := self._folder.model_input(f"{judge.stage}.{judge.judge}", "selection.parquet")) is not None:
            return read_table(path, columns).to_pandas().reset_index(drop=True)
        battles, preferences = self._battles, self._config.preferences
        if battles is None or judge.stage not in ("teacher", "final", HELD_OUT_VARIANT):
            return None
        if judge.stage == "teacher":
            return select_teacher_rows(battles, preferences)
        if (path := self._folder.table("language_phases")) is None:
            return None
        select = select_final_rows if judge.stage == "final" else select_final_held_out_rows
        return select(battles, read_table(path, ["battle_id", "phase"]).to_pandas(), preferences)

    @cached_property
    def _battles(self) -> pd.DataFrame | None:
        path = self._folder.table("battles")
        if path is None:
            return None
        columns = ["pair_id", "battle_id", "fold", "probability_a", "probability_b"]
        return read_table(path, columns).to_pandas()

    def _token_stores(self, judge: ResolvedJudge) -> dict[str, TokenStore] | None:
        """The token tables that a training reads; None if one is missing or was made as another judge would read it."""
        path = self._folder.model_input(f"{judge.stage}.{judge.judge}", "tokens.json")
        if path is None:
            return None
        stores = {name: self._open(place, name) for name, place in self._folder.token_tables(path).items()}
        found = {name: store for name, store in stores.items() if store is not None}
        is_current = all(self._is_current(store, judge, judge.truncation) for store in found.values())
        return found if is_current and len(found) == len(stores) else None

    def _open(self, path: Path | None, table: str) -> TokenStore | None:
        """A token table; None if there is none, or it is quicker not to look."""
        if path is None or self._is_quick:
            return None
        directory = self._folder.token_tables(path).get(table) if path.suffix == ".json" else path
        try:
            return None if directory is None else TokenStore.open(directory)
        except TokenStoreError as error:
            logger.warning("%s", error)
            return None

    def _is_current(self, store: TokenStore, judge: ResolvedJudge, policy: TruncationPolicy) -> bool:
        """Whether template and truncation are those of the configuration; no text is longer for other answers."""
        truncation = self._config.truncation
        wanted = {
            "template": self._config.template.model_dump(mode="json", exclude={"answers"}),
            "system_role": judge.system_role,
            "truncation": {
                "policy": policy,
                "max_battle_tokens": truncation.max_battle_tokens,
                "marker": truncation.marker,
                **getattr(truncation, policy).model_dump(),
            },
        }
        found = {**store.manifest, "template": {**store.manifest["template"]}}
        found["template"].pop("answers", None)
        return all(found.get(key) == value for key, value in wanted.items())

    def _look_up(self, selection: pd.DataFrame, stores: Mapping[str, TokenStore]) -> TrainingRows | None:
        """Lengths by key; None if a pair has no tokens, because they are older than the selection."""
        lengths = np.zeros(len(selection), dtype=np.int64)
        for table, rows in selection.groupby("table").indices.items():
            store = stores.get(str(table))
            try:
                if store is None:
                    return None
                lengths[rows] = store.lengths[store.rows(selection["pair_id"].to_numpy()[rows])]
            except TokenStoreError as error:
                logger.warning("%s", error)
                return None
        return _split(selection, lengths, Basis.EXACT)

    # ---- estimated: a selection without tokens

    def _estimate(self, selection: pd.DataFrame, judge: ResolvedJudge) -> TrainingRows:
        lengths = np.zeros(len(selection), dtype=np.int64)
        bases = []
        for table, rows in selection.groupby("table").indices.items():
            sample, basis = self._lengths(str(table), judge, judge.truncation)
            lengths[rows] = repeat_to(sample, len(rows))
            bases.append(basis)
        return _split(selection, lengths, weakest(*bases))

    def _lengths(self, table: str, judge: ResolvedJudge, policy: TruncationPolicy) -> tuple[Lengths, Basis]:
        """Lengths of a sample of the table's rows, else assumed ones."""
        key = (table, judge.judge, policy)
        if key not in self._sampled:
            self._sampled[key] = self._sample(table, judge, policy)
        return self._sampled[key]

    def _sample(self, table: str, judge: ResolvedJudge, policy: TruncationPolicy) -> tuple[Lengths, Basis]:
        path = None if self._is_quick else self._folder.table(table)
        if path is None or not count_rows(path):
            truncation = self._config.truncation
            return assumed_lengths(self._config.planning.lengths, truncation.max_battle_tokens), Basis.ASSUMED
        places = (self._folder.backbone(judge.judge), self._folder.raw_checkpoint(judge.judge))
        tokenizer = next((place for place in places if place and (place / "tokenizer.json").is_file()), None)
        try:
            return sampled_lengths(path, judge, policy, self._config, tokenizer), Basis.ESTIMATED
        except PromptError as error:
            logger.warning("the tokenizer of %s cannot be used, texts are measured by characters: %s", judge, error)
            return sampled_lengths(path, judge, policy, self._config, None), Basis.ESTIMATED

    # ---- assumed: no selection, perhaps no table either

    def _foretell(self, judge: ResolvedJudge) -> TrainingRows:
        """Rows by the recipe's shares of its tables."""
        preferences = self._config.preferences
        battles, tables = self.num_rows("battles"), TRAINING_TABLES[judge.stage]
        held_out = round(battles.value / preferences.num_folds)
        num_train = int(battles.value) if judge.stage == "final" else int(battles.value) - held_out
        first = self._first_phase_share() * (1 - 1 / preferences.hold_back_every)
        parts: list[list[tuple[str, int]]]
        if judge.stage in ("final", HELD_OUT_VARIANT):
            num_first = round(num_train * first)
            parts = [[("battles", num_first)], [("battles", num_train - num_first)]]
        else:
            labelled = [(table, int(self.num_labelled(table).value)) for table in tables if table in LABELS]
            parts = [[*([("battles", num_train)] if "battles" in tables else []), *labelled]]
        lengths = {table: self._lengths(table, judge, judge.truncation) for table in {"battles", *tables}}
        counts = [battles, *(self.num_labelled(table) for table in tables if table in LABELS)]
        return TrainingRows(
            phases={
                number: np.concatenate([repeat_to(lengths[table][0], size) for table, size in phase])
                for number, phase in enumerate(parts)
            },
            held_out=repeat_to(lengths["battles"][0], held_out),
            rows=weakest(Basis.ESTIMATED, *(count.basis for count in counts)),
            lengths=weakest(*(basis for _, basis in lengths.values())),
        )

    def _first_phase_share(self) -> float:
        sizes = self._config.planning.sizes
        return min(sizes.first_phase_battles / sizes.battles, 1.0)


def _split(selection: pd.DataFrame, lengths: Lengths, basis: Basis) -> TrainingRows:
    is_train = (selection["split"] == TRAIN).to_numpy()
    phases = selection["phase"].to_numpy()
    scored = pd.Series(lengths[~is_train], index=selection["pair_id"].to_numpy()[~is_train])
    return TrainingRows(
        phases={int(phase): lengths[is_train & (phases == phase)] for phase in np.unique(phases[is_train])},
        held_out=scored[~scored.index.duplicated()].sort_index().to_numpy(),
        rows=Basis.EXACT,
        lengths=basis,
    )
