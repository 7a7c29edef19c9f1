"""Both families, back and forth, and every way in which a checkpoint can be wrong."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel, GPTNeoXConfig, LlamaConfig, Phi3Config

from wsdm_arena.modeling import inference_layout, weight_files
from wsdm_arena.modeling.backbone_weights import LayoutError, check_weights, plain_shapes
from wsdm_arena.modeling.inference_layout import (
    fuse_projections,
    fused_shapes,
    load_fused_checkpoint,
    split_projections,
    write_fused_checkpoint,
)
from wsdm_arena.modeling.weight_files import open_weights
from wsdm_arena.simulation.backbones import BACKBONES

SHAPE = {
    "vocab_size": 17,
    "hidden_size": 8,
    "intermediate_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
}


@pytest.fixture(params=["gemma", "llama"])
def source(request) -> Path:
    return BACKBONES / request.param


def mlp_head(num_classes: int = 3, hidden_size: int = 128) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = {
        "dense.weight": (hidden_size // 2, hidden_size),
        "dense.bias": (hidden_size // 2,),
        "output.weight": (num_classes, hidden_size // 2),
        "output.bias": (num_classes,),
    }
    return {key: torch.randn(shape, generator=generator).half() for key, shape in shapes.items()}


def random_state(config) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {key: torch.randn(shape, generator=generator) for key, shape in plain_shapes(config).items()}


def assert_same(first, second) -> None:
    assert set(first) == set(second)
    for key in first:
        assert first[key].dtype == second[key].dtype, key
        assert torch.equal(first[key], second[key]), key


def test_split_undoes_fuse_and_gate_is_the_upper_half(source):
    plain = load_file(source / "model.safetensors")
    fused = fuse_projections(plain)
    gate, up = (plain[f"layers.1.mlp.{part}_proj.weight"] for part in ("gate", "up"))
    both = fused["model.layers.1.mlp.gate_up_proj.weight"]
    assert torch.equal(both[: len(gate)], gate)
    assert torch.equal(both[len(gate) :], up)
    assert len(fused) == len(plain) - 3  # one matrix for two in each of three layers
    assert_same(split_projections(dict(fused)), plain)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("attention_bias", [True, False])
@pytest.mark.parametrize("mlp_bias", [True, False])
def test_biases_and_tied_embeddings_come_through(tied, attention_bias, mlp_bias):
    config = LlamaConfig(**SHAPE, tie_word_embeddings=tied, attention_bias=attention_bias, mlp_bias=mlp_bias)
    plain = random_state(config)
    fused = dict(fuse_projections(plain))
    check_weights(fused, fused_shapes(config), place="here")
    assert ("model.layers.0.self_attn.q_proj.bias" in fused) is attention_bias
    assert ("model.layers.0.mlp.gate_up_proj.bias" in fused) is mlp_bias
    assert_same(split_projections(fused), plain)


def test_nothing_is_read_before_it_is_asked_for():
    config, read = LlamaConfig(**SHAPE), []
    plain = random_state(config)

    def reader(key: str):
        return lambda: (read.append(key), plain[key])[1]

    fused = fuse_projections(weight_files.LazyState({key: reader(key) for key in plain}))
    assert len(fused) == len(plain) - 2
    assert "model.norm.weight" in fused
    assert read == []
    fused["model.layers.1.mlp.gate_up_proj.weight"]
    assert read == ["layers.1.mlp.gate_proj.weight", "layers.1.mlp.up_proj.weight"]


@pytest.mark.parametrize("config", [GPTNeoXConfig(**SHAPE), Phi3Config(**SHAPE, pad_token_id=0)], ids=["neox", "phi3"])
def test_a_family_without_a_gate_of_its_own_is_refused(config):
    with pytest.raises(LayoutError, match=rf"{config.model_type} has no layers\.0\.mlp\.gate_proj\.weight"):
        fused_shapes(config)


def test_half_a_pair_of_projections_is_refused_by_name():
    plain = {"layers.0.mlp.gate_proj.weight": torch.zeros(2, 2)}
    with pytest.raises(LayoutError, match=r"gate_proj\.weight has no layers\.0\.mlp\.up_proj\.weight"):
        fuse_projections(plain)
    fused = split_projections({"model.layers.0.mlp.gate_up_proj.weight": torch.zeros(3, 2)})
    with pytest.raises(LayoutError, match=r"gate_up_proj\.weight \(3, 2\) has an odd number of rows"):
        fused["layers.0.mlp.gate_proj.weight"]
    with pytest.raises(LayoutError, match=r"norm\.weight: every backbone weight .* named model\.\*"):
        split_projections({"norm.weight": torch.zeros(2)})


def test_the_written_directory_is_what_the_contest_s_code_reads(source, tmp_path):
    head = mlp_head()
    path = write_fused_checkpoint(source, tmp_path / "fused", head=head)
    assert sorted(file.name for file in path.iterdir()) == [
        "chat_template.jinja", "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
    ]  # fmt: skip
    state = load_file(path / "model.safetensors")
    scores = {key: state.pop(key) for key in list(state) if key.startswith("score.")}
    renamed = {"score.1.weight": "dense.weight", "score.1.bias": "dense.bias"} | {
        "score.4.weight": "output.weight", "score.4.bias": "output.bias",
    }  # fmt: skip
    assert_same(scores, {key: head[own] for key, own in renamed.items()})
    assert_same(split_projections(state), load_file(source / "model.safetensors"))
    assert {tensor.dtype for tensor in state.values()} == {torch.float16}
    config, original = (json.loads((place / "config.json").read_text()) for place in (path, source))
    assert {key for key in original if original[key] != config.get(key)} == {"architectures"}


def test_a_linear_head_is_score_and_any_other_is_refused(tmp_path):
    head = {"output.weight": torch.ones(2, 128)}
    path = write_fused_checkpoint(BACKBONES / "llama", tmp_path / "fused", head=head)
    assert torch.equal(load_file(path / "model.safetensors")["score.weight"], torch.ones(2, 128).half())
    with pytest.raises(LayoutError, match=r"a head of \['dense.bias'\] has no place"):
        write_fused_checkpoint(BACKBONES / "llama", tmp_path / "other", head={"dense.bias": torch.ones(2)})
    assert not (tmp_path / "other").exists()


def test_a_number_too_large_for_float16_is_refused_by_name(tmp_path):
    source = copy_backbone("llama", tmp_path / "source")
    weights = {key: value.float() for key, value in load_file(source / "model.safetensors").items()}
    weights["layers.2.mlp.up_proj.weight"][0, 0] = 70_000.0
    save_file(weights, source / "model.safetensors")
    with pytest.raises(LayoutError, match=r"layers\.2\.mlp\.gate_up_proj\.weight holds 70000, which is too large"):
        write_fused_checkpoint(source, tmp_path / "fused")
    assert [entry.name for entry in tmp_path.iterdir()] == ["source"]


def copy_backbone(family: str, target: Path) -> Path:
    target.mkdir(parents=True)
    for file in (BACKBONES / family).iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    return target


@pytest.mark.parametrize("prefix", ["", "model."])
def test_a_language_model_s_prefix_and_output_layer_are_no_obstacle(prefix, tmp_path):
    source = copy_backbone("llama", tmp_path / "source")
    plain = load_file(source / "model.safetensors")
    extra = {"lm_head.weight": torch.zeros(2048, 128), "model.layers.0.self_attn.rotary_emb.inv_freq": torch.zeros(16)}
    save_file({f"{prefix}{key}": value for key, value in plain.items()} | extra, source / "model.safetensors")
    fused = load_file(write_fused_checkpoint(source, tmp_path / "fused") / "model.safetensors")
    assert_same(split_projections(fused), plain)


def test_wrong_weights_are_refused_with_both_shapes(tmp_path):
    source = copy_backbone("gemma", tmp_path / "source")
    weights = load_file(source / "model.safetensors")
    del weights["layers.1.input_layernorm.weight"]
    weights["layers.9.input_layernorm.weight"] = torch.zeros(128)
    weights["norm.weight"] = torch.zeros(64)
    weights["layers.0.mlp.down_proj.weight"] = torch.zeros(128, 384, dtype=torch.int8)
    save_file(weights, source / "model.safetensors")
    with pytest.raises(LayoutError) as caught:
        write_fused_checkpoint(source, tmp_path / "fused")
    message = str(caught.value)
    assert "layers.1.input_layernorm.weight (128,) is missing" in message
    assert "layers.9.input_layernorm.weight (128,) is unexpected" in message
    assert "norm.weight has shape (64,) instead of (128,)" in message
    assert "layers.0.mlp.down_proj.weight holds torch.int8" in message
    assert str(source) in message


def test_no_more_than_a_shard_is_held_while_writing(tmp_path, monkeypatch):
    """Each shard's tensors are made when it is written, and are gone when the next one's are made."""
    monkeypatch.setattr(inference_layout, "MAX_SHARD_SIZE", "400KB")
    sizes, whole = [], (BACKBONES / "gemma" / "model.safetensors").stat().st_size

    def save(tensors, path, metadata):
        sizes.append(sum(tensor.nbytes for tensor in tensors.values()))
        save_file(tensors, path, metadata=metadata)

    monkeypatch.setattr(weight_files, "save_file", save)
    path = write_fused_checkpoint(BACKBONES / "gemma", tmp_path / "fused")
    largest_tensor = 2048 * 128 * 2  # embeddings
    assert len(sizes) > 3
    assert max(sizes) <= largest_tensor
    assert sum(sizes) == pytest.approx(whole, rel=0.01)
    index = json.loads((path / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == sum(sizes)
    state = open_weights(sorted(path.glob("*.safetensors")))
    assert_same(split_projections(state), load_file(BACKBONES / "gemma" / "model.safetensors"))


def test_what_was_written_is_loaded_again_and_reads_alike(source, tmp_path):
    """Transformers' own eager attention on the original weights is the reference."""
    head = mlp_head()
    path = write_fused_checkpoint(source, tmp_path / "fused", head=head)
    backbone, scores = load_fused_checkpoint(path, sliding_window=True, dtype=torch.float32)
    assert_same(scores, {key: value.float() for key, value in head.items()})
    plain = load_file(source / "model.safetensors")
    assert_same(backbone.state_dict(), {key: value.float() for key, value in plain.items()})
    reference = AutoModel.from_config(AutoConfig.from_pretrained(source), attn_implementation="eager", dtype="float32")
    reference.load_state_dict({key: value.float() for key, value in plain.items()})
    backbone.set_attn_implementation("eager")
    tokens = torch.arange(100, 230)[None]
    ours, theirs = (model.eval()(tokens, use_cache=False).last_hidden_state for model in (backbone, reference))
    assert torch.equal(ours, theirs)


def test_a_foreign_head_is_refused_when_loading(tmp_path):
    path = write_fused_checkpoint(BACKBONES / "llama", tmp_path / "fused", head=mlp_head())
    weights = load_file(path / "model.safetensors")
    save_file(weights | {"score.9.weight": torch.zeros(1)}, path / "model.safetensors")
    with pytest.raises(LayoutError, match=r"holds a head of .*score\.9\.weight"):
        load_fused_checkpoint(path, sliding_window=True, dtype=torch.float16)
