"""What a judge has to beat: predictors that read only lengths, counts or words; and the best that is possible."""

import logging

import numpy as np
import pandas as pd
import scipy.sparse as sparse

from wsdm_arena.columns import LABEL_COLUMNS

logger = logging.getLogger(__name__)

TFIDF_MAX_CHARACTERS = 1_000
"""What the TF-IDF baseline reads of each answer, from its start: time and memory grow with it, accuracy hardly."""
TFIDF_MAX_TRAINING_BATTLES = 20_000
"""A seeded draw of at most so many battles is learned from: about 2 GB of sparse features at full length."""

_NUM_HASHED_FEATURES = 2**18  # bounds the memory of a vocabulary; collisions are rare below 100,000 terms


def score_longer_wins(training: pd.DataFrame, held_out: pd.DataFrame) -> pd.DataFrame:
    """Name the answer of more characters; equal lengths are half right.

    The probability of the longer answer is its share of the training battles' wins (at least just above one half), so
    that the log loss means something.

    Args:
        training: Battles of the training folds.
        held_out: Battles to be scored.

    Returns:
        ``battle_id``, ``pair_id`` and one probability a class, a row for each battle of ``held_out`` in its order.
    """
    signs = _longer_side(training)
    decided = training[signs != 0]
    labels = decided[["probability_a", "probability_b"]].to_numpy()
    wins = np.where(signs[signs != 0] > 0, labels[:, 0], labels[:, 1]).sum()
    # Laplace's rule; and a baseline called "longer wins" says so even where the shorter ones do
    share = max((wins + 1) / (labels.sum() + 2), 0.501)
    return _predict(held_out, 0.5 + (share - 0.5) * _longer_side(held_out), tie_share=_tie_share(training))


def score_majority(training: pd.DataFrame, held_out: pd.DataFrame) -> pd.DataFrame:
    """Name the winner that is the most frequent in the training folds, for every battle.

    Arguments and returned columns are those of :func:`score_longer_wins`.
    """
    columns = _label_columns(held_out)
    shares = training[columns].mean().to_numpy()
    return _keyed(held_out, np.tile(shares, (len(held_out), 1)))


def score_tfidf(training: pd.DataFrame, held_out: pd.DataFrame, *, seed: int = 0) -> pd.DataFrame:
    """Compare the words and character n-grams of the two answers by logistic regression.

    Features are the difference of the answers' TF-IDF vectors (word 1-2-grams and character 2-4-grams within words,
    hashed) and there is no intercept, so that exchanging the answers exchanges the probabilities. Read are the first
    1,000 characters of each answer, and at most 20,000 training battles.

    Arguments and returned columns are those of :func:`score_longer_wins`.
    """
    from sklearn.linear_model import LogisticRegression  # a second to import, which every command would pay

    tie_share = _tie_share(training)
    if len(training) > TFIDF_MAX_TRAINING_BATTLES:
        training = training.sample(TFIDF_MAX_TRAINING_BATTLES, random_state=seed)
    margins = (training["probability_a"] - training["probability_b"]).to_numpy()
    training, margins = training[margins != 0], margins[margins != 0]  # ties tell nothing about the answers
    if len(training) < 2:
        logger.info("tfidf: fewer than two decided training battles; every battle is predicted half-half")
        return _predict(held_out, np.full(len(held_out), 0.5), tie_share=tie_share)
    vocabulary = _Vocabulary()
    features = vocabulary.fit_difference(training)
    # Without an intercept, a battle and its exchange are the same example: half of them are exchanged, so that both
    # classes occur whatever the labels are.
    sides = np.where(np.arange(len(training)) % 2 == 0, 1.0, -1.0)
    oriented = sparse.diags_array((sides * np.sign(margins)).astype(np.float32)) @ features
    model = LogisticRegression(fit_intercept=False, solver="liblinear", random_state=seed)
    model.fit(oriented, sides > 0, sample_weight=np.abs(margins))
    probabilities = model.predict_proba(vocabulary.difference(held_out))[:, 1]
    return _predict(held_out, probabilities, tie_share=tie_share)


def score_ceiling(held_out: pd.DataFrame, truth: pd.DataFrame) -> pd.DataFrame | None:
    """Predict with the probabilities that the simulated voters really had.

    Args:
        held_out: Battles to be scored, with ``id``.
        truth: ``id`` (unique) and ``probability_a``; empty where there is none.

    Returns:
        As :func:`score_longer_wins`; None unless the truth of every battle is known.
    """
    if truth.empty:
        return None
    known = held_out[["id"]].merge(truth[["id", "probability_a"]], on="id", how="left", validate="many_to_one")
    if known["probability_a"].isna().any():
        num_unknown = int(known["probability_a"].isna().sum())
        logger.info("ceiling: left out, %d of %d battles are not simulated ones", num_unknown, len(known))
        return None
    return _predict(held_out, known["probability_a"].to_numpy(), tie_share=0.0)


def score_baselines(
    training: pd.DataFrame, held_out: pd.DataFrame, truth: pd.DataFrame | None = None, *, seed: int = 0
) -> dict[str, pd.DataFrame]:
    """Score all baselines: ``longer_wins``, ``majority``, ``tfidf`` and, where the truth is known, ``ceiling``.

    Raises:
        ValueError: There is nothing to learn from or nothing to score.
    """
    if training.empty or held_out.empty:
        raise ValueError(f"baselines need battles: {len(training)} to learn from, {len(held_out)} held out")
    scored = {
        "longer_wins": score_longer_wins(training, held_out),
        "majority": score_majority(training, held_out),
        "tfidf": score_tfidf(training, held_out, seed=seed),
    }
    ceiling = None if truth is None else score_ceiling(held_out, truth)
    return scored if ceiling is None else {**scored, "ceiling": ceiling}


class _Vocabulary:
    """TF-IDF of words and of character n-grams, side by side."""

    def __init__(self) -> None:
        from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer

        options = {"n_features": _NUM_HASHED_FEATURES, "norm": None, "alternate_sign": False, "dtype": np.float32}
        self._vectorizers = (
            HashingVectorizer(ngram_range=(1, 2), **options),
            HashingVectorizer(analyzer="char_wb", ngram_range=(2, 4), **options),
        )
        self._weights = tuple(TfidfTransformer(sublinear_tf=True) for _ in self._vectorizers)

    def fit_difference(self, battles: pd.DataFrame) -> sparse.csr_array:
        """Learn how rare each term is, every answer being a document; then as :meth:`difference`."""
        counts = self._count(battles)
        for weights, terms in zip(self._weights, counts, strict=True):
            weights.fit(terms)
        return self._subtract(counts)

    def difference(self, battles: pd.DataFrame) -> sparse.csr_array:
        """Features of A minus those of B, ``(num_battles, num_features)``."""
        return self._subtract(self._count(battles))

    def _count(self, battles: pd.DataFrame) -> list[sparse.csr_array]:
        """Count the terms of all answers A, then of all answers B, ``(2 * num_battles, num_features)`` each."""
        answers = pd.concat([battles["response_a"], battles["response_b"]])
        texts = answers.fillna("").str[:TFIDF_MAX_CHARACTERS].tolist()
        return [vectorizer.transform(texts) for vectorizer in self._vectorizers]

    def _subtract(self, counts: list[sparse.csr_array]) -> sparse.csr_array:
        weighted = [weights.transform(terms) for weights, terms in zip(self._weights, counts, strict=True)]
        num_battles = weighted[0].shape[0] // 2
        return sparse.csr_array(sparse.hstack([terms[:num_battles] - terms[num_battles:] for terms in weighted]))


def _longer_side(battles: pd.DataFrame) -> np.ndarray:
    """1 where A is longer, -1 where B is, 0 where both are equally long, in characters."""
    first, second = (battles[column].fillna("").str.len().to_numpy() for column in ("response_a", "response_b"))
    return np.sign(first.astype(int) - second.astype(int))


def _label_columns(battles: pd.DataFrame) -> list[str]:
    return [column for column in LABEL_COLUMNS if column in battles]


def _tie_share(training: pd.DataFrame) -> float:
    return float(training["probability_tie"].mean()) if "probability_tie" in training and len(training) else 0.0


def _predict(battles: pd.DataFrame, first_wins: np.ndarray, *, tie_share: float) -> pd.DataFrame:
    """Spread probability over the classes: ties as often as in training, the rest by who wins."""
    columns = [first_wins * (1 - tie_share), (1 - first_wins) * (1 - tie_share)]
    if "probability_tie" in battles:
        columns.append(np.full(len(battles), tie_share))
    return _keyed(battles, np.column_stack(columns))


def _keyed(battles: pd.DataFrame, probabilities: np.ndarray) -> pd.DataFrame:
    names = _label_columns(battles)
    return battles[["battle_id", "pair_id"]].assign(**dict(zip(names, probabilities.T, strict=True)))
