"""A data card counts a table, explains its columns, and shows nobody's texts."""

import pandas as pd
import pytest
import yaml

from wsdm_arena import schemas
from wsdm_arena.cards.data_card import write_data_card
from wsdm_arena.cards.outcomes import Outcome, read_label_origins, read_outcomes
from wsdm_arena.cards.tables import TABLES
from wsdm_arena.config import GenerationConfig
from wsdm_arena.config.fetching import SourcesConfig
from wsdm_arena.pipelines.reporting.cards import card_writer, label_card_writer, write_generated_pairs_card
from wsdm_arena.runs.formats import result_format_of
from wsdm_arena.runs.source_code import CARDS

SECRET = "my phone number is 0123"


def battles(**changes) -> pd.DataFrame:
    columns = {
        "pair_id": ["p1", "p1", "p2", "p3"],
        "prompt_group": ["g1", "g1", "g2", "g2"],
        "fold": [0, 0, 1, 1],
        "source": "train",
        "prompt": [SECRET, SECRET, "x" * 10, ""],
        "response_a": ["a", "a", None, "aaa"],
        "response_b": ["b"] * 4,
        "winner": ["model_a", "model_b", "model_a", "model_a"],
        "probability_a": [1.0, 0.0, 1.0, 1.0],
        "probability_b": [0.0, 1.0, 0.0, 0.0],
        "language": ["en", "en", "fr", "unknown"],
        "model_a": ["m|1", "m|1", "m2", None],
        "model_b": ["m2"] * 4,
        "colour": "red",
    }
    return pd.DataFrame(columns | changes)


REPORT = {
    "num_rows": 7,
    "dropped": {"the answers are identical": 2, "odd | reason": 1},
    "left_out": {},
    "repaired": {"null bytes": 0},
    "rows": [{"file": "/home/me/x", "id": SECRET}],
}


def body_of(text: str) -> str:
    return text.split("\n---\n", 1)[1]


def test_a_table_is_counted():
    text = write_data_card("battles", battles(), report=REPORT, env="sample")
    for line in (
        "| rows | 4 |",
        "| different pairs | 3 |",
        "| different prompts | 2 |",
        "| languages | en 2, fr 1, unknown 1 |",
        r"| models, by answers | m2 5, m\|1 2 |",
        "| `response_a` | `str` | Answer A, written by a model. | 1 (25.0 %) |",
        "| `colour` | `str` | Passed on from the raw table. | none |",
        "Votes: model_a 3, model_b 1.",
        "Means: `probability_a` 0.750, `probability_b` 0.250.",
        "Of 7 raw rows:",
        "| dropped | the answers are identical | 2 |",
        r"| dropped | odd \| reason | 1 |",
        f"| `prompt` | 16 | {len(SECRET)} | {len(SECRET)} | {len(SECRET)} |",
    ):
        assert line in body_of(text).splitlines(), line
    assert "null bytes" not in text
    assert "0.0 to 0.1" not in text  # votes are hard labels
    metadata = yaml.safe_load(text[4:].split("\n---\n")[0])
    assert metadata["language"] == ["en", "fr"]
    assert metadata["size_categories"] == ["n<1K"]


def test_no_text_of_people_is_shown():
    text = write_data_card("battles", battles(), report=REPORT)
    assert SECRET not in text
    assert "/home/me" not in text


@pytest.mark.parametrize("table", TABLES)
def test_every_column_of_every_schema_is_explained(table):
    described = TABLES[table].schema.to_schema().columns
    assert [name for name, column in described.items() if not column.description] == []
    empty = pd.DataFrame({name: pd.Series(dtype="str") for name in described if name not in schemas.LABEL_COLUMNS})
    text = write_data_card(table, empty)
    assert "| rows | 0 |" in text
    assert "Passed on from the raw table" not in text
    for name in empty.columns:
        assert f"| `{name}` |" in text


@pytest.mark.parametrize("schema", [schemas.Selection, schemas.Predictions])
def test_the_other_schemas_are_explained_too(schema):
    assert all(column.description for column in schema.to_schema().columns.values())


def test_labels_of_judges_name_the_judges():
    frame = pd.DataFrame({"pair_id": ["a", "b", "c"], "probability_a": [0.05, 0.95, 1.0]})
    frame["probability_b"] = 1 - frame["probability_a"]
    report = {
        "num_dropped_by_margin": 3,
        "min_margin": 0.02,
        "judges": {"llama|x": {"weight": 3.2, "orders": ["ab", "ba"], "judge_fingerprint": "f00"}},
    }
    lines = write_data_card("collected_labels", frame, report=report).splitlines()
    assert r"| llama\|x | 3.2 | ab and ba | `f00` |" in lines
    assert "| 0.0 to 0.1 | 1 |" in lines
    assert "| 0.9 to 1.0 | 2 |" in lines
    assert r"| left out | the judges are unsure: \|p(A) - p(B)\| below 0.02 | 3 |" in lines


def test_reports_of_any_kind_are_read():
    generated = {
        "dropped_answers": {"m1": {"empty": 1, "cut off": 2}, "m2": {"empty": 3}},
        "dropped_pairs": {"an answer is missing": 4},
        "languages": {"en": 5},
    }
    assert read_outcomes(generated) == [
        Outcome("dropped pairs", "an answer is missing", 4),
        Outcome("dropped answers", "empty", 4),
        Outcome("dropped answers", "cut off", 2),
    ]
    assert read_outcomes({}) == []
    assert read_outcomes({"dropped": 3}) == []
    assert read_label_origins(generated) == []


def test_what_is_known_of_rows_that_are_missing_is_said():
    assert "No report of it is at hand." in write_data_card("battles", battles())
    assert "Nothing was dropped" in write_data_card("battles", battles(), report={"dropped": {}})


def test_licences_are_those_of_the_sources():
    sources = SourcesConfig.model_validate(
        {
            "inputs": {
                "train": {
                    "what": "battles",
                    "hub": "kaggle_competition",
                    "handle": "contest",
                    "files": {"train.parquet": {}},
                    "licence": {"name": "MIT", "url": "https://example.org/mit"},
                }
            }
        }
    )
    text = write_data_card("battles", battles(), sources=sources)
    assert "[contest](https://www.kaggle.com/competitions/contest): [MIT](https://example.org/mit)." in text
    assert "license: mit" in text
    simulated = write_data_card("battles", battles(), sources=SourcesConfig(simulated=True))
    assert "The data are simulated; they are nobody else's." in simulated


PACKAGE = {
    "title": "Tiny-1B",
    "distributions": {"llm-tiny": "1.2"},
    "files": ["tiny.gguf"],
    "sha256": "0" * 64,
    "model_type": "llama",
    "licence": {"name": "MIT", "url": "https://example.org/mit"},
}


def test_generated_pairs_name_the_models_that_answered():
    generation = {"answer_models": {"tiny": {"engine": "vllm", "model": "package:tiny_1b"}}}
    text = write_generated_pairs_card(
        pd.DataFrame({"pair_id": ["p"], "prompt": ["x"], "model_a": ["tiny"], "model_b": ["gone"]}),
        report={},
        sources=SourcesConfig(simulated=True),
        run_context={"env": "sample"},
        generation=GenerationConfig.model_validate(generation),
        packaged_models={"tiny_1b": PACKAGE},
    )
    assert "* answers of this model, gone: not known to this run." in text
    assert "[Tiny-1B](https://pypi.org/project/llm-tiny) at `1.2`: [MIT](https://example.org/mit)." in text
    assert "* All else is simulated; it is nobody else's." in text
    assert "The prompts are simulated; the answers were written by the models named below." in text


@pytest.mark.parametrize("table", ["collected_labels", "generated_labels"])
def test_labels_name_the_models_that_their_judges_were_made_from(table):
    backbone = {"source": "package:tiny_1b", "model_type": "llama", "layout": "plain"}
    write = label_card_writer(table)
    assert (write.__name__, result_format_of(write)) == (f"write_{table}_card", CARDS)
    text = write(
        pd.DataFrame({"pair_id": ["p"], "prompt_group": ["g"], "probability_a": [0.5], "probability_b": [0.5]}),
        report={},
        sources=SourcesConfig(simulated=True),
        run_context={"env": "sample"},
        labellers={table: {"llama": backbone, "gemma": backbone}},
        packaged_models={"tiny_1b": PACKAGE},
    )
    terms = "[Tiny-1B](https://pypi.org/project/llm-tiny) at `1.2`: [MIT](https://example.org/mit)."
    assert text.count(f"* labels by a judge made from this model, {terms}") == 1
    assert "The judges that gave these labels learned from simulated votes." in text


def test_names_in_a_table_cannot_break_its_card():
    evil = "x\n# owned | `y` <b>"
    frame = battles(model_b=evil, language=evil, source=evil, winner=evil).rename(columns={"colour": evil})
    text = write_data_card("battles", frame, report={"dropped": {evil + "\ud83d": 1}})
    text.encode("utf-8")
    assert [line for line in text.splitlines() if line.startswith("# ")] == ["# battles"]
    assert "<b>" not in text.replace(r"\<b\>", "")


def test_an_unknown_table_is_refused():
    with pytest.raises(ValueError, match="no description of a table 'verdicts'; known are battles"):
        write_data_card("verdicts", battles())


def test_the_nodes_write_the_same():
    write = card_writer("battles")
    assert write.__name__ == "write_battles_card"
    assert result_format_of(write) == CARDS
    sources = SourcesConfig(simulated=True)
    expected = write_data_card("battles", battles(), report=REPORT, env="sample", sources=sources)
    run = {"env": "sample", "run_id": "now"}
    assert write(battles(), run_context=run, report=REPORT, sources=sources) == expected
