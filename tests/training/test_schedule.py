import pytest

from wsdm_arena.config import ScheduleConfig
from wsdm_arena.training.schedule import learning_rate_factor


def factors(num_updates: int, **schedule: float) -> list[float]:
    config = ScheduleConfig(**schedule)
    return [learning_rate_factor(update, num_updates, config) for update in range(num_updates)]


def test_rises_to_the_peak_and_falls_to_the_final_factor() -> None:
    literal = [0.0, 0.5, 1.0, 0.8, 0.6, 0.4, 0.2, 0.0]
    assert factors(8, warmup_fraction=0.25, initial_factor=0.0, final_factor=0.0) == pytest.approx(literal)


def test_recipe_starts_and_ends_at_a_thousandth_of_the_peak() -> None:
    recipe = factors(1000)
    assert recipe[0] == 0.001
    assert recipe[50] == pytest.approx(0.5005)
    assert recipe[100] == 1.0
    assert recipe[-1] == pytest.approx(0.001)
    assert max(recipe) == 1.0


def test_without_warm_up_the_first_update_has_the_peak() -> None:
    assert factors(3, warmup_fraction=0.0, final_factor=0.5) == pytest.approx([1.0, 0.75, 0.5])


def test_warm_up_over_everything_ends_at_the_peak() -> None:
    assert factors(3, warmup_fraction=1.0, initial_factor=0.0) == pytest.approx([0.0, 0.5, 1.0])


def test_a_single_update_has_the_peak() -> None:
    assert factors(1, warmup_fraction=0.1) == [1.0]
