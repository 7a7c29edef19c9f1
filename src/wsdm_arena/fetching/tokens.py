"""Which token is missing. Tokens come from the environment or the clients' own files, never from configuration."""

import contextlib
import sys

from wsdm_arena.fetching.inputs import Input

KAGGLE_CURE = (
    "create a token at https://www.kaggle.com/settings/api and set KAGGLE_API_TOKEN, or KAGGLE_USERNAME and "
    "KAGGLE_KEY, or save it as ~/.kaggle/access_token (one of the older kind as ~/.kaggle/kaggle.json)"
)
HUGGING_FACE_CURE = (
    "create a token at https://huggingface.co/settings/tokens and set HF_TOKEN, or log in with `hf auth login`"
)


def describe_missing_token(item: Input) -> str:
    """Say which token an input needs that no client can find, and how to get it; empty if nothing is missing.

    What needs none is asked for without one: public datasets and models.
    """
    if item.own_files is not None or item.handle is None:
        return ""
    if item.at_kaggle:
        return "" if not item.licence.accept else describe_missing_kaggle_token()
    return "" if not item.licence.accept or has_hugging_face_token() else f"no Hugging Face token: {HUGGING_FACE_CURE}"


def describe_missing_kaggle_token() -> str:
    """What is wrong with Kaggle's token, as its client looks for it; empty if there is one."""
    with contextlib.redirect_stdout(sys.stderr):  # its logger writes to what is standard output on import
        from kagglehub.config import get_kaggle_credentials

        try:
            found = get_kaggle_credentials()
        except ValueError as error:  # a kaggle.json that is none
            return f"{error}: {KAGGLE_CURE}"
    return "" if found else f"no Kaggle token: {KAGGLE_CURE}"


def has_hugging_face_token() -> bool:
    """Whether Hugging Face's client finds a token."""
    from huggingface_hub import get_token

    return get_token() is not None
