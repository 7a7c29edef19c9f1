"""User text as tokens: nothing lost in silence, nothing that could steer the judge."""

import numpy as np
import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models
from transformers.tokenization_utils_tokenizers import PreTrainedTokenizerFast

from tests.tiny_tokenizers import (
    CORPUS,
    GEMMA_CONTROL_TOKENS,
    LLAMA_CONTROL_TOKENS,
    byte_fallback_style,
    gemma_style,
    llama_style,
)
from wsdm_arena.prompts.text import TextEncoder, replace_lone_surrogates, split_long_text
from wsdm_arena.prompts.tokenizers import find_character_starts

STYLES = {"gemma": gemma_style, "llama": llama_style, "byte_fallback": byte_fallback_style}
styles = pytest.mark.parametrize("style", STYLES)


def decode(tokenizer, ids):
    return tokenizer.backend_tokenizer.decode(list(ids), skip_special_tokens=False)


@styles
def test_ordinary_text_gets_the_tokenizers_own_ids(style):
    tokenizer = STYLES[style]()
    encoded = TextEncoder(tokenizer).encode_batch([*CORPUS, "", "a\n\nb\n\n\nc  d"])
    for index, text in enumerate([*CORPUS, "", "a\n\nb\n\n\nc  d"]):
        assert encoded[index].tolist() == tokenizer.encode(text, add_special_tokens=False)
    assert encoded.num_replaced.sum() == 0
    assert encoded.lengths[len(CORPUS)] == 0


@styles
@pytest.mark.parametrize("control_token", [*GEMMA_CONTROL_TOKENS, *LLAMA_CONTROL_TOKENS])
def test_a_control_token_in_text_stays_text(style, control_token):
    tokenizer = STYLES[style]()
    encoder = TextEncoder(tokenizer)
    text = f"before {control_token}{control_token}\n{control_token} after"
    ids = encoder.encode(text)
    assert not encoder.is_control[ids].any()
    assert decode(tokenizer, ids) == text
    own = GEMMA_CONTROL_TOKENS if style != "llama" else LLAMA_CONTROL_TOKENS
    if control_token in own:  # guard: read without care, it would have been one
        careless = tokenizer.encode(text, add_special_tokens=False)
        assert tokenizer.convert_tokens_to_ids(control_token) in careless


@styles
def test_null_bytes_and_every_script_survive(style):
    tokenizer = STYLES[style]()
    text = "a\x00b\x00 é 法国 🦊👩‍👩‍👧 مرحبا \u202e\ufeff\r\n\t end"
    assert decode(tokenizer, TextEncoder(tokenizer).encode(text)) == text


def test_lone_surrogates_become_replacement_characters_and_are_counted():
    assert replace_lone_surrogates("a\ud800b") == ("a\ufffdb", 1)
    assert replace_lone_surrogates("\udc00\udc00\ufffd") == ("\ufffd\ufffd\ufffd", 2)
    assert replace_lone_surrogates("\ud83e\udd8a") == ("🦊", 0)
    assert replace_lone_surrogates("🦊 plain") == ("🦊 plain", 0)
    encoded = TextEncoder(gemma_style()).encode_batch(["fine", "a\ud800b\udfff"])
    assert encoded.num_replaced.tolist() == [0, 2]
    assert decode(gemma_style(), encoded[1]) == "a\ufffdb\ufffd"


def test_long_texts_are_cut_before_lone_spaces_and_joined_again():
    words = "alpha beta  gamma " * 20
    pieces = split_long_text(words, max_characters=40)
    assert "".join(pieces) == words
    assert len(pieces) > 5
    assert all(len(piece) <= 40 for piece in pieces)
    assert all(piece.startswith((" beta", " alpha")) for piece in pieces[1:])
    assert split_long_text("x" * 100, max_characters=40) == ["x" * 40, "x" * 40, "x" * 20]
    assert split_long_text("", max_characters=40) == [""]


@styles
def test_a_long_text_in_pieces_has_the_ids_of_the_whole(style):
    tokenizer = STYLES[style]()
    text = " ".join(CORPUS[:4]) * 300
    assert len(text) > 3 * 32_768
    whole = tokenizer.encode(text, add_special_tokens=False)
    assert TextEncoder(tokenizer).encode(text).tolist() == whole


@styles
@pytest.mark.parametrize("unit", ["a", " ", "🦊", "<eos>"])
def test_a_million_characters_are_encoded_and_none_is_lost(style, unit):
    tokenizer = STYLES[style]()
    text = unit * (1_000_000 // len(unit))
    assert decode(tokenizer, TextEncoder(tokenizer).encode(text)) == text


def test_text_in_mid_sequence_gets_no_leading_space():
    tokenizer = byte_fallback_style(prefix_space=True)
    assert tokenizer.tokenize("hello")[0].startswith("▁")  # guard: the tokenizer does add one
    encoder = TextEncoder(tokenizer)
    assert decode(tokenizer, encoder.encode("hello")) == "hello"
    assert decode(tokenizer, encoder.encode(" hello")) == " hello"


def test_ids_of_whitespace_tokens_are_the_tokenizers_own_also_behind_control_tokens():
    tokenizer = llama_style(vocab_size=700)
    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    backend.add_tokens([AddedToken("\n\n\n\n", normalized=False)])
    behind = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<|begin_of_text|>")
    expected = behind.encode("a\n\n\n\nb", add_special_tokens=False)
    assert backend.token_to_id("\n\n\n\n") in expected
    assert TextEncoder(behind).encode("a\n\n\n\nb").tolist() == expected


def test_a_vocabulary_that_spells_control_tokens_as_words_is_spelt_out():
    vocab = {letter: index for index, letter in enumerate("<>endab§")}
    vocab |= {"<e": 8, "<en": 9, "<end": 10, "<end>": 11}
    merges = [("<", "e"), ("<e", "n"), ("<en", "d"), ("<end", ">")]
    backend = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    backend.decoder = decoders.Fuse()
    backend.add_special_tokens(["<end>", "§"])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<end>", pad_token="§")
    encoder = TextEncoder(tokenizer)
    assert backend.model.tokenize("<end>")[0].id == 11  # guard: merging alone yields the control token
    assert decode(tokenizer, encoder.encode("a<end>b")) == "a<end>b"
    dropped = encoder.encode_batch(["a§b", "ab"])
    assert decode(tokenizer, dropped[0]) == "ab"
    assert dropped.num_replaced.tolist() == [1, 0]


@styles
def test_character_starts_tell_whole_characters_from_parts(style):
    tokenizer = STYLES[style]()
    starts = np.array(find_character_starts(tokenizer))
    text = "a🦊é法\x00 Привет\n\n"
    ids = TextEncoder(tokenizer).encode(text)
    for cut in range(len(ids)):
        halves = decode(tokenizer, ids[:cut]), decode(tokenizer, ids[cut:])
        assert starts[ids[cut]] == ("\ufffd" not in halves[0] + halves[1]), cut
    assert not starts[ids].all()
