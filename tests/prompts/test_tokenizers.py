"""Loading, identifying and taking apart tokenizers."""

import copy
import json

import pytest

from tests.tiny_tokenizers import byte_fallback_style, gemma_style, llama_style, save_tokenizer
from wsdm_arena.prompts.tokenizers import (
    PromptError,
    count_token_ids,
    find_control_ids,
    fingerprint_tokenizer,
    is_whitespace,
    load_tokenizer,
)


def test_a_saved_tokenizer_comes_back_the_same(tmp_path):
    for tokenizer in (gemma_style(), llama_style(), byte_fallback_style()):
        loaded = load_tokenizer(save_tokenizer(tokenizer, tmp_path))
        assert fingerprint_tokenizer(loaded) == fingerprint_tokenizer(tokenizer)
        assert loaded.chat_template == tokenizer.chat_template


def test_code_beside_a_tokenizer_is_neither_asked_about_nor_run(tmp_path, monkeypatch):
    """Without tokenizer.json transformers converts what there is, and would ask whether to run what comes with it."""
    asked = []
    monkeypatch.setattr("builtins.input", lambda *_: asked.append(True) or "y")
    config = {"auto_map": {"AutoTokenizer": ["tokenization.Tokenizer", None]}, "tokenizer_class": "Tokenizer"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    (tmp_path / "config.json").write_text('{"model_type": "nonesuch"}')
    (tmp_path / "tokenization.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Tokenizer: pass\n")
    with pytest.raises(PromptError, match=r"holds no tokenizer\.json"):
        load_tokenizer(tmp_path)
    assert asked == []
    assert not (tmp_path / "ran").exists()


def test_the_fingerprint_follows_vocabulary_chat_template_and_roles_but_not_use():
    tokenizer = copy.deepcopy(gemma_style())
    fingerprint = fingerprint_tokenizer(tokenizer)
    tokenizer("some text", truncation=True, max_length=4)
    assert fingerprint_tokenizer(tokenizer) == fingerprint
    tokenizer.eos_token = "<end_of_turn>"
    assert fingerprint_tokenizer(tokenizer) != fingerprint
    tokenizer = copy.deepcopy(gemma_style())
    tokenizer.chat_template += " "
    assert fingerprint_tokenizer(tokenizer) != fingerprint
    assert fingerprint_tokenizer(gemma_style(vocab_size=700)) != fingerprint


def test_control_ids_are_all_added_tokens_but_whitespace_and_the_unknown_token():
    tokenizer = gemma_style()
    names = ["<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>", "<unused0>"]
    assert find_control_ids(tokenizer) == set(tokenizer.convert_tokens_to_ids(names))
    both = copy.deepcopy(tokenizer)
    both.pad_token = "<unk>"
    assert both.unk_token_id in find_control_ids(both)
    added = copy.deepcopy(tokenizer)
    added.add_tokens(["<tool_call>", "\n\n\n\n"])
    assert find_control_ids(added) - find_control_ids(tokenizer) == {added.convert_tokens_to_ids("<tool_call>")}


def test_ids_are_counted_with_added_tokens():
    assert count_token_ids(llama_style()) == 768
    assert count_token_ids(gemma_style()) == 770


def test_whitespace_tokens_are_told_from_others():
    assert [is_whitespace(text) for text in ("\n\n", "▁▁", " \t", "", "▁a", "<bos>")] == [True] * 3 + [False] * 3


def test_a_tokenizer_that_is_not_there_is_named_with_the_parameter(tmp_path):
    with pytest.raises(PromptError, match=r"no-such-directory.*judges\.<judge>\.backbone"):
        load_tokenizer(tmp_path / "no-such-directory")
