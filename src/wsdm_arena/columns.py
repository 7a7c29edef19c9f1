"""Names and values that tables share."""

LABEL_COLUMNS = ("probability_a", "probability_b", "probability_tie")
"""One a class; tables without ties have the first two."""
ORDERS = ("ab", "ba")
"""In which a pair's answers are shown: as the table has them, or exchanged."""
