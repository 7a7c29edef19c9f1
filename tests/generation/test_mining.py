"""Mining finds what the rules say, whatever stands in the conversations, and in the same order everywhere."""

import hashlib
import logging
import random
from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from wsdm_arena.config import MiningConfig
from wsdm_arena.generation import conversations, prompt_tables
from wsdm_arena.generation.conversations import MiningError, check_shards, decode_text, read_user_turns
from wsdm_arena.generation.mining import has_words, mine_prompts
from wsdm_arena.preferences.pair_ids import prompt_group

MINING = MiningConfig(min_words=3, min_characters=8, max_characters=60)
PROMPT_COLUMNS = ["prompt_group", "prompt", "language", "is_first_language", "position"]

PROMPTS = [
    None,
    b"",
    b" ",
    "\u3000\u00a0\x1c".encode(),
    b"two words",
    b"three short words",
    b" three  short\twords\n",
    "three\u00a0words\u3000here".encode(),
    "three\x85words\x1fhere".encode(),
    "not\u200bthree\u200bwords".encode(),  # no white space
    b"a\x00b c\x00 d\x00\x00",
    "短い".encode(),
    "これは十分に長い質問です".encode(),
    "\U0001f98a \U0001f469\u200d\U0001f469\u200d\U0001f467 \U0001f98a\U0001f98a\U0001f98a\U0001f98a".encode(),
    b"half a pair \xed\xa0\x80 of surrogates",
    b"a whole pair \xed\xa0\xbd\xed\xb8\x80 of surrogates",
    b"no \xff\xfe UTF-8 at all",
    b"long " * 12,
    b"too long " * 12,
    b"<start_of_turn>user [INST] <|eot_id|>",
    b"known from a table of pairs",
]
LANGUAGES = ["English", "English", "Japanese", "german", "unknown", None]
FOLLOW_UPS = [None, b"", b"go on", b"0:", b"null;", b"5:go on"]

Conversation = tuple[list[tuple[str | None, bytes | None]] | None, str | None]


def write_shard(path: Path, rows: list[Conversation], *, names=("content", "role"), **columns) -> Path:
    """Write conversations whose texts may be invalid UTF-8."""
    lists = [
        None if turns is None else [dict(zip(("role", "content"), turn, strict=True)) for turn in turns]
        for turns, _ in rows
    ]
    types = {"content": pa.binary(), "role": pa.string()}
    raw = pa.array(lists, pa.list_(pa.struct([(name, types[name]) for name in names])))
    fields = [raw.flatten().field(name).view(pa.string()) for name in names]
    structs = pa.StructArray.from_arrays(fields, list(names))
    mask = pa.array([turns is None for turns, _ in rows], pa.bool_())
    turns = pa.ListArray.from_arrays(raw.offsets, structs, mask=mask)
    table = {"conversation": turns, "language": pa.array([language for _, language in rows], pa.string()), **columns}
    pq.write_table(pa.table(table), path, row_group_size=7)
    return path


def draw_conversations(seed: int, num_conversations: int) -> list[Conversation]:
    """Conversations that often repeat one another as a whole, in their first turn, or but for a detail."""
    rng = random.Random(seed)
    rows: list[Conversation] = []
    for _ in range(num_conversations):
        turns: list[tuple[str | None, bytes | None]] = []
        if rng.random() < 0.2:
            turns.append((rng.choice(["system", "assistant", None, "User"]), b"before the user"))
        if rng.random() < 0.9:
            turns.append(("user", rng.choice(PROMPTS)))
            for _ in range(rng.choice([0, 0, 1, 2])):
                turns += [("assistant", b"answer %d" % rng.randrange(9)), ("user", rng.choice(FOLLOW_UPS))]
        rows.append((turns if rng.random() < 0.95 else None, rng.choice(LANGUAGES)))
    return rows


def mine_naively(rows: list[Conversation], seed: int, excluded: set[str]) -> tuple[list[tuple], Counter]:
    """The rules, one after the other, on lists."""
    counts = Counter(conversations=len(rows))
    spoken = [(tuple(text for role, text in turns or [] if role == "user"), language) for turns, language in rows]
    occurrences = Counter(turns for turns, _ in spoken)
    unique = []
    for turns, language in spoken:
        if not turns:
            counts["without_user_turn"] += 1
        elif occurrences[turns] > 1:
            counts["repeated"] += 1
        else:
            unique.append((turns, language))
    counts["unique"] = len(unique)
    found = defaultdict(list)
    for turns, language in unique:
        text, was_repaired = decode_text(turns[0] or b"")
        first = language == "English"
        if not text.strip():
            counts["blank"] += 1
        elif len(text.split()) < MINING.min_words if first else len(text) < MINING.min_characters:
            counts["too_short"] += 1
        elif len(text) > MINING.max_characters:
            counts["too_long"] += 1
        elif text in excluded:
            counts["excluded"] += 1
        else:
            sizes = b"".join(b"null;" if turn is None else b"%d:" % len(turn) + turn for turn in turns)
            key = hashlib.blake2b(sizes, digest_size=16, person=b"user turns").digest()
            found[text].append((key, language, first))
            counts["repaired"] += was_repaired
            counts["with_null_bytes"] += "\0" in text
    counts["repeated_prompts"] = sum(map(len, found.values())) - len(found)
    prompts = [(text, *min(conversations)[1:]) for text, conversations in found.items()]
    return _shuffle(prompts, seed), counts


def _shuffle(prompts: list[tuple[str, str | None, bool]], seed: int) -> list[tuple]:
    def place(prompt: tuple[str, str | None, bool]) -> tuple[bool, int]:
        key = seed.to_bytes(8, "little")
        digest = hashlib.blake2b(prompt_group(prompt[0]).encode(), digest_size=8, key=key, person=b"shuffle").digest()
        return not prompt[2], int.from_bytes(digest, "little")

    rows, positions = [], Counter()
    for text, language, first in sorted(prompts, key=place):
        rows.append((prompt_group(text), text, language, first, positions[first]))
        positions[first] += 1
    return rows


def read_prompts(path: Path) -> list[tuple]:
    table = pq.read_table(path)
    assert table.column_names == PROMPT_COLUMNS
    return [tuple(row.values()) for row in table.to_pylist()]


def split(rows: list, num_parts: int) -> list[list]:
    edges = [len(rows) * part // num_parts for part in range(num_parts + 1)]
    return [rows[start:end] for start, end in pairwise(edges)]


@pytest.fixture
def small_batches(monkeypatch):
    """Many batches out of few conversations."""
    monkeypatch.setattr(conversations, "MAX_BATCH_CONVERSATIONS", 5)
    monkeypatch.setattr(prompt_tables, "ROWS_PER_BATCH", 4)
    monkeypatch.setattr(prompt_tables, "ROWS_PER_INSERT", 11)


@pytest.fixture
def shards(tmp_path) -> list[Path]:
    """Three shards of adversarial conversations."""
    return [write_shard(tmp_path / f"{n}.parquet", rows) for n, rows in enumerate(split(draw_conversations(7, 120), 3))]


@pytest.mark.usefixtures("small_batches")
def test_finds_what_a_naive_implementation_finds(tmp_path):
    totals: Counter = Counter()
    excluded = {"known from a table of pairs"}
    for seed in range(30):
        rows = draw_conversations(seed, 30 + 4 * seed)
        names = ("content", "role") if seed % 2 else ("role", "content")
        paths = [
            write_shard(tmp_path / f"{seed}-{number}.parquet", part, names=names)
            for number, part in enumerate(split(rows, seed % 4 + 1))
        ]
        output = tmp_path / "prompts.parquet"
        pairs = [pd.DataFrame({"prompt": [*excluded, None]})]
        report = mine_prompts(
            paths, output=output, mining=MINING, seed=seed, excluded=pairs, threads=seed % 2 + 1
        ).to_dict()
        expected, counts = mine_naively(rows, seed, excluded)
        assert read_prompts(output) == expected
        assert {name: report[f"num_{name}"] for name in counts} == counts
        assert report["num_first_language"] == sum(row[3] for row in expected)
        assert report["num_others"] == sum(not row[3] for row in expected)
        assert report["num_written"] == len(expected)
        assert report["languages"] == Counter(row[2] or "null" for row in expected)
        totals.update(counts)
    assert len(totals) == 11
    assert min(totals.values()) > 0  # every case occurred


turn_lists = st.lists(st.none() | st.text(alphabet="0123:;null é", max_size=5), min_size=1, max_size=3)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(turn_lists, min_size=1, max_size=12))
@example([["a", "b"], ["a1:b"], ["", None], [None, ""], ["", ""], ["null;"], [None], ["1:a"], ["a"]])
def test_sequences_are_equal_exactly_where_user_turns_are(tmp_path, turns):
    rows: list[Conversation] = [
        ([("user", None if text is None else text.encode()) for text in texts], "English") for texts in turns
    ]
    (batch,) = read_user_turns(check_shards([write_shard(tmp_path / "shard.parquet", rows)]), read_ahead=False)
    sequences = batch.sequences.to_pylist()
    assert [[a == b for b in sequences] for a in sequences] == [[a == b for b in turns] for a in turns]
    assert [prompt.decode() for prompt in batch.prompts.to_pylist()] == [texts[0] or "" for texts in turns]


@given(st.text(alphabet="ab \t\n\x0b\x1c\x85\u00a0\u2003\u200b\u3000\ufeff\x00", max_size=30), st.integers(0, 8))
def test_words_are_counted_as_python_splits(text, min_words):
    assert has_words(text, min_words) == (len(text.split()) >= min_words)


@pytest.mark.parametrize(
    ("content", "text", "was_repaired"),
    [
        ("naïve\x00 🦊".encode(), "naïve\x00 🦊", False),
        (b"a\xed\xa0\x80b", "a\ufffdb", True),
        (b"\xed\xa0\xbd\xed\xb8\x80", "\U0001f600", True),
        (b"\xff\xed\xa0\x80", "\ufffd" * 4, True),
    ],
)
def test_invalid_texts_are_repaired(content, text, was_repaired):
    assert decode_text(content) == (text, was_repaired)


def test_order_of_shards_and_threads_change_nothing(shards, tmp_path):
    outputs = []
    for order, threads in ((shards, 1), (shards[::-1], 1), (shards, 2), (shards[1:] + shards[:1], None)):
        outputs.append(tmp_path / f"prompts-{len(outputs)}.parquet")
        mine_prompts(order, output=outputs[-1], mining=MINING, seed=1, threads=threads)
    assert len({output.read_bytes() for output in outputs}) == 1
    assert len(read_prompts(outputs[0])) > 10


def test_a_seed_changes_the_order_and_nothing_else(shards, tmp_path):
    tables = []
    for seed in (0, 1, 2**32 - 1):
        mine_prompts(shards, output=tmp_path / "prompts.parquet", mining=MINING, seed=seed)
        tables.append(read_prompts(tmp_path / "prompts.parquet"))
    without_positions = [sorted((row[:4] for row in table), key=str) for table in tables]
    assert without_positions[0] == without_positions[1] == without_positions[2]
    assert tables[0] != tables[1] != tables[2] != tables[0]


def test_the_shuffle_is_the_same_in_every_version(tmp_path):
    rows: list[Conversation] = [([("user", b"one two three %d" % number)], "English") for number in range(6)]
    mine_prompts(
        [write_shard(tmp_path / "shard.parquet", rows)], output=tmp_path / "prompts.parquet", mining=MINING, seed=0
    )
    assert [int(row[1][-1]) for row in read_prompts(tmp_path / "prompts.parquet")] == [2, 1, 5, 0, 4, 3]


def test_exclusions_are_by_exact_text(tmp_path):
    texts = ["the very same words", "the very same words ", "The very same words", "other words than these"]
    rows: list[Conversation] = [([("user", text.encode())], "English") for text in texts]
    shard = write_shard(tmp_path / "shard.parquet", rows)
    pd.DataFrame({"prompt": ["other words than these", None], "more": 1}).to_parquet(tmp_path / "pairs.parquet")
    report = mine_prompts(
        [shard],
        output=tmp_path / "prompts.parquet",
        mining=MINING,
        seed=0,
        excluded=[tmp_path / "pairs.parquet", pd.DataFrame({"prompt": [None, "the very same words"]})],
    )
    assert {row[1] for row in read_prompts(tmp_path / "prompts.parquet")} == set(texts[1:3])
    assert report.num_excluded == 2


def test_exclusions_know_prompts_that_had_to_be_repaired(tmp_path):
    rows: list[Conversation] = [
        ([("user", b"half \xed\xa0\x80 a pair")], "English"),
        ([("user", b"one two three")], "English"),
    ]
    table = pa.table({"prompt": pa.array([b"half \xed\xa0\x80 a pair", None], pa.binary()).view(pa.string())})
    pq.write_table(table, tmp_path / "pairs.parquet")
    shard = write_shard(tmp_path / "shard.parquet", rows)
    for pairs in (tmp_path / "pairs.parquet", pd.DataFrame({"prompt": ["half \ud800 a pair", None]}, dtype=object)):
        report = mine_prompts([shard], output=tmp_path / "prompts.parquet", mining=MINING, seed=0, excluded=[pairs])
        assert report.num_excluded == report.num_written == 1


def test_a_place_that_cannot_be_written_is_an_error(shards, tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(MiningError, match=r"cannot be written.*choose another place"):
        mine_prompts(shards, output=tmp_path / "file" / "prompts.parquet", mining=MINING, seed=0)


def test_a_prompt_of_two_conversations_is_kept_once_from_the_same_one(tmp_path):
    """In which language it counts must not depend on the order of shards."""
    prompt = ("user", b"the very same words")
    rows: list[Conversation] = [
        ([prompt, ("user", b"%d" % number)], "English" if number % 2 else "Japanese") for number in range(10)
    ]
    shards = [write_shard(tmp_path / f"{n}.parquet", part) for n, part in enumerate(split(rows, 5))]
    kept = []
    for order in (shards, shards[::-1], shards[2:] + shards[:2]):
        report = mine_prompts(order, output=tmp_path / "prompts.parquet", mining=MINING, seed=0)
        assert report.num_repeated_prompts == 9
        kept.append(read_prompts(tmp_path / "prompts.parquet"))
    assert len(kept[0]) == 1
    assert kept[0] == kept[1] == kept[2]


def test_limits_take_the_first_of_each_kind(shards, tmp_path):
    every, some = tmp_path / "all.parquet", tmp_path / "some.parquet"
    mine_prompts(shards, output=every, mining=MINING, seed=3)
    for limits in ((2, 3), (None, 1), (0, None), (10**6, 0)):
        report = mine_prompts(shards, output=some, mining=MINING, seed=3, max_prompts=limits)
        first, others = (10**9 if limit is None else limit for limit in limits)
        expected = [row for row in read_prompts(every) if row[4] < (first if row[3] else others)]
        assert read_prompts(some) == expected
        assert report.num_written == len(expected) < report.num_first_language + report.num_others


def test_other_types_of_the_same_columns_are_read(tmp_path):
    """Large and dictionary-encoded texts, large lists, and columns that nobody asked for."""
    rows = [([("user", b"number %d of the prompts" % n), ("assistant", b"well")], "English") for n in range(9)]
    shard = write_shard(tmp_path / "plain.parquet", rows, turn=list(range(9)), model=["m"] * 9)
    table = pq.read_table(shard)
    turn = pa.struct([("role", pa.dictionary(pa.int32(), pa.string())), ("content", pa.large_string())])
    lists = pa.array(table["conversation"].to_pylist(), pa.large_list(turn))
    other = pa.table({"language": table["language"].dictionary_encode(), "conversation": lists})
    pq.write_table(other, tmp_path / "other.parquet")
    for name in ("plain", "other"):
        mine_prompts([tmp_path / f"{name}.parquet"], output=tmp_path / f"{name}-prompts.parquet", mining=MINING, seed=0)
    assert len(read_prompts(tmp_path / "plain-prompts.parquet")) == 9
    assert read_prompts(tmp_path / "plain-prompts.parquet") == read_prompts(tmp_path / "other-prompts.parquet")


@pytest.mark.usefixtures("small_batches")
def test_huge_prompts_are_mined_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(prompt_tables, "MAX_BATCH_BYTES", 100_000)
    texts = [f"{number} {'naïve words ' * 20_000}" for number in range(8)]
    rows: list[Conversation] = [([("user", text.encode())], "English") for text in texts]
    shard = write_shard(tmp_path / "shard.parquet", rows)
    mine_prompts([shard], output=tmp_path / "prompts.parquet", mining=MiningConfig(), seed=0)
    assert sorted(row[1] for row in read_prompts(tmp_path / "prompts.parquet")) == texts


def test_what_memory_does_not_hold_goes_to_disk(tmp_path, monkeypatch):
    texts = pa.array([f"question number {number} of very many" for number in range(150_000)])
    turns = pa.StructArray.from_arrays([texts, pa.array(["user"] * len(texts))], ["content", "role"])
    single = pa.ListArray.from_arrays(pa.array(range(len(texts) + 1), pa.int32()), turns)
    pq.write_table(pa.table({"conversation": single, "language": ["en"] * len(texts)}), tmp_path / "shard.parquet")
    spilled = Counter()
    choose = prompt_tables.PromptTables.choose

    def spy(tables: prompt_tables.PromptTables) -> list:
        languages = choose(tables)
        spilled[output.name] += len(list(tmp_path.glob(".*.partial/duckdb/*.tmp")))
        return languages

    monkeypatch.setattr(prompt_tables.PromptTables, "choose", spy)
    for limit in ("40MB", "1GB"):
        output = tmp_path / limit
        report = mine_prompts(
            [tmp_path / "shard.parquet"], output=output, mining=MINING, seed=0, memory_limit=limit, threads=1
        )
        assert report.num_written == len(texts)
    assert spilled["40MB"] > 0 == spilled["1GB"]
    assert (tmp_path / "40MB").read_bytes() == (tmp_path / "1GB").read_bytes()


def test_too_little_memory_is_an_error(shards, tmp_path):
    refuse(shards, tmp_path, "Out of Memory.*Raise memory_limit", memory_limit="100KB", threads=1)


def test_progress_counts_conversations(shards, tmp_path):
    calls: list[tuple[int, int]] = []
    mine_prompts(
        shards,
        output=tmp_path / "prompts.parquet",
        mining=MINING,
        seed=0,
        progress=lambda done, total: calls.append((done, total)),
    )
    assert calls[-1] == (120, 120)
    assert [done for done, _ in calls] == sorted({done for done, _ in calls})


def refuse(shards, tmp_path, pattern, **arguments):
    """Check that mining is refused and leaves nothing behind, not even changes."""
    folder = tmp_path / "output"
    folder.mkdir()
    (folder / "prompts.parquet").write_text("as it was")
    settings_ = {"mining": MINING, "seed": 0} | arguments
    with pytest.raises(MiningError, match=pattern) as error:
        mine_prompts(shards, output=folder / "prompts.parquet", **settings_)
    assert (folder / "prompts.parquet").read_text() == "as it was"
    assert [path.name for path in folder.iterdir()] == ["prompts.parquet"]
    return str(error.value)


def test_shards_that_are_missing_or_no_parquet_are_named(shards, tmp_path):
    (tmp_path / "text.parquet").write_text("conversation,language\n")
    for name, pattern in (("gone.parquet", "no such file.*Download"), ("text.parquet", "no Parquet file.*again")):
        with pytest.raises(MiningError, match=rf"{name}: {pattern}"):
            check_shards([*shards, tmp_path / name])
    with pytest.raises(MiningError, match="no shard"):
        check_shards([])


def test_a_shard_named_twice_is_refused(shards, tmp_path):
    """All its conversations would be repetitions."""
    refuse([*shards, shards[0].parent / "." / shards[0].name], tmp_path, "named twice")


@pytest.mark.parametrize(
    ("columns", "pattern"),
    [
        ({"language": ["en"]}, "'conversation' is missing.*'language'"),
        ({"conversation": [[{"content": "a", "role": "user"}]]}, "'language' is missing"),
        ({"conversation": ["text"], "language": ["en"]}, "'conversation' holds string instead of lists of records"),
        ({"conversation": [[{"role": "user"}]], "language": ["en"]}, "has nothing as 'content'"),
        ({"conversation": [[{"content": 1, "role": "user"}]], "language": ["en"]}, "has int64 as 'content'"),
        ({"conversation": [[{"content": "a", "role": "user"}]], "language": [1]}, "'language' holds int64"),
    ],
)
def test_a_shard_that_lacks_a_column_is_named_before_any_is_read(shards, tmp_path, columns, pattern):
    pq.write_table(pa.table(columns), tmp_path / "last.parquet")
    calls: list[tuple[int, int]] = []
    message = refuse(
        [*shards, tmp_path / "last.parquet"], tmp_path, pattern, progress=lambda *numbers: calls.append(numbers)
    )
    assert "last.parquet" in message
    assert "lmsys-chat-1m" in message
    assert not calls


@pytest.mark.parametrize("threads", [1, 2])
def test_a_damaged_shard_is_named(shards, tmp_path, threads):
    content = bytearray(shards[1].read_bytes())
    content[4:400] = bytes(396)
    shards[1].write_bytes(content)
    refuse(shards, tmp_path, rf"{shards[1].name}: damaged.*Download", threads=threads)


def test_tables_to_exclude_need_prompts(shards, tmp_path):
    refuse(shards, tmp_path, "no column 'prompt'; there are \\['text'\\]", excluded=[pd.DataFrame({"text": ["a"]})])
    with pytest.raises(MiningError, match=r"gone\.parquet: cannot be read"):
        mine_prompts(shards, output=tmp_path / "p.parquet", mining=MINING, seed=0, excluded=[tmp_path / "gone.parquet"])


def test_other_names_of_roles_are_an_error(tmp_path):
    rows: list[Conversation] = [([("human", b"a question like any other")], "English")]
    refuse([write_shard(tmp_path / "shard.parquet", rows)], tmp_path, "role is 'user'")


def test_nothing_left_is_an_error_that_says_why(shards, tmp_path):
    refuse(shards, tmp_path, "no prompt is left of 120 .*too long: [1-9]", mining=MiningConfig(max_characters=1))


def test_an_impossible_memory_limit_is_an_error(shards, tmp_path):
    refuse(shards, tmp_path, "memory_limit='plenty'", memory_limit="plenty")


def test_a_first_language_that_does_not_occur_is_warned_of(shards, tmp_path, caplog):
    mining = MINING.model_copy(update={"first_language": "en"})
    with caplog.at_level(logging.WARNING):
        report = mine_prompts(shards, output=tmp_path / "prompts.parquet", mining=mining, seed=0)
    assert report.num_first_language == 0
    assert "'en' (generation.mining.first_language)" in caplog.text
