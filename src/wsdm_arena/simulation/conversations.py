"""Conversations of users with one model each, in the format of lmsys-chat-1m: where prompts are mined from."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from wsdm_arena.config import SimulationConfig
from wsdm_arena.simulation.answers import write_answer
from wsdm_arena.simulation.chats import Chat, draw_chat, spoil_chat
from wsdm_arena.simulation.collected_pairs import draw_collected_pairs
from wsdm_arena.simulation.draws import open_stream, pick
from wsdm_arena.simulation.known_prompts import KnownPrompt, clean_prompts, first_voted_prompts, tabulate_prompts
from wsdm_arena.simulation.models import SimulatedModel, draw_models

COLUMNS = ("conversation_id", "model", "conversation", "turn", "language", "openai_moderation", "redacted")
NUM_SHARDS = 6

_NUM_KNOWN_ROWS = 30
"""How many rows of each table conversations take prompts from; others coincide by chance."""
_REDACTED = "NAME_1: "
"""What lmsys-chat-1m puts in place of a person's name."""


@dataclass(frozen=True)
class SimulatedConversations:
    """What one simulation of conversations yields; every frame has a fresh integer index."""

    shards: tuple[pd.DataFrame, ...]
    """Six tables of ``conversation_id, model, conversation, turn, language, openai_moderation, redacted``.

    A conversation is a list of ``{"content", "role"}``, by turns ``user`` and ``assistant``; ``turn`` counts the
    user's; ``openai_moderation`` has one entry a message, with two of the original's categories."""
    prompts: pd.DataFrame
    """``prompt, task, parameters, language``: what each first turn asks for, spoilt and very short ones left out.

    ``language`` is the phrasebook's, also where the conversation's own is ``unknown``."""


def simulate_conversations(config: SimulationConfig) -> SimulatedConversations:
    """Simulate conversations; the same configuration gives the same bytes.

    About half are in English. Some repeat what another user said, as a whole or in the first turn only; some ask what
    battles, test pairs or collected pairs ask; some only greet. A share ``config.ugly_row_rate`` has empty or spoilt
    texts.
    """
    rng, ugly_rng = (open_stream("runs", config.seed, stream) for stream in ("conversations", "ugly_conversations"))
    models = draw_models("runs", config.seed)
    known = _draw_known(config)
    chats: list[Chat] = []
    rows = []
    for _ in range(config.num_conversations):
        chat = draw_chat(rng, chats, known)
        if ugly_rng.random() < config.ugly_row_rate:
            chat = spoil_chat(ugly_rng, chat)
        chats.append(chat)
        rows.append(_converse(rng, chat, pick(rng, models)))
    parts = np.array_split(np.arange(len(rows)), NUM_SHARDS)
    shards = tuple(pd.DataFrame([rows[index] for index in part], columns=list(COLUMNS)) for part in parts)
    return SimulatedConversations(shards, tabulate_prompts(chat.turns[0] for chat in chats if chat.first_is_whole))


def _draw_known(config: SimulationConfig) -> list[KnownPrompt]:
    clean = config.model_copy(update={"ugly_row_rate": 0.0})
    collected = draw_collected_pairs(clean, min(_NUM_KNOWN_ROWS, config.num_collected_pairs))
    return [*first_voted_prompts("runs", config, _NUM_KNOWN_ROWS), *clean_prompts(collected)]


def _converse(rng: np.random.Generator, chat: Chat, model: SimulatedModel) -> dict[str, Any]:
    """Let a model answer every turn, and write the conversation down as lmsys-chat-1m does."""
    messages = []
    for position, turn in enumerate(chat.turns):
        is_redacted = chat.redacted and position == len(chat.turns) - 1
        answer = write_answer(rng, turn.task, turn.book, model.draw_flaw(rng, turn.task))
        if position == 0 and chat.odd_reason == "empty_response":
            answer = ""
        messages.append({"content": _REDACTED + turn.text if is_redacted else turn.text, "role": "user"})
        messages.append({"content": answer, "role": "assistant"})
    return {
        "conversation_id": rng.bytes(16).hex(),
        "model": model.name,
        "conversation": messages,
        "turn": len(chat.turns),
        "language": chat.language,
        "openai_moderation": [
            _moderate(turn.task.kind == "harmful" and is_user) for turn in chat.turns for is_user in (True, False)
        ],
        "redacted": chat.redacted,
    }


def _moderate(is_flagged: bool) -> dict[str, Any]:
    return {
        "categories": {"harassment": False, "violence": is_flagged},
        "category_scores": {"harassment": 1e-4, "violence": 0.9 if is_flagged else 1e-4},
        "flagged": is_flagged,
    }
