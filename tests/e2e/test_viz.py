"""``kedro viz`` shows the project: stages and judges as namespaces, data in layers."""

import contextlib
import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import pytest

PROJECT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow


def free_port() -> int:
    """A free port below 49152; Kedro-Viz refuses the ones that the system hands out."""
    for port in range(41_410, 49_000):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port
    raise AssertionError("no port is free")


def fetch(url: str, server: subprocess.Popen, log: Path, seconds: float) -> dict:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert server.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return json.load(answer)
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.5)
    raise AssertionError(f"no answer from {url}: {log.read_text()}")


def test_kedro_viz_serves_the_graph_of_every_judge(finished, tmp_path):
    port = free_port()
    server = subprocess.Popen(
        [sys.executable, "-m", "kedro", "viz", "run", "--no-browser", "--host", "127.0.0.1", "--port", str(port)],
        cwd=PROJECT,
        env=finished.env,
        stdout=(tmp_path / "log").open("w"),
        stderr=subprocess.STDOUT,
    )
    try:
        graph = fetch(f"http://127.0.0.1:{port}/api/main", server, tmp_path / "log", seconds=90)
    finally:
        family = psutil.Process(server.pid).children(recursive=True)  # the server is a child of the command
        server.terminate()
        server.wait(20)
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.terminate()
    names = {node["name"] for node in graph["nodes"]}
    assert {"battles", "scoreboard", "train_table"} <= names
    judges = {node["id"] for node in graph["nodes"] if node["type"] == "modularPipeline"}
    assert {"teacher", "teacher.gemma", "teacher.gemma_large", "teacher.llama"} <= judges
    assert {"student.llama", "pretraining.gemma", "final.llama", "final_held_out.gemma", "submission.final"} <= judges
    layers = {layer: number for number, layer in enumerate(graph["layers"])}
    path = ["raw", "primary", "teacher", "collected_labels", "student", "generated_labels", "pretraining", "final"]
    path += ["export", "submission", "reporting"]
    assert sorted(path, key=layers.__getitem__) == path
    assert layers["primary"] < layers["generated_pairs"] < layers["generated_labels"]
