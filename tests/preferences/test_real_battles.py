from pathlib import Path

import pytest

from wsdm_arena import schemas
from wsdm_arena.config import PreferencesConfig
from wsdm_arena.preferences.battles import build_battles
from wsdm_arena.preferences.raw_tables import find_files, read_raw_tables

REAL_BATTLES = Path(__file__).resolve().parents[2].parent / "shared" / "data"


@pytest.mark.skipif(not REAL_BATTLES.is_dir(), reason=f"no real battles in {REAL_BATTLES}")
def test_five_public_sets_become_5560_battles():
    battles, report = build_battles(read_raw_tables(find_files(REAL_BATTLES)), PreferencesConfig())
    schemas.Battles.validate(battles, lazy=True)
    assert report["num_battles"] == 5560
    assert report["dropped"] == report["repaired"] == {}
    assert report["sources"] == {
        "arenahard_v01_llmjudge": 3446,
        "pandalm_test": 762,
        "oasst_en_100trees": 487,
        "ja_vicuna_qa_gpt4judge": 446,
        "llmbar": 419,
    }
    assert report["num_prompts"] == 1344
    assert report["languages"]["ja"] == 436
    assert battles["fold"].value_counts().between(1090, 1130).all()
    assert (battles.loc[battles["source"] == "oasst_en_100trees", "num_turns"] == 2).sum() == 220
