import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from real_battles_parts.heads import Examples, length_features, new_head, predict_head, probe, zero_shot
from real_battles_parts.measuring import Results, add_means, compare_all, measure_all, restrict_scopes
from real_battles_parts.trunk import _answer_spans

from wsdm_arena.prompts.battles import assemble_sequence
from wsdm_arena.prompts.template import RenderedTemplate

WIDTH = 64


def _examples(num_battles: int, *, noise: float = 2.0) -> Examples:
    """The first 16 dimensions say in either order which of the displayed answers is better."""
    draw = np.random.default_rng(0)
    a_wins = draw.random(num_battles) < 0.5
    states = draw.normal(size=(num_battles, 2, WIDTH)) * np.geomspace(0.2, 30, WIDTH)
    side = np.where(a_wins, 1.0, -1.0)
    states[:, :, :16] = np.stack([side, -side], axis=1)[:, :, None] + noise * draw.normal(size=(num_battles, 2, 16))
    battles = pd.DataFrame(
        {
            "battle_id": [f"b{number}" for number in range(num_battles)],
            "pair_id": [f"{number:032x}" for number in range(num_battles)],
            "prompt_group": [f"{number // 2:032x}" for number in range(num_battles)],
            "source": "human",
            "language": "en",
            "fold": np.arange(num_battles) // 2 % 5,
            "probability_a": a_wins.astype(float),
            "probability_b": 1.0 - a_wins,
        }
    )
    return Examples(battles, states.astype(np.float32))


def test_untrained_verbalizer_head_says_what_the_language_model_says() -> None:
    examples, rows = _examples(20), np.random.default_rng(1).normal(size=(2, WIDTH)).astype(np.float32)
    scale = examples.states.std(axis=(0, 1))
    head = new_head("verbalizer", rows, scale, seed=0)
    import torch

    logits = head.eval()(torch.from_numpy((examples.states / scale).reshape(-1, WIDTH))).detach().numpy()
    np.testing.assert_allclose(logits.reshape(20, 2, 2), zero_shot(examples.states, rows), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["verbalizer", "mlp"])
def test_heads_learn_what_the_states_say(kind: str) -> None:
    examples, rows = _examples(240), np.zeros((2, WIDTH), dtype=np.float32)
    learned, asked = examples.take(np.arange(160)), examples.take(np.arange(160, 240))
    logits = predict_head(kind, learned, asked, rows)
    names_first = logits[..., 0] > logits[..., 1]
    a_wins = asked.labels[:, 0] > 0.5
    assert (names_first[:, 0] == a_wins).mean() > 0.9
    assert (names_first[:, 1] == ~a_wins).mean() > 0.9


def test_probe_chooses_the_feature_that_tells_and_exchanges_probabilities_with_answers() -> None:
    examples = _examples(200)
    difference = examples.states[:, 0] - examples.states[:, 1]
    held_out = np.arange(200) >= 120
    features = [difference[:, 20:30].copy(), difference[:, :16].copy()]
    chances, number = probe(examples.battles, features, held_out)
    assert number == 1
    assert ((chances > 0.5) == (examples.labels[held_out, 0] > 0.5)).mean() > 0.9
    features[1][held_out] *= -1
    exchanged, _ = probe(examples.battles, features, held_out)
    np.testing.assert_allclose(exchanged, 1 - chances, atol=1e-6)


def test_lengths_change_their_sign_when_answers_are_exchanged() -> None:
    battles = pd.DataFrame({"response_a": ["long", "", None, "ab"], "response_b": ["x", "yy", "z", "cd"]})
    exchanged = battles.rename(columns={"response_a": "response_b", "response_b": "response_a"})
    features = length_features(battles)
    assert features[:, 0].tolist() == [1, -1, -1, 0]
    np.testing.assert_allclose(length_features(exchanged), -features)


@pytest.mark.parametrize("order", ["ab", "ba"])
@pytest.mark.parametrize("lengths", [(3, 2, 4), (0, 1, 0)])
def test_answer_spans_are_where_the_answers_are(order: str, lengths: tuple[int, int, int]) -> None:
    fields = tuple(np.full(length, 100 + number) for number, length in enumerate(lengths))
    template = RenderedTemplate((1, 2), (3,), (4, 5), (6,), (7,), (), 3)
    store = SimpleNamespace(template=template, fields=lambda row: fields)
    sequence = assemble_sequence(template, *fields, order)
    shown = fields[1:] if order == "ab" else fields[:0:-1]
    headings = ([3], [5])
    for span, answer, heading in zip(_answer_spans(store, 0, order), shown, headings, strict=True):
        assert sequence[slice(*span)].tolist() == (answer.tolist() or heading)


def test_a_part_of_a_scope_takes_over_what_was_asked_about_all_of_it(tmp_path) -> None:
    battles, results = _examples(60).battles, Results(tmp_path)
    right = battles[["battle_id", "pair_id", "probability_a", "probability_b"]]
    wrong = right.rename(columns={"probability_a": "probability_b", "probability_b": "probability_a"})
    results.add("human", "longer wins", wrong)
    results.add("human", "half of them", right.head(30))
    results.add("human.folds-0", "end to end", right[battles["fold"] == 0])
    restrict_scopes(results, battles)
    add_means(results, {"both": ("longer wins", "end to end")})
    assert sorted(results.read()["human.folds-0"]) == ["both", "end to end", "longer wins"]
    rows = {(row["trained_on"], row["method"]): row for row in measure_all(results, battles)}
    assert rows["human", "longer wins"]["accuracy"] == 0
    assert rows["human.folds-0", "end to end"]["num_battles"] == 12
    assert rows["human.folds-0", "both"]["accuracy"] == 0.5
    (compared,) = [
        row
        for row in compare_all(results, battles, ["longer wins"])
        if (row["trained_on"], row["method"]) == ("human.folds-0", "end to end")
    ]
    assert (compared["num_first_better"], compared["num_second_better"]) == (12, 0)
