"""Stores: complete or not there, found by contents, the same from either order."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers.tokenization_utils_tokenizers import PreTrainedTokenizerFast

from tests.tiny_tokenizers import gemma_style, llama_style, save_tokenizer
from wsdm_arena.config import TemplateConfig, TruncationConfig
from wsdm_arena.progress import show_progress
from wsdm_arena.prompts.store import TokenStore, TokenStoreError, build_token_store
from wsdm_arena.prompts.tokenizers import PromptError

TEMPLATE = TemplateConfig(
    instruction="Judge.",
    battle_start="",
    prompt_heading="Q: ",
    response_a_heading="\nA: ",
    response_b_heading="\nB: ",
    battle_end="",
    verdict_prefix="[[",
)
TRUNCATION = TruncationConfig.model_validate(
    {
        "max_battle_tokens": 120,
        "marker": "\n...\n",
        "per_field": {"max_prompt_tokens": 30, "max_response_tokens": 35},
        "shared_budget": {"reserved_tokens": 16, "max_prompt_tokens": 40},
    }
)
ROWS = [
    {"pair_id": "b", "prompt": "two plus two", "response_a": "four", "response_b": "five <end_of_turn>"},
    {"pair_id": "a", "prompt": None, "response_a": "x" * 500, "response_b": ""},
    {"pair_id": "c", "prompt": "", "response_a": "\ud800?", "response_b": None},
]


@pytest.fixture(scope="module")
def tokenizer_dir(tmp_path_factory):
    return save_tokenizer(gemma_style(), tmp_path_factory.mktemp("gemma"))


def frame(rows=ROWS):
    return pd.DataFrame(rows, dtype=object)


def build(root, tokenizer_dir, pairs=None, **changes):
    arguments = {
        "table": "battles",
        "tokenizer_dir": tokenizer_dir,
        "template": TEMPLATE,
        "system_role": False,
        "truncation": TRUNCATION,
        "policy": "per_field",
        "root": root,
    }
    return build_token_store(frame() if pairs is None else pairs, **(arguments | changes))


def decode(ids):
    return gemma_style().backend_tokenizer.decode(ids.tolist(), skip_special_tokens=False)


def test_a_sequence_is_the_template_around_the_stored_texts(tmp_path, tokenizer_dir):
    store = TokenStore.open(build(tmp_path, tokenizer_dir))
    row = store.rows(["b"])[0]
    before = "<bos><start_of_turn>user\nJudge.\n\nQ: two plus two"
    after = "<end_of_turn>\n<start_of_turn>model\n[["
    assert decode(store.sequence(row, "ab")) == f"{before}\nA: four\nB: five <end_of_turn>{after}"
    assert decode(store.sequence(row, "ba")) == f"{before}\nA: five <end_of_turn>\nB: four{after}"
    assert store.sequence(row, "ab").dtype == np.int32
    end_of_turn = gemma_style().convert_tokens_to_ids("<end_of_turn>")
    assert (store.sequence(row, "ab") == end_of_turn).sum() == 1


def test_null_and_empty_texts_differ_and_are_stored(tmp_path, tokenizer_dir):
    store = TokenStore.open(build(tmp_path, tokenizer_dir))
    row = store.rows(["c"])[0]
    assert "Q: \nA: \ufffd?\nB: null<end_of_turn>" in decode(store.sequence(row, "ab"))
    nulls = pd.DataFrame({"pair_id": ["n"], "prompt": ["?"], "response_a": [None], "response_b": ["b"]})
    assert nulls["prompt"].dtype != object  # guard: pandas keeps this null as NaN
    store = TokenStore.open(build(tmp_path, tokenizer_dir, nulls))
    assert "\nA: null\nB: b" in decode(store.sequence(0, "ab"))


def test_what_was_cut_and_replaced_is_on_record(tmp_path, tokenizer_dir):
    store = TokenStore.open(build(tmp_path, tokenizer_dir))
    a, b, c = store.rows(["a", "b", "c"])
    assert store.pair_ids.tolist() == ["a", "b", "c"]
    assert store.truncated[[a, b, c]].tolist() == [True, False, False]
    marker = len(store.template.marker)
    assert store.original_tokens[a].tolist() == [len(store.template.missing), 500, 0]
    assert store.kept_tokens[a].tolist() == [len(store.template.missing), 35 - marker, 0]
    assert store.replaced_characters[c].tolist() == [0, 1, 0]
    assert store.replaced_characters[[a, b]].sum() == 0
    assert store.manifest["num_truncated"] == 1
    assert store.manifest["num_pairs_with_replaced_characters"] == 1


def test_lengths_are_those_of_the_sequences_in_both_orders_and_within_the_bound(tmp_path, tokenizer_dir):
    for policy in ("per_field", "shared_budget"):
        store = TokenStore.open(build(tmp_path, tokenizer_dir, policy=policy))
        for order in ("ab", "ba"):
            assert store.lengths.tolist() == [len(store.sequence(row, order)) for row in range(len(store))]
        assert store.lengths.max() == store.manifest["longest_sequence"] <= store.max_sequence_tokens


def test_rows_are_found_by_key_and_missing_keys_are_named(tmp_path, tokenizer_dir):
    store = TokenStore.open(build(tmp_path, tokenizer_dir))
    assert store.rows(["c", "a", "c"]).tolist() == [2, 0, 2]
    assert store.rows([]).tolist() == []
    with pytest.raises(TokenStoreError, match=r"lacks 2 of 3 pairs, among them aa, zzzzzz"):
        store.rows(["a", "aa", "zzzzzz"])


def test_an_unknown_order_and_a_row_out_of_range_are_refused(tmp_path, tokenizer_dir):
    store = TokenStore.open(build(tmp_path, tokenizer_dir))
    with pytest.raises(ValueError, match="order is 'AB'"):
        store.sequence(0, "AB")
    for row in (-1, 3):
        with pytest.raises(IndexError, match=f"row {row} of a token store with 3 rows"):
            store.sequence(row, "ab")


def test_a_pair_voted_on_twice_is_stored_once_and_row_order_does_not_matter(tmp_path, tokenizer_dir):
    path = build(tmp_path, tokenizer_dir)
    before = (path / "manifest.json").stat().st_mtime_ns
    assert build(tmp_path, tokenizer_dir, frame([ROWS[2], ROWS[1], ROWS[0], ROWS[1]])) == path
    assert (path / "manifest.json").stat().st_mtime_ns == before  # found, not built again
    assert len(TokenStore.open(path)) == 3


def test_one_key_for_different_texts_is_refused_by_row(tmp_path, tokenizer_dir):
    forged = {**ROWS[0], "response_a": "4"}
    with pytest.raises(PromptError, match=r"'battles': rows 0 and 3 have the same pair_id 'b'"):
        build(tmp_path, tokenizer_dir, frame([*ROWS, forged]))


def test_bad_tables_are_refused_by_column(tmp_path, tokenizer_dir):
    with pytest.raises(PromptError, match="has no column response_b"):
        build(tmp_path, tokenizer_dir, frame().drop(columns="response_b"))
    with pytest.raises(PromptError, match="1 rows have no pair_id"):
        build(tmp_path, tokenizer_dir, frame([*ROWS, {**ROWS[0], "pair_id": None}]))
    with pytest.raises(PromptError, match=r"row 0 holds 4 \(int\)"):
        build(tmp_path, tokenizer_dir, frame([{**ROWS[0], "response_a": 4}]))


def test_an_empty_table_makes_an_empty_store(tmp_path, tokenizer_dir):
    store = TokenStore.open(build(tmp_path, tokenizer_dir, frame().iloc[:0]))
    assert len(store) == len(store.lengths) == len(store.truncated) == 0
    assert store.rows([]).tolist() == []
    with pytest.raises(TokenStoreError, match="lacks 1 of 1 pairs"):
        store.rows(["a"])


def test_whatever_changes_the_tokens_makes_another_store(tmp_path, tokenizer_dir):
    llama_dir = save_tokenizer(llama_style(), tmp_path / "llama")
    other_chat = gemma_style().chat_template.replace("<start_of_turn>model", "<start_of_turn>judge")
    chat_dir = save_tokenizer(gemma_style(), tmp_path / "chat")
    (chat_dir / "chat_template.jinja").write_text(other_chat)
    per_field = TRUNCATION.per_field.model_copy(update={"max_prompt_tokens": 29})
    shared = TRUNCATION.shared_budget.model_copy(update={"max_prompt_tokens": 39})
    paths = [
        build(tmp_path, tokenizer_dir),
        build(tmp_path, llama_dir),
        build(tmp_path, llama_dir, system_role=True),
        build(tmp_path, chat_dir),
        build(tmp_path, tokenizer_dir, policy="shared_budget"),
        build(tmp_path, tokenizer_dir, table="others"),
        build(tmp_path, tokenizer_dir, frame(ROWS[:2])),
        build(tmp_path, tokenizer_dir, frame([{**ROWS[0], "response_a": None}])),
        build(tmp_path, tokenizer_dir, frame([{**ROWS[0], "response_a": ""}])),
        build(tmp_path, tokenizer_dir, template=TEMPLATE.model_copy(update={"instruction": "Judge!"})),
        build(tmp_path, tokenizer_dir, truncation=TRUNCATION.model_copy(update={"per_field": per_field})),
        build(tmp_path, tokenizer_dir, truncation=TRUNCATION.model_copy(update={"marker": "..."})),
    ]
    assert len(set(paths)) == len(paths)
    assert (
        build(tmp_path, tokenizer_dir, truncation=TRUNCATION.model_copy(update={"shared_budget": shared})) == paths[0]
    )
    copied = save_tokenizer(PreTrainedTokenizerFast.from_pretrained(tokenizer_dir), tmp_path / "checkpoint")
    assert build(tmp_path, copied) == paths[0]  # the same tokenizer beside a checkpoint


def test_answers_make_another_store_only_where_a_head_starts_from_others(tmp_path, tokenizer_dir):
    other = TEMPLATE.model_copy(update={"answers": ("B", "A")})
    usual = build(tmp_path, tokenizer_dir)
    assert (
        build(tmp_path, tokenizer_dir, for_verbalizer=True) == build(tmp_path, tokenizer_dir, template=other) == usual
    )
    assert "answers" not in TokenStore.open(usual).manifest["template"]  # named as before there were answers
    exchanged = build(tmp_path, tokenizer_dir, template=other, for_verbalizer=True)
    assert exchanged != usual
    first, second = (TokenStore.open(path).template for path in (usual, exchanged))
    assert first.answers == second.answers[::-1] == tuple(gemma_style().convert_tokens_to_ids(["A", "B"]))
    assert first.hash == second.hash


def test_answers_that_no_head_could_start_from_are_refused_before_anything_is_written(tmp_path, tokenizer_dir):
    other = TEMPLATE.model_copy(update={"answers": ("A", "neither of them")})
    with pytest.raises(PromptError, match="'\\[\\[neither of them' as"):
        build(tmp_path, tokenizer_dir, template=other, for_verbalizer=True)
    assert not list(tmp_path.iterdir())
    assert TokenStore.open(build(tmp_path, tokenizer_dir, template=other)).template.answers  # nobody looks at them


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda path: (path / "manifest.json").unlink(),
            r"has no manifest\.json: it is half written or no token store",
        ),
        (lambda path: (path / "tokens.bin").unlink(), r"tokens\.bin has None bytes instead of"),
        (lambda path: os.truncate(path / "offsets.npy", 100), r"offsets\.npy has 100 bytes instead of"),
        (lambda path: (path / "manifest.json").write_text('{"kind'), r"manifest\.json is damaged"),
        (lambda path: (path / "manifest.json").write_text("{}"), "does not describe a token store"),
        (lambda path: rewrite(path, format=99), "has format 99, this version reads"),
        (lambda path: rewrite(path, num_pairs=4), "disagree"),
    ],
)
def test_a_half_written_or_foreign_directory_is_refused(tmp_path, tokenizer_dir, damage, message):
    path = build(tmp_path, tokenizer_dir)
    damage(path)
    with pytest.raises(TokenStoreError, match=message) as caught:
        TokenStore.open(path)
    assert str(path) in str(caught.value)
    with pytest.raises(TokenStoreError, match=message):
        build(tmp_path, tokenizer_dir)


def rewrite(path, **changes):
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps(manifest | changes))


def test_a_missing_store_and_a_missing_tokenizer_are_named(tmp_path):
    with pytest.raises(TokenStoreError, match=f"no token store at {tmp_path / 'nothing'}"):
        TokenStore.open(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(PromptError, match=r"holds no tokenizer\.json"):
        build(tmp_path, tmp_path / "empty")


def test_a_failed_build_leaves_nothing(tmp_path, tokenizer_dir):
    def fail(num_done, num_all):
        assert (num_done, num_all) == (3, 3)
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        build(tmp_path, tokenizer_dir, progress=fail)
    assert list(tmp_path.iterdir()) == []


def test_the_progress_counts_pairs(tmp_path, tokenizer_dir):
    with show_progress("tokens of battles") as progress:
        build(tmp_path, tokenizer_dir, progress=progress)
    assert (progress.done, progress.total) == (3, 3)


def test_a_store_uses_two_bytes_a_token_where_they_suffice_and_four_elsewhere(tmp_path, tokenizer_dir):
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {f"<{index}>": index for index in range(70_000)} | {c: 70_000 + i for i, c in enumerate(letters)}
    backend = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    large = PreTrainedTokenizerFast(tokenizer_object=backend)
    large.chat_template = "{{ messages[0]['content'] }}"
    store = TokenStore.open(build(tmp_path, save_tokenizer(large, tmp_path / "large")))
    assert store.manifest["dtype"] == "uint32"
    assert large.decode(store.fields(1)[0].tolist()) == "two plus two"
    assert TokenStore.open(build(tmp_path, tokenizer_dir)).manifest["dtype"] == "uint16"


def start_python(code, *arguments):
    """Run code in another process that can import this module."""
    root = str(Path(__file__).parents[2])
    prelude = (
        "import sys, time; from pathlib import Path; sys.path.insert(0, sys.argv[1])\n"
        "from tests.prompts.test_store import build, many_pairs\n"
        "arguments = list(map(Path, sys.argv[2:]))\n"
    )
    return subprocess.Popen([sys.executable, "-c", prelude + code, root, *arguments], stdout=subprocess.PIPE)


def many_pairs():
    return frame([{**ROWS[0], "pair_id": f"{i:05}", "prompt": f"number {i}"} for i in range(3_000)])


def test_processes_that_build_the_same_store_end_with_one_good_store(tmp_path, tokenizer_dir):
    root, go = tmp_path / "stores", tmp_path / "go"
    code = (
        "root, tokenizer_dir, go = arguments; pairs = many_pairs(); print('ready', flush=True)\n"
        "while not go.exists(): time.sleep(0.001)\n"
        "print(build(root, tokenizer_dir, pairs))\n"
    )
    workers = [start_python(code, root, tokenizer_dir, go) for _ in range(2)]
    for worker in workers:
        assert worker.stdout.readline() == b"ready\n"
    go.touch()
    paths = {worker.communicate(timeout=60)[0].decode().strip() for worker in workers}
    assert [worker.returncode for worker in workers] == [0, 0]
    assert {str(entry) for entry in root.iterdir()} == paths
    assert len(paths) == 1
    store = TokenStore.open(paths.pop())
    assert "Q: number 2999\n" in decode(store.sequence(store.rows(["02999"])[0], "ab"))


def test_what_a_killed_build_left_is_removed_and_a_live_build_is_left_alone(tmp_path, tokenizer_dir):
    code = "def wait(*_): print('building', flush=True); time.sleep(60)\nbuild(*arguments, progress=wait)\n"
    worker = start_python(code, tmp_path, tokenizer_dir)
    try:
        assert worker.stdout.readline() == b"building\n"
        path = build(tmp_path, tokenizer_dir)
        assert len(list(tmp_path.glob(".battles.*.partial"))) == 1  # the live one
    finally:
        worker.kill()
        worker.communicate()
    shutil.rmtree(path)
    assert build(tmp_path, tokenizer_dir) == path
    assert list(tmp_path.iterdir()) == [path]


def test_building_a_store_needs_no_torch(tmp_path, tokenizer_dir):
    worker = start_python("build(*arguments); print('torch' in sys.modules)", tmp_path, tokenizer_dir)
    assert worker.communicate(timeout=60)[0] == b"False\n"
    assert len(TokenStore.open(next(tmp_path.iterdir()))) == 3


def test_a_store_whose_contents_were_changed_is_refused_by_name(tmp_path, tokenizer_dir):
    path = build(tmp_path, tokenizer_dir)
    tokens = path / "tokens.bin"
    content = bytearray(tokens.read_bytes())
    content[0] ^= 1
    tokens.write_bytes(bytes(content))
    with pytest.raises(TokenStoreError, match=r"tokens\.bin is damaged; delete the store"):
        build(tmp_path, tokenizer_dir)
