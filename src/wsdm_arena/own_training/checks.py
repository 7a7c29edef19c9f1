"""What is made sure of before a training on one's own battles begins."""

import json
import re
from pathlib import Path

import pandas as pd

from wsdm_arena.config import TrainingConfig
from wsdm_arena.config.own_training import STAGE, OwnTrainingConfig, OwnTrainingError
from wsdm_arena.preferences.selection import TRAIN
from wsdm_arena.prompts.template import render_template, require_answers
from wsdm_arena.prompts.tokenizers import PromptError, load_tokenizer

_HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


def as_source(source: str) -> Path | str:
    """A directory, or else what is taken for a repository's name."""
    place = Path(source).expanduser()
    return place if place.is_dir() else source


def check_output(bundle: Path, work: Path) -> None:
    """Refuse to replace anything but a bundle that was trained in this work directory.

    Raises:
        OwnTrainingError: Something else is there.
    """
    if work.exists() and not work.is_dir():
        raise OwnTrainingError(f"{work} is a file; name another --work-dir")
    if bundle.resolve() == work.resolve() or bundle.resolve() in work.resolve().parents:
        raise OwnTrainingError(f"{work} lies within {bundle}, which is replaced as a whole; name another --work-dir")
    if not bundle.exists() and not bundle.is_symlink():
        return
    if bundle.is_dir() and not any(bundle.iterdir()):
        return
    try:
        provenance = json.loads((bundle / "provenance.json").read_text(encoding="utf-8"))
        run = work / "runs" / f"{STAGE}.{provenance['judge']}" / provenance["fingerprint"]
    except (OSError, ValueError, KeyError, TypeError):
        raise OwnTrainingError(f"{bundle} is there already and is no bundle; name another output (-o)") from None
    if not run.is_dir():
        raise OwnTrainingError(
            f"{bundle} is a bundle that was not trained in {work}; name another output (-o), or remove it"
        )


def check_backbone(source: str, revision: str | None) -> None:
    """Refuse a backbone that is not there or lacks a part. Of a repository only the tokenizer is fetched for it.

    Raises:
        OwnTrainingError: There is no such directory, and it is no repository's name.
        BackboneError: Configuration or tokenizer are missing.
        WeightFileError: Weights are missing, or it is not clear which files hold them.
        PromptError: The tokenizer cannot be read.
    """
    place = as_source(source)
    if isinstance(place, Path):
        from wsdm_arena.modeling.backbone_source import find_source  # imports torch

        if revision is not None:
            raise OwnTrainingError(f"--revision is for names of the hub, but the backbone {source} is a directory")
        find_source(place)
    elif not _HUB_NAME.fullmatch(source):
        raise OwnTrainingError(
            f"there is no backbone {source}: name a directory with config.json, tokenizer.json and model.safetensors, "
            "or a repository of the Hugging Face hub as owner/name"
        )


def check_attention(config: OwnTrainingConfig) -> None:
    """Refuse a backbone that transformers does not know, and a kernel that cannot run it here.

    Raises:
        UnsupportedJudgeError: Says what is missing.
    """
    import torch

    from wsdm_arena.modeling.attention import choose_attention
    from wsdm_arena.modeling.backbone import as_dtype, load_config

    judge, device = config.judge, config.launcher.device
    assert judge.backbone.source is not None
    backbone = load_config(
        as_source(judge.backbone.source), sliding_window=judge.sliding_window, revision=judge.backbone.revision
    )
    if judge.attention != "auto":
        kind = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        choose_attention(backbone, torch.device(kind), as_dtype(config.training.dtype), judge.attention)


def find_system_role(config: OwnTrainingConfig) -> bool:
    """Whether the judge's instruction can be a system message of its own.

    Raises:
        PromptError: The tokenizer cannot be read, or its chat template cannot be used; says what helps.
    """
    source, said = config.judge.backbone.source, config.judge.system_role
    assert source is not None
    tokenizer = load_tokenizer(as_source(source), revision=config.judge.backbone.revision)
    for system_role in (True, False) if said is None else (said,):
        try:
            render_template(tokenizer, config.template, system_role=system_role, marker=config.truncation.marker)
            return system_role
        except PromptError:
            if not system_role or said is not None:
                raise
    raise AssertionError("one of the two was returned or raised")


def check_verbalizer(config: OwnTrainingConfig) -> None:
    """Refuse a head of kind ``verbalizer`` that has nothing to start from. Other heads are passed over.

    Raises:
        OwnTrainingError: There is not one answer a class.
        PromptError: An answer is not one token.
        UnsupportedJudgeError: The backbone, a directory, is no language model.
    """
    source, answers, wanted = config.judge.backbone.source, config.template.answers, config.preferences.num_classes
    assert source is not None
    if config.judge.head.kind != "verbalizer":
        return
    if len(answers) != wanted:
        raise OwnTrainingError(
            f"template.answers: {list(answers)} are {len(answers)}, but with preferences.tie_policy "
            f"{config.preferences.tie_policy} (--tie-policy) a judge tells {wanted} classes apart; a verbalizer head "
            "(--head) starts from one answer for each"
        )
    place = as_source(source)
    require_answers(load_tokenizer(place, revision=config.judge.backbone.revision), config.template)
    if isinstance(place, Path):
        from wsdm_arena.modeling.verbalizer import require_language_model  # imports torch

        require_language_model(place)


def check_size(selection: pd.DataFrame, training: TrainingConfig) -> None:
    """Refuse fewer battles than one update takes.

    Raises:
        OwnTrainingError: They are too few.
    """
    there = int((selection["split"] == TRAIN).sum())
    used = min(there, training.max_battles or there)
    if used < training.battles_per_update:
        raise OwnTrainingError(
            f"{used} battles are there to train on, fewer than one update takes ({training.battles_per_update}); add "
            "battles, or lower training.battles_per_update (--battles-per-update)"
        )


def choose_devices(config: OwnTrainingConfig) -> OwnTrainingConfig:
    """Settle what was left to this machine: number of processes and type of the weights.

    Raises:
        OwnTrainingError: There is no GPU, or there are fewer than processes.
    """
    import torch

    launcher, training = config.launcher, config.training
    num_gpus = torch.cuda.device_count() if launcher.device != "cpu" and torch.cuda.is_available() else 0
    if launcher.device == "cuda" and not num_gpus:
        raise OwnTrainingError("launcher.device (--device) is cuda, but PyTorch finds no GPU; cpu or auto work here")
    if "processes_per_node" not in launcher.model_fields_set:
        launcher = launcher.model_copy(update={"processes_per_node": max(num_gpus, 1)})
    elif 0 < num_gpus < launcher.processes_per_node:
        raise OwnTrainingError(
            f"launcher.processes_per_node (--processes) is {launcher.processes_per_node}, but there are {num_gpus} GPUs"
        )
    if "dtype" not in training.model_fields_set:
        has_bfloat16 = num_gpus > 0 and torch.cuda.is_bf16_supported()
        training = training.model_copy(update={"dtype": "bfloat16" if has_bfloat16 else "float32"})
    return config.model_copy(update={"launcher": launcher, "training": training})
