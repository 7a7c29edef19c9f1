"""What each process of a scoring run does: read its share of every part that is missing, with the whole judge.

Scoring needs no gradients, so nothing is sharded: each process holds all weights.
"""

import gc
import logging
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import numpy as np
import pandas as pd
import torch

from wsdm_arena.config import ScoringConfig
from wsdm_arena.distributed import DistributedContext
from wsdm_arena.modeling.checkpoint import load_judge, read_manifest
from wsdm_arena.progress import show_progress
from wsdm_arena.prompts.store import TokenStore
from wsdm_arena.scoring.predictor import TokenizedPairs, score_pairs
from wsdm_arena.scoring.run_directory import PREDICTIONS_SCHEMA, Chunks, ScoringDirectory, ScoringError, split_pairs

logger = logging.getLogger(__name__)


def bring_to_end(run: ScoringDirectory, config: ScoringConfig, context: DistributedContext) -> None:
    """Do whatever is left to do in a run directory. A collective.

    Raises:
        DirectoryInUseError: Another process is at it.
        ScoringError: The judge's logits are not finite.
        CheckpointError: The checkpoint is damaged.
    """
    with run.lock() if context.is_main else nullcontext():
        if context.broadcast(context.is_main and run.is_complete(config)):
            return
        store = TokenStore.open(config.tokens)
        chunks = split_pairs(store.pair_ids, config.pairs_per_part)
        missing: list[int] | None = None
        if context.is_main:
            run.remove_leftovers()
            missing = run.find_missing_parts(chunks, config)
            logger.info("%s: %d of %d parts are to be scored", config.table, len(missing), len(chunks))
        if missing := context.broadcast(missing):
            _score_parts(run, config, context, store, chunks, missing)
        if context.is_main:
            run.finish(len(chunks), len(store), config)
        context.barrier()


@contextmanager
def torch_threads(num_threads: int | None) -> Iterator[None]:
    """Let torch use so many threads while the context is open; None: as many as it does."""
    before = torch.get_num_threads()
    torch.set_num_threads(num_threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def release_memory() -> None:
    """Give back the GPU memory of a judge that is no longer needed: the next training is another process."""
    gc.collect()
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def _score_parts(
    run: ScoringDirectory,
    config: ScoringConfig,
    context: DistributedContext,
    store: TokenStore,
    chunks: Chunks,
    missing: list[int],
) -> None:
    judge = load_judge(config.checkpoint, attention=config.attention, dtype=config.dtype).to(context.device).eval()
    judge_fingerprint = read_manifest(config.checkpoint)["fingerprint"]
    total = _share_of_tokens(store, [chunks[number] for number in missing], config, context.world_size)
    with show_progress(f"{config.table} scored tokens", total=total) as progress:
        for number in missing:
            chunk = chunks[number]
            predictions = score_pairs(
                judge,
                TokenizedPairs.look_up(chunk.tolist(), [config.table] * len(chunk), {config.table: store}),
                max_tokens=config.max_tokens_per_batch,
                device=context.device,
                orders=config.orders,
                rank=context.rank,
                world_size=context.world_size,
                on_batch=progress.advance,
            )
            if predictions is not None:
                _require_finite(predictions, config)
                predictions["judge_fingerprint"] = judge_fingerprint
                predictions["template_hash"] = store.template.hash
                run.write_part(number, predictions[PREDICTIONS_SCHEMA.names])
        progress(total)


def _require_finite(predictions: pd.DataFrame, config: ScoringConfig) -> None:
    is_finite = np.isfinite(np.stack(predictions["logits"].to_list())).all(axis=1)
    if not is_finite.all():
        rows = predictions[~is_finite]
        raise ScoringError(
            f"{config.checkpoint} gives logits that are not finite for {len(rows)} of {len(predictions)} rows of "
            f"{config.table}, first pair {rows['pair_id'].iloc[0]}; its training diverged, or dtype {config.dtype} "
            "does not suit it"
        )


def _share_of_tokens(store: TokenStore, chunks: Chunks, config: ScoringConfig, world_size: int) -> int:
    """Tokens that one process will read; processes read different numbers, and the first one's share stands for all."""
    pair_ids = np.concatenate(chunks)
    num_tokens = int(store.lengths[store.rows(pair_ids)].sum(dtype=np.int64))
    return len(config.orders) * num_tokens // world_size
