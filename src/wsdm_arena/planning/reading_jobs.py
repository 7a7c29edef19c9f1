"""Jobs that read pairs without gradients: scoring a table, and judging the test pairs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from wsdm_arena.config import ProjectConfig, ResolvedJudge
from wsdm_arena.errors import UserError
from wsdm_arena.planning.backbones import JudgeSize
from wsdm_arena.planning.figures import Basis, Figure, total
from wsdm_arena.planning.jobs import Job
from wsdm_arena.planning.memory import scoring_bytes
from wsdm_arena.planning.places import DataFolder, read_object
from wsdm_arena.planning.rows import RowSource
from wsdm_arena.planning.speed import Speeds
from wsdm_arena.planning.training_jobs import UNKNOWN
from wsdm_arena.planning.work import Reading
from wsdm_arena.processes.torchrun import torchrun_command
from wsdm_arena.scoring.table_run import describe_scoring, on_this_node, scoring_directory

_READING_BYTES = 250
"""Of one sequence's prediction in Parquet: keys, logits, probabilities; in the run directory and in the catalog."""


@dataclass(frozen=True)
class ReadingPlanner:
    """Plans jobs that read without gradients.

    Attributes:
        config: The whole tree.
        folder: The environment's data folder.
        rows: Where sequences are counted.
        speeds: How long they take.
        is_quick: Do not look for the run directory that a scoring would use.
    """

    config: ProjectConfig
    folder: DataFolder
    rows: RowSource
    speeds: Speeds
    is_quick: bool = False

    def plan_scoring(self, labels: str, table: str, judge: ResolvedJudge, size: JudgeSize) -> Job:
        """One judge labels one table.

        Args:
            labels: ``collected_labels`` or ``generated_labels``.
            table: The pairs.
            judge: As it was trained.
            size: Its sizes.
        """
        config, name = self.config, f"{labels}.{judge.judge}"
        label = getattr(config.pseudo_labels, table)
        orders = label.labeller(judge.judge).orders
        tokens = self.folder.model_input(name, "tokens.json")
        lengths, basis = self.rows.table_lengths(table, judge, label.truncation, tokens)
        work = Reading.of(lengths, len(orders))
        budget = judge.training.max_tokens_per_scoring_batch or judge.training.max_tokens_per_micro_batch
        processes = config.launcher.scoring_processes or config.launcher.processes_per_node
        memory = scoring_bytes(
            size,
            judge.training.dtype,
            tokens=max(budget, work.longest),
            is_gpu=config.launcher.device != "cpu",
        )
        return Job(
            name=name,
            node=f"{name}.score",
            kind="scoring",
            state="to do",
            command=self._scoring_command(table, judge, tokens, processes),
            rows=Figure(len(lengths), self.rows.num_rows(table).basis),
            sequences=Figure(work.sequences, self.rows.num_rows(table).basis),
            tokens=Figure(work.tokens, basis),
            gpus=processes,
            memory=Figure(memory, max(size.basis, Basis.ESTIMATED)),
            final_bytes=Figure(_READING_BYTES * work.sequences, max(basis, Basis.ESTIMATED)),
            running_bytes=Figure(_READING_BYTES * work.sequences, max(basis, Basis.ESTIMATED)),
            hours=self.speeds.scoring_hours(name, size, work, processes=processes).times(1, basis),
        )

    def plan_submission(self, stage: Literal["student", "final"], sizes: dict[str, JudgeSize]) -> Job:
        """The cascade of a stage's judges over the test pairs."""
        config, name = self.config, f"submission.{stage}"
        submission, devices = config.submission, len(config.submission.devices)
        share = self._second_share(name)
        hours, tokens, sequences = [], [], []
        memory = Figure(0.0, Basis.EXACT)
        dtype = "float32" if config.launcher.device == "cpu" else "bfloat16"
        for position, (name_of_judge, size) in enumerate(sizes.items()):
            judge = config.resolve(stage, name_of_judge)
            tokens_there = self.folder.bundle_tokens("test_pairs", f"{stage}.{name_of_judge}")
            lengths, basis = self.rows.table_lengths("test_pairs", judge, judge.truncation, tokens_there)
            basis = max(basis, Basis.ESTIMATED)  # the test pairs may be others now
            part = Figure(1.0, Basis.EXACT) if position == 0 else share
            work = Reading.of(lengths, 1)
            rows = self.rows.num_rows("test_pairs").basis
            sequences.append(Figure(work.sequences, rows).times(part.value, part.basis))
            tokens.append(Figure(work.tokens, basis).times(part.value, part.basis))
            spent = self.speeds.scoring_hours(name, size, work, processes=1)
            hours.append(spent.times(part.value, max(part.basis, basis)))
            budget = max(submission.max_tokens_per_batch, work.longest)
            needed = scoring_bytes(size, dtype, tokens=budget, is_gpu=config.launcher.device != "cpu", devices=devices)
            memory = max(memory, Figure(needed, max(size.basis, Basis.ESTIMATED)), key=lambda figure: figure.value)
        return Job(
            name=name,
            node=f"{name}.judge",
            kind="submission",
            state="to do",
            rows=self.rows.num_rows("test_pairs"),
            sequences=total(sequences),
            tokens=total(tokens),
            gpus=devices,
            memory=memory,
            final_bytes=total(sequences).times(_READING_BYTES, Basis.ESTIMATED),
            hours=total(hours),
            note="layers split over the devices" if devices > 1 else "",
        )

    def _second_share(self, submission: str) -> Figure:
        """Share of the pairs that the second judge reads: as the planned cascade foretells, else assumed."""
        if (path := self.folder.output(submission, "cascade.json")) is not None:
            held_out = read_object(path).get("held_out")
            share = held_out.get("share_read_twice") if isinstance(held_out, dict) else None
            if isinstance(share, float | int):
                return Figure(float(share), Basis.ESTIMATED)
        return Figure(self.config.planning.second_judge_share.value, Basis.ASSUMED)

    def _scoring_command(
        self, table: str, judge: ResolvedJudge, tokens: Path | None, processes: int
    ) -> tuple[str, ...]:
        if processes == 1:  # within the process that runs the node
            return ()
        run = self.find_run(table, judge, tokens)
        launcher = on_this_node(self.config.launcher, processes)
        return tuple(torchrun_command(launcher, "wsdm_arena.scoring", [str(run)]))

    def find_run(self, table: str, judge: ResolvedJudge, tokens: Path | None) -> Path:
        """The directory that a scoring would use now; its name is :data:`UNKNOWN` while an input is missing."""
        runs = self.folder.runs_of_scorings
        unknown = runs / f"{judge.stage}.{judge.judge}" / UNKNOWN
        checkpoint = self.folder.model(f"{judge.stage}.{judge.judge}", "checkpoint")
        store = None if self.is_quick or tokens is None else self.folder.token_tables(tokens).get(table)
        if store is None or checkpoint is None:
            return unknown
        training = judge.training
        try:
            request = describe_scoring(
                checkpoint=checkpoint,
                tokens=store,
                table=table,
                orders=getattr(self.config.pseudo_labels, table).labeller(judge.judge).orders,
                dtype=training.dtype,
                max_tokens_per_batch=training.max_tokens_per_scoring_batch or training.max_tokens_per_micro_batch,
                launcher=self.config.launcher,
                attention=judge.attention,
            )
        except (UserError, OSError):  # a damaged input: whoever runs it is told
            return unknown
        return scoring_directory(request, judge, runs)
