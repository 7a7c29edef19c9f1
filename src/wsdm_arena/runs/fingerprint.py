"""A fingerprint names a piece of work: the same one means the same result.

It is a hash of whatever the result depends on: the resolved configuration and the contents of the inputs.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from wsdm_arena.config import ResolvedJudge, describe_effect
from wsdm_arena.errors import UserError
from wsdm_arena.runs.files import MANIFEST, find_damage, read_descriptions
from wsdm_arena.runs.formats import SCORING_FORMAT, TRAINING_FORMAT


def fingerprint(parts: Mapping[str, Any]) -> str:
    """Hash of a mapping of JSON values, 16 hexadecimal digits; the order of keys does not matter.

    Example:
        >>> fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
        True
    """
    canonical = json.dumps(parts, sort_keys=True, ensure_ascii=True, allow_nan=False)
    return hashlib.blake2b(canonical.encode(), digest_size=8).hexdigest()


def file_digest(path: Path) -> str:
    """Hash of a file's bytes, 32 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def directory_digest(path: Path) -> str:
    """Hash of a directory's file names and contents; hidden files and folders (a hub's cache) are left out."""
    files = {p.relative_to(path): p for p in path.rglob("*") if p.is_file()}
    visible = {name: p for name, p in files.items() if not any(part.startswith(".") for part in name.parts)}
    return fingerprint({name.as_posix(): file_digest(p) for name, p in sorted(visible.items())})


class DirectoryChangedError(UserError, RuntimeError):
    """A directory is not what its manifest says."""


def manifest_digest(directory: Path) -> str:
    """Hash of a directory's file names and contents as its ``manifest.json`` states them; 16 hexadecimal digits.

    Nothing is hashed again, only sizes are compared, so that it is quick for any number of gigabytes. Serves backbones,
    checkpoints and bundles alike: each writes its manifest last, with ``files: {path: {size, sha256}}``.

    Raises:
        DirectoryChangedError: There is no such manifest, or a file is missing or has another size; it is named.
    """
    path = directory / MANIFEST
    try:
        files = read_descriptions(json.loads(path.read_text())["files"])
    except OSError:
        raise DirectoryChangedError(
            f"{directory} has no {MANIFEST}: it is half written or something else; delete it and make it again"
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise DirectoryChangedError(f"{path} is damaged, or no manifest of files: {error!r}") from error
    if damage := find_damage(directory, files, max_hashed_bytes=0):
        raise DirectoryChangedError(f"{damage}; make {directory} again")
    return fingerprint({name: file["sha256"] for name, file in files.items()})


def table_digest(table: pd.DataFrame) -> str:
    """Hash of a table's column names and values in their order, whatever library wrote it; 32 hexadecimal digits.

    Columns hold numbers or text.
    """
    digest = hashlib.blake2b(json.dumps(list(table.columns)).encode(), digest_size=16)
    for column in table.columns:
        digest.update(pd.util.hash_pandas_object(table[column], index=False).to_numpy().tobytes())
    return digest.hexdigest()


def training_fingerprint(
    *, judge: ResolvedJudge, backbone: str, inputs: Mapping[str, str], seed: int, num_classes: int
) -> str:
    """Name a training by everything that its result depends on.

    The number of processes is not part of it: it changes only the order of summation.

    Args:
        judge: The judge in its stage.
        backbone: Digest of the checkpoint it starts from.
        inputs: Digests of the tables it reads, by name.
        seed: Of every draw.
        num_classes: Of the head.
    """
    return fingerprint(
        {
            "format": TRAINING_FORMAT,
            "judge": describe_effect(judge),
            "backbone": backbone,
            "inputs": dict(inputs),
            "seed": seed,
            "num_classes": num_classes,
        }
    )


def scoring_fingerprint(*, checkpoint: Mapping[str, Any], tokens: str, orders: Iterable[str], dtype: str) -> str:
    """Name the reading of a whole table by everything that its result depends on.

    Kernel, budgets and devices are no part of it: they change only the order of summation.

    Args:
        checkpoint: Digest of the judge's files, and what its manifest says that predictions depend on: its origin and
            its sliding window.
        tokens: Name of the token table's directory, whose key is a hash of its contents.
        orders: In which every pair is read.
        dtype: Of weights and activations.
    """
    return fingerprint(
        {
            "format": SCORING_FORMAT,
            "checkpoint": dict(checkpoint),
            "tokens": tokens,
            "orders": sorted(orders),
            "dtype": dtype,
        }
    )
