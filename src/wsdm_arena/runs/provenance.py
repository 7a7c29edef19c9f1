"""What has been made, when, and from what: the ledger as a table of catalog entries, for notebooks."""

from typing import Any

import pandas as pd

_COLUMNS = ("entry", "version", "made", "node", "inputs", "run_id", "env", "seconds", "size", "git_commit")


def entries_made(ledger: pd.DataFrame) -> pd.DataFrame:
    """List every catalog entry that a run has made, as its last completed run left it.

    Args:
        ledger: As ``catalog.load("ledger")`` gives it, see :class:`~wsdm_arena.runs.ledger.NodeRecord`.

    Returns:
        One row an entry, the newest last: ``entry``, ``version`` (null for entries without), ``made`` (UTC), ``node``,
        ``inputs`` (name and version of what it was made from), ``run_id``, ``env``, ``seconds`` of the node, ``size``
        (bytes), ``git_commit``.

    Example:
        >>> entries_made(catalog.load("ledger")).tail()  # doctest: +SKIP
    """
    rows: dict[str, dict[str, Any]] = {}
    for record in ledger.to_dict("records"):
        if record["outcome"] != "done":
            continue
        for name, stored in _mapping(record.get("outputs")).items():
            rows.pop(name, None)  # so that the order is that of the ledger's lines, never that of clocks
            rows[name] = {
                "entry": name,
                "version": stored.get("version"),
                "made": pd.Timestamp(record["time"]),
                "node": record["node"],
                "inputs": [_describe(*item) for item in _mapping(record.get("inputs")).items()],
                "run_id": str(record["run_id"]),
                "env": record.get("env"),
                "seconds": record.get("seconds"),
                "size": stored.get("size"),
                "git_commit": record.get("git_commit"),
            }
    return pd.DataFrame(list(rows.values()), columns=list(_COLUMNS))


def _describe(name: str, stored: dict[str, Any]) -> str:
    version = stored.get("version")
    return f"{name} {version}" if version else name


def _mapping(value: Any) -> dict[str, Any]:
    """A cell of the ledger; lines that lack it give NaN."""
    return value if isinstance(value, dict) else {}
