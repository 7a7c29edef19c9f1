"""How large a judge is and how much it computes, from its backbone's files or as the configuration describes it."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from wsdm_arena.config import HeadConfig, ProjectConfig, package_of
from wsdm_arena.planning.figures import Basis
from wsdm_arena.planning.places import DataFolder, PlanError, read_object

_NO_BACKBONE = ("lm_head.", "score.")
"""Weights that stand beside a backbone's own and that no judge has."""
_NORMS_OF_LAYER = {"gemma2": 4, "gemma3_text": 4}
_SHAPE = (
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "vocab_size",
)


@dataclass(frozen=True)
class JudgeSize:
    """One judge, head included.

    Attributes:
        parameters: All weights.
        embedding_parameters: Those of the token embedding, which no matrix product reads.
        layer_parameters: Those of one decoder layer.
        num_layers: Decoder layers.
        hidden_size: h.
        intermediate_size: Width within the feed-forward part.
        query_width: Heads times width of a head.
        key_value_width: The same for keys, and for values.
        basis: ``EXACT`` where counted in the files of weights, ``ESTIMATED`` where computed from ``config.json``,
            ``ASSUMED`` where from the configuration's reference table.
    """

    parameters: int
    embedding_parameters: int
    layer_parameters: int
    num_layers: int
    hidden_size: int
    intermediate_size: int
    query_width: int
    key_value_width: int
    basis: Basis

    def forward_flops(self, mean_square_ratio: float) -> float:
        """FLOPs of one token's forward pass.

        Two a weight in a matrix product (the embedding is looked up); and for causal attention over a sequence of n
        tokens n^2 / 2 scores, each 2 FLOPs a query's component, and as many for the values: ``2 * layers * width * n``
        a token. Averaged over tokens, n becomes E[n^2] / E[n]. Windows that hide a part of longer sequences are not
        subtracted. Source: Kaplan et al. 2020, "Scaling Laws for Neural Language Models", table 1; halved, as causal.

        Args:
            mean_square_ratio: ``E[n^2] / E[n]`` of the sequences' lengths.
        """
        products = 2 * (self.parameters - self.embedding_parameters)
        return products + 2 * self.num_layers * self.query_width * mean_square_ratio


def measure_judge(name: str, config: ProjectConfig, folder: DataFolder) -> JudgeSize:
    """Look at a judge's backbone on disk (imported, downloaded, or the directory it is named by), else in ``planning``.

    Raises:
        PlanError: It is in none of these places.
    """
    judge = config.judges[name]
    source = judge.backbone.source
    package = package_of(source)
    named = folder.packaged_model(package) if package else Path(source) if source else folder.raw_checkpoint(name)
    for directory in (folder.backbone(name), named):
        if directory is not None and (directory / "config.json").is_file():
            shape = read_object(directory / "config.json")
            return _size(name, shape, judge.head, config.preferences.num_classes, directory)
    if name not in config.planning.backbones:
        raise PlanError(
            f"judge {name!r}: its backbone is not on disk, and planning.backbones.{name} does not say how large it is; "
            "add it there (conf/base/parameters_planning.yml shows how), or fetch the backbone"
        )
    reference = config.planning.backbones[name].model_dump()
    return _size(name, reference, judge.head, config.preferences.num_classes, None)


def _size(name: str, shape: dict[str, Any], head: HeadConfig, num_classes: int, directory: Path | None) -> JudgeSize:
    shape = shape.get("text_config", shape)  # of models that see images too
    if missing := [key for key in _SHAPE if not isinstance(shape.get(key), int)]:
        raise PlanError(f"judge {name!r}: {directory or 'planning.backbones'}/config.json lacks {missing}")
    hidden, heads = shape["hidden_size"], shape["num_attention_heads"]
    head_dim = shape.get("head_dim") or hidden // heads
    query_width, key_value_width = heads * head_dim, shape["num_key_value_heads"] * head_dim
    norms = _NORMS_OF_LAYER.get(shape.get("model_type", ""), 2)
    biases = query_width + 2 * key_value_width if shape.get("model_type") == "qwen2" else 0
    layer = hidden * (2 * query_width + 2 * key_value_width + 3 * shape["intermediate_size"] + norms) + biases
    embedding = hidden * shape["vocab_size"]
    backbone = embedding + shape["num_hidden_layers"] * layer + hidden
    counted = _count_parameters(directory) if directory is not None else None
    basis = Basis.ASSUMED if directory is None else Basis.EXACT if counted else Basis.ESTIMATED
    return JudgeSize(
        parameters=(counted or backbone) + count_head_parameters(head, hidden, num_classes),
        embedding_parameters=embedding,
        layer_parameters=layer,
        num_layers=shape["num_hidden_layers"],
        hidden_size=hidden,
        intermediate_size=shape["intermediate_size"],
        query_width=query_width,
        key_value_width=key_value_width,
        basis=basis,
    )


def count_head_parameters(head: HeadConfig, hidden_size: int, num_classes: int) -> int:
    """Weights of the classifier, see :class:`wsdm_arena.config.HeadConfig`."""
    if head.kind != "mlp":
        return hidden_size * num_classes
    width = hidden_size // 2
    return hidden_size * width + width + width * num_classes + num_classes


def _count_parameters(directory: Path) -> int | None:
    """Weights of the backbone by the headers of its files; None where there are none that can be read."""
    try:
        shapes: dict[str, list[int]] = {}
        for path in sorted(directory.glob("*.safetensors")):
            with safe_open(path, framework="numpy") as file:
                shapes |= {key: file.get_slice(key).get_shape() for key in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError):
        return None
    return sum(math.prod(shape) for key, shape in shapes.items() if not key.startswith(_NO_BACKBONE)) or None
