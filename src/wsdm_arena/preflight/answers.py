"""Whether anybody can answer the mined prompts."""

import psutil

from wsdm_arena.generation.availability import describe_unavailable
from wsdm_arena.generation.vllm_environment import describe_environment, is_built_for_cpus
from wsdm_arena.io.raw_files import RawShardsDataset
from wsdm_arena.preflight.planned_run import PlannedRun
from wsdm_arena.processes.gpus import visible_gpus


def check_answer_models(run: PlannedRun) -> list[str]:
    """Say in the first seconds, and not after the teachers' training, that nobody can answer."""
    if "generate_answers" not in run.names or not _has_prompts(run):
        return []
    return [
        *describe_unavailable(run.config.generation, _asked(run), run.project),
        *_too_few_gpus(run),
        *_too_little_memory(run),
        *_unknown_prompts(run),
    ]


def _has_prompts(run: PlannedRun) -> bool:
    """Without conversations nothing is asked; an earlier run may have mined others."""
    dataset = run.catalog["conversations"]
    return "mine_prompts" not in run.names or not (isinstance(dataset, RawShardsDataset) and dataset.describe_absence())


def _asked(run: PlannedRun, engine: str | None = None) -> list[str]:
    generation = run.config.generation
    asked = dict.fromkeys(name for round_ in generation.rounds.values() for name in round_.answer_models)
    return [name for name in asked if engine in (None, generation.answer_models[name].engine)]


def _too_few_gpus(run: PlannedRun) -> list[str]:
    vllm = run.config.generation.vllm
    if describe_environment(vllm.python, run.project) or _answers_on_cpus(run):
        return []
    models, gpus = run.config.generation.answer_models, visible_gpus()  # vLLM has a torch of its own
    needed = {name: models[name].tensor_parallel_size * models[name].data_parallel_size for name in _asked(run, "vllm")}
    if gpus is None or (most := max(needed.values(), default=0)) <= len(gpus):
        return []
    too_large = [name for name, number in needed.items() if number > len(gpus)]
    return [
        f"generation.answer_models: {', '.join(too_large)} ask for up to {most} GPUs (tensor_parallel_size x "
        f"data_parallel_size), there are {len(gpus)}"
    ]


def _too_little_memory(run: PlannedRun) -> list[str]:
    """On CPUs vLLM takes what was given, and the kernel ends it, whenever it comes to use more than there is."""
    models, gib = run.config.generation.answer_models, run.config.generation.vllm.cpu_kv_cache_gib
    most = max((models[name].data_parallel_size for name in _asked(run, "vllm")), default=0) * gib
    total = psutil.virtual_memory().total / 2**30
    if most <= total or not _answers_on_cpus(run):
        return []
    return [
        f"generation.vllm.cpu_kv_cache_gib: workers would take {most:,.1f} GiB for keys and values (times "
        f"data_parallel_size), this machine has {total:,.1f} GiB of memory; lower it"
    ]


def _answers_on_cpus(run: PlannedRun) -> bool:
    return is_built_for_cpus(run.project / run.config.generation.vllm.python)


def _unknown_prompts(run: PlannedRun) -> list[str]:
    if not _asked(run, "simulator") or not run.catalog.load("conversations"):
        return []
    if not run.catalog.load("simulated_prompts").empty:
        return []
    return [
        "generation.rounds: simulated models know the simulated arena's prompts only, and these are other "
        "conversations; name answer models of your own"
    ]
