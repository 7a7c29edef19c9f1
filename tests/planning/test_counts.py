"""What a plan counts is what the trainer reads."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.planning.tiny_project import configure, fill, versioned
from tests.training.tiny_runs import TinyRuns, finish, metrics
from wsdm_arena.config import HELD_OUT_VARIANT, PreferencesConfig, ProjectConfig
from wsdm_arena.planning.figures import Basis
from wsdm_arena.planning.jobs import Job
from wsdm_arena.planning.places import DataFolder, PlanError
from wsdm_arena.planning.plan import make_plan
from wsdm_arena.planning.rounds import prompts_by_round
from wsdm_arena.planning.rows import RowSource
from wsdm_arena.planning.work import count_evaluations, count_training
from wsdm_arena.training import evaluation
from wsdm_arena.training.data import load_run_data
from wsdm_arena.training.run import RunDirectory

CASES = {
    "plain": {},
    "drawn": {"max_battles": 21, "epochs": 2, "battles_per_update": 5},
    "evaluated": {
        "evaluation": {"every_updates": 2, "from_fraction": 0.4, "max_battles": 9, "keep_checkpoints": True},
        "max_battles": 30,
    },
    "one_update": {"battles_per_update": 80, "evaluation": {"battles_at_start": 0}},
}


def training_job(config: ProjectConfig, root: Path) -> Job:
    (job,) = [job for job in make_plan(config, root).jobs if job.kind == "training"]
    return job


@pytest.mark.parametrize("name", CASES)
def test_a_plan_counts_what_the_trainer_reads(
    tiny_runs: TinyRuns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    scored: list[tuple[int, int]] = []
    real = evaluation.score_pairs

    def count(judge, pairs, **options):
        scored.append((2 * len(pairs), 2 * int(pairs.lengths.sum())))
        return real(judge, pairs, **options)

    monkeypatch.setattr(evaluation, "score_pairs", count)
    run = finish(tiny_runs.make(f"plan-{name}", training=CASES[name]))
    job = training_job(configure(CASES[name]), fill(tmp_path, tiny_runs))
    last = metrics(run)[-1]
    assert (job.tokens.value, job.tokens.basis) == (last["tokens"], Basis.EXACT)
    assert (job.updates.value, job.updates.basis) == (last["updates"], Basis.EXACT)
    assert (job.scored_sequences.value, job.scored_tokens.value) == tuple(np.sum(scored, axis=0))
    assert job.scored_tokens.basis == Basis.EXACT
    kept = [*(run / "evaluations").glob("update-*")]
    weights = sum(file.stat().st_size for file in (run / "model").glob("*.safetensors"))
    assert job.final_bytes.value == pytest.approx((1 + len(kept)) * weights, rel=0.3)  # headers are large on tiny ones


@pytest.mark.parametrize("max_battles", [None, 13])
def test_the_same_battles_and_pairs_are_drawn(tiny_runs: TinyRuns, tmp_path: Path, max_battles: int | None) -> None:
    config = configure({"max_battles": max_battles})
    run = tiny_runs.make(f"draw-{max_battles}", training={"max_battles": max_battles})
    data = load_run_data(RunDirectory(run).read_config())
    judge = config.resolve("teacher", "llama")
    rows = RowSource(config, DataFolder(fill(tmp_path, tiny_runs))).training_rows(judge)
    work = count_training(rows, judge.training, config)
    drawn = np.concatenate([data.train.tokens.lengths[phase] for phase in data.phases])
    assert work.battles == len(drawn)
    assert work.trained.tokens == 2 * drawn.sum()
    assert work.trained.squares == 2 * (drawn.astype(np.int64) ** 2).sum()
    sample = data.held_out.draw_pairs(4, config.seed).unique_pairs().tokens.lengths
    everything = data.held_out.unique_pairs().tokens.lengths
    assert work.scored.tokens == 2 * (sample.sum() + everything.sum())
    assert work.trained.longest == data.train.tokens.lengths[np.concatenate(data.phases)].max()


def test_an_evaluation_that_falls_on_the_end_is_not_counted_twice() -> None:
    evaluation_config = configure({"evaluation": {"every_updates": 4, "from_fraction": 0.5}})
    settings = evaluation_config.resolve("teacher", "llama").training.evaluation
    assert [count_evaluations(settings, updates) for updates in (0, 4, 5, 8, 12, 13)] == [0, 0, 1, 1, 1, 2]


def test_the_newest_selection_counts(tiny_runs: TinyRuns, tmp_path: Path) -> None:
    root = fill(tmp_path, tiny_runs)
    before = training_job(configure(), root)
    newer = versioned(root / "05_model_input/teacher/llama/selection.parquet", "2027-01-01T00.00.00.000Z")
    tiny_runs.rows.iloc[:-20].drop(index=0).to_parquet(newer)
    assert training_job(configure(), root).rows.value == before.rows.value - 1


def test_tokens_that_were_cut_otherwise_do_not_count_as_exact(tiny_runs: TinyRuns, tmp_path: Path) -> None:
    root = fill(tmp_path, tiny_runs)
    tiny_runs.pairs.to_parquet(_table(root, "battles"))
    other = configure(truncation={"per_field": {"max_response_tokens": 12}})
    exact, estimated = training_job(configure(), root), training_job(other, root)
    assert (exact.tokens.basis, estimated.tokens.basis) == (Basis.EXACT, Basis.ESTIMATED)
    assert estimated.rows == exact.rows
    assert estimated.updates == exact.updates
    assert 0.3 * exact.tokens.value < estimated.tokens.value < exact.tokens.value


def test_a_sample_of_texts_stands_for_a_table_without_tokens(tiny_runs: TinyRuns, tmp_path: Path) -> None:
    root = fill(tmp_path, tiny_runs)
    exact = training_job(configure(), root)
    for path in (root / "05_model_input/teacher/llama").glob("tokens.json/*/tokens.json"):
        path.unlink()
    tiny_runs.pairs.to_parquet(_table(root, "battles"))
    estimated = training_job(configure(), root)
    assert estimated.tokens.basis == Basis.ESTIMATED
    assert estimated.tokens.value == pytest.approx(exact.tokens.value, rel=0.05)  # all 96 rows are in the sample
    (root / "06_models/backbones/llama/tokenizer.json").unlink()
    by_characters = configure(planning={"lengths": {"characters_per_token": 1.0, "template_tokens": 9}})
    assert training_job(by_characters, root).tokens.value == pytest.approx(exact.tokens.value, rel=0.1)


def test_tables_alone_give_exact_rows(tiny_runs: TinyRuns, tmp_path: Path) -> None:
    root = _with_battles(tmp_path, tiny_runs)
    config = configure()
    rows = RowSource(config, DataFolder(root))
    judge = config.resolve("teacher", "llama")
    teacher = rows.training_rows(judge)
    assert ([len(phase) for phase in teacher.phases.values()], len(teacher.held_out)) == ([68], 28)
    assert (teacher.rows, teacher.lengths) == (Basis.EXACT, Basis.ESTIMATED)
    final = rows.training_rows(judge.model_copy(update={"stage": "final"}))
    assert ({number: len(phase) for number, phase in final.phases.items()}, len(final.held_out)) == ({0: 60, 1: 36}, 28)
    variant = rows.training_rows(judge.model_copy(update={"stage": HELD_OUT_VARIANT}))
    assert {number: len(phase) for number, phase in variant.phases.items()} == {0: 60, 1: 8}


def test_without_any_table_rows_are_those_of_the_configuration(tmp_path: Path) -> None:
    config = configure(planning={"sizes": {"battles": 1000, "first_phase_battles": 500, "collected_pairs": 70}})
    rows = RowSource(config, DataFolder(tmp_path))
    judge = config.resolve("teacher", "llama")
    stages = {
        stage: rows.training_rows(judge.model_copy(update={"stage": stage}))
        for stage in ("teacher", "student", "pretraining", "final", HELD_OUT_VARIANT)
    }
    sizes = {stage: [len(phase) for phase in found.phases.values()] for stage, found in stages.items()}
    assert sizes == {
        "teacher": [800],
        "student": [870],
        "pretraining": [70],  # no rounds of generation are configured
        "final": [450, 550],
        HELD_OUT_VARIANT: [360, 440],
    }
    assert {found.rows for found in stages.values()} == {Basis.ASSUMED}
    assert {len(found.held_out) for found in stages.values()} == {200}


def test_the_recipes_rounds_have_75_thousand_prompts() -> None:
    rounds = {
        "v1": {"first_language": [0, 3000], "others": [0, 7000], "answer_models": ["x", "y"]},
        "v2": {"first_language": [3000, 9000], "others": [7000, 28000], "answer_models": ["x", "y"]},
        "v3": {
            "first_language": [9000, 11000],
            "others": [28000, None],
            "repeat_others_of": "v1",
            "answer_models": ["x", "y"],
        },
    }
    models = {name: {"engine": "simulator", "model": name} for name in ("x", "y")}
    config = configure(generation={"rounds": rounds, "answer_models": models})
    assert prompts_by_round(config) == {"v1": 10_000, "v2": 27_000, "v3": 38_000}


def test_a_damaged_table_is_named(tiny_runs: TinyRuns, tmp_path: Path) -> None:
    root = fill(tmp_path, tiny_runs)
    (selection,) = (root / "05_model_input/teacher/llama/selection.parquet").glob("*/selection.parquet")
    selection.write_bytes(selection.read_bytes()[:100])
    with pytest.raises(PlanError, match=r"selection\.parquet cannot be read .* delete it"):
        make_plan(configure(), root)


def test_tokens_that_are_gone_or_lack_a_pair_are_estimated(tiny_runs: TinyRuns, tmp_path: Path) -> None:
    root = fill(tmp_path, tiny_runs)
    (tokens,) = (root / "05_model_input/teacher/llama/tokens.json").glob("*/tokens.json")
    tokens.write_text(json.dumps({"battles": str(tmp_path / "gone")}))
    assert training_job(configure(), root).tokens.basis == Basis.ASSUMED  # neither tokens nor texts are there
    tokens.write_text(json.dumps({"battles": str(tiny_runs.tokens)}))
    newer = versioned(root / "05_model_input/teacher/llama/selection.parquet", "2027-01-01T00.00.00.000Z")
    tiny_runs.rows.assign(pair_id=lambda rows: rows["pair_id"].str.replace("0", "9")).to_parquet(newer)
    assert training_job(configure(), root).tokens.basis == Basis.ASSUMED


def _table(root: Path, name: str) -> Path:
    path = root / f"03_primary/{name}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _with_battles(root: Path, runs: TinyRuns) -> Path:
    """96 battles, 28 of them held out; the first 60 are in the final training's first phase."""
    battles = runs.pairs.assign(
        battle_id=runs.pairs["pair_id"], fold=np.where(np.arange(96) < 68, 1, PreferencesConfig().held_out_fold)
    )
    battles.to_parquet(_table(root, "battles"))
    phases = pd.DataFrame({"battle_id": battles["battle_id"], "phase": np.where(np.arange(96) < 60, 0, 1)})
    phases.to_parquet(_table(root, "language_phases"))
    return root
