"""An exported judge carries a card of what the run knows of it."""

from pathlib import Path

import pandas as pd
import pytest

from wsdm_arena.config import (
    BackboneConfig,
    ExportConfig,
    GenerationConfig,
    HeadConfig,
    PackagedModelConfig,
    ReportingConfig,
    ResolvedJudge,
    TemplateConfig,
    TruncationConfig,
)
from wsdm_arena.config.fetching import SourcesConfig
from wsdm_arena.judging.bundle import Bundle
from wsdm_arena.modeling.checkpoint import save_judge
from wsdm_arena.modeling.judge import build_judge
from wsdm_arena.pipelines.export.nodes import export_judge
from wsdm_arena.prompts.template import render_template
from wsdm_arena.prompts.tokenizers import load_tokenizer
from wsdm_arena.simulation.backbones import BACKBONES

TEMPLATE = TemplateConfig(
    instruction="Judge",
    battle_start="",
    prompt_heading="",
    response_a_heading="\nA:",
    response_b_heading="\nB:",
    battle_end="",
    verdict_prefix="[[",
)
TRUNCATION = TruncationConfig(
    max_battle_tokens=256,
    marker="...",
    per_field={"max_prompt_tokens": 80, "max_response_tokens": 80},
    shared_budget={"reserved_tokens": 13, "max_prompt_tokens": 80},
)
CALIBRATION = {"temperature": 0.5, "num_pairs": 7, "log_loss_before": 0.5, "log_loss_after": 0.25, "note": ""}
SCORE = {
    "stage": "final",
    "judge": "gemma",
    "dataset": "battles[fold 0]",
    "num_pairs": 7,
    "accuracy": 0.75,
    "accuracy_low": 0.5,
    "accuracy_high": 0.875,
    "seen_in_training": True,
}
PACKAGE = PackagedModelConfig(
    title="Tiny Gemma",
    model_type="gemma2",
    distributions={"tiny-gemma": "1.2"},
    files=("tiny_gemma/tiny.gguf",),
    sha256="0" * 64,
    licence={"name": "Gemma", "url": "https://ai.google.dev/gemma/terms"},
).model_dump(mode="json")
SHARE = {"value": 0.25, "low": 0.125, "high": 0.5, "num_battles": 7}
SCORES = {"log_loss": 0.125, "brier": 0.25, "ece": 0.375}


def analysis(*, stage: str, seen: bool) -> dict:
    return {
        "stage": stage,
        "judge": "gemma",
        "seen_in_training": seen,
        "calibration": {"before": SCORES, "after": SCORES, "note": ""},
        "swap": dict.fromkeys(("flip_rate", "gap", "first_shown"), SHARE),
        "length": dict.fromkeys(("names_longer", "longer_won", "accuracy_longer_won", "accuracy_shorter_won"), SHARE),
    }


@pytest.fixture
def judge() -> ResolvedJudge:
    values = {"stage": "final", "judge": "gemma", "system_role": False, "attention": "auto", "training": {}}
    return ResolvedJudge.model_validate(
        values | {"head": {"kind": "linear"}, "sliding_window": True, "truncation": "shared_budget"}
    )


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    source = BACKBONES / "gemma"
    rendered = render_template(load_tokenizer(source), TEMPLATE, system_role=False)
    manifest = {"fingerprint": "f00d", "template_hash": rendered.hash, "trained": {"seed": 3}}
    model = build_judge(source, head=HeadConfig(kind="linear"), num_classes=2)
    return save_judge(model, tmp_path / "checkpoint", tokenizer_dir=source, manifest=manifest)


@pytest.fixture
def export(judge, checkpoint, tmp_path):
    selection = pd.DataFrame({"table": ["battles"], "pair_id": ["p"], "split": ["train"], "phase": [0]})
    battles = pd.DataFrame({"pair_id": ["p"], "prompt_group": ["g"], "language": ["hi"], "source": ["train"]})

    def run(**changes) -> Path:
        values = {
            "checkpoint": checkpoint,
            "calibration": CALIBRATION,
            "judge": judge,
            "template": TEMPLATE,
            "truncation": TRUNCATION,
            "export": ExportConfig(),
            "run_context": {"env": "sample", "run_id": "now", "command": "kedro run"},
            "bundle_store": tmp_path / "bundles",
            "selection": selection,
            "initial_selection": selection.assign(table="generated_pairs"),
            "scores": [SCORE],
            "baseline_scores": [SCORE | {"stage": "baseline", "judge": "longer_wins"}],
            "held_out_scores": [SCORE | {"stage": "final_held_out", "seen_in_training": False}],
            "analysis": analysis(stage="final_held_out", seen=False),
            "backbone": BackboneConfig(source="google/gemma-2-9b-it", revision="11c9b309"),
            "packaged_models": {"tiny": PACKAGE},
            "labellers": {},
            "reporting": ReportingConfig(confidence=0.9),
            "sources": SourcesConfig(simulated=True),
            "battles": battles,
        }
        return export_judge(**(values | changes))

    return run


def test_the_card_says_what_the_run_knows(export):
    path = export()
    card = (path / "README.md").read_text()
    parameters = sum(weight.numel() for weight in Bundle.open(path).load_judge().parameters())
    for line in (
        f"`gemma2` model of {parameters:,} parameters",
        "[google/gemma-2-9b-it](https://huggingface.co/google/gemma-2-9b-it) at revision `11c9b309`",
        "reads this directory as `Gemma2ForSequenceClassification`",
        "| pretraining | 1 | `generated_pairs` | 1 | – | – | – |",
        "| final | 1 | `battles` | 1 | 1 | hi 1 | train 1 |",
        "`final_held_out.gemma` agrees with people",
        "| calibrated | 0.1250 | 0.2500 | 0.3750 |",
        "Of `final_held_out.gemma`, both orders averaged",
        "| training | `f00d` |",
        "temperature = 0.5",
        "Do not use its verdicts",
    ):
        assert line in card, line
    assert "kedro run" not in card  # nor anything else that differs between runs of the same work


def test_a_packaged_model_is_named_with_its_terms(export):
    card = (export(backbone=BackboneConfig(source="package:tiny")) / "README.md").read_text()
    assert "[Tiny Gemma](https://pypi.org/project/tiny-gemma)" in card
    assert "[Gemma](https://ai.google.dev/gemma/terms)" in card
    assert "license: gemma" in card
    assert "base_model" not in card


def test_answers_that_were_trained_on_are_named_with_their_terms(export):
    generation = {"answer_models": {"small_one": {"engine": "vllm", "model": "package:tiny"}}}
    pairs = pd.DataFrame({"pair_id": ["p"], "prompt_group": ["g"], "language": ["hi"], "source": ["lmsys"]})
    path = export(
        generation=GenerationConfig.model_validate(generation),
        labellers={"generated_labels": {"gemma": {"source": "package:tiny"}}},
        generated_pairs=pairs.assign(model_a="small_one", model_b="small_one"),
    )
    card = (path / "README.md").read_text()
    assert "* answers of this model, [Tiny Gemma](https://pypi.org/project/tiny-gemma): [Gemma](" in card
    assert (
        "* labels by a judge made from this model, [Tiny Gemma](https://pypi.org/project/tiny-gemma): [Gemma](" in card
    )
    assert "* All other data are simulated; they are nobody else's." in card


def test_intervals_have_the_level_that_they_were_measured_at(export):
    assert "90 %" in (export() / "README.md").read_text()


def test_an_analysis_of_what_was_trained_on_proves_no_calibration(export):
    card = (export(analysis=analysis(stage="final", seen=True)) / "README.md").read_text()
    assert "Of `final.gemma`, **which was trained on these battles**" in card
    assert "| calibrated |" not in card
    assert "the longer answer" not in card


def test_another_card_is_not_another_bundle(export):
    path = export()
    first, fingerprint = (path / "README.md").read_text(), Bundle.open(path).fingerprint
    assert export(backbone=BackboneConfig(source=str(path), revision=None)) == path
    again = (path / "README.md").read_text()
    assert "google" in first
    assert "google" not in again
    assert Bundle.open(path).fingerprint == fingerprint
