import json

import pandas as pd

from wsdm_arena.analysis.datasets import summarize_tables

EMPTY = {"num_rows": 0, "num_prompts": 0, "languages": {}, "sources": {}}


def test_rows_prompts_languages_and_sources_are_counted_the_most_frequent_first():
    battles = pd.DataFrame(
        {
            "prompt_group": ["p", "p", "q", "r"],
            "prompt": ["P", "P", "Q", "R"],
            "language": ["ru", "en", "en", "de"],
            "source": ["arena", "mine", "mine", "mine"],
        }
    )
    found = summarize_tables({"battles": battles, "test_pairs": battles.head(0)})
    assert found == {
        "battles": {
            "num_rows": 4,
            "num_prompts": 3,
            "languages": {"en": 2, "de": 1, "ru": 1},
            "sources": {"mine": 3, "arena": 1},
        },
        "test_pairs": EMPTY,
    }
    assert list(found["battles"]["languages"]) == ["en", "de", "ru"]
    assert list(found["battles"]["sources"]) == ["mine", "arena"]
    assert json.loads(json.dumps(found)) == found
    assert summarize_tables({"battles": battles.iloc[::-1]})["battles"] == found["battles"]


def test_of_columns_that_a_table_lacks_nothing_is_said():
    pairs = pd.DataFrame({"pair_id": ["1", "2"], "prompt": ["P", "P"], "language": ["en", None]})
    assert summarize_tables({"pairs": pairs})["pairs"] == {
        "num_rows": 2,
        "num_prompts": 1,
        "languages": {"en": 1},
        "sources": {},
    }
    assert summarize_tables({"pairs": pairs[["pair_id"]]})["pairs"]["num_prompts"] == 2
    assert summarize_tables({"pairs": pairs[["language"]]})["pairs"]["num_prompts"] == 0
    assert summarize_tables({"nothing": pd.DataFrame()}) == {"nothing": EMPTY}
    assert summarize_tables({}) == {}


def test_names_are_data():
    table = pd.DataFrame({"source": pd.Categorical(["</b>", "a=b", "a=b"], categories=["a=b", "</b>", "unused"])})
    assert summarize_tables({"t": table})["t"]["sources"] == {"a=b": 2, "</b>": 1}
