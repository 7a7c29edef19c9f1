"""Judge files of any number of rows: ``python -m wsdm_arena judge`` as a function.

The inputs are read once before the judges are loaded, once for each judge, and once more when verdicts are written.
"""

import logging
import time
from collections.abc import Sequence
from pathlib import Path

from wsdm_arena.judging.exported import check_options, open_bundles, resolve_weights
from wsdm_arena.judging.files.parts_directory import PartsDirectory
from wsdm_arena.judging.files.readings import FileOptions, FileWork
from wsdm_arena.judging.files.report import FileSummary
from wsdm_arena.judging.files.request import Inputs
from wsdm_arena.judging.files.verdict_table import VerdictTable
from wsdm_arena.judging.reading import Budget

__all__ = ["FileOptions", "judge_files"]

logger = logging.getLogger(__name__)


def judge_files(
    bundles: Sequence[str | Path], inputs: Inputs, output: Path, options: FileOptions, *, began: float | None = None
) -> FileSummary:
    """Judge every row of the files and write a verdict for each.

    When the time is over, rows that not all judges have read are decided by those that have. In a cascade, rows that
    the second judge was still to read keep the first one's verdict, and of rows that nobody read the longer answer
    wins; without a cascade these have none. Parts are read in the order of the files, within a part the longest pairs
    first (the second judge of a cascade: the most uncertain first). What was read is kept then: called again,
    judges go on where the clock stopped them, and the output is replaced.

    Args:
        bundles: Directories of bundles.
        inputs: Of :func:`~wsdm_arena.judging.files.request.examine_inputs`.
        output: A file whose suffix says the format; replaced if it is there. ``<output>.report.json`` lists rows.
        options: How.
        began: When the time began to run, on ``time.monotonic``; None: now.

    Raises:
        BundleError: A bundle is half written, damaged, or of another version or prompt than it says.
        JudgeError: Bundles and options do not go together, or a judge gives no finite logits for more than 1 % of the
            rows that it reads.
        CascadeError: The threshold of a cascade is out of range.
        FileJudgingError: Another command for this output was begun, or an input was changed meanwhile.
        DirectoryInUseError: Another process is writing this output.
    """
    start = time.monotonic() if began is None else began
    budget = Budget(time.monotonic, options.time_budget_s, start)
    judges = open_bundles(bundles, verify_checksums=options.verify_checksums)
    weights = resolve_weights(judges, options.weights)
    check_options(judges, weights, cascade=options.cascade, threshold=options.threshold, orders=tuple(options.orders))
    work = FileWork(judges, weights, inputs, options, budget, PartsDirectory(output))
    if options.cascade and options.calibrated:
        logger.info("a cascade decides by uncalibrated probabilities, and states them so")
    with work.directory.begin(work.describe(), restart=options.restart) as is_resumed:
        if is_resumed:
            logger.info("%s: going on with what an earlier command has left", work.directory.path)
        for number in range(len(judges)):
            work.let_read(number)
        summary = VerdictTable(work).write(output, lambda: time.monotonic() - start)
        if work.is_done:
            work.directory.remove()
    return summary
