"""Our trainer, in this process, by the same code that ``python -m wsdm_arena.training`` runs on any number of GPUs."""

from typing import Any

import torch

from trainer_rivals.measuring import measure, training_flops
from trainer_rivals.task import Battles, Task, Work
from wsdm_arena.batching.packed import PackedBatch
from wsdm_arena.config import HeadConfig, RunConfig, TokenTable
from wsdm_arena.distributed import DistributedContext
from wsdm_arena.modeling.checkpoint import load_judge
from wsdm_arena.training.data import load_run_data
from wsdm_arena.training.evaluation import Evaluator, evaluate_predictions
from wsdm_arena.training.resume import ResumeStates
from wsdm_arena.training.run import JsonLines
from wsdm_arena.training.start import build_initial_judge
from wsdm_arena.training.trainer import Trainer


def describe_run(work: Work, task: Task) -> RunConfig:
    """The run's configuration; only what has to be the same for all, and speed, is set."""
    training: dict[str, Any] = {
        "optimizer": work.optimizer.model_dump(),
        "schedule": work.schedule.model_dump(),
        "battles_per_update": work.battles_per_update,
        "max_tokens_per_micro_batch": work.max_tokens_per_micro_batch,
        "dtype": "bfloat16" if task.device == "cuda" else "float32",
        "activation_checkpointing": False,
        "log_every_updates": 10,
        "checkpoint": {"every_minutes": None},
    }
    judge = {
        "stage": "benchmark",
        "judge": work.family,
        "system_role": False,
        "head": HeadConfig(kind="linear"),
        "attention": "auto",
        "sliding_window": True,
        "truncation": "shared_budget",
        "training": training,
    }
    return RunConfig.model_validate(
        {
            "seed": task.seed,
            "fingerprint": "0" * 16,
            "judge": judge,
            "backbone": work.folder / "judge",
            "initial_checkpoint": work.folder / "judge",
            "selection": work.folder / "selection.parquet",
            "tokens": [TokenTable(table="battles", path=work.tokens)],
            "device": task.device,
        }
    )


def train(task: Task, before_mb: float) -> dict[str, Any]:
    """Train, and say what was read, how fast and how well."""
    work = Work.load(task.work)
    config = describe_run(work, task)
    context = DistributedContext.from_environment(device=task.device)
    with context.process_group() as mesh:
        data, judge = load_run_data(config), build_initial_judge(config)
        first = [entry["input_ids"] for entry in Battles(work, "train").joint[:8]]
        assert config.initial_checkpoint is not None
        logits = initial_logits(load_judge(config.initial_checkpoint, dtype="float32").eval(), first)
        states = ResumeStates(task.work / f"state-{task.seed}", config, context)
        metrics = JsonLines(task.work / f"metrics-{task.seed}.jsonl")
        trainer = Trainer(judge, data, config, context, mesh, states, metrics, on_update=lambda done, total: None)
        lengths = data.train.tokens.lengths.repeat(2).tolist()
        assert len(trainer.planner) == task.num_updates
        with measure(task.device, before_mb) as meter:
            trainer.fit()
        report = {
            **vars(meter),
            "updates": len(trainer.planner),
            "battles": len(data.train),
            "sequences": len(lengths),
            "useful_tokens": sum(lengths),
            "useful_share": 1.0,
            "flops": training_flops(judge.config, lengths),
            "initial_logits": logits,
            "configuration": _describe(config, judge.kernel(context.device)),
        }
        if task.is_scored:
            evaluator = Evaluator(config, context, data.template_hash)
            predictions = evaluator.predict(judge, data.held_out, judge_fingerprint="")
            assert predictions is not None
            report["accuracy"] = evaluate_predictions(predictions, data.held_out)["accuracy"]
    return report


def initial_logits(judge: torch.nn.Module, sequences: list[list[int]]) -> list[list[float]]:
    """Of the first sequences, before training."""
    batch = PackedBatch.from_sequences([torch.tensor(sequence, dtype=torch.int32).numpy() for sequence in sequences])
    with torch.no_grad():
        return judge(batch).tolist()


def _describe(config: RunConfig, kernel: str) -> dict[str, Any]:
    training = config.judge.training
    return {
        "batches": f"packed, planned by length, at most {training.max_tokens_per_micro_batch} tokens",
        "attention": kernel,
        "optimizer": "optimi AdamW",
        "dtype": training.dtype,
        "activation_checkpointing": training.activation_checkpointing,
    }
