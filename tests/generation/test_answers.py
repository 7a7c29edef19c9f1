"""The store of answers: what is written is there again, and nothing else."""

import json

import pytest

from tests.generation.generation_cases import make_config
from wsdm_arena.generation.answers import AnswerStore, answer_file, decode_answer, encode_answer
from wsdm_arena.generation.engine import Answer, request_seed

UGLY_TEXTS = [
    "",
    "null\x00byte",
    "lone \ud800 half",
    "line\nbreak \u2028 \r\n",
    "emoji 🙂",
    '{"request_id": "x"}',
    "x" * 10**6,
]


@pytest.mark.parametrize("text", UGLY_TEXTS, ids=lambda text: ascii(text[:12]))
def test_any_text_comes_back_as_it_was(tmp_path, text):
    answer = Answer("r1", text, "stop")
    assert decode_answer(encode_answer(answer)) == answer
    with AnswerStore(tmp_path / "a.jsonl") as store:
        store.append(answer)
    assert (tmp_path / "a.jsonl").read_bytes().count(b"\n") == 1
    with AnswerStore(tmp_path / "a.jsonl") as store:
        assert store.answers == {"r1": answer}


def test_every_cut_of_the_file_leaves_the_whole_lines_and_can_be_appended_to(tmp_path):
    answers = [Answer(f"r{n}", f"text é {n}", "stop") for n in range(3)]
    path = tmp_path / "a.jsonl"
    content = "".join(encode_answer(answer) + "\n" for answer in answers).encode()
    for length in range(len(content) + 1):
        path.write_bytes(content[:length])
        num_whole = content[:length].count(b"\n")
        with AnswerStore(path) as store:
            assert list(store.answers.values()) == answers[:num_whole]
            for answer in answers[num_whole:]:
                store.append(answer)
        assert path.read_bytes() == content


def test_damaged_lines_are_dropped_and_said(tmp_path, caplog):
    good = encode_answer(Answer("good", "text", "stop"))
    damaged = [
        "\x00" * 40,
        "[1, 2]",
        "null",
        json.dumps({"request_id": "r"}),
        json.dumps({"request_id": 3, "text": "t", "finish_reason": "stop", "error": None}),
        json.dumps({"request_id": "r", "text": None, "finish_reason": "stop", "error": None}),
        json.dumps({"request_id": "r", "text": None, "finish_reason": "error", "error": None}),
        json.dumps({"request_id": "r", "text": "t", "finish_reason": "tired", "error": None}),
    ]
    path = tmp_path / "a.jsonl"
    path.write_bytes("\n".join([*damaged, good, ""]).encode() + b"\xff\xfe\n")
    with AnswerStore(path) as store:
        assert set(store.answers) == {"good"}
    assert path.read_text() == good + "\n"
    assert f"{len(damaged) + 1} damaged lines" in caplog.text


def test_the_newest_answer_counts_and_a_failure_never_hides_an_answer(tmp_path):
    with AnswerStore(tmp_path / "a.jsonl") as store:
        store.append(Answer("r1", None, "error", "timeout"))
        assert not store.has_answer("r1")
        store.append(Answer("r1", "now", "stop"))
        store.append(Answer("r2", "there", "length"))
    with (tmp_path / "a.jsonl").open("a") as file:
        file.write(encode_answer(Answer("r2", None, "error", "late")) + "\n")
    with AnswerStore(tmp_path / "a.jsonl") as store:
        assert store.answers["r1"].text == "now"
        assert store.has_answer("r2")
        assert not store.has_answer("r3")


MODEL = {"engine": "vllm", "model": "org/m"}


def file_of(tmp_path, model=None, **fields):
    return answer_file(tmp_path, "m", make_config({"m": {**MODEL, **(model or {})}}, **fields))


def test_what_changes_an_answer_has_another_file(tmp_path):
    files = [
        file_of(tmp_path),
        file_of(tmp_path, {"model": "org/other"}),
        file_of(tmp_path, {"revision": "abc"}),
        file_of(tmp_path, {"engine": "transformers"}),
        file_of(tmp_path, {"max_model_tokens": 512}),
        file_of(tmp_path, {"stop": ["\n"]}),
        file_of(tmp_path, seed=1),
        file_of(tmp_path, sampling={"temperature": 0.5}),
        file_of(tmp_path, sampling={"top_p": 0.5}),
        file_of(tmp_path, sampling={"max_new_tokens": 5}),
    ]
    assert len(set(files)) == len(files)


def test_what_changes_no_answer_has_the_same_file(tmp_path):
    same = {
        file_of(tmp_path),
        file_of(tmp_path, {"tensor_parallel_size": 2, "data_parallel_size": 2, "max_concurrency": 3, "timeout_s": 1}),
        file_of(tmp_path, {"remove_weights": True, "trust_remote_code": True}),
        file_of(tmp_path, vllm={"gpu_memory_fraction": 0.5, "enforce_eager": False}, retries={"attempts": 1}),
        file_of(tmp_path, mining={"min_words": 1}),
    }
    assert len(same) == 1


def test_two_names_have_two_files_even_where_a_file_name_cannot_tell_them_apart(tmp_path):
    config = make_config({"a/b": MODEL, "a:b": MODEL, "模型": MODEL})
    files = {answer_file(tmp_path, name, config) for name in config.answer_models}
    assert len(files) == 3
    assert {file.parent for file in files} == {tmp_path}


def test_weights_in_a_directory_are_known_by_contents_and_not_by_place(tmp_path):
    def write(name: str, weights: bytes) -> str:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        (folder / "model.safetensors").write_bytes(weights)
        return str(folder)

    weights = bytes(3 << 20)
    first, moved = write("first", weights), write("moved", weights)
    trained = write("trained", weights[:-1] + b"\x01")
    longer = write("longer", weights + b"\x00")
    files = [file_of(tmp_path, {"model": folder}) for folder in (first, moved, trained, longer)]
    assert files[0] == files[1]
    assert len(set(files)) == 3


def test_seeds_depend_on_request_and_seed_alone_and_fit_every_engine():
    seeds = {request_seed(seed, f"r{n}") for seed in range(3) for n in range(1000)}
    assert len(seeds) > 2990
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert request_seed(0, "r1") == 1112617559
