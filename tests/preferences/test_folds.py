import numpy as np
import pandas as pd
import pytest

from wsdm_arena.preferences.folds import BattlesError, assign_folds, check_folds


def _battles(num_battles: int = 600, num_prompts: int = 200) -> pd.DataFrame:
    random = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "prompt_group": [f"{group:032x}" for group in random.integers(0, num_prompts, num_battles)],
            "winner": random.choice(["model_a", "model_b"], num_battles, p=[0.6, 0.4]),
        }
    )


def test_no_prompt_stands_in_two_folds_and_winners_are_spread_evenly():
    battles = _battles()
    battles["fold"] = assign_folds(battles["prompt_group"], battles["winner"], num_folds=5, seed=0)
    assert battles.groupby("prompt_group").size().max() > 1  # there was something to keep together
    assert len(battles.drop_duplicates(["prompt_group", "fold"])) == battles["prompt_group"].nunique()
    assert battles["fold"].value_counts().between(110, 130).all()
    shares = battles.groupby("fold")["winner"].apply(lambda winners: (winners == "model_a").mean())
    assert shares.max() - shares.min() < 0.02


def test_the_order_of_the_rows_makes_no_difference_and_the_seed_does():
    battles = _battles()
    folds = pd.Series(assign_folds(battles["prompt_group"], battles["winner"], num_folds=5, seed=0))
    shuffled = battles.sample(frac=1, random_state=1)
    again = assign_folds(shuffled["prompt_group"], shuffled["winner"], num_folds=5, seed=0)
    other_seed = assign_folds(battles["prompt_group"], battles["winner"], num_folds=5, seed=1)
    assert (folds.loc[shuffled.index].to_numpy() == again).all()
    assert (folds.to_numpy() != other_seed).any()


def test_too_few_prompts_name_the_parameter_to_lower():
    battles = _battles(20, num_prompts=3)
    with pytest.raises(
        BattlesError, match=r"5 folds need at least 5 different prompts, there are 3 .*preferences\.num_folds"
    ):
        assign_folds(battles["prompt_group"], battles["winner"], num_folds=5, seed=0)


def test_fewer_votes_of_each_winner_than_folds_is_one_clear_error():
    groups = pd.Series([f"{number}" for number in range(6)])
    with pytest.raises(BattlesError, match=r"preferences\.num_folds"):
        assign_folds(groups, pd.Series(["model_a", "model_b"] * 3), num_folds=5, seed=0)


def test_a_prompt_in_two_folds_is_refused_by_name():
    with pytest.raises(BattlesError, match="1 prompt groups stand in more than one fold, such as p1"):
        check_folds(pd.Series(["p1", "p1", "p2"]), np.array([0, 1, 1]))
    check_folds(pd.Series(["p1", "p1", "p2"]), np.array([0, 0, 1]))
