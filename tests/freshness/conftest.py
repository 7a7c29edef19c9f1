"""A pipeline of five nodes on files of our own, in which every call is counted."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import pytest
from kedro.framework.hooks import _create_hook_manager
from kedro.io import DataCatalog, MemoryDataset
from kedro.io.core import Version
from kedro.pipeline import Node, Pipeline

from wsdm_arena.config import WITHOUT_EFFECT, StrictConfig
from wsdm_arena.freshness.runner import UpToDateRunner
from wsdm_arena.freshness.states import Freshness, NodeState
from wsdm_arena.io.directory import CheckpointDataset
from wsdm_arena.io.path import FolderDataset
from wsdm_arena.io.raw_table import RawTableDataset
from wsdm_arena.io.table import TableDataset
from wsdm_arena.runs.digests import DigestCache
from wsdm_arena.runs.files import write_atomically
from wsdm_arena.runs.ledger import Ledger, NodeRecord
from wsdm_arena.runs.work import record_work


class LabelConfig(StrictConfig):
    factor: int = 1
    log_every: Annotated[int, WITHOUT_EFFECT] = 1


@dataclass
class Calls:
    """How often each node function has been called, and what shall happen there."""

    count: Counter[str] = field(default_factory=Counter)
    fail: str | None = None
    incomplete: str | None = None

    def note(self, name: str) -> None:
        self.count[name] += 1
        if self.fail == name:
            raise RuntimeError(f"{name} was stopped")


@dataclass
class Project:
    """A data folder, its parameters and the pipeline: read -> clean -> label -> train -> score."""

    root: Path
    calls: Calls = field(default_factory=Calls)
    parameters: dict[str, Any] = field(default_factory=lambda: {"clean": {"keep": 3}, "label": LabelConfig()})
    runs: int = 0

    @property
    def raw(self) -> Path:
        return self.root / "01_raw" / "train.csv"

    @property
    def ledger(self) -> Ledger:
        return Ledger.of(self.root)

    @property
    def pipeline(self) -> Pipeline:
        def clean(raw: pd.DataFrame, keep: dict) -> pd.DataFrame:
            self.calls.note("clean")
            return raw.head(keep["keep"])[["prompt"]]

        def label(rows: pd.DataFrame, config: LabelConfig) -> pd.DataFrame:
            self.calls.note("label")
            return rows.assign(label=rows["prompt"].str.len() * config.factor)

        def train(labels: pd.DataFrame, runs: Path) -> Path:
            self.calls.note("train")
            work = runs / str(int(labels["label"].sum()))
            outcome = "reused" if work.exists() else "made"
            work.mkdir(exist_ok=True)
            write_atomically(work / "weights", str(labels["label"].sum()).encode())
            write_atomically(work / "manifest.json", b"{}")
            record_work("training", work.name, "incomplete" if self.calls.incomplete == "train" else outcome, work)
            return work

        def score(checkpoint: Path, raw: pd.DataFrame) -> pd.DataFrame:
            self.calls.note("score")
            return pd.DataFrame({"score": [float((checkpoint / "weights").read_text())] * len(raw)})

        def report(scores: pd.DataFrame, told: dict) -> pd.DataFrame:
            self.calls.note("report")
            return scores.assign(command=told["command"])

        return Pipeline(
            [
                Node(clean, ["raw", "params:clean"], "rows", name="clean"),
                Node(label, ["rows", "params:label"], "labels", name="label"),
                Node(train, ["labels", "runs"], "checkpoint", name="train"),
                Node(score, ["checkpoint", "raw"], "scores", name="score"),
                Node(report, ["scores", "run_context"], "report", name="report"),
            ]
        )

    def version(self, number: int) -> str:
        return f"2026-01-{number:02d}T00.00.00.000Z"

    def catalog(self, number: int) -> DataCatalog:
        def versioned(dataset: type, name: str):
            return dataset(filepath=str(self.root / name), version=Version(None, self.version(number)))

        datasets = {
            "raw": RawTableDataset(filepath=str(self.raw)),
            "rows": TableDataset(filepath=str(self.root / "rows.parquet")),
            "labels": versioned(TableDataset, "labels.parquet"),
            "checkpoint": versioned(CheckpointDataset, "checkpoint"),
            "scores": versioned(TableDataset, "scores.parquet"),
            "report": versioned(TableDataset, "report.parquet"),
            "runs": FolderDataset(filepath=str(self.root / "runs")),
            "run_context": MemoryDataset({"env": "sample", "command": f"kedro run # {number}"}),
        }
        datasets |= {f"params:{name}": MemoryDataset(value) for name, value in self.parameters.items()}
        return DataCatalog(datasets)

    def run(self, *nodes: str) -> set[str]:
        """Bring it up to date; names of the node functions that were called."""
        self.runs += 1
        before = self.calls.count.copy()
        pipeline = self.pipeline.filter(node_names=nodes) if nodes else self.pipeline
        runner = UpToDateRunner(self.root, "commit")
        runner.run(pipeline, self.catalog(self.runs), _create_hook_manager(), run_id=self.version(self.runs))
        return set(self.calls.count - before)

    def freshness(self) -> Freshness:
        return Freshness(self.catalog(self.runs + 1), self.ledger.done(), DigestCache.of(self.root))

    def survey(self) -> dict[str, NodeState]:
        return self.freshness().survey(self.pipeline)

    def last(self, node: str) -> NodeRecord:
        return [record for record in self.ledger.records() if record.node == node][-1]

    def newest(self, name: str) -> Path:
        return max((self.root / name).iterdir()) / name


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project(tmp_path)
    project.raw.parent.mkdir()
    rows = [f"{prompt},a,b,model_a" for prompt in ("one", "three", "seven", "eleven")]
    project.raw.write_text("\n".join(["prompt,response_a,response_b,winner", *rows]) + "\n")
    return project
