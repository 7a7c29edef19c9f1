"""Train a judge on battles of one's own, without a Kedro project: from files of votes to a bundle.

Layout of the work directory, where a stopped training goes on::

    battles.<fingerprint>/   battles.parquet, selection.parquet, report.json (what became of each row)
    backbones/  tokens/      as in the project's data folder
    runs/own.<name>/<fingerprint>/    the training; another option is another fingerprint
    scores.json              rows of the scoreboard: the judge and the baselines, by slices, too
    done.json                what was asked for and what came of it; written last
"""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from wsdm_arena.config import ResolvedJudge
from wsdm_arena.config.own_training import OwnTrainingConfig, OwnTrainingError
from wsdm_arena.own_training.checks import (
    as_source,
    check_attention,
    check_backbone,
    check_output,
    check_size,
    check_verbalizer,
    choose_devices,
    find_system_role,
)
from wsdm_arena.own_training.request import DONE_KEYS, describe_request, find_done, note_done
from wsdm_arena.own_training.results import CardContents, TrainedJudge, count_rows, measure
from wsdm_arena.preferences.battles import BattleTables, build_battles
from wsdm_arena.preferences.raw_tables import PathSpec, find_files, read_raw_tables
from wsdm_arena.preferences.selection import select_teacher_rows
from wsdm_arena.processes.lock import lock_directory
from wsdm_arena.progress import show_progress
from wsdm_arena.prompts.store import build_token_store
from wsdm_arena.runs.files import replacing_file, write_atomically
from wsdm_arena.runs.fingerprint import table_digest
from wsdm_arena.scoring.scoreboard import slice_of
from wsdm_arena.training.launch import FinishedRun, describe_run, launch_training, run_directory

logger = logging.getLogger(__name__)

_TABLE = "battles"


CardWriter = Callable[[CardContents], str]


def train_judge(
    battles: PathSpec | pd.DataFrame,
    output: str | Path,
    *,
    config: OwnTrainingConfig,
    work_dir: str | Path | None = None,
    write_card: CardWriter | None = None,
) -> TrainedJudge:
    """Train a judge on votes, and put it into a bundle.

    The same call goes on where a killed one stopped, and returns at once when everything is there; another option
    trains anew. Call it from the main thread: the training is a process of its own, which is stopped with this one.

    Args:
        battles: Files, folders or patterns of votes as :func:`~wsdm_arena.preferences.raw_tables.find_files` takes
            them, or a frame; columns as :func:`~wsdm_arena.preferences.battles.build_battles` says.
        output: Directory of the bundle.
        config: The rest; ``config.judge.backbone.source`` must be set.
        work_dir: Where everything else goes; ``<output>.work`` by default. It may be deleted afterwards.
        write_card: Writes the bundle's model card, Markdown.

    Returns:
        The bundle and how good it is on battles that it was not trained on.

    Raises:
        OwnTrainingError: Options do not go together; nothing was done.
        RawTableError: Files are missing or unreadable, or lack a column.
        BattlesError: The table as a whole is faulty, or too small for the folds.
        BackboneError: There is no such backbone, or it lacks weights or tokenizer.
        UnsupportedJudgeError: Transformers does not know it, or the attention kernel cannot run it here.
        PromptError: The backbone has no chat template that can be used.
        DirectoryInUseError: Another process works there.
        ProcessFailed: The training broke off; carries its last words.
    """
    bundle = Path(output).expanduser()
    work = Path(work_dir).expanduser() if work_dir is not None else bundle.with_name(f"{bundle.name}.work")
    check_output(bundle, work)
    source = config.judge.backbone.source
    if source is None:
        raise OwnTrainingError("no backbone is named: --backbone, or judge.backbone.source in the configuration file")
    votes = find_files(battles) if not isinstance(battles, pd.DataFrame) else battles
    work.mkdir(parents=True, exist_ok=True)
    with lock_directory(work, wait_s=0):
        request = describe_request(votes, config, work)
        if (done := find_done(work, request, bundle)) is not None:
            logger.info("nothing to do: %s is there, trained as asked", bundle)
            return TrainedJudge(bundle, **done, was_done=True)
        check_backbone(source, config.judge.backbone.revision)
        trained = _Training(votes, bundle, config, work, write_card).run()
        note_done(work, request, bundle, {key: value for key, value in vars(trained).items() if key in DONE_KEYS})
    return trained


@dataclass(frozen=True)
class _Training:
    votes: list[Path] | pd.DataFrame
    bundle: Path
    config: OwnTrainingConfig
    work: Path
    write_card: CardWriter | None

    def run(self) -> TrainedJudge:
        config = choose_devices(self.config)
        check_attention(config)
        system_role = find_system_role(config)
        check_verbalizer(config)
        judge = config.resolve(system_role=system_role)
        raw = self.votes if isinstance(self.votes, pd.DataFrame) else read_raw_tables(self.votes)
        tables = build_battles(raw, config.preferences)
        selection = select_teacher_rows(tables.battles, config.preferences)
        check_size(selection, judge.training)
        place = self._keep_tables(tables, selection)
        finished = self._train(config, judge, tables.battles, place / "selection.parquet")
        contents = measure(config, judge, tables, selection, finished)
        self._export(contents)
        write_atomically(self.work / "scores.json", json.dumps(contents.rows, indent=2).encode())
        whole = tuple(row for row in contents.rows if not slice_of(row))
        return TrainedJudge(self.bundle, whole, contents.calibration, count_rows(tables.report), finished.run_dir)

    def _keep_tables(self, tables: BattleTables, selection: pd.DataFrame) -> Path:
        """Write battles, selection and report to a folder that is named by them."""
        place = self.work / f"battles.{table_digest(selection)[:16]}"
        place.mkdir(exist_ok=True)
        for name, table in (("battles", tables.battles), ("selection", selection)):
            with replacing_file(place / f"{name}.parquet") as partial:
                table.to_parquet(partial, index=False)
        write_atomically(place / "report.json", json.dumps(tables.report, indent=2, ensure_ascii=False).encode())
        return place

    def _train(
        self, config: OwnTrainingConfig, judge: ResolvedJudge, battles: pd.DataFrame, selection: Path
    ) -> FinishedRun:
        from wsdm_arena.modeling.backbone_import import import_backbone  # imports torch

        name = f"{judge.stage}.{judge.judge}"
        source = config.judge.backbone.source
        assert source is not None
        with show_progress(f"tensors of backbone {source}") as progress:
            backbone = import_backbone(
                as_source(source), backbone=config.judge.backbone, root=self.work / "backbones", progress=progress
            )
        with show_progress(f"{name} tokens of {_TABLE}") as progress:
            tokens = build_token_store(
                battles,
                table=_TABLE,
                tokenizer_dir=backbone,
                template=config.template,
                system_role=judge.system_role,
                truncation=config.truncation,
                policy=judge.truncation,
                root=self.work / "tokens",
                progress=progress,
                for_verbalizer=judge.head.kind == "verbalizer",
            )
        run = describe_run(
            judge=judge,
            backbone=backbone,
            selection=selection,
            tokens={_TABLE: tokens},
            num_classes=config.preferences.num_classes,
            seed=config.seed,
            launcher=config.launcher,
        )
        return launch_training(run, run_directory(run, self.work / "runs"), config.launcher)

    def _export(self, contents: CardContents) -> None:
        from wsdm_arena.judging.bundle import BundlePrompt, write_bundle  # imports torch

        config, judge = contents.config, contents.judge
        prompt = BundlePrompt(
            template=config.template,
            system_role=judge.system_role,
            truncation=config.truncation,
            policy=judge.truncation,
        )
        write_bundle(
            self.bundle,
            checkpoint=contents.checkpoint,
            prompt=prompt,
            layouts=config.export.layouts,
            temperature=contents.calibration["temperature"],
            calibration=contents.calibration,
            provenance=contents.provenance,
            card=self.write_card(contents) if self.write_card is not None else None,
        )
