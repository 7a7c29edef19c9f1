"""Nodes of pair generation; the library does the work."""

import logging
import os
import shutil
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pandas as pd
from kedro.utils import find_kedro_project

from wsdm_arena.config import GenerationConfig, SimulationConfig
from wsdm_arena.generation.conversations import MiningError
from wsdm_arena.generation.engines import default_engines
from wsdm_arena.generation.generate import generate_answers
from wsdm_arena.generation.requests import PROMPT_COLUMNS, draw_requests, needed_prompts
from wsdm_arena.processes.parent_death import die_with_parent
from wsdm_arena.progress import show_progress
from wsdm_arena.runs.fingerprint import fingerprint, table_digest
from wsdm_arena.runs.formats import ANSWERS_FORMAT, result_format

logger = logging.getLogger(__name__)

PACKAGE_ARGUMENT = "package_"
"""Begins the names of arguments that are packaged models."""


def mine(
    conversations: list[Path],
    battles: pd.DataFrame,
    collected_pairs: pd.DataFrame,
    test_pairs: pd.DataFrame,
    generation: GenerationConfig,
    mining_folder: Path,
) -> dict[str, Any]:
    """Find prompts that occur once in the conversations and nowhere else.

    Done in a process of its own, with which the memory for a million conversations goes.

    Returns:
        ``mined_prompts`` (path of a table) and ``report`` (counts).
    """
    output = mining_folder / "mined_prompts.parquet"
    if not conversations:
        _write_no_prompts(output)
        return {"mined_prompts": output, "report": {}}
    for leftover in mining_folder.glob(f".{output.name}.*.partial"):  # of a run that was killed
        shutil.rmtree(leftover)
    excluded = [table[["prompt"]] for table in (battles, collected_pairs, test_pairs)]
    try:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=_begin_process) as pool:
            report = pool.submit(_mine, conversations, excluded, generation, output).result()
    except BrokenProcessPool:
        raise MiningError("the process that mines prompts was killed; is there enough memory? Give it 2 GB") from None
    logger.info(
        "mining: %s",
        ", ".join(f"{value} {key.removeprefix('num_')}" for key, value in report.items() if key.startswith("num_")),
    )
    return {"mined_prompts": output, "report": report}


def _begin_process() -> None:
    die_with_parent()
    logging.basicConfig(format="%(asctime)s %(levelname)-7s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("wsdm_arena.progress").setLevel(logging.INFO)  # what else there is to say, the parent says


def _write_no_prompts(output: Path) -> None:
    """Write a table of mined prompts without rows: there are no conversations."""
    columns: dict[str, Any] = dict.fromkeys(PROMPT_COLUMNS, "str") | {"is_first_language": "bool", "position": "int64"}
    empty = pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in columns.items()})
    partial = output.with_name(f".{output.name}.{os.getpid()}")
    empty.to_parquet(partial, index=False)
    os.replace(partial, output)
    logger.warning("there are no conversations: no pairs are generated")


def _mine(
    conversations: list[Path], excluded: list[pd.DataFrame], generation: GenerationConfig, output: Path
) -> dict[str, Any]:
    from wsdm_arena.generation.mining import mine_prompts

    with show_progress("mined conversations") as progress:
        report = mine_prompts(
            conversations,
            output=output,
            mining=generation.mining,
            seed=generation.seed,
            excluded=excluded,
            max_prompts=needed_prompts(generation),
            progress=progress,
        )
    return report.to_dict()


def draw_answer_requests(
    mined_prompts: pd.DataFrame, generation: GenerationConfig
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Draw who answers which prompt in which round.

    Returns:
        Requests, and a report of the rounds' sizes.
    """
    tables = draw_requests(mined_prompts, generation)
    return tables.requests, tables.report


@result_format(ANSWERS_FORMAT)
def answer_prompts(
    requests: pd.DataFrame,
    generation: GenerationConfig,
    simulation: SimulationConfig,
    simulated_prompts: pd.DataFrame,
    answer_store: Path,
    **packaged_models: Path,
) -> pd.DataFrame:
    """Have every answer model answer its prompts; what was answered before is not asked again.

    Packaged models come as directories, by :data:`PACKAGE_ARGUMENT` and their names.
    """
    from wsdm_arena.simulation.answer_engine import simulator_engine

    if requests.empty:
        return pd.DataFrame({name: pd.Series(dtype="str") for name in ("request_id", "text", "finish_reason", "error")})
    generation = generation.with_packages(
        {name.removeprefix(PACKAGE_ARGUMENT): str(directory) for name, directory in packaged_models.items()}
    )
    project = find_kedro_project(Path.cwd()) or Path.cwd()
    engines = {
        **default_engines(project_path=project, log_folder=answer_store / "logs"),
        "simulator": simulator_engine(simulated_prompts, simulation),
    }
    if len(simulated_prompts):  # another arena's models would answer otherwise
        arena = {"simulation": simulation.model_dump(mode="json"), "prompts": table_digest(simulated_prompts)}
        answer_store = answer_store / f"arena-{fingerprint(arena)}"
    with show_progress("answers") as progress:
        return generate_answers(requests, generation, folder=answer_store, engines=engines, progress=progress)
