"""Pairs that nobody voted on, as somebody else collected them: what judges are to label."""

import pandas as pd

from wsdm_arena.config import SimulationConfig
from wsdm_arena.simulation.battle import Battle, answer_prompt
from wsdm_arena.simulation.draws import open_stream, pick
from wsdm_arena.simulation.known_prompts import draw_prompt, first_voted_prompts
from wsdm_arena.simulation.models import draw_models
from wsdm_arena.simulation.rows import draw_ugly

COLUMNS = ("prompt", "response_a", "response_b", "model_a", "model_b")

_KNOWN_RATE = 0.02
"""Share of prompts that are taken from the first rows of the voted tables; others coincide by chance."""
_NUM_KNOWN_ROWS = 30


def simulate_collected_pairs(config: SimulationConfig) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Simulate the collected pairs; the same configuration gives the same bytes.

    The simulated models answer, of two equally good answers too, as nobody had to choose. A share
    ``config.ugly_row_rate`` is ugly as among the battles; some prompts are also those of battles or of test pairs.

    Returns:
        Two tables of ``prompt, response_a, response_b, model_a, model_b``, which together have
        ``config.num_collected_pairs`` rows.
    """
    pairs = draw_collected_pairs(config, config.num_collected_pairs)
    middle = (len(pairs) + 1) // 2
    return _tabulate(pairs[:middle]), _tabulate(pairs[middle:])


def draw_collected_pairs(config: SimulationConfig, num_pairs: int) -> list[Battle]:
    """Draw the first collected pairs."""
    models = draw_models("runs", config.seed)
    known = first_voted_prompts("runs", config, _NUM_KNOWN_ROWS)
    rng, ugly_rng = (open_stream("runs", config.seed, stream) for stream in ("collected", "ugly_collected"))
    pairs: list[Battle] = []
    for _ in range(num_pairs):
        prompt = pick(rng, known) if rng.random() < _KNOWN_RATE else draw_prompt(rng)
        pair = answer_prompt(rng, models, prompt.task, prompt.book, prompt.text)
        if ugly_rng.random() < config.ugly_row_rate:
            pair = draw_ugly(ugly_rng, pair, pairs, models)
        pairs.append(pair)
    return pairs


def _tabulate(pairs: list[Battle]) -> pd.DataFrame:
    rows = [[getattr(pair, column) for column in COLUMNS] for pair in pairs]
    return pd.DataFrame(rows, columns=list(COLUMNS), dtype="str")
