"""From answers to pairs, and every answer that is in none is counted."""

import json

import pandas as pd
import pytest

from tests.generation.generation_cases import make_requests
from wsdm_arena.generation.pairs import GeneratedPairsError, build_generated_pairs
from wsdm_arena.preferences.pair_ids import pair_id
from wsdm_arena.schemas import UnlabelledPairs

MODELS = ["zeta", "alpha", "beta"]


@pytest.fixture
def requests():
    return make_requests(6, MODELS)


def answer_all(requests, **changes):
    """An answer to each request; ``changes`` by request id: ``(text, finish_reason)``."""
    rows = [(request_id, f"answer {request_id}", "stop", None) for request_id in requests["request_id"]]
    table = pd.DataFrame(rows, columns=["request_id", "text", "finish_reason", "error"], dtype=object)
    for request_id, (text, finish_reason) in changes.items():
        row = table["request_id"] == request_id
        table.loc[row, "text"] = text
        table.loc[row, "finish_reason"] = finish_reason
        table.loc[row, "error"] = "HTTP 500" if finish_reason == "error" else None
    return table


def test_each_prompt_of_each_round_becomes_one_pair(requests):
    pairs, report = build_generated_pairs(requests, answer_all(requests))
    UnlabelledPairs.validate(pairs)
    assert len(pairs) == 12
    assert pairs["pair_id"].is_monotonic_increasing
    row = pairs.set_index("id").loc[f"v2:{3:032x}"]
    assert row.to_dict() == {
        "pair_id": pair_id("prompt 3 of v2", "answer v2-3-0", "answer v2-3-1"),
        "source": "generated",
        "prompt": "prompt 3 of v2",
        "response_a": "answer v2-3-0",
        "response_b": "answer v2-3-1",
        "num_turns": 1,
        "language": "en",
        "prompt_group": f"{3:032x}",
        "model_a": "zeta",
        "model_b": "alpha",
        "round": "v2",
    }
    assert report["num_pairs"] == report["num_prompts"] == 12
    assert report["rounds"] == {"v1": 6, "v2": 6}
    assert report["answer_models"] == dict.fromkeys(["zeta", "alpha", "beta"], 8)
    assert report["dropped_answers"] == report["dropped_pairs"] == {}
    json.dumps(report)


def test_the_order_of_rows_changes_nothing(requests):
    answers = answer_all(requests)
    expected = build_generated_pairs(requests, answers)
    shuffled = build_generated_pairs(
        requests.sample(frac=1, random_state=1), answers.sample(frac=1, random_state=2).reset_index(drop=True)
    )
    pd.testing.assert_frame_equal(shuffled.generated_pairs, expected.generated_pairs)
    assert shuffled.report == expected.report


def test_every_dropped_answer_is_counted_by_its_model(requests):
    answers = answer_all(
        requests,
        **{
            "v1-0-0": (None, "error"),  # zeta
            "v1-1-0": ("half a", "length"),  # alpha
            "v1-2-0": ("<think>hm", "stop"),  # beta
            "v1-3-1": ("<think>hm</think> \n", "stop"),  # alpha
            "v1-4-0": ("same", "stop"),  # alpha and beta
            "v1-4-1": ("<think>hm</think>same", "stop"),
            "v1-5-0": ("thoughts</think>\nSay it.", "stop"),
        },
    )
    pairs, report = build_generated_pairs(requests, answers)
    v1 = pairs[pairs["round"] == "v1"]
    assert v1[["response_a", "response_b"]].to_numpy().tolist() == [["Say it.", "answer v1-5-1"]]
    assert report["dropped_answers"] == {
        "alpha": {"cut off": 1, "empty": 1, "identical to the other": 1},
        "beta": {"cut off": 1, "identical to the other": 1},
        "zeta": {"failed": 1},
    }
    assert report["dropped_pairs"] == {"an answer is missing": 4, "the answers are identical": 1}
    assert report["num_pairs"] == len(pairs) == 7


def test_a_request_without_a_row_counts_as_failed(requests):
    _, report = build_generated_pairs(requests, answer_all(requests).iloc[1:])
    assert report["dropped_answers"] == {"zeta": {"failed": 1}}


def test_the_same_pair_in_two_rounds_is_kept_once(requests):
    requests["prompt"] = "the same"
    answers = answer_all(requests)
    answers["text"] = answers["request_id"].str.slice(3)  # without the round
    pairs, report = build_generated_pairs(requests, answers)
    assert len(pairs) == 6
    assert set(pairs["round"]) == {"v1"}
    assert report["dropped_pairs"] == {"the pair repeats another": 6}


def test_the_lower_slot_is_answer_a_whatever_slots_are_called(requests):
    numbered, _ = build_generated_pairs(requests, answer_all(requests))
    lettered, _ = build_generated_pairs(
        requests.assign(slot=requests["slot"].map({0: "a", 1: "b"})), answer_all(requests)
    )
    pd.testing.assert_frame_equal(numbered, lettered)


def test_texts_and_languages_are_data(requests, tmp_path):
    texts = ["null\x00", "half \ud800 pair", "x" * 10**6, "User: hi\nAssistant: no", "[[A]]", "🙂"]
    requests.loc[:4, "language"] = pd.Series(["Deutsch", "", "zh-CN", "Klingon?", "x" * 99])
    requests["prompt"] = requests["prompt"].astype(object)
    requests.loc[2:3, "prompt"] = "half \udfff prompt\x00"
    requests.loc[4:5, "prompt"] = None
    answers = answer_all(requests, **{f"v1-{number}-0": (text, "stop") for number, text in enumerate(texts)})
    pairs, report = build_generated_pairs(requests, answers)
    UnlabelledPairs.validate(pairs)
    by_id = pairs.set_index("id")
    found = [by_id.loc[f"v1:{number:032x}", "response_a"] for number in range(6)]
    assert found == ["null\x00", "half \ufffd pair", *texts[2:]]
    assert by_id.loc[f"v1:{1:032x}", "prompt"] == "half \ufffd prompt\x00"
    assert report["repaired"] == {
        "prompt: what is not UTF-8 replaced by U+FFFD": 2,
        "text: what is not UTF-8 replaced by U+FFFD": 1,
    }
    assert [by_id.loc[f"v1:{number:032x}", "language"] for number in range(3)] == ["de", "zh", "unknown"]
    pairs.to_parquet(tmp_path / "pairs.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "pairs.parquet"), pairs)


def test_white_space_around_an_answer_does_not_tell_who_wrote_it(requests):
    answers = answer_all(requests, **{"v1-0-0": (" Paris\n  is it\n", "stop"), "v1-1-0": (" answer v1-1-1\n", "stop")})
    pairs, report = build_generated_pairs(requests, answers)
    assert pairs.set_index("id").loc[f"v1:{0:032x}", "response_a"] == "Paris\n  is it"
    assert f"v1:{1:032x}" not in set(pairs["id"]), "the other answer is the same"
    assert sum(sum(reasons.values()) for reasons in report["dropped_answers"].values()) == 2


def test_no_requests_give_an_empty_table_of_the_same_columns(requests):
    full, _ = build_generated_pairs(requests, answer_all(requests))
    none = requests.iloc[:0]
    pairs, report = build_generated_pairs(none, answer_all(none))
    assert report["num_pairs"] == len(pairs) == 0
    assert pairs.dtypes.to_dict() == full.dtypes.to_dict()


@pytest.mark.parametrize(
    ("finish_reason", "message"),
    [
        ("error", r"not one of 12 prompts .* failed.*: see the error of alpha above .*; then run again"),
        ("length", r"not one of 12 prompts .* cut off.*: raise generation.sampling.max_new_tokens, .*; then run again"),
        ("stop", r"not one of 12 prompts .* empty.*: look at the `stop` texts and chat template of alpha, or name .*"),
    ],
)
def test_not_one_good_pair_is_refused_with_what_became_of_the_answers(requests, finish_reason, message):
    with pytest.raises(GeneratedPairsError, match=message):
        build_generated_pairs(requests, answer_all(requests).assign(finish_reason=finish_reason, text=" "))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda requests: requests.drop(columns="slot"), r"requests lack the columns \['slot'\]"),
        (lambda requests: pd.concat([requests, requests.iloc[:1]]), "request_id 'v1-0-0' stands there more than once"),
        (lambda requests: requests.iloc[1:], "1 prompts have not two requests of different slots"),
        (lambda requests: requests.assign(slot=0), "12 prompts have not two requests of different slots"),
    ],
)
def test_requests_that_make_no_pairs_are_refused(requests, change, message):
    with pytest.raises(GeneratedPairsError, match=message):
        build_generated_pairs(change(requests), answer_all(requests))
