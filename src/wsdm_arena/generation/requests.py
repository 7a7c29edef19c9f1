"""Who answers which prompt: the rounds' slices of mined prompts, and two answer models for each prompt.

Every draw depends on nothing but the seed, the round, the prompt and the round's roster: prompts that come or go
change no other prompt's models, and a model that joins a roster changes only draws that it wins.
"""

import hashlib
import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from wsdm_arena.config import GenerationConfig, RoundConfig
from wsdm_arena.errors import UserError

logger = logging.getLogger(__name__)

SLOTS = ("a", "b")
PROMPT_COLUMNS = ("prompt_group", "prompt", "language", "is_first_language", "position")
REQUEST_COLUMNS = ("request_id", "round", "prompt_group", "prompt", "language", "slot", "answer_model")

_KINDS = {"first_language": True, "others": False}


class RequestsError(UserError, ValueError):
    """The table of prompts is not one that was mined."""


class RequestTables(NamedTuple):
    """Requests, and how they came about."""

    requests: pd.DataFrame
    report: dict[str, Any]


def needed_prompts(generation: GenerationConfig) -> tuple[int | None, int | None]:
    """Count the prompts that the rounds ask for.

    Returns:
        The highest end of a slice of the first language and of all others; None: to the last prompt.
    """
    first_language = [round_.first_language[1] for round_ in generation.rounds.values()]
    others = [round_.others[1] for round_ in generation.rounds.values()]
    return _highest(first_language), _highest(others)


def draw_requests(prompts: pd.DataFrame, generation: GenerationConfig) -> RequestTables:
    """Draw two distinct answer models for each prompt of each round.

    A round takes its slices of the prompts in the first language and of all others, by ``position``, and with
    ``repeat_others_of`` the other-language prompts of that earlier round once more. A prompt stands once in a round.
    One that is repeated is answered by models that have not answered it in any earlier round where the roster has at
    least two such, else by any two. A slice that reaches beyond the last prompt is shortened, with a warning.

    Args:
        prompts: As :func:`wsdm_arena.generation.mining.mine_prompts` writes them.
        generation: Seed and rounds.

    Returns:
        Requests, two a prompt, in the order of rounds, slices and positions: ``request_id`` (32 hex digits, of round,
        prompt and model), ``round``, ``prompt_group``, ``prompt``, ``language``, ``slot`` ("a" or "b") and
        ``answer_model``; and a report that JSON can hold.

    Raises:
        RequestsError: A column is missing, or positions do not count from 0 without a gap.
    """
    _check_prompts(prompts)
    answered: defaultdict[str, set[str]] = defaultdict(set)
    others_of: dict[str, pd.DataFrame] = {}
    tables, report = [], {}
    for name, round_ in generation.rounds.items():
        slices, report[name] = _take_slices(prompts, name, round_)
        repeats = others_of[round_.repeat_others_of] if round_.repeat_others_of else prompts.iloc[:0]
        chosen = pd.concat([slices["first_language"], slices["others"], repeats]).drop_duplicates("prompt_group")
        others_of[name] = chosen[~chosen["is_first_language"]]
        is_repeat = chosen["prompt_group"].isin(repeats["prompt_group"])
        rosters = _rosters(chosen["prompt_group"], is_repeat, round_.answer_models, answered)
        draws = [
            _draw(generation.seed, name, group, roster)
            for group, roster in zip(chosen["prompt_group"], rosters, strict=True)
        ]
        for group, models in zip(chosen["prompt_group"], draws, strict=True):
            answered[group] |= set(models)
        tables.append(_as_requests(name, chosen, draws))
        report[name] |= _summarize(tables[-1], is_repeat)
        report[name]["repeats_without_two_new_models"] = sum(roster is round_.answer_models for roster in rosters)
    requests = pd.concat(tables, ignore_index=True) if tables else _as_requests("", prompts.iloc[:0], [])
    return RequestTables(requests, {"num_requests": len(requests), "rounds": report})


def request_id(round_name: str, prompt_group: str, answer_model: str) -> str:
    """Name a request; 32 hex digits, with lengths in front of the parts, so that no two requests run together."""
    return _digest("request", round_name, prompt_group, answer_model).hex()


def _highest(ends: Sequence[int | None]) -> int | None:
    return None if None in ends else max((end for end in ends if end is not None), default=0)


def _check_prompts(prompts: pd.DataFrame) -> None:
    cure = "Mine the prompts again."
    if missing := [column for column in PROMPT_COLUMNS if column not in prompts]:
        raise RequestsError(f"mined prompts: no column {missing}; there are {list(prompts)}. {cure}")
    for is_first, rows in prompts.groupby("is_first_language"):
        if not np.array_equal(np.sort(rows["position"]), np.arange(len(rows))):
            raise RequestsError(
                f"mined prompts: positions where is_first_language is {is_first} do not run from 0 to "
                f"{len(rows) - 1}. {cure}"
            )


def _take_slices(
    prompts: pd.DataFrame, name: str, round_: RoundConfig
) -> tuple[dict[str, pd.DataFrame], dict[str, Any]]:
    """Take the round's slices, by position, and report how many prompts were asked for and found."""
    slices, report = {}, {}
    for kind, is_first in _KINDS.items():
        start, end = getattr(round_, kind)
        of_kind = prompts[prompts["is_first_language"] == is_first]
        inside = (of_kind["position"] >= start) & (of_kind["position"] < (np.inf if end is None else end))
        slices[kind] = of_kind[inside].sort_values("position")
        asked, found = None if end is None else end - start, len(slices[kind])
        report[kind] = {"slice": [start, end], "asked": asked, "found": found}
        if found < (1 if asked is None else asked):
            logger.warning(
                "generation.rounds.%s.%s: [%d, %s] asks for %s prompts, %d found: there are %d prompts of this kind",
                *(name, kind, start, "null" if end is None else end),
                *("all further" if asked is None else asked, found, len(of_kind)),
            )
    return slices, report


def _rosters(
    groups: pd.Series, is_repeat: pd.Series, answer_models: Sequence[str], answered: Mapping[str, set[str]]
) -> list[Sequence[str]]:
    """Models that each prompt may be answered by: for repeats, those that have not yet, where two are left.

    A repeat without two such models gets the very object ``answer_models``.
    """
    rosters: list[Sequence[str]] = []
    for group, repeat in zip(groups, is_repeat, strict=True):
        fresh = [model for model in answer_models if not (repeat and model in answered[group])]
        rosters.append(fresh if len(fresh) >= len(SLOTS) else answer_models)
    return rosters


def _draw(seed: int, round_name: str, prompt_group: str, roster: Sequence[str]) -> tuple[str, str]:
    """Draw two models and their slots: those whose hash with seed, round and prompt is lowest, the lowest as "a"."""
    first, second, *_ = sorted(roster, key=lambda model: _digest("draw", str(seed), round_name, prompt_group, model))
    return first, second


def _digest(kind: str, *parts: str) -> bytes:
    content = b"".join([b"%d:%b" % (len(part), part) for part in map(str.encode, parts)])
    return hashlib.blake2b(content, digest_size=16, person=kind.encode()).digest()


def _as_requests(name: str, chosen: pd.DataFrame, draws: Sequence[tuple[str, str]]) -> pd.DataFrame:
    """Two rows for each prompt, one a slot."""
    columns = ["prompt_group", "prompt", "language"]
    rows = chosen[columns].iloc[np.repeat(np.arange(len(chosen)), len(SLOTS))].reset_index(drop=True)
    models = [model for draw in draws for model in draw]
    rows["round"] = name
    rows["slot"] = list(SLOTS) * len(chosen)
    rows["answer_model"] = models
    rows["request_id"] = [
        request_id(name, group, model) for group, model in zip(rows["prompt_group"], models, strict=True)
    ]
    return rows[list(REQUEST_COLUMNS)].astype("str")


def _summarize(requests: pd.DataFrame, is_repeat: pd.Series) -> dict[str, Any]:
    return {
        "repeated_from_earlier_round": int(is_repeat.sum()),
        "prompts": len(is_repeat),
        "requests": len(requests),
        "requests_by_answer_model": {
            str(model): int(count) for model, count in requests["answer_model"].value_counts().sort_index().items()
        },
    }
