"""One launch brings a run directory to its end: train, save the judge, score the held-out pairs, evaluate.

Whatever of this is already there is not done again, so that a killed launch is followed by one with the same command.
"""

import logging
from pathlib import Path
from typing import Any

from torch.distributed.device_mesh import DeviceMesh

from wsdm_arena.config import RunConfig
from wsdm_arena.distributed import DistributedContext
from wsdm_arena.modeling.checkpoint import load_judge, read_manifest, save_judge_state
from wsdm_arena.modeling.judge import JudgeModel
from wsdm_arena.training.data import load_run_data
from wsdm_arena.training.evaluation import Evaluator, evaluate_predictions
from wsdm_arena.training.resume import ResumeStates
from wsdm_arena.training.run import JsonLines, RunDirectory, require_same_run
from wsdm_arena.training.sharding import gather_weights
from wsdm_arena.training.start import build_initial_judge, find_tokenizer, is_zero_shot, require_matching_tokens
from wsdm_arena.training.trainer import Trainer, prepare_for_training

logger = logging.getLogger(__name__)


def describe_training(config: RunConfig) -> dict[str, Any]:
    """What a checkpoint says of how it came about, beside its fingerprint."""
    initial = config.initial_checkpoint
    return {
        "seed": config.seed,
        "judge": config.judge.model_dump(mode="json"),
        "initial_checkpoint": None if initial is None else read_manifest(initial).get("fingerprint"),
    }


class Session:
    """The work of one launch on this rank.

    Args:
        run: Where everything is read and written.
        config: What ``run.json`` says.
        context: This process among the others.
        mesh: Of all ranks.
    """

    def __init__(self, run: RunDirectory, config: RunConfig, context: DistributedContext, mesh: DeviceMesh) -> None:
        self._run = run
        self._config = config
        self._context = context
        self._mesh = mesh
        self._data = load_run_data(config)
        self._evaluator = Evaluator(config, context, self._data.template_hash)
        self._states = ResumeStates(run.state, config, context)

    def finish(self) -> None:
        """Do what is left of the run. A collective."""
        if self._context.is_main:
            self._run.remove_leftovers()
        is_trained = self._context.broadcast(self._run.model.exists())
        judge = self._load_trained_judge() if is_trained else self._train()
        predictions = self._evaluator.predict(judge, self._data.held_out, judge_fingerprint=self._config.fingerprint)
        if predictions is not None:
            metrics = evaluate_predictions(predictions, self._data.held_out)
            logger.info("held-out pairs: %s", metrics)
            self._run.write_table(self._run.predictions, predictions)
            self._run.write_complete(self._config, metrics, world_size=self._context.world_size)
        self._states.delete()
        self._context.barrier()

    def _load_trained_judge(self) -> JudgeModel:
        logger.info("%s holds the trained judge; scoring it", self._run.model)
        require_same_run(read_manifest(self._run.model).get("fingerprint"), self._config, self._run.model)
        judge = load_judge(self._run.model, attention=self._config.judge.attention)
        prepare_for_training(judge, self._config, self._mesh)
        return judge

    def _train(self) -> JudgeModel:
        if self._context.is_main:
            require_matching_tokens(self._config, self._data.tokenizer_hash)
        judge = build_initial_judge(self._config)
        metrics, evaluations = JsonLines(self._run.metrics), JsonLines(self._run.evaluations)
        trainer = Trainer(
            judge,
            self._data,
            self._config,
            self._context,
            self._mesh,
            self._states,
            metrics,
            on_update=lambda done, total: self._evaluate_if_due(judge, evaluations, done, total),
        )
        point = self._states.find()
        if self._context.is_main:
            for lines in (metrics, evaluations):
                lines.cut_back(point.num_updates if point else -1)
        if point is not None:
            trainer.resume(point)
        else:
            self._score_at_start(judge, evaluations)
        trainer.fit()
        self._save_judge(judge, self._run.model)
        return judge

    def _score_at_start(self, judge: JudgeModel, evaluations: JsonLines) -> None:
        num_pairs = self._config.judge.training.evaluation.battles_at_start
        battles = self._data.held_out.draw_pairs(num_pairs, self._config.seed)
        start = "zero_shot" if is_zero_shot(self._config) else "start"
        predictions = self._evaluator.predict(judge, battles, judge_fingerprint=f"{self._config.fingerprint}.{start}")
        if predictions is not None:
            self._run.write_table(self._run.predictions_at_start, predictions)
            evaluations.append({"update": 0, **evaluate_predictions(predictions, battles)})

    def _evaluate_if_due(self, judge: JudgeModel, evaluations: JsonLines, done: int, total: int) -> None:
        """Score a sample of the held-out pairs, but not after the last update: the end is scored in full."""
        evaluation = self._config.judge.training.evaluation
        if evaluation.every_updates is None or done % evaluation.every_updates or done == total:
            return
        if done < evaluation.from_fraction * total:
            return
        battles = self._data.held_out.draw_pairs(evaluation.max_battles, self._config.seed)
        predictions = self._evaluator.predict(judge, battles, judge_fingerprint=f"{self._config.fingerprint}.{done}")
        if predictions is not None:
            record = {"update": done, **evaluate_predictions(predictions, battles)}
            logger.info("after update %d: %s", done, record)
            evaluations.append(record)
        if evaluation.keep_checkpoints:
            self._save_judge(judge, self._run.evaluated_models / f"update-{done:06d}")

    def _save_judge(self, judge: JudgeModel, path: Path) -> None:
        weights = gather_weights(judge, is_main=self._context.is_main)
        if self._context.is_main:
            save_judge_state(
                path,
                state=weights,
                config=judge.config,
                head=judge.head.config,
                num_classes=judge.head.num_classes,
                sliding_window=judge.sliding_window,
                tokenizer_dir=find_tokenizer(self._config),
                manifest={
                    "fingerprint": self._config.fingerprint,
                    "stage": self._config.judge.stage,
                    "judge": self._config.judge.judge,
                    "template_hash": self._data.template_hash,
                    "trained": describe_training(self._config),
                },
            )
        self._context.barrier()
