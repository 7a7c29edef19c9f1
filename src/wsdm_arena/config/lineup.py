"""Who takes part in which stage, and which stages there are."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from pydantic import Field, model_validator

from wsdm_arena.config.base import StrictConfig
from wsdm_arena.config.packages import package_of

STAGES = ("teacher", "student", "pretraining", "final")
"""Stages that parameters describe, in the recipe's order."""
HELD_OUT_VARIANT = "final_held_out"
"""The final training without the held-out fold: as ``final`` in everything else, so ``stages.final`` describes it."""

BATTLES, COLLECTED_PAIRS, GENERATED_PAIRS = "battles", "collected_pairs", "generated_pairs"
LABELS = {COLLECTED_PAIRS: "collected_labels", GENERATED_PAIRS: "generated_labels"}
"""Tables of the labels that judges give, by the pairs that they are about."""
TRAINING_TABLES: Mapping[str, tuple[str, ...]] = {
    "teacher": (BATTLES,),
    "student": (BATTLES, COLLECTED_PAIRS),
    "pretraining": (COLLECTED_PAIRS, GENERATED_PAIRS),
    "final": (BATTLES,),
    HELD_OUT_VARIANT: (BATTLES,),
}
"""Pair tables that a stage learns from. Every stage is scored on battles."""


class Training(NamedTuple):
    """One training of the project; its namespace is ``stage.judge``."""

    stage: str
    judge: str

    def __str__(self) -> str:
        return f"{self.stage}.{self.judge}"


class RosterConfig(StrictConfig):
    """Which judges take which role. The pipelines are built from it; ``judges`` describes each."""

    teachers: tuple[str, ...] = Field(min_length=1)
    """Fine-tuned on human battles; label the collected pairs."""
    students: tuple[str, ...] = Field(default=(), max_length=2)
    """Trained in every later stage; label the generated pairs and make up the cascade, the first one first."""
    final_held_out: tuple[str, ...] = ()
    """Students whose final training is done once more without the held-out fold, for an honest score; judges that are
    no students are passed over."""

    @model_validator(mode="after")
    def _names_are_unique(self) -> "RosterConfig":
        for role, names in self:
            if repeated := sorted({name for name in names if names.count(name) > 1}):
                raise ValueError(f"roster.{role}: {repeated} stand there more than once")
        return self

    def judges_of(self, stage: str) -> tuple[str, ...]:
        """Judges that are trained in a stage."""
        if stage == HELD_OUT_VARIANT:
            return tuple(judge for judge in self.final_held_out if judge in self.students)
        return self.teachers if stage == "teacher" else self.students

    def trainings(self) -> Iterator[Training]:
        """Every training, in the recipe's order."""
        for stage in TRAINING_TABLES:
            for judge in self.judges_of(stage):
                yield Training(stage, judge)

    @property
    def judges(self) -> tuple[str, ...]:
        """Every judge that takes part, once."""
        return tuple(dict.fromkeys((*self.teachers, *self.students)))


class Lineup(StrictConfig):
    """What the pipelines are built from: the roster, and whose backbone is imported from a raw checkpoint."""

    roster: RosterConfig
    imported: tuple[str, ...]
    """Judges whose backbone comes from ``raw_checkpoint.<judge>``; the others name a source of their own."""
    packaged: dict[str, str] = Field(default_factory=dict)
    """Packaged model by judge, of those whose backbone is one."""
    answering_packages: tuple[str, ...] = ()
    """Packaged models that answer prompts."""

    @property
    def packages(self) -> tuple[str, ...]:
        """Every packaged model that is used, once."""
        return tuple(dict.fromkeys((*self.packaged.values(), *self.answering_packages)))

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Any]) -> "Lineup":
        """Read it off a validated parameter tree."""
        roster = RosterConfig.model_validate(parameters["roster"])
        sources = {name: parameters["judges"][name]["backbone"]["source"] for name in roster.judges}
        packages = {name: package_of(source) for name, source in sources.items()}
        generation = parameters["generation"]
        asked = dict.fromkeys(name for round_ in generation["rounds"].values() for name in round_["answer_models"])
        answering = (package_of(generation["answer_models"][name]["model"]) for name in asked)
        return cls(
            roster=roster,
            imported=tuple(name for name, source in sources.items() if source is None),
            packaged={name: package for name, package in packages.items() if package is not None},
            answering_packages=tuple(dict.fromkeys(package for package in answering if package is not None))
            if roster.students
            else (),
        )
