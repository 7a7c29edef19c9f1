"""Compare tokenizing a battle once, in batches, with tokenizing it item by item and order by order.

    python benchmarks/tokenizing.py [--rows 400] [--tokenizer DIR] [--data DIR]

Both make the sequences of both orders from the same texts with the same tokenizer, on one core. The way compared with
is that of the published solution: for each item and each order, every text is tokenized with offsets to see whether
it is too long; the battle is put together, tokenized, cut to its budget and decoded; and the whole chat is tokenized
again. Repetitions alternate between the two; medians of processor time are reported. Prints one JSON object last.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import yaml

from wsdm_arena.config import TemplateConfig, TruncationConfig
from wsdm_arena.prompts.battles import ORDERS, BattleTokenizer, assemble_sequence
from wsdm_arena.prompts.tokenizers import load_tokenizer

REPOSITORY = Path(__file__).parents[1]
SHARED_DATA = REPOSITORY.parent / "shared" / "data"

REQUIRED_RATIO = 8

Battle = tuple[str, str, str]


def import_tiny_tokenizers() -> ModuleType:
    """The test suite's builder of tokenizers."""
    sys.path.insert(0, str(REPOSITORY))
    from tests import tiny_tokenizers

    return tiny_tokenizers


def read_battles(directory: Path, num_rows: int) -> tuple[list[Battle], str]:
    """Real battles where there are any, generated ones of arena lengths elsewhere; and which of the two they are."""
    files = sorted(directory.glob("*.parquet"))
    if files:
        table = pd.concat([pd.read_parquet(file) for file in files], ignore_index=True)
        table = table.sample(n=min(num_rows, len(table)), random_state=0)
        columns = [table[name].tolist() for name in ("prompt", "response_a", "response_b")]
        return list(zip(*columns, strict=True)), "real"
    generator = np.random.default_rng(0)
    return [tuple(_generate(generator, median) for median in (200, 1_500, 1_500)) for _ in range(num_rows)], "generated"


def _generate(generator: np.random.Generator, median_characters: int) -> str:
    corpus = import_tiny_tokenizers().CORPUS
    target = generator.lognormal(np.log(median_characters), 0.9)
    sentences: list[str] = []
    while sum(map(len, sentences)) < target:
        words = str(generator.choice(corpus)).split(" ")
        sentences.append(" ".join(generator.permutation(words)))
    return " ".join(sentences)


class ItemByItem:
    """The way compared with: text in, text out, tokenized again at every step."""

    def __init__(self, tokenizer, template: TemplateConfig, truncation: TruncationConfig, policy: str) -> None:
        self.tokenizer = tokenizer
        self.template = template
        self.truncation = truncation
        self.policy = policy

    def tokenize(self, battle: Battle) -> list[list[int]]:
        """Both orders of one battle."""
        prompt, response_a, response_b = battle
        return [self._sequence(prompt, response_a, response_b), self._sequence(prompt, response_b, response_a)]

    def _sequence(self, prompt: str, first: str, second: str) -> list[int]:
        cut = self._per_field if self.policy == "per_field" else self._shared_budget
        prompt, first, second = cut([(text, self._offsets(text)) for text in (prompt, first, second)])
        t = self.template
        battle = f"{t.prompt_heading}{prompt}{t.response_a_heading}{first}{t.response_b_heading}{second}"
        budget = self.truncation.max_battle_tokens
        ids = self.tokenizer(battle, add_special_tokens=False, max_length=budget, truncation=True)["input_ids"]
        user = t.battle_start + self.tokenizer.decode(ids) + t.battle_end
        messages = [{"role": "system", "content": t.instruction}, {"role": "user", "content": user}]
        chat = self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        return self.tokenizer(chat + t.verdict_prefix, add_special_tokens=False)["input_ids"]

    def _per_field(self, texts: list[tuple[str, list]]) -> list[str]:
        limits = self.truncation.per_field
        caps = (limits.max_prompt_tokens, limits.max_response_tokens, limits.max_response_tokens)
        return [self._cut(text, offsets, cap) for (text, offsets), cap in zip(texts, caps, strict=True)]

    def _shared_budget(self, texts: list[tuple[str, list]]) -> list[str]:
        limits = self.truncation.shared_budget
        room = self.truncation.max_battle_tokens - limits.reserved_tokens
        lengths = [len(offsets) for _, offsets in texts]
        if sum(lengths) <= room:
            return [text for text, _ in texts]
        prompt_cap = min(lengths[0], limits.max_prompt_tokens)
        shares = [(room - prompt_cap) * length // max(lengths[1] + lengths[2], 1) for length in lengths[1:]]
        return [self._cut(*text, cap) for text, cap in zip(texts, (prompt_cap, *shares), strict=True)]

    def _offsets(self, text: str) -> list[tuple[int, int]]:
        return self.tokenizer(text, return_offsets_mapping=True, add_special_tokens=False)["offset_mapping"]

    def _cut(self, text: str, offsets: list[tuple[int, int]], cap: int) -> str:
        if len(offsets) <= cap:
            return text
        end, start = offsets[cap // 2 - 3][1], offsets[3 - cap // 2][0]  # leaves room for the marker
        return text[:end] + self.truncation.marker + text[start:]


def in_batches(tokenizer: BattleTokenizer, battles: list[Battle], batch_size: int) -> list[np.ndarray]:
    """Our way: every text once, a batch of battles at a time; both orders from the same pieces."""
    sequences = []
    for start in range(0, len(battles), batch_size):
        tokenized = tokenizer.tokenize(battles[start : start + batch_size])
        for row in range(len(tokenized)):
            fields = tokenized.fields(row)
            sequences += [assemble_sequence(tokenizer.template, *fields, order) for order in ORDERS]
    return sequences


def compare(battles: list[Battle], tokenizer, policy: str, repetitions: int) -> dict[str, float]:
    """Seconds a battle, both orders, either way."""
    parameters = yaml.safe_load((REPOSITORY / "conf/base/parameters.yml").read_text())
    template = TemplateConfig.model_validate(parameters["template"])
    truncation = TruncationConfig.model_validate(parameters["truncation"])
    item_by_item = ItemByItem(tokenizer, template, truncation, policy)
    batched = BattleTokenizer(tokenizer, template, system_role=True, truncation=truncation, policy=policy)
    slow, fast = [], []
    for repetition in range(repetitions + 1):
        start = time.process_time()
        theirs = [sequence for battle in battles for sequence in item_by_item.tokenize(battle)]
        middle = time.process_time()
        ours = in_batches(batched, battles, 256)
        end = time.process_time()
        if repetition:  # the first warms caches up
            slow.append(middle - start)
            fast.append(end - middle)
    assert len(ours) == len(theirs) == 2 * len(battles)
    whole = [abs(len(a) - len(b)) for a, b in zip(ours, theirs, strict=True)]
    return {
        "item_by_item_ms": 1e3 * statistics.median(slow) / len(battles),
        "in_batches_ms": 1e3 * statistics.median(fast) / len(battles),
        "ratio": statistics.median(slow) / statistics.median(fast),
        "tokens_per_s": sum(map(len, ours)) / statistics.median(fast),
        "mean_sequence_tokens": float(np.mean([len(sequence) for sequence in ours])),
        "median_length_difference": float(np.median(whole)),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Print the comparison for both policies; 1 if one is not fast enough."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=400)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument(
        "--tokenizer", type=Path, help="directory; by default a Llama-style one is trained on the texts"
    )
    parser.add_argument("--vocab-size", type=int, default=16_000, help="of the tokenizer that is trained")
    parser.add_argument("--data", type=Path, default=SHARED_DATA)
    arguments = parser.parse_args(argv)
    os.environ.update(TOKENIZERS_PARALLELISM="false", RAYON_NUM_THREADS="1")
    battles, source = read_battles(arguments.data, arguments.rows)
    if arguments.tokenizer:
        tokenizer = load_tokenizer(arguments.tokenizer)
    else:
        texts = tuple(text for battle in battles for text in battle)
        tokenizer = import_tiny_tokenizers().llama_style(arguments.vocab_size, texts)
    results = {p: compare(battles, tokenizer, p, arguments.repetitions) for p in ("per_field", "shared_budget")}
    passed = all(result["ratio"] >= REQUIRED_RATIO for result in results.values())
    summary = {
        "benchmark": "tokenizing",
        "texts": source,
        "rows": len(battles),
        "characters_per_battle": float(np.mean([sum(map(len, battle)) for battle in battles])),
        "vocab_size": len(tokenizer),
        **results,
        "required_ratio": REQUIRED_RATIO,
        "passed": passed,
    }
    print(json.dumps(summary))
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
