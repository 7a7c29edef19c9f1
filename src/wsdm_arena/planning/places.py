"""Where a data folder keeps what plans are read off: the paths of ``conf/base/catalog*.yml``."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from wsdm_arena.errors import UserError
from wsdm_arena.runs.files import MANIFEST


class PlanError(UserError, ValueError):
    """Something that a plan needs is neither on disk nor described under ``planning``, or is damaged."""


@dataclass(frozen=True)
class DataFolder:
    """One environment's data folder; nothing in it need be there."""

    root: Path

    def table(self, name: str) -> Path | None:
        """``battles``, ``test_pairs``, ``language_phases``, ``collected_pairs``, or the newest ``generated_pairs``."""
        return _existing(self.root / "03_primary" / f"{name}.parquet")

    def labels(self, name: str) -> Path | None:
        """Newest ``collected_labels`` or ``generated_labels``."""
        return _existing(self.root / "05_model_input" / f"{name}.parquet")

    @property
    def answer_requests(self) -> Path | None:
        """Who answers which prompt."""
        return _existing(self.root / "02_intermediate/answer_requests.parquet")

    @property
    def mined_prompts(self) -> Path | None:
        """Prompts found in conversations."""
        return _existing(self.root / "02_intermediate/mined_prompts.parquet")

    def model_input(self, namespace: str, name: str) -> Path | None:
        """Newest ``selection.parquet`` or ``tokens.json`` of ``teacher.gemma`` or ``collected_labels.gemma``."""
        return _existing(self.root.joinpath("05_model_input", *namespace.split("."), name))

    def token_tables(self, path: Path) -> dict[str, Path]:
        """Directories that a ``tokens.json`` names, by table."""
        return {table: self.root / "05_model_input/tokens" / str(name) for table, name in read_object(path).items()}

    def model(self, namespace: str, name: str) -> Path | None:
        """Newest ``checkpoint`` or ``bundle`` of ``student.gemma``."""
        return _existing(self.root.joinpath("06_models", *namespace.split("."), name))

    def output(self, namespace: str, name: str) -> Path | None:
        """Newest ``predictions.parquet`` or ``verdicts.parquet``, ``cascade.json`` of a namespace."""
        return _existing(self.root.joinpath("07_model_output", *namespace.split("."), name))

    def backbone(self, judge: str) -> Path | None:
        """Imported backbone of a judge."""
        return _existing(self.root / "06_models/backbones" / judge)

    def raw_checkpoint(self, judge: str) -> Path | None:
        """Downloaded weights of a judge."""
        return _existing(self.root / "01_raw/checkpoints" / judge)

    def packaged_model(self, package: str) -> Path | None:
        """Language model that came as a Python package, dequantised."""
        return _existing(self.root / "06_models/packaged_models" / package)

    def bundle_tokens(self, table: str, judge: str) -> Path | None:
        """Newest token table that was made with the tokenizer of a bundle of ``student.gemma``."""
        bundles = f"/06_models/{judge.replace('.', '/')}/bundle/"
        stores = sorted(
            (self.root / "05_model_input/tokens").glob(f"{table}.*/{MANIFEST}"),
            key=lambda manifest: manifest.stat().st_mtime_ns,
            reverse=True,
        )
        made = (manifest.parent for manifest in stores if bundles in str(read_object(manifest).get("tokenizer")))
        return next(made, None)

    @property
    def runs_of_trainings(self) -> Path:
        """Where trainings live."""
        return self.root / "06_models/.runs"

    def training_runs(self, training: str) -> Iterator[Path]:
        """Run directories of a training, whatever its fingerprint, oldest first."""
        runs = (self.runs_of_trainings / training).glob("*/run.json")
        yield from sorted((path.parent for path in runs), key=lambda path: path.stat().st_mtime_ns)

    @property
    def runs_of_scorings(self) -> Path:
        """Where scorings of tables live."""
        return self.root / "07_model_output/.runs"


def read_table(path: Path, columns: list[str]) -> pa.Table:
    """Some columns of a Parquet table.

    Raises:
        PlanError: It is damaged or lacks a column.
    """
    try:
        return pq.read_table(path, columns=columns)
    except (OSError, pa.ArrowException) as error:
        raise _damaged(path, error) from error


def count_rows(path: Path) -> int:
    """Rows of a Parquet table, by its footer.

    Raises:
        PlanError: It is damaged.
    """
    try:
        return int(pq.read_metadata(path).num_rows)
    except (OSError, pa.ArrowException) as error:
        raise _damaged(path, error) from error


def read_object(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        PlanError: It is damaged, or something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from error
    if not isinstance(content, dict):
        raise _damaged(path, f"it holds a {type(content).__name__}")
    return content


def _damaged(path: Path, reason: object) -> PlanError:
    return PlanError(f"{path} cannot be read ({reason}); delete it, and kedro run makes it again")


def _existing(path: Path) -> Path | None:
    """The path, or where Kedro versions it, that of the newest version; None where there is neither."""
    if path.is_dir():
        versions = sorted(found for version in path.iterdir() if (found := version / path.name).exists())
        if versions:
            return versions[-1]
    return path if path.exists() and not _is_version_folder(path) else None


def _is_version_folder(path: Path) -> bool:
    """Whether nothing but versions (or nothing at all) can lie there: files have a suffix, and directories content."""
    return path.is_dir() and (bool(path.suffix) or not any(path.iterdir()))
