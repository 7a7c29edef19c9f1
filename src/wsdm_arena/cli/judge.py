"""``python -m wsdm_arena judge``: verdicts for files of pairs, without a Kedro project."""

import logging
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wsdm_arena.cli.console import stop_resumable
from wsdm_arena.errors import UserError

if TYPE_CHECKING:
    from wsdm_arena.judging.files.report import FileSummary


@click.command(name="judge", no_args_is_help=True, context_settings={"max_content_width": 120})
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    metavar="PATH",
    help="Where verdicts go: .parquet, .csv or .jsonl. A file that is there is replaced when all is done.",
)
@click.option(
    "-b",
    "--bundle",
    "bundles",
    multiple=True,
    required=True,
    metavar="DIR",
    help="Directory of an exported judge. Give it again for a second one: their probabilities are averaged.",
)
@click.option(
    "-w",
    "--weight",
    "weights",
    multiple=True,
    type=float,
    help="Of a judge in the average or the cascade, once for each --bundle and in their order.  [default: 1]",
)
@click.option(
    "--cascade",
    is_flag=True,
    help="Two bundles share the work: the first reads every pair as it stands, the second, with the answers "
    "exchanged, only those whose winner it can still change. Probabilities are not calibrated then, and the winner is "
    "never a tie.",
)
@click.option(
    "--threshold",
    type=float,
    metavar="D",
    help="Of the cascade: the second judge reads pairs with |p_a - p_b| of the first below D.  "
    "[default: weight 2 / weight 1, beyond which it cannot change the winner]",
)
@click.option(
    "--orders",
    type=click.Choice(["ab,ba", "ab", "ba"]),
    default="ab,ba",
    show_default=True,
    help="Read every pair as it stands (ab), with the answers exchanged (ba), or both and average.",
)
@click.option(
    "--uncalibrated",
    is_flag=True,
    help="Leave the bundle's temperature aside: probabilities as sure as the judge's logits.",
)
@click.option(
    "--time-budget",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="For the whole command. When it ends, rows are decided by the judges that have read them; rows that "
    "none has read have no verdict (in a cascade the longer answer wins).",
)
@click.option(
    "--device",
    "devices",
    multiple=True,
    metavar="NAME",
    help="cpu, cuda, cuda:1 ...; given several times, a judge's layers are split over them.  "
    "[default: the first GPU, else the CPU]",
)
@click.option(
    "--dtype",
    type=click.Choice(["auto", "float16", "bfloat16", "float32"]),
    default="auto",
    show_default=True,
    help="Of weights and activations; auto: bfloat16 or float16 on GPUs, float32 on CPUs.",
)
@click.option(
    "--attention",
    type=click.Choice(["auto", "flash_attention", "varlen", "flex", "segments"]),
    default="auto",
    show_default=True,
    help="Kernel; auto takes the fastest that this machine has.",
)
@click.option(
    "--max-tokens-per-batch",
    type=click.IntRange(min=1),
    default=8_192,
    show_default=True,
    help="Packed tokens of a micro-batch; less takes less memory.",
)
@click.option(
    "--rows-per-part",
    type=click.IntRange(min=1),
    default=1_000,
    show_default=True,
    help="Rows that are read between two writes: what a killed command loses, and how many texts are in "
    "memory together.",
)
@click.option(
    "--keep-columns/--no-keep-columns",
    default=False,
    show_default=True,
    help="Copy the input's own columns into the output, as texts.",
)
@click.option(
    "--verify",
    is_flag=True,
    help="Compare checksums of bundles of any size with their manifests; by default of those up to 2 GiB.",
)
@click.option("--restart", is_flag=True, help="Drop what an earlier command for the same output has left.")
@click.option("-v", "--verbose", is_flag=True, help="Show the log, too.")
def judge(files: tuple[str, ...], output: Path, **options: Any) -> None:
    """Say which of two answers people would prefer, for every row of FILES.

    A FILE is a table, a folder of tables or a quoted pattern: .parquet, .csv, .tsv, or JSON lines (.jsonl, .ndjson,
    .json; a file that is one JSON list is read whole). Its columns prompt, response_a and response_b are judged; id is
    copied. Memory does not grow with the number of rows.

    \b
    The output has a row for every row of the input:
      file, row, id      where the row comes from
      winner             model_a, model_b or, of judges that know ties, tie
      probability_a ...  that people prefer A, B or neither
      swap_gap           how far probability_a moved when the answers changed places; 0 is best
      truncated          whether something was cut out of the texts
      decided_by         of several judges: which have read the row; and probability_a.<judge> ...: what each says
      fault              why there is no verdict; empty where there is one
    Rows without a verdict are counted and listed in <output>.report.json. A file without the needed columns is left
    out and listed, if another can be judged.

    Stopped or killed, the same command goes on where it was: until the output is written, what is done is kept in
    <output>.parts.

    \b
    Examples:
      python -m wsdm_arena judge --bundle bundles/gemma battles.parquet -o verdicts.parquet
      python -m wsdm_arena judge -b bundles/gemma -b bundles/llama -w 2.5 -w 1 --cascade more/*.csv -o verdicts.csv
    """  # noqa: D301 (click's \b, which is no escape of Python's to be doubled)
    began = time.monotonic()
    _configure_logging(verbose=options.pop("verbose"))
    try:
        summary = _judge(files, output, began, **options)
    except (UserError, OSError) as error:
        raise click.ClickException(str(error)) from None
    except RuntimeError as error:
        if type(error).__name__ != "OutOfMemoryError":  # torch's, which is not imported here
            raise
        raise click.ClickException(
            f"a GPU's memory does not suffice: lower --max-tokens-per-batch (now {options['max_tokens_per_batch']}) or "
            "split the judge over several GPUs (--device cuda:0 --device cuda:1). Finished parts are kept"
        ) from None
    except KeyboardInterrupt:
        stop_resumable()
    for reason in summary.left_out.values():
        click.echo(f"Warning: left out: {reason}", err=True)
    click.echo(summary.to_line())


def _judge(files: tuple[str, ...], output: Path, began: float, **options: Any) -> "FileSummary":
    from wsdm_arena.judging.bundle_places import require_bundles
    from wsdm_arena.judging.files.request import examine_inputs

    require_bundles(options["bundles"])
    inputs = examine_inputs(files, output)  # before torch is loaded, which takes seconds

    from wsdm_arena.judging.exported import Placement
    from wsdm_arena.judging.files.judging import FileOptions, judge_files

    placement = Placement(
        devices=options["devices"] or ("auto",),
        dtype=options["dtype"],
        attention=options["attention"],
        max_tokens_per_batch=options["max_tokens_per_batch"],
    )
    chosen = FileOptions(
        weights=options["weights"] or None,
        cascade=options["cascade"],
        threshold=options["threshold"],
        orders=tuple(options["orders"].split(",")),
        calibrated=not options["uncalibrated"],
        placement=placement,
        rows_per_part=options["rows_per_part"],
        time_budget_s=options["time_budget"],
        keep_columns=options["keep_columns"],
        verify_checksums=True if options["verify"] else None,
        restart=options["restart"],
    )
    return judge_files(options["bundles"], inputs, output, chosen, began=began)


def _configure_logging(*, verbose: bool) -> None:
    """Warnings, and how far the work is where there is no terminal; everything if asked."""
    logging.basicConfig(format="%(message)s", level=logging.INFO if verbose else logging.WARNING, stream=sys.stderr)
    for name in ("wsdm_arena.progress", "wsdm_arena.judging.files.judging"):
        logging.getLogger(name).setLevel(logging.INFO)
