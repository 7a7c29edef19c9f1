"""Jobs and totals of whole plans."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.planning.tiny_project import configure, fill, versioned
from tests.training.tiny_runs import TinyRuns, finish, train_until
from wsdm_arena.config import ProjectConfig, deep_merge
from wsdm_arena.config.pseudo_labels import LabellerConfig
from wsdm_arena.planning.disk import required_bytes
from wsdm_arena.planning.figures import Basis, Figure, total
from wsdm_arena.planning.inputs import missing_outside
from wsdm_arena.planning.jobs import NOTHING, Job
from wsdm_arena.planning.places import DataFolder, PlanError
from wsdm_arena.planning.plan import Plan, make_plan, sum_up
from wsdm_arena.planning.reading_jobs import ReadingPlanner
from wsdm_arena.planning.report import memory_warnings, show
from wsdm_arena.planning.rows import RowSource
from wsdm_arena.planning.speed import Speeds, read_memory_bytes, read_tokens_per_s
from wsdm_arena.simulation.backbones import BACKBONES
from wsdm_arena.stages import nodes

CONF = Path(__file__).parents[2] / "conf"


def full_size(**changes) -> ProjectConfig:
    """The recipe on four GPUs, without Kedro."""
    return configuration_of("a100", **changes)


def configuration_of(env: str, **changes) -> ProjectConfig:
    files = [file for layer in ("base", env) for file in sorted((CONF / layer).glob("parameters*.yml"))]
    tree = deep_merge(*(yaml.safe_load(file.read_text()) for file in files), changes)
    return ProjectConfig.model_validate({key: tree[key] for key in ProjectConfig.model_fields if key in tree})


def jobs_of(plan: Plan) -> dict[str, Job]:
    return {job.name: job for job in plan.jobs}


def test_the_recipe_at_full_size(tmp_path: Path) -> None:
    plan = make_plan(full_size(), tmp_path)
    jobs = jobs_of(plan)
    updates = {name: job.updates.value for name, job in jobs.items() if job.kind == "training"}
    assert updates == {
        "teacher.gemma": 480,
        "teacher.gemma_large": 480,
        "teacher.llama": 2_400,
        "student.gemma": 149,  # 59,400 battles by 400; the last one is smaller
        "student.llama": 3_713,
        "pretraining.gemma": 1_200,
        "pretraining.llama": 6_000,
        "final.gemma": 601,  # each of the two phases ends with a smaller one
        "final.llama": 3_001,
        "final_held_out.gemma": 481,
    }
    command = list(jobs["teacher.gemma"].command)
    assert command[command.index("--nproc-per-node") + 1] == "4"
    assert command[-2:] == ["wsdm_arena.training", str(tmp_path / "06_models/.runs/teacher.gemma/{fingerprint}")]
    assert jobs["generation.phi4"].command[-2].endswith("generation/vllm_worker.py")
    assert jobs["generation.phi4"].gpus == jobs["generation.qwen2_5_72b"].gpus == 4
    assert jobs["generation.deepseek_v3"].gpus == 0
    assert sum(job.rows.value for job in plan.jobs if job.kind == "generation") == pytest.approx(150_000, abs=10)
    assert {job.state for job in plan.jobs} == {"to do"}
    assert plan.left == plan.totals
    assert plan.totals.gpu_hours.basis == Basis.ASSUMED
    assert [job.name for job in plan.jobs if job.memory.value > plan.memory_limit] == []


def test_disk_at_full_size(tmp_path: Path) -> None:
    """Ten trainings, three judges kept at evaluations, three backbones, four exports: two bytes a parameter each."""
    plan = make_plan(full_size(), tmp_path)
    gemma, large, llama = 18.5e9, 54.5e9, 15.0e9
    trained, kept = 5 * gemma + large + 4 * llama, gemma + large + llama
    backbones, exports = gemma + llama, 2 * (gemma + llama)  # the 27B is a hard link to the hub's cache
    expected = trained + kept + backbones + exports
    assert plan.totals.final_bytes.value == pytest.approx(expected, rel=0.01)
    before = gemma + llama + 2 * gemma  # what is there when the 27B is trained
    assert plan.totals.peak_job == "teacher.gemma_large"
    assert plan.totals.peak_bytes.value == pytest.approx(before + 2 * large + 2 * 4 * large, rel=0.01)
    no_copies = full_size(
        stages={"teacher": {"training": {"evaluation": {"keep_checkpoints": False}}}}, export={"layouts": ["plain"]}
    )
    assert make_plan(no_copies, tmp_path).totals.final_bytes.value == pytest.approx(trained + backbones, rel=0.01)


def test_a_linear_head_costs_a_copy_of_the_weights_in_each_bundle(tmp_path: Path) -> None:
    config = full_size(export={"layouts": ["plain"]}, judges={"llama": {"head": {"kind": "linear"}}})
    exported = {job.name: job.final_bytes.value for job in make_plan(config, tmp_path).jobs if job.kind == "export"}
    assert exported["export.final.gemma"] == 0
    assert exported["export.final.llama"] == pytest.approx(15.0e9, rel=0.01)


def test_what_a_run_needs_on_disk_before_it_begins(tmp_path: Path) -> None:
    config = full_size()
    plan = make_plan(config, tmp_path)
    everything = required_bytes(config, tmp_path, {job.node for job in plan.jobs})
    assert everything == pytest.approx(plan.totals.peak_bytes.value, rel=1e-6)
    one = required_bytes(config, tmp_path, nodes={"teacher.llama.train", "teacher.llama.evaluate"})
    assert one == pytest.approx(2 * 15.0e9 + 2 * 4 * 15.0e9, rel=0.01)
    assert required_bytes(config, tmp_path, nodes={"build_battles"}) == 0
    state = tmp_path / "06_models/.runs/teacher.llama/0123456789abcdef/state/update-000100"
    state.mkdir(parents=True)
    (state.parents[1] / "run.json").write_text("{}")
    (state / "shard").write_bytes(b"0" * 1_000_000)
    assert one - required_bytes(config, tmp_path, nodes={"teacher.llama.train"}) == 1_000_000


def test_packaged_models_are_unpacked_once_and_linked(tmp_path: Path) -> None:
    """Small language models on a CPU: float32 weights, and vLLM without a GPU."""
    plan = make_plan(configuration_of("small_llm"), tmp_path)
    jobs = jobs_of(plan)
    unpacked = {name: job.final_bytes.value for name, job in jobs.items() if job.kind == "packaged_model"}
    assert unpacked == {
        "packaged_model.gemma3_270m": pytest.approx(1.07e9, rel=0.01),
        "packaged_model.smollm2_135m": pytest.approx(0.54e9, rel=0.01),
    }
    assert [jobs[f"backbone.{judge}"].final_bytes.value for judge in ("gemma", "llama")] == [0, 0]
    assert jobs["backbone.gemma"].note == "hard links to the packaged model"
    assert jobs["generation.smollm2_135m"].note == "1 worker with 1 process each"
    assert jobs["generation.smollm2_135m"].memory.value == pytest.approx(2 * 2**30 + 1.2e9 + 6 * 0.135e9, rel=0.01)
    raw = tmp_path / "01_raw/checkpoints/gemma"  # of the simulated arena, which no judge of this env starts from
    shutil.copytree(BACKBONES / "gemma", raw)
    assert jobs_of(make_plan(configuration_of("small_llm"), tmp_path))["teacher.gemma"] == jobs["teacher.gemma"]
    needed = required_bytes(configuration_of("small_llm"), tmp_path, nodes=set(unpacked))
    assert needed == pytest.approx(1.6e9, rel=0.1)


def test_one_judge_alone_has_no_later_stages(tiny_runs: TinyRuns, tmp_path: Path) -> None:
    plan = make_plan(configure(), fill(tmp_path, tiny_runs))
    assert [job.name for job in plan.jobs] == ["backbone.llama", "teacher.llama"]
    assert [job.state for job in plan.jobs] == ["to do", "to do"]


def test_what_is_not_pending_is_there_and_no_part_of_what_is_left(tiny_runs: TinyRuns, tmp_path: Path) -> None:
    root = fill(tmp_path, tiny_runs)
    plan = make_plan(configure(), root, pending={"teacher.llama.train", "teacher.llama.evaluate"})
    assert [job.state for job in plan.jobs] == ["there", "to do"]
    assert plan.left == sum_up([plan.jobs[1]])
    assert {job.state for job in make_plan(configure(), root, pending=()).jobs} == {"there"}


def test_directories_are_those_of_the_nodes(
    tiny_runs: TinyRuns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the nodes start, they start where the plan says."""
    root, started = fill(tmp_path, tiny_runs), []

    def start(described: object, directory: Path, launcher: object) -> None:
        started.append(directory)
        raise InterruptedError

    monkeypatch.setattr(nodes, "launch_training", start)
    monkeypatch.setattr(nodes, "score_table", start)
    config, folder = configure(), DataFolder(root)
    judge = config.resolve("teacher", "llama")
    backbone, selection = folder.backbone("llama"), folder.model_input("teacher.llama", "selection.parquet")
    tokens = folder.model_input("teacher.llama", "tokens.json")
    assert backbone is not None
    assert selection is not None
    assert tokens is not None
    with pytest.raises(InterruptedError):
        nodes.train_judge(
            selection,
            {"battles": str(tiny_runs.tokens)},
            backbone,
            judge,
            config.preferences,
            config.launcher,
            config.seed,
            training_runs=root / "06_models/.runs",
        )
    job = jobs_of(make_plan(config, root))["teacher.llama"]
    checkpoint = versioned(root / "06_models/teacher/llama/checkpoint")
    checkpoint.symlink_to(finish(tiny_runs.make("directories")) / "model")
    table = tokens.with_name("collected.json")
    table.write_text(json.dumps({"collected_pairs": str(tiny_runs.tokens)}))
    labeller = LabellerConfig(weight=1, orders=("ab",))
    labels = config.pseudo_labels.collected_pairs.model_copy(update={"judges": {"llama": labeller}})
    config = config.model_copy(
        update={"pseudo_labels": config.pseudo_labels.model_copy(update={"collected_pairs": labels})}
    )
    with pytest.raises(InterruptedError):
        nodes.score_table_of_pairs(
            checkpoint,
            tiny_runs.tokens,
            table="collected_pairs",
            judge=judge,
            orders=labeller.orders,
            launcher=config.launcher,
            scoring_runs=root / "07_model_output/.runs",
        )
    planner = ReadingPlanner(config, folder, RowSource(config, folder), Speeds(config, folder))
    assert started == [Path(job.command[-1]), planner.find_run("collected_pairs", judge, table)]


def test_a_run_that_is_there_or_half_done_is_found_by_its_fingerprint(tiny_runs: TinyRuns, tmp_path: Path) -> None:
    training = {"checkpoint": {"every_updates": 2}, "max_battles": 20}
    root, config = fill(tmp_path, tiny_runs), configure(training)
    job = jobs_of(make_plan(config, root))["teacher.llama"]
    directory = Path(job.command[-1])
    assert directory.parent == root / "06_models/.runs/teacher.llama"
    assert "{" not in directory.name
    run = tiny_runs.make("state", training=training)
    train_until(run, 3)
    directory.parent.mkdir(parents=True)
    directory.symlink_to(run)
    partial = jobs_of(make_plan(config, root))["teacher.llama"]
    assert (partial.state, partial.note) == ("partial", "3 of 6 updates done")
    finish(run)
    done = jobs_of(make_plan(config, root))["teacher.llama"]
    assert (done.state, done.note) == ("to do", "its run is complete, and is reused")
    assert done.memory.basis == done.hours.basis == Basis.MEASURED
    others = jobs_of(make_plan(configure(training | {"battles_per_update": 4}), root))["teacher.llama"]
    assert others.state == "to do"
    assert others.hours.basis == Basis.MEASURED  # the speed is the same


def test_own_measurements_replace_the_arithmetic(tmp_path: Path) -> None:
    own = {name: {"value": 1000, "source": "mine"} for name in ("teacher.gemma", "llama", "collected_labels.gemma")}
    own["phi4"] = {"value": 500, "source": "mine"}
    config = full_size(
        planning={"throughput": {"measured_tokens_per_s": own}}, training={"checkpoint": {"every_minutes": None}}
    )
    jobs = jobs_of(make_plan(config, tmp_path))
    teacher = jobs["teacher.gemma"]
    seconds = (teacher.tokens.value + teacher.scored_tokens.value / 4) / 1000 + 120
    assert teacher.hours.value == pytest.approx(seconds / 3600)
    assert jobs["final.llama"].hours.value > 30 > jobs["final.gemma"].hours.value
    scoring = jobs["collected_labels.gemma"]
    assert scoring.hours.value == pytest.approx((scoring.tokens.value / 1000 + 120) / 3600)
    assert jobs["generation.phi4"].hours.value == pytest.approx(jobs["generation.phi4"].tokens.value / 500 / 3600)


def test_hours_follow_the_flops(tmp_path: Path) -> None:
    slow = {"checkpoint": {"every_minutes": None}}
    jobs = jobs_of(make_plan(full_size(training=slow), tmp_path))
    twice = jobs_of(make_plan(full_size(training=slow, launcher={"processes_per_node": 8}), tmp_path))
    launch = 120 / 3600
    ratio = (jobs["teacher.gemma"].hours.value - launch) / (twice["teacher.gemma"].hours.value - launch)
    assert ratio == pytest.approx(2)
    kept = jobs_of(make_plan(full_size(training=slow | {"activation_checkpointing": False}), tmp_path))
    assert 0.7 < kept["pretraining.gemma"].hours.value / jobs["pretraining.gemma"].hours.value < 0.8


def test_what_is_not_described_is_named(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"planning\.devices\.tpu is not described; known: .*a100_80gb"):
        make_plan(full_size(planning={"device": "tpu"}), tmp_path)
    unknown = full_size(generation={"answer_models": {"phi4": {"engine": "vllm", "model": "x"}}}).model_copy()
    sizes = dict(unknown.planning.answer_models)
    del sizes["phi4"]
    planning = unknown.planning.model_copy(update={"answer_models": sizes})
    with pytest.raises(PlanError, match=r"planning\.answer_models\.phi4 does not say how large"):
        make_plan(unknown.model_copy(update={"planning": planning}), tmp_path)


def test_jobs_that_do_not_fit_are_named(tmp_path: Path) -> None:
    plan = make_plan(full_size(launcher={"processes_per_node": 1}), tmp_path)
    warnings = memory_warnings(plan)
    assert any(line.startswith("teacher.gemma does not fit: ") for line in warnings)
    assert any(line.startswith("teacher.gemma_large does not fit: ") for line in warnings)
    assert not any(line.startswith("collected_labels.gemma ") for line in warnings)


def test_what_lies_outside_the_data_folder_is_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPSEEK_API_KEY", "x")
    monkeypatch.delenv("MINIMAX_API_KEY", raising=False)
    weights = tmp_path / "phi"
    weights.mkdir()
    for name in ("config.json", "tokenizer_config.json"):
        (weights / name).write_text("{}")
    config = full_size(generation={"answer_models": {"phi4": {"model": str(weights)}}})
    lines = missing_outside(config, make_plan(config, tmp_path).jobs, tmp_path)
    assert not any("phi4" in line or "DEEPSEEK" in line for line in lines)
    told = "\n".join(lines)
    assert "generation.answer_models.minimax_01: environment variable MINIMAX_API_KEY is not set; export" in told
    assert "generation.vllm.python: .venv-vllm/bin/python is not there; vLLM needs" in told
    assert any(line.startswith("judges.gemma_large.backbone.source: google/gemma-2-27b-it is not") for line in lines)


def test_metrics_that_a_kill_cut_off_measure_nothing(tmp_path: Path) -> None:
    metrics = tmp_path / "metrics.jsonl"
    assert read_tokens_per_s(metrics) is None
    lines = [
        {"tokens": 100, "tokens_per_s": 50.0, "memory_bytes": 7},
        {"tokens": 400, "tokens_per_s": 100.0, "memory_bytes": 5},
    ]
    metrics.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert read_tokens_per_s(metrics) == pytest.approx(400 / 5)
    assert read_memory_bytes(metrics) == 7
    metrics.write_text(metrics.read_text() + '{"tokens": 4')
    assert read_tokens_per_s(metrics) is None


def test_sums_take_the_weakest_basis_of_what_counts() -> None:
    assert total([Figure(2, Basis.ESTIMATED), Figure(0, Basis.ASSUMED)]) == Figure(2, Basis.ESTIMATED)
    assert total([]) == NOTHING
    jobs = [
        Job("a", "a", "training", "to do", final_bytes=Figure(10, Basis.EXACT), running_bytes=Figure(5, Basis.EXACT)),
        Job("b", "b", "training", "to do", final_bytes=Figure(2, Basis.EXACT), running_bytes=Figure(1, Basis.EXACT)),
    ]
    totals = sum_up(jobs)
    assert (totals.final_bytes.value, totals.peak_bytes.value, totals.peak_job) == (12, 15, "a")


@pytest.mark.parametrize(
    ("figure", "shown"),
    [
        (Figure(1_234_567, Basis.EXACT), "1,234,567"),
        (Figure(1_234_567, Basis.ESTIMATED), "~1,230,000"),
        (Figure(1_234_567, Basis.ASSUMED), "?1,200,000"),
        (Figure(12.345, Basis.MEASURED), "*12.3"),
        (Figure(0.012345, Basis.MEASURED), "*0.012"),
        (Figure(0.00012345, Basis.ASSUMED), "?<0.001"),
        (NOTHING, ""),
    ],
)
def test_numbers_are_shown_as_far_as_they_are_sure(figure: Figure, shown: str) -> None:
    assert show(figure) == shown


def test_planning_needs_no_torch() -> None:
    modules = ", ".join(f"wsdm_arena.planning.{name}" for name in ("plan", "disk", "inputs", "report"))
    code = f"import sys, {modules}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_planned_cascade_says_what_the_second_judge_reads(tmp_path: Path) -> None:
    cascade = tmp_path / "07_model_output/submission/final/cascade.json/2026/cascade.json"
    cascade.parent.mkdir(parents=True)
    cascade.write_text(json.dumps({"held_out": {"share_read_twice": 0.2}}))
    jobs = jobs_of(make_plan(full_size(), tmp_path))
    assert jobs["submission.final"].sequences.value == 1.2 * 25_000
    assert jobs["submission.student"].sequences.value == 1.5 * 25_000
    cascade.write_text(json.dumps({"held_out": None}))
    assert jobs_of(make_plan(full_size(), tmp_path))["submission.final"].sequences.value == 1.5 * 25_000


def test_tokens_of_test_pairs_are_found_by_the_bundle_that_read_them(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    assert folder.bundle_tokens("test_pairs", "final.gemma") is None
    made = {"a": "final/gemma/bundle/2026/bundle", "b": "final/llama/bundle/2026/bundle", "c": "backbones/gemma"}
    for key, tokenizer in made.items():
        store = tmp_path / "05_model_input/tokens" / f"test_pairs.{key}"
        store.mkdir(parents=True)
        (store / "manifest.json").write_text(json.dumps({"tokenizer": f"{tmp_path}/06_models/{tokenizer}"}))
    assert folder.bundle_tokens("test_pairs", "final.gemma") == tmp_path / "05_model_input/tokens/test_pairs.a"
    assert folder.bundle_tokens("test_pairs", "student.gemma") is None


def test_the_data_folder_is_searched_for_the_newest_version(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    assert folder.table("generated_pairs") is None
    for version in ("2026-01-01T00.00.00.000Z", "2026-02-01T00.00.00.000Z", "2026-03-01T00.00.00.000Z"):
        (tmp_path / "03_primary/generated_pairs.parquet" / version).mkdir(parents=True)
    newest = tmp_path / "03_primary/generated_pairs.parquet/2026-02-01T00.00.00.000Z/generated_pairs.parquet"
    newest.write_text("")
    assert folder.table("generated_pairs") == newest  # March's save has failed
    newest.unlink()
    assert folder.table("generated_pairs") is None
