"""Files that are read in frames hold what they hold when they are read whole."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from wsdm_arena.preferences.raw_rows import RawTableError, read_frame, stream_frames, survey_file

SUFFIXES = ("parquet", "csv", "tsv", "jsonl", "json")
REQUIRED = ("prompt", "response_a", "response_b")


def write(raw: pd.DataFrame, path: Path) -> Path:
    match path.suffix:
        case ".parquet":
            raw.to_parquet(path, row_group_size=5)  # frames of 4 rows cross their edges
        case ".csv" | ".tsv":
            raw.to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")
        case _:
            raw.to_json(path, orient="records", lines=path.suffix == ".jsonl")
    return path


@pytest.mark.parametrize("rows_per_frame", [1, 4, 12, 100])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_frames_hold_what_the_whole_file_holds(suffix, rows_per_frame, raw, tmp_path):
    file = write(raw, tmp_path / f"t.{suffix}")
    frames = dict(stream_frames(file, rows_per_frame))
    assert list(frames) == list(range(len(frames)))
    assert [len(frame) for frame in frames.values()][:-1] == [rows_per_frame] * (len(frames) - 1)
    joined = pd.concat(frames.values(), ignore_index=True)
    pd.testing.assert_frame_equal(joined, read_frame(file))
    assert joined["_row"].tolist() == list(range(1, 13))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_only_wanted_frames_are_made(suffix, raw, tmp_path):
    file = write(raw, tmp_path / f"t.{suffix}")
    frames = dict(stream_frames(file, 5, wanted={0, 2}))
    assert {number: frame["_row"].tolist() for number, frame in frames.items()} == {0: [1, 2, 3, 4, 5], 2: [11, 12]}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_survey_counts_rows_and_names_columns(suffix, raw, tmp_path):
    survey = survey_file(write(raw, tmp_path / f"t.{suffix}"), (*REQUIRED, "absent"))
    assert survey.num_rows == 12
    assert survey.columns == tuple(raw.columns)
    assert survey.missing == ("absent",)
    assert survey.num_readable == (0 if suffix.startswith("json") else 12)


def test_an_object_without_a_needed_key_is_a_fault_and_keeps_its_cells(tmp_path):
    whole = dict.fromkeys(REQUIRED, "x")
    lines = [whole | {"id": 1}, {"id": 2, "prompt": "p"}, whole | {"id": 3, "response_a": None}]
    file = tmp_path / "t.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)) + "\n[\n")
    (_, frame), (_, last) = stream_frames(file, 3, required=REQUIRED)
    assert frame["_fault"].tolist() == [None, "no 'response_a' or 'response_b' in this object", None]
    assert frame["id"].tolist() == [1, 2, 3]
    assert frame["prompt"].tolist() == ["x", "p", "x"]
    assert last["_fault"][0].startswith("not a JSON object")
    assert set(REQUIRED) <= set(last)
    survey = survey_file(file, REQUIRED)
    assert (survey.num_rows, survey.num_readable) == (4, 2)
    assert survey.first_fault == frame["_fault"][1]


def test_faulty_csv_rows_leave_the_columns_of_the_header(tmp_path):
    file = tmp_path / "t.csv"
    file.write_text("prompt,response_a,response_b\n1\n2\n1,2,3\n")
    first, second = (frame for _, frame in stream_frames(file, 2, required=REQUIRED))
    assert first["_fault"].notna().all()
    assert set(REQUIRED) <= set(first)
    assert second["_fault"].isna().all()


def test_integers_keep_their_digits_in_every_frame(tmp_path):
    large = [2**53 + 1, None, 2**53 + 3]
    pd.DataFrame({"id": pd.array(large, dtype="Int64")}).to_parquet(tmp_path / "t.parquet")
    ids = [cell for _, frame in stream_frames(tmp_path / "t.parquet", 1) for cell in frame["id"].tolist()]
    assert [None if cell is None or cell is pd.NA or np.isnan(cell) else int(cell) for cell in ids] == large


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.xlsx", b"PK", "unknown format '.xlsx'"),
        ("t.csv", b"", "the file is empty"),
        ("t.csv", b"prompt\n", "holds no rows"),
        ("t.jsonl", b"\n\n", "holds no rows"),
        ("t.csv", b'prompt,x\n"open,1\n2,3\n', "never closed"),
        ("t.parquet", b"PAR1", "cannot be read as parquet"),
        ("t.jsonl", b'{"_row": 1}\n', "reserved"),
        ("t.json", b"[1, 2", "cannot be read as json"),
    ],
)
def test_a_survey_refuses_what_reading_would_refuse(name, content, message, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(RawTableError, match=message) as refusal:
        survey_file(tmp_path / name)
    assert str(tmp_path / name) in str(refusal.value)


def test_a_lone_surrogate_in_a_name_is_replaced_and_stops_nothing(tmp_path):
    lines = ['{"prompt": "p", "a\\ud83d": 1}', '{"prompt": "q"}', '{"prompt": "r", "\\ud83d": 1, "\\ud83e": 2}']
    (tmp_path / "t.jsonl").write_text("\n".join(lines))
    (tmp_path / "t.csv").write_bytes(b"prompt,a\xff\np,1\nq,\n")
    assert survey_file(tmp_path / "t.jsonl").columns == ("prompt", "a\ufffd")
    frame = read_frame(tmp_path / "t.jsonl")
    assert frame["a\ufffd"].tolist()[0] == 1
    assert frame["prompt"].tolist()[:2] == ["p", "q"]
    assert frame["_fault"].tolist()[2] == "two names in this object differ in lone surrogates only"
    assert read_frame(tmp_path / "t.csv")["a\ufffd"].tolist() == ["1", ""]


@pytest.mark.parametrize("cell", ["9" * 5_000, "[" * 100_000 + "]" * 100_000])
def test_a_json_list_with_a_value_that_python_cannot_hold_is_refused_by_name(cell, tmp_path):
    (tmp_path / "t.json").write_text(f'[{{"prompt": "p"}}, {{"prompt": {cell}}}]')
    (tmp_path / "t.jsonl").write_text(f'{{"prompt": "p"}}\n{{"prompt": {cell}}}')
    for read in (survey_file, read_frame):
        with pytest.raises(RawTableError, match=r"t\.json: cannot be read as json: .*with one object a line"):
            read(tmp_path / "t.json")
    assert survey_file(tmp_path / "t.jsonl").num_readable == 1
