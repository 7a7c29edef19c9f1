import numpy as np
import pandas as pd
import pytest

from wsdm_arena.config import CascadeConfig
from wsdm_arena.scoring.cascade import CascadeError
from wsdm_arena.scoring.cascade_plan import plan_cascade

NUM = 300


def ids() -> list[str]:
    return [f"{number:032x}" for number in range(NUM)]


@pytest.fixture
def battles() -> pd.DataFrame:
    wins = np.random.default_rng(0).random(NUM) < 0.5
    return pd.DataFrame({"pair_id": ids(), "probability_a": wins * 1.0, "probability_b": ~wins * 1.0})


def predictions(battles: pd.DataFrame, noise: float, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frames = []
    for order in ("ab", "ba"):
        lead = np.where(battles["probability_a"] == 1, 1.0, -1.0) + noise * rng.normal(size=NUM)
        p = 1 / (1 + np.exp(-lead))
        frames.append(battles[["pair_id"]].assign(order=order, probabilities=list(np.column_stack([p, 1 - p]))))
    return pd.concat(frames).sample(frac=1, random_state=seed)


def test_the_recipes_weights_make_the_second_judge_read_what_it_can_change(battles):
    judges = {"gemma": predictions(battles, 1.0, 1), "llama": predictions(battles, 2.0, 2)}
    plan = plan_cascade(CascadeConfig(weights={"gemma": 2.5}), judges, battles, compare_with_threshold=0.8)
    assert plan["weights"] == {"gemma": 2.5, "llama": 1.0}
    assert plan["threshold"] == pytest.approx(0.4)
    first = judges["gemma"].query("order == 'ab'")
    d1 = np.stack(first["probabilities"].to_list()) @ [1, -1]
    assert plan["held_out"]["num_selected"] == int((np.abs(d1) < 0.4).sum())
    assert plan["held_out"]["share_at_compared_threshold"] == pytest.approx((np.abs(d1) < 0.8).mean())
    assert plan["fitted"] is None


def test_a_share_is_fitted_and_weights_favour_the_better_judge(battles):
    judges = {"gemma": predictions(battles, 0.5, 1), "llama": predictions(battles, 4.0, 2)}
    plan = plan_cascade(CascadeConfig(fit_share=0.2), judges, battles, compare_with_threshold=0.8)
    assert plan["weights"]["gemma"] > plan["weights"]["llama"] == 1
    assert plan["held_out"]["share_selected"] == pytest.approx(min(0.2, plan["fitted"]["share"]), abs=0.02)
    assert plan["threshold"] <= 1 / plan["weights"]["gemma"]


def test_one_judge_is_a_cascade_of_one(battles):
    plan = plan_cascade(CascadeConfig(), {"gemma": predictions(battles, 1, 1)}, battles, compare_with_threshold=0.8)
    assert plan == {"judges": ["gemma"], "weights": {"gemma": 1.0}, "threshold": None, "fitted": None}


def test_judges_that_read_different_pairs_are_refused(battles):
    first = ids()[0]  # noqa: F841 (the query reads it)
    judges = {"gemma": predictions(battles, 1, 1), "llama": predictions(battles, 1, 2).query("pair_id > @first")}
    with pytest.raises(CascadeError, match="gemma and llama read different pairs"):
        plan_cascade(CascadeConfig(), judges, battles, compare_with_threshold=0.8)
