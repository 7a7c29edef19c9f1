import json
from dataclasses import replace

import pytest

from wsdm_arena.preflight.raw_tables import check_raw_tables

NODES = ["build_battles", "build_test_pairs", "build_collected_pairs"]
GOOD = "prompt,response_a,response_b,winner\np,a,b,model_a\n"


@pytest.fixture
def files(tmp_path):
    """A file for each raw table, good as they are."""
    return {
        f"{name}_table": write(tmp_path / f"{name}.csv", GOOD).as_posix()
        for name in ("train", "test", "collected_pairs")
    }


def write(path, text):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def check(plan, files, nodes=NODES):
    entries = {name: {"filepath": path, "required": True} for name, path in files.items()}
    return check_raw_tables(plan(nodes, entries=entries))


def test_good_tables_are_passed(plan, files):
    assert check(plan, files) == []


def test_every_table_without_a_column_is_named_with_what_it_has(plan, files, tmp_path):
    for path in files.values():
        write(tmp_path / path, "prompt,respons_a,response_b\np,a,b\n")
    lines = check(plan, files)
    assert [line.partition(":")[0] for line in lines] == list(files)
    assert "train.csv: no column 'response_a' or 'winner'; there are ['prompt', 'respons_a', 'response_b']" in lines[0]
    assert "test.csv: no column 'response_a'; there are" in lines[1]
    assert "Is 'respons_a' meant to be 'response_a'?" in lines[2]
    assert check(plan, files, nodes=["build_test_pairs"]) == lines[1:2], "only what the selected nodes read"


def test_tables_that_only_nodes_read_which_are_up_to_date_are_not_opened(plan, files, tmp_path):
    write(tmp_path / "train.csv", "prompt\np\n")
    entries = {name: {"filepath": path, "required": True} for name, path in files.items()}
    run = plan(NODES, entries=entries)
    assert len(check_raw_tables(run)) == 1
    assert check_raw_tables(replace(run, to_run=frozenset({"build_test_pairs"}))) == []


@pytest.mark.parametrize("ending", ["jsonl", "json"])
def test_json_rows_may_have_later_what_the_first_ones_lack(plan, files, tmp_path, ending):
    row = {"prompt": "p", "response_a": "a", "response_b": "b"}
    path = tmp_path / f"train.{ending}"
    files["train_table"] = path.as_posix()

    def check_rows(num_rows):
        rows = [json.dumps(row | ({"winner": "model_a"} if number >= 1000 else {})) for number in range(num_rows)]
        write(path, "\n".join(rows) if ending == "jsonl" else f"[{','.join(rows)}]")
        return check(plan, files)

    assert "no column 'winner'" in check_rows(999)[0]
    assert check_rows(1002) == []


def test_one_hot_winners_need_no_column_of_that_name(plan, files, tmp_path):
    write(tmp_path / "train.csv", "prompt,response_a,response_b,winner_model_a,winner_model_b\np,a,b,1,0\n")
    assert check(plan, files) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PAR1\x15\x04", "this is no csv file; it is Parquet: end its name in .parquet"),
        (b"PK\x03\x04", "it is a ZIP archive or a spreadsheet"),
        (b"\x1f\x8b\x08", "it is compressed by gzip: unpack it"),
        (b"", "the file is empty"),
        (b"prompt,response_a,response_b,winner\n", "the file holds no rows"),
        ("prompt,response_a,response_b,winner\n".encode("utf-16"), "it is text in UTF-16: save it as UTF-8"),
        (bytes(range(256)) * 9, "it is binary, or text in another encoding"),
    ],
)
def test_what_is_no_table_is_said(plan, files, tmp_path, content, message):
    write(tmp_path / "train.csv", content)
    (line,) = check(plan, files)
    assert line.startswith("train_table: ")
    assert message in line


def test_a_csv_called_parquet_is_called_that(plan, files, tmp_path):
    path = write(tmp_path / "train.parquet", GOOD)
    (line,) = check(plan, files | {"train_table": path.as_posix()})
    assert "this is no Parquet file; give it the ending of what it is" in line


def test_accents_in_another_encoding_are_left_to_the_repair(plan, files, tmp_path):
    write(
        tmp_path / "train.csv", GOOD.encode() + "caf\u00e9 cr\u00e8me,\u00e0,\u00e9t\u00e9,model_b\n".encode("latin-1")
    )
    assert check(plan, files) == []


def test_files_that_are_not_there_or_hold_no_good_row_are_left_to_others(plan, files, tmp_path):
    write(tmp_path / "test.csv", "prompt\na,b\n")
    assert check(plan, files | {"train_table": (tmp_path / "none.csv").as_posix()}) == []
