"""What the tables that a run makes are: what a card says of one besides its numbers."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pandera.pandas as pa

from wsdm_arena.schemas import Battles, PseudoLabels, TestPairs, UnlabelledPairs

_VOTES = "People disagree: another person would have voted otherwise on some of these pairs. No voter is named here."
_TEXTS = (
    "Prompts are what people typed, answers are what models wrote, neither has been checked: expect errors, offence, "
    "personal details and attempts to steer whoever reads them."
)
_LANGUAGES = "Languages are as the raw table states them; where it states none, the language is `unknown`."
_SIMULATED = "The data are simulated: prompts, answers, models and votes."
_SIMULATED_VOTES = "The judges that gave these labels learned from simulated votes."
_PSEUDO = "A label is the opinion of judges, not of people: it carries their mistakes and their taste for length."


@dataclass(frozen=True)
class TableDescription:
    """What cannot be read off a table.

    Attributes:
        row: What a row is.
        purpose: What it is for.
        origin: How it is made, and from what.
        schema: Of its columns.
        limits: What is to be known before it is used.
        extra_columns: Meaning of columns that the schema does not name.
        simulated: What of it the simulated arena stands for, said where a run's inputs are simulated.
        simulated_but_for_answers: The same where real models wrote the answers; empty: no difference.
    """

    row: str
    purpose: str
    origin: str
    schema: type[pa.DataFrameModel]
    limits: tuple[str, ...]
    extra_columns: Mapping[str, str] = field(default_factory=dict)
    simulated: str = _SIMULATED
    simulated_but_for_answers: str = ""


TABLES: Mapping[str, TableDescription] = {
    "battles": TableDescription(
        row="one vote of a person: which of two answers to a prompt is better. A pair that was voted on twice has two",
        purpose="Judges are trained on all folds but the held-out one, and measured on that. The final judges are "
        "trained on all of them.",
        origin="Read from the raw table of votes. Texts are repaired, ids, folds and label probabilities are added. "
        "Battles that share their prompt share their fold.",
        schema=Battles,
        limits=(_VOTES, _TEXTS, _LANGUAGES),
    ),
    "collected_pairs": TableDescription(
        row="two answers to a prompt that nobody voted on",
        purpose="Teachers label them; students and the pretraining learn from those labels.",
        origin="Read from the raw tables of collected pairs. Pairs whose prompt is asked in the held-out fold or in "
        "the test pairs are left out.",
        schema=UnlabelledPairs,
        limits=(_TEXTS, _LANGUAGES, "Answers are of the models that were collected, not of those in the battles."),
    ),
    "generated_pairs": TableDescription(
        row="two answers to a prompt, written by two models of this run, that nobody voted on",
        purpose="Students label them; the pretraining learns from those labels.",
        origin="Prompts are mined from conversations with language models, spread over languages; two models answer "
        "each. Prompts of the held-out fold and of the test pairs are left out.",
        schema=UnlabelledPairs,
        limits=(_TEXTS, _LANGUAGES, "An answer may be of low quality on purpose: small models are among the writers."),
        extra_columns={"round": "Round of mining that the prompt comes from."},
        simulated_but_for_answers="The prompts are simulated; the answers were written by the models named below.",
    ),
    "collected_labels": TableDescription(
        row="what the teachers say of a collected pair",
        purpose="Training labels of the students and the pretraining.",
        origin="Probabilities of the teachers, averaged with their weights. Pairs that they are unsure of are left "
        "out. The texts are in `collected_pairs`.",
        schema=PseudoLabels,
        limits=(_PSEUDO,),
        simulated=_SIMULATED_VOTES,
    ),
    "generated_labels": TableDescription(
        row="what the students say of a generated pair",
        purpose="Training labels of the pretraining.",
        origin="Probabilities of the students, averaged with their weights. Pairs that they are unsure of are left "
        "out. The texts are in `generated_pairs`.",
        schema=PseudoLabels,
        limits=(_PSEUDO,),
        simulated=_SIMULATED_VOTES,
    ),
    "test_pairs": TableDescription(
        row="an id of the test table: two answers to a prompt whose winner is to be named",
        purpose="The submission has a verdict for each. Nothing is trained on them.",
        origin="Read from the raw test table. No row is dropped, whatever its texts are.",
        schema=TestPairs,
        limits=(_TEXTS, _LANGUAGES, "There are no labels here."),
        extra_columns={"scored": "Whether the contest counts the row."},
    ),
}
"""By name in the catalog."""
