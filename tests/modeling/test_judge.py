import logging
from functools import partial

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint
from transformers import AutoModel, LlamaForCausalLM, LlamaForSequenceClassification

from wsdm_arena.batching.packed import PackedBatch
from wsdm_arena.config import HeadConfig
from wsdm_arena.modeling import judge as judge_module
from wsdm_arena.modeling.attention import UnsupportedJudgeError
from wsdm_arena.modeling.dropout import draw_keep_masks
from wsdm_arena.modeling.judge import build_judge, new_judge


def weigh(states):
    """Reduce to one number so that every entry has a gradient of its own."""
    return (states * torch.cos(torch.arange(states.numel(), dtype=torch.float32)).view_as(states)).sum()


def largest(difference):
    return difference.abs().max().item()


@pytest.mark.parametrize("sliding_window", [True, False])
def test_packed_equals_alone(family, sliding_window, make, sequences, batch):
    judge = make.judge(family, sliding_window=sliding_window)
    reference, alone = make.alone(judge, sequences)
    hidden = judge.hidden_states(batch)
    assert largest(hidden - torch.cat(alone)) < 2e-5
    assert hidden.abs().mean() > 0.1

    logits_alone = judge.head(torch.stack([states[-1] for states in alone]))
    assert largest(judge(batch) - logits_alone) < 2e-5
    assert judge(batch).dtype == torch.float32

    weigh(judge(batch)).backward()
    weigh(logits_alone).backward()
    for (name, ours), theirs in zip(judge.backbone.named_parameters(), reference.parameters(), strict=True):
        assert largest(ours.grad - theirs.grad) < 2e-5 * max(1.0, largest(theirs.grad)), name
    assert judge.backbone.layers[0].self_attn.q_proj.weight.grad.abs().max() > 1e-4


def test_the_cases_of_the_families_occur(make, sequences):
    for family, change in (
        ("gemma2", {"attn_logit_softcapping": 50.0}),
        ("gemma2", {"sliding_window": 500}),
        ("gemma3", {"sliding_window": 500}),
    ):
        judge = make.judge(family)
        _, states = make.alone(judge, sequences)
        _, changed = make.alone(judge, sequences, **change)
        assert largest(torch.cat(states) - torch.cat(changed)) > 0.01, (family, change)


def test_sliding_window_off_reads_the_whole_sequence(make, sequences, batch):
    for family in ("gemma2", "gemma3"):
        off, on = make.judge(family, sliding_window=False), make.judge(family)
        _, whole = make.alone(on, sequences, sliding_window=500)
        assert largest(off.hidden_states(batch) - torch.cat(whole)) < 2e-5
        assert largest(on.hidden_states(batch) - torch.cat(whole)) > 0.01


def test_no_segment_sees_another(family, make, sequences):
    judge = make.judge(family)
    before = judge.hidden_states(PackedBatch.from_sequences(sequences))
    for changed in range(len(sequences)):
        others = [*sequences]
        others[changed] = (sequences[changed] + 1) % 61
        batch = PackedBatch.from_sequences(others)
        after = judge.hidden_states(batch)
        inside = slice(batch.boundaries[changed], batch.boundaries[changed + 1])
        assert not torch.equal(after[inside], before[inside])
        after[inside] = before[inside]
        assert torch.equal(after, before)


def test_no_gradient_reaches_another_segment(family, make, batch):
    judge = make.judge(family)
    embedded = []
    handle = judge.backbone.embed_tokens.register_forward_hook(lambda *call: embedded.append(call[-1]))
    logits = judge(batch)
    handle.remove()
    for segment in range(batch.num_segments):
        (gradient,) = torch.autograd.grad(weigh(logits[segment]), embedded, retain_graph=True)
        inside = slice(batch.boundaries[segment], batch.boundaries[segment + 1])
        assert (gradient[0, inside].abs().sum(dim=1) > 0).any()
        gradient[0, inside] = 0
        assert not gradient.any()


def test_segments_may_come_in_any_order(family, make, sequences, batch):
    judge = make.judge(family)
    order = np.random.default_rng(3).permutation(len(sequences))
    shuffled = judge(PackedBatch.from_sequences([sequences[position] for position in order]))
    assert largest(shuffled - judge(batch)[order.tolist()]) < 1e-5


def test_any_split_gives_the_same_logits(family, make, sequences, batch):
    judge = make.judge(family)
    parts = [judge(PackedBatch.from_sequences(part)) for part in (sequences[:1], sequences[1:5], sequences[5:])]
    assert largest(torch.cat(parts) - judge(batch)) < 1e-5


def test_with_a_cache_segments_would_read_one_another_and_the_judge_refuses_one(make, sequences, batch):
    judge = make.judge("llama")
    reference, alone = make.alone(judge, sequences)

    def read_packed(use_cache):
        return reference(
            input_ids=batch.input_ids[None], position_ids=batch.position_ids[None], use_cache=use_cache
        ).last_hidden_state[0]

    assert largest(read_packed(False) - torch.cat(alone)) < 2e-5
    assert largest(read_packed(True) - torch.cat(alone)) > 0.1  # the trap

    assert judge.config.use_cache is False
    with pytest.raises(TypeError, match="use_cache"):
        judge(batch, use_cache=True)
    judge.config.use_cache = True
    with pytest.raises(UnsupportedJudgeError, match="use_cache"):
        judge(batch)


def test_a_backbone_called_without_its_judge_is_refused(make, batch):
    judge = make.judge("llama")
    with pytest.raises(UnsupportedJudgeError, match="call the judge"):
        judge.backbone(input_ids=batch.input_ids[None])


def test_recomputed_activations_give_the_same_gradients(family, make, batch):
    judge = make.judge(family)
    weigh(judge(batch)).backward()
    kept = [parameter.grad.clone() for parameter in judge.parameters()]
    judge.zero_grad()
    for layer in judge.decoder_layers:
        layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)
    weigh(judge(batch)).backward()
    assert all(torch.equal(ours.grad, theirs) for ours, theirs in zip(judge.parameters(), kept, strict=True))


def test_bfloat16_follows_float32(make, sequences, batch):
    judge = make.judge("gemma2")
    logits = judge(batch)
    rough = judge.to(torch.bfloat16)(batch)
    assert rough.dtype == torch.float32
    assert largest(rough - logits) < 0.1 * largest(logits)


def test_dropout_masks_are_applied_and_scaled_in_training_mode_only(make, sequences, batch):
    judge = make.judge("llama", dropout=0.5)
    hidden = judge.hidden_states(batch)[[end - 1 for end in batch.boundaries[1:]]]
    readings = [(f"pair{number}", "ab") for number in range(len(sequences))]
    masks = draw_keep_masks(readings, judge.head.dropout_widths, rate=0.5, seed=0, update=0)
    assert [tuple(mask.shape) for mask in masks] == [(9, 32), (9, 16)]
    expected = judge.head.output(torch.nn.functional.gelu(judge.head.dense(hidden * masks[0] * 2) * masks[1] * 2))
    assert torch.equal(judge(batch, masks), judge(batch))
    judge.train()
    assert torch.equal(judge(batch, masks), expected)
    assert not torch.equal(judge(batch, masks), judge.eval()(batch))


def test_training_without_masks_is_refused(make, batch):
    judge = make.judge("llama").train()
    with pytest.raises(ValueError, match="draw_keep_masks"):
        judge(batch)
    make.judge("llama", dropout=0.0).train()(batch)
    make.judge("llama", kind="linear").train()(batch)


def test_next_token_loss_stays_within_segments(make, sequences, batch, monkeypatch):
    judge = make.judge("llama")
    states = [judge.hidden_states(PackedBatch.from_sequences([sequence])) for sequence in sequences]
    expected = sum(
        cross_entropy(judge.language_model_logits(state[:-1]), torch.from_numpy(sequence[1:]), reduction="sum")
        for state, sequence in zip(states, sequences, strict=True)
        if len(sequence) > 1
    )
    logits, loss = judge(batch, language_modeling=True)
    assert torch.equal(logits, judge(batch))
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    loss.backward()
    gradient = judge.backbone.embed_tokens.weight.grad.clone()
    judge.zero_grad()
    monkeypatch.setattr(judge_module, "VOCABULARY_CHUNK", 61 * 10)  # ten tokens at a time
    _, in_chunks = judge(batch, language_modeling=True)
    in_chunks.backward()
    assert in_chunks.item() == pytest.approx(loss.item(), rel=1e-5)
    assert largest(judge.backbone.embed_tokens.weight.grad - gradient) < 1e-4


def test_next_token_loss_of_single_tokens_is_zero_and_has_a_gradient(make):
    _, loss = make.judge("llama")(PackedBatch.placeholder(), language_modeling=True)
    loss.backward()
    assert loss.item() == 0


def test_building_leaves_the_global_generator_alone_and_seeds_weights(make):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, again = (new_judge(make.config("llama"), head=HeadConfig(), num_classes=2, seed=1) for _ in range(2))
    other = new_judge(make.config("llama"), head=HeadConfig(), num_classes=2, seed=2)
    assert torch.equal(torch.rand(3), expected)
    for key, weight in first.state_dict().items():
        assert torch.equal(weight, again.state_dict()[key])
    assert not torch.equal(first.head.dense.weight, other.head.dense.weight)


def test_a_language_models_checkpoint_becomes_a_judge(make, tmp_path, batch):
    model = LlamaForCausalLM(make.config("llama"))
    model.save_pretrained(tmp_path)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    judges = [
        build_judge(tmp_path, head=HeadConfig(), num_classes=3, head_seed=seed, attention="segments").eval()
        for seed in (1, 1, 2)
    ]
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(judges[0].backbone.layers[2].mlp.up_proj.weight, model.model.layers[2].mlp.up_proj.weight)
    assert judges[0](batch).shape == (9, 3)
    assert torch.equal(judges[0](batch), judges[1](batch))
    assert not torch.equal(judges[0](batch), judges[2](batch))


def test_an_old_head_is_left_behind_only_when_named(make, tmp_path):
    config = make.config("llama")
    config.pad_token_id = 0
    LlamaForSequenceClassification(config).save_pretrained(tmp_path)
    with pytest.raises(UnsupportedJudgeError, match=r"unexpected score\.weight"):
        build_judge(tmp_path, head=HeadConfig(), num_classes=2)
    build_judge(tmp_path, head=HeadConfig(), num_classes=2, old_head=("score.",))


def test_a_checkpoint_that_lacks_weights_is_refused(make, tmp_path):
    model = AutoModel.from_config(make.config("llama"))
    state = model.state_dict()
    del state["layers.1.mlp.up_proj.weight"]
    model.save_pretrained(tmp_path, state_dict=state)
    with pytest.raises(UnsupportedJudgeError, match=r"missing layers\.1\.mlp\.up_proj\.weight"):
        build_judge(tmp_path, head=HeadConfig(), num_classes=2)


def test_a_directory_without_a_model_is_refused_by_name(tmp_path):
    with pytest.raises(UnsupportedJudgeError, match=f"{tmp_path}: the model's configuration cannot be loaded"):
        build_judge(tmp_path, head=HeadConfig(), num_classes=2)


def test_pickled_weights_are_refused(make, tmp_path):
    model = AutoModel.from_config(make.config("llama"))
    model.config.save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(UnsupportedJudgeError, match="safetensors"):
        build_judge(tmp_path, head=HeadConfig(), num_classes=2)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"attention_dropout": 0.1}, "attention_dropout=0.1"), ({"use_bidirectional_attention": True}, "both directions")],
)
def test_backbones_that_cannot_be_packed_are_refused(make, change, message):
    config = make.config("gemma3")
    for key, value in change.items():
        setattr(config, key, value)
    with pytest.raises(UnsupportedJudgeError, match=message):
        new_judge(config, head=HeadConfig(), num_classes=2, seed=0)


def test_the_chosen_kernel_is_logged_once(make, batch, caplog):
    judge = make.judge("llama", attention="auto")
    with caplog.at_level(logging.INFO):
        judge(batch), judge(batch)
    assert [record.getMessage() for record in caplog.records] == ["attention: segments on cpu in torch.float32"]
