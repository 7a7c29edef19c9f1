"""Names of the code that computes what takes seconds: its results are computed anew whenever the code changes.

What takes hours has a number instead, see :mod:`wsdm_arena.runs.formats`. Only nodes import this: a judge that runs
from a wheel has no files to read.
"""

import hashlib
from pathlib import Path

_PACKAGE = Path(__file__).parents[1]
_CODE = (".py", ".j2")


def source_digest(*parts: str) -> str:
    """Name the code of modules and packages, templates included: what takes seconds is done again when it changes.

    Args:
        parts: Paths below the package, such as ``analysis`` or ``metrics.py``.
    """
    digest = hashlib.blake2b(digest_size=6)
    for part in parts:
        path = _PACKAGE / part
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.suffix in _CODE:
                digest.update(f"{file.relative_to(_PACKAGE).as_posix()}\0".encode() + file.read_bytes() + b"\0")
    return digest.hexdigest()


SCORES = source_digest("metrics.py", "scoring")
"""Rows of the scoreboard, paired tests."""
ANALYSES = source_digest("metrics.py", "scoring", "analysis")
"""What is measured of judges and cascades, and how it is drawn."""
CARDS = source_digest("cards", "schemas.py", "judging/model_card.py")
"""Model and data cards."""
