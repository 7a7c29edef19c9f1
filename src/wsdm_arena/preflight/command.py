"""The command that repeats a run."""

import shlex
from collections.abc import Mapping
from typing import Any

from wsdm_arena.runs.excerpts import leaves

_LIST_OPTIONS = {
    "pipeline_names": "--pipelines",
    "namespaces": "--namespaces",
    "tags": "--tags",
    "node_names": "--nodes",
    "from_nodes": "--from-nodes",
    "to_nodes": "--to-nodes",
    "from_inputs": "--from-inputs",
    "to_outputs": "--to-outputs",
}


def describe_run_context(run_params: Mapping[str, Any], env: str) -> dict[str, str]:
    """What the scoreboard says of where a row comes from: ``run_id``, ``env`` and the ``command`` that repeats it."""
    command = ["kedro", "run"]
    if run_params.get("env"):
        command += ["--env", run_params["env"]]
    for option, flag in _LIST_OPTIONS.items():
        if values := run_params.get(option):
            command += [flag, ",".join(values)]
    if versions := run_params.get("load_versions"):
        command += ["--load-versions", ",".join(f"{name}:{version}" for name, version in versions.items())]
    if values := run_params.get("runtime_params"):
        shown = ((key, "null" if value is None else value) for key, value in leaves(values).items())
        command += ["--params", ",".join(f"{key}={value}" for key, value in shown)]
    return {"run_id": run_params["run_id"], "env": env, "command": shlex.join(command)}


def shared_options(run_params: Mapping[str, Any]) -> str:
    """``--env`` and ``--params`` of a command, as another command needs them to work on the same data."""
    shared = {"run_id": "", **{key: run_params.get(key) for key in ("env", "runtime_params")}}
    return describe_run_context(shared, env="")["command"].removeprefix("kedro run").strip()
