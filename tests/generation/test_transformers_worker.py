"""The worker that runs transformers, with a tiny backbone that has been given a head for the next token."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import wsdm_arena.simulation
from tests.generation.generation_cases import make_config, processes_with
from wsdm_arena.generation.engine import Answer, AnswerRequest, EngineConfigError
from wsdm_arena.generation.engines import default_engines
from wsdm_arena.generation.transformers_worker import SeededSampler, answer_with_transformers
from wsdm_arena.generation.vllm_worker import Job

BACKBONE = Path(wsdm_arena.simulation.__file__).parent / "tiny_backbones" / "llama"
PROMPTS = ["Hello", "What is two and two? " * 3, "\x00", "x", "Bonjour le monde, ça va?", "数字"]


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The tiny Llama; its embeddings score the next token, too."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("model")
    model = AutoModelForCausalLM.from_pretrained(BACKBONE, dtype=torch.float32, tie_word_embeddings=True)
    # Settings of its own, which must not mix with ours.
    model.generation_config.update(do_sample=True, top_k=3, repetition_penalty=1.5, temperature=0.3)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(BACKBONE).save_pretrained(folder)
    return str(folder)


def answer(
    model_dir, prompts=PROMPTS, *, seeds=None, batch=3, temperature=0.7, top_p=0.9, max_tokens=12, limit=None, stop=()
):
    """Answer in this process; by prompt."""
    engine = {"revision": None, "trust_remote_code": False, "max_model_len": limit, "dtype": "auto"}
    sampling = {"temperature": temperature, "top_p": top_p, "max_tokens": max_tokens} | (
        {"stop": list(stop)} if stop else {}
    )
    job = Job(model_dir, engine, sampling, batch, "", "")
    seeds = seeds or range(100, 100 + len(prompts))
    requests = [{"request_id": p, "prompt": p, "seed": seed} for p, seed in zip(prompts, seeds, strict=True)]
    answers = {}

    def record(request, text, finish_reason, error):
        assert request["request_id"] not in answers
        answers[request["request_id"]] = (text, finish_reason, error)

    answer_with_transformers(job, requests, record)
    return answers


def test_answers_do_not_depend_on_who_else_is_in_the_batch(model_dir):
    together = answer(model_dir, batch=6)
    assert together == answer(model_dir, batch=1) == answer(model_dir, batch=4)
    assert len({text for text, _, _ in together.values()}) == len(PROMPTS)
    reordered = list(reversed(PROMPTS))
    assert answer(model_dir, reordered, seeds=range(105, 99, -1)) == together


@pytest.mark.parametrize("batch", [1, 6])
def test_an_answer_ends_before_the_first_of_its_stop_texts(model_dir, batch):
    whole = {prompt: text for prompt, (text, _, _) in answer(model_dir).items()}
    chosen = max(whole, key=lambda prompt: len(whole[prompt]))
    stop = whole[chosen][len(whole[chosen]) // 2 :][:3]
    stopped = answer(model_dir, batch=batch, stop=["never written by anyone", stop])
    assert stopped[chosen][1] == "stop"
    for prompt, text in whole.items():
        assert stopped[prompt][0] == text.partition(stop)[0], "the others go on, up to the same text"


def test_a_stop_text_is_not_looked_for_in_the_prompt(model_dir):
    whole = answer(model_dir, ["a prompt with words"])
    assert answer(model_dir, ["a prompt with words"], stop=["with words", "user"]) == whole


def test_another_seed_gives_another_answer_and_temperature_zero_the_likeliest(model_dir):
    warm = [answer(model_dir, PROMPTS[:1], seeds=[seed], temperature=2.0, top_p=1.0) for seed in range(6)]
    assert len({str(each) for each in warm}) == 6
    cold = [answer(model_dir, PROMPTS[:1], seeds=[seed], temperature=0.0) for seed in range(3)]
    assert cold[0] == cold[1] == cold[2]
    model = AutoModelForCausalLM.from_pretrained(model_dir).eval()
    tokenizer = AutoTokenizer.from_pretrained(model_dir)
    chat = [{"role": "user", "content": PROMPTS[0]}]
    token_ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)
    expected: list[int] = []
    for _ in range(12):
        with torch.inference_mode():
            next_id = int(model(input_ids=torch.tensor([token_ids + expected])).logits[0, -1].argmax())
        if next_id == tokenizer.eos_token_id:
            break
        expected.append(next_id)
    assert cold[0][PROMPTS[0]][0] == tokenizer.decode(expected, skip_special_tokens=True)


def test_draws_follow_the_distribution_and_never_leave_the_nucleus():
    logits = torch.log(torch.tensor([[0.5, 0.3, 0.15, 0.05, 0.0]])).expand(4000, -1)
    seeds = range(4000)
    drawn = SeededSampler(temperature=1.0, top_p=1.0, seeds=seeds)(torch.zeros(4000, 1).long(), logits)
    assert torch.isfinite(drawn).sum(dim=1).eq(1).all()
    shares = drawn.argmax(dim=1).bincount(minlength=5) / 4000
    torch.testing.assert_close(shares, torch.tensor([0.5, 0.3, 0.15, 0.05, 0.0]), atol=0.03, rtol=0)
    nucleus = SeededSampler(temperature=1.0, top_p=0.7, seeds=seeds)(torch.zeros(4000, 1).long(), logits)
    assert set(nucleus.argmax(dim=1).tolist()) == {0, 1}
    flat = SeededSampler(temperature=2.0, top_p=1.0, seeds=seeds)(torch.zeros(4000, 1).long(), logits)
    expected = torch.tensor([0.5, 0.3, 0.15, 0.05, 0.0]).sqrt()
    shares = flat.argmax(dim=1).bincount(minlength=5) / 4000
    torch.testing.assert_close(shares, expected / expected.sum(), atol=0.03, rtol=0)


def test_prompts_that_do_not_fit_fail_alone_and_those_that_nearly_do_are_cut_off(model_dir):
    tokenizer = AutoTokenizer.from_pretrained(model_dir)
    chat = [{"role": "user", "content": PROMPTS[1]}]
    longest = len(tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False))
    free = answer(model_dir, max_tokens=20)
    tight = answer(model_dir, max_tokens=20, limit=longest + 2, batch=6)
    refused = answer(model_dir, max_tokens=20, limit=longest, batch=6)
    assert refused[PROMPTS[1]] == (None, "error", f"the prompt has {longest} tokens of {longest} at most")
    assert tight[PROMPTS[1]][1] == "length"
    assert free[PROMPTS[1]][0].startswith(tight[PROMPTS[1]][0])
    assert tight["x"] == answer(model_dir, ["x"], seeds=[103], max_tokens=20, limit=longest + 2)["x"]


def test_the_token_that_ends_an_answer_is_no_part_of_it(model_dir, tmp_path):
    """Any token ends the answer here, at once or after it was sampled."""
    shutil.copytree(model_dir, tmp_path, dirs_exist_ok=True)
    text, _, _ = answer(model_dir, ["x"], temperature=0.0)["x"]
    tokenizer = AutoTokenizer.from_pretrained(model_dir)
    settings = json.loads((tmp_path / "generation_config.json").read_text())
    all_ids = list(range(len(tokenizer)))
    (tmp_path / "generation_config.json").write_text(json.dumps(settings | {"eos_token_id": all_ids}))
    assert text
    assert answer(str(tmp_path), ["x"], temperature=0.0)["x"] == ("", "stop", None)


def test_a_tokenizer_without_chat_template_continues_the_prompt(model_dir, tmp_path, monkeypatch):
    shutil.copytree(model_dir, tmp_path, dirs_exist_ok=True)
    (tmp_path / "chat_template.jinja").unlink()
    answers = answer(str(tmp_path))
    assert {finish_reason for _, finish_reason, _ in answers.values()} <= {"stop", "length"}
    assert answers != answer(model_dir)


def ask(config, requests):
    arrived: list[Answer] = []
    factory = default_engines()["transformers"]
    with factory("tiny", config.answer_models["tiny"], config) as engine:
        engine.answer(requests, arrived.append)
    return {each.request_id: (each.text, each.finish_reason, each.error) for each in arrived}


@pytest.mark.slow
def test_the_engine_answers_as_the_worker_does_and_leaves_no_process(model_dir, monkeypatch):
    monkeypatch.setenv("WORKER_TEST", model_dir)
    config = make_config(
        {"tiny": {"engine": "transformers", "model": model_dir, "max_concurrency": 4}}, sampling={"max_new_tokens": 12}
    )
    requests = [AnswerRequest(prompt, prompt, 100 + number) for number, prompt in enumerate(PROMPTS)]
    assert ask(config, requests) == answer(model_dir)
    assert processes_with("WORKER_TEST", model_dir) == []


def test_parallel_sizes_are_refused(model_dir):
    config = make_config({"tiny": {"engine": "transformers", "model": model_dir, "data_parallel_size": 2}})
    with pytest.raises(EngineConfigError, match="runs on one device"):
        ask(config, [AnswerRequest("r", "p", 1)])
