"""A fingerprint changes with the result and with nothing else."""

import json
from pathlib import Path

import pandas as pd
import pytest

from wsdm_arena.config import HeadConfig, ResolvedJudge, TrainingConfig
from wsdm_arena.runs.files import describe_file
from wsdm_arena.runs.fingerprint import (
    DirectoryChangedError,
    directory_digest,
    fingerprint,
    manifest_digest,
    table_digest,
    training_fingerprint,
)


def judge(training: dict | None = None, **changes) -> ResolvedJudge:
    values = {
        "stage": "teacher",
        "judge": "llama",
        "system_role": True,
        "head": HeadConfig(),
        "attention": "auto",
        "sliding_window": True,
        "truncation": "per_field",
        "training": TrainingConfig.model_validate(training or {}),
    }
    return ResolvedJudge.model_validate(values | changes)


def name(resolved: ResolvedJudge, **changes) -> str:
    values = {"backbone": "digest", "inputs": {"selection": "a"}, "seed": 3, "num_classes": 2}
    return training_fingerprint(judge=resolved, **(values | changes))


@pytest.mark.parametrize(
    "training",
    [
        {"max_tokens_per_micro_batch": 99},
        {"max_tokens_per_scoring_batch": 99},
        {"sharding": "full"},
        {"activation_checkpointing": False},
        {"log_every_updates": 7},
        {"checkpoint": {"every_minutes": 1}},
        {"compile_layers": True},
        {"evaluation": {"every_updates": 5, "from_fraction": 0.5, "max_battles": 9, "keep_checkpoints": True}},
    ],
)
def test_what_only_changes_the_order_of_summation_is_not_in_it(training):
    assert name(judge(training)) == name(judge())


@pytest.mark.parametrize(
    "training",
    [
        {"epochs": 2},
        {"battles_per_update": 81},
        {"max_battles": 100},
        {"dtype": "float32"},
        {"optimizer": {"peak_learning_rate": 1e-3}},
        {"schedule": {"warmup_fraction": 0.2}},
        {"gradient_reduction_dtype": "bfloat16"},
        {"language_modeling_weight": 0.5},
        {"evaluation": {"battles_at_start": 0}},
    ],
)
def test_what_changes_the_result_is_in_it(training):
    assert name(judge(training)) != name(judge())


def test_judge_data_backbone_and_seed_are_in_it():
    same = name(judge())
    assert name(judge(attention="segments")) == same
    assert name(judge(sliding_window=False)) != same
    assert name(judge(truncation="shared_budget")) != same
    assert name(judge(), backbone="other") != same
    assert name(judge(), inputs={"selection": "b"}) != same
    assert name(judge(), seed=4) != same
    assert name(judge(), num_classes=3) != same


def test_a_directory_is_named_by_its_visible_contents(tmp_path: Path):
    (tmp_path / "weights").write_bytes(b"1")
    first = directory_digest(tmp_path)
    (tmp_path / ".cache" / "hub").mkdir(parents=True)
    (tmp_path / ".cache" / "hub" / "weights.metadata").write_text("yesterday")
    assert directory_digest(tmp_path) == first
    (tmp_path / "weights").write_bytes(b"2")
    assert directory_digest(tmp_path) != first
    (tmp_path / "weights").rename(tmp_path / "weights2")
    assert directory_digest(tmp_path) != first


def write_with_manifest(directory: Path, files: dict[str, bytes], **fields) -> Path:
    for name, content in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(content)
    described = {name: describe_file(directory / name) for name in files}
    (directory / "manifest.json").write_text(json.dumps({**fields, "files": described}))
    return directory


def test_a_directory_with_a_manifest_is_named_by_the_files_it_states(tmp_path: Path):
    files = {"weights": b"1", "fused/weights": b"2"}
    first = manifest_digest(write_with_manifest(tmp_path / "first", files))
    assert manifest_digest(write_with_manifest(tmp_path / "copy", files, made="yesterday")) == first
    assert manifest_digest(write_with_manifest(tmp_path / "content", files | {"weights": b"3"})) != first
    assert manifest_digest(write_with_manifest(tmp_path / "name", {"weight": b"1", "fused/weights": b"2"})) != first
    (tmp_path / "first" / "weights").write_bytes(b"3")  # contents are not hashed again
    assert manifest_digest(tmp_path / "first") == first


def test_a_directory_that_differs_from_its_manifest_is_refused_by_name(tmp_path: Path):
    path = write_with_manifest(tmp_path / "d", {"weights": b"1", "fused/weights": b"2"})
    (path / "fused" / "weights").write_bytes(b"22")
    with pytest.raises(DirectoryChangedError, match="fused/weights has 2 bytes, not the 1 that were written"):
        manifest_digest(path)
    (path / "fused" / "weights").unlink()
    with pytest.raises(DirectoryChangedError, match="fused/weights is missing"):
        manifest_digest(path)
    evil = '{"files": {"../weights": {"size": 1, "sha256": "0"}}}'
    for content in (evil, '{"files": ', "[]", '{"files": {"weights": 3}}', "{}"):
        (path / "manifest.json").write_text(content)
        with pytest.raises(DirectoryChangedError, match="damaged, or no manifest"):
            manifest_digest(path)
    (path / "manifest.json").unlink()
    with pytest.raises(DirectoryChangedError, match="half written"):
        manifest_digest(path)


def test_a_table_is_named_by_its_values_and_their_order_not_by_its_file(tmp_path: Path):
    table = pd.DataFrame({"pair_id": ["a", "b"], "probability_a": [1.0, 0.0]})
    table.to_parquet(tmp_path / "one.parquet", compression="snappy")
    table.to_parquet(tmp_path / "two.parquet", compression="zstd")
    digests = {table_digest(pd.read_parquet(tmp_path / f"{n}.parquet")) for n in ("one", "two")}
    assert len(digests) == 1
    assert table_digest(table.iloc[::-1]) not in digests
    assert table_digest(table.assign(probability_a=[1.0, 0.5])) not in digests
    assert table_digest(table.rename(columns={"probability_a": "p"})) not in digests


def test_the_order_of_keys_does_not_matter():
    assert fingerprint({"a": 1, "b": {"c": 2, "d": 3}}) == fingerprint({"b": {"d": 3, "c": 2}, "a": 1})
