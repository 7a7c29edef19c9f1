"""Score held-out pairs with the judge that is being trained, and leave it as it was."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch.distributed.fsdp import FSDPModule

from wsdm_arena.config import RunConfig
from wsdm_arena.distributed import DistributedContext
from wsdm_arena.metrics import accuracy, log_loss
from wsdm_arena.modeling.judge import JudgeModel
from wsdm_arena.progress import show_progress
from wsdm_arena.scoring.predictor import score_pairs
from wsdm_arena.training.data import LabelledBattles

PREDICTION_COLUMNS = (
    "pair_id",
    "order",
    "logits",
    "probabilities",
    "fold",
    "judge_fingerprint",
    "template_hash",
    "truncated",
)


@dataclass(frozen=True)
class Evaluator:
    """Reads battles with sharded weights on all ranks.

    Attributes:
        config: Of the run.
        context: This process among the others.
        template_hash: Of the prompt that the tokens were made with.
    """

    config: RunConfig
    context: DistributedContext
    template_hash: str

    def predict(self, judge: JudgeModel, battles: LabelledBattles, *, judge_fingerprint: str) -> pd.DataFrame | None:
        """Read every pair of the battles in both orders. A collective.

        Returns:
            On rank 0 a table with :data:`PREDICTION_COLUMNS`; None on the other ranks.
        """
        pairs = battles.unique_pairs()
        training = self.config.judge.training
        was_training = judge.training
        judge.eval()
        name = f"{self.config.judge.stage}.{self.config.judge.judge}"
        # Ranks read different numbers of tokens, and only the first shows progress: its share stands for all.
        total = 2 * int(pairs.tokens.lengths.sum()) // self.context.world_size
        with show_progress(f"{name} scored tokens", total=total) as progress:
            table = score_pairs(
                judge,
                pairs.tokens,
                max_tokens=training.max_tokens_per_scoring_batch or training.max_tokens_per_micro_batch,
                device=self.context.device,
                rank=self.context.rank,
                world_size=self.context.world_size,
                on_batch=progress.advance,
            )
            progress(total)
        _release_gathered_weights(judge)
        judge.train(was_training)
        if table is None:
            return None
        folds = pd.Series(pairs.folds, index=pairs.tokens.pair_ids)
        table["fold"] = table["pair_id"].map(folds).astype("int64")
        table["judge_fingerprint"] = judge_fingerprint
        table["template_hash"] = self.template_hash
        return table[list(PREDICTION_COLUMNS)]


def evaluate_predictions(predictions: pd.DataFrame, battles: LabelledBattles) -> dict[str, float | int | None]:
    """Compare predictions, averaged over both orders, with the votes.

    Args:
        predictions: As :meth:`Evaluator.predict` gives them.
        battles: Votes on these pairs; those without a label are left out.

    Returns:
        ``num_battles``, ``accuracy`` and ``log_loss`` (nats); None where there is nothing to compare.
    """
    is_labelled = ~np.isnan(battles.labels).any(axis=1)
    labels = battles.labels[is_labelled].astype(np.float64)
    if not len(labels):
        return {"num_battles": 0, "accuracy": None, "log_loss": None}
    rows = pd.DataFrame(np.stack(predictions["probabilities"].tolist()), index=predictions["pair_id"], dtype=np.float64)
    means = rows.groupby(level=0).mean()
    predicted = means.loc[battles.tokens.pair_ids[is_labelled].tolist()].to_numpy()
    return {
        "num_battles": len(labels),
        "accuracy": accuracy(predicted, labels),
        "log_loss": log_loss(predicted, labels),
    }


def _release_gathered_weights(judge: torch.nn.Module) -> None:
    """Scoring has no backward pass, after which sharded weights that were kept gathered would be given back."""
    for module in judge.modules():
        if isinstance(module, FSDPModule):
            module.reshard()
