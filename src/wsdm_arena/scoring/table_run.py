"""Have a trained judge read every pair of a table: reuse a finished run, resume a killed one, or start it."""

import json
import logging
from pathlib import Path

import pandas as pd

from wsdm_arena.config import LauncherConfig, ResolvedJudge, ScoringConfig
from wsdm_arena.config.judges import AttentionName
from wsdm_arena.config.pseudo_labels import Order
from wsdm_arena.config.training import DType
from wsdm_arena.processes.torchrun import run_torchrun
from wsdm_arena.prompts.store import TokenStore
from wsdm_arena.prompts.tokenizers import fingerprint_tokenizer, load_tokenizer
from wsdm_arena.runs.files import MANIFEST
from wsdm_arena.runs.fingerprint import manifest_digest, scoring_fingerprint
from wsdm_arena.runs.work import record_work
from wsdm_arena.scoring.run_directory import ScoringDirectory, ScoringError, split_pairs

logger = logging.getLogger(__name__)


def describe_scoring(
    *,
    checkpoint: Path,
    tokens: Path,
    table: str,
    orders: tuple[Order, ...],
    dtype: DType,
    max_tokens_per_batch: int,
    launcher: LauncherConfig,
    attention: AttentionName = "auto",
) -> ScoringConfig:
    """Put together everything that a scoring process needs, and name the work.

    Args:
        checkpoint: Directory of a trained judge with its tokenizer.
        tokens: Directory of a token table.
        table: Name of the pair table that the tokens are of.
        orders: In which every pair is read.
        dtype: Of weights and activations.
        max_tokens_per_batch: Packed tokens of a micro-batch on each process.
        launcher: Devices and threads.
        attention: Kernel for packed sequences.

    Raises:
        DirectoryChangedError: The checkpoint has no manifest, or files are missing.
    """
    contents = manifest_digest(checkpoint)  # refuses what is no manifest, and what is not as it says
    manifest = json.loads((checkpoint / MANIFEST).read_text())
    return ScoringConfig(
        fingerprint=scoring_fingerprint(
            checkpoint={key: manifest.get(key) for key in ("fingerprint", "template_hash", "sliding_window")}
            | {"files": contents},
            tokens=tokens.name,
            orders=orders,
            dtype=dtype,
        ),
        checkpoint=checkpoint,
        tokens=tokens,
        table=table,
        orders=orders,
        dtype=dtype,
        attention=attention,
        max_tokens_per_batch=max_tokens_per_batch,
        device=launcher.device,
        backend=launcher.backend,
        threads_per_process=launcher.threads_per_process,
    )


def scoring_directory(request: ScoringConfig, judge: ResolvedJudge, scoring_runs: Path) -> Path:
    """Where a scoring lives: its fingerprint names it among those of the same judge as it was trained."""
    return scoring_runs / f"{judge.stage}.{judge.judge}" / request.fingerprint


def score_table(request: ScoringConfig, run_dir: Path, launcher: LauncherConfig) -> pd.DataFrame:
    """Read every pair of a table in the given orders; a finished run is reused, a killed one goes on.

    With one scoring process all is done within this process, whose number of torch threads is afterwards as before;
    with several torchrun is started once, on this node only.

    Args:
        request: As :func:`describe_scoring` gives it.
        run_dir: Of this run alone.
        launcher: How many processes, and how they are started.

    Returns:
        One row a pair and order, sorted by both: ``pair_id``, ``order``, ``logits`` (in displayed order),
        ``probabilities`` (in canonical order a, b[, tie]), ``judge_fingerprint``, ``template_hash``, ``truncated``.

    Raises:
        ScoringError: Judge and tokens do not belong together, or the directory holds another run or a damaged one.
        CheckpointError: The checkpoint is incomplete or damaged.
        TokenStoreError: The token table is.
        DirectoryInUseError: Another process is scoring in this directory.
        ProcessFailed: torchrun ended with an error; carries its last lines.
    """
    run = ScoringDirectory(run_dir)
    if run.is_complete(request):
        logger.info("%s: nothing to score, run %s is complete", request.table, request.fingerprint)
        run.remove_parts()  # the process may have been killed just before it did so
        record_work("scoring", request.fingerprint, "reused", run.path)
        return run.read_predictions()
    require_matching_inputs(request)
    resumed = run.config_file.is_file()
    run.write_config(request)
    logger.info(
        "%s: %s scoring run %s in %s",
        request.table,
        "resuming" if resumed else "starting",
        request.fingerprint,
        run_dir,
    )
    processes = launcher.scoring_processes or launcher.processes_per_node
    if processes == 1 or not _has_work_left(run, request):  # a launch costs seconds
        _score_here(run, request)
    else:
        run_torchrun(on_this_node(launcher, processes), "wsdm_arena.scoring", [str(run.path)], log_path=run.log)
    if not run.is_complete(request):
        raise RuntimeError(f"{request.table}: torchrun ended without an error, but {run.complete} is missing")
    record_work("scoring", request.fingerprint, "resumed" if resumed else "made", run.path)
    return run.read_predictions()


def require_matching_inputs(request: ScoringConfig) -> None:
    """Refuse tokens that the judge was not trained to read.

    Raises:
        ScoringError: The tokens are of another table, or made with another tokenizer or template than the judge's; or
            the checkpoint does not say what it was trained with.
        CheckpointError: There is no complete checkpoint.
        TokenStoreError: There is no complete token table.
    """
    from wsdm_arena.modeling.checkpoint import read_manifest  # five seconds to import, which every command would pay

    manifest, store = read_manifest(request.checkpoint), TokenStore.open(request.tokens)
    if missing := [key for key in ("fingerprint", "template_hash") if key not in manifest]:
        raise ScoringError(
            f"{request.checkpoint}: its manifest lacks {missing}, so its predictions could not be traced; "
            "score a checkpoint that a training of this project has written"
        )
    if store.manifest["table"] != request.table:
        raise ScoringError(
            f"{request.tokens} holds tokens of table {store.manifest['table']!r}, not of {request.table!r}; "
            "tokenise that table"
        )
    if fingerprint_tokenizer(load_tokenizer(request.checkpoint)) != store.manifest["tokenizer_hash"]:
        raise ScoringError(
            f"{request.tokens} was made with another tokenizer than that of {request.checkpoint}; "
            "tokenise the table with this judge's own"
        )
    if store.template.hash != manifest["template_hash"]:
        raise ScoringError(
            f"{request.tokens} was made with prompt template {store.template.hash}, but {request.checkpoint} was "
            f"trained with {manifest['template_hash']}; tokenise the table with the template of its training, or train "
            "the judge again"
        )


def _has_work_left(run: ScoringDirectory, config: ScoringConfig) -> bool:
    chunks = split_pairs(TokenStore.open(config.tokens).pair_ids, config.pairs_per_part)
    return bool(run.find_missing_parts(chunks, config))


def _score_here(run: ScoringDirectory, config: ScoringConfig) -> None:
    from wsdm_arena.distributed import DistributedContext
    from wsdm_arena.scoring.table_reader import bring_to_end, release_memory, torch_threads

    # An empty environment: whoever started this process with torchrun's variables did not mean this run.
    context = DistributedContext.from_environment(device=config.device, backend=config.backend, environment={})
    try:
        with torch_threads(config.threads_per_process):
            bring_to_end(run, config, context)
    finally:
        release_memory()


def on_this_node(launcher: LauncherConfig, processes: int) -> LauncherConfig:
    """The same launcher for some processes of one node; a prefix that starts several nodes is left out."""
    return launcher.model_copy(
        update={
            "processes_per_node": processes,
            "nodes": 1,
            "rendezvous_endpoint": None,
            "prefix": launcher.prefix if launcher.nodes == 1 else (),
        }
    )
