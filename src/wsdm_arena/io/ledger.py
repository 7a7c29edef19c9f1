"""The ledger as a catalog entry."""

from pathlib import Path
from typing import Any, NoReturn

import pandas as pd
from kedro.io import AbstractDataset, DatasetError

from wsdm_arena.runs.ledger import Ledger


class LedgerDataset(AbstractDataset[NoReturn, pd.DataFrame]):
    """What every run did about every node, see :class:`wsdm_arena.runs.ledger.NodeRecord`; a line a row.

    A data folder in which nothing has been run has no rows. A last line that a crash has cut off is left out.
    """

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        self._filepath = Path(filepath)
        self.metadata = metadata

    def load(self) -> pd.DataFrame:
        """One row a record, in the order of the lines."""
        records = [record.model_dump(mode="json") for record in Ledger(self._filepath).records()]
        return pd.DataFrame(records, columns=list(records[0]) if records else ["run_id", "node", "outcome", "time"])

    def save(self, data: NoReturn) -> None:
        """Always refuses: the runner writes the ledger."""
        raise DatasetError(f"{self._filepath} is written by the runner; it cannot be saved")

    def _exists(self) -> bool:
        return self._filepath.is_file()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}
