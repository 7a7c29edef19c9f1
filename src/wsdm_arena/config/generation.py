"""Which prompts are mined from conversations, and who answers them how."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, model_validator

from wsdm_arena.config.base import NAMES_DIRECTORY, WITHOUT_EFFECT, StrictConfig
from wsdm_arena.config.packages import package_of

EngineName = Literal["vllm", "openai", "transformers", "simulator"]
Slice = tuple[int, int | None]


class MiningConfig(StrictConfig):
    """Which conversations give a prompt."""

    first_language: str = "English"
    """As the conversations' column ``language`` spells it; filtered by words, every other language by characters."""
    min_words: int = Field(default=19, ge=0)
    """Fewest words (separated by white space) of a prompt in the first language."""
    min_characters: int = Field(default=45, ge=0)
    """Fewest characters of a prompt in any other language."""
    max_characters: int | None = Field(default=None, ge=1)
    """Most characters of a prompt; null: no limit."""


class RoundConfig(StrictConfig):
    """One round of generation: half-open slices ``[start, end)`` of the shuffled prompts; end null: to the last one."""

    first_language: Slice
    """Slice of the prompts in the first language."""
    others: Slice
    """Slice of the prompts in all other languages."""
    repeat_others_of: str | None = None
    """An earlier round whose prompts in other languages are answered once more, by other models where there are."""
    answer_models: tuple[str, ...] = Field(min_length=2)
    """Two of these, drawn at random, answer each prompt."""

    @model_validator(mode="after")
    def _slices_are_forward(self) -> "RoundConfig":
        for name in ("first_language", "others"):
            start, end = getattr(self, name)
            if start < 0 or (end is not None and end < start):
                raise ValueError(f"{name}=[{start}, {end}]: must be 0 <= start <= end")
        if len(set(self.answer_models)) != len(self.answer_models):
            raise ValueError("answer_models: a model stands there more than once")
        return self


class SamplingConfig(StrictConfig):
    """How an answer is drawn."""

    temperature: float = Field(default=0.7, ge=0)
    """Divides the logits; 0 takes the likeliest token."""
    top_p: float = Field(default=0.9, gt=0, le=1)
    """Tokens are drawn from the smallest set that holds this much probability."""
    max_new_tokens: int = Field(default=4096, ge=1)
    """An answer that reaches this is cut off, and dropped."""


class AnswerModelConfig(StrictConfig):
    """One model that answers prompts."""

    engine: EngineName
    """``vllm`` and ``transformers`` run in worker processes, ``openai`` asks any OpenAI-compatible endpoint,
    ``simulator`` writes the simulated arena's answers."""
    model: Annotated[str, NAMES_DIRECTORY]
    """Directory, hub name, or ``package:<name>`` for one of ``packaged_models``; the endpoint's name of the model; the
    simulated model's name."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Of the weights while they answer; ``auto``: as the engine chooses. ``vllm`` and ``transformers`` only."""
    revision: str | None = None
    """Commit of the hub's repository."""
    tensor_parallel_size: Annotated[int, WITHOUT_EFFECT] = Field(default=1, ge=1)
    """GPUs that share the weights of one copy; ``vllm`` only."""
    data_parallel_size: Annotated[int, WITHOUT_EFFECT] = Field(default=1, ge=1)
    """Copies that share the prompts; ``vllm`` only."""
    trust_remote_code: bool = False
    """Run Python code that comes with the weights."""
    max_model_tokens: int | None = Field(default=None, ge=16)
    """Longest sequence, prompt and answer; null: as the model says."""
    stop: tuple[Annotated[str, Field(min_length=1)], ...] = Field(default=(), max_length=4)
    """Texts that end an answer and are not part of it, such as a line break for a base model, which knows no end of
    turn. The ``simulator`` needs none."""
    base_url: str | None = None
    """Of the endpoint, such as ``https://host/v1``; ``openai`` only."""
    api_key_variable: Annotated[str | None, WITHOUT_EFFECT] = None
    """Name of the environment variable that holds the endpoint's key; null: none is needed."""
    max_concurrency: Annotated[int, WITHOUT_EFFECT] = Field(default=16, ge=1)
    """Requests that are under way at once (``openai``); prompts in a batch (``transformers``)."""
    timeout_s: Annotated[float, WITHOUT_EFFECT] = Field(default=600.0, gt=0)
    """Seconds until a request counts as failed; ``openai`` only."""
    remove_weights: Annotated[bool, WITHOUT_EFFECT] = False
    """Delete the model from the hub's cache once all its answers are there."""

    @property
    def is_local(self) -> bool:
        """Whether it answers on this machine, from weights."""
        return self.engine in ("vllm", "transformers")

    @model_validator(mode="after")
    def _settings_fit_the_engine(self) -> "AnswerModelConfig":
        if (self.engine == "openai") != (self.base_url is not None):
            raise ValueError("base_url belongs to engine: openai, which needs one")
        if self.stop and self.engine == "simulator":
            raise ValueError("stop is for engines that generate; the simulator knows where its answers end")
        return self


class RetryConfig(StrictConfig):
    """What happens to a request that fails."""

    attempts: int = Field(default=5, ge=1)
    """Tries of one request, the first one included; then its failure is recorded."""
    first_delay_s: float = Field(default=1.0, ge=0)
    """Seconds before the second try; doubled for each further one."""
    max_delay_s: float = Field(default=60.0, ge=0)
    """Longest wait between two tries."""


class VLLMConfig(StrictConfig):
    """The worker processes of vLLM, which has an environment of its own."""

    python: str = ".venv-vllm/bin/python"
    """Interpreter that can import vllm; a relative path starts from the project's directory."""
    gpu_memory_fraction: float = Field(default=0.8, gt=0, le=1)
    """Share of each GPU's memory that vLLM may take."""
    enforce_eager: bool = True
    """Do without CUDA graphs: starts sooner, generates slower."""
    cpu_kv_cache_gib: float = Field(default=2.0, gt=0)
    """Memory of each worker for keys and values, taken as a whole, where vLLM runs on a CPU."""
    cpu_threads: int | None = Field(default=None, ge=1)
    """OpenMP threads of each worker where vLLM runs on a CPU; null: as OMP_NUM_THREADS says, else the workers share the
    cores that this process may use."""
    stop_grace_s: float = Field(default=10.0, gt=0)
    """How long a worker may take to stop before it is killed."""


class GenerationConfig(StrictConfig):
    """From conversations to generated pairs."""

    seed: int = Field(default=0, ge=0, lt=2**32)
    """Of the shuffles, of the draw of answer models and of the answers."""
    mining: MiningConfig = MiningConfig()
    """Filters of prompts."""
    rounds: dict[str, RoundConfig] = Field(default_factory=dict)
    """By name, in order."""
    sampling: SamplingConfig = SamplingConfig()
    """The same for every answer model."""
    answer_models: dict[str, AnswerModelConfig] = Field(default_factory=dict)
    """By name, as the column ``model_a`` shall show it."""
    vllm: Annotated[VLLMConfig, WITHOUT_EFFECT] = VLLMConfig()
    """Where vLLM lives."""
    retries: Annotated[RetryConfig, WITHOUT_EFFECT] = RetryConfig()
    """Back-off."""

    def with_packages(self, directories: Mapping[str, str]) -> "GenerationConfig":
        """Put the directories of packaged models, by name, in the place of ``package:<name>``."""
        models = {
            name: model
            if (package := package_of(model.model)) is None
            else model.model_copy(update={"model": directories.get(package, model.model)})
            for name, model in self.answer_models.items()
        }
        return self.model_copy(update={"answer_models": models})

    @model_validator(mode="after")
    def _names_are_known(self) -> "GenerationConfig":
        earlier: set[str] = set()
        for name, round_ in self.rounds.items():
            if unknown := sorted(set(round_.answer_models) - set(self.answer_models)):
                raise ValueError(
                    f"rounds.{name}.answer_models: {unknown} not described under answer_models; "
                    f"known: {sorted(self.answer_models)}"
                )
            if round_.repeat_others_of is not None and round_.repeat_others_of not in earlier:
                raise ValueError(
                    f"rounds.{name}.repeat_others_of={round_.repeat_others_of!r}: must be an earlier round, "
                    f"{sorted(earlier)}"
                )
            earlier.add(name)
        return self
