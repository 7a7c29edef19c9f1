"""Nodes of the submission; the library does the work."""

import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from wsdm_arena.analysis.tables import CascadeAnalysis
from wsdm_arena.config import LauncherConfig, PreferencesConfig, ReportingConfig, SubmissionConfig
from wsdm_arena.progress import show_progress
from wsdm_arena.prompts.store import TokenStore
from wsdm_arena.runs.formats import TOKENS_FORMAT, result_format
from wsdm_arena.runs.source_code import ANALYSES, SCORES
from wsdm_arena.scoring import cascade_plan
from wsdm_arena.scoring.cascade import CascadeError
from wsdm_arena.scoring.scoreboard import (
    NEW_PROMPTS,
    TEST_PAIRS,
    Measurement,
    ScoreboardRow,
    known_votes,
    slice_of,
    verdict_rows,
)
from wsdm_arena.stages.nodes import tokenize_table


def plan_cascade(
    submission: SubmissionConfig,
    preferences: PreferencesConfig,
    battles: pd.DataFrame,
    *,
    stage: Literal["student", "final"],
    **predictions: pd.DataFrame,
) -> dict[str, Any]:
    """Settle weights and threshold, and foretell on the held-out fold what they mean.

    Further arguments are the judges' held-out predictions by name, the first judge's first.
    """
    return cascade_plan.plan_cascade(
        getattr(submission, stage),
        predictions,
        battles[battles["fold"] == preferences.held_out_fold],
        compare_with_threshold=submission.compare_with_threshold,
    )


@result_format(TOKENS_FORMAT, 1)
def judge_test_pairs(
    test_pairs: pd.DataFrame,
    cascade: dict[str, Any],
    submission: SubmissionConfig,
    launcher: LauncherConfig,
    token_store: Path,
    *,
    stage: Literal["student", "final"],
    **bundles: Path,
) -> dict[str, Any]:
    """Have the first judge read every pair, and the second those whose winner it can change, within the time budget.

    Returns:
        ``verdicts`` and the cascade's ``report``.

    Raises:
        CascadeError: The bundles are not those of the judges that the cascade was planned for, in this order.
    """
    # These import torch, which takes seconds.
    from wsdm_arena.judging.bundle import Bundle, BundleError
    from wsdm_arena.judging.cascade import run_cascade
    from wsdm_arena.judging.reading import CascadeJudge
    from wsdm_arena.modeling.devices import choose_devices, choose_dtype
    from wsdm_arena.scoring.table_reader import torch_threads

    if list(bundles) != cascade["judges"]:
        raise CascadeError(
            f"the cascade was planned for {cascade['judges']}, but the bundles are those of {list(bundles)}, the first "
            "judge's first: run the node that plans it again, or give roster.students the order of the plan"
        )
    began = time.monotonic()
    config = getattr(submission, stage)
    read = test_pairs.assign(prompt=test_pairs["prompt"].str[: config.max_prompt_characters])
    dtype = choose_dtype(submission.dtype, *choose_devices(submission.devices))
    judges = []
    for name, path in bundles.items():
        bundle = Bundle.open(path)
        tokens = tokenize_table(
            "test_pairs",
            read,
            name=name,
            tokenizer_dir=bundle.tokenizer_dir,
            template=bundle.prompt.template,
            system_role=bundle.prompt.system_role,
            truncation=bundle.prompt.truncation,
            policy=bundle.prompt.policy,
            token_store=token_store,
        )
        if TokenStore.open(tokens).template.hash != bundle.manifest["template_hash"]:
            raise BundleError(
                f"{path}: its prompt.json is not the prompt that {name} was trained with; export it again"
            )
        load = partial(bundle.load_judge, attention=submission.attention, dtype=dtype)
        judges.append(CascadeJudge.from_store(name, load, tokens, devices=submission.devices))
    with show_progress("judged tokens") as progress, torch_threads(launcher.threads_per_process):
        done = 0

        def advance(_: str, num_tokens: int) -> None:
            nonlocal done
            done += num_tokens
            progress(done, None)

        result = run_cascade(
            judges,
            test_pairs,
            weights=cascade["weights"],
            threshold=cascade["threshold"],
            compare_with_threshold=submission.compare_with_threshold,
            time_budget_s=submission.time_budget_s,
            start=began,
            max_tokens_per_batch=submission.max_tokens_per_batch,
            on_batch=advance,
        )
    return {"verdicts": result.verdicts, "report": result.report.to_dict()}


@result_format(SCORES)
def evaluate_verdicts(
    verdicts: pd.DataFrame,
    test_pairs: pd.DataFrame,
    battles: pd.DataFrame,
    simulated_truth: pd.DataFrame,
    reporting: ReportingConfig,
    seed: int,
    run_context: dict[str, Any],
    *,
    stage: str,
) -> list[ScoreboardRow]:
    """Score the cascade on the test pairs where their votes are known, and on those whose prompt no battle asks."""
    votes = known_votes(test_pairs, simulated_truth)
    how = Measurement.of(reporting, truth=simulated_truth, seed=seed, run_context=run_context)
    parts = {TEST_PAIRS: votes, NEW_PROMPTS: votes[~votes["prompt"].isin(battles["prompt"])]}
    return [
        row
        for dataset, part in parts.items()
        for row in verdict_rows(
            verdicts,
            part,
            stage="submission",
            judge=stage,
            dataset=dataset,
            how=how,
        )
        if dataset == TEST_PAIRS or not slice_of(row)
    ]


@result_format(ANALYSES)
def analyse_cascade(
    cascade: dict[str, Any],
    report: dict[str, Any],
    battles: pd.DataFrame,
    preferences: PreferencesConfig,
    reporting: ReportingConfig,
    seed: int,
    *,
    stage: str,
    read_by: Mapping[str, str],
    **predictions: pd.DataFrame,
) -> CascadeAnalysis:
    """Find out on the held-out fold what each share of pairs that are read twice would be worth, and cost.

    Further arguments are the judges' held-out predictions by name, the first judge's first.
    """
    from wsdm_arena.analysis.cascades import analyse_cascade as analyse  # imports torch and scipy

    return analyse(
        cascade,
        predictions,
        battles[battles["fold"] == preferences.held_out_fold],
        report,
        stage=stage,
        read_by=read_by,
        num_test_pairs=report["num_rows"],
        confidence=reporting.confidence,
        num_bootstrap_samples=reporting.bootstrap_samples,
        seed=seed,
    )
