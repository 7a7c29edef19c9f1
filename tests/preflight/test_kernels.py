import importlib.util
from pathlib import Path
from types import SimpleNamespace

import pytest

from wsdm_arena.preflight import kernels
from wsdm_arena.preflight.kernels import check_kernels

ON_GPU = {"device": "cuda", "processes_per_node": 1}
HALF = {"dtype": "bfloat16"}


@pytest.fixture
def installed(monkeypatch, tmp_path):
    """Pretend that these packages are installed, and no other that kernels need."""
    (tmp_path / "flash_attn_interface.py").touch()

    def pretend(*names: str, place: Path = tmp_path) -> None:
        spec = SimpleNamespace(submodule_search_locations=[str(place)])
        find = importlib.util.find_spec
        specs = {name: spec if name in names else None for name in ("flash_attn", "triton")}
        monkeypatch.setattr(
            kernels.importlib.util, "find_spec", lambda name: specs[name] if name in specs else find(name)
        )

    return pretend


def attention(name: str) -> dict[str, dict]:
    return {"gemma": {"attention": name}}


def test_a_missing_package_is_named_with_what_installs_it(plan, gpus, installed):
    gpus(80)
    installed()
    nodes = ["teacher.gemma.train", "student.gemma.train", "collected_labels.gemma.score"]
    (problem,) = check_kernels(plan(nodes, judges=attention("flash_attention"), launcher=ON_GPU, training=HALF))
    assert problem == (
        "judges.gemma.attention=flash_attention: it needs the package flash-attn: "
        "`make flash-attn` builds it for the installed torch; or set judges.gemma.attention to auto"
    )
    installed("flash_attn")
    assert check_kernels(plan(nodes, judges=attention("flash_attention"), launcher=ON_GPU, training=HALF)) == []


def test_another_version_of_the_package_is_not_the_one(plan, gpus, installed, tmp_path):
    gpus(80)
    installed("flash_attn", place=tmp_path / "version 4")
    (problem,) = check_kernels(
        plan(["teacher.gemma.train"], judges=attention("flash_attention"), launcher=ON_GPU, training=HALF)
    )
    assert "it needs the package flash-attn" in problem


def test_only_judges_that_run_need_theirs(plan, gpus, installed):
    gpus(80)
    installed()
    params = {"judges": attention("flash_attention"), "launcher": ON_GPU, "training": HALF}
    assert check_kernels(plan(["teacher.llama.train", "teacher.gemma.select"], **params)) == []


@pytest.mark.parametrize("name", ["flash_attention", "varlen", "flex"])
def test_a_judge_on_a_cpu_cannot_have_them(plan, gpus, installed, name):
    gpus(80)
    installed("flash_attn", "triton")
    (problem,) = check_kernels(plan(["teacher.gemma.train"], judges=attention(name), launcher={"device": "cpu"}))
    assert f"judges.gemma.attention={name}: it needs a CUDA device, and launcher.device leaves" in problem
    gpus()
    (problem,) = check_kernels(plan(["teacher.gemma.train"], judges=attention(name), launcher={"device": "auto"}))
    assert "it needs a CUDA device" in problem


@pytest.mark.parametrize("name", ["auto", "segments"])
def test_some_run_everywhere(plan, gpus, installed, name):
    gpus()
    installed()
    assert check_kernels(plan(["teacher.gemma.train"], judges=attention(name))) == []


def test_types_and_backbones_that_a_kernel_cannot_compute_are_refused(plan, gpus, installed, tmp_path):
    gpus(80)
    installed("flash_attn")

    def problem_of(name: str, dtype: str = "bfloat16") -> str:
        params = {"judges": attention(name), "launcher": ON_GPU, "training": {"dtype": dtype}}
        return " ".join(check_kernels(plan(["teacher.gemma.train"], **params)))

    assert "it needs float16 or bfloat16, not float32" in problem_of("varlen", "float32")
    assert "it needs the package triton" in problem_of("flex")
    assert problem_of("varlen") == ""
    backbone = tmp_path / "01_raw" / "checkpoints" / "gemma"
    backbone.mkdir(parents=True)
    (backbone / "config.json").write_text('{"attn_logit_softcapping": 50.0, "head_dim": 256}')
    assert "it has no soft-capping" in problem_of("varlen")
    assert problem_of("flash_attention") == ""
    (backbone / "config.json").write_text('{"hidden_size": 4096, "num_attention_heads": 8}')
    assert "at most 256 dimensions, these have 512" in problem_of("flash_attention")
    (backbone / "config.json").write_text("[")
    assert problem_of("flash_attention") == ""


def test_the_submission_names_a_kernel_of_its_own(plan, gpus, installed):
    gpus(80)
    installed()
    params = {"submission": {"attention": "flash_attention", "devices": ["cuda:0"]}}
    (problem,) = check_kernels(plan(["submission.final.judge"], **params))
    assert problem.endswith("; or set submission.attention to auto")
    assert check_kernels(plan(["submission.final.plan"], **params)) == []
    installed("flash_attn")
    assert check_kernels(plan(["submission.final.judge"], **params)) == []
    params["submission"]["devices"] = ["cpu"]
    (problem,) = check_kernels(plan(["submission.final.judge"], **params))
    assert "it needs a CUDA device, and submission.devices leaves" in problem
