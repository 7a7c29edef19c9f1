"""Control tokens that users write are text, in the sample's tokenizers, in any style."""

import copy
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

import wsdm_arena.simulation
from tests.tiny_tokenizers import gemma_style
from wsdm_arena.generation.user_turns import UserTurns

BACKBONES = Path(wsdm_arena.simulation.__file__).parent / "tiny_backbones"
STYLES = ("llama", "gemma")


@pytest.fixture(scope="module", params=STYLES)
def tokenizer(request):
    return AutoTokenizer.from_pretrained(BACKBONES / request.param)


def control_tokens(tokenizer) -> list[str]:
    return sorted(spelling for spelling in tokenizer.get_added_vocab() if spelling.strip())


def as_chat(tokenizer, prompt) -> list[int]:
    conversation = [{"role": "user", "content": prompt}]
    return list(tokenizer.apply_chat_template(conversation, add_generation_prompt=True, return_dict=False))


def test_ordinary_prompts_are_plain_and_become_what_the_tokenizer_makes_of_them(tokenizer):
    turns = UserTurns(tokenizer)
    for prompt in ("", "Hello", "a < b > c |> <im_end", "two\n\n\nlines", "数字 \x00", "x" * 50_000):
        assert turns.are_plain(prompt)
        assert turns.text_ids(prompt) == tokenizer.encode(prompt, add_special_tokens=False)
    assert turns.chat_ids("Hello") == as_chat(tokenizer, "Hello")


def test_a_chat_has_one_bos_where_template_and_tokenizer_both_put_one():
    tokenizer = copy.deepcopy(gemma_style())
    tokenizer.chat_template = "{{ bos_token }}<start_of_turn>user\n{{ messages[0]['content'] }}<end_of_turn>\n"
    assert tokenizer("")["input_ids"] == [tokenizer.bos_token_id]
    chat = UserTurns(tokenizer).chat_ids("two plus two")
    assert chat == as_chat(tokenizer, "two plus two")
    assert chat.count(tokenizer.bos_token_id) == 1


def test_every_control_token_can_be_written_about(tokenizer):
    turns = UserTurns(tokenizer)
    control = control_tokens(tokenizer)
    ids = set(tokenizer.get_added_vocab().values())
    frame = as_chat(tokenizer, "Hello")
    for spelling in control:
        prompt = f"What does {spelling} mean, and {spelling}{spelling}?"
        assert not turns.are_plain(prompt)
        chat = turns.chat_ids(prompt)
        assert [each for each in chat if each in ids] == [each for each in frame if each in ids]
        assert prompt in tokenizer.decode(chat, skip_special_tokens=False)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_whatever_stands_around_them(data, tokenizer):
    pieces = st.one_of(
        st.text(max_size=5), st.sampled_from(control_tokens(tokenizer)), st.sampled_from(["<", ">", "|"])
    )
    text = "".join(data.draw(st.lists(pieces, max_size=8))).encode("utf-8", "replace").decode()
    turns = UserTurns(tokenizer)
    ids = turns.text_ids(text)
    assert set(ids).isdisjoint(tokenizer.all_special_ids)
    assert tokenizer.decode(ids) == text


class _Odd:
    """One token a character but for ``ⓧ``, which is a control token; ``Ⓧ`` is normalized to it. Its chats shout."""

    all_special_tokens = ("ⓧ",)
    all_special_ids = (0,)

    def encode(self, text, add_special_tokens):
        return [0 if each in "ⓧⓍ" else ord(each) for each in text]

    def apply_chat_template(self, conversation, add_generation_prompt, tokenize):
        return conversation[0]["content"].upper()


def test_what_cannot_be_spelt_otherwise_is_left_out_and_a_template_that_changes_texts_is_refused():
    turns = UserTurns(_Odd())
    assert not turns.are_plain("aⓍb")
    assert turns.text_ids("aⓍbⓧc") == [ord(each) for each in "abc"]
    with pytest.raises(ValueError, match="the chat template changes what the user says"):
        turns.chat_ids("aⓍ")
