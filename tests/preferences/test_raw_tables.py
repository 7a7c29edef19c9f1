import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from wsdm_arena.preferences.raw_tables import RawTableError, check_columns, find_files, read_raw_tables
from wsdm_arena.preferences.test_pairs import build_test_pairs

COLUMNS = ["prompt", "response_a", "response_b", "winner"]


def _read(path):
    return read_raw_tables(find_files(path))


def _write_three(folder, raw):
    raw.iloc[:4].to_parquet(folder / "one.parquet")
    raw.iloc[4:8].to_csv(folder / "two.csv", index=False)
    raw.iloc[8:].to_json(folder / "three.jsonl", orient="records", lines=True)
    (folder / "README.md").write_text("no table")


def test_one_file_of_each_format_gives_the_same_table(tmp_path, raw):
    raw.to_parquet(tmp_path / "t.parquet")
    raw.to_csv(tmp_path / "t.csv", index=False)
    raw.to_csv(tmp_path / "t.tsv", index=False, sep="\t")
    raw.to_json(tmp_path / "t.jsonl", orient="records", lines=True)
    raw.to_json(tmp_path / "t.json", orient="records")
    for suffix in ("parquet", "csv", "tsv", "jsonl", "json"):
        table = _read(tmp_path / f"t.{suffix}")
        assert table[list(raw.columns)].astype("str").equals(raw.astype("str")), suffix
        assert table["_row"].tolist() == list(range(1, 13))
        assert set(table["source"]) == {"t"}
        assert table["_fault"].isna().all()


@pytest.mark.parametrize("form", ["directory", "list", "commas", "glob"])
def test_many_files_are_read_as_one_table_with_their_sources(tmp_path, raw, form):
    _write_three(tmp_path, raw)
    files = [tmp_path / name for name in ("one.parquet", "two.csv", "three.jsonl")]
    spec = {
        "directory": tmp_path,
        "list": files,
        "commas": ", ".join(str(file) for file in files),
        "glob": f"{tmp_path}/*.[pcj]*",
    }[form]
    table = _read(spec)
    assert sorted(table["id"]) == sorted(raw["id"])
    assert table.groupby("source").size().to_dict() == {"one": 4, "two": 4, "three": 4}
    assert table.groupby("_file")["_row"].apply(list).tolist() == [[1, 2, 3, 4]] * 3


def test_relative_paths_start_where_told(tmp_path, raw):
    raw.to_parquet(tmp_path / "a.parquet")
    raw.to_parquet(tmp_path / "b.parquet")
    assert find_files("a.parquet,b.parquet", relative_to=tmp_path) == [tmp_path / "a.parquet", tmp_path / "b.parquet"]


def test_a_file_named_twice_is_read_once_and_a_link_keeps_its_suffix(tmp_path, raw):
    raw.to_parquet(tmp_path / "blob")
    (tmp_path / "t.parquet").symlink_to(tmp_path / "blob")
    assert find_files([tmp_path / "t.parquet", f"{tmp_path}/*.parquet"]) == [tmp_path / "t.parquet"]
    assert len(_read(tmp_path / "t.parquet")) == 12


def test_names_with_commas_and_brackets_are_names_where_they_exist(tmp_path, raw):
    raw.to_parquet(tmp_path / "a,b[1].parquet")
    assert len(_read(str(tmp_path / "a,b[1].parquet"))) == 12


def test_equal_names_in_two_folders_keep_their_sources_apart(tmp_path, raw):
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        raw.to_parquet(tmp_path / folder / "t.parquet")
    assert set(_read(f"{tmp_path}/*/t.parquet")["source"]) == {"x/t.parquet", "y/t.parquet"}


def test_a_source_column_of_the_file_is_kept(tmp_path, raw):
    raw.assign(source="arena").to_parquet(tmp_path / "t.parquet")
    assert set(_read(tmp_path / "t.parquet")["source"]) == {"arena"}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent.parquet", "no such file"),
        ("*.parquet", "no file matches"),
        ("empty", "holds no table"),
        ("", "no such file"),
    ],
)
def test_what_names_no_file_is_refused_by_name(tmp_path, name, message):
    (tmp_path / "empty").mkdir()
    with pytest.raises(RawTableError, match=message) as refusal:
        find_files(tmp_path / name if name else "nowhere/absent.csv")
    assert str(name) in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("broken.parquet", b"PAR1 this is no Parquet file"),
        ("truncated.parquet", None),
        ("empty.parquet", b""),
        ("empty.csv", b""),
        ("header.csv", b"prompt,response_a\n"),
        ("empty.jsonl", b"\n\n"),
        ("noise.jsonl", b"\x00\xff\xfe" * 50),
        ("broken.json", b'[{"prompt": "p"}, '),
        ("table.xlsx", b"PK"),
        ("twice.csv", b"prompt,prompt\n1,2\n"),
        ("reserved.jsonl", b'{"_row": 1}'),
        ("quote.csv", b'prompt,response_a\n"never closed,1\n2,3\n'),
    ],
)
def test_an_unreadable_file_is_refused_by_name(tmp_path, raw, name, content):
    if content is None:
        raw.to_parquet(tmp_path / "whole")
        content = (tmp_path / "whole").read_bytes()[:-20]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(RawTableError) as refusal:
        _read(tmp_path / name)
    assert str(tmp_path / name) in str(refusal.value)
    assert len(str(refusal.value).splitlines()) == 1


def test_one_unreadable_row_is_kept_with_its_fault(tmp_path):
    good = json.dumps(dict.fromkeys(COLUMNS, "x"))
    (tmp_path / "t.jsonl").write_text(f'{good}\n{{"prompt": \n[1, 2]\n{"[" * 100_000}\n{good}\n')
    table = _read(tmp_path / "t.jsonl")
    assert table["_fault"].notna().tolist() == [False, True, True, True, False]
    assert table["_row"].tolist() == [1, 2, 3, 4, 5]
    assert "list" in table["_fault"][2]

    (tmp_path / "t.csv").write_text('prompt,response_a\n1,2\nonly one\n"a"b,2\n3,4,5\n"x\ny",z\n')
    table = _read(tmp_path / "t.csv")
    assert table["_fault"].notna().tolist() == [False, True, True, True, False]
    assert table["_fault"][1] == "1 cells near line 3, the header has 2"
    assert table["prompt"][4] == "x\ny"


def test_csv_cells_stay_the_texts_they_are(tmp_path):
    cells = [
        "NA",
        "null",
        "None",
        "1.0",
        "007",
        "",
        " x ",
        "nan",
        "a,b",
        'say "hi"',
        "line\nbreak",
        "\x00",
        "x" * 200_000,
    ]
    pd.DataFrame({"prompt": cells, "n": range(len(cells))}).to_csv(tmp_path / "t.csv", index=False)
    assert _read(tmp_path / "t.csv")["prompt"].tolist() == cells


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"\xef\xbb\xbfprompt,x\n1,2\n")
    (tmp_path / "t.jsonl").write_bytes(b'\xef\xbb\xbf{"prompt": "1"}\n')
    assert "prompt" in _read(tmp_path / "t.csv")
    assert "prompt" in _read(tmp_path / "t.jsonl")


def test_bytes_that_are_no_utf8_do_not_stop_the_reading(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"prompt,x\ncaf\xe9,2\n")
    (tmp_path / "t.jsonl").write_bytes(b'{"prompt": "caf\xe9"}\n{"prompt": "half \\ud800"}\n')
    column = pa.Array.from_buffers(pa.string(), 2, pa.array([b"caf\xe9", b"fine"], pa.binary()).buffers())
    pq.write_table(pa.table({"prompt": column}), tmp_path / "t.parquet")
    assert _read(tmp_path / "t.csv")["prompt"].tolist() == ["caf\udce9"]
    assert _read(tmp_path / "t.jsonl")["prompt"].tolist() == ["caf\udce9", "half \ud800"]
    assert _read(tmp_path / "t.parquet")["prompt"].tolist() == ["caf\udce9", "fine"]


def test_a_line_of_json_ends_at_a_newline_only(tmp_path):
    text = "a\u2028b\x85c\x0cd"
    (tmp_path / "t.jsonl").write_text(json.dumps({"prompt": text}, ensure_ascii=False) + "\n", encoding="utf-8")
    assert _read(tmp_path / "t.jsonl")["prompt"].tolist() == [text]


def test_files_with_different_obligatory_columns_are_refused_by_name(tmp_path, raw):
    raw.to_parquet(tmp_path / "a.parquet")
    raw.drop(columns="winner").to_parquet(tmp_path / "b.parquet")
    with pytest.raises(RawTableError, match=r"b\.parquet: no column 'winner', which other files"):
        _read(tmp_path)


def test_files_may_differ_in_other_columns(tmp_path, raw):
    raw.assign(turn=np.arange(12)).to_parquet(tmp_path / "a.parquet")
    raw.drop(columns=["id", "language"]).to_parquet(tmp_path / "b.parquet")
    table = _read(tmp_path)
    assert len(table) == 24
    assert table["id"].isna().sum() == 12
    assert table["turn"].isna().sum() == 12


def test_a_missing_column_is_named_with_what_is_there_and_what_it_may_be_called(tmp_path, raw):
    raw.rename(columns={"response_b": "respones_b"}).to_parquet(tmp_path / "t.parquet")
    with pytest.raises(RawTableError) as refusal:
        check_columns(_read(tmp_path / "t.parquet"), COLUMNS)
    message = str(refusal.value)
    for part in (
        str(tmp_path / "t.parquet"),
        "no column 'response_b'",
        "'model_a'",
        "Is 'respones_b' meant to be 'response_b'?",
    ):
        assert part in message


LARGE_IDS = [2**53 + number for number in range(1, 5)]  # as floats, two of them would be the same
WRITERS = {
    "parquet": lambda rows, path: pq.write_table(pa.Table.from_pylist(rows), path),
    "csv": lambda rows, path: path.write_text(
        "\n".join([",".join(rows[0]), *(",".join(str(row[name] or "") for name in row) for row in rows)])
    ),
    "jsonl": lambda rows, path: path.write_text("\n".join(map(json.dumps, rows))),
}


@pytest.mark.parametrize("suffix", WRITERS)
def test_large_integer_ids_survive_a_null(tmp_path, suffix):
    texts = {"prompt": "p", "response_a": "a", "response_b": "b"}
    WRITERS[suffix]([{"id": name, **texts} for name in [*LARGE_IDS, None]], tmp_path / f"t.{suffix}")
    pairs = build_test_pairs(_read(tmp_path)).test_pairs
    assert pairs["id"].tolist() == [*map(str, LARGE_IDS), "5"]


@pytest.mark.parametrize("other", WRITERS)
@pytest.mark.parametrize("suffix", WRITERS)
def test_large_integer_ids_survive_a_file_without_ids(tmp_path, suffix, other):
    WRITERS[suffix]([{"id": name, "prompt": "p"} for name in LARGE_IDS], tmp_path / f"with.{suffix}")
    WRITERS[other]([{"prompt": "p"}], tmp_path / f"without.{other}")
    table = _read([tmp_path / f"with.{suffix}", tmp_path / f"without.{other}"])
    assert [str(name) for name in table["id"][:4]] == [*map(str, LARGE_IDS)]
    assert table["id"].isna().tolist() == [False] * 4 + [True]


def test_large_integer_ids_survive_a_file_of_floats_and_agreeing_files_keep_their_type(tmp_path):
    for name in ("a", "b"):
        pd.DataFrame({"id": LARGE_IDS}).to_parquet(tmp_path / f"{name}.parquet")
    assert _read(tmp_path)["id"].dtype == np.int64
    pd.DataFrame({"id": [0.5]}).to_parquet(tmp_path / "c.parquet")
    assert _read(tmp_path)["id"].tolist() == [*LARGE_IDS, *LARGE_IDS, 0.5]


def test_a_file_whose_name_is_no_text_is_read(tmp_path):
    file = Path(os.fsdecode(os.fsencode(tmp_path) + b"/t\xff.csv"))
    file.write_text("prompt\np\n")
    table = read_raw_tables([file])
    assert table["_file"].tolist() == [f"{tmp_path}/t\ufffd.csv"]
    assert table["source"].tolist() == ["t\ufffd"]
