"""Environments, the parameter tree and what it says to a user who got it wrong."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from kedro.framework.project import configure_project, settings
from pydantic import BaseModel

from wsdm_arena.config import ProjectConfig, TrainingConfig, deep_merge
from wsdm_arena.config_loader import ConfigurationError, LocalLastConfigLoader

PROJECT = Path(__file__).parents[1]


def load(env: str, conf: Path = PROJECT / "conf", **runtime_params) -> LocalLastConfigLoader:
    configure_project("wsdm_arena")
    return LocalLastConfigLoader(
        conf_source=str(conf), env=env, runtime_params=runtime_params, **settings.CONFIG_LOADER_ARGS
    )


def leaves(tree: dict[str, Any], path: str = "") -> dict[str, Any]:
    """Values by YAML path."""
    found = {}
    for key, value in tree.items():
        found |= leaves(value, f"{path}{key}.") if isinstance(value, dict) else {f"{path}{key}": value}
    return found


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
        assert training["evaluation"]["from_fraction"] == pytest.approx(2 / 3, abs=1e-3)
        assert training["evaluation"]["keep_checkpoints"] is True
    for cell in parameters["resolved"]["teacher"].values():
        assert cell["head"] == {"kind": "mlp", "dropout": 0.1}
        assert cell["sliding_window"] is True
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
    assert parameters["launcher"]["device"] == "cuda"
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
    a100 = yaml.safe_load((conf / "a100" / "parameters.yml").read_text())
    hardware = {"processes_per_node", "backend", "device", "attention", "threads_per_process", "backbone", "revision"}
    assert {path.rpartition(".")[2] for path in leaves(a100)} <= hardware
    assert sorted(p.name for p in conf.iterdir() if p.is_dir()) == ["a100", "base", "local", "sample"]


SAMPLE_SIZES = {
    "truncation.max_battle_tokens",
    "truncation.per_field.max_prompt_tokens",
    "truncation.per_field.max_response_tokens",
    "truncation.shared_budget.max_prompt_tokens",
    "launcher.processes_per_node",
}
SAMPLE_TRAINING_SIZES = {"battles_per_update", "max_battles"}
SAMPLE_OTHERS = {
    "training.optimizer.peak_learning_rate",  # tiny weights need larger steps
    "training.dtype",
    "training.activation_checkpointing",
    "training.checkpoint.every_minutes",
    "training.evaluation.every_updates",
    "training.log_every_updates",
    "launcher.threads_per_process",
    "launcher.device",
}


def test_sample_is_the_recipe_with_smaller_numbers(conf):
    """Short texts, few battles and tiny backbones: nothing else may be a reason for a key in sample."""
    sample = yaml.safe_load((conf / "sample" / "parameters.yml").read_text())
    base = leaves(yaml.safe_load((conf / "base" / "parameters.yml").read_text()))
    for place in leaves(sample):
        if place.startswith("template."):
            assert len(leaves(sample)[place]) < len(base[place]), place
        elif place.startswith("judges."):
            key = place.split(".", 2)[2]
            assert key in {"backbone", *(f"training.{name}" for name in SAMPLE_TRAINING_SIZES)}, place
        else:
            assert place in SAMPLE_SIZES | {f"training.{name}" for name in SAMPLE_TRAINING_SIZES} | SAMPLE_OTHERS
    small, full = (load(env, conf)["parameters"] for env in ("sample", "a100"))
    for place in SAMPLE_SIZES:
        assert leaves(small)[place] < leaves(full)[place], place
    for judge, cell in small["resolved"]["teacher"].items():
        recipe = full["resolved"]["teacher"][judge]["training"]
        assert cell["training"]["battles_per_update"] <= recipe["battles_per_update"]
        assert cell["training"]["max_battles"] < 5_000
        assert recipe["max_battles"] is None


def test_sample_downloads_no_backbone(conf):
    judges = load("sample", conf)["parameters"]["judges"]
    assert set(judges) == {"gemma", "gemma_large", "llama"}
    for name, judge in judges.items():
        backbone = (PROJECT / judge["backbone"]).resolve()
        assert backbone.is_relative_to(PROJECT / "src"), name
        assert {"config.json", "model.safetensors"} <= {file.name for file in backbone.iterdir()}, name


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
        ({"stages": {"teacher": {"truncation": "per_fild"}}}, "stages.teacher.truncation", "per_field"),
        ({"stages": {"teecher": {"truncation": "per_field"}}}, "stages.teecher", "['teacher', 'student', "),
        ({"launcher": {"nodes": 2}}, "launcher.nodes=2", "launcher.rendezvous_endpoint"),
    ],
)
def test_a_wrong_parameter_is_named_by_its_yaml_path(conf, runtime_params, place, hint):
    with pytest.raises(ConfigurationError) as error:
        load("sample", conf, **runtime_params)["parameters"]
    assert place in error.value.message
    assert hint in error.value.message


@pytest.mark.parametrize("name", ["gemma.large", "Gemma", "2b", "gemma-large", "gemma large", "_gemma", "gemma\n", ""])
def test_a_name_that_no_namespace_can_have_is_refused(conf, name):
    parameters = load("sample", conf)["parameters"]
    judges = parameters["judges"] | {name: parameters["judges"]["gemma"]}
    sound = {key: value for key, value in parameters.items() if key != "resolved"}
    ProjectConfig.model_validate(sound)
    with pytest.raises(ValueError, match=r"a judge's name is a lower-case letter, then .* got ") as error:
        ProjectConfig.model_validate(sound | {"judges": judges})
    assert repr(name) in str(error.value)


def test_every_stage_of_the_recipe_is_known_and_no_other(conf):
    for stage in ("student", "pretraining", "final"):
        assert stage in load("a100", conf, stages={stage: {"truncation": "shared_budget"}})["parameters"]["resolved"]


def test_deep_merge_replaces_leaves_only():
    assert deep_merge({"a": {"b": 1, "c": 2}, "d": [1]}, {"a": {"b": 3}, "d": [2]}) == {"a": {"b": 3, "c": 2}, "d": [2]}


def test_an_override_of_one_judge_leaves_the_others(conf):
    override = {"gemma": {"sliding_window": False, "training": {"battles_per_update": 400}}}
    resolved = load("a100", conf, stages={"teacher": {"overrides": override}})["parameters"]["resolved"]["teacher"]
    assert resolved["gemma"]["training"]["battles_per_update"] == 400
    assert resolved["gemma"]["sliding_window"] is False
    assert resolved["gemma_large"]["training"]["battles_per_update"] == 80
    assert resolved["llama"]["sliding_window"] is True


def sections_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """Sections that an annotation speaks of, in dicts, tuples and unions too."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from sections_in(argument)


def descriptions(section: type[BaseModel], path: str = "") -> dict[str, str | None]:
    """What is said of each key below a section."""
    found = {}
    for name, field in section.model_fields.items():
        found[f"{path}{name}"] = field.description
        for nested in sections_in(field.annotation):
            found |= descriptions(nested, f"{path}{name}.")
    return found


def test_every_key_of_the_tree_is_documented():
    said = descriptions(ProjectConfig) | descriptions(TrainingConfig, "training.")
    assert {"seed", "judges.head.dropout", "stages.overrides.sliding_window", "training.optimizer.betas"} <= set(said)
    assert [key for key, description in said.items() if not (description or "").strip()] == []


def test_a_key_without_a_word_is_found_wherever_it_is():
    class Leaf(BaseModel):
        bare: int

    class Root(BaseModel):
        leaf: Leaf
        by_name: dict[str, Leaf]
        several: tuple[Leaf, ...] | None

    assert {"leaf.bare", "by_name.bare", "several.bare"} <= {
        key for key, description in descriptions(Root).items() if description is None
    }


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
    assert Path(resolved["backbone"]) == PROJECT / "src/wsdm_arena/simulation/tiny_backbones/llama"


@pytest.mark.parametrize(
    "runtime_params",
    [
        {"seed": -1},
        {"simulation": {"seed": -1}},
        {"preferences": {"fold_seed": -1}},
        {"training": {"optimizer": {"peak_learning_rate": float("inf")}}},
    ],
)
def test_numbers_that_no_generator_or_optimizer_takes_are_refused(conf, runtime_params):
    with pytest.raises(ConfigurationError, match=r"seed|peak_learning_rate"):
        load("sample", conf, **runtime_params)["parameters"]


def test_an_environment_that_does_not_exist_is_named_with_those_that_do(conf):
    with pytest.raises(ConfigurationError, match=r"no environment 'a200'.*a100"):
        load("a200", conf)
