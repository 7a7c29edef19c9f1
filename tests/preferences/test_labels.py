import numpy as np
import pytest

from wsdm_arena.preferences.labels import label_columns, label_probabilities, parse_one_hot_winner, parse_winner


@pytest.mark.parametrize(
    ("cell", "label"),
    [
        ("model_a", "model_a"),
        ("model_b", "model_b"),
        ("A", "model_a"),
        ("b", "model_b"),
        (" Model_B ", "model_b"),
        ("tie", "tie"),
        ("tie (bothbad)", "tie"),
        ("both_bad", "tie"),
        ("model_c", None),
        ("", None),
        ("0", None),
        (None, None),
        (float("nan"), None),
        (1, None),
        (["model_a"], None),
    ],
)
def test_winner_spellings(cell, label):
    assert parse_winner(cell) == label


@pytest.mark.parametrize(
    ("cells", "label"),
    [
        ((1, 0, 0), "model_a"),
        ((0, 1, 0), "model_b"),
        ((np.int64(0), np.int64(0), np.int64(1)), "tie"),
        (("0", "1", "0"), "model_b"),
        ((True, False, False), "model_a"),
        ((1.0, float("nan"), None), "model_a"),
        ((1, 1, 0), None),
        ((0, 0, 0), None),
        ((0.4, 0.6, 0), None),
    ],
)
def test_one_hot_winners(cells, label):
    columns = ("winner_model_a", "winner_model_b", "winner_tie")
    assert parse_one_hot_winner(dict(zip(columns, cells, strict=True))) == label


def test_tie_policies_say_what_a_tie_is():
    assert label_probabilities("tie", "drop") is None
    assert label_probabilities("tie", "half") == (0.5, 0.5)
    assert label_probabilities("tie", "class") == (0, 0, 1)
    assert label_columns("half") == ("probability_a", "probability_b")
    assert label_columns("class") == ("probability_a", "probability_b", "probability_tie")


@pytest.mark.parametrize("policy", ["drop", "half", "class"])
def test_winners_are_certain_under_every_policy(policy):
    for label, position in (("model_a", 0), ("model_b", 1)):
        probabilities = label_probabilities(label, policy)
        assert probabilities[position] == 1
        assert sum(probabilities) == 1
        assert len(probabilities) == len(label_columns(policy))
