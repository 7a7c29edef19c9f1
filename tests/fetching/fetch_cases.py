"""Inputs, their contents, and fetching them: within the test, or in a process whose clients know the local server."""

import dataclasses
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.fetching.hub_server import Hub
from wsdm_arena.config.fetching import FilePin, LicenceConfig
from wsdm_arena.fetching import Input, Outcome, fetch_inputs, plan_fetch

LICENCE = LicenceConfig(name="terms", url="https://example.org/terms")
TO_ACCEPT = LicenceConfig(name="terms", url="https://example.org/terms", accept=True)
KAGGLE_VARIABLES = ("KAGGLE_API_TOKEN", "KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_KERNEL_RUN_TYPE")


def noise(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


def parquet(size: int, seed: int = 0) -> bytes:
    """What looks like a parquet file from both ends."""
    return b"PAR1" + noise(size - 8, seed) + b"PAR1"


def make_input(data_root: Path, name: str, **changes: Any) -> Input:
    values: dict[str, Any] = {
        "name": name,
        "what": "something",
        "hub": "huggingface_dataset",
        "handle": "org/chats",
        "how": "",
        "revision": None,
        "files": {},
        "patterns": (),
        "folder": data_root / "01_raw" / name,
        "bytes": None,
        "licence": LICENCE,
    }
    return Input(**values | changes)


def fetch_here(data_root: Path, *inputs: Input) -> list[Outcome]:
    return fetch_inputs(plan_fetch(inputs), data_root)


def use_kaggle(monkeypatch: pytest.MonkeyPatch, hub: Hub, home: Path, token: str | None = "token") -> None:
    """Point Kaggle's client at the local server: its endpoints are a table of fixed addresses."""
    from kagglehub import config
    from kagglesdk import kaggle_env

    for variable in KAGGLE_VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(home / ".kaggle"))
    monkeypatch.setenv("KAGGLE_API_ENVIRONMENT", "LOCALHOST")
    monkeypatch.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.LOCAL, hub.url)
    monkeypatch.setattr(config, "_kaggle_credentials", None)
    monkeypatch.setattr("wsdm_arena.fetching.kaggle.PAUSE_S", 0)
    if token is not None:
        monkeypatch.setenv("KAGGLE_API_TOKEN", token)


def use_hugging_face(monkeypatch: pytest.MonkeyPatch, hub: Hub, home: Path, token: str | None = None) -> None:
    """Point Hugging Face's client at the local server, as ``HF_ENDPOINT`` and ``HF_HOME`` do before it is imported."""
    from huggingface_hub import constants

    for variable in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_OIDC_RESOURCE"):
        monkeypatch.delenv(variable, raising=False)
    if token is not None:
        monkeypatch.setenv("HF_TOKEN", token)
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + template[template.index("/{repo_id}") :])
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
    monkeypatch.setattr(constants, "HF_STORED_TOKENS_PATH", str(home / "stored_tokens"))


def hugging_face_environment(hub: Hub, home: Path, token: str | None = None) -> dict[str, str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    environment |= {"HF_ENDPOINT": hub.url, "HF_HOME": str(home), "HF_HUB_DISABLE_TELEMETRY": "1", "NO_PROXY": "*"}
    return environment | ({"HF_TOKEN": token} if token else {})


def start_fetch(data_root: Path, environment: dict[str, str], *inputs: Input) -> subprocess.Popen[str]:
    """Fetch in a process of its own: Hugging Face's client reads its endpoint when it is imported."""
    told = json.dumps([_as_json(item) for item in inputs])
    command = [sys.executable, "-m", "tests.fetching.fetch_cases", str(data_root), told]
    root = Path(__file__).parents[2]
    return subprocess.Popen(
        command, cwd=root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def fetch_there(data_root: Path, environment: dict[str, str], *inputs: Input) -> list[dict[str, Any]]:
    """Outcomes of :func:`start_fetch`."""
    process = start_fetch(data_root, environment, *inputs)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    outcomes: list[dict[str, Any]] = json.loads(output.splitlines()[-1])
    return outcomes


def _as_json(item: Input) -> dict[str, Any]:
    files = {name: pin.model_dump() for name, pin in item.files.items()}
    return dataclasses.asdict(dataclasses.replace(item, files={}, licence=None)) | {  # type: ignore[arg-type]
        "files": files,
        "folder": str(item.folder),
        "licence": item.licence.model_dump(),
    }


def _from_json(values: dict[str, Any]) -> Input:
    return Input(
        **values
        | {
            "files": {name: FilePin(**pin) for name, pin in values["files"].items()},
            "patterns": tuple(values["patterns"]),
            "folder": Path(values["folder"]),
            "licence": LicenceConfig(**values["licence"]),
        }
    )


if __name__ == "__main__":
    done = fetch_here(Path(sys.argv[1]), *(_from_json(values) for values in json.loads(sys.argv[2])))
    sys.stdout.write(json.dumps([dataclasses.asdict(outcome) for outcome in done]))
