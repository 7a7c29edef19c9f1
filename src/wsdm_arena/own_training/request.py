"""What a training on one's own battles was asked for, so that the same question is answered at once."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from wsdm_arena import __version__
from wsdm_arena.config import describe_effect
from wsdm_arena.config.own_training import OwnTrainingConfig
from wsdm_arena.errors import UserError
from wsdm_arena.own_training.checks import as_source
from wsdm_arena.preferences.battles import build_battles
from wsdm_arena.runs.digests import DigestCache
from wsdm_arena.runs.files import write_atomically
from wsdm_arena.runs.fingerprint import fingerprint, manifest_digest, table_digest

_FORMAT = 1
"""Raised when the same options lead to another result."""
DONE_KEYS = ("rows", "calibration", "report", "run_dir")
"""What is kept of a finished training: fields of :class:`~wsdm_arena.own_training.results.TrainedJudge`."""
_DONE = "done.json"


def describe_request(votes: Sequence[Path] | pd.DataFrame, config: OwnTrainingConfig, work: Path) -> str:
    """Name what is asked for: same one, same bundle.

    Of a backbone's directory, names, sizes and times count: where they changed, the training's own fingerprint, which
    is made of contents, decides whether it is another one.

    Args:
        votes: Files, or a frame.
        config: Everything else.
        work: Remembers what files hold.
    """
    cache = DigestCache.of(work)
    if isinstance(votes, pd.DataFrame):
        described = table_digest(build_battles(votes, config.preferences).battles)
    else:
        described = cache.digest(votes)[0]
    cache.save()
    has_type = "dtype" in config.training.model_fields_set
    return fingerprint(
        {
            "format": _FORMAT,
            "version": __version__,
            "votes": described,
            "config": describe_effect(config, _describe_directory),
            "dtype": config.training.dtype if has_type else f"auto on {config.launcher.device}",
        }
    )


def find_done(work: Path, request: str, bundle: Path) -> dict[str, Any] | None:
    """What an earlier call left, if it was asked the same and its bundle is still there as it was."""
    try:
        done = json.loads((work / _DONE).read_text(encoding="utf-8"))
        if done["request"] != request or manifest_digest(bundle) != done["bundle"]:
            return None
        found = {key: done[key] for key in DONE_KEYS}
        return found | {"rows": tuple(found["rows"]), "run_dir": Path(found["run_dir"])}
    except (OSError, UserError, ValueError, KeyError, TypeError):
        return None


def note_done(work: Path, request: str, bundle: Path, found: Mapping[str, Any]) -> None:
    """Keep what :func:`find_done` finds."""
    done = {"request": request, "bundle": manifest_digest(bundle), **found}
    write_atomically(work / _DONE, json.dumps(done, indent=2, ensure_ascii=False, default=str).encode())


def _describe_directory(source: str) -> object:
    place = as_source(source)
    if isinstance(place, str):
        return place
    files = [(path.name, path.stat()) for path in sorted(place.iterdir()) if path.is_file()]
    return [[name, state.st_size, state.st_mtime_ns] for name, state in files]
