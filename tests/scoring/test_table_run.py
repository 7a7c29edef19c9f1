"""Whole tables are scored once, by any number of processes, in any number of parts, through any number of kills."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from tests.tiny_tokenizers import llama_style, save_tokenizer
from tests.training.tiny_runs import TEMPLATE, TRUNCATION, TinyRuns
from wsdm_arena.config import HeadConfig, LauncherConfig, ScoringConfig
from wsdm_arena.modeling.checkpoint import CheckpointError, save_judge
from wsdm_arena.modeling.judge import build_judge
from wsdm_arena.processes.lock import DirectoryInUseError, lock_directory
from wsdm_arena.prompts.store import TokenStore, TokenStoreError, build_token_store
from wsdm_arena.runs.fingerprint import DirectoryChangedError
from wsdm_arena.schemas import Predictions
from wsdm_arena.scoring import run_directory, table_reader
from wsdm_arena.scoring.__main__ import main
from wsdm_arena.scoring.predictor import TokenizedPairs, score_pairs
from wsdm_arena.scoring.run_directory import ScoringDirectory, ScoringError
from wsdm_arena.scoring.table_run import describe_scoring, score_table

ONE = LauncherConfig(processes_per_node=8, scoring_processes=1, device="cpu", threads_per_process=1)
TWO = LauncherConfig(scoring_processes=2, device="cpu", threads_per_process=1)
NUM_PAIRS = 96
KEYS = ["pair_id", "order"]


class Tables:
    """A judge's checkpoint, and requests to score tables with it."""

    def __init__(self, folder: Path) -> None:
        self.runs = TinyRuns(folder)
        self.folder = folder
        self.checkpoint = self.save("judge")

    def save(self, name: str, *, backbone: str = "llama", tokenizer: Path | None = None, **manifest: Any) -> Path:
        """A checkpoint that could have been trained; manifest entries that are None are left out."""
        judge = build_judge(self.runs.backbones[backbone], head=HeadConfig(), num_classes=2, head_seed=1)
        described = {
            "fingerprint": f"{name}-fingerprint",
            "template_hash": TokenStore.open(self.runs.tokens).template.hash,
        }
        return save_judge(
            judge,
            self.folder / name,
            tokenizer_dir=tokenizer or self.runs.backbones[backbone],
            manifest={key: value for key, value in (described | manifest).items() if value is not None},
        )

    def tokenize(self, pairs: pd.DataFrame, table: str, **changes: Any) -> Path:
        options: dict[str, Any] = {
            "tokenizer_dir": self.runs.backbones["llama"],
            "template": TEMPLATE,
            "system_role": False,
            "truncation": TRUNCATION,
            "policy": "per_field",
        }
        return build_token_store(pairs, table=table, root=self.folder / "tokens", **(options | changes))

    def request(self, pairs_per_part: int = 2_048, **changes: Any) -> ScoringConfig:
        options: dict[str, Any] = {
            "checkpoint": self.checkpoint,
            "tokens": self.runs.tokens,
            "table": "battles",
            "orders": ("ab", "ba"),
            "dtype": "float32",
            "max_tokens_per_batch": 400,
            "launcher": ONE,
        }
        return describe_scoring(**(options | changes)).model_copy(update={"pairs_per_part": pairs_per_part})


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    return Tables(tmp_path_factory.mktemp("tables"))


@pytest.fixture(scope="module")
def whole(tables: Tables) -> pd.DataFrame:
    """All pairs in one part by one process."""
    return score_table(tables.request(), tables.folder / "whole", ONE)


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Keys of the pairs that the judge reads in this process."""
    read: list[str] = []

    def remember(judge: Any, pairs: TokenizedPairs, **options: Any) -> pd.DataFrame | None:
        read.extend(pairs.pair_ids.tolist())
        return score_pairs(judge, pairs, **options)

    monkeypatch.setattr(table_reader, "score_pairs", remember)
    return read


def assert_same(first: pd.DataFrame, second: pd.DataFrame) -> None:
    others = [column for column in first.columns if column not in ("logits", "probabilities")]
    pd.testing.assert_frame_equal(first[others], second[others])
    for column in ("logits", "probabilities"):
        np.testing.assert_allclose(np.stack(first[column].tolist()), np.stack(second[column].tolist()), atol=1e-6)


def test_every_pair_is_read_once_in_each_order_and_says_by_whom(tables: Tables, whole: pd.DataFrame) -> None:
    store = TokenStore.open(tables.runs.tokens)
    Predictions.validate(whole)
    assert list(whole.columns) == run_directory.PREDICTIONS_SCHEMA.names
    assert list(zip(whole["pair_id"], whole["order"], strict=True)) == [
        (pair_id, order) for pair_id in store.pair_ids.tolist() for order in ("ab", "ba")
    ]
    assert set(whole["judge_fingerprint"]) == {"judge-fingerprint"}
    assert set(whole["template_hash"]) == {store.template.hash}
    assert dict(zip(whole["pair_id"], whole["truncated"], strict=True)) == dict(
        zip(store.pair_ids.tolist(), store.truncated.tolist(), strict=True)
    )
    assert whole["probabilities"].map(lambda row: float(row[0])).nunique() > NUM_PAIRS  # the judge tells pairs apart


def test_the_judge_reads_as_it_was_saved(tables: Tables, whole: pd.DataFrame) -> None:
    judge = build_judge(tables.runs.backbones["llama"], head=HeadConfig(), num_classes=2, head_seed=1).eval()
    store = TokenStore.open(tables.runs.tokens)
    pairs = TokenizedPairs.look_up(store.pair_ids.tolist(), ["battles"] * len(store), {"battles": store})
    expected = score_pairs(judge, pairs, max_tokens=400, device="cpu")
    assert expected is not None
    np.testing.assert_allclose(np.stack(whole["logits"].tolist()), np.stack(expected["logits"].tolist()), atol=1e-6)


@pytest.mark.parametrize("pairs_per_part", [1, 7, 95, 96])
def test_the_number_of_parts_changes_nothing(
    tables: Tables, whole: pd.DataFrame, scored: list[str], pairs_per_part: int
) -> None:
    run_dir = tables.folder / f"parts of {pairs_per_part}"
    assert_same(score_table(tables.request(pairs_per_part), run_dir, ONE), whole)
    assert len(scored) == len(set(scored)) == NUM_PAIRS
    assert {path.name for path in run_dir.iterdir()} == {
        ".lock", "scoring.json", "predictions.parquet", "complete.json",
    }  # fmt: skip


def test_one_order_is_half_of_both(tables: Tables, whole: pd.DataFrame) -> None:
    found = score_table(tables.request(orders=("ba",)), tables.folder / "ba", ONE)
    assert_same(found, whole[whole["order"] == "ba"].reset_index(drop=True))


def test_a_complete_run_is_reused_and_says_so(
    tables: Tables, whole: pd.DataFrame, scored: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    parts = tables.folder / "whole/parts"
    parts.mkdir()  # killed just before it removed them
    with caplog.at_level(logging.INFO):
        again = score_table(tables.request(), tables.folder / "whole", ONE)
    pd.testing.assert_frame_equal(again, whole)
    assert scored == []
    assert not parts.exists()
    assert f"battles: nothing to score, run {tables.request().fingerprint} is complete" in caplog.text


@pytest.mark.parametrize("damage", ["missing", "cut", "changed", "unreadable"])
def test_a_damaged_run_is_refused_by_name_and_with_the_cure(tables: Tables, damage: str) -> None:
    run_dir = tables.folder / f"damaged {damage}"
    score_table(tables.request(), run_dir, ONE)
    predictions = run_dir / "predictions.parquet"
    content = predictions.read_bytes()
    match damage:
        case "missing":
            predictions.unlink()
        case "cut":
            predictions.write_bytes(content[:-1])
        case "changed":
            predictions.write_bytes(content[:100] + bytes([content[100] ^ 1]) + content[101:])
        case "unreadable":
            (run_dir / "complete.json").write_text('{"fingerprint"')
    named = "complete.json" if damage == "unreadable" else "predictions.parquet"
    with pytest.raises(ScoringError, match=rf"{named}.*; delete {run_dir} to score the table again"):
        score_table(tables.request(), run_dir, ONE)


def test_a_directory_is_for_one_run(tables: Tables, whole: pd.DataFrame, tmp_path: Path) -> None:
    other = tables.request(orders=("ab",))
    with pytest.raises(ScoringError, match=rf"complete\.json belongs to scoring run .*, not to {other.fingerprint}"):
        score_table(other, tables.folder / "whole", ONE)
    ScoringDirectory(tmp_path).write_config(tables.request())
    with pytest.raises(ScoringError, match=r"scoring\.json belongs to scoring run .*; use a directory of its own"):
        score_table(other, tmp_path, ONE)


def test_the_fingerprint_names_the_result_and_not_how_it_was_reached(tables: Tables) -> None:
    fingerprint = tables.request().fingerprint
    without_effect: list[dict[str, Any]] = [
        {"max_tokens_per_batch": 1},
        {"attention": "flex"},
        {"orders": ("ba", "ab")},
        {"launcher": LauncherConfig(device="cuda", backend="nccl", threads_per_process=3)},
    ]
    assert {tables.request(**changes).fingerprint for changes in without_effect} == {fingerprint}
    moved = tables.folder / "moved" / "judge"
    moved.parent.mkdir()
    moved.symlink_to(tables.checkpoint)
    assert tables.request(checkpoint=moved).fingerprint == fingerprint
    others: list[dict[str, Any]] = [
        {"orders": ("ab",)},
        {"dtype": "bfloat16"},
        {"checkpoint": tables.save("other judge")},
        {"tokens": tables.tokenize(tables.runs.pairs.head(3), "battles")},
    ]
    assert len({fingerprint, *(tables.request(**changes).fingerprint for changes in others)}) == 1 + len(others)


@pytest.mark.parametrize("num_pairs", [0, 1])
def test_tables_of_no_and_of_one_pair(tables: Tables, num_pairs: int, tmp_path: Path) -> None:
    tokens = tables.tokenize(tables.runs.pairs.head(num_pairs), f"few{num_pairs}")
    request = tables.request(tokens=tokens, table=f"few{num_pairs}")
    found = score_table(request, tmp_path / "run", TWO if num_pairs == 0 else ONE)  # nothing to read: no launch
    assert len(found) == 2 * num_pairs
    assert list(found.columns) == run_directory.PREDICTIONS_SCHEMA.names
    Predictions.validate(found)
    assert not (tmp_path / "run/torchrun.log").exists()


def test_what_was_scored_before_an_end_is_not_scored_again(
    tables: Tables, whole: pd.DataFrame, scored: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    score_some_parts(tables.request(10), tmp_path, 3, monkeypatch)
    assert scored == whole["pair_id"].unique().tolist()[:30]
    assert_same(score_table(tables.request(10), tmp_path, ONE), whole)
    assert scored == whole["pair_id"].unique().tolist()


def test_parts_that_do_not_fit_or_cannot_be_read_are_scored_again(
    tables: Tables, whole: pd.DataFrame, scored: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    score_some_parts(tables.request(10), tmp_path, 3, monkeypatch)
    (tmp_path / "parts/part-000001.parquet").write_bytes(b"PAR1 half")
    (tmp_path / "parts/.part-000003.parquet.123").write_bytes(b"half")
    scored.clear()
    assert_same(score_table(tables.request(10), tmp_path, ONE), whole)
    assert len(scored) == NUM_PAIRS - 20
    other = tmp_path / "other size"
    score_some_parts(tables.request(10), other, 3, monkeypatch)
    scored.clear()
    assert_same(score_table(tables.request(30), other, ONE), whole)
    assert len(scored) == NUM_PAIRS


def test_a_process_killed_in_the_middle_loses_at_most_a_part(
    tables: Tables, whole: pd.DataFrame, scored: list[str], tmp_path: Path
) -> None:
    request = tables.request(1)
    run = ScoringDirectory(tmp_path)
    run.write_config(request)
    command = [sys.executable, "-m", "wsdm_arena.scoring", str(tmp_path)]
    with subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 120
        while len(list(run.parts.glob("part-*"))) < 5:
            assert process.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < deadline
        process.send_signal(signal.SIGKILL)
    finished = {path: path.stat().st_mtime_ns for path in run.parts.glob("part-*")}
    assert 5 <= len(finished) < NUM_PAIRS
    assert not run.complete.exists()
    assert_same(score_table(request, tmp_path, ONE), whole)
    assert len(scored) == len(set(scored)) == NUM_PAIRS - len(finished)


@pytest.mark.slow
def test_two_processes_go_on_where_one_was_killed_and_predict_the_same(
    tables: Tables, whole: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_dir = tmp_path / "two"
    score_some_parts(tables.request(40), run_dir, 1, monkeypatch)
    assert_same(score_table(tables.request(40), run_dir, TWO), whole)
    assert "battles: 2 of 3 parts are to be scored" in (run_dir / "torchrun.log").read_text()


@pytest.mark.parametrize("nodes", [1, 3])
def test_several_processes_are_started_on_this_node_only(
    tables: Tables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nodes: int
) -> None:
    commands: list[list[str]] = []
    monkeypatch.setattr(
        "wsdm_arena.processes.torchrun.run_supervised", lambda command, **options: commands.append(command)
    )
    launcher = LauncherConfig(processes_per_node=4, nodes=nodes, rendezvous_endpoint="host:1", prefix=("srun", "-x"))
    with pytest.raises(RuntimeError, match=r"torchrun ended without an error, but .*complete\.json is missing"):
        score_table(tables.request(), tmp_path, launcher)
    assert len(commands) == 1
    text = " ".join(commands[0])
    assert text.startswith("srun -x ") == (nodes == 1)
    assert "--standalone --nnodes 1 --nproc-per-node 4 -m wsdm_arena.scoring" in text


def test_the_calling_process_keeps_its_number_of_threads(tables: Tables, tmp_path: Path) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        seen: list[int] = []
        launcher = ONE.model_copy(update={"threads_per_process": 1})
        request = tables.request(launcher=launcher)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                table_reader,
                "score_pairs",
                lambda *values, **options: seen.append(torch.get_num_threads()) or score_pairs(*values, **options),
            )
            score_table(request, tmp_path, launcher)
        assert seen == [1]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_second_process_is_kept_out(tables: Tables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_directory, "lock_directory", lambda path, wait_s: lock_directory(path, 0.1))
    with lock_directory(tmp_path), pytest.raises(DirectoryInUseError, match=f"in use by process {os.getpid()}"):
        score_table(tables.request(), tmp_path, ONE)
    assert not (tmp_path / "complete.json").exists()


def test_tokens_of_another_tokenizer_are_refused(tables: Tables, tmp_path: Path) -> None:
    other = save_tokenizer(llama_style(), tmp_path / "tokenizer")
    request = tables.request(checkpoint=tables.save("other tokenizer", tokenizer=other))
    assert_refused(request, tmp_path / "run", "was made with another tokenizer than that of")


def test_tokens_of_another_template_are_refused(tables: Tables, tmp_path: Path) -> None:
    template = TEMPLATE.model_copy(update={"instruction": "K"})
    tokens = tables.tokenize(tables.runs.pairs, "battles", template=template)
    assert_refused(tables.request(tokens=tokens), tmp_path / "run", "was made with prompt template .* trained with")


def test_the_other_truncation_is_not_refused(tables: Tables, tmp_path: Path) -> None:
    tokens = tables.tokenize(tables.runs.pairs.head(2), "battles", policy="shared_budget")
    assert len(score_table(tables.request(tokens=tokens), tmp_path, ONE)) == 4


def test_tokens_of_another_table_are_refused(tables: Tables, tmp_path: Path) -> None:
    assert_refused(tables.request(table="collected_pairs"), tmp_path / "run", "holds tokens of table 'battles'")


@pytest.mark.parametrize("key", ["fingerprint", "template_hash"])
def test_a_judge_of_unknown_origin_is_refused(tables: Tables, tmp_path: Path, key: str) -> None:
    checkpoint = tables.save(f"without {key}", **{key: None})
    assert_refused(tables.request(checkpoint=checkpoint), tmp_path / "run", rf"its manifest lacks \['{key}'\]")


def test_what_is_not_there_is_named(tables: Tables, tmp_path: Path) -> None:
    with pytest.raises(DirectoryChangedError, match=r"has no manifest\.json"):
        tables.request(checkpoint=tmp_path)
    assert_refused(tables.request(tokens=tmp_path / "t"), tmp_path / "run", "there is no token store", TokenStoreError)


def test_a_damaged_checkpoint_is_refused(tables: Tables, tmp_path: Path) -> None:
    checkpoint = tables.save("damaged judge")
    request = tables.request(checkpoint=checkpoint)
    (checkpoint / "head.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"head\.safetensors has 0 bytes"):
        score_table(request, tmp_path, ONE)
    with pytest.raises(DirectoryChangedError, match=r"head\.safetensors has 0 bytes"):
        tables.request(checkpoint=checkpoint)


def test_logits_that_are_not_finite_are_refused(
    tables: Tables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverged(judge: Any, pairs: TokenizedPairs, **options: Any) -> pd.DataFrame | None:
        found = score_pairs(judge, pairs, **options)
        assert found is not None
        logits = [np.array([np.nan, 0.0], dtype=np.float32), *found["logits"].iloc[1:]]
        return found.assign(logits=logits)

    monkeypatch.setattr(table_reader, "score_pairs", diverged)
    with pytest.raises(ScoringError, match=r"not finite for 1 of 192 rows of battles, first pair 0{32}"):
        score_table(tables.request(), tmp_path, ONE)
    assert not (tmp_path / "parts").exists()


def test_an_order_named_twice_is_refused(tables: Tables) -> None:
    with pytest.raises(ValueError, match="each order is read once; name it once"):
        tables.request(orders=("ab", "ab"))


def test_a_users_mistake_is_one_line(tables: Tables, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert main([str(tmp_path)]) == 1
    content = json.loads(tables.request().model_dump_json())
    (tmp_path / "scoring.json").write_text(json.dumps(content | {"format": 99}))
    assert main([str(tmp_path)]) == 1
    (tmp_path / "scoring.json").write_text(json.dumps(content | {"ordres": []}))
    assert main([str(tmp_path)]) == 1
    messages = [record.message for record in caplog.records if record.levelname == "ERROR"]
    assert len(messages) == 3
    for message, expected in zip(messages, ("scoring.json is missing", "has format 99", "ordres"), strict=True):
        assert expected in message
    assert "Traceback" not in caplog.text


def score_some_parts(request: ScoringConfig, run_dir: Path, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Break a run off when it has scored ``count`` parts."""
    written: list[int] = []
    write = ScoringDirectory.write_part

    def write_and_break_off(run: ScoringDirectory, number: int, predictions: pd.DataFrame) -> None:
        write(run, number, predictions)
        written.append(number)
        if len(written) == count:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ScoringDirectory, "write_part", write_and_break_off)
        with pytest.raises(KeyboardInterrupt):
            score_table(request, run_dir, ONE)
    assert len(list((run_dir / "parts").iterdir())) == count


def assert_refused(request: ScoringConfig, run_dir: Path, message: str, error: type[Exception] = ScoringError) -> None:
    with pytest.raises(error, match=message):
        score_table(request, run_dir, ONE)
    assert not run_dir.exists()  # before anything was done


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
