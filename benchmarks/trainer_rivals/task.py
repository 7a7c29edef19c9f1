"""What every trainer is given: the same battles as tokens, the same weights, the same hyper-parameters."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from wsdm_arena.columns import ORDERS
from wsdm_arena.config import OptimizerConfig, ScheduleConfig
from wsdm_arena.prompts.store import TokenStore
from wsdm_arena.training.schedule import learning_rate_factor

SEQUENCES_PER_BATCH = 8
"""Of the padded batches; gradients of several are accumulated to an update."""


@dataclass(frozen=True)
class Work:
    """Files of one model and one set of battles.

    Attributes:
        folder: Holds ``judge`` (our checkpoint: backbone and linear head), ``classifier`` (the same weights as
            transformers' sequence classifier), ``reward_model`` (with one logit) and ``selection.parquet``.
        tokens: Token store of all battles.
        family: ``llama`` or ``gemma``.
        chat_opening: Tokens before the prompt where a sequence is a prompt and one answer.
        chat_answer: Tokens between the two.
        chat_end: Tokens after the answer.
        battles_per_update: Global batch.
        learning_rate: Peak.
        max_tokens_per_micro_batch: Budget of our packed micro-batches.
    """

    folder: Path
    tokens: Path
    family: str
    chat_opening: tuple[int, ...]
    chat_answer: tuple[int, ...]
    chat_end: tuple[int, ...]
    battles_per_update: int
    learning_rate: float
    max_tokens_per_micro_batch: int

    @property
    def optimizer(self) -> OptimizerConfig:
        """Constants of AdamW, the same for all."""
        return OptimizerConfig(peak_learning_rate=self.learning_rate)

    @property
    def schedule(self) -> ScheduleConfig:
        """Linear warm-up and decay, the same for all."""
        return ScheduleConfig()

    def factor(self, update: int, num_updates: int) -> float:
        """Learning rate of an update as a share of the peak; one past the end, which libraries ask for, is the end."""
        return learning_rate_factor(min(update, num_updates - 1), num_updates, self.schedule)

    def save(self) -> None:
        """Write ``work.json``."""
        (self.folder / "work.json").write_text(json.dumps(asdict(self), default=str))

    @classmethod
    def load(cls, folder: Path) -> "Work":
        """Read ``work.json``."""
        values = json.loads((folder / "work.json").read_text())
        chat = {name: tuple(values[name]) for name in ("chat_opening", "chat_answer", "chat_end")}
        return cls(**values | chat | {"folder": Path(values["folder"]), "tokens": Path(values["tokens"])})


@dataclass(frozen=True)
class Task:
    """One training.

    Attributes:
        work: Folder of the :class:`Work`.
        rival: Key of :data:`trainers.RIVALS`.
        num_updates: Steps of the optimizer.
        seed: Of the order of battles.
        device: ``cpu`` or ``cuda``.
        threads: CPU threads.
        is_scored: Whether held-out battles are judged afterwards.
        groups_all: Length-grouping sorts all battles, as it would sort 50 updates of a large data set.
    """

    work: Path
    rival: str
    num_updates: int
    seed: int
    device: str
    threads: int
    is_scored: bool
    groups_all: bool

    def to_json(self) -> str:
        """As a command-line argument."""
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> "Task":
        """The inverse of :meth:`to_json`."""
        values = json.loads(text)
        return cls(**values | {"work": Path(values["work"])})


class Battles:
    """Battles of one split as token sequences.

    Args:
        work: Files.
        split: ``train`` or ``held_out``.
    """

    def __init__(self, work: Work, split: str) -> None:
        selection = pd.read_parquet(work.folder / "selection.parquet")
        rows = selection[selection["split"] == split]
        self._work = work
        self._store = TokenStore.open(work.tokens)
        self.pair_ids = rows["pair_id"].tolist()
        self.first_wins = rows["probability_a"].to_numpy() > 0.5
        self._rows = self._store.rows(self.pair_ids)

    def __len__(self) -> int:
        return len(self.pair_ids)

    @cached_property
    def joint(self) -> list[dict[str, Any]]:
        """Each battle in both orders: prompt and both answers as our judges read them, and which one is better."""
        return [
            {
                "input_ids": self._store.sequence(int(self._rows[number]), order).tolist(),
                "labels": int(self.first_wins[number] != (order == "ab")),
                "battle": number,
            }
            for number in range(len(self))
            for order in ORDERS
        ]

    @cached_property
    def answers(self) -> list[dict[str, Any]]:
        """Each battle as two sequences of a prompt and one answer, in the tokenizer's own chat template."""
        rows = []
        for number, (row, first_wins) in enumerate(zip(self._rows, self.first_wins, strict=True)):
            prompt, *answers = self._store.fields(int(row))
            read = [self._one_answer(prompt, answer) for answer in answers]
            chosen, rejected = read if first_wins else reversed(read)
            rows.append({"chosen_ids": chosen, "rejected_ids": rejected, "battle": number})
        return rows

    def _one_answer(self, prompt: np.ndarray, answer: np.ndarray) -> list[int]:
        work = self._work
        return [*work.chat_opening, *prompt.tolist(), *work.chat_answer, *answer.tolist(), *work.chat_end]


class ReadLog:
    """What a trainer's collator was given: battles, tokens, and slots with padding."""

    def __init__(self) -> None:
        self.battles: dict[int, int] = {}
        self.num_sequences = self.num_tokens = self.num_slots = 0

    def add(self, battles: Sequence[int], lengths: Sequence[int]) -> None:
        """One padded batch."""
        for battle in battles:
            self.battles[battle] = self.battles.get(battle, 0) + 1
        self.num_sequences += len(lengths)
        self.num_tokens += sum(lengths)
        self.num_slots += len(lengths) * max(lengths)

    def describe(self) -> dict[str, Any]:
        """What a result says of it."""
        return {
            "battles": len(self.battles),
            "sequences": self.num_sequences,
            "useful_tokens": self.num_tokens,
            "useful_share": round(self.num_tokens / self.num_slots, 3),
        }
