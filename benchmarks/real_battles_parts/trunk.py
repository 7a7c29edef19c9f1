"""Hidden states of a frozen trunk, computed once and kept.

Shapes: N pairs, 2 orders, L decoder layers, h hidden size.
"""

import logging
import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from wsdm_arena.batching.packed import PackedBatch
from wsdm_arena.batching.planner import plan_scoring
from wsdm_arena.columns import ORDERS
from wsdm_arena.config import HeadConfig, ProjectConfig
from wsdm_arena.modeling.judge import JudgeModel, build_judge
from wsdm_arena.prompts.store import TokenStore, build_token_store
from wsdm_arena.runs.fingerprint import fingerprint

logger = logging.getLogger(__name__)

PAIRS_A_PART = 100
"""What is lost at most when the computation is killed."""


@dataclass(frozen=True)
class TrunkStates:
    """What a frozen language model makes of pairs, by ``pair_id``.

    Attributes:
        pair_ids: ``(N,)``.
        last: Last token's state after the final norm, ``(N, 2, h)`` float32; orders ``ab``, ``ba``.
        layers: Last token's state after each decoder layer, ``(N, 2, L, h)`` float32.
        answers: Mean state over the tokens of the answer displayed first and of that displayed second, after half of
            the layers and after the final norm, ``(N, 2, 2 depths, 2 answers, h)`` float32.
        seconds: It took to compute them.
        num_tokens: That were read.
    """

    pair_ids: np.ndarray
    last: np.ndarray
    layers: np.ndarray
    answers: np.ndarray
    seconds: float
    num_tokens: int

    def select(self, name: str, pair_ids: pd.Series) -> np.ndarray:
        """One of the arrays, a row for each of the given pairs.

        Raises:
            KeyError: A pair was not read.
        """
        rows = pd.Index(self.pair_ids).get_indexer_for(pair_ids)
        if (rows < 0).any():
            raise KeyError(f"{int((rows < 0).sum())} pairs have no states")
        states: np.ndarray = getattr(self, name)[rows]
        return states


def tokenize(
    pairs: pd.DataFrame, table: str, model: Path, project: ProjectConfig, *, system_role: bool, root: Path
) -> TokenStore:
    """The token store of one source for one language model."""
    path = build_token_store(
        pairs,
        table=table,
        tokenizer_dir=model,
        template=project.template,
        system_role=system_role,
        truncation=project.truncation,
        policy="shared_budget",
        root=root,
    )
    return TokenStore.open(path)


def compute_states(
    store: TokenStore,
    model: Path,
    cache: Path,
    *,
    device: str,
    dtype: str,
    max_tokens: int,
    max_pairs: int,
    compute: bool = True,
) -> TrunkStates | None:
    """Read all pairs of a store in both orders, or find what an earlier call left; a killed one goes on.

    Args:
        store: Of one source; its name tells tokenizer, template and texts.
        model: Directory of the language model; its name is part of the cache's.
        cache: Folder for parts of states.
        device: Where the trunk reads.
        dtype: In which it computes; what is kept is float32.
        max_tokens: Of a micro-batch.
        max_pairs: The first ones are read, by ``pair_id``; those beyond may be.
        compute: False only looks for what is there, and gives None where that is not everything.
    """
    folder = cache / f"{model.name}.{dtype}.{store.manifest['table']}.{_digest(store)}"
    folder.mkdir(parents=True, exist_ok=True)
    judge: JudgeModel | None = None
    parts = []
    for number, start in enumerate(range(0, min(len(store), max_pairs), PAIRS_A_PART)):
        rows = range(start, min(start + PAIRS_A_PART, len(store)))
        path = folder / f"part-{number:03d}.npz"
        if not path.is_file():
            if not compute:
                return None
            judge = judge or _load_trunk(model, dtype, device)
            started = time.perf_counter()
            part = _read_part(judge, store, rows, device=device, max_tokens=max_tokens)
            seconds = time.perf_counter() - started
            _save(path, **part, seconds=np.float64(seconds))
            logger.info("%s: pairs %d to %d in %.0f s", folder.name, rows[0], rows[-1], seconds)
        with np.load(path, allow_pickle=False) as arrays:
            parts.append(dict(arrays))
    joined = {name: np.concatenate([part[name] for part in parts]) for name in ("last", "layers", "answers")}
    seconds = float(sum(part["seconds"] for part in parts))
    num_pairs = len(joined["last"])
    num_tokens = 2 * int(store.lengths[:num_pairs].sum())
    return TrunkStates(store.pair_ids[:num_pairs], **joined, seconds=seconds, num_tokens=num_tokens)


def read_answer_rows(model: Path, store: TokenStore) -> np.ndarray:
    """What a verbalizer head starts as: the language model's output rows of the answers, ``(2, h)``."""
    judge = build_judge(model, head=HeadConfig(kind="verbalizer"), num_classes=2, answer_ids=store.template.answers)
    rows: np.ndarray = judge.head.output.weight.detach().numpy()
    return rows


def _digest(store: TokenStore) -> str:
    """Names everything that a trunk reads of a store."""
    files = [store.manifest["sha256"][name] for name in ("tokens.bin", "offsets.npy", "pair_ids.npy")]
    return fingerprint({"template": store.template.hash, "files": files})


def _load_trunk(model: Path, dtype: str, device: str) -> JudgeModel:
    return build_judge(model, head=HeadConfig(kind="linear"), num_classes=2, dtype=dtype).eval().to(device)


def _read_part(
    judge: JudgeModel, store: TokenStore, rows: range, *, device: str, max_tokens: int
) -> dict[str, np.ndarray]:
    sequences = [store.sequence(row, order) for row in rows for order in ORDERS]
    spans = [_answer_spans(store, row, order) for row in rows for order in ORDERS]
    num_layers, width = len(judge.decoder_layers), judge.config.hidden_size
    found = {
        "last": np.empty((len(sequences), width), dtype=np.float32),
        "layers": np.empty((len(sequences), num_layers, width), dtype=np.float32),
        "answers": np.empty((len(sequences), 2, 2, width), dtype=np.float32),
    }
    lengths = np.array([len(sequence) for sequence in sequences])
    (plan,) = plan_scoring(lengths, world_size=1, max_tokens=max_tokens)
    for members in plan:
        batch = PackedBatch.from_sequences([sequences[member] for member in members]).to(device)
        for name, values in _read_batch(judge, batch, [spans[member] for member in members]).items():
            found[name][members] = values
    return {name: values.reshape(len(rows), 2, *values.shape[1:]) for name, values in found.items()}


@torch.inference_mode()
def _read_batch(
    judge: JudgeModel, batch: PackedBatch, spans: list[tuple[tuple[int, int], tuple[int, int]]]
) -> dict[str, np.ndarray]:
    """Forward once; decoder layers tell what they give by hooks."""
    ends = batch.cu_seqlens[1:].long() - 1
    at_end: list[torch.Tensor] = []
    middle: list[torch.Tensor] = []
    half = len(judge.decoder_layers) // 2

    def keep(layer: nn.Module, inputs: tuple, output: torch.Tensor | tuple) -> None:
        states = (output if isinstance(output, torch.Tensor) else output[0]).reshape(batch.num_tokens, -1)
        if len(at_end) == half - 1:
            middle.append(states)
        at_end.append(states[ends])

    handles = [layer.register_forward_hook(keep) for layer in judge.decoder_layers]
    try:
        final = judge.hidden_states(batch)
    finally:
        for handle in handles:
            handle.remove()
    answers = [
        [[states[start + low : start + high].mean(dim=0) for low, high in both] for states in (middle[0], final)]
        for start, both in zip(batch.boundaries[:-1], spans, strict=True)
    ]
    return {
        "last": final[ends].float().cpu().numpy(),
        "layers": torch.stack(at_end, dim=1).float().cpu().numpy(),
        "answers": torch.stack([torch.stack([torch.stack(b) for b in a]) for a in answers]).float().cpu().numpy(),
    }


def _answer_spans(store: TokenStore, row: int, order: str) -> tuple[tuple[int, int], tuple[int, int]]:
    """Where the answers displayed first and second begin and end in the sequence; an empty one has its heading."""
    prompt, *answers = store.fields(row)
    first, second = answers if order == "ab" else answers[::-1]
    template = store.template
    start = len(template.before_prompt) + len(prompt) + len(template.before_response_a)
    middle = start + len(first) + len(template.before_response_b)
    return (start - (not len(first)), start + len(first)), (middle - (not len(second)), middle + len(second))


def _save(path: Path, **arrays: np.ndarray) -> None:
    temporary = path.with_suffix(".partial")
    with temporary.open("wb") as file:
        np.savez(file, **arrays)
    os.replace(temporary, path)
