import pytest
from pydantic import ValidationError

from wsdm_arena.config import TRAINING_TABLES, Lineup, RosterConfig, Training

ROSTER = RosterConfig(teachers=("gemma", "qwen"), students=("gemma", "llama"), final_held_out=("llama",))


def test_trainings_come_in_the_recipes_order():
    assert list(map(str, ROSTER.trainings())) == [
        "teacher.gemma",
        "teacher.qwen",
        "student.gemma",
        "student.llama",
        "pretraining.gemma",
        "pretraining.llama",
        "final.gemma",
        "final.llama",
        "final_held_out.llama",
    ]
    assert ROSTER.judges == ("gemma", "qwen", "llama")
    assert {training.stage for training in ROSTER.trainings()} == set(TRAINING_TABLES)


def test_without_students_there_are_only_teachers():
    assert list(RosterConfig(teachers=("gemma",)).trainings()) == [Training("teacher", "gemma")]


def test_a_variant_of_a_judge_that_is_no_student_is_passed_over():
    roster = RosterConfig(teachers=("a",), students=("b",), final_held_out=("a", "b"))
    assert roster.judges_of("final_held_out") == ("b",)


@pytest.mark.parametrize(
    ("roster", "message"),
    [
        ({"teachers": []}, "at least 1"),
        ({"teachers": ["a", "a"]}, r"roster\.teachers: \['a'\] stand there more than once"),
        ({"teachers": ["a"], "students": ["a", "b", "c"]}, "at most 2"),
    ],
)
def test_a_roster_that_makes_no_sense_is_refused(roster, message):
    with pytest.raises(ValidationError, match=message):
        RosterConfig.model_validate(roster)


def test_judges_without_a_source_are_imported():
    judges = {
        "gemma": {"backbone": {"source": None}},
        "qwen": {"backbone": {"source": "package:small_qwen"}},
        "llama": {"backbone": {"source": None}},
        "idle": {"backbone": {"source": None}},
    }
    answering = {
        "first": {"model": "package:small_llama"},
        "second": {"model": "hub/name"},
        "idle": {"model": "package:idle"},
    }
    generation = {"rounds": {"v1": {"answer_models": ["first", "second"]}}, "answer_models": answering}
    parameters = {"roster": ROSTER.model_dump(), "judges": judges, "generation": generation}
    lineup = Lineup.from_parameters(parameters)
    assert lineup.imported == ("gemma", "llama")
    assert lineup.packaged == {"qwen": "small_qwen"}
    assert lineup.packages == ("small_qwen", "small_llama")
    without_students = {"teachers": ["gemma"], "students": []}
    assert Lineup.from_parameters(parameters | {"roster": without_students}).packages == ()
