"""The checkpoints that a contest entry would offer for download: tiny backbones in its inference layout."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

from wsdm_arena.errors import UserError
from wsdm_arena.runs.directories import replacing_directory
from wsdm_arena.runs.files import describe_file, flush

MARKER_NAME = ".simulated_arena.json"
"""Lists the other files of its directory, all of which the simulated arena wrote, with the hashes of their contents,
and names the environment in which it did."""

_NUM_CLASSES = 3
"""A wins, B wins, tie: what the contest of 2024 asked for."""
_HEAD_SEED = 2024


class RawCheckpointError(UserError, RuntimeError):
    """A checkpoint cannot be written where it should be; nothing was changed."""


def write_raw_checkpoints(root: Path, judges: Sequence[str] = ("gemma", "llama")) -> None:
    """Write ``root/<judge>`` for each judge, as a whole or not at all.

    There are its tiny backbone in float16, gate and up projections fused, a head of three classes with random weights
    under ``score.``, and the tokenizer. The same installation writes the same bytes.

    Args:
        root: Made if it does not exist.
        judges: Names of committed backbones.

    Raises:
        RawCheckpointError: There is no backbone of that name, or a directory is there that the simulated arena did not
            write or that was changed since. Checked for all before anything is written.
    """
    from wsdm_arena.simulation.backbones import BACKBONES  # and with it, torch and transformers

    known = sorted(path.name for path in BACKBONES.iterdir() if (path / "config.json").is_file())
    if unknown := sorted(set(judges) - set(known)):
        raise RawCheckpointError(f"there is no tiny backbone for {', '.join(unknown)}; there is {', '.join(known)}")
    for judge in judges:
        check_replaceable(root / judge)
    root.mkdir(parents=True, exist_ok=True)
    for judge in judges:
        _write(BACKBONES / judge, root / judge)


def check_replaceable(directory: Path) -> None:
    """Make sure that replacing a directory loses nothing but files of the simulated arena.

    Raises:
        RawCheckpointError: It is a link or a file, or holds a file that the arena did not write or that was changed
            since.
    """
    if not directory.exists() and not directory.is_symlink():
        return
    if directory.is_symlink() or not directory.is_dir():
        found = "is a link" if directory.is_symlink() else "is a file"
    else:
        written = _read_marker(directory / MARKER_NAME)
        foreign = [path for path in sorted(directory.rglob("*")) if not _is_written(path, directory, written)]
        if not foreign:
            return
        found = f"holds {foreign[0].relative_to(directory)}, which the simulated arena did not write in this form"
    raise RawCheckpointError(
        f"{directory} {found}; nothing was changed. Move it away to simulate, or leave it there to start from it."
    )


def _is_written(path: Path, directory: Path, written: dict[str, str]) -> bool:
    if path == directory / MARKER_NAME:
        return True
    if path.parent != directory or path.name not in written or path.is_symlink() or not path.is_file():
        return False
    return bool(describe_file(path)["sha256"] == written[path.name])


def _read_marker(marker: Path) -> dict[str, str]:
    """Read hashes by name; a damaged marker vouches for nothing."""
    try:
        simulated = json.loads(marker.read_text(encoding="utf-8"))["simulated"]
        return {str(name): str(digest) for name, digest in simulated.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _write(source: Path, directory: Path) -> None:
    from wsdm_arena.config import HeadConfig
    from wsdm_arena.modeling.head import Head
    from wsdm_arena.modeling.inference_layout import write_fused_files

    hidden_size = json.loads((source / "config.json").read_text(encoding="utf-8"))["hidden_size"]
    head = Head(HeadConfig(), hidden_size, _NUM_CLASSES, seed=_HEAD_SEED)
    with replacing_directory(directory) as partial:
        write_fused_files(source, partial, head=head.state_dict())
        hashes = {path.name: describe_file(path)["sha256"] for path in sorted(partial.iterdir())}
        marker = partial / MARKER_NAME
        env = {"env": os.environ["KEDRO_ENV"]} if "KEDRO_ENV" in os.environ else {}  # set by a hook
        marker.write_text(json.dumps({"simulated": hashes, **env}, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        flush(marker)
