import pytest

from wsdm_arena.runs.sizes import show_bytes


@pytest.mark.parametrize(
    ("num_bytes", "shown"),
    [
        (0, "0 B"),
        (1, "1 B"),
        (999, "999 B"),
        (1_000, "1.0 kB"),
        (32_768, "32.8 kB"),
        (999_949, "999.9 kB"),
        (999_960, "1.0 MB"),
        (1_500_000_000, "1.5 GB"),
        (54_321_000_000.0, "54.3 GB"),
        (2_345_678_000_000_000, "2,345.7 TB"),
        (-5_000, "-5.0 kB"),
    ],
)
def test_units_are_powers_of_a_thousand(num_bytes, shown):
    assert show_bytes(num_bytes) == shown
