import itertools

from wsdm_arena.preferences.pair_ids import battle_id, pair_id, prompt_group


def test_ids_never_change_between_releases():
    assert pair_id("p", "a", "b") == "6a0df96fff859505ea86a32b1365b07e"
    assert prompt_group("p") == "5e4c01475b1ebc7852c8e9bd6cedabfe"
    vote = battle_id("0" * 32, row_id="1", winner="model_a", model_a="m", model_b=None)
    assert vote == "483d89aefacee1c8e305ad6e4f1b9aa9"


def test_ids_are_32_hex_digits():
    for name in (pair_id(None, None, None), prompt_group(""), pair_id("\x00" * 1000, "é" * 10_000, "")):
        assert len(name) == 32
        assert int(name, 16) >= 0


def test_null_differs_from_the_empty_text_and_fields_never_run_together():
    texts = [None, "", "a", "ab", "b", "null;", "1:a"]
    triples = list(itertools.product(texts, repeat=3))
    assert len({pair_id(*triple) for triple in triples}) == len(triples)


def test_exchanging_the_answers_makes_another_pair():
    assert pair_id("p", "a", "b") != pair_id("p", "b", "a")


def test_half_a_surrogate_pair_has_an_id_of_its_own():
    assert len({pair_id("\ud800", "a", "b"), pair_id("\udc00", "a", "b"), pair_id("\ufffd", "a", "b")}) == 3


def test_a_vote_is_named_by_everything_that_makes_it_a_vote():
    vote = {"row_id": "1", "winner": "model_a", "model_a": "m", "model_b": "n"}
    changed = [vote, *(vote | {key: "other"} for key in vote), *(vote | {key: None} for key in vote if key != "winner")]
    assert len({battle_id("0" * 32, **variant) for variant in changed}) == len(changed) == 8
