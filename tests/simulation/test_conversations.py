import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from wsdm_arena.config import SimulationConfig
from wsdm_arena.simulation import (
    SimulatedConversations,
    simulate_arena,
    simulate_collected_pairs,
    simulate_conversations,
)
from wsdm_arena.simulation.chats import SHORT_PROMPTS
from wsdm_arena.simulation.languages import PHRASEBOOKS
from wsdm_arena.simulation.models import ROSTERS

SMALL = SimulationConfig(seed=7, num_battles=60, num_test_pairs=40, num_collected_pairs=40, num_conversations=800)

PRINT_DIGEST = """
import hashlib
from wsdm_arena.config import SimulationConfig
from wsdm_arena.simulation import simulate_conversations
drawn = simulate_conversations(SimulationConfig(seed=7, num_battles=60, num_conversations=100))
print(hashlib.sha256(repr([t.to_dict() for t in (*drawn.shards, drawn.prompts)]).encode()).hexdigest())
"""


@pytest.fixture(scope="module")
def drawn() -> SimulatedConversations:
    return simulate_conversations(SimulationConfig())


@pytest.fixture(scope="module")
def conversations(drawn: SimulatedConversations) -> pd.DataFrame:
    table = pd.concat(drawn.shards, ignore_index=True)
    user_turns = table["conversation"].map(
        lambda messages: tuple(message["content"] for message in messages if message["role"] == "user")
    )
    return table.assign(user_turns=user_turns, first=user_turns.str[0])


def test_six_shards_in_the_public_format(drawn: SimulatedConversations, conversations: pd.DataFrame) -> None:
    columns = ["conversation_id", "model", "conversation", "turn", "language", "openai_moderation", "redacted"]
    assert [list(shard.columns) for shard in drawn.shards] == [columns] * 6
    assert [len(shard) for shard in drawn.shards] == [1500] * 6
    assert conversations["conversation_id"].is_unique
    assert conversations["conversation_id"].str.fullmatch("[0-9a-f]{32}").all()
    assert set(conversations["model"]) == set(ROSTERS["runs"])


def test_users_and_models_speak_by_turns(conversations: pd.DataFrame) -> None:
    assert set(conversations["turn"]) == {1, 2, 3, 4}
    for messages, turn in zip(conversations["conversation"], conversations["turn"], strict=True):
        assert [message["role"] for message in messages] == ["user", "assistant"] * turn
        assert all(list(message) == ["content", "role"] for message in messages)


def test_every_message_is_moderated_and_harmful_prompts_are_flagged(
    drawn: SimulatedConversations, conversations: pd.DataFrame
) -> None:
    num_messages = conversations["conversation"].str.len()
    assert (conversations["openai_moderation"].str.len() == num_messages).all()
    flagged = conversations["openai_moderation"].map(lambda entries: entries[0]["flagged"])
    tasks = conversations["first"].map(drawn.prompts.set_index("prompt")["task"])
    assert flagged[tasks == "harmful"].all()
    assert not flagged[tasks.notna() & (tasks != "harmful")].any()


def test_about_half_is_english_and_some_languages_are_unknown(conversations: pd.DataFrame) -> None:
    shares = conversations["language"].value_counts(normalize=True)
    assert set(shares.index) == {book.name for book in PHRASEBOOKS} | {"unknown"}
    assert 0.45 < shares["English"] < 0.55
    assert 0.02 < shares["unknown"] < 0.05


def test_some_users_say_what_others_said(conversations: pd.DataFrame) -> None:
    several = conversations[conversations["turn"] > 1]
    assert several["user_turns"].duplicated().sum() > 50  # no chance: two turns of one user hardly ever coincide
    unique = several.drop_duplicates("user_turns")
    assert unique.loc[unique["first"].str.len() > 20, "first"].duplicated().sum() > 50


def test_some_prompts_are_empty_very_short_or_spoilt(conversations: pd.DataFrame) -> None:
    first = conversations["first"]
    assert (first.str.strip() == "").sum() > 5
    assert first.isin(SHORT_PROMPTS).sum() > 50
    assert first.isin([greeting for book in PHRASEBOOKS for greeting in book.greetings]).sum() > 20
    assert first.str.contains("\x00").any()
    assert first.str.len().max() > 4_000
    assert any(messages[1]["content"] == "" for messages in conversations["conversation"])


def test_no_row_is_spoilt_where_none_should_be() -> None:
    drawn = simulate_conversations(SMALL.model_copy(update={"ugly_row_rate": 0.0}))
    contents = [message["content"] for shard in drawn.shards for row in shard["conversation"] for message in row]
    assert all(content.strip() and len(content) < 400 and content.isprintable() for content in contents)


def test_names_are_redacted_in_later_turns_only(conversations: pd.DataFrame) -> None:
    redacted = conversations[conversations["redacted"]]
    assert len(redacted) > 50
    assert (redacted["turn"] > 1).all()
    assert redacted["user_turns"].map(lambda turns: turns[-1].startswith("NAME_1: ")).all()
    assert not conversations["first"].str.contains("NAME_1").any()


def test_prompts_of_battles_test_pairs_and_collected_pairs_occur() -> None:
    arena = simulate_arena(SMALL)
    collected = pd.concat(simulate_collected_pairs(SMALL))
    first = {row[0]["content"] for shard in simulate_conversations(SMALL).shards for row in shard["conversation"]}
    battles, tests = set(arena.train_table["prompt"].dropna()), set(arena.test_table["prompt"].dropna())
    assert first & battles
    assert first & (tests - battles)
    assert first & (set(collected["prompt"].dropna()) - battles - tests)


def test_every_whole_first_turn_is_a_known_prompt(drawn: SimulatedConversations, conversations: pd.DataFrame) -> None:
    assert list(drawn.prompts.columns) == ["prompt", "task", "parameters", "language"]
    assert drawn.prompts["prompt"].is_unique
    known = conversations["first"].isin(drawn.prompts["prompt"])
    assert set(drawn.prompts["prompt"]) <= set(conversations["first"])
    unknown = conversations.loc[~known, "first"]
    greetings = {greeting for book in PHRASEBOOKS for greeting in book.greetings}
    assert unknown.isin({*SHORT_PROMPTS, *greetings}).sum() > 200
    assert (~unknown.isin({*SHORT_PROMPTS, *greetings})).sum() < 0.01 * len(conversations)
    assert not drawn.prompts["prompt"].isin({*SHORT_PROMPTS, *greetings, ""}).any()


def test_enough_prompts_are_left_to_mine(drawn: SimulatedConversations, conversations: pd.DataFrame) -> None:
    """What the sample environment asks for, though it may drop every prompt that stands elsewhere."""
    arena = simulate_arena(SimulationConfig())
    elsewhere = pd.concat([arena.train_table, arena.test_table, *simulate_collected_pairs(SimulationConfig())])
    once = conversations[~conversations["user_turns"].duplicated(keep=False)].drop_duplicates("first")
    left = once[~once["first"].isin(set(elsewhere["prompt"].dropna()))]
    english = left["language"] == "English"
    assert (left.loc[english, "first"].str.split().str.len() >= 4).sum() >= 650
    assert (left.loc[~english, "first"].str.len() >= 10).sum() >= 1_100


def test_same_seed_same_conversations_in_another_process() -> None:
    drawn = simulate_conversations(SimulationConfig(seed=7, num_battles=60, num_conversations=100))
    tables = [table.to_dict() for table in (*drawn.shards, drawn.prompts)]
    environment = {**os.environ, "PYTHONHASHSEED": "123"}
    result = subprocess.run([sys.executable, "-c", PRINT_DIGEST], capture_output=True, text=True, env=environment)
    assert result.stdout.strip() == hashlib.sha256(repr(tables).encode()).hexdigest(), result.stderr


def test_more_conversations_change_no_earlier_one(conversations: pd.DataFrame) -> None:
    fewer = simulate_conversations(SimulationConfig(num_conversations=301))
    assert [len(shard) for shard in fewer.shards] == [51, 50, 50, 50, 50, 50]
    table = pd.concat(fewer.shards, ignore_index=True)
    pd.testing.assert_frame_equal(table, conversations.drop(columns=["user_turns", "first"]).head(301))


def test_no_conversations_are_six_tables_without_rows() -> None:
    drawn = simulate_conversations(SMALL.model_copy(update={"num_conversations": 0}))
    assert [shard.shape for shard in drawn.shards] == [(0, 7)] * 6
    assert drawn.prompts.shape == (0, 4)


def test_parquet_holds_it_all(drawn: SimulatedConversations, tmp_path: Path) -> None:
    drawn.shards[0].to_parquet(tmp_path / "shard.parquet", index=False)
    drawn.prompts.to_parquet(tmp_path / "prompts.parquet", index=False)
    read = pd.read_parquet(tmp_path / "shard.parquet")
    assert [list(row) for row in read["conversation"]] == drawn.shards[0]["conversation"].to_list()
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "prompts.parquet"), drawn.prompts)
