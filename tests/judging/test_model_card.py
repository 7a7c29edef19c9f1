"""One builder writes the cards of exported judges and of those that were trained on one's own battles."""

import dataclasses
from pathlib import Path

import pandas as pd
import pytest

from wsdm_arena.cards.licences import hub_name
from wsdm_arena.cards.model_card import ModelCard
from wsdm_arena.config import (
    BackboneConfig,
    GenerationConfig,
    HeadConfig,
    ResolvedJudge,
    TemplateConfig,
    TruncationConfig,
)
from wsdm_arena.config.fetching import SourcesConfig
from wsdm_arena.judging.model_card import describe_judge
from wsdm_arena.modeling.checkpoint import CheckpointError, save_judge
from wsdm_arena.modeling.judge import build_judge
from wsdm_arena.simulation.backbones import BACKBONES

LICENCE = {"name": "Gemma", "url": "https://example.org/gemma"}
SOURCES = SourcesConfig.model_validate(
    {
        "inputs": {
            "conversations": {"what": "chats", "hub": "huggingface_dataset", "handle": "a/b", "licence": LICENCE}
        },
        "models": {"google/gemma": {"licence": LICENCE}},
    }
)
FIT = {"temperature": 0.5, "num_pairs": 7, "log_loss_before": 0.5, "log_loss_after": 0.25, "note": "odd"}
BEFORE = {"log_loss": 0.5, "brier": 0.25, "ece": 0.375, "ece_by_chance": 0.125}
AFTER = {"log_loss": 0.25, "brier": 0.125, "ece": 0.0625, "ece_by_chance": 0.125}
SHARE = {"value": 0.25, "low": 0.125, "high": 0.5, "num_battles": 7}


def analysis(**changes) -> dict:
    return {
        "stage": "final_held_out",
        "judge": "gemma",
        "seen_in_training": False,
        "calibration": {"before": BEFORE, "after": AFTER, "note": ""},
        "swap": {"flip_rate": SHARE},
        "length": {"names_longer": SHARE},
    } | changes


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    model = build_judge(BACKBONES / "gemma", head=HeadConfig(kind="linear"), num_classes=3)
    manifest = {"fingerprint": "f00d", "template_hash": "beef", "trained": {"seed": 3, "initial_checkpoint": "cafe"}}
    place = tmp_path_factory.mktemp("judge") / "checkpoint"
    return save_judge(model, place, tokenizer_dir=BACKBONES / "gemma", manifest=manifest)


@pytest.fixture(scope="module")
def describe(checkpoint):
    judge = {"stage": "final", "judge": "gemma", "system_role": False, "attention": "auto", "training": {}}
    judge |= {"head": {"kind": "linear"}, "sliding_window": True, "truncation": "shared_budget"}
    selection = pd.DataFrame({"table": ["generated_pairs"], "pair_id": ["p"], "split": ["train"], "phase": [0]})
    pairs = {"pair_id": ["p"], "prompt_group": ["g"], "language": ["hi"], "source": ["lmsys"]}
    pairs |= {"model_a": ["gemma_9b"], "model_b": [None]}
    generation = {"answer_models": {"gemma_9b": {"engine": "vllm", "model": "google/gemma"}}}

    def call(**changes) -> ModelCard:
        values = {
            "template": TemplateConfig(),
            "truncation": TruncationConfig(),
            "layouts": ["plain"],
            "calibration": FIT,
            "selections": {"pretraining": None, "final": selection},
            "tables": {"generated_pairs": pd.DataFrame(pairs)},
            "scores": [],
            "analysis": analysis(),
            "backbone": BackboneConfig(source="google/gemma", revision="abc"),
            "generation": GenerationConfig.model_validate(generation),
            "sources": SOURCES,
        }
        return describe_judge(checkpoint, ResolvedJudge.model_validate(judge), **(values | changes))

    return call


def test_a_card_is_gathered_from_checkpoint_training_and_results(describe):
    card = describe(confidence=0.9)
    assert (card.name, card.num_classes, card.model_type, card.dtype) == ("final.gemma", 3, "gemma2", "float32")
    assert [(part.stage, part.table, part.languages) for part in card.training] == [
        ("final", "generated_pairs", {"hi": 1})
    ]
    assert (card.base_model, card.backbone.name, card.backbone.revision) == ("google/gemma", "google/gemma", "abc")
    assert [source.name for source in card.sources] == ["a/b", "google/gemma"]
    assert card.fingerprints == {
        "training": "f00d",
        "checkpoint that it continued": "cafe",
        "prompt template": "beef",
        "seed": "3",
    }
    assert (card.analysed, card.analysed_is_seen, card.confidence) == ("final_held_out.gemma", False, 0.9)
    assert (card.swap, card.length) == ({"flip_rate": SHARE}, {"names_longer": SHARE})
    assert (card.calibration.temperature, card.calibration.note) == (0.5, "odd")
    assert card.calibration.judged == {"at temperature 1": BEFORE, "calibrated": AFTER}
    assert card.calibration.judged_note == ""


def test_whoever_labelled_what_was_trained_on_is_named(describe):
    labellers = {
        "generated_labels": {"llama": BackboneConfig(source="google/gemma"), "other": BackboneConfig()},
        "collected_labels": {"unread": BackboneConfig(source="some/body")},
    }
    found = [(source.what, source.name) for source in describe(labellers=labellers).sources]
    assert found[2:] == [("labels by a judge made from this model", "google/gemma")]


def test_doubts_of_what_was_judged_reach_the_card(describe):
    few = analysis(calibration={"before": BEFORE, "after": AFTER, "note": "3 prompts are too few"})
    card = describe(analysis=few)
    assert card.calibration.judged_note == "3 prompts are too few"
    assert card.calibration.note == "odd"


def test_what_was_trained_on_proves_neither_calibration_nor_taste(describe):
    card = describe(analysis=analysis(stage="final", seen_in_training=True, swap=None))
    assert (card.analysed, card.analysed_is_seen) == ("final.gemma", True)
    assert (card.swap, card.length, dict(card.calibration.judged)) == (None, None, {})


def test_what_is_not_at_hand_is_left_empty(describe):
    card = describe(analysis=None, backbone=None, sources=None, selections={"final": None}, tables={})
    empty = {"analysed": "", "swap": None, "length": None, "backbone": None, "base_model": None, "sources": []}
    empty |= {"training": [], "is_simulated": False, "confidence": 0.95}
    assert {name: value for name, value in vars(card).items() if name in empty} == empty
    assert dataclasses.asdict(card.calibration)["judged"] == {}


def test_only_a_checkpoint_has_a_card(describe, tmp_path):
    with pytest.raises(CheckpointError):
        describe_judge(tmp_path, describe().judge, **dict.fromkeys(NAMES))


NAMES = ("template", "truncation", "layouts", "calibration", "selections", "tables", "scores", "analysis", "backbone")


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("google/gemma-2-9b-it", "google/gemma-2-9b-it"),
        ("gpt2", "gpt2"),
        (None, None),
        (str(BACKBONES / "gemma"), None),
        ("/gone/gemma", None),
        ("./gone", None),
        ("../gone", None),
        ("~/gone", None),
        ("a/b/c", None),
    ],
)
def test_a_backbone_of_the_hub_is_told_from_a_directory(source, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert hub_name(BackboneConfig(source=source)) == name
    assert hub_name(None) is None


def test_a_directory_of_one_s_own_is_no_name_wherever_it_lies(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "backbones" / "mine").mkdir(parents=True)
    assert hub_name(BackboneConfig(source="backbones/mine")) is None
    assert hub_name(BackboneConfig(source="~/backbones/mine")) is None
