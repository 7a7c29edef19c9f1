"""What a run starts from."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from tests.training.tiny_runs import TEMPLATE, TRUNCATION, TinyRuns, finish, weights
from wsdm_arena.batching.packed import PackedBatch
from wsdm_arena.config import RunConfig, TokenTable
from wsdm_arena.modeling.attention import UnsupportedJudgeError
from wsdm_arena.modeling.checkpoint import load_judge
from wsdm_arena.prompts.store import TokenStore, build_token_store
from wsdm_arena.prompts.tokenizers import PromptError
from wsdm_arena.runs.fingerprint import training_fingerprint
from wsdm_arena.scoring.scoreboard import start_rows
from wsdm_arena.training.run import RunDirectory, RunError
from wsdm_arena.training.start import build_initial_judge, find_answers, is_zero_shot


@pytest.fixture
def language_model(tiny_runs: TinyRuns, tmp_path: Path) -> Path:
    """The tiny Llama as a language model with an output layer of its own."""
    torch.manual_seed(1)
    source = tiny_runs.backbones["llama"]
    shutil.copytree(source, tmp_path / "model", ignore=shutil.ignore_patterns("*.safetensors", "config.json"))
    AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(source)).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def configure(tiny_runs: TinyRuns, backbone: Path, **changes) -> RunConfig:
    run = tiny_runs.make(f"start-{len(list((tiny_runs.folder / 'runs').glob('start-*')))}", backbone=backbone)
    config = RunDirectory(run).read_config()
    judge = config.judge.model_copy(update={"head": config.judge.head.model_copy(update={"kind": "verbalizer"})})
    config = config.model_copy(update={"judge": judge, **changes})
    (run / "run.json").write_text(config.model_dump_json())
    return config


def tokens_of(tiny_runs: TinyRuns, root: Path, **template) -> TokenTable:
    path = build_token_store(
        tiny_runs.pairs,
        table="battles",
        tokenizer_dir=tiny_runs.backbones["llama"],
        template=TEMPLATE.model_copy(update=template),
        system_role=False,
        truncation=TRUNCATION,
        policy="per_field",
        root=root,
        for_verbalizer=True,
    )
    return TokenTable(table="battles", path=path)


def test_a_verbalizer_starts_from_the_language_model(tiny_runs, language_model):
    config = configure(tiny_runs, language_model)
    store = TokenStore.open(tiny_runs.tokens)
    assert find_answers(config) == store.template.answers
    sequence = store.sequence(0, "ba")
    with torch.no_grad():
        ours = build_initial_judge(config).eval()(PackedBatch.from_sequences([sequence]))[0]
        model = AutoModelForCausalLM.from_pretrained(language_model, attn_implementation="eager")
        theirs = model(torch.tensor(sequence)[None].long()).logits[0, -1, list(store.template.answers)]
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


def test_tables_that_do_not_name_the_tokens_name_the_template(tiny_runs, language_model, tmp_path):
    older = tmp_path / tiny_runs.tokens.name
    shutil.copytree(tiny_runs.tokens, older)
    manifest = json.loads((older / "manifest.json").read_text())
    expected = tuple(manifest["rendered_template"].pop("answers"))
    assert len(expected) == 2
    (older / "manifest.json").write_text(json.dumps(manifest))
    config = configure(tiny_runs, language_model, tokens=(TokenTable(table="battles", path=older),))
    assert find_answers(config) == expected
    manifest["template"]["verdict_prefix"] = ""
    manifest["template"]["answers"] = ["A", "two"]
    (older / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(PromptError, match="'two' as"):
        find_answers(config)


def test_answers_of_two_tables_or_of_too_few_classes_are_refused(tiny_runs, language_model, tmp_path):
    usual = TokenTable(table="others", path=tiny_runs.tokens)
    exchanged = tokens_of(tiny_runs, tmp_path, answers=("B", "A"))
    config = configure(tiny_runs, language_model, tokens=(usual, exchanged))
    with pytest.raises(RunError, match="the same in every table: tokenise them again"):
        build_initial_judge(config)
    with pytest.raises(RunError, match="a judge of 3 classes starts from that many"):
        find_answers(config.model_copy(update={"tokens": (usual,), "num_classes": 3}))


def test_a_backbone_without_an_output_layer_is_refused(tiny_runs):
    with pytest.raises(UnsupportedJudgeError, match="is no whole language model"):
        build_initial_judge(configure(tiny_runs, tiny_runs.backbones["llama"]))


def test_a_run_is_zero_shot_at_its_start_unless_it_continues_another(tiny_runs, language_model):
    first = configure(tiny_runs, language_model)
    run = finish(tiny_runs.folder / "runs" / sorted(p.name for p in (tiny_runs.folder / "runs").glob("start-*"))[-1])
    at_start = pd.read_parquet(run / "predictions_at_start.parquet")
    assert at_start["judge_fingerprint"].unique().tolist() == [f"{first.fingerprint}.zero_shot"]
    assert load_judge(run / "model").head.config.kind == "verbalizer"
    second = configure(tiny_runs, language_model, initial_checkpoint=run / "model", tokens=())
    assert is_zero_shot(first)
    assert not is_zero_shot(second)
    continued = build_initial_judge(second)  # its head is what was trained: no table needs to name answers
    assert torch.equal(continued.head.output.weight, weights(run / "model")["output.weight"])


def test_what_a_head_starts_from_is_part_of_a_runs_name(tiny_runs, language_model, tmp_path):
    config = configure(tiny_runs, language_model)
    linear = config.judge.model_copy(update={"head": config.judge.head.model_copy(update={"kind": "linear"})})
    exchanged = tokens_of(tiny_runs, tmp_path, answers=("B", "A"))

    def name(judge=config.judge, backbone="digest", tokens=tiny_runs.tokens) -> str:
        return training_fingerprint(
            judge=judge, backbone=backbone, inputs={"tokens": tokens.name}, seed=3, num_classes=2
        )

    assert len({name(), name(judge=linear), name(backbone="other"), name(tokens=exchanged.path)}) == 4


def test_what_was_only_asked_has_a_row_of_its_own(tiny_runs):
    battles = tiny_runs.pairs.assign(
        battle_id=tiny_runs.pairs["pair_id"], fold=0, prompt_group=tiny_runs.pairs["prompt"], language="en", source="x"
    )
    probabilities = [[0.75, 0.25]] * 4
    predictions = pd.DataFrame(
        {
            "pair_id": battles["pair_id"].head(4),
            "order": "ab",
            "probabilities": probabilities,
            "judge_fingerprint": "abc.zero_shot",
        }
    )
    (row,) = start_rows(predictions, battles, stage="teacher", judge="llama", fold=0)
    assert (row["stage"], row["judge"], row["dataset"]) == ("teacher.zero_shot", "llama", "sample[fold 0]")
    assert row["num_pairs"] == 4
    assert row["accuracy"] == battles["probability_a"].head(4).mean()
    started = predictions.assign(judge_fingerprint="abc.start")
    assert start_rows(started, battles, stage="teacher", judge="llama", fold=0)[0]["stage"] == "teacher.start"
    assert start_rows(predictions.head(0), battles, stage="teacher", judge="llama", fold=0) == []
