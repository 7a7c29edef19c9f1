"""What Kedro-Viz shows of an entry: bounded, safe for a browser, and of the type that it goes by."""

import inspect
import json
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from kedro.io import Version

from wsdm_arena.io.directory import CheckpointDataset
from wsdm_arena.io.figure import FigureDataset
from wsdm_arena.io.optional_table import OptionalTableDataset
from wsdm_arena.io.previews import MAX_CELL_CHARACTERS, MAX_PREVIEW_CHARACTERS, preview_json, preview_records
from wsdm_arena.io.raw_files import RawShardsDataset
from wsdm_arena.io.raw_table import RawTableDataset
from wsdm_arena.io.table import SubmissionDataset, TableDataset
from wsdm_arena.io.text import AtomicJSONDataset, AtomicTextDataset, RecordsDataset
from wsdm_arena.io.tokens import TokensDataset

KINDS = {  # the names that Kedro-Viz knows
    TableDataset: "TablePreview",
    OptionalTableDataset: "TablePreview",
    SubmissionDataset: "TablePreview",
    RawTableDataset: "TablePreview",
    RawShardsDataset: "TablePreview",
    RecordsDataset: "TablePreview",
    AtomicJSONDataset: "JSONPreview",
    TokensDataset: "JSONPreview",
    CheckpointDataset: "JSONPreview",
    FigureDataset: "PlotlyPreview",
    AtomicTextDataset: "TextPreview",
}
VERSIONED = tuple(kind for kind in KINDS if kind not in (RawTableDataset, RawShardsDataset))


def _dataset(kind, path, **arguments):
    return kind(filepath=str(path), **({"store": "tokens"} if kind is TokensDataset else {}), **arguments)


@pytest.mark.parametrize("kind", KINDS)
def test_kedro_viz_knows_the_type_of_every_preview(kind):
    assert inspect.signature(kind.preview).return_annotation.__name__ == KINDS[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_an_entry_without_a_file_shows_nothing(kind, tmp_path):
    assert _dataset(kind, tmp_path / "absent.parquet").preview() is None


@pytest.mark.parametrize("kind", VERSIONED)
def test_an_entry_without_a_version_shows_nothing(kind, tmp_path):
    assert _dataset(kind, tmp_path / "absent.parquet", version=Version(None, None)).preview() is None


def test_the_newest_version_is_shown(tmp_path):
    shown = TableDataset(filepath=str(tmp_path / "t.parquet"), version=Version(None, None))
    for version in ("1", "2"):
        TableDataset(filepath=str(tmp_path / "t.parquet"), version=Version(None, version)).save(
            pd.DataFrame({"version": [version]})
        )
        assert shown.preview()["data"] == [[version]]


def test_cells_are_short_plain_and_can_be_sent(tmp_path):
    table = pd.DataFrame(
        {
            "text": ["x" * 1_000_000, "a\0b\x1b[31m\u202e", None],
            "logits": [[0.123456789, -1.0], [1e-9, 2.0], None],
            "number": [0.123456789, float("nan"), float("inf")],
            "large": [2**60, 1, 2],
            "truth": [True, False, True],
            "time": [datetime(2026, 1, 2, 3, 4, 5), None, None],
            "bytes": [b"1234", None, b""],
            "id": ["0123456789abcdef0123456789abcdef", "short", ""],
        }
    )
    dataset = TableDataset(filepath=str(tmp_path / "t.parquet"))
    dataset.save(table)
    shown = dataset.preview()
    json.dumps(shown, allow_nan=False).encode()
    rows = [dict(zip(shown["columns"], row, strict=True)) for row in shown["data"]]
    assert rows[0] == {
        "text": "x" * MAX_CELL_CHARACTERS + "…",
        "logits": "[0.1235, -1.0]",
        "number": 0.1235,
        "large": str(2**60),
        "truth": "yes",
        "time": "2026-01-02T03:04:05",
        "bytes": "<4 bytes>",
        "id": "0123456789ab…",
    }
    assert rows[1]["text"] == "a\ufffdb\ufffd[31m\ufffd"
    assert (rows[1]["number"], rows[1]["truth"], rows[1]["time"], rows[1]["id"]) == ("–", "no", "–", "short")
    assert (rows[2]["text"], rows[2]["logits"], rows[2]["number"], rows[2]["id"]) == ("–", "–", "inf", "")


def test_long_lists_and_records_in_cells_are_cut():
    shown = preview_records([{"a": list(range(1000)), "b": {"role": "user", "content": "x" * 5000}}, {"c": 1}], 10)
    assert shown["columns"] == ["a", "b", "c"]
    assert shown["data"][0][0] == "[0, 1, 2, 3, 4, 5, 6, 7, … 992 more]"
    assert shown["data"][0][1].startswith("{role: user, content: xxx")
    assert len(shown["data"][0][1]) == MAX_CELL_CHARACTERS + 1
    assert shown["data"][1] == ["–", "–", 1]


def test_texts_that_are_no_utf8_are_shown(tmp_path):
    cells = pa.array([b"ok", b"\xff\xfe"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"prompt": cells}), tmp_path / "t.parquet")
    assert TableDataset(filepath=str(tmp_path / "t.parquet")).preview()["data"] == [["ok"], ["??"]]
    shown = preview_records([{"prompt": "half \ud800 pair"}], 1)
    assert shown["data"] == [["half ? pair"]]


def test_no_more_than_the_first_rows_are_read(tmp_path):
    counter = Path("/proc/self/io")
    if not counter.exists():
        pytest.skip("only Linux counts what a process reads")
    path = tmp_path / "t.parquet"
    noise = np.random.default_rng(0).bytes(40_000_000)
    texts = [noise[start : start + 4000].hex() for start in range(0, len(noise), 4000)]
    pq.write_table(pa.table({"text": texts}), path, use_dictionary=False, compression="none", row_group_size=10_000)

    def bytes_read():
        return int(counter.read_text().split()[1])

    before = bytes_read()
    assert len(TableDataset(filepath=str(path)).preview(nrows=5)["data"]) == 5
    assert bytes_read() - before < path.stat().st_size / 4


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_raw_files_are_shown_in_every_format(suffix, tmp_path):
    path = tmp_path / f"train{suffix}"
    RawTableDataset(filepath=str(path)).save(
        pd.DataFrame({"prompt": [f"p{i}" for i in range(30)], "winner": "model_a"})
    )
    shown = RawTableDataset(filepath=str(path)).preview()
    assert shown["columns"] == ["prompt", "winner"]
    assert shown["data"] == [[f"p{i}", "model_a"] for i in range(20)]


def test_shards_show_the_first_file(tmp_path):
    dataset = RawShardsDataset(filepath=str(tmp_path / "shards"))
    dataset.save([pd.DataFrame({"turn": [1, 2]}), pd.DataFrame({"turn": [3]})])
    assert dataset.preview()["data"] == [[1], [2]]


def test_an_empty_table_shows_its_columns(tmp_path):
    dataset = TableDataset(filepath=str(tmp_path / "t.parquet"))
    dataset.save(pd.DataFrame({"a": pd.Series([], dtype=str)}))
    assert dataset.preview()["data"] == []


def test_json_is_shown_with_the_beginnings_of_its_lists(tmp_path):
    dataset = AtomicJSONDataset(filepath=str(tmp_path / "d.json"))
    dataset.save({"rows": list(range(1000)), "share": 0.123456789, "text": "x" * 500, "ok": True, "no": None})
    shown = json.loads(dataset.preview())
    assert shown["rows"] == [*range(100), "… 900 more"]
    assert shown["text"] == "x" * MAX_CELL_CHARACTERS + "…"
    assert (shown["share"], shown["ok"], shown["no"]) == (0.1235, True, None)


def test_a_json_document_is_cut_until_it_can_be_drawn():
    deep = [[["x" * 100] * 200] * 200] * 200
    assert len(preview_json(deep)) <= MAX_PREVIEW_CHARACTERS
    wide = {f"key {i}": {f"key {j}": "x" * 1000 for j in range(1000)} for i in range(1000)}
    assert len(preview_json(wide)) <= MAX_PREVIEW_CHARACTERS


def test_records_are_a_table(tmp_path):
    dataset = RecordsDataset(filepath=str(tmp_path / "d.json"))
    dataset.save([{"judge": "gemma", "accuracy": 0.612345}, {"judge": "llama", "flip_rate": None}])
    shown = dataset.preview()
    assert shown["columns"] == ["judge", "accuracy", "flip_rate"]
    assert shown["data"] == [["gemma", 0.6123, "–"], ["llama", "–", "–"]]


def test_tokens_show_names_and_load_paths(tmp_path):
    dataset = TokensDataset(filepath=str(tmp_path / "tokens.json"), store=str(tmp_path / "store"))
    dataset.save({"battles": str(tmp_path / "store" / "abc")})
    assert json.loads(dataset.preview()) == {"battles": "abc"}


def test_a_checkpoint_shows_its_manifest(tmp_path):
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "manifest.json").write_text('{"env": "sample"}')
    assert json.loads(CheckpointDataset(filepath=str(tmp_path / "c")).preview()) == {"env": "sample"}


def test_a_text_is_shown_up_to_a_limit(tmp_path):
    dataset = AtomicTextDataset(filepath=str(tmp_path / "t.txt"))
    dataset.save("x\0" + "y" * (2 * MAX_PREVIEW_CHARACTERS))
    assert dataset.preview() == "x\ufffd" + "y" * (MAX_PREVIEW_CHARACTERS - 2) + "…"


def test_a_figure_is_shown_without_the_title_that_its_node_has(tmp_path):
    dataset = FigureDataset(filepath=str(tmp_path / "f.json"))
    dataset.save(go.Figure(go.Scatter(x=[1, 2], y=[3, 4]), layout={"title": "Title"}))
    shown = dataset.preview()
    assert shown["data"][0]["type"] == "scatter"
    assert "title" not in shown["layout"]
    assert dataset.load().layout.title.text == "Title"
