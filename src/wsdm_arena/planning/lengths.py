"""Lengths of sequences that nobody has tokenised yet: from a sample of the texts, or as the configuration assumes."""

from collections.abc import Sequence
from pathlib import Path
from statistics import NormalDist

import numpy as np
import numpy.typing as npt
import pandas as pd

from wsdm_arena.config import ProjectConfig, ResolvedJudge, TruncationPolicy
from wsdm_arena.config.planning import LengthsConfig
from wsdm_arena.planning.figures import Basis
from wsdm_arena.planning.places import read_table
from wsdm_arena.prompts.battles import BattleTokenizer
from wsdm_arena.prompts.tokenizers import load_tokenizer

Lengths = npt.NDArray[np.int64]
TEXTS = ("prompt", "response_a", "response_b")
_QUANTILES = 4_096
_DRAW = 1_001  # keeps this draw apart from those of other users of the same seed


def assumed_lengths(config: LengthsConfig, max_battle_tokens: int) -> Lengths:
    """Lengths at equidistant quantiles of the assumed distribution, in an order that has no meaning.

    Returns:
        ``(4096,)``; repeated as often as needed, they stand for a table of any size.
    """
    normal = NormalDist()
    ranks = (np.random.default_rng(0).permutation(_QUANTILES) + 0.5) / _QUANTILES
    deviations = np.array([normal.inv_cdf(rank) for rank in ranks])
    drawn = config.median_tokens * np.exp(config.sigma * deviations)
    longest = max_battle_tokens + config.template_tokens
    return drawn.clip(min(config.min_tokens, longest), longest).round().astype(np.int64)


def sampled_lengths(
    table: Path, judge: ResolvedJudge, policy: TruncationPolicy, config: ProjectConfig, tokenizer_dir: Path | None
) -> Lengths:
    """Lengths of a seeded sample of a table's rows: tokenised where there is a tokenizer, else by their characters.

    Returns:
        ``(min(rows, planning.lengths.sampled_rows),)``.
    """
    columns = read_table(table, list(TEXTS)).to_pandas()
    size = min(len(columns), config.planning.lengths.sampled_rows)
    drawn = np.random.default_rng([config.seed, _DRAW]).choice(len(columns), size=size, replace=False)
    rows = columns.iloc[np.sort(drawn)]
    texts = [tuple(None if pd.isna(text) else str(text) for text in row) for row in rows[list(TEXTS)].to_numpy()]
    if tokenizer_dir is None:
        return _by_characters(texts, policy, config)
    tokenizer = BattleTokenizer(
        load_tokenizer(tokenizer_dir),
        config.template,
        system_role=judge.system_role,
        truncation=config.truncation,
        policy=policy,
    )
    battles = tokenizer.tokenize([(prompt, first, second) for prompt, first, second in texts])
    fields = np.diff(battles.offsets[:: len(TEXTS)])
    return np.asarray(fields + tokenizer.template.num_constant_tokens, dtype=np.int64)


def _by_characters(texts: Sequence[tuple[str | None, ...]], policy: TruncationPolicy, config: ProjectConfig) -> Lengths:
    assumed, truncation = config.planning.lengths, config.truncation
    tokens = np.array([[len(text or "") for text in row] for row in texts]).reshape(-1, len(TEXTS))
    fields = np.ceil(tokens / assumed.characters_per_token)
    if policy == "per_field":
        limits = truncation.per_field
        caps = np.array([limits.max_prompt_tokens, limits.max_response_tokens, limits.max_response_tokens])
        battles = np.minimum(fields, caps).sum(axis=1)
    else:
        battles = fields.sum(axis=1)
    return (np.minimum(battles, truncation.max_battle_tokens) + assumed.template_tokens).astype(np.int64)


def repeat_to(lengths: Lengths, size: int) -> Lengths:
    """The first ``size`` of the lengths, repeated as often as needed; empty if there are none."""
    return np.resize(lengths, size) if len(lengths) else np.zeros(0, dtype=np.int64)


def weakest(*bases: Basis) -> Basis:
    """Of figures that are computed from several."""
    return max(bases, default=Basis.EXACT)
