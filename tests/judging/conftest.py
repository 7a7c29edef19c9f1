"""Bundles that are made once."""

from pathlib import Path

import pytest

from tests.judging.tiny_bundles import make_bundle


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the bundles ``gemma``, ``llama`` and, with ties, ``tied``, and their checkpoints."""
    folder = tmp_path_factory.mktemp("bundles")
    make_bundle(folder, "gemma", "gemma", seed=1)
    make_bundle(folder, "llama", "llama", seed=2)
    make_bundle(folder, "tied", "llama", num_classes=3, seed=3)
    return folder
