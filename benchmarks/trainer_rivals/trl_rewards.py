"""TRL's RewardTrainer: a prompt and one answer per sequence, the chosen one to be rated above the rejected one."""

from typing import Any

from datasets import Dataset
from trl import RewardConfig, RewardTrainer
from trl.trainer.reward_trainer import DataCollatorForPreference

from trainer_rivals.hf_trainer import ScheduledTrainer, common_arguments, describe, load_classifier, read
from trainer_rivals.measuring import measure, rival_attention, training_flops
from trainer_rivals.task import SEQUENCES_PER_BATCH, Battles, ReadLog, Task, Work
from wsdm_arena.prompts.tokenizers import load_tokenizer


class ScheduledRewardTrainer(ScheduledTrainer, RewardTrainer):
    """TRL's trainer with the learning rates that all trainers of the benchmark have."""


class LoggingCollator:
    """TRL's collator, and a count of what it is given."""

    def __init__(self, collator: DataCollatorForPreference, log: ReadLog) -> None:
        self.collator = collator
        self.log = log

    def __call__(self, features: list[dict[str, Any]]) -> dict[str, Any]:
        """Pad."""
        lengths = [len(entry[name]) for name in ("chosen_ids", "rejected_ids") for entry in features]
        self.log.add([entry["battle"] for entry in features], lengths)
        return self.collator(features)


def train(task: Task, before_mb: float) -> dict[str, Any]:
    """Train, and say what was read, how fast and how well."""
    work = Work.load(task.work)
    battles, log = Battles(work, "train"), ReadLog()
    tokenizer = load_tokenizer(work.folder / "reward_model")
    model = load_classifier(str(work.folder / "reward_model"), "eager")
    attention = rival_attention(model.config.model_type, task.device)
    model.set_attn_implementation(attention)
    pairs_per_batch = SEQUENCES_PER_BATCH // 2
    arguments = common_arguments(work, task, accumulation=work.battles_per_update // pairs_per_batch)
    arguments |= {"per_device_train_batch_size": pairs_per_batch, "max_length": None}
    rows = [{**entry, "length": max(map(len, _sequences(entry)))} for entry in battles.answers]
    trainer = ScheduledRewardTrainer(
        model=model,
        args=RewardConfig(**arguments),
        train_dataset=Dataset.from_list(rows),
        data_collator=LoggingCollator(DataCollatorForPreference(pad_token_id=tokenizer.pad_token_id), log),
        processing_class=tokenizer,
    )
    trainer.factor, trainer.groups_all = work.factor, task.groups_all
    with measure(task.device, before_mb) as meter:
        trainer.train()
    assert trainer.state.global_step == task.num_updates
    lengths = [len(sequence) for entry in battles.answers for sequence in _sequences(entry)]
    report = {
        **vars(meter),
        "updates": trainer.state.global_step,
        **log.describe(),
        "flops": training_flops(model.config, lengths),
        "configuration": describe(arguments, attention),
    }
    if task.is_scored:
        report["accuracy"] = _accuracy(model.eval(), Battles(work, "held_out"))
    return report


def _sequences(entry: dict[str, Any]) -> tuple[list[int], list[int]]:
    return entry["chosen_ids"], entry["rejected_ids"]


def _accuracy(model: Any, battles: Battles) -> float:
    rewards = read(model, [sequence for entry in battles.answers for sequence in _sequences(entry)])
    return float((rewards[0::2, 0] > rewards[1::2, 0]).mean())
