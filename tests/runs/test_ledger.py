"""One line a node."""

from pathlib import Path

import pandas as pd
import pytest

from wsdm_arena.runs.ledger import LEDGER_NAME, Ledger, NodeRecord, Stored
from wsdm_arena.runs.provenance import entries_made
from wsdm_arena.runs.work import Work, collecting_work, record_work


def record(node: str, run: int = 1, outcome: str = "done", **fields) -> NodeRecord:
    values = {"run_id": f"2026-01-{run:02d}T00.00.00.000Z", "fingerprint": "f", "time": f"2026-01-{run:02d}T00:00:00Z"}
    return NodeRecord.model_validate({**values, "node": node, "outcome": outcome, **fields})


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger.of(tmp_path)


def test_records_come_back_as_they_were_written(ledger):
    work = Work("training", "abc", "made", "/runs/abc")
    written = [
        record("train", inputs={"labels": Stored(digest="1", version="v", size=3)}, work=(work,), reasons=("x",)),
        record("train", 2, "failed", error="RuntimeError: lone surrogate \ud800 and\nline"),
        record("train", 3, "fresh"),
    ]
    for entry in written:
        ledger.append(entry)
    found = ledger.records()
    assert [entry.node for entry in found] == ["train"] * 3
    assert found[0] == written[0]
    assert found[2] == written[2]
    assert "lone surrogate" in found[1].error
    assert ledger.latest() == {"train": written[0]}


def test_a_folder_without_a_ledger_has_no_records(ledger):
    assert ledger.records() == []
    assert ledger.latest() == {}


@pytest.mark.parametrize("cut", [1, 2, 20, 100_000])
def test_an_unfinished_line_is_cut_off_before_the_next(ledger, cut, caplog):
    ledger.append(record("first"))
    whole = ledger.path.stat().st_size
    ledger.append(record("second", parameters={"params:template": "x" * 200_000}))
    with ledger.path.open("rb+") as file:
        file.truncate(max(whole + 1, ledger.path.stat().st_size - cut))
    ledger.append(record("third"))
    assert [entry.node for entry in ledger.records()] == ["first", "third"]
    assert len(pd.read_json(ledger.path, lines=True)) == 2
    assert "cut off" in caplog.text


def test_a_damaged_line_in_the_middle_is_passed_over(ledger, caplog):
    for node in ("first", "second", "third"):
        ledger.append(record(node))
    lines = ledger.path.read_bytes().splitlines(keepends=True)
    ledger.path.write_bytes(lines[0] + b'{"node": \xff\x00}\n' + lines[2])
    assert [entry.node for entry in ledger.records()] == ["first", "third"]
    assert "line 2 is damaged" in caplog.text


def test_a_forgotten_node_has_no_past(ledger):
    ledger.append(record("train"))
    ledger.append(record("score"))
    ledger.append(record("train", 1, "forgotten"))
    assert ledger.latest().keys() == {"score"}
    ledger.append(record("train", 2))
    assert ledger.latest()["train"].run_id.startswith("2026-01-02")


def test_lines_of_another_format_are_left_alone(ledger):
    ledger.append(record("train", format=99))
    assert ledger.records() == []


def test_work_is_collected_within_the_block_only(tmp_path: Path):
    record_work("training", "before", "made", tmp_path)
    with collecting_work() as work:
        record_work("training", "abc", "resumed", tmp_path)
    record_work("training", "after", "made", tmp_path)
    assert work == [Work("training", "abc", "resumed", str(tmp_path))]


def test_entries_are_listed_with_what_they_were_made_from(tmp_path: Path, ledger):
    version = "2026-01-01T00.00.00.000Z"
    labels = {"labels": Stored(digest="1", version=version, size=7)}
    ledger.append(record("label", outputs=labels, seconds=2.5, env="sample"))
    ledger.append(record("train", inputs=labels, outputs={"checkpoint": Stored(digest="2", size=9)}))
    ledger.append(record("train", 2, "fresh"))
    ledger.append(record("label", 3, "failed", error="x"))
    from wsdm_arena.io.ledger import LedgerDataset

    made = entries_made(LedgerDataset(filepath=str(tmp_path / LEDGER_NAME)).load()).set_index("entry")
    assert made.index.tolist() == ["labels", "checkpoint"]
    assert made.loc["labels", ["version", "node", "size", "seconds", "env"]].tolist() == [
        version,
        "label",
        7,
        2.5,
        "sample",
    ]
    assert made.loc["checkpoint", "inputs"] == [f"labels {version}"]


def test_of_nothing_nothing_was_made(tmp_path: Path):
    from wsdm_arena.io.ledger import LedgerDataset

    assert entries_made(LedgerDataset(filepath=str(tmp_path / "none.jsonl")).load()).empty
