from pathlib import Path

import pandas as pd
import pytest

from wsdm_arena.config import LauncherConfig, SubmissionConfig
from wsdm_arena.pipelines.submission.nodes import judge_test_pairs
from wsdm_arena.scoring.cascade import CascadeError


@pytest.mark.parametrize("judges", [("llama", "gemma"), ("gemma",), ("gemma", "qwen"), ("gemma", "llama", "qwen")])
def test_bundles_of_other_judges_than_the_plan_or_in_another_order_are_refused_before_any_work(tmp_path, judges):
    cascade = {"judges": ["gemma", "llama"], "weights": {"gemma": 3.2, "llama": 1.0}, "threshold": 0.3}
    bundles = {judge: tmp_path / judge for judge in judges}  # not there: they must not be opened
    with pytest.raises(CascadeError, match=r"planned for \['gemma', 'llama'\], but the bundles are those of"):
        judge_test_pairs(
            pd.DataFrame(), cascade, SubmissionConfig(), LauncherConfig(), Path(), stage="student", **bundles
        )
