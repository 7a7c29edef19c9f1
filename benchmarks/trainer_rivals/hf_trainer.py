"""transformers' Trainer with a sequence classifier that reads the same joint text, padded."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.optim.lr_scheduler import LambdaLR
from transformers import (
    AutoModelForSequenceClassification,
    DataCollatorWithPadding,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Trainer,
    TrainingArguments,
)
from transformers.trainer_pt_utils import LengthGroupedSampler, get_length_grouped_indices

from trainer_rivals.measuring import measure, rival_attention, training_flops
from trainer_rivals.task import SEQUENCES_PER_BATCH, Battles, ReadLog, Task, Work
from wsdm_arena.prompts.tokenizers import load_tokenizer

SCORING_TOKENS = 16_384


class WholeSampler(LengthGroupedSampler):
    """transformers' length-grouped order with all sequences in one of its mega-batches.

    It sorts 50 updates at a time, but at most a quarter of the data; a few dozen battles that stand for thousands would
    be sorted worse than thousands are.
    """

    def __iter__(self):
        """Indices in the order in which they are read."""
        return iter(get_length_grouped_indices(self.lengths, self.batch_size, mega_batch_mult=len(self.lengths)))


class ScheduledTrainer(Trainer):
    """The Trainer with the learning rates that all trainers of the benchmark have.

    Its own linear schedule starts at 0, where ours starts at a thousandth of the peak.
    """

    factor: Callable[[int, int], float]
    groups_all = False

    def create_scheduler(self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None) -> LambdaLR:
        """Linear warm-up and decay."""
        if self.lr_scheduler is None:
            self.lr_scheduler = LambdaLR(
                optimizer or self.optimizer, lambda step: self.factor(step, num_training_steps)
            )
            self._created_lr_scheduler = True
        return self.lr_scheduler

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        sampler = super()._get_train_sampler(train_dataset)
        if self.groups_all and isinstance(sampler, LengthGroupedSampler):
            return WholeSampler(sampler.batch_size, lengths=sampler.lengths)
        return sampler


class LoggingCollator:
    """A collator that also counts what it is given."""

    def __init__(self, collator: DataCollatorWithPadding, log: ReadLog) -> None:
        self.collator = collator
        self.log = log

    def __call__(self, features: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Pad; the number of the battle is only counted."""
        self.log.add([entry["battle"] for entry in features], [len(entry["input_ids"]) for entry in features])
        return self.collator([{name: entry[name] for name in ("input_ids", "labels")} for entry in features])


def common_arguments(work: Work, task: Task, *, accumulation: int) -> dict[str, Any]:
    """Arguments that transformers' and TRL's trainers share."""
    optimizer = work.optimizer
    return {
        "output_dir": str(work.folder / "output"),
        "max_steps": task.num_updates,
        "gradient_accumulation_steps": accumulation,
        "train_sampling_strategy": "group_by_length" if task.rival.endswith("grouped") else "random",
        "learning_rate": optimizer.peak_learning_rate,
        "optim": "adamw_torch_fused",
        "adam_beta1": optimizer.betas[0],
        "adam_beta2": optimizer.betas[1],
        "adam_epsilon": optimizer.epsilon,
        "weight_decay": optimizer.weight_decay,
        "max_grad_norm": 0.0,
        "bf16": task.device == "cuda",
        "tf32": True if task.device == "cuda" else None,
        "use_cpu": task.device == "cpu",
        "gradient_checkpointing": False,
        "remove_unused_columns": False,
        "dataloader_pin_memory": task.device == "cuda",
        "dataloader_num_workers": 2 if task.device == "cuda" else 0,
        "logging_strategy": "no",
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "seed": task.seed,
    }


def averaged_cross_entropy(
    outputs: Any, labels: torch.Tensor, num_items_in_batch: torch.Tensor | None = None
) -> torch.Tensor:
    """Mean over the whole update, as ``compute_loss_func`` is documented.

    Without it the classifier's loss is a mean over each batch of 8, and their gradients are added up, not averaged.
    """
    total = torch.nn.functional.cross_entropy(outputs.logits.float(), labels, reduction="sum")
    return total / (len(labels) if num_items_in_batch is None else num_items_in_batch)


def load_classifier(folder: str, attention: str) -> PreTrainedModel:
    """A sequence classifier in float32."""
    model = AutoModelForSequenceClassification.from_pretrained(
        folder, dtype=torch.float32, attn_implementation=attention
    )
    model.config.use_cache = False
    return model


def train(task: Task, before_mb: float) -> dict[str, Any]:
    """Train, and say what was read, how fast and how well."""
    work = Work.load(task.work)
    battles, log = Battles(work, "train"), ReadLog()
    tokenizer = pad_on_the_right(load_tokenizer(work.folder / "classifier"))
    model = load_classifier(str(work.folder / "classifier"), "eager")
    attention = rival_attention(model.config.model_type, task.device)
    model.set_attn_implementation(attention)
    logits = initial_logits(model.eval(), [entry["input_ids"] for entry in battles.joint[:8]])
    accumulation = 2 * work.battles_per_update // SEQUENCES_PER_BATCH
    arguments = common_arguments(work, task, accumulation=accumulation)
    arguments["per_device_train_batch_size"] = SEQUENCES_PER_BATCH
    trainer = ScheduledTrainer(
        model=model,
        args=TrainingArguments(**arguments),
        train_dataset=battles.joint,
        data_collator=LoggingCollator(DataCollatorWithPadding(tokenizer), log),
        processing_class=tokenizer,
        compute_loss_func=averaged_cross_entropy,
    )
    trainer.factor, trainer.groups_all = work.factor, task.groups_all
    with measure(task.device, before_mb) as meter:
        trainer.train()
    assert trainer.state.global_step == task.num_updates
    lengths = [len(entry["input_ids"]) for entry in battles.joint]
    report = {
        **vars(meter),
        "updates": trainer.state.global_step,
        **log.describe(),
        "flops": training_flops(model.config, lengths),
        "initial_logits": logits,
        "configuration": describe(arguments, attention),
    }
    if task.is_scored:
        report["accuracy"] = judge_accuracy(model, Battles(work, "held_out"))
    return report


def pad_on_the_right(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """Without an attention mask, which causal attention does not need there.

    The classifier finds the last token by the padding's id, and sdpa is faster without a mask.
    """
    tokenizer.padding_side = "right"
    tokenizer.model_input_names = ["input_ids"]
    return tokenizer


def initial_logits(model: PreTrainedModel, sequences: list[list[int]]) -> list[list[float]]:
    """Of the first sequences, before training."""
    return read(model.to("cpu"), sequences).tolist()


@torch.no_grad()
def read(model: PreTrainedModel, sequences: list[list[int]]) -> np.ndarray:
    """Logits of sequences, ``(N, classes)``, in batches of like lengths."""
    logits = np.empty((len(sequences), model.config.num_labels))
    by_length = sorted(range(len(sequences)), key=lambda number: len(sequences[number]))
    while by_length:
        size = max(1, SCORING_TOKENS // len(sequences[by_length[-1]]))
        members, by_length = by_length[-size:], by_length[:-size]
        longest = len(sequences[members[-1]])
        padding = model.config.pad_token_id
        rows = [sequences[number] + [padding] * (longest - len(sequences[number])) for number in members]
        logits[members] = model(input_ids=torch.tensor(rows, device=model.device)).logits.float().cpu().numpy()
    return logits


def judge_accuracy(model: PreTrainedModel, battles: Battles) -> float:
    """Share of battles whose winner is found, both orders averaged."""
    logits = read(model.eval(), [entry["input_ids"] for entry in battles.joint])
    probabilities = torch.softmax(torch.from_numpy(logits), dim=-1).numpy()
    first = (probabilities[0::2, 0] + probabilities[1::2, 1]) / 2
    return float(((first > 0.5) == battles.first_wins).mean())


def describe(arguments: dict[str, Any], attention: str) -> dict[str, Any]:
    """What the result says of a trainer's configuration."""
    names = ("train_sampling_strategy", "optim", "bf16", "gradient_checkpointing", "dataloader_num_workers")
    batch = {name: arguments[name] for name in ("per_device_train_batch_size", "gradient_accumulation_steps")}
    return {**batch, "attention": attention, **{name: arguments[name] for name in names}}
