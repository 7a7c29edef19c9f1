"""Heads and probes on the states of a frozen trunk: trained on some battles, asked about others.

Everything that is chosen is chosen by folds within the battles that are trained on. Shapes: N battles, h hidden size.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd
import torch
from sklearn.linear_model import LogisticRegression
from torch.nn.functional import cross_entropy

from wsdm_arena.config import HeadConfig
from wsdm_arena.metrics import log_loss
from wsdm_arena.modeling.head import Head
from wsdm_arena.preferences.folds import assign_folds
from wsdm_arena.scoring.predictor import canonical_probabilities

STEPS = (0, 1, 2, 4, 8, 16, 32, 64, 128)
"""Updates among which the inner folds choose; none leaves a head as it starts."""
LEARNING_RATE = 4e-3
REGULARIZATIONS = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
"""Inverse strengths (scikit-learn's C) among which the inner folds choose."""
NUM_INNER_FOLDS = 3
logger = logging.getLogger(__name__)

LABELS = ["probability_a", "probability_b"]


@dataclass(frozen=True)
class Examples:
    """Battles and the states of their readings.

    Attributes:
        battles: N rows with keys, ``prompt_group`` and label probabilities.
        states: Last token's state in orders ``ab`` and ``ba``, ``(N, 2, h)``.
    """

    battles: pd.DataFrame
    states: np.ndarray

    def take(self, rows: np.ndarray) -> "Examples":
        """Some of the battles, by position."""
        return Examples(self.battles.iloc[rows], self.states[rows])

    @property
    def labels(self) -> np.ndarray:
        """``(N, 2)``, canonical."""
        return self.battles[LABELS].to_numpy(dtype=np.float64)


def inner_folds(battles: pd.DataFrame) -> np.ndarray:
    """Folds by prompt within the battles that are trained on."""
    winners = battles["probability_a"] > battles["probability_b"]
    return assign_folds(battles["prompt_group"], winners, num_folds=NUM_INNER_FOLDS, seed=1)


def zero_shot(states: np.ndarray, answer_rows: np.ndarray) -> np.ndarray:
    """What the language model prefers to write next: logits of both answers, displayed order, ``(N, 2, 2)``."""
    return states @ answer_rows.T


def predict_head(
    kind: str,
    training: Examples,
    asked: Examples,
    answer_rows: np.ndarray,
    *,
    pretraining: Examples | None = None,
    seed: int = 0,
) -> np.ndarray:
    """Train a head of the judge on frozen states and ask it: logits in displayed order, ``(N, 2, 2)``.

    Both orders of every battle are in every update, which reads all battles: AdamW at 0.004. States are divided by the
    training battles' standard deviation in each dimension, which a factor on the first layer's weights undoes: the head
    starts as the same function. The number of updates is the one with the least log loss over the inner folds.

    Args:
        kind: "mlp" or "verbalizer".
        training: Battles to learn from.
        asked: Battles to judge.
        answer_rows: Output rows of the language model for the answers, ``(2, h)``.
        pretraining: Other battles to learn from before; their number of updates is chosen in the same way, by folds
            within them.
        seed: Of initial weights and dropout.
    """
    scale = training.states.std(axis=(0, 1), dtype=np.float64) + 1e-6
    start = new_head(kind, answer_rows, scale, seed)
    parts = [_scaled(part, scale) for part in (training, asked)]
    if pretraining is not None:
        start = _train_with_inner_folds(start, _scaled(pretraining, scale), seed)
    trained = _train_with_inner_folds(start, parts[0], seed)
    return _ask(trained, parts[1].states)


def new_head(kind: str, answer_rows: np.ndarray, scale: np.ndarray, seed: int) -> Head:
    """The judge's head before training, for states that were divided by ``scale``."""
    config = HeadConfig(kind="mlp") if kind == "mlp" else HeadConfig(kind="linear")
    head = Head(config, len(scale), 2, seed=seed)
    if kind == "verbalizer":
        with torch.no_grad():
            head.output.weight.copy_(torch.from_numpy(answer_rows * scale))
    return head


def probe(battles: pd.DataFrame, features: Sequence[np.ndarray], held_out: np.ndarray) -> tuple[np.ndarray, int]:
    """Logistic regression on an antisymmetric feature: exchanging the answers exchanges the probabilities.

    Args:
        battles: N rows with labels.
        features: Each ``(N, f)``, and changing its sign when the answers are exchanged. Inner folds choose one of
            them, and the strength of the penalty.
        held_out: Which battles are asked about and not trained on, ``(N,)`` bool.

    Returns:
        Probability that A is better of each held-out battle, and the number of the chosen feature.
    """
    training = battles[~held_out]
    folds = inner_folds(training)
    labels = training[LABELS].to_numpy(dtype=np.float64)
    a_wins = labels[:, 0] > labels[:, 1]
    losses = {}
    for number, strength in product(range(len(features)), REGULARIZATIONS):
        values, chances = features[number][~held_out], np.empty(len(labels))
        for fold in range(NUM_INNER_FOLDS):
            asked = folds == fold
            chances[asked] = _fit(values[~asked], a_wins[~asked], strength)(values[asked])
        losses[number, strength] = log_loss(np.column_stack([chances, 1 - chances]), labels)
    number, strength = min(losses, key=losses.__getitem__)
    return _fit(features[number][~held_out], a_wins, strength)(features[number][held_out]), number


def length_features(battles: pd.DataFrame) -> np.ndarray:
    """Which answer has more characters, and the logarithm of how many times as many, ``(N, 2)``."""
    first, second = (battles[name].fillna("").str.len().to_numpy() + 1 for name in ("response_a", "response_b"))
    return np.column_stack([np.sign(first - second), np.log(first / second)])


def state_features(
    battles: pd.DataFrame, states: Mapping[str, np.ndarray], preference: np.ndarray
) -> dict[str, list[np.ndarray]]:
    """What probes read, by their names: features that change their sign when the answers are exchanged.

    Args:
        battles: N rows.
        states: Arrays of :class:`~real_battles_parts.trunk.TrunkStates`, a row a battle.
        preference: The language model's own, of :func:`zero_shot`.
    """
    last, layers, answers = states["last"], states["layers"], states["answers"]
    lengths = length_features(battles)
    margin = preference[..., 0] - preference[..., 1]
    means = [
        answers[:, 0, depth, 0] - answers[:, 0, depth, 1] - answers[:, 1, depth, 0] + answers[:, 1, depth, 1]
        for depth in range(answers.shape[2])
    ]
    return {
        "probe of the last state": [last[:, 0] - last[:, 1]],
        "probe of the best layer": [layers[:, 0, i] - layers[:, 1, i] for i in range(1, layers.shape[2], 2)],
        "probe of the answers' means": means,
        "probe of states and lengths": [np.concatenate([last[:, 0] - last[:, 1], *means, lengths], axis=1)],
        "zero-shot and lengths": [np.column_stack([margin[:, 0] - margin[:, 1], lengths])],
    }


def as_predictions(asked: Examples, logits: np.ndarray) -> pd.DataFrame:
    """Logits in displayed order, ``(N, 2, 2)``, as a table of predictions: one row a pair and order."""
    flat = logits.reshape(-1, 2).astype(np.float32)
    is_swapped = np.tile([False, True], len(logits))
    return pd.DataFrame(
        {
            "pair_id": np.repeat(asked.battles["pair_id"].to_numpy(), 2),
            "order": np.where(is_swapped, "ba", "ab"),
            "logits": list(flat),
            "probabilities": list(canonical_probabilities(flat, is_swapped)),
        }
    )


def _fit(values: np.ndarray, labels: np.ndarray, strength: float) -> Callable[[np.ndarray], np.ndarray]:
    """Without intercept, each battle is trained on as it is and exchanged, so that both classes occur."""
    scale = np.sqrt((values**2).mean(axis=0)) + 1e-6
    both = np.concatenate([values, -values]) / scale
    model = LogisticRegression(C=strength, fit_intercept=False, max_iter=500)
    model.fit(both, np.concatenate([labels, ~labels]))
    return lambda asked: model.predict_proba(asked / scale)[:, 1]


def _scaled(examples: Examples, scale: np.ndarray) -> Examples:
    return Examples(examples.battles, (examples.states / scale).astype(np.float32))


def _train_with_inner_folds(start: Head, training: Examples, seed: int) -> Head:
    folds = inner_folds(training.battles)
    losses = np.zeros(len(STEPS))
    for fold in range(NUM_INNER_FOLDS):
        held_out = training.take(np.flatnonzero(folds == fold))
        path = _train(start, training.take(np.flatnonzero(folds != fold)), max(STEPS), seed)
        for number, head in enumerate(path):
            losses[number] += len(held_out.battles) * _loss(head, held_out)
    best = STEPS[int(losses.argmin())]
    logger.info("%s head: %d updates, log loss of inner folds %.3f", start.config.kind, best, losses.min() / len(folds))
    *_, head = _train(start, training, best, seed)
    return head


def _train(start: Head, training: Examples, num_steps: int, seed: int) -> Iterator[Head]:
    """Yield the head at each of :data:`STEPS` up to ``num_steps``."""
    head = Head(start.config, start.output.in_features if start.dense is None else start.dense.in_features, 2, seed=0)
    head.load_state_dict(start.state_dict())
    states = torch.from_numpy(training.states.reshape(-1, training.states.shape[-1]))
    canonical = training.labels
    targets = torch.from_numpy(np.stack([canonical, canonical[:, ::-1]], axis=1).reshape(-1, 2).astype(np.float32))
    generator = torch.Generator().manual_seed(seed)
    rate = head.config.dropout
    optimizer = torch.optim.AdamW(head.parameters(), lr=LEARNING_RATE, weight_decay=0.01)
    for step in range(num_steps + 1):
        if step in STEPS:
            yield head.eval()
        if step == num_steps:
            return
        masks = [torch.rand(len(states), width, generator=generator) >= rate for width in head.dropout_widths]
        loss = cross_entropy(head.train()(states, masks), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@torch.no_grad()
def _ask(head: Head, states: np.ndarray) -> np.ndarray:
    return head.eval()(torch.from_numpy(states.reshape(-1, states.shape[-1]))).numpy().reshape(len(states), 2, 2)


def _loss(head: Head, examples: Examples) -> float:
    """Log loss of the probabilities that are averaged over both orders."""
    predictions = as_predictions(examples, _ask(head, examples.states))
    both = np.array(predictions["probabilities"].tolist()).reshape(-1, 2, 2)
    return log_loss(both.mean(axis=1), examples.labels)
