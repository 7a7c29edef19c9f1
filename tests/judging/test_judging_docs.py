"""The examples of docs/judging.md run as they stand."""

import re
import shlex
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner

from tests.judging.tiny_bundles import plain_pairs
from wsdm_arena.cli.judge import judge

PAGE = (Path(__file__).parents[2] / "docs" / "judging.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture
def workplace(bundles, tmp_path, monkeypatch) -> Path:
    """A folder with what the page speaks of."""
    (tmp_path / "bundles").symlink_to(bundles)
    (tmp_path / "more").mkdir()
    plain_pairs(12).to_parquet(tmp_path / "battles.parquet")
    plain_pairs(5).to_csv(tmp_path / "more" / "some.csv", index=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_python_blocks_run(workplace, capsys):
    assert len(blocks("python")) >= 5
    namespace: dict[str, Any] = {}
    for block in blocks("python"):
        exec(compile(block, "docs/judging.md", "exec"), namespace)
    printed = capsys.readouterr().out
    assert "model_" in printed
    assert len(namespace["verdicts"]) == 12
    assert set(namespace["table"]["decided_by"]) <= {"both", "gemma"}


def test_the_commands_run(workplace):
    commands = [line for block in blocks("sh") for line in block.splitlines() if line]
    assert len(commands) >= 4
    for command in commands:
        words = shlex.split(command)
        assert words[:4] == ["python", "-m", "wsdm_arena", "judge"]
        ended = CliRunner().invoke(judge, words[4:])
        assert ended.exit_code == 0, ended.output
    assert len(pd.read_json(workplace / "verdicts.jsonl", lines=True)) == 12
