import pandas as pd
import pytest

from wsdm_arena import schemas
from wsdm_arena.preferences.folds import BattlesError
from wsdm_arena.preferences.pair_ids import pair_id
from wsdm_arena.preferences.raw_tables import RawTableError, find_files, read_raw_tables
from wsdm_arena.preferences.test_pairs import build_test_pairs


@pytest.fixture
def table(raw) -> pd.DataFrame:
    return raw[["id", "prompt", "response_a", "response_b"]].assign(scored=False)


def test_every_row_is_kept_even_without_texts(table):
    table.loc[0, ["prompt", "response_a", "response_b"]] = None
    table.loc[1, ["response_a", "response_b"]] = "same"
    pairs, report = build_test_pairs(table)
    schemas.TestPairs.validate(pairs, lazy=True)
    assert pairs["id"].tolist() == table["id"].tolist()
    assert pairs["pair_id"][0] == pair_id(None, None, None)
    assert pairs["scored"].tolist() == [False] * 12
    assert report["dropped"] == report["left_out"] == {}


def test_a_table_without_ids_gets_the_numbers_of_its_rows(table):
    assert build_test_pairs(table.drop(columns="id")).test_pairs["id"].tolist() == [
        str(number) for number in range(1, 13)
    ]


def test_an_id_of_two_pairs_is_refused_and_a_repeated_row_is_kept_once(table):
    pairs, report = build_test_pairs(pd.concat([table, table.iloc[[2]]]))
    assert len(pairs) == report["num_test_pairs"] == 12
    assert report["left_out"] == {"the row repeats another": 1}
    table.loc[3, "id"] = "v1"
    with pytest.raises(BattlesError, match=r"column 'id'.*'v1'.*row 2 \(id v1\); table row 4 \(id v1\)"):
        build_test_pairs(table)


def test_an_unreadable_row_still_gets_an_answer(tmp_path):
    (tmp_path / "t.jsonl").write_text('{"id": "x", "prompt": "p", "response_a": "a", "response_b": "b"}\n{broken\n')
    pairs, report = build_test_pairs(read_raw_tables(find_files(tmp_path)))
    schemas.TestPairs.validate(pairs, lazy=True)
    assert pairs["id"].tolist() == ["x", "2"]
    assert report["repaired"] == {"the row cannot be read: kept without texts": 1}


def test_a_missing_column_is_refused(table):
    with pytest.raises(RawTableError, match="no column 'response_a'"):
        build_test_pairs(table.drop(columns="response_a"))


def test_a_table_without_rows_has_the_types_of_one_with_rows(table):
    pairs, report = build_test_pairs(pd.DataFrame({name: pd.Series(dtype="str") for name in table.columns[1:4]}))
    schemas.TestPairs.validate(pairs, lazy=True)
    assert pairs["num_turns"].dtype == "int64"
    assert report["num_test_pairs"] == len(pairs) == 0
    schemas.TestPairs.validate(build_test_pairs(table.iloc[:0]).test_pairs, lazy=True)
