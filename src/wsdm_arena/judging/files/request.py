"""What a command is to judge: files and options, looked at before any weight is read. Needs no torch."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from wsdm_arena.errors import UserError
from wsdm_arena.preferences.raw_rows import EmptyTableError, FileSurvey, RawTableError, replace_surrogates, survey_file
from wsdm_arena.preferences.raw_tables import TEXT_COLUMNS, explain_missing, find_files
from wsdm_arena.runs.fingerprint import file_digest

OUTPUT_SUFFIXES = (".parquet", ".csv", ".jsonl")
_REPORT = ".report.json"


class FileJudgingError(UserError, ValueError):
    """Files that cannot be judged, or an output that cannot be written; nothing was judged."""


@dataclass(frozen=True)
class InputFile:
    """A file of pairs, as it was when the command began.

    Attributes:
        path: Absolute.
        survey: What it holds.
        size: Bytes.
        modified_ns: When it was written last.
        digest: Hash of its bytes.
    """

    path: Path
    survey: FileSurvey
    size: int
    modified_ns: int
    digest: str

    @classmethod
    def examine(cls, path: Path) -> "InputFile":
        """Read a file once or twice, whole, without keeping it.

        Raises:
            RawTableError: It is unreadable, of an unknown format or empty.
        """
        try:
            status = path.stat()
            return cls(path, survey_file(path, TEXT_COLUMNS), status.st_size, status.st_mtime_ns, file_digest(path))
        except OSError as error:
            raise RawTableError(f"{path}: cannot be read: {error.strerror or error}") from error

    @property
    def name(self) -> str:
        """The path as messages and tables can hold it: bytes that are no text are U+FFFD."""
        return replace_surrogates(str(self.path))

    def require_unchanged(self) -> None:
        """Refuse to go on with a file that somebody has written to meanwhile.

        Raises:
            FileJudgingError: Its size or time is another.
        """
        status = self.path.stat()
        if (status.st_size, status.st_mtime_ns) != (self.size, self.modified_ns):
            raise FileJudgingError(
                f"{self.path} was changed while it was judged; give the command again with --restart"
            )


@dataclass(frozen=True)
class Inputs:
    """The files of one command.

    Attributes:
        files: Those that are judged, in the order given.
        left_out: Of the others, why they are not.
    """

    files: tuple[InputFile, ...]
    left_out: dict[str, str]

    @property
    def num_rows(self) -> int:
        """Of all files that are judged."""
        return sum(file.survey.num_rows for file in self.files)

    @property
    def has_ids(self) -> bool:
        """Whether a file has a column ``id``."""
        return any("id" in file.survey.columns for file in self.files)

    def describe(self) -> list[dict[str, str | int]]:
        """Name, size and digest of each file that is judged, as JSON."""
        return [{"path": str(file.path), "size": file.size, "digest": file.digest} for file in self.files]


def examine_inputs(specs: Sequence[str], output: Path) -> Inputs:
    """Find the files, make sure that the output can be written and is none of them, and survey them.

    Of directories and patterns, this and any other command's output and report are no part.

    Args:
        specs: Files, directories or patterns.
        output: Where verdicts are to go.

    Raises:
        FileJudgingError: The output cannot be written, or is an input.
        RawTableError: A file is unreadable or of an unknown format, or none holds rows and the columns of a pair.
    """
    check_output(output)
    named = {os.path.realpath(Path(spec).expanduser()) for spec in specs if Path(spec).expanduser().is_file()}
    kept: list[InputFile] = []
    left_out: dict[str, str] = {}
    for path in find_files(list(specs)):
        name, is_named = replace_surrogates(str(path)), os.path.realpath(path) in named
        if os.path.realpath(path) == os.path.realpath(output):
            if is_named:
                raise FileJudgingError(f"{output} is one of the files to judge; name another output (-o)")
        elif not is_named and _is_of_a_command(path):
            left_out[name] = f"{name}: another command of judge has written it; to have it judged, name the file itself"
        else:
            try:
                file = InputFile.examine(path)
                reason = _why_left_out(file)
            except EmptyTableError as error:
                reason = replace_surrogates(str(error))
            if reason is None:
                kept.append(file)
            else:
                left_out[name] = reason
    own_report = replace_surrogates(str(report_path(output).absolute()))
    reasons = [reason for name, reason in left_out.items() if name != own_report]
    if not kept:
        raise RawTableError("; ".join(reasons) or f"{', '.join(specs)}: there is no table but the output")
    return Inputs(tuple(kept), {name: reason for name, reason in left_out.items() if name != own_report})


def report_path(output: Path) -> Path:
    """Where the report of an output lies."""
    return output.with_name(f"{output.name}{_REPORT}")


def _is_of_a_command(path: Path) -> bool:
    """Whether a file is an output with its report beside it, or that report."""
    if path.name.endswith(_REPORT):
        return path.with_name(path.name.removesuffix(_REPORT)).suffix.lower() in OUTPUT_SUFFIXES
    return report_path(path).is_file()


def check_output(output: Path) -> None:
    """Make sure that verdicts can be written.

    Raises:
        FileJudgingError: They cannot; the message says why.
    """
    if output.suffix.lower() not in OUTPUT_SUFFIXES:
        raise FileJudgingError(
            f"{output}: verdicts are written as {', '.join(OUTPUT_SUFFIXES)}; give the output (-o) such a name"
        )
    folder = output.absolute().parent
    if not folder.is_dir():
        raise FileJudgingError(f"{output}: there is no folder {folder}; make it, or name another output (-o)")
    if output.is_dir():
        raise FileJudgingError(f"{output} is a directory; name a file (-o)")
    if not os.access(folder, os.W_OK):
        raise FileJudgingError(f"{output}: nothing can be written into {folder}; name another output (-o)")


def _why_left_out(file: InputFile) -> str | None:
    survey = file.survey
    if survey.missing:
        return explain_missing(file.name, survey.columns, TEXT_COLUMNS)
    if not survey.num_readable:
        kind = file.path.suffix[1:]
        return f"{file.name}: no row can be read as a pair in {kind}; the first: {survey.first_fault}"
    return None
