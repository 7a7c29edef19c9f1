"""Figures of the report, as plotly figures that Kedro-Viz previews, too. Importing this package imports plotly."""

from wsdm_arena.analysis.figures.abstention import draw_abstention
from wsdm_arena.analysis.figures.accuracy import draw_accuracy
from wsdm_arena.analysis.figures.calibration import draw_calibration, draw_reliability
from wsdm_arena.analysis.figures.cascade import draw_cascade_frontier
from wsdm_arena.analysis.figures.comparisons import draw_comparisons
from wsdm_arena.analysis.figures.learning import draw_learning_curve, draw_learning_curves
from wsdm_arena.analysis.figures.length import draw_length_bias
from wsdm_arena.analysis.figures.slices import draw_slices
from wsdm_arena.analysis.figures.swap import draw_swap_audit

__all__ = [
    "draw_abstention",
    "draw_accuracy",
    "draw_calibration",
    "draw_cascade_frontier",
    "draw_comparisons",
    "draw_learning_curve",
    "draw_learning_curves",
    "draw_length_bias",
    "draw_reliability",
    "draw_slices",
    "draw_swap_audit",
]
