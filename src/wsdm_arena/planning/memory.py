"""Memory of one GPU (or process), from arithmetic: an estimate that a run may exceed by what fragments."""

import math

from wsdm_arena.config import TrainingConfig
from wsdm_arena.planning.backbones import JudgeSize

BYTES = {"bfloat16": 2, "float16": 2, "float32": 4}
GPU_CONTEXT_BYTES = 2 << 30
"""CUDA context, NCCL's buffers and kernels' work space; a usual figure, not measured here."""
CPU_CONTEXT_BYTES = 1 << 29
"""Python and PyTorch; measured on the sample."""
GATHERED_LAYERS = 2
"""FSDP2 gathers the next decoder layer while it computes with one."""


def state_bytes_per_parameter(training: TrainingConfig) -> int:
    """Weights, gradients, two moments and, below float32, Kahan compensations: 10 in bfloat16, 16 in float32."""
    width = BYTES[training.dtype]
    return width * (4 + _has_kahan(training))


def resume_bytes_per_parameter(training: TrainingConfig) -> int:
    """What a resume state holds: as above, but no gradients; 8 in bfloat16, 12 in float32."""
    width = BYTES[training.dtype]
    return width * (3 + _has_kahan(training))


def training_bytes(judge: JudgeSize, training: TrainingConfig, *, processes: int, longest: int, is_gpu: bool) -> float:
    """Bytes that a training takes on each of its processes.

    * States are sharded evenly (FSDP2). With ``sharding: gradients`` the whole weights lie gathered beside them, with
      ``full`` those of two layers and the buffer that the next one arrives in, or what is in no layer, the embedding
      above all, and the first layer. One process shares nothing.
    * Whole gradients of a layer and of what is in no layer exist while they are reduced, once in the weights' type and
      once in ``gradient_reduction_dtype``.
    * Activations: see :func:`activation_bytes`.

    Args:
        judge: Its sizes.
        training: Its resolved configuration.
        processes: That share the states.
        longest: Tokens of the longest sequence, which may exceed the budget of a micro-batch.
        is_gpu: Whether processes run on GPUs, each of which has a context.
    """
    width = BYTES[training.dtype]
    states = state_bytes_per_parameter(training) * judge.parameters / processes
    outside = judge.parameters - judge.num_layers * judge.layer_parameters
    gathered = reduced = 0.0
    if processes > 1:
        layers = (GATHERED_LAYERS + 1) * judge.layer_parameters
        in_pieces = max(layers, outside + judge.layer_parameters)
        if training.language_modeling_weight:  # the embedding stays gathered for the next-token loss
            in_pieces = layers + outside
        gathered = width * (in_pieces if training.sharding == "full" else judge.parameters)
        reduced = (width + BYTES[training.gradient_reduction_dtype]) * max(outside, judge.layer_parameters)
    of_update = longest * math.ceil(2 * training.battles_per_update / processes)
    tokens = max(min(training.max_tokens_per_micro_batch, of_update), longest)
    activations = activation_bytes(judge, tokens, width, is_recomputed=training.activation_checkpointing)
    return states + gathered + reduced + activations + _context_bytes(is_gpu)


def activation_bytes(judge: JudgeSize, tokens: int, width: int, *, is_recomputed: bool) -> float:
    """Bytes of the activations that a backward pass needs.

    A decoder layer with a fused attention kernel keeps for each token some 8 vectors of width h (inputs of the two
    blocks, of the norms, residuals), queries and the attention's output, keys and values, and 4 of the feed-forward
    width (gate, up, gate's activation, product). With activation checkpointing each layer keeps its input alone, and
    one layer at a time has all of it, with gradients as large beside it. Counted after Korthikanti et al. 2022,
    "Reducing Activation Recomputation in Large Transformer Models", section 4, with a gated feed-forward part and
    without attention scores.
    """
    of_layer = 8 * judge.hidden_size + 2 * judge.query_width + 2 * judge.key_value_width + 4 * judge.intermediate_size
    kept = judge.num_layers * (judge.hidden_size if is_recomputed else of_layer)
    return float(width * tokens * (kept + (2 if is_recomputed else 1) * of_layer))


def scoring_bytes(judge: JudgeSize, dtype: str, *, tokens: int, is_gpu: bool, devices: int = 1) -> float:
    """Bytes that reading without gradients takes on each process: its weights, and one layer's activations.

    Args:
        judge: Its sizes.
        dtype: Of weights and activations.
        tokens: Of the largest micro-batch.
        is_gpu: Whether processes run on GPUs, each of which has a context.
        devices: Over which the layers of one process are split.
    """
    width = BYTES[dtype]
    activations = activation_bytes(judge, tokens, width, is_recomputed=False) / judge.num_layers
    return width * judge.parameters / devices + activations + _context_bytes(is_gpu)


def _context_bytes(is_gpu: bool) -> int:
    return GPU_CONTEXT_BYTES if is_gpu else CPU_CONTEXT_BYTES


def _has_kahan(training: TrainingConfig) -> bool:
    return training.optimizer.kahan_summation and training.dtype != "float32"
