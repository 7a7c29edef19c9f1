"""What is left wrong if a judge may abstain. Shapes: V votes, C classes."""

import numpy as np

from wsdm_arena.analysis.tables import AbstentionAnalysis, RiskPoint
from wsdm_arena.metrics import correctness

MAX_RISK_POINTS = 101


def analyse_abstention(probabilities: np.ndarray, labels: np.ndarray) -> AbstentionAnalysis:
    """Order battles by how sure the judge is, and count errors from the surest on; equally sure ones come together.

    Source: Geifman and El-Yaniv 2017, "Selective Classification for Deep Neural Networks"; the area under the
    risk-coverage curve (AURC) as in their 2019 "Bias-Reduced Uncertainty Estimation", section 2.

    Args:
        probabilities: ``(V, C)``.
        labels: ``(V, C)``.
    """
    errors, confidences = 1 - correctness(probabilities, labels), probabilities.max(axis=1)
    order = np.argsort(-confidences, kind="stable")
    sorted_confidences = confidences[order]
    risks = np.cumsum(errors[order]) / np.arange(1, len(order) + 1)
    ends = np.flatnonzero(np.append(np.diff(sorted_confidences) != 0, True))  # last of each group of equally sure ones
    # Within such a group the order says nothing: its battles share the risk at its end.
    sizes = np.diff(np.append(-1, ends))
    area = float(np.average(risks[ends], weights=sizes))
    shown = ends[np.unique(np.linspace(0, len(ends) - 1, min(MAX_RISK_POINTS, len(ends))).round().astype(int))]
    return AbstentionAnalysis(
        points=[
            RiskPoint(
                coverage=float((end + 1) / len(order)),
                risk=float(risks[end]),
                confidence=float(sorted_confidences[end]),
            )
            for end in shown
        ],
        area=area,
    )
