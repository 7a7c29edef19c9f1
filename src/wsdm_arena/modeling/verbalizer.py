"""What a language model thinks of a few tokens, as the weights that a judge's head starts from.

A language model scores every token of its vocabulary by one row of its output layer, times the last hidden state. The
rows of two answers are a linear head, which says before any training which of them the model would write.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from huggingface_hub import snapshot_download
from transformers import PreTrainedConfig

from wsdm_arena.modeling.attention import UnsupportedJudgeError
from wsdm_arena.modeling.backbone import LANGUAGE_MODEL_HEAD
from wsdm_arena.modeling.backbone_weights import read_config
from wsdm_arena.modeling.weight_files import find_weight_files, open_weights

OUTPUT_LAYER = f"{LANGUAGE_MODEL_HEAD}weight"
"""Where transformers keeps a language model's output layer, ``(vocabulary, h)``, unless it is the embeddings."""
_OUTPUT_BIAS = f"{LANGUAGE_MODEL_HEAD}bias"
_SCALES = ("logits_scaling", "logit_scale", "lm_head_multiplier")
"""By what Granite, Cohere and Falcon-H1 multiply or divide their logits."""
_CURE = "set judges.<judge>.head.kind to linear or mlp"


def require_language_model(directory: Path) -> None:
    """Make sure that a head of kind ``verbalizer`` can start from a checkpoint; only names of weights are read.

    Raises:
        UnsupportedJudgeError: It has no output layer, or one that is more than a matrix; names the checkpoint.
        LayoutError: It has no configuration of a backbone.
        WeightFileError: Its weights cannot be read.
    """
    _find_output_layer(open_weights(find_weight_files(directory)), read_config(directory), directory)


def read_answer_rows(
    source: str | Path,
    config: PreTrainedConfig,
    answer_ids: Sequence[int],
    *,
    embeddings: torch.Tensor,
    revision: str | None = None,
) -> torch.Tensor:
    """Read what a language model's output layer has for a few tokens.

    The output layer is ``lm_head.weight`` where the checkpoint has it, else the input embeddings if they are tied to
    it. Only the pages of the file that hold these rows are read. A soft-cap of the logits (Gemma-2 has one) is no part
    of the layer and left out: it pulls large logits together, but leaves their order.

    Args:
        source: Directory of the checkpoint, or a hub name.
        config: Of the backbone.
        answer_ids: Tokens.
        embeddings: The backbone's input embeddings, ``(vocabulary, h)``.
        revision: Commit of the hub's repository; ignored for a directory.

    Returns:
        ``(len(answer_ids), h)``, in the type that they are stored in.

    Raises:
        UnsupportedJudgeError: There is no output layer, it is more than a matrix, or it lacks a token.
        WeightFileError: The weights cannot be read.
    """
    directory = _find_directory(source, revision)
    stored = open_weights(find_weight_files(directory))
    key = _find_output_layer(stored, config, source)
    weight = embeddings.detach() if key is None else stored[key]
    shape, ids = tuple(weight.shape), list(answer_ids)
    if len(shape) != 2 or shape[1] != config.hidden_size or not weight.is_floating_point() or max(ids) >= shape[0]:
        raise UnsupportedJudgeError(
            f"{source}: the output layer ({key or 'the embeddings'}) is {weight.dtype} {shape}, and does not hold "
            f"{config.hidden_size} numbers for each of the tokens {ids}; {_CURE}"
        )
    rows = weight[ids].clone()
    if not torch.isfinite(rows).all():
        raise UnsupportedJudgeError(
            f"{source}: the output layer holds numbers that are not finite; the file is damaged"
        )
    return rows


def _find_output_layer(keys: Iterable[str], config: PreTrainedConfig, source: str | Path) -> str | None:
    """Name of the output layer's weight; None for the embeddings."""
    names = set(keys)
    if _OUTPUT_BIAS in names:
        raise UnsupportedJudgeError(
            f"{source}: the language model's output layer has a bias, which a head of kind verbalizer has not; {_CURE}"
        )
    for scale in _SCALES:
        if getattr(config, scale, None) not in (None, 1.0):
            raise UnsupportedJudgeError(
                f"{source}: {config.model_type} scales its logits ({scale}={getattr(config, scale)}), which a head of "
                f"kind verbalizer does not; {_CURE}"
            )
    if OUTPUT_LAYER in names:
        return OUTPUT_LAYER
    if getattr(config, "tie_word_embeddings", False):
        return None
    raise UnsupportedJudgeError(
        f"{source} is no whole language model: it has neither {OUTPUT_LAYER} nor tie_word_embeddings, so that a head "
        f"of kind verbalizer has nothing to start from; name a checkpoint of the language model, or {_CURE}"
    )


def _find_directory(source: str | Path, revision: str | None) -> Path:
    """Of a hub's repository the directory that transformers has just read."""
    if Path(source).is_dir():
        return Path(source)
    return Path(snapshot_download(str(source), revision=revision, allow_patterns=["*.safetensors", "*.index.json"]))
