"""The training loop: updates of a planned run, interrupted and resumed at any of them.

Shapes: S segments of a micro-batch, C classes, T packed tokens.
"""

import logging
import math
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh

from wsdm_arena.batching.packed import PackedBatch
from wsdm_arena.batching.planner import Planner, UpdatePlan
from wsdm_arena.columns import ORDERS
from wsdm_arena.config import RunConfig
from wsdm_arena.distributed import DistributedContext
from wsdm_arena.errors import UserError
from wsdm_arena.modeling.dropout import draw_keep_masks
from wsdm_arena.modeling.judge import JudgeModel
from wsdm_arena.progress import show_progress
from wsdm_arena.training.data import RunData
from wsdm_arena.training.loss import soft_label_cross_entropy, swap_labels
from wsdm_arena.training.memory import peak_memory_bytes
from wsdm_arena.training.optimizer import ShardedOptimizer
from wsdm_arena.training.resume import ResumePoint, ResumeStates
from wsdm_arena.training.run import JsonLines
from wsdm_arena.training.schedule import learning_rate_factor
from wsdm_arena.training.sharding import CommunicationSchedule, shard_weights

logger = logging.getLogger(__name__)


class TrainingDivergedError(UserError, RuntimeError):
    """The loss or the gradient has become infinite or not a number."""


@dataclass
class Window:
    """What happened on this rank since the last logged update.

    Attributes:
        judge_loss: Sum over its sequences, on the device so that nobody waits for it.
        language_loss: Sum over its predicted tokens.
        num_sequences: Of all ranks.
        num_targets: Predicted tokens of all ranks.
        num_tokens: Of all ranks.
        started_s: Clock at the begin.
    """

    judge_loss: Tensor
    language_loss: Tensor
    num_sequences: int
    num_targets: int
    num_tokens: int
    started_s: float


class Trainer:
    """Trains one judge, in place.

    Args:
        judge: Weights in the training's dtype; sharded here.
        data: Battles of the run.
        config: Of the run.
        context: This process among the others.
        mesh: Of all ranks.
        states: Resume states.
        metrics: One line a logged update.
        on_update: Called on all ranks after each update and before its state is saved, with updates done and total.

    Attributes:
        judge: The judge, sharded.
        data: Battles of the run.
        planner: All updates.
    """

    def __init__(
        self,
        judge: JudgeModel,
        data: RunData,
        config: RunConfig,
        context: DistributedContext,
        mesh: DeviceMesh,
        states: ResumeStates,
        metrics: JsonLines,
        on_update: Callable[[int, int], None],
    ) -> None:
        self.judge = judge
        self.data = data
        self._seed = config.seed
        self._training = config.judge.training
        self._name = f"{config.judge.stage}.{config.judge.judge}"
        self._context = context
        self._states = states
        self._metrics = metrics
        self.on_update = on_update
        self.planner = _plan(data, config, context)
        prepare_for_training(judge, config, mesh)
        self._communication = CommunicationSchedule(judge, self._training)
        self._weights = dict(judge.named_parameters())
        self._optimizer = ShardedOptimizer(self._weights, self._training.optimizer, world_size=context.world_size)
        self._tokens_done = 0
        self._seconds_before = 0.0
        self._started_s = self._last_saved_s = time.monotonic()
        self._window = self._new_window()

    def resume(self, point: ResumePoint) -> None:
        """Go on from a saved state. A collective."""
        self._states.load(point, self._tensors())
        self._optimizer.restore_step_count(point.num_updates)
        self.planner.load_state_dict(point.planner)
        self._tokens_done = point.progress["tokens"]
        self._seconds_before = point.progress["elapsed_s"]
        logger.info("%s goes on after update %d of %d", self._name, point.num_updates, len(self.planner))

    def fit(self) -> None:
        """Do all updates that are left."""
        num_updates = len(self.planner)
        done = self._optimizer.step_count
        with show_progress(f"{self._name} updates", done=done, total=num_updates, at_once=True) as progress:
            self._window = self._new_window()
            self.judge.train()
            for plan in self.planner:
                learning_rate = self._learning_rate(plan.update)
                self.accumulate_gradients(plan)
                is_save_due, details = self._check_and_log(plan, learning_rate)
                self._optimizer.step(learning_rate)
                self.on_update(plan.update + 1, num_updates)
                if is_save_due and plan.update + 1 < num_updates:
                    self.save(plan.update + 1)
                progress.advance(details=details)

    def save(self, num_updates: int) -> None:
        """Write the resume state. A collective."""
        self._states.save(
            self._tensors(),
            num_updates=num_updates,
            planner=self.planner.state_dict() | {"next_update": num_updates},
            progress={"tokens": self._tokens_done, "elapsed_s": self._elapsed_s()},
        )
        self._last_saved_s = time.monotonic()

    def accumulate_gradients(self, plan: UpdatePlan) -> None:
        """Read one global batch; afterwards every parameter holds this rank's shard of its gradient. A collective."""
        last = len(plan.micro_steps) - 1
        for number, members_of_rank in enumerate(plan.micro_steps):
            self._communication.begin_micro_step(is_last=number == last)
            self._micro_batch_loss(plan, members_of_rank[self._context.rank]).backward()
        self._count(plan)

    def _micro_batch_loss(self, plan: UpdatePlan, members: npt.NDArray[np.int64]) -> Tensor:
        """This micro-batch's part of the global batch's loss."""
        if not len(members):
            return self._placeholder_loss(plan)
        sequences = [self.data.train.tokens.sequence(number) for number in members]
        batch = PackedBatch.from_sequences(sequences).to(self._context.device, non_blocking=True)
        logits, language_loss = self._forward(batch, self._keep_masks(members, plan.update))
        judge_loss = soft_label_cross_entropy(logits, self._labels(members))
        self._window.judge_loss += judge_loss.detach()
        loss = judge_loss / (2 * len(plan.battles))
        if language_loss is None:
            return loss
        self._window.language_loss += language_loss.detach()
        return loss + self._training.language_modeling_weight * language_loss / self._num_targets(plan)

    def _placeholder_loss(self, plan: UpdatePlan) -> Tensor:
        """Zero, from a forward that a rank without sequences makes so that the others' collectives are met."""
        batch = PackedBatch.placeholder().to(self._context.device)
        logits, _ = self._forward(batch, self._keep_masks(np.zeros(1, dtype=np.int64), plan.update))
        return logits.sum() * 0.0

    def _forward(self, batch: PackedBatch, masks: tuple[Tensor, ...]) -> tuple[Tensor, Tensor | None]:
        if self._training.language_modeling_weight:
            return self.judge(batch, masks, language_modeling=True)
        return self.judge(batch, masks), None

    def _keep_masks(self, members: npt.NDArray[np.int64], update: int) -> tuple[Tensor, ...]:
        """Dropout of the head, the same wherever a sequence is read."""
        pair_ids = self.data.train.tokens.pair_ids
        masks = draw_keep_masks(
            [(str(pair_ids[number // 2]), ORDERS[number % 2]) for number in members.tolist()],
            self.judge.head.dropout_widths,
            rate=self.judge.head.config.dropout,
            seed=self._seed,
            update=update,
        )
        return tuple(mask.to(self._context.device, non_blocking=True) for mask in masks)

    def _labels(self, members: npt.NDArray[np.int64]) -> Tensor:
        canonical = torch.from_numpy(self.data.train.labels[members // 2])
        is_swapped = torch.from_numpy(members % 2 == 1)[:, None]
        return torch.where(is_swapped, swap_labels(canonical), canonical).to(self._context.device, non_blocking=True)

    def _num_targets(self, plan: UpdatePlan) -> int:
        return 2 * int((self.data.train.tokens.lengths[plan.battles] - 1).sum())

    def _learning_rate(self, update: int) -> float:
        factor = learning_rate_factor(update, len(self.planner), self._training.schedule)
        return self._training.optimizer.peak_learning_rate * factor

    def _tensors(self) -> dict[str, Tensor]:
        weights = {f"weights.{name}": parameter.detach() for name, parameter in self._weights.items()}
        return weights | {f"optimizer.{name}": tensor for name, tensor in self._optimizer.state_tensors().items()}

    def _elapsed_s(self) -> float:
        return self._seconds_before + time.monotonic() - self._started_s

    def _new_window(self) -> Window:
        zero = torch.zeros((), dtype=torch.float32, device=self._context.device)
        return Window(zero, zero.clone(), 0, 0, 0, time.monotonic())

    def _count(self, plan: UpdatePlan) -> None:
        num_tokens = 2 * int(self.data.train.tokens.lengths[plan.battles].sum())
        self._tokens_done += num_tokens
        self._window.num_tokens += num_tokens
        self._window.num_sequences += 2 * len(plan.battles)
        self._window.num_targets += self._num_targets(plan)

    def _is_logged(self, update: int) -> bool:
        return (update + 1) % self._training.log_every_updates == 0 or update + 1 == len(self.planner)

    def _is_due_by_count(self, update: int) -> bool:
        every_updates = self._training.checkpoint.every_updates
        return every_updates is not None and (update + 1) % every_updates == 0

    def _check_and_log(self, plan: UpdatePlan, learning_rate: float) -> tuple[bool, str | None]:
        """Before an update, agree on whether its state is to be saved; a state that is saved has been checked.

        Returns:
            Whether to save, and what to show beside the progress; None: what was shown before.

        Raises:
            TrainingDivergedError: The loss or the gradient is not finite; weights and saved states are as they were.
        """
        is_due, is_logged = self._is_due_by_count(plan.update), self._is_logged(plan.update)
        if not is_due and not is_logged:
            return False, None
        window = self._window
        late = float(self._context.is_main and self._is_time_to_save())
        judge_loss, language_loss, square_sum, late = self._context.sum_over_ranks(
            [window.judge_loss.item(), window.language_loss.item(), self._optimizer.gradient_square_sum(), late]
        )
        self._require_finite(plan, judge_loss + language_loss, square_sum)
        details = self._log(plan, learning_rate, judge_loss, language_loss, square_sum) if is_logged else None
        return is_due or late > 0, details

    def _require_finite(self, plan: UpdatePlan, loss: float, square_sum: float) -> None:
        for name, value in (("loss", loss), ("gradient", square_sum)):
            if not math.isfinite(value):
                raise TrainingDivergedError(
                    f"{self._name}: the {name} of update {plan.update + 1} is not a finite number; "
                    "lower training.optimizer.peak_learning_rate"
                )

    def _log(
        self, plan: UpdatePlan, learning_rate: float, judge_loss: float, language_loss: float, square_sum: float
    ) -> str:
        """Write a line about the updates since the last one; losses and squares are sums over ranks."""
        window = self._window
        tokens_per_s = window.num_tokens / (time.monotonic() - window.started_s)
        record = {
            "update": plan.update + 1,
            "updates": len(self.planner),
            "epoch": plan.epoch,
            "phase": plan.phase,
            "loss": judge_loss / window.num_sequences,
            "language_modeling_loss": language_loss / max(window.num_targets, 1),
            "learning_rate": learning_rate,
            "gradient_norm": square_sum**0.5,
            "tokens": self._tokens_done,
            "tokens_per_s": tokens_per_s,
            "elapsed_s": self._elapsed_s(),
            "memory_bytes": peak_memory_bytes(self._context.device),
        }
        if not self._training.language_modeling_weight:
            del record["language_modeling_loss"]
        if self._context.is_main:
            self._metrics.append(record)
        self._window = self._new_window()
        return _details(record)

    def _is_time_to_save(self) -> bool:
        minutes = self._training.checkpoint.every_minutes
        return minutes is not None and time.monotonic() - self._last_saved_s >= 60 * minutes


def prepare_for_training(judge: JudgeModel, config: RunConfig, mesh: DeviceMesh) -> None:
    """Shard the weights and turn on what the configuration asks for, in place."""
    training = config.judge.training
    if training.activation_checkpointing:  # decoder layers draw no random numbers, so there is no state to preserve
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # the new name of this method is not in every transformers 5
            judge.backbone.gradient_checkpointing_enable({"use_reentrant": False, "preserve_rng_state": False})
    shard_weights(judge, judge.backbone.get_input_embeddings(), judge.decoder_layers, training, mesh)


def _plan(data: RunData, config: RunConfig, context: DistributedContext) -> Planner:
    training = config.judge.training
    planner = Planner(
        data.phases,
        data.train.tokens.lengths,
        battles_per_update=training.battles_per_update,
        epochs=training.epochs,
        seed=config.seed,
        world_size=context.world_size,
        max_tokens_per_micro_batch=training.max_tokens_per_micro_batch,
    )
    logger.info("training plan: %s", asdict(planner.stats()))
    return planner


def _details(record: dict[str, Any]) -> str:
    memory = f"{record['memory_bytes'] / 2**30:.1f} GiB"
    return f"loss {record['loss']:.4f}, {record['tokens_per_s']:,.0f} tokens/s, {memory}"
