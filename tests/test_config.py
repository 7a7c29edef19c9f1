"""Environments, the parameter tree and what it says to a user who got it wrong."""

from pathlib import Path

import pytest
import yaml
from kedro.framework.project import configure_project, settings

from wsdm_arena.config import ProjectConfig, TrainingConfig, deep_merge
from wsdm_arena.config_loader import ConfigurationError, LocalLastConfigLoader

PROJECT = Path(__file__).parents[1]


def load(env: str, conf: Path = PROJECT / "conf", **runtime_params) -> LocalLastConfigLoader:
    configure_project("wsdm_arena")
    return LocalLastConfigLoader(
        conf_source=str(conf), env=env, runtime_params=runtime_params, **settings.CONFIG_LOADER_ARGS
    )


@pytest.fixture
def conf(tmp_path):
    """A copy of conf/ that a test may change."""
    import shutil

    copy = tmp_path / "conf"
    shutil.copytree(PROJECT / "conf", copy)
    for own in (copy / "local").glob("*.y*ml"):
        own.unlink()
    return copy


def test_a100_resolves_to_the_recipe_of_the_teacher_stage(conf):
    """Every figure of the recipe's tables that concerns the teachers."""
    parameters = load("a100", conf)["parameters"]
    teacher = {judge: cell["training"] for judge, cell in parameters["resolved"]["teacher"].items()}
    assert parameters["seed"] == 3
    assert set(teacher) == {"gemma", "gemma_large", "llama"}
    for training in teacher.values():
        optimizer = training["optimizer"]
        assert optimizer["peak_learning_rate"] == 2.5e-6
        assert tuple(optimizer["betas"]) == (0.9, 0.99)
        assert optimizer["epsilon"] == 1e-6
        assert optimizer["weight_decay"] == 0.01
        assert optimizer["kahan_summation"] is True
        assert training["schedule"] == {"warmup_fraction": 0.1, "initial_factor": 0.001, "final_factor": 0.001}
        assert training["epochs"] == 1
        assert training["dtype"] == "bfloat16"
        assert training["activation_checkpointing"] is True
        assert training["max_battles"] is None
        assert training["language_modeling_weight"] == 0
    assert {judge: training["optimizer"]["name"] for judge, training in teacher.items()} == {
        "gemma": "adamw",
        "gemma_large": "adamw",
        "llama": "stable_adamw",
    }
    assert {judge: training["battles_per_update"] for judge, training in teacher.items()} == {
        "gemma": 80,
        "gemma_large": 80,
        "llama": 16,
    }
    assert {judge: training["max_tokens_per_micro_batch"] for judge, training in teacher.items()} == {
        "gemma": 16_384,
        "gemma_large": 2_048,
        "llama": 16_384,
    }
    assert {judge: training["sharding"] for judge, training in teacher.items()} == {
        "gemma": "gradients",
        "gemma_large": "full",
        "llama": "gradients",
    }
    assert {judge: training["evaluation"]["every_updates"] for judge, training in teacher.items()} == {
        "gemma": 200,
        "gemma_large": 200,
        "llama": 1000,
    }
    assert {judge: cell["truncation"] for judge, cell in parameters["resolved"]["teacher"].items()} == dict.fromkeys(
        teacher, "per_field"
    )
    truncation = parameters["truncation"]
    assert truncation["max_battle_tokens"] == 4096
    assert truncation["marker"] == "\n...\n...\n"
    assert truncation["per_field"] == {"max_prompt_tokens": 1362, "max_response_tokens": 1342}
    assert truncation["shared_budget"] == {"reserved_tokens": 13, "max_prompt_tokens": 1365}
    assert parameters["preferences"]["num_folds"] == 5
    assert parameters["preferences"]["fold_seed"] == 0
    assert parameters["preferences"]["held_out_fold"] == 0
    assert parameters["template"]["verdict_prefix"] == "verdict is: [["
    assert parameters["launcher"]["processes_per_node"] == 4
    assert parameters["launcher"]["backend"] == "nccl"
    assert {cell["attention"] for cell in parameters["resolved"]["teacher"].values()} == {"flash_attention"}
    assert {judge: cell["system_role"] for judge, cell in parameters["resolved"]["teacher"].items()} == {
        "gemma": False,
        "gemma_large": False,
        "llama": True,
    }


def test_the_classes_defaults_are_the_recipe(conf):
    base = yaml.safe_load((conf / "base" / "parameters.yml").read_text())
    stated = TrainingConfig.model_validate(base["training"])
    default = TrainingConfig()
    differing = {name for name in TrainingConfig.model_fields if getattr(stated, name) != getattr(default, name)}
    assert differing <= {"evaluation", "checkpoint"}


def test_only_sample_reduces_the_size(conf):
    """The a100 environment adds hardware to base: no other figure changes."""

    def leaves(tree, path=()):
        for key, value in tree.items():
            yield from leaves(value, (*path, key)) if isinstance(value, dict) else [(*path, key)]

    a100 = yaml.safe_load((conf / "a100" / "parameters.yml").read_text())
    hardware = {"processes_per_node", "backend", "device", "attention", "threads_per_process", "backbone", "revision"}
    assert {path[-1] for path in leaves(a100)} <= hardware
    assert sorted(p.name for p in conf.iterdir() if p.is_dir()) == ["a100", "base", "local", "sample"]


def test_local_is_merged_last_in_every_environment(conf):
    (conf / "local" / "parameters.yml").write_text("launcher: {processes_per_node: 7}\n")
    (conf / "local" / "globals.yml").write_text("data_root: elsewhere\n")
    for env in ("base", "sample", "a100"):
        loader = load(env, conf)
        assert loader["parameters"]["launcher"]["processes_per_node"] == 7
        assert loader["globals"]["data_root"] == "elsewhere"
        assert loader["catalog"]["train_table"]["filepath"] == "elsewhere/01_raw/train.parquet"


def test_command_line_wins_over_local(conf):
    (conf / "local" / "parameters.yml").write_text("seed: 7\n")
    loader = load("sample", conf, seed=8, data_root="there", raw={"train": "own.csv"})
    assert loader["parameters"]["seed"] == 8
    assert "data_root" not in loader["parameters"]
    assert loader["catalog"]["train_table"]["filepath"] == "own.csv"
    assert loader["catalog"]["test_table"]["filepath"] == "there/01_raw/test.parquet"


def test_sample_and_full_size_never_share_a_data_root(conf):
    assert load("sample", conf)["globals"]["data_root"] != load("a100", conf)["globals"]["data_root"]


@pytest.mark.parametrize(
    ("runtime_params", "place", "hint"),
    [
        ({"sead": 4}, "sead", "misspelt"),
        ({"stages": {"teacher": {"overrides": {"gema": {}}}}}, "stages.teacher.overrides.gema", "no such judge"),
        ({"judges": {"llama": {"training": {"epoch": 2}}}}, "judges.llama.training.epoch", ""),
        ({"judges": {"llama": {"training": {"optimizer": {"betas": [0.9]}}}}}, "judges.llama.training.optimizer", ""),
        ({"stages": {"teacher": {"training": {"epochs": 0}}}}, "stages.teacher.training.epochs", "greater than"),
        ({"roster": {"teachers": ["qwen"]}}, "roster.teachers", "qwen"),
        ({"preferences": {"held_out_fold": 5}}, "preferences", "held_out_fold=5"),
        ({"truncation": {"per_field": {"max_response_tokens": 4000}}}, "truncation", "max_battle_tokens"),
        ({"stages": {"teecher": {"truncation": "per_fild"}}}, "stages.teecher.truncation", "per_field"),
    ],
)
def test_a_wrong_parameter_is_named_by_its_yaml_path(conf, runtime_params, place, hint):
    with pytest.raises(ConfigurationError) as error:
        load("sample", conf, **runtime_params)["parameters"]
    assert place in error.value.message
    assert hint in error.value.message


def test_deep_merge_replaces_leaves_only():
    assert deep_merge({"a": {"b": 1, "c": 2}, "d": [1]}, {"a": {"b": 3}, "d": [2]}) == {"a": {"b": 3, "c": 2}, "d": [2]}


def test_an_override_of_one_judge_leaves_the_others(conf):
    override = {"gemma": {"sliding_window": False, "training": {"battles_per_update": 400}}}
    resolved = load("a100", conf, stages={"teacher": {"overrides": override}})["parameters"]["resolved"]["teacher"]
    assert resolved["gemma"]["training"]["battles_per_update"] == 400
    assert resolved["gemma"]["sliding_window"] is False
    assert resolved["gemma_large"]["training"]["battles_per_update"] == 80
    assert resolved["llama"]["sliding_window"] is True


def test_every_key_of_the_tree_is_documented():
    def undocumented(model, path):
        for name, field in model.model_fields.items():
            if hasattr(field.annotation, "model_fields"):
                yield from undocumented(field.annotation, f"{path}{name}.")
        if not model.__doc__:
            yield path

    assert list(undocumented(ProjectConfig, "")) == []


@pytest.mark.parametrize(
    ("runtime_params", "place"),
    [({"raw": {"tran": "own.csv"}}, "raw.tran"), ({"raw": "own.csv"}, "raw"), ({"data_root": 3}, "data_root")],
)
def test_a_wrong_place_of_data_is_named(conf, runtime_params, place):
    with pytest.raises(ConfigurationError, match=place):
        load("sample", conf, **runtime_params)


def test_a_global_in_the_wrong_file_is_refused(conf):
    (conf / "local" / "parameters.yml").write_text("data_root: /elsewhere\n")
    with pytest.raises(ConfigurationError, match="data_root"):
        load("sample", conf)["parameters"]


def test_one_data_home_keeps_the_environments_apart(conf):
    (conf / "local" / "globals.yml").write_text("data_home: /big\n")
    roots = {env: load(env, conf)["globals"]["data_root"] for env in ("sample", "a100")}
    assert roots == {"sample": "/big/data/sample", "a100": "/big/data"}


def test_raw_files_may_lie_in_the_users_folder(conf):
    files = load("sample", conf, raw={"train": "~/a.csv;b.csv"})["globals"]["raw"]["train"]
    assert files == f"{Path.home()}/a.csv;b.csv"


def test_relative_backbones_start_from_the_project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    resolved = load("sample")["parameters"]["resolved"]["teacher"]["llama"]
    assert Path(resolved["backbone"]) == PROJECT / "src/wsdm_arena/simulation/backbones/llama"
