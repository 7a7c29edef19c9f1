"""All that ``kedro compare`` finds out about two runs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wsdm_arena.errors import UserError
from wsdm_arena.runs.history import (
    Difference,
    Run,
    code_differences,
    data_differences,
    nodes_of_one,
    outputs_of,
    parameter_differences,
    state_as_of,
)
from wsdm_arena.runs.ledger import NodeRecord, Stored
from wsdm_arena.scoring.run_comparisons import ScoreChange, compare_predictions, compare_rows, read_rows


@dataclass
class Comparison:
    """Everything in which two runs differ."""

    old: Run
    new: Run
    parameters: list[Difference]
    code: list[Difference]
    data: list[Difference]
    nodes_gone: list[str]
    nodes_added: list[str]
    scores: list[ScoreChange] = field(default_factory=list)
    """Rows that differ."""
    num_equal_rows: int = 0
    judges: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Paired tests by judge."""
    remarks: list[str] = field(default_factory=list)
    """What could not be compared, and why."""

    @property
    def has_differences(self) -> bool:
        """Whether there is anything to tell but the runs' names."""
        found = (self.parameters, self.code, self.data, self.nodes_gone, self.nodes_added, self.scores, self.judges)
        return any(found) or bool(self.remarks)


def compare_runs(
    old: Run,
    new: Run,
    records: Sequence[NodeRecord],
    paths: Mapping[str, tuple[Path, bool]],
    confidence: float,
) -> Comparison:
    """Find everything in which what was up to date when two runs ended differs.

    Args:
        old: The one run.
        new: The other one.
        records: The ledger.
        paths: Of catalog entries, see :func:`wsdm_arena.cli.entries.entry_paths`.
        confidence: Of the paired tests' intervals.
    """
    before, now = (state_as_of(records, run.run_id) for run in (old, new))
    gone, added = nodes_of_one(before, now)
    comparison = Comparison(
        old=old,
        new=new,
        parameters=parameter_differences(before, now),
        code=code_differences(before, now),
        data=_raw_first(data_differences(before, now), paths),
        nodes_gone=gone,
        nodes_added=added,
    )
    versions = _Versions(paths, outputs_of(before), outputs_of(now), comparison.remarks)
    _compare_scores(comparison, versions)
    _compare_judges(comparison, versions, paths, confidence)
    return comparison


@dataclass
class _Versions:
    """Finds what stood in entries as of both runs, and remarks on what is there no more."""

    paths: Mapping[str, tuple[Path, bool]]
    old: Mapping[str, Stored]
    new: Mapping[str, Stored]
    remarks: list[str]

    def that_differ(self, kind: str) -> Iterator[tuple[str, Path, Path]]:
        """Entries ``<judge>.<kind>`` of what is scored, if they differ: judge, file as of the one and the other run.

        What reads tables without votes has predictions, but no scores.
        """
        both = self.old.keys() & self.new.keys()
        for judge in sorted(name.removesuffix(".scores") for name in both if name.endswith(".scores")):
            name = f"{judge}.{kind}"
            if name not in both or self.old[name].digest == self.new[name].digest:
                continue
            files = self._locate(name, self.old[name]), self._locate(name, self.new[name])
            if files[0] is not None and files[1] is not None:
                yield judge, files[0], files[1]

    def _locate(self, name: str, stored: Stored) -> Path | None:
        if name not in self.paths or stored.version is None:
            self.remarks.append(f"{name}: the catalog keeps no versions of it")
            return None
        entry = self.paths[name][0]
        path = entry / stored.version / entry.name
        if not path.exists():
            self.remarks.append(f"{name}: version {stored.version} is there no more; kedro clean removes old ones")
            return None
        return path


def _raw_first(data: list[Difference], paths: Mapping[str, tuple[Path, bool]]) -> list[Difference]:
    """Raw tables are in no folder of versions; the other entries follow by layer."""
    return sorted(data, key=lambda change: str(paths[change.name][0]) if change.name in paths else "")


def _compare_scores(comparison: Comparison, versions: _Versions) -> None:
    for judge, old, new in versions.that_differ("scores"):
        try:
            changes = compare_rows(read_rows(old), read_rows(new))
        except UserError as error:
            comparison.remarks.append(f"{judge}: {error}")
            continue
        differing = [change for change in changes if change.is_change]
        comparison.scores += differing
        comparison.num_equal_rows += len(changes) - len(differing)


def _compare_judges(
    comparison: Comparison, versions: _Versions, paths: Mapping[str, tuple[Path, bool]], confidence: float
) -> None:
    """Test every judge whose predictions of the held-out fold differ."""
    import pandas as pd

    found = list(versions.that_differ("predictions"))
    if not found:
        return
    battles_path = paths["battles"][0]
    if not battles_path.is_file():
        comparison.remarks.append(f"{battles_path} is not there, so no judge can be tested")
        return
    battles = pd.read_parquet(battles_path)
    for judge, old, new in found:
        try:
            tested = compare_predictions(pd.read_parquet(old), pd.read_parquet(new), battles, confidence=confidence)
        except (UserError, OSError, ValueError) as error:  # pyarrow says with a ValueError that a file is damaged
            comparison.remarks.append(f"{judge}: its predictions: {error}")
            continue
        if tested["num_battles"]:
            comparison.judges[judge] = tested
        else:
            comparison.remarks.append(f"{judge}: the runs have read no battle in common, so it cannot be tested")
