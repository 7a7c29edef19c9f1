"""The configuration and the data folder that a tiny training of one teacher would have as a project."""

import json
import shutil
from pathlib import Path
from typing import Any

from tests.training.tiny_runs import TEMPLATE, TRAINING, TRUNCATION, TinyRuns
from wsdm_arena.config import ProjectConfig, deep_merge

DEVICE = {"memory_gib": 8, "peak_tflops": 0.05, "launch_s": 10, "source": "test"}
VERSION = "2026-11-22T10.00.00.000Z"


def configure(training: dict[str, Any] | None = None, **changes: Any) -> ProjectConfig:
    """One teacher on CPUs; its backbone is not described, so it must be on disk."""
    tree: dict[str, Any] = {
        "seed": 3,
        "template": TEMPLATE.model_dump(),
        "truncation": TRUNCATION.model_dump(),
        "training": deep_merge(TRAINING, training or {}),
        "launcher": {"device": "cpu", "processes_per_node": 1},
        "roster": {"teachers": ["llama"]},
        "judges": {"llama": {"system_role": False}},
        "stages": {"teacher": {"truncation": "per_field"}},
        "pseudo_labels": {
            table: {"truncation": "per_field", "min_margin": 0.0} for table in ("collected_pairs", "generated_pairs")
        },
        "planning": {"devices": {"cpu": DEVICE}},
    }
    return ProjectConfig.model_validate(deep_merge(tree, changes))


def fill(root: Path, runs: TinyRuns) -> Path:
    """Put the tiny runs' backbone, selection and tokens where the catalog has them."""
    shutil.copytree(runs.backbones["llama"], root / "06_models/backbones/llama")
    runs.rows.to_parquet(versioned(root / "05_model_input/teacher/llama/selection.parquet"))
    tokens = versioned(root / "05_model_input/teacher/llama/tokens.json")
    tokens.write_text(json.dumps({"battles": str(runs.tokens)}))
    return root


def versioned(path: Path, version: str = VERSION) -> Path:
    """Where Kedro would save a version."""
    place = path / version / path.name
    place.parent.mkdir(parents=True)
    return place
