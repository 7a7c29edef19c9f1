import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from kedro.io import DataCatalog, DatasetError
from pandera.errors import SchemaErrors

from wsdm_arena import schemas

NAMES = [f"{number:032x}" for number in range(3)]


@pytest.fixture
def battles() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "pair_id": NAMES, "battle_id": NAMES, "prompt_group": NAMES, "fold": [0, 1, 2], "source": "s",
            "prompt": ["p", None, ""], "response_a": ["a", "", None], "response_b": ["b", None, ""], "num_turns": 1,
            "winner": ["model_a", "model_b", "tie"], "probability_a": [1.0, 0.0, 0.5], "probability_b": [0.0, 1.0, 0.5],
            "language": ["en", "unknown", "ceb"], "model_a": ["m", None, None], "model_b": ["n", None, None],
            "id": ["1", "2", "3"], "turn": [1, 2, 3],
        }
    )  # fmt: skip


@pytest.fixture
def predictions() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "pair_id": [NAMES[0], NAMES[0], NAMES[1]], "order": ["ab", "ba", "ab"], "fold": 0, "truncated": False,
            "logits": [np.array([1.0, -1.0])] * 3, "probabilities": [[0.25, 0.75]] * 3,
            "judge_fingerprint": "f", "template_hash": "t",
        }
    )  # fmt: skip


def test_sound_tables_pass_with_columns_of_their_own(battles, predictions):
    assert "turn" in schemas.Battles.validate(battles, lazy=True)
    schemas.TestPairs.validate(battles, lazy=True)
    selection = battles.assign(table="battles", split="train", phase=0)
    schemas.Selection.validate(selection, lazy=True)
    schemas.Predictions.validate(predictions, lazy=True)
    schemas.Predictions.validate(predictions.iloc[:0], lazy=True)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"battle_id": NAMES[0]}, "battle_id"),
        ({"pair_id": "short"}, "pair_id"),
        ({"winner": ["model_a", "model_b", "model_c"]}, "model_c"),
        ({"probability_a": 0.7}, "sum to 1"),
        ({"probability_a": [2.0, 0.0, 0.5], "probability_b": [-1.0, 1.0, 0.5]}, "probability_a"),
        ({"prompt_group": NAMES[0]}, "prompt_group"),
        ({"fold": [0, 1, -1]}, "fold"),
        ({"id": [1, 2, 3]}, "'id'"),
        ({"prompt": [1, 2, 3]}, "prompt"),
    ],
)
def test_a_bad_column_of_battles_is_named(battles, change, named):
    with pytest.raises(SchemaErrors, match=named):
        schemas.Battles.validate(battles.assign(**change), lazy=True)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"order": "ab"}, "pair_id', 'order"),
        ({"order": ["ab", "ba", "AB"]}, "order"),
        ({"probabilities": [[0.5, 0.4]] * 3}, "probabilities"),
        ({"logits": [[np.nan, 0.0]] * 3}, "logits"),
        ({"logits": [[0.0, 0.0]] * 2 + [[0.0, 0.0, 0.0]]}, "logits"),
    ],
)
def test_predictions_are_keyed_once_and_finite(predictions, change, named):
    with pytest.raises(SchemaErrors, match=named):
        schemas.Predictions.validate(predictions.assign(**{key: pd.Series(value) if isinstance(value, list) else value
                                                           for key, value in change.items()}), lazy=True)  # fmt: skip


def test_tables_are_described_without_torch():
    modules = "wsdm_arena.schemas, wsdm_arena.metrics, wsdm_arena.preferences.battles"
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", ["Battles", "TestPairs", "Selection", "Predictions"])
def test_kedro_takes_a_schema_as_a_catalog_entrys_validator(tmp_path, battles, name):
    entry = {
        "type": "wsdm_arena.io.table.TableDataset",
        "filepath": str(tmp_path / "t.parquet"),
        "validator": f"wsdm_arena.schemas.{name}",
    }
    catalog = DataCatalog.from_config({"table": entry})
    with pytest.raises(DatasetError, match="pair_id"):
        catalog.save("table", battles.drop(columns="pair_id"))
    assert not (tmp_path / "t.parquet").exists()
