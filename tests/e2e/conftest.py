"""A small run of the whole project, shared by the tests of this folder."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

PROJECT = Path(__file__).parents[2]

SMALL = {
    "simulation.num_battles": 4000,
    "simulation.num_test_pairs": 60,
    "simulation.num_collected_pairs": 200,
    "simulation.num_conversations": 4000,
    "training.max_battles": 64,
    "training.battles_per_update": 16,
    "training.evaluation.battles_at_start": 20,
}


@dataclass(frozen=True)
class KedroProject:
    """Runs ``kedro`` commands on a data root of its own."""

    data_root: Path

    def params(self, **extra) -> str:
        values = {"data_root": self.data_root, **SMALL, **extra}
        return ",".join(f"{key}={value}" for key, value in values.items())

    def command(self, *args: str, **params) -> list[str]:
        return [sys.executable, "-m", "kedro", "run", *args, "--params", self.params(**params)]

    def run(self, *args: str, check: bool = True, **params) -> subprocess.CompletedProcess:
        done = subprocess.run(
            self.command(*args, **params), cwd=PROJECT, env=self.env, capture_output=True, text=True, timeout=600
        )
        if check and done.returncode:
            raise AssertionError(f"kedro run {args} failed:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}")
        return done

    def kedro(self, *args: str, **params) -> str:
        """What another command prints."""
        command = [sys.executable, "-m", "kedro", *args, "--params", self.params(**params)]
        done = subprocess.run(command, cwd=PROJECT, env=self.env, capture_output=True, text=True, check=True)
        return done.stdout

    def status(self, **params) -> dict[str, dict]:
        """What ``kedro status --json`` says, by node."""
        printed = self.kedro("status", "--json", **params)
        lines = [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
        return {line["node"]: line for line in lines}

    def not_fresh(self, **params) -> dict[str, str]:
        """State of the nodes that are not up to date."""
        return {node: line["state"] for node, line in self.status(**params).items() if line["state"] != "fresh"}

    def last_run(self) -> dict[str, dict]:
        """What the ledger says of the last run, by node."""
        ledger = pd.read_json(self.data_root / "08_reporting" / "ledger.jsonl", lines=True)
        rows = ledger[ledger["run_id"] == ledger["run_id"].iloc[-1]].to_dict("records")
        return {row["node"]: row for row in rows}

    def outcomes(self) -> dict[str, set[str]]:
        """Nodes of the last run by what became of them: ``fresh``, ``done``, ``taken`` from an earlier run."""
        found: dict[str, set[str]] = {"fresh": set(), "done": set(), "taken": set()}
        for node, row in self.last_run().items():
            found["taken" if isinstance(row.get("taken_from"), str) else row["outcome"]].add(node)
        return found

    def work_of(self, node: str) -> list[str]:
        """What a node of the last run made, resumed or reused: ``training made``."""
        work = self.last_run()[node].get("work")
        return [f"{done['kind']} {done['outcome']}" for done in work] if isinstance(work, list) else []

    @property
    def env(self) -> dict[str, str]:
        own = {k: v for k, v in os.environ.items() if k != "KEDRO_ENV"}
        return own | {"OMP_NUM_THREADS": "1", "KEDRO_DISABLE_TELEMETRY": "1", "COLUMNS": "200"}


@pytest.fixture(scope="session")
def simulated(tmp_path_factory) -> KedroProject:
    """A data root that holds nothing but the simulated arena's raw files."""
    project = KedroProject(tmp_path_factory.mktemp("data"))
    project.run("--pipelines", "simulated_arena")
    return project


TEACHERS_ONLY = {"roster.students": "[]", "roster.final_held_out": "[]"}


@pytest.fixture(scope="session")
def finished(simulated) -> KedroProject:
    """The same after the whole default pipeline."""
    project = KedroProject(simulated.data_root)
    done = project.run()
    (project.data_root / "run.log").write_text(done.stdout + done.stderr)
    return project
