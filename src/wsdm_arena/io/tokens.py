"""Token tables of a judge as a catalog entry: which directories of the token store they are."""

from pathlib import Path
from typing import Any

from wsdm_arena.io.text import AtomicJSONDataset
from wsdm_arena.runs.files import MANIFEST


class TokensDataset(AtomicJSONDataset):
    """Nodes exchange paths of token tables; what is saved are their names, so that a data folder can be moved.

    Takes the arguments of ``json.JSONDataset``, and:

    Args:
        store: Folder of all token tables.
    """

    def __init__(self, *, store: str, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._store = Path(store)

    def load(self) -> dict[str, str]:
        """Absolute path of each token table, by the name of the table."""
        return {table: str(self._place(name)) for table, name in super().load().items()}

    def save(self, data: dict[str, str]) -> None:
        """Keep the directories' names, which are hashes of their contents."""
        super().save({table: Path(path).name for table, path in data.items()})

    def files(self) -> list[Path]:
        """The directories of its token tables, whose contents are what a judge reads."""
        try:
            return [Path(path) for path in self.load().values()]
        finally:
            self.release()  # Kedro remembers which version is the newest

    def lacks_tables(self) -> bool:
        """Whether a directory that the entry names is gone or incomplete: it must be made again."""
        return any(not Path(path, MANIFEST).is_file() for path in self.files())

    def _place(self, name: str) -> Path:
        return (self._store / name).resolve()
