"""What is judged already of a command's files, so that a killed command goes on: a directory beside the output.

``request.json`` says what is being judged, ``<judge>-<part>.npz`` holds what one judge said of one part of the rows and
of which request. Each file is whole or absent. The directory goes when the output is written, the request last.
"""

import hashlib
import json
import logging
import re
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wsdm_arena.judging.files.request import FileJudgingError
from wsdm_arena.processes.lock import LOCK_NAME, lock_directory
from wsdm_arena.runs.files import replacing_file, write_atomically

logger = logging.getLogger(__name__)

StoredReading = dict[str, npt.NDArray[Any]]
"""Arrays by name, each with one entry a row of the part."""

LOCK_WAIT_S = 5.0
_REQUEST_DIGEST, _IS_COMPLETE = "request_digest", "is_complete"
"""What a file of a reading says beside its arrays."""


class PartsDirectory:
    """The directory of one output.

    Args:
        output: Where verdicts are to go.
    """

    def __init__(self, output: Path) -> None:
        self.path = output.with_name(f"{output.name}.parts")
        self._request_file = self.path / "request.json"
        self._output = output
        self._request_digest = ""

    @contextmanager
    def begin(self, request: Mapping[str, Any], *, restart: bool) -> Iterator[bool]:
        """Keep other processes out and make sure that what is there belongs to this request.

        Args:
            request: Everything that the verdicts depend on, as JSON.
            restart: Drop what is there of another request, or of this.

        Yields:
            Whether some work is done already.

        Raises:
            FileJudgingError: Another request was begun here; says in what it differs, and the cure.
            DirectoryInUseError: Another process is at it.
        """
        self.path.mkdir(exist_ok=True)
        with lock_directory(self.path, LOCK_WAIT_S):
            if restart:
                self._clear()
            found = self._read_request()
            if found is None:
                self._clear()  # a removal was cut short: whose readings these are, nobody knows
            has_readings = any(self.path.glob("*.npz"))  # a command that failed before the first has left nothing
            if found is not None and has_readings:
                self._require_same(found, dict(request))
            self._remove_leftovers()
            content = json.dumps(request, indent=2, sort_keys=True).encode()
            self._request_digest = hashlib.blake2b(content, digest_size=16).hexdigest()
            write_atomically(self._request_file, content)
            yield has_readings

    def remove(self) -> None:
        """Drop everything: the output is written. Readings go first, what says whose they are after them."""
        self._remove_leftovers()
        for path in (*self.path.glob("*.npz"), self._request_file, self.path / LOCK_NAME):
            path.unlink(missing_ok=True)
        try:
            self.path.rmdir()
        except OSError as error:
            logger.warning("%s cannot be removed: %s", self.path, error.strerror or error)

    def write(self, judge: int, part: int, reading: StoredReading, *, is_complete: bool) -> None:
        """Keep what a judge said of a part.

        Args:
            judge: Its number.
            part: The part's number.
            reading: By name.
            is_complete: False where the clock stopped the judge: another call reads the part again.
        """
        with replacing_file(self._file(judge, part)) as temporary, temporary.open("wb") as stream:
            own = {_IS_COMPLETE: np.array(is_complete), _REQUEST_DIGEST: np.array(self._request_digest)}
            np.savez(stream, **own, **reading)  # type: ignore[arg-type]

    def read(self, judge: int, part: int, num_rows: int) -> StoredReading | None:
        """What a judge said of a part; None where it has said nothing, or the file is damaged."""
        found = self._load(judge, part, num_rows)
        return None if found is None else found[0]

    def has(self, judge: int, part: int, num_rows: int) -> bool:
        """Whether a judge has read all it was to read of a part."""
        found = self._load(judge, part, num_rows)
        return found is not None and found[1]

    def _load(self, judge: int, part: int, num_rows: int) -> tuple[StoredReading, bool] | None:
        path = self._file(judge, part)
        try:
            with np.load(path, allow_pickle=False) as arrays:
                reading = {name: arrays[name] for name in arrays.files}
            is_complete, request_digest = bool(reading.pop(_IS_COMPLETE)), str(reading.pop(_REQUEST_DIGEST))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            logger.warning("%s cannot be read and is made again: %s", path, error)
            return None
        if request_digest != self._request_digest:
            logger.warning("%s belongs to another command and is made again", path)
            return None
        if any(len(values) != num_rows for values in reading.values()):
            logger.warning("%s does not hold %d rows and is made again", path, num_rows)
            return None
        return reading, is_complete

    def _file(self, judge: int, part: int) -> Path:
        return self.path / f"{judge}-{part:06d}.npz"

    def _read_request(self) -> dict[str, Any] | None:
        try:
            content = json.loads(self._request_file.read_text())
        except FileNotFoundError:
            return None
        except ValueError:
            content = None
        if not isinstance(content, dict):
            raise FileJudgingError(f"{self._request_file} is damaged; add --restart to judge everything anew")
        return content

    def _require_same(self, found: dict[str, Any], wanted: dict[str, Any]) -> None:
        differing = [name for name in sorted({*found, *wanted}) if found.get(name) != wanted.get(name)]
        if differing:
            raise FileJudgingError(
                f"{self.path} holds the beginning of another command for the same output; {', '.join(differing)} "
                "differ. Give that command again to finish it, name another output (-o), or add --restart to drop it"
            )

    def _remove_leftovers(self) -> None:
        for pattern in (".*.npz.*", ".request.json.*"):  # of a killed process
            for path in self.path.glob(pattern):
                path.unlink(missing_ok=True)
        half_written = re.compile(rf"\.{re.escape(self._output.name)}(\.report\.json)?\.\d+")
        for path in self._output.absolute().parent.iterdir():
            if half_written.fullmatch(path.name):
                path.unlink(missing_ok=True)

    def _clear(self) -> None:
        self._request_file.unlink(missing_ok=True)  # first: parts without it belong to nothing
        for path in self.path.glob("*.npz"):
            path.unlink(missing_ok=True)
