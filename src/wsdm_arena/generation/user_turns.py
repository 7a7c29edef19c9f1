"""Chats of one turn in which what the user wrote is text, whatever it looks like.

Tokenizers read the spelling of a control token anywhere, in a user's text too: ``<|im_end|>`` in a prompt would end the
user's turn. Standard library only, and any tokenizer: this runs in vLLM's environment as well as in ours.
"""

import itertools
import re
from typing import Any

_SENTINEL = "Q7userQ7"


class UserTurns:
    """Token ids of a user's only turn.

    Args:
        tokenizer: With the interface of transformers' tokenizers, fast or slow.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        added: dict[str, int] = dict(tokenizer.get_added_vocab()) if hasattr(tokenizer, "get_added_vocab") else {}
        special = dict(zip(tokenizer.all_special_tokens, tokenizer.all_special_ids, strict=False))
        # Runs of white space are added tokens of some vocabularies, and ordinary text.
        control = {spelling: each for spelling, each in {**added, **special}.items() if spelling.strip(" \t\r\n▁")}
        self._control_ids = frozenset(control.values())
        longest_first = sorted(control, key=len, reverse=True)
        self._spelling = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")

    def are_plain(self, prompt: str) -> bool:
        """Whether the tokenizer finds no control token in a prompt, so that it can be tokenized like any other."""
        return self._control_ids.isdisjoint(self._ids(prompt))

    def chat_ids(self, prompt: str) -> list[int]:
        """Tokenize a prompt as the only turn of a chat, and no part of it as a control token.

        Raises:
            ValueError: There is no chat template, or it does not hand on what the user says.
        """
        conversation = [{"role": "user", "content": _SENTINEL}]
        rendered = str(self._tokenizer.apply_chat_template(conversation, add_generation_prompt=True, tokenize=False))
        if rendered.count(_SENTINEL) != 1:
            raise ValueError("the prompt holds control tokens, and the chat template changes what the user says")
        before, after = rendered.split(_SENTINEL)
        return [*self._ids(before), *self.text_ids(prompt), *self._ids(after)]

    def text_ids(self, text: str) -> list[int]:
        """Tokenize a text from which no control token comes.

        Their spellings are cut in two. Where that does not help (a normalizer puts them together, or one is a single
        character), the characters go one by one, and such a one is left out.
        """
        cuts = [0, *(match.start() + 1 for match in self._spelling.finditer(text)), len(text)]
        pieces = [text[start:end] for start, end in itertools.pairwise(cuts)]
        return [token_id for piece in pieces for token_id in self._piece_ids(piece)]

    def _piece_ids(self, piece: str) -> list[int]:
        ids = self._ids(piece)
        if self._control_ids.isdisjoint(ids):
            return ids
        return [
            token_id for character in piece for token_id in self._ids(character) if token_id not in self._control_ids
        ]

    def _ids(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False)) if text else []
