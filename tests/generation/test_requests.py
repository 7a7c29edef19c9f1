"""Rounds take what they ask for, and a prompt's answer models depend on nothing else."""

import json
import logging
from collections import Counter

import pandas as pd
import pytest

from wsdm_arena.config import GenerationConfig
from wsdm_arena.generation.mining import mine_prompts
from wsdm_arena.generation.requests import RequestsError, draw_requests, needed_prompts, request_id
from wsdm_arena.preferences.pair_ids import prompt_group

MODELS = tuple("abcdefg")
LETTERS = {model: {"engine": "simulator", "model": model} for model in (*MODELS, "x", "y")}


def make_prompts(num_first_language: int, num_others: int) -> pd.DataFrame:
    rows = [
        (prompt_group(f"{kind} {position}"), f"{kind} {position}", kind, kind == "English", position)
        for kind, count in (("English", num_first_language), ("Japanese", num_others))
        for position in range(count)
    ]
    return pd.DataFrame(rows, columns=["prompt_group", "prompt", "language", "is_first_language", "position"])


def make_config(seed: int = 0, **rounds: dict) -> GenerationConfig:
    filled = {
        name: {"first_language": [0, 0], "others": [0, 0], "answer_models": MODELS} | r for name, r in rounds.items()
    }
    return GenerationConfig.model_validate({"seed": seed, "rounds": filled, "answer_models": LETTERS})


def prompts_of(requests: pd.DataFrame, round_name: str) -> list[str]:
    rows = requests[requests["round"] == round_name]
    assert rows["slot"].tolist() == ["a", "b"] * (len(rows) // 2)
    assert (rows["prompt"][::2].to_numpy() == rows["prompt"][1::2].to_numpy()).all()
    return rows["prompt"][::2].tolist()


def models_of(requests: pd.DataFrame, round_name: str) -> dict[str, tuple[str, ...]]:
    """Answer models of each prompt, "a" first."""
    rows = requests[requests["round"] == round_name]
    return {str(prompt): tuple(group["answer_model"]) for prompt, group in rows.groupby("prompt")}


def english(*positions: int) -> list[str]:
    return [f"English {position}" for position in positions]


def japanese(*positions: int) -> list[str]:
    return [f"Japanese {position}" for position in positions]


def test_rounds_take_half_open_slices_in_order():
    config = make_config(
        v1={"first_language": [0, 3], "others": [0, 2]},
        v2={"first_language": [3, 4], "others": [2, 5]},
        v3={"first_language": [6, 8], "others": [5, None], "repeat_others_of": "v1"},
    )
    prompts = make_prompts(9, 8).sample(frac=1, random_state=0).set_index(pd.Index([0] * 17))  # order, index: of no use
    requests, report = draw_requests(prompts, config)
    assert prompts_of(requests, "v1") == english(0, 1, 2) + japanese(0, 1)
    assert prompts_of(requests, "v2") == english(3) + japanese(2, 3, 4)
    assert prompts_of(requests, "v3") == english(6, 7) + japanese(5, 6, 7, 0, 1)
    assert list(requests["round"].unique()) == ["v1", "v2", "v3"]
    assert report["num_requests"] == len(requests) == 2 * (5 + 4 + 7)
    assert report["rounds"]["v3"]["repeated_from_earlier_round"] == 2
    assert report["rounds"]["v3"]["others"] == {"slice": [5, None], "asked": None, "found": 3}
    assert json.loads(json.dumps(report)) == report


def test_requests_have_the_columns_that_answering_and_joining_need():
    requests, _ = draw_requests(make_prompts(5, 5), make_config(v1={"first_language": [0, 5], "others": [1, 4]}))
    assert list(requests) == ["request_id", "round", "prompt_group", "prompt", "language", "slot", "answer_model"]
    assert requests["request_id"].str.fullmatch("[0-9a-f]{32}").all()
    assert requests["request_id"].is_unique
    assert requests["prompt_group"].tolist() == [prompt_group(prompt) for prompt in requests["prompt"]]
    assert set(requests["language"]) == {"English", "Japanese"}


def test_an_unknown_language_stays_null():
    prompts = make_prompts(0, 2).assign(language=None)
    requests, _ = draw_requests(prompts, make_config(v1={"others": [0, 2]}))
    assert requests["language"].isna().all()


def test_request_ids_do_not_run_together_and_never_change():
    assert len({request_id("ab", "c", "d"), request_id("a", "bc", "d"), request_id("a", "b", "cd")}) == 3
    assert request_id("v1", "0" * 32, "phi4") == "9d292c37a7edaf1f51d99cc52cfa61c8"


def test_draws_are_the_same_in_every_version():
    requests, _ = draw_requests(make_prompts(4, 0), make_config(v1={"first_language": [0, 4]}))
    assert requests["answer_model"].tolist() == list("fggebabe")


def test_two_distinct_models_of_the_roster_all_pairs_alike():
    roster = MODELS[:4]
    config = make_config(v1={"first_language": [0, 6_000], "answer_models": roster})
    requests, report = draw_requests(make_prompts(6_000, 0), config)
    pairs = Counter(models_of(requests, "v1").values())
    assert len(pairs) == 12  # ordered pairs: who is "a" is drawn, too
    assert all(abs(count - 500) < 5 * 500**0.5 for count in pairs.values())
    assert report["rounds"]["v1"]["requests_by_answer_model"] == dict(Counter(requests["answer_model"]))


def test_a_draw_depends_on_seed_and_round():
    slices = {"first_language": [0, 50]}
    config = make_config(v1=slices, v2=slices)
    draws = [models_of(draw_requests(make_prompts(50, 0), config).requests, name) for name in ("v1", "v2")]
    draws.append(models_of(draw_requests(make_prompts(50, 0), make_config(seed=1, v1=slices)).requests, "v1"))
    assert draws[0] != draws[1] != draws[2] != draws[0]


def test_other_prompts_and_rounds_do_not_change_a_draw():
    few = draw_requests(make_prompts(10, 10), make_config(v2={"first_language": [2, 6], "others": [0, 4]})).requests
    config = make_config(v1={"first_language": [0, 9]}, v2={"first_language": [0, 40], "others": [0, None]})
    many = draw_requests(make_prompts(60, 60), config).requests
    keyed = [
        rows[rows["round"] == "v2"].set_index("request_id")[["prompt", "slot", "answer_model"]] for rows in (few, many)
    ]
    assert len(keyed[0]) == 16
    pd.testing.assert_frame_equal(keyed[0], keyed[1].loc[keyed[0].index])


def test_a_model_that_joins_the_roster_changes_only_what_it_wins():
    prompts = make_prompts(200, 0)
    before, after = (
        models_of(
            draw_requests(prompts, make_config(v1={"first_language": [0, 200], "answer_models": r})).requests, "v1"
        )
        for r in (MODELS, ("x", *MODELS[::-1]))
    )
    changed = [prompt for prompt in before if before[prompt] != after[prompt]]
    assert 0 < len(changed) < 100
    assert all("x" in after[prompt] for prompt in changed)


def test_repeats_are_answered_by_models_that_have_not_answered():
    config = make_config(
        v1={"first_language": [0, 20], "others": [0, 100]},
        v2={"others": [100, 120], "answer_models": MODELS[:5], "repeat_others_of": "v1"},
        v3={"repeat_others_of": "v2"},
    )
    requests, report = draw_requests(make_prompts(20, 120), config)
    v1, v2, v3 = (models_of(requests, name) for name in ("v1", "v2", "v3"))
    repeated = japanese(*range(100))
    assert set(v2) == set(v3) == {*repeated, *japanese(*range(100, 120))}
    assert all(not set(v1[prompt]) & set(v2[prompt]) for prompt in repeated)
    assert all(not {*v1[prompt], *v2[prompt]} & set(v3[prompt]) for prompt in repeated)
    assert report["rounds"]["v2"]["repeated_from_earlier_round"] == 100
    assert report["rounds"]["v2"]["repeats_without_two_new_models"] == 0


@pytest.mark.parametrize("roster", [("a", "b"), ("a", "b", "c")])
def test_a_roster_too_small_for_new_models_repeats_them(roster):
    config = make_config(
        v1={"others": [0, 8], "answer_models": ("a", "b")}, v2={"answer_models": roster, "repeat_others_of": "v1"}
    )
    requests, report = draw_requests(make_prompts(0, 8), config)
    assert all(len(set(models)) == 2 for models in models_of(requests, "v2").values())
    assert set(requests[requests["round"] == "v2"]["answer_model"]) == set(roster)
    assert report["rounds"]["v2"]["repeats_without_two_new_models"] == 8
    assert requests["request_id"].is_unique


def test_a_prompt_of_both_slice_and_repeats_stands_once():
    config = make_config(v1={"others": [0, 6]}, v2={"others": [4, 8], "repeat_others_of": "v1"})
    requests, report = draw_requests(make_prompts(0, 8), config)
    assert prompts_of(requests, "v2") == japanese(4, 5, 6, 7, 0, 1, 2, 3)
    assert report["rounds"]["v2"]["repeated_from_earlier_round"] == 6
    v1, v2 = models_of(requests, "v1"), models_of(requests, "v2")
    assert all(not set(v1[prompt]) & set(v2[prompt]) for prompt in japanese(*range(6)))


@pytest.mark.parametrize(
    ("bounds", "found", "asked"),
    [([2, 9], 3, "7"), ([5, 6], 0, "1"), ([7, None], 0, "all further"), ([5, None], 0, "all")],
)
def test_a_slice_beyond_the_last_prompt_is_shortened_with_a_warning(caplog, bounds, found, asked):
    with caplog.at_level(logging.WARNING):
        requests, report = draw_requests(make_prompts(5, 50), make_config(v1={"first_language": bounds}))
    assert len(requests) == 2 * found
    assert report["rounds"]["v1"]["first_language"]["found"] == found
    assert f"rounds.v1.first_language: {json.dumps(bounds)} asks for {asked}" in caplog.text
    assert f"{found} found" in caplog.text


def test_a_slice_that_is_filled_is_not_warned_of(caplog):
    with caplog.at_level(logging.WARNING):
        draw_requests(make_prompts(5, 5), make_config(v1={"first_language": [0, 5], "others": [4, None]}))
    assert not caplog.records


def test_needed_prompts_are_the_highest_ends():
    assert needed_prompts(make_config()) == (0, 0)
    first = {"first_language": [0, 3_000], "others": [0, 7_000]}
    assert needed_prompts(make_config(v1=first, v2={"first_language": [3_000, 9_000]})) == (9_000, 7_000)
    assert needed_prompts(make_config(v1=first, v2={"others": [7_000, None]})) == (3_000, None)


def test_no_rounds_are_no_requests():
    requests, report = draw_requests(make_prompts(3, 3), make_config())
    assert list(requests) == ["request_id", "round", "prompt_group", "prompt", "language", "slot", "answer_model"]
    assert len(requests) == report["num_requests"] == 0


def test_tables_that_were_not_mined_are_refused():
    config = make_config(v1={"first_language": [0, 2]})
    with pytest.raises(RequestsError, match=r"no column .*position.*Mine the prompts again"):
        draw_requests(make_prompts(3, 3).drop(columns="position"), config)
    with pytest.raises(RequestsError, match="is_first_language is True do not run from 0 to 1"):
        draw_requests(make_prompts(3, 3).drop(index=1), config)


def test_mined_prompts_are_what_is_drawn_from(tmp_path):
    conversations = [[{"role": "user", "content": f"a question that counts {n} words"}] for n in range(20)]
    languages = ["English", "German"] * 10
    pd.DataFrame({"conversation": conversations, "language": languages}).to_parquet(tmp_path / "shard.parquet")
    config = make_config(v1={"first_language": [0, 4], "others": [0, 3]})
    config = config.model_copy(
        update={"mining": config.mining.model_copy(update={"min_words": 3, "min_characters": 9})}
    )
    mine_prompts(
        [tmp_path / "shard.parquet"],
        output=tmp_path / "prompts.parquet",
        mining=config.mining,
        seed=config.seed,
        max_prompts=needed_prompts(config),
    )
    prompts = pd.read_parquet(tmp_path / "prompts.parquet")
    requests, _ = draw_requests(prompts, config)
    assert len(prompts) == 7
    assert prompts_of(requests, "v1") == prompts["prompt"].tolist()
