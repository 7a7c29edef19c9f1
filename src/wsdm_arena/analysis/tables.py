"""What an analysis holds: plain JSON, so that it can be stored, compared and drawn anywhere.

Everything is measured on the held-out fold. Probabilities are those of both orders, averaged, unless said otherwise.
"""

from typing import TypedDict


class Interval(TypedDict):
    """A share or mean, and where it would lie if other prompts had been drawn."""

    value: float
    low: float
    high: float
    num_battles: int


class ReliabilityBin(TypedDict):
    """Battles whose predicted winner got about the same probability."""

    confidence_low: float
    """Bounds of the bin; the lower one is outside of it."""
    confidence_high: float
    num_battles: int
    mean_confidence: float
    accuracy: Interval


class CalibrationScores(TypedDict):
    """How honest probabilities are."""

    log_loss: float
    """In nats."""
    brier: float
    """Mean over battles of the squared distances summed over classes: 0 to 2."""
    ece: float
    ece_by_chance: float
    """Mean ECE that an honest judge with these probabilities would show on as many battles; never 0."""


class CalibrationAnalysis(TypedDict):
    """A temperature fitted on one half of the prompts and judged on the other half."""

    temperature: float
    num_fitted: int
    num_judged: int
    before: CalibrationScores
    """On the half that is judged, at temperature 1."""
    after: CalibrationScores
    """On the same half, at the temperature of the other one."""
    bins_before: list[ReliabilityBin]
    """All held-out battles, at temperature 1."""
    bins_after: list[ReliabilityBin]
    """The half that is judged, at the temperature of the other one."""
    note: str
    """Why ``after`` is not to be relied on; empty where it is."""


class HistogramBin(TypedDict):
    """Pairs whose value lies in a range."""

    low: float
    high: float
    num_pairs: int


class SwapAnalysis(TypedDict):
    """What exchanging the two answers does to a judge; empty where it read one order only."""

    num_pairs: int
    flip_rate: Interval
    """Share of pairs whose winner depends on which answer is shown first."""
    gap: Interval
    """How far the probability of A moves when the answers change places; with two classes that is ``|p(AB) + p(BA) -
    1|``, p being the probability of the answer that is shown first."""
    first_shown: Interval
    """How often the answer that is shown first is named, over all readings, a tie counting half; 0.5 has no bias."""
    gaps: list[HistogramBin]


class LengthBin(TypedDict):
    """Battles whose answers differ in length about as much."""

    label: str
    """Such as ``B twice as long or more``."""
    num_battles: int
    vote: Interval
    """How often people prefer A."""
    judge: Interval
    """Mean probability that the judge gives to A."""


class LengthAnalysis(TypedDict):
    """Whether a judge prefers long answers more than people do. Lengths are characters; equal ones are left out.

    An interval of no battles has the value 0, from 0 to 1.
    """

    names_longer: Interval
    """How often the judge names the longer answer where it names one: its overlap with the rule "longer wins"."""
    longer_won: Interval
    """How often people preferred the longer answer where they preferred one."""
    accuracy_longer_won: Interval
    """Accuracy where the longer answer won."""
    accuracy_shorter_won: Interval
    """Accuracy where the shorter answer won."""
    bins: list[LengthBin]


class RiskPoint(TypedDict):
    """What is wrong among the verdicts that are left if a judge abstains where it is least sure."""

    coverage: float
    """Share of battles that it answers."""
    risk: float
    """Share of wrong verdicts among them."""
    confidence: float
    """It answers from this probability of the predicted winner on."""


class AbstentionAnalysis(TypedDict):
    """Coverage against risk."""

    points: list[RiskPoint]
    """At most 101, from the surest battle to all of them."""
    area: float
    """Mean risk over all coverages (AURC); smaller is better."""


class JudgeAnalysis(TypedDict):
    """All that is measured of one judge."""

    stage: str
    judge: str
    fold: int
    seen_in_training: bool
    num_battles: int
    calibration: CalibrationAnalysis
    swap: SwapAnalysis | None
    """None where pairs were read in one order only."""
    length: LengthAnalysis
    abstention: AbstentionAnalysis


class FrontierPoint(TypedDict):
    """A cascade with another threshold."""

    threshold: float
    share: float
    """Of pairs that the second judge reads."""
    accuracy: Interval
    seconds: float | None
    """That the test table would have taken; None where it was never timed."""


class CascadeAnalysis(TypedDict):
    """What each share of pairs that are read twice is worth, on held-out battles."""

    stage: str
    judges: list[str]
    read_by: dict[str, str]
    """Whose held-out predictions are read for each judge, ``final_held_out.gemma``: judges that have seen the fold are
    stood in for."""
    weights: dict[str, float]
    threshold: float | None
    """The one in use; None where there is one judge only."""
    is_fitted: bool
    """Weights and threshold were fitted on these very battles, which flatters the one in use."""
    num_battles: int
    """Of them ties are left out: a cascade names A or B."""
    num_test_pairs: int
    points: list[FrontierPoint]
    """By share, from none (the first judge alone) to all."""
    in_use: FrontierPoint | None
