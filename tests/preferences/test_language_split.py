import pandas as pd
import pytest

from wsdm_arena.config import PreferencesConfig
from wsdm_arena.preferences.language_split import assign_language_phases, split_by_language


@pytest.fixture
def battles() -> pd.DataFrame:
    languages = (["en"] * 3 + ["ru", "unknown"]) * 20
    return pd.DataFrame({"battle_id": [f"{(number * 37) % 100:032x}" for number in range(100)], "language": languages})


def test_first_phase_is_nine_tenths_of_english_and_the_second_everything_else(battles):
    phases = assign_language_phases(battles)
    english = battles["language"] == "en"
    assert english.sum() == 60
    assert (phases[english] == 0).sum() == 54
    assert (phases[english] == 1).sum() == 6
    assert (phases[~english] == 1).all()


def test_every_tenth_battle_in_the_order_of_battle_ids_is_held_back(battles):
    phases = assign_language_phases(battles)
    english = battles[battles["language"] == "en"].sort_values("battle_id")
    held_back = [position for position, index in enumerate(english.index) if phases[index] == 1]
    assert held_back == [0, 10, 20, 30, 40, 50]


def test_the_order_of_the_rows_makes_no_difference(battles):
    shuffled = battles.sample(frac=1, random_state=0)
    assert assign_language_phases(shuffled).sort_index().equals(assign_language_phases(battles))


def test_language_and_share_are_parameters(battles):
    phases = assign_language_phases(battles, language="ru", hold_back_every=4)
    assert (phases == 0).sum() == 15
    with pytest.raises(ValueError, match="hold_back_every=1"):
        assign_language_phases(battles, hold_back_every=1)


def test_the_split_is_a_table_by_battle_with_the_configured_share():
    battles = pd.DataFrame({"battle_id": [f"{n:02d}" for n in range(12)], "language": ["en"] * 10 + ["de"] * 2})
    phases = split_by_language(battles, PreferencesConfig(hold_back_every=5)).set_index("battle_id")["phase"]
    assert [battle for battle, phase in phases.items() if phase == 1] == ["00", "05", "10", "11"]
    german = split_by_language(battles, PreferencesConfig(first_phase_language="de", hold_back_every=2))
    assert german.loc[german["phase"] == 0, "battle_id"].tolist() == ["11"]
