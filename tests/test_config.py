"""Environments, the parameter tree and what it says to a user who got it wrong."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from kedro.framework.project import configure_project, settings
from pydantic import BaseModel

from wsdm_arena.config import (
    GenerationConfig,
    PlanningConfig,
    ProjectConfig,
    TrainingConfig,
    deep_merge,
    package_of,
)
from wsdm_arena.config_loader import COMPUTED, ConfigurationError, LocalLastConfigLoader

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


COMMON = {  # what every training of the recipe has in common
    "optimizer.peak_learning_rate": 2.5e-6,
    "optimizer.betas": [0.9, 0.99],
    "optimizer.epsilon": 1e-6,
    "optimizer.weight_decay": 0.01,
    "optimizer.kahan_summation": True,
    "schedule.warmup_fraction": 0.1,
    "schedule.initial_factor": 0.001,
    "schedule.final_factor": 0.001,
    "epochs": 1,
    "dtype": "bfloat16",
    "activation_checkpointing": True,
    "max_battles": None,
    "language_modeling_weight": 0,
}
STAGE_TABLE = [  # stage, judge, optimizer, battles per update, truncation, sliding window, tokens, sharding
    ("teacher", "gemma", "adamw", 80, "per_field", True, 16_384, "gradients"),
    ("teacher", "gemma_large", "adamw", 80, "per_field", True, 2_048, "full"),
    ("teacher", "llama", "stable_adamw", 16, "per_field", True, 16_384, "gradients"),
    ("student", "gemma", "adamw", 400, "per_field", False, 16_384, "gradients"),
    ("student", "llama", "stable_adamw", 16, "per_field", True, 16_384, "gradients"),
    ("pretraining", "gemma", "adamw", 80, "shared_budget", False, 16_384, "gradients"),
    ("pretraining", "llama", "stable_adamw", 16, "shared_budget", True, 16_384, "gradients"),
    ("final", "gemma", "adamw", 80, "shared_budget", False, 16_384, "gradients"),
    ("final", "llama", "stable_adamw", 16, "shared_budget", True, 16_384, "gradients"),
    ("final_held_out", "gemma", "adamw", 80, "shared_budget", False, 16_384, "gradients"),
]


def test_a100_resolves_to_the_recipes_table_of_stages(conf):
    resolved = load("a100", conf)["parameters"]["resolved"]
    assert [(stage, judge) for stage, judges in resolved.items() for judge in judges] == [
        (stage, judge) for stage, judge, *_ in STAGE_TABLE
    ]
    for stage, judge, optimizer, battles_per_update, truncation, sliding_window, max_tokens, sharding in STAGE_TABLE:
        cell = resolved[stage][judge]
        training = leaves(cell["training"])
        expected = COMMON | {
            "optimizer.name": optimizer,
            "battles_per_update": battles_per_update,
            "max_tokens_per_micro_batch": max_tokens,
            "sharding": sharding,
            "evaluation.every_updates": None,
            "evaluation.keep_checkpoints": False,
        }
        if stage == "teacher":
            expected |= {"evaluation.every_updates": 1000 if judge == "llama" else 200}
            expected |= {"evaluation.keep_checkpoints": True}
        assert {key: training[key] for key in expected} == expected, (stage, judge)
        assert cell["truncation"] == truncation, (stage, judge)
        assert cell["sliding_window"] is sliding_window, (stage, judge)
        assert cell["attention"] == "flash_attention"
        assert cell["head"] == {"kind": "mlp", "dropout": 0.1}


def test_a100_starts_where_the_recipe_does(conf):
    judges = load("a100", conf)["parameters"]["judges"]
    assert {name: (judge["backbone"]["source"], judge["backbone"]["layout"]) for name, judge in judges.items()} == {
        "gemma": (None, "fused"),
        "gemma_large": ("google/gemma-2-27b-it", "plain"),
        "llama": (None, "fused"),
    }
    parameters = load("a100", conf)["parameters"]
    assert parameters["preferences"]["first_phase_language"] == "en"
    assert parameters["preferences"]["hold_back_every"] == 10


def test_a100_labels_as_the_recipe_does(conf):
    parameters = load("a100", conf)["parameters"]
    assert parameters["roster"] == {
        "teachers": ["gemma", "gemma_large", "llama"],
        "students": ["gemma", "llama"],
        "final_held_out": ["gemma"],
    }
    assert parameters["pseudo_labels"] == {
        "collected_pairs": {
            "truncation": "shared_budget",
            "min_margin": 0.02,
            "judges": {name: {"weight": 1.0, "orders": ["ab"]} for name in ("gemma", "gemma_large", "llama")},
        },
        "generated_pairs": {
            "truncation": "per_field",
            "min_margin": 0.03,
            "judges": {"gemma": {"weight": 3.2, "orders": ["ab"]}, "llama": {"weight": 1.0, "orders": ["ba"]}},
        },
    }


LATER_MODELS = {
    "Qwen/Qwen2.5-72B-Instruct",
    "meta-llama/Llama-3.3-70B-Instruct",
    "google/gemma-2-27b-it",
    "microsoft/phi-4",
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-32B",
    "mistralai/Mistral-7B-Instruct-v0.3",
    "internlm/internlm2_5-20b-chat",
    "meta-llama/Llama-3.2-3B-Instruct",
    "NousResearch/Hermes-3-Llama-3.1-8B",
    "internlm/internlm3-8b-instruct",
    "google/gemma-2-9b-it",
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-14B",
    "meta-llama/Llama-3.2-1B-Instruct",
}
FIRST_MODELS = {
    "Qwen/Qwen2.5-72B-Instruct",
    "meta-llama/Llama-3.3-70B-Instruct",
    "google/gemma-2-27b-it",
    "microsoft/phi-4",
    "Qwen/QwQ-32B-Preview",
    "internlm/internlm2_5-20b-chat",
    "meta-llama/Llama-3.2-3B-Instruct",
    "internlm/internlm3-8b-instruct",
    "google/gemma-2-9b-it",
    "Qwen/Qwen2.5-7B-Instruct",
    "deepseek-chat",
    "MiniMax-Text-01",
}


def test_a100_generates_as_the_recipe_does(conf):
    generation = load("a100", conf)["parameters"]["generation"]
    models, rounds = generation["answer_models"], generation["rounds"]
    assert generation["mining"] == {
        "first_language": "English",
        "min_words": 19,
        "min_characters": 45,
        "max_characters": None,
    }
    assert generation["sampling"] == {"temperature": 0.7, "top_p": 0.9, "max_new_tokens": 4096}
    assert {name: (r["first_language"], r["others"], r["repeat_others_of"]) for name, r in rounds.items()} == {
        "v1": ([0, 3_000], [0, 7_000], None),
        "v2": ([3_000, 9_000], [7_000, 28_000], None),
        "v3": ([9_000, 11_000], [28_000, None], "v1"),
    }
    assert list(rounds) == ["v1", "v2", "v3"]
    asked = {name: {models[model]["model"] for model in r["answer_models"]} for name, r in rounds.items()}
    assert asked == {"v1": FIRST_MODELS, "v2": LATER_MODELS, "v3": LATER_MODELS}
    assert generation["vllm"]["gpu_memory_fraction"] == 0.8
    assert generation["vllm"]["enforce_eager"] is True
    hosted = {model["model"] for model in models.values() if model["engine"] == "openai"}
    assert hosted == {"deepseek-chat", "MiniMax-Text-01"}
    for name, model in models.items():
        assert model["tensor_parallel_size"] * model["data_parallel_size"] in (
            {1} if name in ("deepseek_v3", "minimax_01") else {4}
        )


def test_a100_submits_as_the_recipe_does(conf):
    parameters = load("a100", conf)["parameters"]
    submission = parameters["submission"]
    assert submission["student"]["weights"] == {"gemma": 3.2, "llama": 1.0}
    assert submission["final"]["weights"] == {"gemma": 2.5, "llama": 1.0}
    assert submission["student"]["max_prompt_characters"] == 6_000
    assert submission["final"]["max_prompt_characters"] is None
    assert submission["compare_with_threshold"] == 0.8
    assert submission["max_tokens_per_batch"] == 8_192
    assert parameters["export"]["layouts"] == ["plain", "fused"]


def test_the_classes_defaults_are_the_recipe(conf):
    base = yaml.safe_load((conf / "base" / "parameters.yml").read_text())
    stated = TrainingConfig.model_validate(base["training"])
    default = TrainingConfig()
    differing = {name for name in TrainingConfig.model_fields if getattr(stated, name) != getattr(default, name)}
    assert differing <= {"evaluation", "checkpoint"}


def test_only_sample_reduces_the_size(conf):
    """The a100 environment adds hardware to base: no other figure changes."""
    a100 = yaml.safe_load((conf / "a100" / "parameters.yml").read_text())
    hardware = {"processes_per_node", "backend", "device", "devices", "attention", "threads_per_process"}
    hardware |= {"tensor_parallel_size", "data_parallel_size"}
    assert {path.rpartition(".")[2] for path in leaves(a100)} <= hardware
    assert sorted(p.name for p in conf.iterdir() if p.is_dir()) == ["a100", "base", "local", "sample", "small_llm"]


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
    "stages.teacher.training.evaluation.every_updates",
    "stages.teacher.overrides.llama.training.evaluation.every_updates",
    "submission.devices",
    "training.log_every_updates",
    "launcher.threads_per_process",
    "launcher.device",
    "launcher.scoring_processes",
    "submission.max_tokens_per_batch",
    "stages.student.overrides.gemma.training.battles_per_update",
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
            sizes = (f"training.{name}" for name in SAMPLE_TRAINING_SIZES)
            assert key in {"backbone.source", "backbone.revision", *sizes}, place
        elif place.startswith("generation."):
            assert place.split(".")[1] in {"mining", "rounds", "answer_models"}, place
        else:
            assert place in SAMPLE_SIZES | {f"training.{name}" for name in SAMPLE_TRAINING_SIZES} | SAMPLE_OTHERS
    small, full = (load(env, conf)["parameters"] for env in ("sample", "a100"))
    for place in SAMPLE_SIZES:
        assert leaves(small)[place] < leaves(full)[place], place
    assert {stage: list(judges) for stage, judges in small["resolved"].items()} == {
        stage: list(judges) for stage, judges in full["resolved"].items()
    }
    for stage, judges in small["resolved"].items():
        for judge, cell in judges.items():
            recipe = full["resolved"][stage][judge]["training"]
            assert cell["training"]["battles_per_update"] <= recipe["battles_per_update"]
            assert cell["training"]["max_battles"] < 5_000
            assert recipe["max_battles"] is None
    assert list(small["generation"]["rounds"]) == list(full["generation"]["rounds"])
    for name, round_ in small["generation"]["rounds"].items():
        assert round_["repeat_others_of"] == full["generation"]["rounds"][name]["repeat_others_of"]


def test_plans_of_the_sample_assume_smaller_numbers(conf):
    sample = yaml.safe_load((conf / "sample" / "parameters_planning.yml").read_text())
    assert set(sample) == {"planning"}
    full = leaves(PlanningConfig.model_validate(load("a100", conf)["parameters"]["planning"]).model_dump())
    for place, value in leaves(sample["planning"]).items():
        assert place.startswith(("sizes.", "lengths.", "backbones.", "throughput.mean_answer_tokens.")), place
        assert place.endswith(".source") or value < full[place], place


def test_sample_downloads_no_backbone(conf):
    judges = load("sample", conf)["parameters"]["judges"]
    assert set(judges) == {"gemma", "gemma_large", "llama"}
    assert {name: judge["backbone"]["layout"] for name, judge in judges.items() if not judge["backbone"]["source"]} == {
        "gemma": "fused",
        "llama": "fused",
    }
    backbone = Path(judges["gemma_large"]["backbone"]["source"]).resolve()
    assert backbone.is_relative_to(PROJECT / "src")
    assert {"config.json", "model.safetensors"} <= {file.name for file in backbone.iterdir()}


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
        ({"roster": {"students": ["gemma", "gemma"]}}, "roster.students", "more than once"),
        ({"submission": {"final": {"fit_share": 0.3}}}, "submission.final.fit_share", "roster.final_held_out"),
        ({"submission": {"devices": []}}, "submission.devices", "at least 1"),
        (
            {"stages": {"final": {"overrides": {"gemma": {"sliding_window": True}}}}},
            "stages.final.overrides.gemma.sliding_window",
            "set both alike",
        ),
        ({"pseudo_labels": {"collected_pairs": {"judges": {"gema": {}}}}}, "pseudo_labels.collected_pairs", "gema"),
        ({"pseudo_labels": {"generated_pairs": {"min_margin": 1.5}}}, "generated_pairs.min_margin", "less than 1"),
        ({"submission": {"final": {"weights": {"gema": 1}}}}, "submission.final.weights", "gema"),
        ({"submission": {"student": {"fit_share": 0}}}, "submission.student.fit_share", "greater than 0"),
        ({"submission": {"student": {"weights": {"gemma": -1}}}}, "submission.student.weights.gemma", "greater than 0"),
        ({"submission": {"final": {"weights": {"llama": 0}}}}, "submission.final.weights.llama", "greater than 0"),
        (
            {"submission": {"student": {"fit_share": 0.3, "threshold": 0.5}}},
            "submission.student",
            "fit_share=0.3 fits the threshold, but threshold=0.5 is set; remove one of them",
        ),
        ({"generation": {"rounds": {"v1": {"others": [9, 3]}}}}, "generation.rounds.v1", "start <= end"),
        ({"generation": {"rounds": {"v3": {"repeat_others_of": "v9"}}}}, "generation", "v9"),
        ({"generation": {"rounds": {"v1": {"answer_models": ["a", "b"]}}}}, "rounds.v1.answer_models", "['a', 'b']"),
        ({"generation": {"answer_models": {"phi4": {"engine": "vlm"}}}}, "answer_models.phi4.engine", "vllm"),
        ({"generation": {"answer_models": {"phi4": {"base_url": "http://x"}}}}, "answer_models.phi4", "openai"),
        ({"judges": {"gemma": {"backbone": {"layout": "fussed"}}}}, "judges.gemma.backbone.layout", "fused"),
        ({"export": {"layouts": []}}, "export.layouts", "at least 1"),
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


def test_a_share_is_fitted_without_editing_the_weights_of_the_files(conf):
    student = load("sample", conf, submission={"student": {"fit_share": 0.3}})["parameters"]["submission"]["student"]
    assert student["weights"] == {"gemma": 3.2, "llama": 1}
    assert (student["threshold"], student["fit_share"]) == (None, 0.3)


@pytest.mark.parametrize("name", ["gemma.large", "Gemma", "2b", "gemma-large", "gemma large", "_gemma", "gemma\n", ""])
def test_a_name_that_no_namespace_can_have_is_refused(conf, name):
    parameters = load("sample", conf)["parameters"]
    judges = parameters["judges"] | {name: parameters["judges"]["gemma"]}
    sound = {key: value for key, value in parameters.items() if key not in COMPUTED}
    ProjectConfig.model_validate(sound)
    with pytest.raises(ValueError, match=r"a judge's name is a lower-case letter, then .* got ") as error:
        ProjectConfig.model_validate(sound | {"judges": judges})
    assert repr(name) in str(error.value)


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
    judge = load("sample")["parameters"]["judges"]["gemma_large"]
    assert Path(judge["backbone"]["source"]) == PROJECT / "src/wsdm_arena/simulation/tiny_backbones/gemma"


def test_directories_of_models_are_spelt_out(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine").mkdir()
    backbone = "src/wsdm_arena/simulation/tiny_backbones/gemma"
    models = {
        "vllm": ("~/mine", str(tmp_path / "mine")),
        "transformers": (backbone, str(PROJECT / backbone)),
        "openai": (backbone, backbone),
    }
    answers = {
        engine: {"engine": engine, "model": model} | ({"base_url": "https://host/v1"} if engine == "openai" else {})
        for engine, (model, _) in models.items()
    }
    answers["hub"] = {"engine": "vllm", "model": "someone/else"}
    runtime_params = {
        "generation": {"answer_models": answers},
        "judges": {"gemma_large": {"backbone": {"source": "~/mine"}}},
    }
    parameters = load("sample", **runtime_params)["parameters"]
    found = {
        name: model["model"] for name, model in parameters["generation"]["answer_models"].items() if name in answers
    }
    assert found == {engine: expected for engine, (_, expected) in models.items()} | {"hub": "someone/else"}
    assert parameters["judges"]["gemma_large"]["backbone"]["source"] == str(tmp_path / "mine")


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


@pytest.mark.parametrize("name", ["battles", "both", "config"])
def test_a_name_that_means_something_else_is_refused(conf, name):
    judge = {"system_role": True}
    with pytest.raises(ConfigurationError, match=f"judges.{name}: the name means something else"):
        load("sample", conf, judges={name: judge})["parameters"]


def test_one_student_less_is_one_line(conf):
    resolved = load("sample", conf, roster={"students": ["llama"]})["parameters"]["resolved"]
    assert {stage: list(judges) for stage, judges in resolved.items() if stage != "teacher"} == {
        "student": ["llama"],
        "pretraining": ["llama"],
        "final": ["llama"],
    }


def test_cards_are_told_of_no_source_that_something_else_stands_in_for(conf):
    of_contest = load("a100", conf)["parameters"]["sources"]
    assert {"train", "collected_pairs", "conversations"} <= set(of_contest["inputs"])
    own = load("a100", conf, raw={"train": "battles.csv"})["parameters"]["sources"]
    assert set(of_contest["inputs"]) - set(own["inputs"]) == {"train"}
    simulated = load("sample", conf)["parameters"]["sources"]
    assert (simulated["simulated"], simulated["inputs"]) == (True, {})
    on_tiny_backbones = load("sample", conf, raw={"train": "battles.csv"})["parameters"]["sources"]
    assert (on_tiny_backbones["simulated"], on_tiny_backbones["inputs"]) == (False, {})


def test_small_llm_is_the_recipe_with_packaged_models(conf):
    """What differs from the recipe: models, sizes, the wording for small models, and the heads' start."""
    parameters = load("small_llm", conf)["parameters"]
    packages = set(parameters["packaged_models"])
    for name in parameters["roster"]["teachers"]:
        judge = parameters["judges"][name]
        assert package_of(judge["backbone"]["source"]) in packages
        assert judge["head"]["kind"] == "verbalizer"
    asked = {name for round_ in parameters["generation"]["rounds"].values() for name in round_["answer_models"]}
    for name in asked:
        assert parameters["generation"]["answer_models"][name]["engine"] == "vllm"
        assert package_of(parameters["generation"]["answer_models"][name]["model"]) in packages
    full = load("a100", conf)["parameters"]
    for stage in ("teacher", "student", "pretraining", "final"):
        assert parameters["stages"][stage]["truncation"] == full["stages"][stage]["truncation"]
    assert list(parameters["generation"]["rounds"]) == list(full["generation"]["rounds"])


def test_a_packaged_model_that_is_not_described_is_named(conf):
    with pytest.raises(ConfigurationError, match=r"judges.llama.backbone.source: package:smolm is not described"):
        load("small_llm", conf, judges={"llama": {"backbone": {"source": "package:smolm"}}})["parameters"]
    with pytest.raises(ConfigurationError, match=r"files: '../model.gguf' must be a path below"):
        load("small_llm", conf, packaged_models={"smollm2_135m": {"files": ["../model.gguf"]}})["parameters"]


def test_a_verbalizer_needs_an_answer_for_each_class(conf):
    with pytest.raises(ConfigurationError, match=r"template.answers: \['A', 'B'\] are 2, .* tells 3 classes apart"):
        load("small_llm", conf, preferences={"tie_policy": "class"})["parameters"]
    template = {"answers": ["A", "B", "C"]}
    assert load("small_llm", conf, preferences={"tie_policy": "class"}, template=template)["parameters"]


def test_answer_models_get_the_directories_of_packages(conf):
    generation = GenerationConfig.model_validate(load("small_llm", conf)["parameters"]["generation"])
    models = generation.with_packages({"smollm2_135m": "there"}).answer_models
    assert models["smollm2_135m"].model == "there"
    assert models["gemma3_270m"].model == "package:gemma3_270m"
    assert models["smollm2_135m"].engine == "vllm"
