"""What a training does: optimizer, schedule, batches, precision, sharding, checkpoints."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from wsdm_arena.config.base import WITHOUT_EFFECT, StrictConfig

OptimizerName = Literal["adamw", "stable_adamw"]
DType = Literal["bfloat16", "float32"]


class OptimizerConfig(StrictConfig):
    """AdamW or StableAdamW of torch-optimi."""

    name: OptimizerName = "adamw"
    """``stable_adamw`` limits the size of each matrix's update instead of clipping gradients."""
    peak_learning_rate: float = Field(default=2.5e-6, gt=0)
    """Step size at the end of the warm-up."""
    betas: tuple[float, float] = (0.9, 0.99)
    """Decay per update of the running means of gradients and of their squares."""
    epsilon: float = Field(default=1e-6, gt=0)
    """Added to the root of the mean square, so that small gradients do not make large steps."""
    weight_decay: float = Field(default=0.01, ge=0)
    """Applied to matrices only, not to norms and biases."""
    kahan_summation: bool = True
    """Compensate the rounding of low-precision weights; without effect on float32 ones."""


class ScheduleConfig(StrictConfig):
    """Linear warm-up, then linear decay; one schedule spans all phases of a run."""

    warmup_fraction: float = Field(default=0.1, ge=0, le=1)
    """Share of all updates."""
    initial_factor: float = Field(default=0.001, ge=0, le=1)
    """Learning rate of the first update, as a share of the peak."""
    final_factor: float = Field(default=0.001, ge=0, le=1)
    """Learning rate of the last update, as a share of the peak."""


class CheckpointConfig(StrictConfig):
    """When the resume state (weights, optimizer, position, RNG) is written. Only the newest is kept."""

    every_minutes: float | None = Field(default=30.0, gt=0)
    """Minutes of wall-clock time between two; null: not by time."""
    every_updates: int | None = Field(default=None, ge=1)
    """Updates between two; null: not by count."""


class EvaluationConfig(StrictConfig):
    """Scoring of the held-out fold while training goes on; the end of the run is always scored."""

    battles_at_start: int = Field(default=500, ge=0)
    """Size of the seeded sample of the held-out fold that is scored before the first update."""
    every_updates: Annotated[int | None, WITHOUT_EFFECT] = Field(default=None, ge=1)
    """Updates between two evaluations; null: none but at start and end."""
    from_fraction: Annotated[float, WITHOUT_EFFECT] = Field(default=0.0, ge=0, le=1)
    """Not before this share of the updates is done."""
    keep_checkpoints: Annotated[bool, WITHOUT_EFFECT] = False
    """Also keep the judge as it was at each of these evaluations."""
    max_battles: Annotated[int | None, WITHOUT_EFFECT] = Field(default=None, ge=1)
    """Size of the seeded sample of the held-out fold that these evaluations read; all of it by default."""


class TrainingConfig(StrictConfig):
    """Everything about one training but its data and its model.

    The resolved value is the merge, later ones winning, of ``training``, ``judges.<judge>.training``,
    ``stages.<stage>.training`` and ``stages.<stage>.overrides.<judge>.training``.
    """

    optimizer: OptimizerConfig = OptimizerConfig()
    """Algorithm and its constants."""
    schedule: ScheduleConfig = ScheduleConfig()
    """Learning rate over the run."""
    epochs: int = Field(default=1, ge=1)
    """Passes over the battles of each phase."""
    max_battles: int | None = Field(default=None, ge=1)
    """Train on a seeded draw of at most this many battles a phase; all of them by default."""
    battles_per_update: int = Field(default=80, ge=1)
    """Global batch; every battle is read in both orders, so twice as many sequences."""
    max_tokens_per_micro_batch: Annotated[int, WITHOUT_EFFECT] = Field(default=16_384, ge=1)
    """Packed tokens a rank reads in one forward; a longer single sequence gets a micro-batch of its own."""
    max_tokens_per_scoring_batch: Annotated[int | None, WITHOUT_EFFECT] = Field(default=None, ge=1)
    """The same for scoring, which keeps no activations; as in training by default."""
    dtype: DType = "bfloat16"
    """Type of weights, activations and optimizer state; float16 would need loss scaling, which there is none of."""
    gradient_reduction_dtype: Literal["bfloat16", "float32"] = "float32"
    """Type in which gradients are summed over ranks; without effect on one process. Judges whose gradients exceed
    1 GiB in it are summed over ranks after each micro-step, and over micro-steps in ``dtype``."""
    sharding: Annotated[Literal["gradients", "full"], WITHOUT_EFFECT] = "gradients"
    """``gradients``: weights stay gathered between forward and backward; ``full``: gathered anew in each."""
    activation_checkpointing: Annotated[bool, WITHOUT_EFFECT] = True
    """Compute each layer's activations again in the backward pass: less memory, about a third more time."""
    language_modeling_weight: float = Field(default=0.0, ge=0)
    """Weight of a next-token loss beside the judge loss; for backbones that are trained from scratch."""
    compile_layers: Annotated[bool, WITHOUT_EFFECT] = False
    """``torch.compile`` each decoder layer."""
    log_every_updates: Annotated[int, WITHOUT_EFFECT] = Field(default=1, ge=1)
    """Updates between two lines of ``metrics.jsonl``."""
    checkpoint: Annotated[CheckpointConfig, WITHOUT_EFFECT] = CheckpointConfig()
    """How much work a killed run may lose."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """Scores while training goes on."""


class LauncherConfig(StrictConfig):
    """How the processes of a training are started."""

    processes_per_node: Annotated[int, WITHOUT_EFFECT] = Field(default=1, ge=1)
    """One a GPU, or a share of the CPU's cores each."""
    nodes: Annotated[int, WITHOUT_EFFECT] = Field(default=1, ge=1)
    """Machines that train together."""
    rendezvous_endpoint: Annotated[str | None, WITHOUT_EFFECT] = None
    """``host:port`` that all nodes reach; required for more than one node."""
    prefix: Annotated[tuple[str, ...], WITHOUT_EFFECT] = ()
    """Put before the torchrun command, such as ``[srun, --nodes=2]``."""
    threads_per_process: Annotated[int | None, WITHOUT_EFFECT] = Field(default=None, ge=1)
    """CPU threads of PyTorch; null: ``OMP_NUM_THREADS``, else 1 where processes share a node."""
    backend: Annotated[Literal["auto", "nccl", "gloo"], WITHOUT_EFFECT] = "auto"
    """``auto``: NCCL on GPUs, gloo without."""
    device: Annotated[Literal["auto", "cuda", "cpu"], WITHOUT_EFFECT] = "auto"
    """``auto``: GPUs where there are any."""
    scoring_processes: Annotated[int | None, WITHOUT_EFFECT] = Field(default=None, ge=1)
    """Processes that score a whole table; 1 scores within the command itself; null: as many as train on one node."""
    stop_grace_s: Annotated[float, WITHOUT_EFFECT] = Field(default=35.0, gt=0)
    """How long torchrun may take to stop its workers before they are killed."""

    @model_validator(mode="after")
    def _nodes_can_meet(self) -> "LauncherConfig":
        if self.nodes > 1 and self.rendezvous_endpoint is None:
            raise ValueError(
                f"launcher.nodes={self.nodes} needs launcher.rendezvous_endpoint: host:port of one node, reached by all"
            )
        return self
