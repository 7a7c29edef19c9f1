"""Stable names of pairs, prompts and votes: the same text has the same id on every machine and in every run."""

import hashlib

_DIGEST_BYTES = 16


def pair_id(prompt: str | None, response_a: str | None, response_b: str | None) -> str:
    """Name a pair by its three texts; A and B exchanged is another pair.

    The winner is no part of it: two votes on the same pair share the ``pair_id``.

    Returns:
        32 hex digits. A null text and an empty one differ.
    """
    return _digest("pair", prompt, response_a, response_b)


def prompt_group(prompt: str | None) -> str:
    """Name the fold key of a prompt: battles that share it must share their fold.

    Returns:
        32 hex digits.
    """
    return _digest("prompt", prompt)


def battle_id(pair: str, *, row_id: str | None, winner: str, model_a: str | None, model_b: str | None) -> str:
    """Name one vote on a pair.

    Args:
        pair: The pair's :func:`pair_id`.
        row_id: The ``id`` of the raw table; None where it has none.
        winner: The label as :func:`wsdm_arena.preferences.labels.parse_winner` spells it.
        model_a: Who wrote response A, where known.
        model_b: Who wrote response B, where known.

    Returns:
        32 hex digits; equal exactly where a raw row is a repetition of another.
    """
    return _digest("battle", pair, row_id, winner, model_a, model_b)


def _digest(kind: str, *fields: str | None) -> str:
    """Hash fields with their lengths in front, so that no two sequences of fields run together."""
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES, person=kind.encode())
    for field in fields:
        if field is None:
            digest.update(b"null;")
            continue
        content = field.encode("utf-8", errors="surrogatepass")  # half a surrogate pair is no valid UTF-8
        digest.update(b"%d:" % len(content))
        digest.update(content)
    return digest.hexdigest()
