import pytest

from wsdm_arena.config import RosterConfig
from wsdm_arena.pipelines.export import create_pipeline


def calibrations(roster: RosterConfig) -> dict[str, set[str]]:
    """What each calibration reads."""
    return {
        node.namespace.removeprefix("export."): {name for name in node.inputs if not name.startswith("params:")}
        for node in create_pipeline(roster).nodes
        if node.name.endswith(".calibrate")
    }


@pytest.mark.parametrize("stage", ["student", "final"])
def test_every_student_is_exported_from_both_stages(stage):
    roster = RosterConfig(teachers=("a",), students=("b", "c"), final_held_out=("b",))
    outputs = create_pipeline(roster).outputs()
    assert {f"{stage}.b.bundle", f"{stage}.c.bundle"} <= outputs


def test_a_judge_is_calibrated_on_what_it_has_not_seen_or_not_at_all():
    roster = RosterConfig(teachers=("a",), students=("b", "c"), final_held_out=("b",))
    assert calibrations(roster) == {
        "student.b": {"student.b.predictions", "battles"},
        "student.c": {"student.c.predictions", "battles"},
        "final.b": {"final_held_out.b.predictions", "battles"},
        "final.c": set(),
    }


def test_without_students_there_is_nothing_to_export():
    assert not create_pipeline(RosterConfig(teachers=("a",))).nodes
