"""Jobs, and what each takes."""

from dataclasses import dataclass, field
from typing import Any, Literal

from wsdm_arena.planning.figures import Basis, Figure

Kind = Literal["packaged_model", "backbone", "training", "scoring", "mining", "generation", "export", "submission"]
State = Literal["to do", "partial", "there"]

NOTHING = Figure(0.0, Basis.EXACT)


@dataclass(frozen=True)
class Job:
    """One piece of work; sizes are bytes, times hours.

    Attributes:
        name: ``teacher.gemma``, ``collected_labels.llama``, ``generation.phi4``.
        node: Kedro's node that does it.
        kind: What is done.
        state: What `kedro run` would do: ``to do``, ``partial`` goes on where it was, ``there`` is up to date.
        command: What it starts; ``{...}`` stands for what is known only then. Empty where the node works itself.
        rows: Battles, pairs or prompts.
        sequences: Read in training, or without gradients in other jobs.
        tokens: Of these sequences; of answers where they are generated.
        updates: Of the weights.
        scored_sequences: Read without gradients by a training, its evaluations.
        scored_tokens: Of these.
        gpus: That it keeps busy; processes where there is no GPU.
        memory: Bytes on each of them.
        final_bytes: What it leaves in the data folder.
        running_bytes: What it needs there besides while it runs.
        hub_bytes: What it leaves in the hub's cache.
        hours: Wall-clock time.
        note: What else there is to say.
    """

    name: str
    node: str
    kind: Kind
    state: State
    command: tuple[str, ...] = ()
    rows: Figure = NOTHING
    sequences: Figure = NOTHING
    tokens: Figure = NOTHING
    updates: Figure = NOTHING
    scored_sequences: Figure = NOTHING
    scored_tokens: Figure = NOTHING
    gpus: int = 0
    memory: Figure = NOTHING
    final_bytes: Figure = NOTHING
    running_bytes: Figure = NOTHING
    hub_bytes: Figure = NOTHING
    hours: Figure = NOTHING
    note: str = ""

    @property
    def gpu_hours(self) -> Figure:
        """Hours times GPUs."""
        return self.hours.times(self.gpus)

    def to_dict(self) -> dict[str, Any]:
        """As JSON: figures with their basis."""
        plain: dict[str, Any] = {}
        for name, value in vars(self).items():
            is_figure = isinstance(value, Figure)
            plain[name] = {"value": value.value, "basis": value.basis.label} if is_figure else value
        return plain | {"command": list(self.command)}


@dataclass(frozen=True)
class Totals:
    """Of a list of jobs, done one after the other.

    Attributes:
        hours: Wall-clock time.
        gpu_hours: Hours times busy GPUs.
        final_bytes: In the data folder at the end.
        peak_bytes: Most that lies there at any time.
        peak_job: When.
        hub_bytes: In the hub's cache at the end.
        memory: Of the job that needs most on one GPU.
        memory_job: Its name.
    """

    hours: Figure = NOTHING
    gpu_hours: Figure = NOTHING
    final_bytes: Figure = NOTHING
    peak_bytes: Figure = NOTHING
    peak_job: str = ""
    hub_bytes: Figure = NOTHING
    memory: Figure = NOTHING
    memory_job: str = ""
    by_kind: dict[str, Figure] = field(default_factory=dict)
