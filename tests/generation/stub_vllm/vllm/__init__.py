"""Stands in for vLLM: notes how it is used in ``$STUB_LOG`` and misbehaves as ``$STUB_MANNERS`` says.

Answers are a function of prompt and seed. Like vLLM it has a process of its own, and refuses a whole batch for one
prompt that is too long.
"""

import json
import os
import re
import subprocess
import sys
import time
from types import SimpleNamespace

from vllm.exceptions import VLLMClientError

MANNERS = os.environ.get("STUB_MANNERS", "").split()
LONGEST_PROMPT = 1000
CPU_NAMES = ("OMP_WAIT_POLICY", "VLLM_CPU_OMP_THREADS_BIND", "VLLM_ENABLE_V1_MULTIPROCESSING")


def _note(kind: str, **fields: object) -> None:
    line = json.dumps({"kind": kind, "pid": os.getpid(), **fields}) + "\n"
    with open(os.environ["STUB_LOG"], "a") as file:
        file.write(line)


class SamplingParams:
    def __init__(self, **fields: object) -> None:
        self.fields = fields


class Tokenizer:
    """One token a character, and two that control turns."""

    all_special_tokens = ("<s>", "</s>")
    all_special_ids = (1, 2)

    def encode(self, text: str, add_special_tokens: bool) -> list[int]:
        assert not add_special_tokens
        control = dict(zip(self.all_special_tokens, self.all_special_ids, strict=True))
        parts = re.split("(</?s>)", text)
        return [each for part in parts for each in ([control[part]] if part in control else map(ord, part))]

    def apply_chat_template(self, conversation: list, add_generation_prompt: bool, tokenize: bool) -> str:
        assert add_generation_prompt
        assert not tokenize
        return f"<s>{conversation[0]['content']}</s>"


class LLM:
    def __init__(self, **fields: object) -> None:
        import requests  # a package's name that this project's generation package has a module of

        names = (
            "CUDA_VISIBLE_DEVICES",
            "CUDA_DEVICE_ORDER",
            "VLLM_NO_USAGE_STATS",
            "SPT_NOENV",
            "OMP_NUM_THREADS",
            *CPU_NAMES,
        )
        environment = {name: os.environ.get(name) for name in names}
        _note("load", fields=fields, environment=environment, requests=requests.__file__)
        sys.stdout.write('garbage {"request_id": "r0", "text": "from stdout"}\n \x1b[31m \x00')
        if "never-starts" in MANNERS:
            raise RuntimeError("CUDA out of memory")
        self._core = subprocess.Popen(["sleep", "300"], start_new_session=True)

    def get_tokenizer(self) -> Tokenizer:
        return Tokenizer()

    def generate(self, prompts: list, parameters: list, use_tqdm: bool) -> list:
        """As told in tokens: the control tokens around the prompt, and no more of them."""
        conversations = []
        for prompt in prompts:
            ids = prompt["prompt_token_ids"]
            assert (ids[0], ids[-1]) == (1, 2)
            assert not {1, 2} & set(ids[1:-1])
            conversations.append([{"role": "user", "content": "".join(map(chr, ids[1:-1]))}])
        return self._answer(conversations, parameters)

    def chat(self, conversations: list, parameters: list, use_tqdm: bool) -> list:
        """As told in texts, in which control tokens would be read as such."""
        assert not any(
            token in turns[0]["content"] for turns in conversations for token in Tokenizer.all_special_tokens
        )
        return self._answer(conversations, parameters)

    def _answer(self, conversations: list, parameters: list) -> list:
        prompts = [turns[0]["content"] for turns in conversations]
        if any(len(prompt) > LONGEST_PROMPT for prompt in prompts):
            refusal = ValueError if "old" in MANNERS else VLLMClientError
            raise refusal("The prompt is longer than the maximum model length of 1000")
        outputs = []
        for turns, prompt, each in zip(conversations, prompts, parameters, strict=True):
            assert len(turns) == 1
            assert turns[0]["role"] == "user"
            time.sleep(float(os.environ.get("STUB_SECONDS", "0")))
            _note("answer", prompt=prompt, sampling=each.fields)
            text, finish_reason = f"{prompt} -> {each.fields['seed']}", "stop"
            if "cut off" in prompt:
                finish_reason = "length"
            if "aborted" in prompt:
                finish_reason = "abort"
            outputs.append(SimpleNamespace(outputs=[SimpleNamespace(text=text, finish_reason=finish_reason)]))
        if "dies" in MANNERS and os.environ.get("CUDA_VISIBLE_DEVICES", "0") == "0":
            sys.stderr.write("Segmentation fault\n")
            os.kill(os.getpid(), 9)
        if "raises" in MANNERS:
            raise RuntimeError("the engine core has died")
        return outputs
