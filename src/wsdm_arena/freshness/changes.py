"""What has changed since a node ran, in words."""

from collections.abc import Iterator, Mapping
from typing import Any

from wsdm_arena.freshness.node_work import NodeWork
from wsdm_arena.runs.excerpts import leaves, show_value
from wsdm_arena.runs.ledger import NodeRecord, Stored


def explain_changes(record: NodeRecord, work: NodeWork, outputs: Mapping[str, Stored]) -> tuple[str, ...]:
    """Say what makes a node run again; nothing if it is up to date.

    Args:
        record: Of its last completed run.
        work: What it would be run on now.
        outputs: What it made, as it is now.
    """
    changes = (
        *_code_changes(record, work),
        *parameter_changes(record.parameters, work.parameters),
        *_input_changes(record.inputs, work.inputs),
    )
    if not changes and record.fingerprint != work.fingerprint:
        changes = (f"its inputs come in another order: {', '.join(work.wiring)}",)
    return (*changes, *_output_changes(record.outputs, outputs))


def parameter_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """One line for each leaf that differs: ``training.epochs: 1 -> 2``."""
    old, new = _leaves_of(before), _leaves_of(now)
    for name in sorted(old.keys() | new.keys()):
        if name not in old:
            yield f"{name}: {show_value(new[name])} is new"
        elif name not in new:
            yield f"{name}: {show_value(old[name])} is gone"
        elif old[name] != new[name]:
            yield f"{name}: {show_value(old[name])} -> {show_value(new[name])}"


def _code_changes(record: NodeRecord, work: NodeWork) -> Iterator[str]:
    if record.code_format != work.code_format:
        yield f"its code computes something else now (format {record.code_format} -> {work.code_format})"


def _input_changes(before: Mapping[str, Stored], now: Mapping[str, Stored]) -> Iterator[str]:
    for name in sorted(before.keys() | now.keys()):
        if name not in before:
            yield f"{name} is a new input"
        elif name not in now:
            yield f"{name} is no input any more"
        elif before[name].digest != now[name].digest:
            became = {"absent": "is gone", "unreadable": "cannot be read"}.get(now[name].digest)
            yield f"{name} {became or ('is there now' if before[name].digest == 'absent' else 'has changed')}"


def _output_changes(before: Mapping[str, Stored], now: Mapping[str, Stored]) -> Iterator[str]:
    for name in sorted(now):
        if name not in before:
            yield f"{name} is a new output"
        elif before[name].digest != now[name].digest:
            yield f"{name} is not as it was made"


def _leaves_of(parameters: Mapping[str, Any]) -> dict[str, Any]:
    return leaves({name.removeprefix("params:"): value for name, value in parameters.items()})
