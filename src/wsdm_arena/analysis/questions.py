"""What the report asks, and how to read the answers; the same in every report."""

QUESTIONS = {
    "accuracy": (
        "How good?",
        "Each dot is the share of battles in which a judge gives the higher probability to the answer that people "
        "preferred; the line through it is where the share would lie if other prompts had been drawn. Guessing gets "
        "half of them. Grey rules use no language model. Where voters are simulated, the ceiling is what knowing their "
        "minds would give. Hollow marks and the word 'seen' stand for judges that were trained on these very battles: "
        "their score proves nothing, and no sentence on this page counts on it.",
    ),
    "slices": (
        "For whom?",
        "The same accuracy for parts of the battles, one way of cutting at a time. The number beside each name counts "
        "battles: few battles make a wide line, and one of twenty parts looks special by chance alone. At first each "
        "judge's best honest training is shown; click a name in the legend to bring in others.",
    ),
    "calibration": (
        "Can its probabilities be trusted?",
        "Battles are grouped by how sure the judge is. If it says 80%, it should be right in 80%: on the diagonal. "
        "Below the diagonal it is too sure of itself. One number, the temperature, mends what can be mended; it is "
        "fitted on one half of the held-out prompts, and the coloured line shows the other half. ECE is the mean "
        "distance from the diagonal; chance alone keeps it above zero.",
    ),
    "swap": (
        "Does the order matter?",
        "Every pair is read twice, with either answer first. The left panel counts verdicts that change with the "
        "order, the right one says how far the probability of an answer moves with it: not at all for a judge to whom "
        "the order means nothing. All other figures average the two readings.",
    ),
    "length": (
        "Does it like long answers?",
        "People like longer answers a little, so a judge may, too; it should not more than they do. Above: how often "
        "people (black) and judges prefer answer A, by how much longer it is. Below: a judge that falls for length "
        "is right where the longer answer won (filled) and wrong where the shorter one did (hollow).",
    ),
    "abstention": (
        "When should it abstain?",
        "A judge that may say that it does not know about battles it is least sure of makes fewer errors on the rest. "
        "Read from the right: at 100% it answers everything, further left only what it is surest of. The lower the "
        "line, the better it knows what it does not know.",
    ),
    "cascades": (
        "What does a second judge buy?",
        "In a cascade the first judge reads every pair, the second one only those of which the first is least sure. "
        "From left to right it reads more of them; the star marks the threshold in use. The band is the interval of "
        "each point; all points share their battles, so that differences along a line are surer than it looks.",
    ),
    "comparisons": (
        "Which differences are real?",
        "Two judges are compared on the very same battles, which tells more than two intervals side by side. A dot is "
        "the difference in accuracy; filled ones are real after allowing for the number of pairs tested (McNemar's "
        "exact test, or Student's t over prompts where some are asked twice; false discovery rate 5%), in the colour "
        "of the better judge. Judges that have seen the battles are not compared.",
    ),
    "training": (
        "How did training go?",
        "The loss should fall and settle. Faint dots are what was logged, lines their moving average. Losses of "
        "different stages are not to be compared: labels of pretraining are probabilities, those of battles are votes.",
    ),
    "data": (
        "What was it trained on?",
        "Rows are pairs of answers. Bars show the most frequent languages and sources of each table.",
    ),
}
"""What is asked, and how to read the answer; by anchor."""
