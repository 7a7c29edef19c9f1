"""Texts set aside on disk until it is known which of them are needed, and in which order."""

import os
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

_SPARSE = 4
"""Texts of which more than this many times their own bytes would have to be read are read one by one."""


class TextSpool:
    """Context manager of one file that texts are appended to, and read from by position.

    Args:
        path: A file that is not there yet.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("xb+")
        self._end = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def append(self, texts: pa.BinaryArray) -> npt.NDArray[np.int64]:
        """Add N texts at the end, none of them null.

        Returns:
            ``(N,)``, where each begins, in bytes.
        """
        if not len(texts):
            return np.zeros(0, dtype=np.int64)
        _, offset_buffer, contents = texts.buffers()
        offsets = np.frombuffer(offset_buffer, np.int32)[texts.offset : texts.offset + len(texts) + 1].astype(np.int64)
        self._file.write(memoryview(contents)[offsets[0] : offsets[-1]])
        starts = self._end + offsets[:-1] - offsets[0]
        self._end += int(offsets[-1] - offsets[0])
        return starts

    def read(self, starts: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64]) -> list[bytes]:
        """Texts by where they begin and how many bytes they have; fastest where they lie close together, in order."""
        self._file.flush()
        descriptor = self._file.fileno()
        ends = starts + sizes
        span = int(ends.max() - starts[0]) if len(starts) else 0  # an empty text may follow one that begins there
        if span > _SPARSE * int(sizes.sum()) or (np.diff(starts) < 0).any():
            return [
                os.pread(descriptor, size, start) for start, size in zip(starts.tolist(), sizes.tolist(), strict=True)
            ]
        contents = os.pread(descriptor, span, starts[0])
        edges = zip((starts - starts[0]).tolist(), (ends - starts[0]).tolist(), strict=True)
        return [contents[start:end] for start, end in edges]
