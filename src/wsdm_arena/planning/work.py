"""How much a job reads: sequences, tokens, updates, and what activations and attention depend on."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Self

import numpy as np

from wsdm_arena.batching.planner import Planner
from wsdm_arena.config import EvaluationConfig, ProjectConfig, TrainingConfig
from wsdm_arena.planning.figures import Basis
from wsdm_arena.planning.lengths import Lengths
from wsdm_arena.planning.rows import TrainingRows

_DRAW = 1_000
"""As in :mod:`wsdm_arena.training.data`: the same battles are drawn; a test compares them."""


@dataclass(frozen=True)
class Reading:
    """Sequences that are read once each.

    Attributes:
        sequences: Their number, both orders of a pair counted.
        tokens: Of all of them.
        squares: Sum of squared lengths.
        longest: Tokens of the longest.
    """

    sequences: int = 0
    tokens: int = 0
    squares: int = 0
    longest: int = 0

    @classmethod
    def of(cls, lengths: Lengths, times: int) -> Self:
        """Every sequence read ``times`` times."""
        wide = np.asarray(lengths, dtype=np.int64)
        return cls(times * len(wide), times * int(wide.sum()), times * int((wide**2).sum()), int(wide.max(initial=0)))

    def __add__(self, other: "Reading") -> "Reading":
        return Reading(
            self.sequences + other.sequences,
            self.tokens + other.tokens,
            self.squares + other.squares,
            max(self.longest, other.longest),
        )

    @property
    def mean_square_ratio(self) -> float:
        """``E[n^2] / E[n]``; 0 where nothing is read."""
        return self.squares / self.tokens if self.tokens else 0.0


@dataclass(frozen=True)
class TrainingWork:
    """What one training does.

    Attributes:
        battles: Trained on, of all phases, once an epoch.
        updates: Of the weights.
        trained: With gradients.
        scored: Without: at the start, in between and at the end.
        kept_checkpoints: Judges that are kept at evaluations in between.
        rows: How the numbers of rows came about.
        lengths: How the tokens did.
    """

    battles: int
    updates: int
    trained: Reading
    scored: Reading
    kept_checkpoints: int
    rows: Basis
    lengths: Basis


def count_training(rows: TrainingRows, training: TrainingConfig, config: ProjectConfig) -> TrainingWork:
    """Count what :class:`wsdm_arena.training.trainer.Trainer` and its evaluations will read.

    Every battle is read in both orders in each epoch; ``max_battles`` draws from each phase; the last update of a phase
    and epoch may be smaller. Updates are those of :class:`wsdm_arena.batching.planner.Planner`.
    """
    phases = [_draw(phase, training.max_battles, config.seed, number) for number, phase in rows.phases.items()]
    phases = [phase for phase in phases if len(phase)]
    lengths = np.concatenate(phases) if phases else np.zeros(0, dtype=np.int64)
    updates = _count_updates(phases, training, config)
    evaluations = count_evaluations(training.evaluation, updates)
    scored = Reading.of(rows.held_out, 2) + Reading.of(
        _draw_pairs(rows.held_out, training.evaluation.battles_at_start, config.seed), 2
    )
    between = Reading.of(_draw_pairs(rows.held_out, training.evaluation.max_battles, config.seed), 2 * evaluations)
    return TrainingWork(
        battles=len(lengths),
        updates=updates,
        trained=Reading.of(lengths, 2 * training.epochs),
        scored=scored + between,
        kept_checkpoints=evaluations if training.evaluation.keep_checkpoints else 0,
        rows=rows.rows,
        lengths=max(rows.rows, rows.lengths),
    )


def count_evaluations(evaluation: EvaluationConfig, updates: int) -> int:
    """Evaluations between start and end, see :class:`wsdm_arena.training.session.Session`."""
    if evaluation.every_updates is None:
        return 0
    due = range(evaluation.every_updates, updates, evaluation.every_updates)
    return sum(done >= evaluation.from_fraction * updates for done in due)


def _count_updates(phases: list[Lengths], training: TrainingConfig, config: ProjectConfig) -> int:
    if not phases:
        return 0
    ends = np.cumsum([0, *map(len, phases)])
    planner = Planner(
        [np.arange(start, end) for start, end in pairwise(ends)],
        np.concatenate(phases),
        battles_per_update=training.battles_per_update,
        epochs=training.epochs,
        seed=config.seed,
        world_size=config.launcher.processes_per_node * config.launcher.nodes,
        max_tokens_per_micro_batch=training.max_tokens_per_micro_batch,
    )
    return len(planner)


def _draw(lengths: Lengths, max_battles: int | None, seed: int, phase: int) -> Lengths:
    """The battles of a phase that ``max_battles`` leaves."""
    if max_battles is None or len(lengths) <= max_battles:
        return lengths
    drawn = np.random.default_rng([seed, _DRAW, phase]).choice(len(lengths), size=max_battles, replace=False)
    return lengths[drawn]


def _draw_pairs(lengths: Lengths, max_pairs: int | None, seed: int) -> Lengths:
    """The sample of held-out pairs that an evaluation reads; ``lengths`` are in the order of ``pair_id``."""
    if max_pairs is None or len(lengths) <= max_pairs:
        return lengths
    return lengths[np.random.default_rng([seed, _DRAW]).choice(len(lengths), size=max_pairs, replace=False)]
