"""One process: what is computed. Several processes: test_ranks.py."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.training.tiny_runs import TinyRuns, finish, metrics, open_trainer, weights
from wsdm_arena.batching.packed import PackedBatch
from wsdm_arena.batching.planner import UpdatePlan
from wsdm_arena.distributed import DistributedContext
from wsdm_arena.modeling.dropout import draw_keep_masks
from wsdm_arena.training.evaluation import Evaluator
from wsdm_arena.training.run import RunDirectory
from wsdm_arena.training.start import build_initial_judge
from wsdm_arena.training.trainer import Trainer, TrainingDivergedError


def gradients(trainer: Trainer, plan: UpdatePlan) -> dict[str, torch.Tensor]:
    trainer.judge.train()
    trainer.accumulate_gradients(plan)
    return {name: parameter.grad.clone() for name, parameter in trainer.judge.named_parameters()}


def relative_difference(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> float:
    difference = sum(float((ours[name] - theirs[name]).double().square().sum()) for name in theirs)
    return (difference / sum(float(tensor.double().square().sum()) for tensor in theirs.values())) ** 0.5


@pytest.mark.parametrize("judge", ["llama", "gemma"])
def test_any_token_budget_gives_the_same_gradients(tiny_runs: TinyRuns, judge: str) -> None:
    by_budget, num_micro_steps = [], []
    for budget in (1, 200, 10_000):
        run = tiny_runs.make(f"{judge}{budget}", judge=judge, training={"max_tokens_per_micro_batch": budget})
        with open_trainer(run) as trainer:
            plan = next(iter(trainer.planner))
            num_micro_steps.append(len(plan.micro_steps))
            by_budget.append(gradients(trainer, plan))
    assert num_micro_steps[0] == 16
    assert 1 < num_micro_steps[1] < 16
    assert num_micro_steps[2] == 1
    assert relative_difference(by_budget[0], by_budget[2]) < 1e-5
    assert relative_difference(by_budget[1], by_budget[2]) < 1e-5


@pytest.mark.parametrize("language_modeling_weight", [0.0, 0.5])
def test_the_gradient_is_that_of_the_mean_over_the_global_batch(
    tiny_runs: TinyRuns, language_modeling_weight: float
) -> None:
    """The last global batch has 4 battles instead of 8, and is divided by its own number."""
    training = {"language_modeling_weight": language_modeling_weight}
    run = tiny_runs.make(f"mean{language_modeling_weight}", training=training)
    judge = build_initial_judge(RunDirectory(run).read_config()).train()
    with open_trainer(run) as trainer:
        plan = list(trainer.planner)[-1]
        tokens, labels = trainer.data.train.tokens, trainer.data.train.labels
        ours = gradients(trainer, plan)
    assert len(plan.battles) == 4
    numbers = [2 * battle + order for battle in plan.battles for order in (0, 1)]
    batch = PackedBatch.from_sequences([tokens.sequence(number) for number in numbers])
    readings = [(str(tokens.pair_ids[number // 2]), "ba" if number % 2 else "ab") for number in numbers]
    masks = draw_keep_masks(readings, judge.head.dropout_widths, rate=0.1, seed=3, update=plan.update)
    logits, language_loss = judge(batch, masks, language_modeling=True)
    targets = torch.tensor([labels[number // 2][:: -1 if number % 2 else 1].argmax() for number in numbers])
    loss = torch.nn.functional.cross_entropy(logits, targets)
    if language_modeling_weight:
        loss = loss + language_modeling_weight * language_loss / (batch.num_tokens - batch.num_segments)
    loss.backward()
    assert relative_difference(ours, {name: tensor.grad for name, tensor in judge.named_parameters()}) < 1e-5


@pytest.mark.parametrize("judge", ["llama", "gemma"])
def test_activation_checkpointing_reads_every_layer_twice_and_changes_nothing(tiny_runs: TinyRuns, judge: str) -> None:
    found, num_forwards = [], {False: 0, True: 0}
    for checkpointing in (False, True):
        training = {"activation_checkpointing": checkpointing, "max_tokens_per_micro_batch": 10_000}
        run = tiny_runs.make(f"recompute{judge}{checkpointing}", judge=judge, training=training)

        def count(*_: object, checkpointing: bool = checkpointing) -> None:
            num_forwards[checkpointing] += 1

        with open_trainer(run) as trainer:
            for layer in trainer.judge.decoder_layers:
                layer.self_attn.register_forward_hook(count)
            plan = next(iter(trainer.planner))
            assert len(plan.micro_steps) == 1
            found.append(gradients(trainer, plan))
    assert num_forwards == {False: 2, True: 2 * 2}  # there are two layers
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_the_loss_falls_and_every_parameter_moves(tiny_runs: TinyRuns) -> None:
    training = {"max_battles": 8, "epochs": 40, "optimizer": {"peak_learning_rate": 1e-2}}
    run = tiny_runs.make("learns", training=training)
    before = build_initial_judge(RunDirectory(run).read_config()).state_dict()
    finish(run)
    losses = [record["loss"] for record in metrics(run)]
    assert len(losses) == 2 * 40
    assert np.mean(losses[-10:]) < np.mean(losses[:10]) - 0.2
    after = {f"head.{name}": tensor for name, tensor in load_file(run / "model/head.safetensors").items()}
    after |= {f"backbone.{name}": tensor for name, tensor in load_file(run / "model/model.safetensors").items()}
    assert set(after) == set(before)
    assert all(not torch.equal(after[name], before[name]) for name in before)


def test_metrics_say_where_the_run_is(tiny_runs: TinyRuns) -> None:
    run = finish(tiny_runs.make("metrics", training={"log_every_updates": 4}))
    records = metrics(run)
    assert [record["update"] for record in records] == [4, 8, 9]  # the last update is always logged
    assert [record["phase"] for record in records] == [0, 1, 1]
    assert {record["updates"] for record in records} == {9}
    assert records[-1]["tokens"] == 2 * int(tiny_runs.train_tokens())
    assert records[-1]["learning_rate"] == pytest.approx(1e-6)
    assert all(record[name] > 0 for record in records for name in ("tokens_per_s", "elapsed_s", "memory_bytes"))
    assert not (run / "state").exists()
    complete = json.loads((run / "complete.json").read_text())
    assert complete["fingerprint"].startswith("metrics")
    assert set(complete["metrics"]) == {"num_battles", "accuracy", "log_loss"}
    assert {"predictions.parquet", "predictions_at_start.parquet", "model/model.safetensors"} <= set(complete["files"])


def test_a_complete_run_is_left_alone(tiny_runs: TinyRuns) -> None:
    run = finish(tiny_runs.make("again"))
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.name != ".lock"}
    finish(run)
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.name != ".lock"} == before


def test_evaluations_change_neither_the_training_nor_its_mode(tiny_runs: TinyRuns) -> None:
    """Dropout would stay off after an evaluation that forgets to switch back, and other weights would come out."""
    plain = finish(tiny_runs.make("plain"))
    evaluation = {"every_updates": 2, "from_fraction": 0.4, "keep_checkpoints": True, "max_battles": 6}
    evaluated = finish(tiny_runs.make("evaluated", training={"evaluation": evaluation}))
    assert all(
        torch.equal(weights(plain / "model")[name], tensor) for name, tensor in weights(evaluated / "model").items()
    )
    records = [json.loads(line) for line in (evaluated / "evaluations.jsonl").read_text().splitlines()]
    assert [record["update"] for record in records] == [0, 4, 6, 8]
    assert sorted(path.name for path in (evaluated / "evaluations").iterdir()) == [
        "update-000004",
        "update-000006",
        "update-000008",
    ]
    halfway = weights(evaluated / "evaluations/update-000004")
    assert all(not torch.equal(halfway[name], tensor) for name, tensor in weights(evaluated / "model").items())


def test_predicting_leaves_the_judge_in_training_mode(tiny_runs: TinyRuns) -> None:
    run = tiny_runs.make("mode")
    config = RunDirectory(run).read_config()
    context = DistributedContext.from_environment(device="cpu", environment={})
    with open_trainer(run) as trainer:
        evaluator = Evaluator(config, context, trainer.data.template_hash)
        for mode in (True, False):
            trainer.judge.train(mode)
            evaluator.predict(trainer.judge, trainer.data.held_out, judge_fingerprint="x")
            assert {module.training for module in trainer.judge.modules()} == {mode}


def test_bfloat16_with_kahan_summation_follows_float32(tiny_runs: TinyRuns) -> None:
    rounded = tiny_runs.folder / "rounded"
    rounded.mkdir()
    for file in tiny_runs.backbones["llama"].iterdir():
        (rounded / file.name).write_bytes(file.read_bytes())
    start = {name: tensor.bfloat16() for name, tensor in load_file(rounded / "model.safetensors").items()}
    save_file(start, rounded / "model.safetensors", metadata={"format": "pt"})

    def movement(name: str, dtype: str, *, kahan: bool) -> torch.Tensor:
        # Updates of at most 2e-5 are below half a unit in the last place of a bfloat16 weight of 0.01 (3e-5).
        optimizer = {"peak_learning_rate": 2e-5, "kahan_summation": kahan, "weight_decay": 0.0}
        run = tiny_runs.make(name, training={"dtype": dtype, "optimizer": optimizer, "epochs": 2}, backbone=rounded)
        trained = load_file(finish(run) / "model/model.safetensors")
        return torch.cat([(trained[key].double() - start[key].double()).flatten() for key in start])

    exact = movement("exact", "float32", kahan=True)
    compensated = movement("compensated", "bfloat16", kahan=True)
    rounded_away = movement("rounded away", "bfloat16", kahan=False)
    assert (compensated - exact).norm() < 0.45 * exact.norm()
    assert (rounded_away - exact).norm() > 0.8 * exact.norm()


def test_a_loss_that_is_not_finite_ends_the_run(tiny_runs: TinyRuns) -> None:
    run = tiny_runs.make("diverges", training={"optimizer": {"peak_learning_rate": 1e30}})
    with pytest.raises(TrainingDivergedError, match=r"teacher\.llama: the loss of update \d is not a finite number"):
        finish(run)


def test_a_gradient_that_is_not_finite_leaves_weights_and_the_last_good_state(tiny_runs: TinyRuns) -> None:
    """Nothing is logged before the end, but the fourth update is due to be saved."""
    training = {"log_every_updates": 100, "checkpoint": {"every_updates": 2}}
    run = tiny_runs.make("poisoned", training=training)
    with open_trainer(run) as trainer:
        accumulate = trainer.accumulate_gradients
        before: dict[str, torch.Tensor] = {}

        def poison(plan: UpdatePlan) -> None:
            accumulate(plan)
            if plan.update == 3:
                next(trainer.judge.parameters()).grad[0, 0] = float("inf")
                before.update({name: tensor.clone() for name, tensor in trainer.judge.state_dict().items()})

        trainer.accumulate_gradients = poison
        with pytest.raises(
            TrainingDivergedError, match=r"teacher\.llama: the gradient of update 4 is not a finite number"
        ):
            trainer.fit()
        after = trainer.judge.state_dict()
    assert before
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert [path.name for path in (run / "state").iterdir()] == ["update-000002"]
    finish(run)
    assert [record["update"] for record in metrics(run)] == [9]


def test_a_run_continues_an_earlier_judge_with_its_head(tiny_runs: TinyRuns) -> None:
    first = finish(tiny_runs.make("first"))
    untouched = {"peak_learning_rate": 1e-30}
    second = finish(tiny_runs.make("second", training={"optimizer": untouched}, initial_checkpoint=first / "model"))
    assert all(
        torch.equal(weights(first / "model")[name], tensor) for name, tensor in weights(second / "model").items()
    )
    assert (second / "model/tokenizer.json").is_file()


def test_tokens_of_another_tokenizer_are_refused(tiny_runs: TinyRuns, tmp_path: Path) -> None:
    for file in tiny_runs.backbones["llama"].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    content: dict[str, Any] = json.loads((tmp_path / "tokenizer.json").read_text())
    content["model"]["vocab"] = {key: 255 - value for key, value in content["model"]["vocab"].items() if value < 256}
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(Exception, match="were made with another tokenizer than that of"):
        finish(tiny_runs.make("other tokenizer", backbone=tmp_path))
