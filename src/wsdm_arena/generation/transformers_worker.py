"""Answer prompts with transformers' own ``generate``.

Run as ``python -m wsdm_arena.generation.transformers_worker <job.json>``. Prompts of about equal length share a batch,
padded on the left. Every answer has a random number generator of its own, seeded with its request's seed, which draws
one uniform number a token: who else is in the batch has no influence on an answer beyond rounding. (``generate`` itself
draws all rows from one generator.)
"""

import random
from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    StoppingCriteria,
    StoppingCriteriaList,
    TemperatureLogitsWarper,
    TopPLogitsWarper,
)

from wsdm_arena.generation.user_turns import UserTurns
from wsdm_arena.generation.vllm_worker import Job, RecordAnswer, Request, run_worker
from wsdm_arena.processes import die_with_parent

_ANY_LENGTH = 1 << 30


class SeededSampler(LogitsProcessor):
    """Draws the next token of each row and leaves no other, so that taking the likeliest token takes the one drawn.

    Args:
        temperature: Divides the logits; above 0.
        top_p: As :class:`wsdm_arena.config.SamplingConfig` says.
        seeds: One a row of the batch.
    """

    def __init__(self, *, temperature: float, top_p: float, seeds: Sequence[int]) -> None:
        self._warpers = LogitsProcessorList([TemperatureLogitsWarper(temperature)])
        if top_p < 1:
            self._warpers.append(TopPLogitsWarper(top_p))
        self._generators = [random.Random(seed) for seed in seeds]

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        """Invert the cumulative distribution at one uniform number a row.

        Args:
            input_ids: Tokens so far, ``(rows, tokens)``.
            scores: Logits, ``(rows, vocabulary)``.

        Returns:
            0 for the token drawn and minus infinity for all others, ``(rows, vocabulary)``.
        """
        probabilities = self._warpers(input_ids, scores.float()).double().softmax(dim=-1)
        cumulative = probabilities.cumsum(dim=-1)
        uniform = torch.tensor([[each.random()] for each in self._generators], dtype=torch.double, device=scores.device)
        # Scaled by the sum, which rounding leaves beside 1, so that a token of probability 0 is never drawn.
        drawn = torch.searchsorted(cumulative, uniform * cumulative[:, -1:], right=True)
        only = torch.full_like(scores, -torch.inf).scatter_(1, drawn.clamp(max=scores.shape[1] - 1), 0.0)
        return cast(torch.FloatTensor, only)


class StopTexts(StoppingCriteria):
    """Ends a row whose answer holds one of some texts; transformers' own would look for them in the prompt, too.

    Args:
        tokenizer: Of the model.
        texts: That end an answer.
        width: Tokens of a padded prompt.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], width: int) -> None:
        self._tokenizer, self._texts, self._width = tokenizer, texts, width

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor, **_: Any) -> torch.BoolTensor:
        """Which rows are done, ``(rows,)``."""
        answers = self._tokenizer.batch_decode(input_ids[:, self._width :], skip_special_tokens=True)
        done = [any(text in answer for text in self._texts) for answer in answers]
        return cast(torch.BoolTensor, torch.tensor(done, device=input_ids.device))


def answer_with_transformers(job: Job, requests: list[Request], record: RecordAnswer) -> None:
    """Load the model once and answer all requests, each as a chat of one turn where the tokenizer has a template."""
    generator = _Generator(job)
    prompts: list[tuple[Request, list[int]]] = []
    for request in requests:
        token_ids = generator.tokenize(request["prompt"])
        if 0 < len(token_ids) < generator.max_length:
            prompts.append((request, token_ids))
        else:
            record(request, None, "error", f"the prompt has {len(token_ids)} tokens of {generator.max_length} at most")
    for batch in generator.batches(prompts):
        answers = generator.answer([token_ids for _, token_ids in batch], [request["seed"] for request, _ in batch])
        for (request, _), (text, finish_reason) in zip(batch, answers, strict=True):
            record(request, text, finish_reason, None)


class _Generator:
    """A causal language model with its tokenizer on the first GPU, else on the CPU, where ``auto`` means float32."""

    def __init__(self, job: Job) -> None:
        self._sampling, self._batch_size = job.sampling, job.batch_requests or 1
        self._stop: list[str] = job.sampling.get("stop", [])
        limit = job.engine["max_model_len"]
        source = {key: value for key, value in job.engine.items() if key not in ("max_model_len", "dtype")}
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        dtype = job.engine["dtype"]
        if dtype == "auto" and self._device.type == "cpu":
            dtype = "float32"  # bf16 is very slow on most CPUs
        model: Any = AutoModelForCausalLM.from_pretrained(job.model, dtype=dtype, **source)
        self._model: PreTrainedModel = model.to(self._device).eval()
        self._tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(job.model, **source)
        self._turns = UserTurns(self._tokenizer)
        self._end_ids = _end_token_ids(self._model, self._tokenizer)
        self._pad_id = self._tokenizer.pad_token_id
        if self._pad_id is None:
            self._pad_id = min(self._end_ids, default=0)
        own_limit = getattr(self._model.config.get_text_config(), "max_position_embeddings", None)
        self.max_length = min(limit or _ANY_LENGTH, own_limit or _ANY_LENGTH)
        # A model brings settings of its own (top-k, repetition penalty), which would mix with ours.
        self._model.generation_config = GenerationConfig(
            do_sample=False, eos_token_id=sorted(self._end_ids) or None, pad_token_id=self._pad_id
        )

    def tokenize(self, prompt: str) -> list[int]:
        """Tokenize a prompt as the only turn of a chat, or as it is where there is no chat template."""
        is_plain = self._turns.are_plain(prompt)
        if self._tokenizer.chat_template is None:
            opening = list(self._tokenizer("")["input_ids"])
            return list(self._tokenizer(prompt)["input_ids"]) if is_plain else opening + self._turns.text_ids(prompt)
        if not is_plain:
            return self._turns.chat_ids(prompt)
        conversation = [{"role": "user", "content": prompt}]
        token_ids = self._tokenizer.apply_chat_template(conversation, add_generation_prompt=True, return_dict=False)
        return list(token_ids)

    def batches(self, prompts: list[tuple[Request, list[int]]]) -> Iterator[list[tuple[Request, list[int]]]]:
        """Put prompts of about equal length together; one whose answer the context may cut off is alone."""
        by_length = sorted(prompts, key=lambda prompt: len(prompt[1]))
        is_free = [len(token_ids) + self._sampling["max_tokens"] <= self.max_length for _, token_ids in by_length]
        num_free = sum(is_free)  # the shorter ones
        for start in range(0, num_free, self._batch_size):
            yield by_length[start : min(start + self._batch_size, num_free)]
        for prompt in by_length[num_free:]:
            yield [prompt]

    @torch.inference_mode()
    def answer(self, prompts: Sequence[list[int]], seeds: Sequence[int]) -> Iterator[tuple[str, str]]:
        """Generate one answer a prompt: its text, and ``stop`` or ``length``."""
        width = max(len(prompt) for prompt in prompts)
        padded = [[self._pad_id] * (width - len(prompt)) + prompt for prompt in prompts]
        mask = [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts]
        samplers = LogitsProcessorList()
        if self._sampling["temperature"] > 0:
            temperature, top_p = self._sampling["temperature"], self._sampling["top_p"]
            samplers.append(SeededSampler(temperature=temperature, top_p=top_p, seeds=seeds))
        generated = self._model.generate(  # type: ignore[operator]
            inputs=torch.tensor(padded, device=self._device),
            attention_mask=torch.tensor(mask, device=self._device),
            max_new_tokens=min(self._sampling["max_tokens"], self.max_length - width),
            logits_processor=samplers,
            stopping_criteria=StoppingCriteriaList([StopTexts(self._tokenizer, self._stop, width)] * bool(self._stop)),
        )
        for row in generated[:, width:].tolist():
            end = next((position for position, token_id in enumerate(row) if token_id in self._end_ids), None)
            text = str(self._tokenizer.decode(row[:end], skip_special_tokens=True))
            ends = [position for stop in self._stop if (position := text.find(stop)) >= 0]
            yield text[: min(ends, default=None)], "length" if end is None and not ends else "stop"


def _end_token_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Tokens that end an answer, as the model's generation settings and its tokenizer name them."""
    named = getattr(model.generation_config, "eos_token_id", None)
    listed = named if isinstance(named, list) else [named]
    return frozenset(int(token_id) for token_id in [*listed, tokenizer.eos_token_id] if token_id is not None)


if __name__ == "__main__":
    die_with_parent()
    run_worker(answer_with_transformers)
