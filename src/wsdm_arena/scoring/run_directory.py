"""The directory of a scoring run: what is already scored survives a kill, and each file is whole or absent.

``scoring.json`` (what is to be done), ``parts/part-000123.parquet`` while it is being done, ``predictions.parquet``
and, last, ``complete.json``.
"""

import json
import logging
import shutil
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from wsdm_arena.config import ScoringConfig
from wsdm_arena.errors import UserError
from wsdm_arena.processes.lock import LOCK_WAIT_S, lock_directory
from wsdm_arena.runs.files import describe_file, find_damage, replacing_file, write_atomically

logger = logging.getLogger(__name__)

PREDICTIONS_SCHEMA = pa.schema(
    [
        ("pair_id", pa.string()),
        ("order", pa.string()),
        ("logits", pa.list_(pa.float32())),
        ("probabilities", pa.list_(pa.float32())),
        ("judge_fingerprint", pa.string()),
        ("template_hash", pa.string()),
        ("truncated", pa.bool_()),
    ]
)
"""Columns of the predictions, the same for an empty table."""


Chunks = list[npt.NDArray[np.str_]]
"""Keys of the pairs of each part, sorted within and over the parts."""


class ScoringError(UserError, RuntimeError):
    """A table cannot be scored, or a run directory does not hold what it should."""


def split_pairs(pair_ids: npt.NDArray[np.str_], pairs_per_part: int) -> Chunks:
    """Cut the keys of a token table, which are sorted, into parts; none for an empty table."""
    return [pair_ids[start : start + pairs_per_part] for start in range(0, len(pair_ids), pairs_per_part)]


class ScoringDirectory:
    """Paths and files of one scoring run."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.config_file = self.path / "scoring.json"
        self.parts = self.path / "parts"
        self.predictions = self.path / "predictions.parquet"
        self.complete = self.path / "complete.json"
        self.log = self.path / "torchrun.log"

    def lock(self, wait_s: float = LOCK_WAIT_S) -> AbstractContextManager[None]:
        """Keep other processes out, see :func:`~wsdm_arena.processes.lock.lock_directory`."""
        return lock_directory(self.path, wait_s)

    def read_config(self) -> ScoringConfig:
        """Validate ``scoring.json``.

        Raises:
            ScoringError: It is missing or is not a scoring configuration of this version.
        """
        try:
            config = ScoringConfig.model_validate_json(self.config_file.read_text())
        except FileNotFoundError:
            raise ScoringError(f"{self.config_file} is missing; it says which judge reads which table") from None
        except ValidationError as error:
            raise ScoringError(
                f"{self.config_file} is not a scoring configuration of this version ({error}); {self._cure}"
            ) from None
        expected = ScoringConfig.model_fields["format"].default
        if config.format != expected:
            raise ScoringError(
                f"{self.config_file} has format {config.format}, this version reads {expected}; {self._cure}"
            )
        return config

    def write_config(self, config: ScoringConfig) -> None:
        """Say what is to be done here; where the same is under way, devices and budgets may be others now.

        Raises:
            ScoringError: Another run is under way here.
        """
        if self.config_file.is_file():
            self._require_same_run(self.read_config().fingerprint, config, self.config_file)
        self.path.mkdir(parents=True, exist_ok=True)
        write_atomically(self.config_file, config.model_dump_json(indent=2).encode())

    def is_complete(self, config: ScoringConfig) -> bool:
        """Whether this very run has ended well and what it left is still there as it was written.

        Raises:
            ScoringError: It ended, but something is missing, damaged or of another run; names the file and the cure.
        """
        if not self.complete.is_file():
            return False
        try:
            content = json.loads(self.complete.read_text())
            fingerprint, files = content["fingerprint"], content["files"]
        except (ValueError, KeyError, TypeError):
            raise ScoringError(f"{self.complete} is damaged; {self._cure}") from None
        self._require_same_run(fingerprint, config, self.complete)
        if damage := find_damage(self.path, files):
            raise ScoringError(f"{damage}; {self._cure}")
        return True

    def read_predictions(self) -> pd.DataFrame:
        """The table of a finished run."""
        return pd.read_parquet(self.predictions)

    def remove_leftovers(self) -> None:
        """Delete what a killed process was writing under a temporary name."""
        for folder in (self.path, self.parts):
            for name in ("scoring.json", "part-*", "predictions.parquet", "complete.json"):
                for path in folder.glob(f".{name}.*"):
                    path.unlink()

    def find_missing_parts(self, chunks: Chunks, config: ScoringConfig) -> list[int]:
        """Numbers of the parts that are still to be scored.

        A part that was cut at other pairs (``pairs_per_part`` was another) or cannot be read is scored again.
        """
        return [number for number, chunk in enumerate(chunks) if not self._has_part(number, chunk, config)]

    def write_part(self, number: int, predictions: pd.DataFrame) -> None:
        """Keep the predictions of one chunk, in the order of its pairs."""
        self.parts.mkdir(exist_ok=True)
        table = pa.Table.from_pandas(predictions, schema=PREDICTIONS_SCHEMA, preserve_index=False)
        with replacing_file(self._part(number)) as temporary:
            pq.write_table(table, temporary)

    def finish(self, num_parts: int, num_pairs: int, config: ScoringConfig) -> None:
        """Join the parts, declare the run finished with size and SHA-256 of what it leaves, and drop the parts."""
        with (
            replacing_file(self.predictions) as temporary,
            pq.ParquetWriter(temporary, PREDICTIONS_SCHEMA) as writer,
        ):
            for number in range(num_parts):
                writer.write_table(pq.read_table(self._part(number), schema=PREDICTIONS_SCHEMA))
        content = {
            "fingerprint": config.fingerprint,
            "table": config.table,
            "num_pairs": num_pairs,
            "orders": list(config.orders),
            "files": {self.predictions.name: describe_file(self.predictions)},
        }
        write_atomically(self.complete, json.dumps(content, indent=2).encode())
        self.remove_parts()

    def remove_parts(self) -> None:
        """Drop the parts of a finished run."""
        shutil.rmtree(self.parts, ignore_errors=True)

    @property
    def _cure(self) -> str:
        return f"delete {self.path} to score the table again"

    def _part(self, number: int) -> Path:
        return self.parts / f"part-{number:06d}.parquet"

    def _has_part(self, number: int, chunk: npt.NDArray[np.str_], config: ScoringConfig) -> bool:
        path = self._part(number)
        try:
            keys = pq.read_table(path, columns=["pair_id", "order"])
        except FileNotFoundError:
            return False
        except (OSError, pa.ArrowException) as error:
            logger.warning("%s cannot be read and is scored again: %s", path, error)
            return False
        num_orders = len(config.orders)
        found = (keys["pair_id"].to_pylist(), keys["order"].to_pylist())
        return found == (np.repeat(chunk, num_orders).tolist(), list(config.orders) * len(chunk))

    def _require_same_run(self, fingerprint: str | None, config: ScoringConfig, file: Path) -> None:
        if fingerprint != config.fingerprint:
            raise ScoringError(
                f"{file} belongs to scoring run {fingerprint}, not to {config.fingerprint}; use a directory of its own "
                f"for each run, or {self._cure}"
            )
