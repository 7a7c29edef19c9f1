import pytest
from jinja2.exceptions import TemplateError
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from wsdm_arena.config import SimulationConfig
from wsdm_arena.simulation import simulate_arena
from wsdm_arena.simulation.tokenizers import build_tokenizer

HOSTILE = "नमस्ते 你好 \u200b\x00 e\u0301\u0323 42 \U0001f469\u200d\U0001f680 <not a token>"


@pytest.fixture(scope="module")
def texts() -> list[str]:
    train = simulate_arena(SimulationConfig(num_battles=3000, ugly_row_rate=0), universe="backbones").train_table
    return [*train["prompt"], *train["response_a"], *train["response_b"]]


@pytest.fixture(scope="module")
def gemma(texts: list[str]) -> PreTrainedTokenizerFast:
    return build_tokenizer(texts, "gemma", vocab_size=1024)


@pytest.fixture(scope="module")
def llama(texts: list[str]) -> PreTrainedTokenizerFast:
    return build_tokenizer(texts, "llama", vocab_size=1024)


def test_any_text_survives_a_round_trip(gemma: PreTrainedTokenizerFast, llama: PreTrainedTokenizerFast) -> None:
    for tokenizer in (gemma, llama):
        assert len(tokenizer) == 1024
        assert tokenizer.decode(tokenizer.encode(HOSTILE, add_special_tokens=False)) == HOSTILE


def test_digits_are_single_tokens_and_words_are_whole(llama: PreTrainedTokenizerFast) -> None:
    assert llama.tokenize("1234") == ["1", "2", "3", "4"]
    assert len(llama.tokenize("The answer is 19.")) == 7  # The answer is blank 1 9 .


def test_encoding_adds_one_bos(gemma: PreTrainedTokenizerFast, llama: PreTrainedTokenizerFast) -> None:
    assert gemma.decode(gemma.encode("Hello!")[:1]) == "<bos>"
    assert llama.decode(llama.encode("Hello!")[:1]) == "<|begin_of_text|>"
    assert gemma.encode("Hello!").count(gemma.bos_token_id) == 1


def test_control_tokens_are_single_ids(gemma: PreTrainedTokenizerFast, llama: PreTrainedTokenizerFast) -> None:
    for tokenizer, tokens in (
        (gemma, ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"]),
        (llama, ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]),
    ):
        assert all(tokenizer.encode(token, add_special_tokens=False) == [tokenizer.vocab[token]] for token in tokens)
        assert set(tokens) <= set(tokenizer.all_special_tokens)
        assert tokenizer.pad_token_id not in {tokenizer.bos_token_id, tokenizer.eos_token_id}


def test_gemma_chat_template(gemma: PreTrainedTokenizerFast) -> None:
    turns = [{"role": "user", "content": " Hi "}, {"role": "assistant", "content": "Yes."}]
    assert gemma.apply_chat_template(turns[:1], tokenize=False, add_generation_prompt=True) == (
        "<bos><start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\n"
    )
    assert gemma.apply_chat_template(turns, tokenize=False).endswith("<start_of_turn>model\nYes.<end_of_turn>\n")


def test_gemma_refuses_a_system_message(gemma: PreTrainedTokenizerFast) -> None:
    with pytest.raises(TemplateError, match="no system role"):
        gemma.apply_chat_template([{"role": "system", "content": "Judge."}], tokenize=False)


def test_llama_chat_template_has_a_system_role(llama: PreTrainedTokenizerFast) -> None:
    turns = [{"role": "system", "content": "Judge."}, {"role": "user", "content": "Hi"}]
    assert llama.apply_chat_template(turns, tokenize=False, add_generation_prompt=True) == (
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nJudge.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
    )


def test_a_saved_tokenizer_reads_back_equal(llama: PreTrainedTokenizerFast, tmp_path) -> None:
    llama.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    turns = [{"role": "user", "content": HOSTILE}]
    assert loaded.apply_chat_template(turns, tokenize=False) == llama.apply_chat_template(turns, tokenize=False)
    assert loaded.encode(HOSTILE) == llama.encode(HOSTILE)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 200_000


def test_equal_texts_give_equal_tokenizers(texts: list[str], gemma: PreTrainedTokenizerFast) -> None:
    again = build_tokenizer(texts, "gemma", vocab_size=1024)
    assert again.backend_tokenizer.to_str() == gemma.backend_tokenizer.to_str()


def test_impossible_vocabularies_are_refused(texts: list[str]) -> None:
    with pytest.raises(ValueError, match="vocab_size=200 is too small: control tokens and bytes alone are 262"):
        build_tokenizer(texts, "gemma", vocab_size=200)
    with pytest.raises(ValueError, match="give more texts"):
        build_tokenizer(["too little"], "llama", vocab_size=1024)
