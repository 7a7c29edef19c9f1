"""The same tiny table, tokens and backbones as the tests of training have."""

import pytest
import torch

from tests.training.tiny_runs import TinyRuns


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_runs(tmp_path_factory: pytest.TempPathFactory) -> TinyRuns:
    return TinyRuns(tmp_path_factory.mktemp("tiny"))
