"""From answers to pairs: two models' answers to the same prompt, and a report of what was dropped."""

import logging
from collections import Counter
from typing import Any, NamedTuple

import pandas as pd

from wsdm_arena.errors import UserError
from wsdm_arena.generation.reasoning import strip_reasoning
from wsdm_arena.preferences.languages import normalize_language
from wsdm_arena.preferences.pair_ids import pair_id
from wsdm_arena.preferences.row_report import RowReport
from wsdm_arena.preferences.texts import clean_texts
from wsdm_arena.runs.formats import GENERATED_PAIRS_FORMAT, result_format

logger = logging.getLogger(__name__)

SOURCE = "generated"

_PAIR_COLUMNS = (
    "pair_id",
    "id",
    "source",
    "prompt",
    "response_a",
    "response_b",
    "num_turns",
    "language",
    "prompt_group",
    "model_a",
    "model_b",
    "round",
)
_REQUEST_COLUMNS = ("request_id", "round", "prompt_group", "prompt", "language", "slot", "answer_model")
_ANSWER_COLUMNS = ("request_id", "text", "finish_reason")
_KEYS = ["round", "prompt_group"]

GOOD, FAILED, CUT_OFF, EMPTY, IDENTICAL = "good", "failed", "cut off", "empty", "identical to the other"


class GeneratedPairsError(UserError, ValueError):
    """Requests and answers that do not go together."""


class GeneratedPairTables(NamedTuple):
    """Pairs of generated answers, and what became of the answers that are in none."""

    generated_pairs: pd.DataFrame
    report: dict[str, Any]


@result_format(GENERATED_PAIRS_FORMAT)
def build_generated_pairs(requests: pd.DataFrame, answers: pd.DataFrame) -> GeneratedPairTables:
    """Join the two answers to each prompt of each round.

    Reasoning (see :func:`~wsdm_arena.generation.reasoning.strip_reasoning`) and white space at their ends are removed
    from answers. Dropped, and counted by answer model, are answers that failed, were cut off (within their reasoning,
    too), are empty, or are the same as the other one to the prompt; a pair that lacks one is dropped, and so is one
    that repeats another of the same three texts.

    Args:
        requests: ``request_id`` (unique), ``round``, ``prompt_group``, ``prompt``, ``language``, ``slot`` (answer A has
            the lower one), ``answer_model``; two rows a round and prompt.
        answers: ``request_id`` (unique), ``text``, ``finish_reason``; of a request without a row nothing is known, and
            it counts as failed.

    Returns:
        Pairs with the columns of :class:`wsdm_arena.schemas.UnlabelledPairs` and ``round``, sorted by ``pair_id``, and
        a report that JSON can hold.

    Raises:
        GeneratedPairsError: A column is missing, an id stands there twice, a prompt of a round has not two requests,
            or not one prompt has two good answers.
    """
    _check(requests, answers)
    joined = requests.merge(answers[list(_ANSWER_COLUMNS)], on="request_id", how="left", validate="one_to_one")
    texts = RowReport(joined)
    joined["prompt"] = clean_texts(joined["prompt"], texts)
    _judge_answers(joined, texts)
    sides = joined.sort_values([*_KEYS, "slot"], kind="stable")
    first, second = sides.iloc[0::2].reset_index(drop=True), sides.iloc[1::2].reset_index(drop=True)
    are_good = (first["fate"] == GOOD) & (second["fate"] == GOOD)
    are_identical = are_good & (first["answer"] == second["answer"])
    kept = are_good & ~are_identical
    pairs = _to_pairs(first[kept], second[kept])
    repeated = pairs["pair_id"].duplicated()
    dropped_pairs = {
        "an answer is missing": int((~are_good).sum()),
        "the answers are identical": int(are_identical.sum()),
        "the pair repeats another": int(repeated.sum()),
    }
    for side in (first, second):
        side.loc[are_identical, "fate"] = IDENTICAL
    generated_pairs = pairs[~repeated].reset_index(drop=True)
    report = {
        "num_requests": len(requests),
        "num_prompts": len(first),
        "num_pairs": len(generated_pairs),
        "dropped_answers": _count_fates(pd.concat([first, second])),
        "dropped_pairs": {reason: count for reason, count in dropped_pairs.items() if count},
        "repaired": texts.to_dict()["repaired"],
        "rounds": _counts(generated_pairs["round"]),
        "languages": _counts(generated_pairs["language"]),
        "answer_models": _counts(pd.concat([generated_pairs["model_a"], generated_pairs["model_b"]])),
    }
    _log(report)
    if report["num_prompts"] and not report["num_pairs"]:  # training on nothing would hide that generation failed
        raise GeneratedPairsError(_describe_no_pairs(report))
    return GeneratedPairTables(generated_pairs, report)


def _check(requests: pd.DataFrame, answers: pd.DataFrame) -> None:
    for name, table, columns in (("requests", requests, _REQUEST_COLUMNS), ("answers", answers, _ANSWER_COLUMNS)):
        if missing := sorted(set(columns) - set(table.columns)):
            raise GeneratedPairsError(f"{name} lack the columns {missing}; found: {list(table.columns)}")
        repeated = table.loc[table["request_id"].duplicated(), "request_id"]
        if not repeated.empty:
            raise GeneratedPairsError(f"{name}: request_id {repeated.iloc[0]!r} stands there more than once")
    sizes = requests.groupby(_KEYS)["slot"].agg(["size", "nunique"])
    odd = sizes[(sizes["size"] != 2) | (sizes["nunique"] != 2)]
    if not odd.empty:
        raise GeneratedPairsError(
            f"{len(odd)} prompts have not two requests of different slots, such as {odd.index[0]} with "
            f"{odd['size'].iloc[0]}; draw the requests again"
        )


def _judge_answers(joined: pd.DataFrame, texts: RowReport) -> None:
    """Add ``answer`` without reasoning and white space around it, and ``fate``: what becomes of it.

    White space around an answer comes of the chat template (" Paris" after "Assistant:"): it would tell a judge which
    model wrote the answer, and says nothing of how good it is.
    """
    answers, fates = [], []
    for text, finish_reason in zip(clean_texts(joined["text"], texts), joined["finish_reason"], strict=True):
        answer = strip_reasoning(text) if text is not None else None
        answer = answer.strip() if answer is not None else None
        answers.append(answer)
        fates.append(_fate(text, finish_reason, answer))
    joined["answer"] = pd.Series(answers, index=joined.index, dtype="str")
    joined["fate"] = pd.Series(fates, index=joined.index, dtype="str")


def _fate(text: str | None, finish_reason: Any, answer: str | None) -> str:
    if text is None or finish_reason not in ("stop", "length"):
        return FAILED
    if finish_reason == "length" or answer is None:
        return CUT_OFF
    return GOOD if answer else EMPTY


def _to_pairs(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    pairs = pd.DataFrame(
        {
            "id": [f"{round_}:{group}" for round_, group in zip(first["round"], first["prompt_group"], strict=True)],
            "prompt": first["prompt"],
            "response_a": first["answer"],
            "response_b": second["answer"],
            "language": [normalize_language(language) for language in first["language"]],
            "prompt_group": first["prompt_group"],
            "model_a": first["answer_model"],
            "model_b": second["answer_model"],
            "round": first["round"],
        }
    )
    prompts = [
        None if missing else prompt for prompt, missing in zip(pairs["prompt"], pairs["prompt"].isna(), strict=True)
    ]
    texts = zip(prompts, pairs["response_a"], pairs["response_b"], strict=True)
    pairs["pair_id"] = [pair_id(*row) for row in texts]
    pairs["source"] = SOURCE
    strings = dict.fromkeys((name for name in _PAIR_COLUMNS if name != "num_turns"), "str")
    pairs = pairs.assign(num_turns=1)[list(_PAIR_COLUMNS)].astype({**strings, "num_turns": "int64"})
    return pairs.sort_values(["pair_id", "id"]).reset_index(drop=True)


def _count_fates(sides: pd.DataFrame) -> dict[str, dict[str, int]]:
    """Dropped answers by model, then by what was wrong with them."""
    dropped = sides[sides["fate"] != GOOD]
    counted: dict[str, dict[str, int]] = {}
    for (model, fate), count in sorted(Counter(zip(dropped["answer_model"], dropped["fate"], strict=True)).items()):
        counted.setdefault(str(model), {})[str(fate)] = count
    return counted


def _counts(column: pd.Series) -> dict[str, int]:
    return {str(value): int(count) for value, count in column.value_counts().items()}


def _describe_no_pairs(report: dict[str, Any]) -> str:
    fates = report["dropped_answers"]
    found = "; ".join(f"{model}: " + ", ".join(f"{n} {fate}" for fate, n in fates[model].items()) for model in fates)
    advice = []
    for model, of_model in fates.items():
        most = max(of_model, key=lambda fate: of_model[fate])
        if most == FAILED:
            advice.append(f"see the error of {model} above (the log of its engine has all of it)")
        elif most == CUT_OFF:
            advice.append(f"raise generation.sampling.max_new_tokens, or give {model} `stop` texts")
        else:  # they count as answered, so nothing would be asked again
            advice.append(f"look at the `stop` texts and chat template of {model}, or name another model")
    cures = f": {', and '.join(advice)}; then run again" if advice else ""
    return f"not one of {report['num_prompts']} prompts has two good, different answers ({found}){cures}"


def _log(report: dict[str, Any]) -> None:
    logger.info("Generated pairs: %d of %d prompts", report["num_pairs"], report["num_prompts"])
    for model, fates in report["dropped_answers"].items():
        logger.info("  %s: %s", model, ", ".join(f"{count} {fate}" for fate, count in fates.items()))
