"""A judge trained on a file of votes, without a project: what it leaves, what is reused, what is refused."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from wsdm_arena.config import HeadConfig, SimulationConfig, TemplateConfig, TruncationConfig
from wsdm_arena.config.own_training import DEFAULTS, OwnTrainingConfig, OwnTrainingError, resolve_own_training
from wsdm_arena.judging.bundle import Bundle
from wsdm_arena.modeling.attention import UnsupportedJudgeError
from wsdm_arena.modeling.backbone_source import BackboneError
from wsdm_arena.modeling.judge import build_judge
from wsdm_arena.modeling.weight_files import WeightFileError
from wsdm_arena.own_training.results import TrainedJudge
from wsdm_arena.own_training.train import train_judge
from wsdm_arena.preferences.folds import BattlesError
from wsdm_arena.prompts.store import TokenStore
from wsdm_arena.prompts.tokenizers import PromptError
from wsdm_arena.scoring.predictor import TokenizedPairs, score_pairs
from wsdm_arena.simulation import simulate_arena
from wsdm_arena.simulation.backbones import BACKBONES

PROJECT = Path(__file__).parents[2]
NUM_SOUND = 60


def configure(**sections) -> OwnTrainingConfig:
    """Small enough for a CPU: the sample environment's prompt, four updates."""
    sample = yaml.safe_load((PROJECT / "conf/sample/parameters.yml").read_text())
    small = {
        "template": sample["template"],
        "truncation": {"max_battle_tokens": 192},
        "training": {"battles_per_update": 12, "dtype": "float32", "activation_checkpointing": False},
        "judge": {"backbone": {"source": str(BACKBONES / "gemma")}},
        "launcher": {"device": "cpu", "threads_per_process": 1},
        "reporting": {"bootstrap_samples": 100},
    }
    return resolve_own_training({"test": small, "case": sections})


@pytest.fixture(scope="module")
def votes(tmp_path_factory) -> Path:
    """Sound battles, a row whose answers are equal, one without a winner, one that stands there twice."""
    table = simulate_arena(SimulationConfig(num_battles=NUM_SOUND + 4, num_test_pairs=1, ugly_row_rate=0)).train_table
    table = table.drop_duplicates("prompt").head(NUM_SOUND // 2).copy()
    more = table.assign(
        prompt=table["prompt"] + "?", response_a=table["response_b"] + "!", id=[f"m{n}" for n in range(len(table))]
    )
    table = pd.concat([table, more], ignore_index=True)
    equal = table.iloc[[0]].assign(response_b=table["response_a"].iloc[0], id="equal")
    unknown = table.iloc[[1]].assign(winner="who knows", id="unknown")
    path = tmp_path_factory.mktemp("votes") / "votes.csv"
    pd.concat([table, equal, unknown, table.iloc[[2]]]).to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def trained(votes, tmp_path_factory) -> TrainedJudge:
    return train_judge(votes, tmp_path_factory.mktemp("trained") / "mine", config=configure())


def work_of(trained: TrainedJudge) -> Path:
    return trained.bundle.with_name("mine.work")


def test_unusable_rows_are_counted_and_the_rest_is_trained_on(trained):
    assert trained.report["num_rows"] == trained.report["num_battles"] + 3
    assert trained.report["dropped"] == {
        "the winner is unknown": 1,
        "the answers are identical": 1,
        "the row repeats another": 1,
    }
    (report,) = work_of(trained).glob("battles.*/report.json")
    assert {row["id"] for row in json.loads(report.read_text())["rows"]} >= {"equal", "unknown"}


def test_the_judge_is_scored_beside_the_baselines_on_battles_it_never_saw(trained):
    assert trained.rows[0]["judge"] == "judge"
    assert {"longer_wins", "tfidf"} <= {row["judge"] for row in trained.rows}
    assert {(row["num_pairs"], row["seen_in_training"]) for row in trained.rows} == {
        (trained.rows[0]["num_pairs"], False)
    }
    (folder,) = work_of(trained).glob("battles.*")
    selection = pd.read_parquet(folder / "selection.parquet")
    held_out = set(selection.loc[selection["split"] == "held_out", "pair_id"])
    assert set(pd.read_parquet(trained.run_dir / "predictions.parquet")["pair_id"]) == held_out
    assert not held_out & set(selection.loc[selection["split"] == "train", "pair_id"])
    assert len(json.loads((work_of(trained) / "scores.json").read_text())) >= len(trained.rows)


def test_the_bundle_gives_the_predictions_of_its_training(trained):
    bundle = Bundle.open(trained.bundle)
    assert bundle.provenance["judge"] == "judge"
    assert bundle.temperature == trained.calibration["temperature"]
    assert bundle.layouts == ("plain",)
    expected = pd.read_parquet(trained.run_dir / "predictions.parquet").set_index(["pair_id", "order"])
    (store,) = (TokenStore.open(path) for path in (work_of(trained) / "tokens").glob("battles.*"))
    keys = expected.index.get_level_values("pair_id").unique().tolist()
    pairs = TokenizedPairs.look_up(keys, ["battles"] * len(keys), {"battles": store})
    scores = score_pairs(bundle.load_judge(), pairs, max_tokens=700, device="cpu")
    found = scores.set_index(["pair_id", "order"]).loc[expected.index]
    np.testing.assert_allclose(np.stack(found["probabilities"]), np.stack(expected["probabilities"]), atol=1e-6)


def test_the_instruction_is_no_system_message_where_the_chat_template_refuses_one(trained):
    assert Bundle.open(trained.bundle).prompt.system_role is False


def test_the_same_call_is_answered_at_once_and_a_lost_bundle_is_made_of_the_same_training(votes, trained):
    again = train_judge(str(votes), trained.bundle, config=configure())
    assert again.was_done
    assert again.rows == trained.rows
    assert again.calibration == trained.calibration
    before = {path: path.stat().st_mtime_ns for path in trained.run_dir.rglob("*") if path.is_file()}
    shutil.rmtree(trained.bundle)
    rebuilt = train_judge(votes, trained.bundle, config=configure())
    assert not rebuilt.was_done
    assert rebuilt.run_dir == trained.run_dir
    assert {path: path.stat().st_mtime_ns for path in trained.run_dir.rglob("*") if path.is_file()} == before
    assert rebuilt.rows == trained.rows


def test_what_changes_no_result_changes_no_request_and_all_else_does(votes, trained, monkeypatch):
    class TrainsAnewError(Exception):
        pass

    def refuse(*_, **__):
        raise TrainsAnewError

    monkeypatch.setattr("wsdm_arena.own_training.train.launch_training", refuse)
    same = configure(launcher={"processes_per_node": 2}, training={"log_every_updates": 5})
    assert train_judge(votes, trained.bundle, config=same).was_done
    for change in (
        {"training": {"epochs": 2}},
        {"seed": 4},
        {"judge": {"head": {"kind": "linear"}}},
        {"preferences": {"held_out_fold": 1}},
        {"truncation": {"max_battle_tokens": 160}},
    ):
        with pytest.raises(TrainsAnewError):
            train_judge(votes, trained.bundle, config=configure(**change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"judge": {"backbone": {"source": "no/such/place"}}}, "there is no backbone no/such/place"),
        ({"judge": {"backbone": {"source": str(BACKBONES / "gemma"), "revision": "abc"}}}, "--revision is for names"),
        ({"judge": {"backbone": {"source": None}}}, "no backbone is named"),
        ({"training": {"battles_per_update": 500}}, r"fewer than one update takes \(500\).*--battles-per-update"),
        ({"training": {"max_battles": 5}}, "5 battles are there to train on"),
    ],
)
def test_options_that_cannot_work_are_refused_before_anything_is_trained(votes, tmp_path, change, message):
    with pytest.raises(OwnTrainingError, match=message):
        train_judge(votes, tmp_path / "mine", config=configure(**change))
    assert not list(tmp_path.glob("mine.work/*/"))


@pytest.mark.slow
def test_a_verbalizer_is_scored_before_its_training_too(votes, tmp_path):
    training = {"optimizer": {"peak_learning_rate": 1e-3}}
    config = configure(judge={"head": {"kind": "verbalizer"}}, training=training)
    trained = train_judge(votes, tmp_path / "mine", config=config)
    judged, asked = trained.rows[:2]
    assert [judged["stage"], asked["stage"]] == ["own", "own.zero_shot"]
    assert asked["dataset"] == "sample[fold 0]"
    assert asked["num_pairs"] == judged["num_pairs"]  # fewer than are drawn
    assert asked["log_loss"] != judged["log_loss"]
    at_start = pd.read_parquet(trained.run_dir / "predictions_at_start.parquet")
    bundle = Bundle.open(trained.bundle)
    (store,) = (TokenStore.open(path) for path in (tmp_path / "mine.work" / "tokens").glob("battles.*"))
    (backbone,) = (tmp_path / "mine.work" / "backbones").glob("*/config.json")
    judge = build_judge(
        backbone.parent, head=HeadConfig(kind="verbalizer"), num_classes=2, answer_ids=store.template.answers
    )
    keys = at_start["pair_id"].unique().tolist()
    pairs = TokenizedPairs.look_up(keys, ["battles"] * len(keys), {"battles": store})
    untrained = score_pairs(judge.eval(), pairs, max_tokens=700, device="cpu").set_index(["pair_id", "order"])
    expected = at_start.set_index(["pair_id", "order"]).loc[untrained.index]
    np.testing.assert_allclose(np.stack(untrained["logits"]), np.stack(expected["logits"]), atol=1e-5)
    assert bundle.manifest["head"]["kind"] == "verbalizer"
    architectures = json.loads((trained.bundle / "config.json").read_text())["architectures"]
    assert architectures == ["Gemma2ForSequenceClassification"]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"template": {"answers": ["A", "not one token"]}}, PromptError, "not one token' as"),
        ({"preferences": {"tie_policy": "class"}}, OwnTrainingError, r"are 2, but .*\(--tie-policy\).* 3 classes"),
        (None, UnsupportedJudgeError, "is no whole language model"),
    ],
)
def test_a_verbalizer_that_has_nothing_to_start_from_is_refused_before_anything_is_done(
    votes, tmp_path, change, error, message
):
    shutil.copytree(BACKBONES / "gemma", tmp_path / "backbone")
    if change is None:
        described = json.loads((tmp_path / "backbone" / "config.json").read_text())
        (tmp_path / "backbone" / "config.json").write_text(json.dumps(described | {"tie_word_embeddings": False}))
    judge = {"backbone": {"source": str(tmp_path / "backbone")}, "head": {"kind": "verbalizer"}}
    with pytest.raises(error, match=message):
        train_judge(votes, tmp_path / "mine", config=configure(judge=judge, **(change or {})))
    assert not list(tmp_path.glob("mine.work/*/"))


@pytest.mark.parametrize(
    ("missing", "error", "message"),
    [
        ("tokenizer.json", BackboneError, "has no tokenizer"),
        ("model.safetensors", WeightFileError, "holds no weights"),
        ("config.json", BackboneError, r"has no config\.json"),
        ("chat_template.jinja", PromptError, r"no chat template; put chat_template\.jinja beside"),
    ],
)
def test_a_backbone_that_lacks_a_part_is_refused_with_its_name(votes, tmp_path, missing, error, message):
    backbone = tmp_path / "backbone"
    shutil.copytree(BACKBONES / "gemma", backbone)
    (backbone / missing).unlink()
    config = configure(judge={"backbone": {"source": str(backbone)}})
    with pytest.raises(error, match=message):
        train_judge(votes, tmp_path / "mine", config=config)
    assert not list(tmp_path.glob("mine.work/*/"))


def test_a_kernel_and_a_family_that_cannot_run_are_refused_before_anything_is_done(votes, tmp_path):
    with pytest.raises(UnsupportedJudgeError, match=r"flash_attention.* cannot run this judge"):
        train_judge(votes, tmp_path / "mine", config=configure(judge={"attention": "flash_attention"}))
    shutil.copytree(BACKBONES / "gemma", tmp_path / "backbone")
    (tmp_path / "backbone" / "config.json").write_text('{"model_type": "of tomorrow"}')
    with pytest.raises(UnsupportedJudgeError, match="the model's configuration cannot be loaded"):
        train_judge(
            votes, tmp_path / "mine", config=configure(judge={"backbone": {"source": str(tmp_path / "backbone")}})
        )
    assert not list(tmp_path.glob("mine.work/*/"))


def test_a_gpu_that_is_not_there_is_missed_before_anything_is_done(votes, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(OwnTrainingError, match=r"--device\) is cuda, but PyTorch finds no GPU"):
        train_judge(votes, tmp_path / "mine", config=configure(launcher={"device": "cuda"}))


def test_too_few_prompts_for_the_folds_are_refused(votes, tmp_path):
    few = pd.read_csv(votes).head(3)
    with pytest.raises(BattlesError, match="5 folds need at least 5 different prompts"):
        train_judge(few, tmp_path / "mine", config=configure())


def test_nothing_but_a_bundle_of_this_work_directory_is_replaced(votes, trained, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    with pytest.raises(OwnTrainingError, match="is there already and is no bundle"):
        train_judge(votes, tmp_path / "mine", config=configure())
    shutil.copytree(trained.bundle, tmp_path / "another")
    with pytest.raises(OwnTrainingError, match=r"was not trained in .*another\.work"):
        train_judge(votes, tmp_path / "another", config=configure())
    with pytest.raises(OwnTrainingError, match="name another --work-dir"):
        train_judge(votes, tmp_path / "new", config=configure(), work_dir=tmp_path / "new" / "work")
    assert (tmp_path / "mine" / "thesis.tex").read_text() == "years of work"


def test_the_recipes_prompt_is_the_default_of_its_classes():
    base = yaml.safe_load((PROJECT / "conf/base/parameters.yml").read_text())
    assert TemplateConfig() == TemplateConfig.model_validate(base["template"])
    assert TruncationConfig() == TruncationConfig.model_validate(base["truncation"])


def test_defaults_that_are_not_the_recipes_are_those_that_are_listed():
    base = yaml.safe_load((PROJECT / "conf/base/parameters.yml").read_text())
    ours, recipe = OwnTrainingConfig().training, resolve_own_training({"base": {"training": base["training"]}}).training
    assert {key for key in base["training"] if getattr(ours, key) != getattr(recipe, key)} == set(DEFAULTS["training"])
    assert OwnTrainingConfig() == resolve_own_training({})


def test_limits_of_texts_follow_the_limit_of_the_battle():
    truncation = configure().truncation
    assert truncation.max_battle_tokens == 192
    assert truncation.per_field.max_prompt_tokens == 1_362 * 192 // 4_096
    assert truncation.shared_budget.max_prompt_tokens == 1_365 * 192 // 4_096
