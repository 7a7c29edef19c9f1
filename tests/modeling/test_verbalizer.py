"""A verbalizer says before any training what the language model says."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForCausalLM, CohereConfig, GraniteConfig, PhiConfig, PreTrainedConfig

from tests.tiny_tokenizers import llama_style, save_tokenizer
from wsdm_arena.batching.packed import PackedBatch
from wsdm_arena.config import BackboneConfig, HeadConfig
from wsdm_arena.modeling.attention import UnsupportedJudgeError
from wsdm_arena.modeling.backbone_import import import_backbone, read_backbone_manifest
from wsdm_arena.modeling.checkpoint import load_judge, save_judge
from wsdm_arena.modeling.judge import JudgeModel, build_judge
from wsdm_arena.modeling.verbalizer import require_language_model

VERBALIZER = HeadConfig(kind="verbalizer")
ANSWERS = (17, 5, 40)
LENGTHS = (1, 6, 30, 11)


@pytest.fixture
def language_model(make, tmp_path):
    """Makes a causal language model of one family whose weights are large, in a directory."""

    def save(family: str, *, tied: bool, softcap: float | None = None, **options):
        config = make.config(family)
        config.tie_word_embeddings = tied
        if family == "gemma2":
            config.final_logit_softcapping = softcap
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config, attn_implementation="eager")
        generator = torch.Generator().manual_seed(3)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.2)
        model.save_pretrained(tmp_path / "model", **options)
        return model.eval(), tmp_path / "model"

    return save


def sequences() -> list[np.ndarray]:
    draw = np.random.default_rng(4)
    return [draw.integers(0, 61, length) for length in LENGTHS]


def our_logits(judge: JudgeModel) -> torch.Tensor:
    with torch.no_grad():
        return judge.eval()(PackedBatch.from_sequences(sequences()))


@torch.no_grad()
def their_logits(model) -> torch.Tensor:
    """What the language model gives the answers next, one sequence at a time."""
    last = [model(torch.tensor(sequence)[None]).logits[0, -1] for sequence in sequences()]
    return torch.stack(last)[:, list(ANSWERS)]


def build(source, **changes) -> JudgeModel:
    options = {"head": VERBALIZER, "num_classes": 3, "attention": "segments", "answer_ids": ANSWERS}
    return build_judge(source, **(options | changes))


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("family", ["gemma2", "gemma3", "llama", "qwen2"])
def test_a_fresh_judge_gives_the_language_models_own_logits(family, tied, language_model, tmp_path):
    model, source = language_model(family, tied=tied)
    assert ("lm_head.weight" in load_file(source / "model.safetensors")) == (not tied)
    require_language_model(source)
    expected = their_logits(model)
    assert expected.std(dim=0).min() > 0.05  # sequences are told apart
    judge = build(source)
    torch.testing.assert_close(our_logits(judge), expected, rtol=0, atol=1e-5)
    again = load_judge(save_judge(judge, tmp_path / "judge"), attention="segments")
    assert torch.equal(our_logits(again), our_logits(judge))
    assert again.head.config == VERBALIZER
    assert set(again.head.state_dict()) == {"output.weight"}


def test_a_softcap_is_left_out_and_keeps_the_order(language_model):
    model, source = language_model("gemma2", tied=True, softcap=0.5)
    logits = our_logits(build(source))
    torch.testing.assert_close(0.5 * torch.tanh(logits / 0.5), their_logits(model), rtol=0, atol=1e-5)
    assert (logits.abs() > 0.5).any()


def test_shards_half_precision_and_seeds_change_nothing(language_model):
    model, source = language_model("llama", tied=False, max_shard_size="20KB")
    assert len(list(source.glob("*.safetensors"))) > 3
    torch.testing.assert_close(our_logits(build(source, head_seed=9)), their_logits(model), rtol=0, atol=1e-5)
    half = build(source, dtype="bfloat16")
    assert {parameter.dtype for parameter in half.parameters()} == {torch.bfloat16}
    assert torch.equal(half.head.output.weight, model.lm_head.weight[list(ANSWERS)].bfloat16())


def test_training_the_head_leaves_the_embeddings_alone(language_model):
    _, source = language_model("llama", tied=True)
    judge = build(source)
    before = judge.embeddings.detach().clone()
    with torch.no_grad():
        judge.head.output.weight.zero_()
    assert torch.equal(judge.embeddings, before)


@pytest.mark.parametrize("change", ["pickles", "old head"])
def test_an_output_layer_is_not_lost_where_an_import_writes_weights_anew(change, language_model, tmp_path):
    model, source = language_model("llama", tied=False)
    save_tokenizer(llama_style(), source)
    weights = load_file(source / "model.safetensors")
    if change == "pickles":
        torch.save(weights, source / "pytorch_model.bin")
        (source / "model.safetensors").unlink()
    else:
        save_file(weights | {"score.weight": torch.ones(2, 32)}, source / "model.safetensors")
    old_head = ("score.",) if change == "old head" else ()
    path = import_backbone(source, backbone=BackboneConfig(old_head=old_head), root=tmp_path / "backbones")
    assert read_backbone_manifest(path)["ignored"] == []
    torch.testing.assert_close(our_logits(build(path)), their_logits(model), rtol=0, atol=1e-5)


def test_an_output_layer_that_is_the_embeddings_is_not_written_twice(language_model, tmp_path):
    model, source = language_model("llama", tied=True)
    save_tokenizer(llama_style(), source)
    weights = load_file(source / "model.safetensors")
    torch.save(weights | {"lm_head.weight": weights["model.embed_tokens.weight"]}, source / "pytorch_model.bin")
    (source / "model.safetensors").unlink()
    path = import_backbone(source, backbone=BackboneConfig(), root=tmp_path / "backbones")
    assert read_backbone_manifest(path)["ignored"] == ["lm_head.weight"]
    torch.testing.assert_close(our_logits(build(path)), their_logits(model), rtol=0, atol=1e-5)


def test_a_backbone_without_an_output_layer_is_refused_by_name(make, tmp_path):
    AutoModel.from_config(make.config("llama")).save_pretrained(tmp_path)
    for attempt in (build, require_language_model):
        with pytest.raises(
            UnsupportedJudgeError,
            match=rf"{tmp_path} is no whole language model: .*set judges\.<judge>\.head\.kind to linear or mlp",
        ):
            attempt(tmp_path)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (PhiConfig, "output layer has a bias"),
        (GraniteConfig, r"granite scales its logits \(logits_scaling=8"),
        (CohereConfig, r"cohere scales its logits \(logit_scale=0\.0625"),
    ],
)
def test_an_output_layer_that_is_more_than_a_matrix_is_refused(config, message, tmp_path):
    shape = {"vocab_size": 61, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1}
    scaled = {"logits_scaling": 8.0} if config is GraniteConfig else {}
    described: PreTrainedConfig = config(**shape, **scaled, num_attention_heads=4)
    AutoModelForCausalLM.from_config(described).save_pretrained(tmp_path)
    with pytest.raises(UnsupportedJudgeError, match=message):
        require_language_model(tmp_path)


@pytest.mark.parametrize(
    ("answers", "damage", "message"),
    [
        ((1, 2, 61), None, r"lm_head\.weight\) is torch\.float32 \(61, 32\), and does not hold 32 .* \[1, 2, 61\]"),
        (ANSWERS, float("nan"), "not finite"),
    ],
)  # fmt: skip
def test_rows_that_no_head_could_start_from_are_refused(answers, damage, message, language_model):
    _, source = language_model("llama", tied=False)
    if damage is not None:
        weights = load_file(source / "model.safetensors")
        weights["lm_head.weight"][ANSWERS[1], 3] = damage
        save_file(weights, source / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UnsupportedJudgeError, match=message):
        build(source, answer_ids=answers)


def test_there_is_one_answer_a_class(language_model):
    _, source = language_model("llama", tied=True)
    for answers in ((), ANSWERS[:2]):
        with pytest.raises(ValueError, match="a verbalizer of 3 classes starts from as many tokens"):
            build(source, answer_ids=answers)
