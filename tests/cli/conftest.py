"""A data folder whose ledger tells of some nodes of the real project."""

from pathlib import Path

import pandas as pd
import pytest
from click import Command
from click.testing import CliRunner, Result
from kedro.framework.startup import bootstrap_project

from wsdm_arena.cli.project import open_project
from wsdm_arena.freshness.journal import Journal
from wsdm_arena.freshness.node_work import describe_stored
from wsdm_arena.freshness.states import Freshness
from wsdm_arena.runs.digests import DigestCache
from wsdm_arena.runs.ledger import Ledger

PROJECT = Path(__file__).parents[2]
RUN_ID = "2026-01-01T00.00.00.000Z"


class UsedFolder:
    """Calls commands in a data folder, and runs single nodes there without the runner."""

    def __init__(self, data_root: Path) -> None:
        self.data_root = data_root

    def call(self, command: Command, *options: str, params: str = "") -> Result:
        """Call a command of ours in the ``sample`` environment."""
        given = ",".join(filter(None, (f"data_root={self.data_root}", params)))
        return CliRunner().invoke(command, [*options, "--params", given])

    def run(self, name: str) -> None:
        """Run one node on what is there, and note in the ledger that it has run."""
        with open_project(None, {"data_root": str(self.data_root)}) as project:
            (node,) = (node for node in project.pipeline.nodes if node.name == name)
            catalog, cache = project.catalog, DigestCache()
            state = Freshness(catalog, {}, cache).examine(node)
            for output, made in node.run({name: catalog.load(name) for name in node.inputs}).items():
                catalog.save(output, made)
            journal = Journal(Ledger.of(self.data_root), RUN_ID, project.env, "kedro run", None)
            journal.note_done(state, describe_stored(node.outputs, catalog, cache), work=[], seconds=61.0)
            journal.flush()


@pytest.fixture
def used_folder(tmp_path, monkeypatch) -> UsedFolder:
    """One that holds the contest's test table, and in which nothing has run."""
    raw = tmp_path / "data" / "01_raw"
    raw.mkdir(parents=True)
    table = pd.DataFrame({"id": ["1"], "prompt": ["p"], "response_a": ["x"], "response_b": ["y"]})
    table.to_parquet(raw / "test.parquet")
    monkeypatch.chdir(PROJECT)
    monkeypatch.setenv("KEDRO_ENV", "sample")
    bootstrap_project(PROJECT)
    return UsedFolder(tmp_path / "data")
