"""The notebook that trains on one's own battles: on simulated ones, since it is given none."""

import pandas as pd
import pytest

from tests.notebooks.execution import run_notebook


@pytest.mark.slow
def test_your_own_battles_from_a_file_to_verdicts(tmp_path):
    folder = tmp_path / "own"
    said = run_notebook(
        "02_your_own_battles.ipynb",
        cwd=tmp_path,
        parameters={"folder": str(folder)},
        results={
            "reasons": "listed['reason'].tolist()",
            "num_battles": "len(battles)",
            "accuracy": "rows.set_index('name')['accuracy'].to_dict()",
            "verdicts": "verdicts[['probability_a', 'probability_b']].to_numpy().tolist()",
            "largest": "float(largest)",
            "bundle": "str(trained.bundle)",
        },
        keep=tmp_path,
    )
    assert sorted(said["reasons"]) == [
        "the answers are identical",
        "the answers are identical",
        "the row cannot be read",
        "the row repeats another",
        "the winner is unknown",
    ]
    assert said["num_battles"] == 1200
    assert said["bundle"] == str(folder / "judge")
    assert said["accuracy"]["own.judge"] > said["accuracy"]["baseline.longer_wins"]
    assert all(a + b == pytest.approx(1) and 0 < a < 1 for a, b in said["verdicts"])
    assert said["largest"] < 1e-6
    written = pd.read_parquet(folder / "verdicts.parquet")
    assert len(written) == len(said["verdicts"]) == 60
    assert written["winner"].isin(["model_a", "model_b"]).all()
