"""Hours: measured tokens per second where there are any, else computed FLOPs over what a device does."""

import json
from dataclasses import dataclass
from pathlib import Path

from wsdm_arena.config import AnswerModelConfig, ProjectConfig, TrainingConfig
from wsdm_arena.config.planning import DeviceConfig
from wsdm_arena.planning.backbones import JudgeSize
from wsdm_arena.planning.figures import Basis, Figure
from wsdm_arena.planning.places import DataFolder, PlanError
from wsdm_arena.planning.work import Reading

_CPU = "cpu"
_BACKWARD = 2
"""A backward pass computes two products for each of the forward pass."""


def is_on_cpu(config: ProjectConfig) -> bool:
    """Whether a plan reckons with CPUs."""
    return _device_name(config) == _CPU


def choose_device(config: ProjectConfig) -> DeviceConfig:
    """What one process computes on.

    Raises:
        PlanError: It is not described.
    """
    planning, name = config.planning, _device_name(config)
    if name not in planning.devices:
        raise PlanError(
            f"planning.devices.{name} is not described; known: {sorted(planning.devices)}. Describe it, or set "
            "planning.device to one of these"
        )
    return planning.devices[name]


def _device_name(config: ProjectConfig) -> str:
    return _CPU if config.launcher.device == _CPU else config.planning.device


@dataclass(frozen=True)
class Speeds:
    """How long work takes on this environment's device.

    Attributes:
        config: The whole tree.
        folder: Where finished runs have left what they measured.
    """

    config: ProjectConfig
    folder: DataFolder

    @property
    def device(self) -> DeviceConfig:
        """What one process computes on."""
        return choose_device(self.config)

    def training_hours(
        self,
        name: str,
        judge: JudgeSize,
        training: TrainingConfig,
        *,
        trained: Reading,
        scored: Reading,
        processes: int,
    ) -> Figure:
        """Hours of a training with its evaluations, one launch included; without what resume states cost.

        Three forward passes' FLOPs a trained token, four where activations are computed again.

        Args:
            name: ``stage.judge``.
            judge: Its sizes.
            training: Its resolved configuration.
            trained: With gradients.
            scored: Without.
            processes: That share the work.
        """
        passes = 1 + _BACKWARD + training.activation_checkpointing
        measured = self._measured(name, processes)
        if measured is not None and trained.tokens:
            seconds = (trained.tokens + scored.tokens / passes) / measured.value
            return Figure((seconds + self.device.launch_s) / 3600, measured.basis)
        throughput = self.config.planning.throughput
        peak = processes * self.device.peak_tflops * 1e12
        of_training = passes * _flops(judge, trained) / (peak * throughput.training_utilization.value)
        of_scoring = _flops(judge, scored) / (peak * throughput.scoring_utilization.value)
        return Figure((of_training + of_scoring + self.device.launch_s) / 3600, Basis.ASSUMED)

    def scoring_hours(self, name: str, judge: JudgeSize, work: Reading, *, processes: int) -> Figure:
        """Hours to read sequences without gradients, one launch included."""
        throughput = self.config.planning.throughput
        if (own := throughput.measured_tokens_per_s.get(name)) is not None:
            return Figure((work.tokens / own.value + self.device.launch_s) / 3600, Basis.MEASURED)
        rate = processes * self.device.peak_tflops * 1e12 * throughput.scoring_utilization.value
        return Figure((_flops(judge, work) / rate + self.device.launch_s) / 3600, Basis.ASSUMED)

    def generation_hours(self, name: str, model: AnswerModelConfig, *, requests: float, tokens: float) -> Figure:
        """Hours in which an answer model answers its requests.

        Raises:
            PlanError: vLLM shall run a model whose size is not described.
        """
        throughput = self.config.planning.throughput
        if model.engine == "simulator":
            return Figure(0.0, Basis.ESTIMATED)
        if (own := throughput.measured_tokens_per_s.get(name)) is not None:
            return Figure(tokens / own.value / 3600, Basis.MEASURED)
        if model.engine == "openai":
            return Figure(requests * throughput.endpoint_answer_s.value / model.max_concurrency / 3600, Basis.ASSUMED)
        gpus = model.tensor_parallel_size * model.data_parallel_size
        flops = gpus * self.device.peak_tflops * 1e12 * throughput.generation_utilization.value
        rate = min(
            flops / (2 * answer_model_parameters(name, self.config)),
            model.data_parallel_size * throughput.generation_tokens_per_s.value,
        )
        return Figure((tokens / rate + self.device.launch_s) / 3600, Basis.ASSUMED)

    def writing_hours(self, num_bytes: float) -> float:
        """Hours to write so many bytes of weights."""
        return num_bytes / (self.config.planning.throughput.disk_gb_per_s.value * 1e9) / 3600

    def _measured(self, name: str, processes: int) -> Figure | None:
        """Trained tokens per second: the user's own figure, else of this training's newest run of as many processes."""
        own = self.config.planning.throughput.measured_tokens_per_s
        for key in (name, name.partition(".")[2]):
            if key in own:
                return Figure(own[key].value, Basis.MEASURED)
        for run in reversed([*self.folder.training_runs(name)]):
            if _world_size(run) == processes and (rate := read_tokens_per_s(run / "metrics.jsonl")) is not None:
                return Figure(rate, Basis.MEASURED)
        return None


def answer_model_parameters(name: str, config: ProjectConfig) -> float:
    """Weights of an answer model.

    Raises:
        PlanError: Nobody says how many.
    """
    if name not in config.planning.answer_models:
        raise PlanError(
            f"generation.answer_models.{name}: planning.answer_models.{name} does not say how large it is; add "
            "parameters and source there (conf/base/parameters_planning.yml shows how)"
        )
    return config.planning.answer_models[name].parameters


def read_tokens_per_s(metrics: Path) -> float | None:
    """Trained tokens per second of a run, pauses for evaluations left out; None where it says nothing of it."""
    tokens, seconds, before = 0, 0.0, 0
    try:
        for line in metrics.read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            tokens, seconds = record["tokens"], seconds + (record["tokens"] - before) / record["tokens_per_s"]
            before = tokens
    except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError):
        return None
    return tokens / seconds if seconds > 0 else None


def read_memory_bytes(metrics: Path) -> float | None:
    """Most memory of a run's first process; None where it says nothing of it."""
    try:
        return max(float(json.loads(line)["memory_bytes"]) for line in metrics.read_text(encoding="utf-8").splitlines())
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _world_size(run: Path) -> int | None:
    """Processes of a finished run; None for any other."""
    try:
        return int(json.loads((run / "complete.json").read_text(encoding="utf-8"))["world_size"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _flops(judge: JudgeSize, work: Reading) -> float:
    return judge.forward_flops(work.mean_square_ratio) * work.tokens
