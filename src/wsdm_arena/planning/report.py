"""A plan as people read it: rounded as far as it is sure."""

import math
import shlex
from collections.abc import Sequence

from wsdm_arena.planning.figures import Basis, Figure
from wsdm_arena.planning.jobs import Job, Totals
from wsdm_arena.planning.plan import Plan

MARKS = {Basis.EXACT: "", Basis.MEASURED: "*", Basis.ESTIMATED: "~", Basis.ASSUMED: "?"}
LEGEND = "no mark: counted   * measured   ~ estimated from what is on disk   ? from planning's reference tables alone"
COLUMNS = (
    "job",
    "result",
    "rows",
    "sequences",
    "tokens",
    "updates",
    "scored tokens",
    "GPUs",
    "GiB each",
    "GB left",
    "GB meanwhile",
    "hours",
)
_SIGNIFICANT = {Basis.MEASURED: 3, Basis.ESTIMATED: 3, Basis.ASSUMED: 2}
_DECIMALS = 3
_LEAST = 0.001
_TIGHT = 0.95
"""Share of a device's memory from which on an estimate says that it may not suffice."""


def show(figure: Figure, *, unit: float = 1.0, digits: int = 0) -> str:
    """A number with its mark; empty for nothing.

    Args:
        figure: What to show.
        unit: It is divided by this.
        digits: Behind the point where the number is exact.

    Example:
        >>> show(Figure(1234567, Basis.EXACT)), show(Figure(1234567, Basis.ASSUMED))
        ('1,234,567', '?1,200,000')
    """
    value = figure.value / unit
    if value == 0:
        return ""
    mark = MARKS[figure.basis]
    if value < _LEAST:
        return f"{mark}<{_LEAST}"
    if figure.basis == Basis.EXACT:
        return f"{value:,.{digits}f}"
    keep = _SIGNIFICANT[figure.basis] - 1 - math.floor(math.log10(value))
    return f"{mark}{round(value, keep):,.{min(max(keep, 0), _DECIMALS)}f}"


def job_cells(job: Job) -> list[str]:
    """One cell for each of :data:`COLUMNS`."""
    return [
        job.name,
        job.state,
        show(job.rows),
        show(job.sequences),
        show(job.tokens),
        show(job.updates),
        show(job.scored_tokens),
        str(job.gpus or ""),
        show(job.memory, unit=2**30, digits=1),
        show(job.final_bytes, unit=1e9, digits=3),
        show(job.running_bytes, unit=1e9, digits=3),
        show(job.hours, digits=3),
    ]


def command_lines(jobs: Sequence[Job]) -> list[str]:
    """What each job starts, where that is a process of its own."""
    return [
        f"{job.name}: {shlex.join(job.command)}{f'   # {job.note}' if job.note else ''}" for job in jobs if job.command
    ]


def totals_lines(title: str, totals: Totals, *, is_gpu: bool) -> list[str]:
    """A few lines; the second and further ones are indented."""
    device = "GPU" if is_gpu else "process"
    hub = show(totals.hub_bytes, unit=1e9)
    kinds = ", ".join(f"{kind} {show(hours)}" for kind, hours in totals.by_kind.items() if show(hours))
    return [
        f"{title}: {show(totals.hours, digits=2) or 0} hours one after the other ({kinds or 'nothing'}), "
        f"{show(totals.gpu_hours, digits=2) or 0} {device} hours",
        f"  disk: {show(totals.final_bytes, unit=1e9, digits=3) or 0} GB at the end, at most "
        f"{show(totals.peak_bytes, unit=1e9, digits=3) or 0} GB at a time"
        f"{f' (while {totals.peak_job} runs)' if totals.peak_job else ''}"
        f"{f', and {hub} GB in the cache of the hub' if hub else ''}",
        f"  memory: {show(totals.memory, unit=2**30, digits=1) or 0} GiB on each {device} at most"
        f"{f' ({totals.memory_job})' if totals.memory_job else ''}",
    ]


def memory_warnings(plan: Plan) -> list[str]:
    """Jobs that do not fit a device, or hardly."""
    lines = []
    for job in plan.jobs:
        share = job.memory.value / plan.memory_limit
        if share > _TIGHT:
            fits = "does not fit" if share > 1 else "may not fit"
            needed, there = job.memory.value / 2**30, plan.memory_limit / 2**30
            lines.append(
                f"{job.name} {fits}: some {needed:.0f} of {there:.0f} GiB; smaller micro-batches, shorter battles or "
                "more processes need less"
            )
    return lines
