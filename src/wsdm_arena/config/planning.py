"""What ``kedro plan`` assumes of data, models and machines where they are not on disk to be looked at."""

from pydantic import Field

from wsdm_arena.config.base import StrictConfig


class SourcedFigure(StrictConfig):
    """A number, and who says so."""

    value: float = Field(gt=0)
    """The number; its unit is that of the key."""
    source: str = Field(min_length=1)
    """Who measured or published it, or that it is assumed."""


class TableSizesConfig(StrictConfig):
    """Rows of tables that are not on disk yet; defaults are those of the contest's tables and lmsys-chat-1m."""

    battles: int = Field(default=48_000, ge=1)
    """Battles of the training table."""
    first_phase_battles: int = Field(default=25_211, ge=0)
    """Battles among them in ``preferences.first_phase_language``."""
    collected_pairs: int = Field(default=21_000, ge=0)
    """Pairs that come without a vote."""
    test_pairs: int = Field(default=25_000, ge=0)
    """Rows of the test table."""
    conversations: int = Field(default=1_000_000, ge=0)
    """Conversations that prompts are mined from."""
    first_language_prompts: int = Field(default=208_000, ge=0)
    """Mined prompts in ``generation.mining.first_language``, filtered."""
    other_prompts: int = Field(default=57_000, ge=0)
    """Mined prompts in all other languages, filtered."""
    conversation_bytes: int = Field(default=1_500, ge=0)
    """Bytes of a conversation on disk, compressed."""


class LengthsConfig(StrictConfig):
    """Tokens of a judge's sequence, template included, where no text is on disk: lognormal, clipped at both ends.

    The upper end is ``truncation.max_battle_tokens`` and ``template_tokens`` together. The defaults have a mean of
    1,252 and ``E[n^2] / E[n]`` of 1,880; the contest's battles have about 1,860.
    """

    median_tokens: float = Field(default=1_000.0, gt=0)
    """Half of the sequences are longer."""
    sigma: float = Field(default=0.7, gt=0)
    """Standard deviation of the logarithm."""
    min_tokens: int = Field(default=200, ge=1)
    """Shortest sequence."""
    template_tokens: int = Field(default=230, ge=0)
    """Instruction and chat template around a battle."""
    characters_per_token: float = Field(default=3.5, gt=0)
    """Of texts that are on disk while no tokenizer is."""
    sampled_rows: int = Field(default=256, ge=1)
    """Rows of a table, drawn with the project's seed, whose lengths stand for all where it is not tokenised yet."""


class BackboneShapeConfig(StrictConfig):
    """A backbone that is not on disk, as its ``config.json`` on the hub describes it."""

    model_type: str
    """Architecture, such as ``gemma2`` or ``llama``."""
    hidden_size: int = Field(ge=1)
    """Width."""
    intermediate_size: int = Field(ge=1)
    """Width within the feed-forward part."""
    num_hidden_layers: int = Field(ge=1)
    """Decoder layers."""
    num_attention_heads: int = Field(ge=1)
    """Heads of queries."""
    num_key_value_heads: int = Field(ge=1)
    """Heads of keys and values."""
    head_dim: int = Field(ge=1)
    """Width of a head."""
    vocab_size: int = Field(ge=1)
    """Rows of the embedding."""
    source: str = Field(min_length=1)
    """Where this stands."""


class AnswerModelSizeConfig(StrictConfig):
    """An answer model, as published."""

    parameters: float = Field(gt=0)
    """All of its weights, in number."""
    mean_answer_tokens: float | None = Field(default=None, gt=0)
    """Tokens of a mean answer; null: ``planning.throughput.mean_answer_tokens``. Reasoning counts."""
    source: str = Field(min_length=1)
    """Where this stands."""


class DeviceConfig(StrictConfig):
    """What one process computes on."""

    memory_gib: float = Field(gt=0)
    """GiB that PyTorch sees."""
    peak_tflops: float = Field(gt=0)
    """TFLOP/s of dense bfloat16 matrix products, as the datasheet says; of float32 ones on a CPU core."""
    launch_s: float = Field(ge=0)
    """Seconds from the start of a job's processes to its first micro-batch."""
    source: str = Field(min_length=1)
    """Where this stands."""


def _assumed(value: float, why: str) -> SourcedFigure:
    return SourcedFigure(value=value, source=why)


class ThroughputConfig(StrictConfig):
    """How fast a device works; hours are computed FLOPs over peak times utilization."""

    training_utilization: SourcedFigure = _assumed(0.5, "assumed")
    """Share of the peak that a training reaches, activations that are computed again counted as work."""
    scoring_utilization: SourcedFigure = _assumed(0.5, "assumed")
    """Share of the peak that reading without gradients reaches."""
    generation_utilization: SourcedFigure = _assumed(0.1, "assumed")
    """Share of the peak that vLLM reaches, counting 2 FLOPs a parameter and generated token."""
    generation_tokens_per_s: SourcedFigure = _assumed(4_000.0, "assumed")
    """Most tokens per second that one vLLM worker generates, however small its model."""
    mean_answer_tokens: SourcedFigure = _assumed(500.0, "assumed")
    """Tokens of a mean answer, without ``planning.answer_models.<name>.mean_answer_tokens``."""
    endpoint_answer_s: SourcedFigure = _assumed(20.0, "assumed")
    """Seconds of one request to an OpenAI-compatible endpoint."""
    disk_gb_per_s: SourcedFigure = _assumed(1.0, "assumed")
    """GB (10^9 bytes) per second that weights and resume states are written with."""
    measured_tokens_per_s: dict[str, SourcedFigure] = Field(default_factory=dict)
    """Your own figures, tokens per second of all processes together; they replace the arithmetic. By training
    (``teacher.gemma``), by judge (``gemma``, all its trainings), by scoring (``collected_labels.gemma``) or by answer
    model (``phi4``, generated tokens)."""


class PlanningConfig(StrictConfig):
    """What ``kedro plan`` assumes; nothing here changes a result."""

    device: str = "a100_80gb"
    """One of ``devices``; a launcher with ``device: cpu`` takes ``cpu``."""
    devices: dict[str, DeviceConfig] = Field(default_factory=dict)
    """By name."""
    sizes: TableSizesConfig = TableSizesConfig()
    """Rows."""
    lengths: LengthsConfig = LengthsConfig()
    """Tokens of a sequence."""
    second_judge_share: SourcedFigure = _assumed(0.5, "assumed")
    """Share of the test pairs that a cascade's second judge reads, where no cascade has been planned yet."""
    backbones: dict[str, BackboneShapeConfig] = Field(default_factory=dict)
    """By judge."""
    answer_models: dict[str, AnswerModelSizeConfig] = Field(default_factory=dict)
    """By name, as under ``generation.answer_models``."""
    throughput: ThroughputConfig = ThroughputConfig()
    """Speeds."""
