"""The judge that a run starts from."""

import hashlib
import random
from pathlib import Path

import numpy as np
import torch

from wsdm_arena.config import RunConfig, TemplateConfig
from wsdm_arena.modeling.checkpoint import load_judge
from wsdm_arena.modeling.judge import JudgeModel, build_judge
from wsdm_arena.prompts.store import TokenStore
from wsdm_arena.prompts.template import require_answers
from wsdm_arena.prompts.tokenizers import fingerprint_tokenizer, load_tokenizer
from wsdm_arena.training.run import RunError


def build_initial_judge(config: RunConfig) -> JudgeModel:
    """Load the initial checkpoint, head included, or put a fresh head on the backbone.

    Raises:
        RunError: The initial checkpoint is another kind of judge than the configuration describes, or token tables do
            not agree on what a verbalizer starts from.
        PromptError: An answer that a verbalizer starts from is not one token.
        UnsupportedJudgeError: The backbone cannot be read, or has nothing that a verbalizer could start from.
    """
    wanted = config.judge
    if config.initial_checkpoint is None:
        return build_judge(
            config.backbone,
            head=wanted.head,
            num_classes=config.num_classes,
            attention=wanted.attention,
            sliding_window=wanted.sliding_window,
            dtype=wanted.training.dtype,
            head_seed=draw_head_seed(config),
            answer_ids=find_answers(config) if is_zero_shot(config) else (),
        )
    judge = load_judge(config.initial_checkpoint, attention=wanted.attention, dtype=wanted.training.dtype)
    described = {"num_classes": config.num_classes, "head": wanted.head, "sliding_window": wanted.sliding_window}
    found = {
        "num_classes": judge.head.num_classes,
        "head": judge.head.config,
        "sliding_window": judge.sliding_window,
    }
    for name, value in described.items():
        if found[name] != value:
            raise RunError(
                f"{config.initial_checkpoint} has {name}={found[name]!r}, but the run asks for {value!r}; "
                "continue it as it was trained"
            )
    return judge


def is_zero_shot(config: RunConfig) -> bool:
    """Whether the judge is, before its first update, the language model as it was: nothing of it is random."""
    return config.judge.head.kind == "verbalizer" and config.initial_checkpoint is None


def find_answers(config: RunConfig) -> tuple[int, ...]:
    """Tokens that a verbalizer starts from, as the token tables' template names them.

    Raises:
        RunError: The tables do not agree, or they name another number of answers than the judge has classes.
        PromptError: An answer is not one token.
    """
    found = {_answers_of(TokenStore.open(table.path), config.backbone) for table in config.tokens}
    if len(found) != 1 or len(*found) != config.num_classes:
        raise RunError(
            f"the token tables {[str(table.path) for table in config.tokens]} name answers {sorted(found)}; a judge of "
            f"{config.num_classes} classes starts from that many, the same in every table: tokenise them again"
        )
    return found.pop()


def _answers_of(store: TokenStore, tokenizer_dir: Path) -> tuple[int, ...]:
    """Tables that were made before there were verbalizers do not name the tokens, but the template."""
    if store.template.answers:
        return store.template.answers
    return require_answers(load_tokenizer(tokenizer_dir), TemplateConfig.model_validate(store.manifest["template"]))


def draw_head_seed(config: RunConfig) -> int:
    """Seed of a fresh head: judges that share a backbone must not be copies of one another."""
    name = f"{config.seed}.{config.judge.stage}.{config.judge.judge}"
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=4).digest())


def find_tokenizer(config: RunConfig) -> Path:
    """Directory with the tokenizer's files, which are copied beside the trained weights."""
    return config.backbone if config.initial_checkpoint is None else config.initial_checkpoint


def require_matching_tokens(config: RunConfig, tokenizer_hash: str) -> None:
    """Refuse tokens that another tokenizer made.

    Raises:
        RunError: The judge's tokenizer is another one than that of the token tables.
    """
    directory = find_tokenizer(config)
    if fingerprint_tokenizer(load_tokenizer(directory)) != tokenizer_hash:
        raise RunError(
            f"the token tables {[str(table.path) for table in config.tokens]} were made with another tokenizer than "
            f"that of {directory}; tokenise them with this judge's own"
        )


def seed_generators(seed: int) -> None:
    """Seed torch, numpy and Python, for whatever third parties draw; our own draws have generators of their own."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    torch.manual_seed(seed)
