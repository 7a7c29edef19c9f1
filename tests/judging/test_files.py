"""Files of any format get the verdicts that a Judge gives, through kills, faults and clocks."""

import json
import os
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.judging.tiny_bundles import odd_pairs, plain_pairs
from wsdm_arena import Judge
from wsdm_arena.columns import ORDERS
from wsdm_arena.judging.exported import ExportedJudge, JudgeError, Placement
from wsdm_arena.judging.files.judging import FileOptions, judge_files
from wsdm_arena.judging.files.parts_directory import PartsDirectory
from wsdm_arena.judging.files.report import FileReport, FileSummary
from wsdm_arena.judging.files.request import FileJudgingError, examine_inputs
from wsdm_arena.judging.files.verdict_table import VerdictTable
from wsdm_arena.judging.reading import Budget
from wsdm_arena.preferences import raw_rows
from wsdm_arena.preferences.raw_rows import read_frame
from wsdm_arena.preferences.raw_tables import RawTableError

TWO = ["probability_a", "probability_b"]


class Desk:
    """Files to be judged, and what came of them."""

    def __init__(self, bundles: Path, folder: Path) -> None:
        self.bundles, self.folder = bundles, folder
        self.output = folder / "verdicts.parquet"

    def judge(self, *files: Path, names: tuple[str, ...] = ("gemma",), **options: Any) -> FileSummary:
        began = options.pop("began", None)
        inputs = examine_inputs([str(file) for file in files], self.output)
        return judge_files(
            [self.bundles / name for name in names], inputs, self.output, FileOptions(**options), began=began
        )

    @property
    def verdicts(self) -> pd.DataFrame:
        return pd.read_parquet(self.output)

    @property
    def report(self) -> dict[str, Any]:
        return json.loads((self.folder / f"{self.output.name}.report.json").read_text())

    @property
    def parts(self) -> Path:
        return self.folder / f"{self.output.name}.parts"

    def write(self, pairs: pd.DataFrame, name: str = "pairs.jsonl") -> Path:
        path = self.folder / name
        match path.suffix:
            case ".parquet":
                pairs.to_parquet(path)
            case ".csv" | ".tsv":
                pairs.to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")
            case _:
                path.write_text("\n".join(json.dumps(row) for row in pairs.to_dict("records")))
        return path


@pytest.fixture
def desk(bundles, tmp_path) -> Desk:
    return Desk(bundles, tmp_path)


@pytest.fixture(scope="module")
def expected(bundles) -> pd.DataFrame:
    """What a Judge says of the odd pairs."""
    with Judge.load(bundles / "gemma") as judge:
        return judge.compare_many(odd_pairs())


@pytest.fixture
def loads(monkeypatch) -> list[str]:
    """Names of judges that were loaded, and of those that were freed with a minus before them."""
    log: list[str] = []
    opened = ExportedJudge.open

    @contextmanager
    def remember(judge: ExportedJudge, placement: Any) -> Any:
        log.append(judge.name)
        with opened(judge, placement) as reader:
            yield reader
        log.append(f"-{judge.name}")

    monkeypatch.setattr(ExportedJudge, "open", remember)
    return log


@pytest.fixture
def dies_after(monkeypatch):
    """How to let the process die when it has kept so many parts."""
    write = PartsDirectory.write

    def arrange(number: int) -> None:
        left = number

        def die(directory: PartsDirectory, *args: Any, **options: Any) -> None:
            nonlocal left
            if not left:
                raise KeyboardInterrupt
            left -= 1
            write(directory, *args, **options)

        monkeypatch.setattr(PartsDirectory, "write", die)

    yield arrange
    monkeypatch.setattr(PartsDirectory, "write", write)


def assert_same_verdicts(
    table: pd.DataFrame, other: pd.DataFrame, columns: tuple[str, ...] = (*TWO, "swap_gap")
) -> None:
    assert table["winner"].tolist() == other["winner"].tolist()
    np.testing.assert_allclose(table[list(columns)], other[list(columns)], rtol=0, atol=1e-6)
    assert table["truncated"].tolist() == other["truncated"].tolist()


@pytest.mark.parametrize("rows_per_part", [1, 7, 1_000])
def test_a_file_gets_the_verdicts_of_a_judge_in_parts_of_any_size(rows_per_part, desk, expected):
    summary = desk.judge(desk.write(odd_pairs()), rows_per_part=rows_per_part)
    assert_same_verdicts(desk.verdicts, expected)
    assert desk.verdicts["row"].tolist() == list(range(1, 37))
    assert desk.verdicts["id"].tolist() == odd_pairs()["id"].tolist()
    assert desk.verdicts["fault"].isna().all()
    assert list(desk.verdicts) == ["file", "row", "id", "winner", *TWO, "swap_gap", "truncated", "fault"]
    assert summary.num_rows == 36
    assert sum(summary.winners.values()) == 36
    assert not desk.parts.exists()
    assert desk.report["summary"] == summary.to_line()
    assert desk.report["repaired"]["prompt: what is not UTF-8 replaced by U+FFFD"] == 1
    assert "repaired: prompt: what is not UTF-8 replaced by U+FFFD (1 rows)" in desk.report["summary"]


@pytest.mark.parametrize("suffix", ["parquet", "csv", "tsv", "json", "ndjson"])
def test_every_format_is_read(suffix, desk, bundles):
    with Judge.load(bundles / "gemma") as judge:
        expected = judge.compare_many(plain_pairs(12))
    desk.judge(desk.write(plain_pairs(12), f"pairs.{suffix}") if suffix != "json" else as_list(desk), rows_per_part=5)
    assert_same_verdicts(desk.verdicts, expected)


def as_list(desk: Desk) -> Path:
    path = desk.folder / "pairs.json"
    path.write_text(json.dumps(plain_pairs(12).to_dict("records")))
    return path


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_every_format_is_written_with_all_digits(suffix, desk, expected):
    desk.output = desk.folder / f"verdicts{suffix}"
    desk.judge(desk.write(odd_pairs()), keep_columns=True)
    table = pd.read_csv(desk.output) if suffix == ".csv" else pd.read_json(desk.output, lines=True, precise_float=True)
    assert_same_verdicts(table, expected)
    if suffix == ".jsonl":
        rows = [json.loads(line) for line in desk.output.read_text().split("\n") if line]
        assert rows[1]["fault"] is None
        assert rows[0]["prompt"] == ""
        assert rows[6]["prompt"] == "\x00 a null byte"


UGLY = ["a\rb", "\r", "a\nb", "a\r\nb", 'say "x"', "a,b;c\td", "a\x00b", "", " ", "\u2028", "'", "\\", "NA"]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_ids_and_kept_texts_come_back_as_they_were(suffix, desk):
    desk.output = desk.folder / f"verdicts{suffix}"
    pairs = pd.DataFrame(dict.fromkeys(("id", "prompt", "response_a", "response_b", "note"), UGLY), dtype=object)
    desk.judge(desk.write(pairs), keep_columns=True, rows_per_part=5)
    table = read_frame(desk.output)
    assert table["_fault"].isna().all()
    for name in ("prompt", "response_a", "response_b", "note"):
        assert table[name].tolist() == UGLY
    assert [name or None for name in table["id"].fillna("")] == [name if name.strip() else None for name in UGLY]
    if suffix == ".csv":
        content = desk.output.read_bytes()
        assert content.startswith(b"file,row,id,winner,")
        assert content.split(b"\n")[0][-1:] != b"\r"


def test_own_columns_are_kept_as_texts_under_names_of_their_own(desk):
    pairs = plain_pairs(4).assign(winner="model_b", turns=[1, 2, 3, 4], tags=[["x"], None, [], ["y", "z"]])
    desk.judge(desk.write(pairs), keep_columns=True)
    table = desk.verdicts
    assert table["input_winner"].tolist() == ["model_b"] * 4
    assert table["turns"].tolist() == ["1", "2", "3", "4"]
    assert table["tags"].fillna("nothing").tolist() == ['["x"]', "nothing", "[]", '["y", "z"]']
    assert table["prompt"].tolist() == pairs["prompt"].tolist()


def test_kept_columns_find_names_that_nobody_has(desk):
    names = ["file", "input_file", "row", "winner", "input_winner", "input_input_winner"]
    pairs = plain_pairs(4).assign(**{name: f"my {name}" for name in names})
    desk.judge(desk.write(pairs), keep_columns=True)
    table = desk.verdicts
    assert table["row"].tolist() == [1, 2, 3, 4]
    written = {"file": "input_input_file", "row": "input_row", "winner": "input_input_input_winner"}
    for name in names:
        assert table[written.get(name, name)].tolist() == [f"my {name}"] * 4


@pytest.mark.filterwarnings("error::pandas.errors.PerformanceWarning")
def test_many_columns_are_kept(desk):
    many = pd.DataFrame({f"column {number}": [str(number)] * 4 for number in range(150)})
    desk.judge(desk.write(pd.concat([plain_pairs(4), many], axis=1)), keep_columns=True)
    pd.testing.assert_frame_equal(desk.verdicts[list(many)], many)


def test_names_that_are_no_text_are_judged_and_listed(desk):
    folder = Path(os.fsdecode(os.fsencode(desk.folder) + b"/in\xff"))
    folder.mkdir()
    (folder / "pairs.jsonl").write_text(
        '{"prompt": "p", "response_a": "a", "response_b": "b", "note\\ud83d": 1}\n{"prompt": 1}\n'
    )
    (folder / "other.csv").write_text("a\n1\n")
    desk.output = folder / "verdicts.csv"
    summary = desk.judge(folder, keep_columns=True)
    table = pd.read_csv(desk.output)
    shown = f"{desk.folder}/in\ufffd"
    assert table["file"].tolist() == [f"{shown}/pairs.jsonl"] * 2
    assert table["note\ufffd"].tolist()[0] == 1
    report = json.loads((folder / "verdicts.csv.report.json").read_text(encoding="utf-8"))
    assert list(report["files_left_out"]) == [f"{shown}/other.csv"]
    assert report["output"] == f"{shown}/verdicts.csv"
    summary.to_line().encode()


def test_a_killed_command_goes_on_where_it_was(desk, expected, dies_after, loads):
    file = desk.write(odd_pairs())
    dies_after(3)
    with pytest.raises(KeyboardInterrupt):
        desk.judge(file, rows_per_part=7)
    assert not desk.output.exists()
    assert {path.name for path in desk.parts.glob("*.npz")} == {f"0-00000{part}.npz" for part in range(3)}
    dies_after(100)
    summary = desk.judge(file, rows_per_part=7)
    assert summary.num_rows_read_now == {"gemma": 36 - 3 * 7}
    assert_same_verdicts(desk.verdicts, expected)
    assert loads == ["gemma", "gemma", "-gemma"]


def test_what_was_read_before_a_kill_is_not_loaded_for(desk, expected, monkeypatch, loads):
    file = desk.write(odd_pairs())
    with monkeypatch.context() as patched:
        patched.setattr("wsdm_arena.judging.files.verdict_table.VerdictTable.write", broken_disk)
        with pytest.raises(OSError, match="disk"):
            desk.judge(file)
    loads.clear()
    assert desk.judge(file).num_rows_read_now == {}
    assert loads == []
    assert_same_verdicts(desk.verdicts, expected)


def broken_disk(*_: Any) -> None:
    raise OSError("no space on the disk")


def test_a_damaged_part_is_read_again(desk, expected, dies_after, caplog):
    file = desk.write(odd_pairs())
    dies_after(3)
    with pytest.raises(KeyboardInterrupt):
        desk.judge(file, rows_per_part=7)
    (desk.parts / "0-000001.npz").write_bytes(b"PK noise")
    dies_after(100)
    assert desk.judge(file, rows_per_part=7).num_rows_read_now == {"gemma": 36 - 2 * 7}
    assert "0-000001.npz cannot be read and is made again" in caplog.text
    assert_same_verdicts(desk.verdicts, expected)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"orders": ("ab",)}, "orders"),
        ({"calibrated": False}, "calibrated"),
        ({"rows_per_part": 5}, "rows_per_part"),
        ({"names": ("llama",)}, "bundles, weights"),
        ({"placement": Placement(dtype="bfloat16")}, "dtype"),
        ({"pairs": 30}, "inputs"),
    ],
)
def test_another_command_for_the_same_output_is_refused_unless_told_to_restart(change, named, desk, dies_after):
    dies_after(1)
    with pytest.raises(KeyboardInterrupt):
        desk.judge(desk.write(odd_pairs()), rows_per_part=7)
    dies_after(100)
    file = desk.write(odd_pairs(change.pop("pairs", 36)))
    options = {"rows_per_part": 7} | change
    with pytest.raises(FileJudgingError, match=rf"{named} differ.*--restart"):
        desk.judge(file, **options)
    summary = desk.judge(file, **options, restart=True)
    assert sum(summary.num_rows_read_now.values()) == summary.num_rows


def test_a_command_that_failed_before_the_first_part_leaves_no_claim(desk, dies_after):
    file = desk.write(odd_pairs())
    dies_after(0)
    with pytest.raises(KeyboardInterrupt):
        desk.judge(file)
    assert (desk.parts / "request.json").is_file()
    dies_after(100)
    desk.judge(file, orders=("ba",))
    assert desk.verdicts["swap_gap"].isna().all()


def test_what_a_removal_cut_short_has_left_is_not_taken_for_anothers_readings(desk, dies_after, monkeypatch):
    file = desk.write(odd_pairs())
    dies_after(3)
    with pytest.raises(KeyboardInterrupt):
        desk.judge(file, rows_per_part=7)
    dies_after(100)
    (desk.parts / "request.json").unlink()
    summary = desk.judge(file, names=("llama",), rows_per_part=7)
    assert summary.num_rows_read_now == {"llama": 36}
    read = desk.verdicts
    desk.judge(file, names=("llama",), rows_per_part=7)
    pd.testing.assert_frame_equal(read, desk.verdicts)


def test_the_request_is_removed_after_all_readings(desk, monkeypatch):
    removed: list[str] = []
    unlink = Path.unlink

    def remember(path: Path, *args: Any, **options: Any) -> None:
        if path.parent == desk.parts and path.suffix in (".npz", ".json") and path.exists():
            removed.append(path.suffix)
        unlink(path, *args, **options)

    monkeypatch.setattr(Path, "unlink", remember)
    desk.judge(desk.write(odd_pairs()), rows_per_part=7)
    assert removed == [".npz"] * 6 + [".json"]
    assert not desk.parts.exists()


def test_a_reading_of_another_request_is_read_again(desk, dies_after, caplog):
    file = desk.write(odd_pairs())
    dies_after(3)
    with pytest.raises(KeyboardInterrupt):
        desk.judge(file, rows_per_part=7)
    stranger = (desk.parts / "0-000001.npz").read_bytes()
    dies_after(3)
    with pytest.raises(KeyboardInterrupt):
        desk.judge(file, names=("llama",), rows_per_part=7, restart=True)
    (desk.parts / "0-000001.npz").write_bytes(stranger)
    dies_after(100)
    assert desk.judge(file, names=("llama",), rows_per_part=7).num_rows_read_now == {"llama": 36 - 2 * 7}
    assert "0-000001.npz belongs to another command and is made again" in caplog.text


def test_every_entry_of_the_request_keeps_another_command_from_its_readings(tmp_path):
    request = {"format": 1, "bundles": ["x"], "weights": {"x": 1.0}, "dtype": "torch.float32", "threshold": None}
    directory = PartsDirectory(tmp_path / "v.csv")
    for name in request:
        with directory.begin(request, restart=True):
            directory.write(0, 0, {"logits": np.zeros(3)}, is_complete=True)
        with (
            pytest.raises(FileJudgingError, match=f"; {name} differ"),
            directory.begin(request | {name: "other"}, restart=False),
        ):
            pass


def test_a_file_that_changes_meanwhile_is_refused(desk, monkeypatch):
    file = desk.write(odd_pairs())
    inputs = examine_inputs([str(file)], desk.output)
    file.write_text(file.read_text() + "\n")
    with pytest.raises(FileJudgingError, match="was changed while it was judged"):
        judge_files([desk.bundles / "gemma"], inputs, desk.output, FileOptions())


@pytest.mark.parametrize("num_left", [35, 28, 20, 0])
def test_a_file_that_loses_rows_while_verdicts_are_written_makes_no_output(num_left, desk, monkeypatch):
    file = desk.write(odd_pairs())
    write = VerdictTable.write

    def shrink(table: VerdictTable, *args: Any) -> FileSummary:
        lines = file.read_bytes().split(b"\n")
        status = file.stat()
        file.write_bytes(b"\n".join(lines[:num_left]).ljust(status.st_size))
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))  # such as a disk without fine times
        return write(table, *args)

    monkeypatch.setattr(VerdictTable, "write", shrink)
    with pytest.raises(FileJudgingError, match=r"pairs\.jsonl has lost rows while it was judged"):
        desk.judge(file, rows_per_part=7)
    assert not desk.output.exists()


def test_a_file_that_changes_while_verdicts_are_written_makes_no_output(desk, monkeypatch):
    file = desk.write(odd_pairs())
    add = FileReport.add

    def rewrite(report: FileReport, *args: Any) -> None:
        file.write_bytes(file.read_bytes() + b"\n")
        add(report, *args)

    monkeypatch.setattr(FileReport, "add", rewrite)
    with pytest.raises(FileJudgingError, match="was changed while it was judged"):
        desk.judge(file)
    assert not desk.output.exists()


@pytest.mark.parametrize("rows_per_part", [1, 3])
def test_rows_that_cannot_be_read_stand_in_the_output_and_in_the_report(rows_per_part, desk, expected):
    lines = [json.dumps(row) for row in odd_pairs().to_dict("records")]
    lines[2:2] = ["{broken", '{"id": "short", "prompt": "p"}']
    (desk.folder / "pairs.jsonl").write_text("\n".join(lines))
    summary = desk.judge(desk.folder / "pairs.jsonl", rows_per_part=rows_per_part)
    table = desk.verdicts
    assert len(table) == 38
    unread = table["fault"].notna()
    assert np.flatnonzero(unread).tolist() == [2, 3]
    assert table["id"][3] == "short"
    assert table.loc[unread, ["winner", *TWO]].isna().to_numpy().all()
    assert "no 'response_a' or 'response_b'" in table["fault"][3]
    assert_same_verdicts(table[~unread].reset_index(drop=True), expected)
    assert summary.without_verdict == {"the row cannot be read": 2}
    assert [(row["row"], row["outcome"]) for row in desk.report["rows"] if row["outcome"] == "no verdict"] == [
        (3, "no verdict"), (4, "no verdict"),
    ]  # fmt: skip
    assert "36 of 38 rows judged" in summary.to_line()


def test_a_file_without_the_columns_is_left_out_if_others_can_be_judged(desk, expected):
    good = desk.write(odd_pairs())
    bad = desk.write(plain_pairs(5).rename(columns={"response_b": "respons_b"}), "bad.csv")
    summary = desk.judge(bad, good)
    assert_same_verdicts(desk.verdicts, expected)
    assert "Is 'respons_b' meant to be 'response_b'?" in summary.left_out[str(bad)]
    assert desk.report["files_left_out"] == summary.left_out
    assert f"left out: {bad}" in summary.to_line()
    with pytest.raises(RawTableError, match="Is 'respons_b' meant to be 'response_b'"):
        desk.judge(bad)


@pytest.mark.parametrize(("name", "content"), [("b.csv", ""), ("b.parquet", ""), ("b.jsonl", "\n"), ("b.csv", "a,b\n")])
def test_an_empty_file_in_a_folder_is_left_out_and_a_damaged_one_is_refused(name, content, desk, expected):
    folder = desk.folder / "in"
    folder.mkdir()
    desk.write(odd_pairs(), "in/pairs.jsonl")
    (folder / name).write_text(content)
    summary = desk.judge(folder)
    assert_same_verdicts(desk.verdicts, expected)
    assert list(summary.left_out) == [str(folder / name)]
    (folder / "damaged.parquet").write_bytes(b"PAR1")
    with pytest.raises(RawTableError, match="cannot be read as parquet"):
        desk.judge(folder)


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet", ".csv"])
@pytest.mark.parametrize("spec", ["", "*"])
def test_outputs_in_the_folder_of_the_inputs_are_not_judged(spec, suffix, desk):
    folder = desk.folder / "in"
    folder.mkdir()
    desk.write(plain_pairs(5), "in/pairs.jsonl")
    desk.output = folder / f"first{suffix}"
    for _ in range(2):
        summary = desk.judge(folder / spec, keep_columns=True)
        assert (summary.num_rows, summary.left_out) == (5, {})
    first, desk.output = desk.output, folder / f"second{suffix}"
    for _ in range(2):
        summary = desk.judge(folder / spec, keep_columns=True)
        assert summary.num_rows == 5
        assert set(summary.left_out) <= {str(first), f"{first}.report.json"}
        assert "another command of judge has written it" in summary.left_out[str(first)]
    assert desk.judge(first, keep_columns=True).num_rows == 5  # it was named
    with pytest.raises(FileJudgingError, match="is one of the files to judge"):
        desk.judge(desk.output)
    (folder / "pairs.jsonl").unlink()
    with pytest.raises(RawTableError, match="another command of judge has written it"):
        desk.judge(folder / spec)


def test_half_written_outputs_of_killed_commands_are_removed(desk):
    half = [desk.folder / f".verdicts.parquet{what}.123" for what in ("", ".report.json")]
    others = [desk.folder / name for name in (".verdicts.parquet.swp", ".verdicts.csv.123", "verdicts.parquet.123")]
    for path in (*half, *others):
        path.write_text("x")
    desk.judge(desk.write(odd_pairs(6)))
    assert not any(path.exists() for path in half)
    assert all(path.exists() for path in others)


@pytest.mark.parametrize("keep_columns", [False, True])
def test_columns_that_nobody_needs_are_not_decoded(keep_columns, desk, monkeypatch):
    decoded: set[str] = set()
    to_pandas = raw_rows._parquet_frame

    def remember(table: Any, file: Path) -> pd.DataFrame:
        decoded.update(table.column_names)
        return to_pandas(table, file)

    monkeypatch.setattr(raw_rows, "_parquet_frame", remember)
    desk.judge(desk.write(plain_pairs(6).assign(note="n"), "pairs.parquet"), keep_columns=keep_columns)
    assert decoded == {"id", "prompt", "response_a", "response_b"} | ({"note"} if keep_columns else set())


def test_several_files_are_judged_as_one_table(desk, expected):
    first, second = desk.write(odd_pairs().iloc[:10], "a.jsonl"), desk.write(odd_pairs().iloc[10:], "b.jsonl")
    desk.judge(first, second, rows_per_part=6)
    assert_same_verdicts(desk.verdicts, expected)
    assert desk.verdicts["row"].tolist() == [*range(1, 11), *range(1, 27)]
    assert desk.verdicts["file"].tolist() == [str(first)] * 10 + [str(second)] * 26


@pytest.mark.parametrize(
    ("name", "content", "output", "message"),
    [
        ("pairs.csv", "", "v.csv", "the file is empty"),
        ("pairs.xlsx", "PK", "v.csv", "unknown format"),
        ("pairs.csv", "prompt,response_a,response_b\n1,2,3\n", "v.xlsx", r"written as \.parquet, \.csv, \.jsonl"),
        ("pairs.csv", "prompt,response_a,response_b\n1,2,3\n", "nowhere/v.csv", "there is no folder"),
        ("pairs.csv", "prompt,response_a,response_b\n1,2,3\n", "pairs.csv", "is one of the files to judge"),
        ("pairs.jsonl", "{}\n[]\n", "v.csv", "no column 'prompt' or 'response_a' or 'response_b'; there are"),
        ("pairs.jsonl", '{"prompt": "x", "response_a": "y"}\n{"response_b": 1}\n', "v.csv", "no row can be read"),
    ],
)
def test_what_cannot_be_judged_is_refused_before_any_bundle_is_opened(name, content, output, message, tmp_path):
    (tmp_path / name).write_text(content)
    with pytest.raises((RawTableError, FileJudgingError), match=message):
        examine_inputs([str(tmp_path / name)], tmp_path / output)


WEIGHTS = [2.5, 1.0]


@pytest.mark.parametrize("rows_per_part", [5, 1_000])
@pytest.mark.parametrize("cascade", [False, True])
def test_several_judges_say_what_they_say_together_one_in_memory_at_a_time(
    cascade, rows_per_part, desk, bundles, loads
):
    names = ("gemma", "llama")
    with Judge.load(*(bundles / name for name in names), weights=WEIGHTS, cascade=cascade) as judge:
        expected = judge.compare_many(odd_pairs())
    loads.clear()
    desk.judge(desk.write(odd_pairs()), names=names, weights=WEIGHTS, cascade=cascade, rows_per_part=rows_per_part)
    own = [f"{column}.{name}" for name in names for column in TWO]
    assert_same_verdicts(desk.verdicts, expected, (*TWO, "swap_gap", *own))
    assert desk.verdicts["decided_by"].tolist() == expected["decided_by"].tolist()
    assert loads == ["gemma", "-gemma", "llama", "-llama"]
    assert desk.report["read_by"] == expected["decided_by"].value_counts().to_dict()


def test_a_cascade_that_is_sure_of_everything_never_loads_the_second(desk, loads):
    desk.judge(desk.write(odd_pairs()), names=("gemma", "llama"), cascade=True, threshold=0.0)
    assert loads == ["gemma", "-gemma"]
    assert set(desk.verdicts["decided_by"]) == {"gemma"}


def test_a_killed_cascade_goes_on(desk, dies_after):
    file = desk.write(odd_pairs())
    options = {"names": ("gemma", "llama"), "weights": WEIGHTS, "cascade": True, "rows_per_part": 6}
    desk.judge(file, **options)
    whole = desk.verdicts
    desk.output.unlink()
    dies_after(8)  # 6 parts of the first judge, 2 of the second
    with pytest.raises(KeyboardInterrupt):
        desk.judge(file, **options)
    dies_after(100)
    assert "gemma" not in desk.judge(file, **options).num_rows_read_now
    pd.testing.assert_frame_equal(desk.verdicts, whole)


@pytest.mark.parametrize("cascade", [False, True])
def test_when_there_was_no_time_at_all_nothing_is_loaded_and_everything_is_said(cascade, desk, loads):
    pairs = odd_pairs(12)
    names = ("gemma", "llama") if cascade else ("gemma",)
    summary = desk.judge(
        desk.write(pairs), names=names, cascade=cascade, time_budget_s=1.0, began=time.monotonic() - 10
    )
    assert loads == []
    table = desk.verdicts
    assert table[TWO].isna().to_numpy().all()
    if cascade:
        assert set(table["decided_by"]) == {"fallback"}
        assert table["fault"].unique().tolist() == ["no judge read it: the longer answer wins"]
        lengths = [[len(str(cell or "")) for cell in pairs[name]] for name in ("response_a", "response_b")]
        longer = ["model_b" if b > a else "model_a" for a, b in zip(*lengths, strict=True)]
        assert table["winner"].tolist() == longer
    else:
        assert table["winner"].isna().all()
        assert table["fault"].unique().tolist() == ["the time was over before a judge read it"]
    assert sum(summary.without_verdict.values()) == 12


def test_unreadable_rows_have_no_winner_in_a_cascade_either(desk):
    (desk.folder / "pairs.csv").write_text("prompt,response_a,response_b\n1\np,a,a longer answer\n")
    desk.judge(desk.folder / "pairs.csv", names=("gemma", "llama"), cascade=True, rows_per_part=1)
    assert desk.verdicts["winner"].isna().tolist() == [True, False]
    assert desk.verdicts["decided_by"].isna().tolist() == [True, False]
    assert desk.verdicts["fault"].tolist()[0] == "1 cells near line 2, the header has 3"


@pytest.fixture
def time_is_over_after(monkeypatch):
    """How to let the time budget end when so many parts are kept."""
    num_kept = 0
    write = PartsDirectory.write

    def count(directory: PartsDirectory, *args: Any, **options: Any) -> None:
        nonlocal num_kept
        write(directory, *args, **options)
        num_kept += 1

    def arrange(number: int) -> None:
        monkeypatch.setattr(PartsDirectory, "write", count)
        monkeypatch.setattr(Budget, "remaining", lambda _: float("inf") if num_kept < number else 0.0)

    return arrange


def test_rows_that_one_of_two_judges_has_read_in_time_are_its_own(desk, time_is_over_after):
    time_is_over_after(8)  # 6 parts of the first judge, 2 of the second
    summary = desk.judge(desk.write(odd_pairs()), names=("gemma", "llama"), weights=WEIGHTS, rows_per_part=6)
    table = desk.verdicts
    assert table["decided_by"].tolist() == ["gemma+llama"] * 12 + ["gemma"] * 24
    late = table.iloc[12:]
    np.testing.assert_allclose(late["probability_a"], late["probability_a.gemma"], rtol=0, atol=1e-12)
    assert late["probability_a.llama"].isna().all()
    assert table["fault"].isna().all()
    assert summary.read_by == {"gemma": 24, "gemma+llama": 12}


def test_rows_that_the_first_of_a_cascade_has_not_read_in_time_go_to_the_longer_answer(desk, time_is_over_after):
    time_is_over_after(3)
    desk.judge(desk.write(odd_pairs()), names=("gemma", "llama"), cascade=True, rows_per_part=6)
    table = desk.verdicts
    assert table["decided_by"].tolist() == ["gemma"] * 18 + ["fallback"] * 18
    assert table["winner"].notna().all()
    assert desk.report["without_verdict"] == {"no judge read it: the longer answer wins": 18}


@pytest.mark.parametrize("cascade", [False, True])
def test_what_was_read_in_time_is_kept_for_the_same_command(cascade, desk, monkeypatch, time_is_over_after):
    options = {"names": ("gemma", "llama"), "cascade": cascade, "rows_per_part": 6}
    file = desk.write(odd_pairs())
    desk.judge(file, **options)
    whole = desk.verdicts
    time_is_over_after(3)
    summary = desk.judge(file, **options)
    assert summary.kept == desk.parts
    assert f"the time was over; the same command goes on with {desk.parts}" in summary.to_line()
    monkeypatch.undo()
    summary = desk.judge(file, **options)
    assert summary.num_rows_read_now["gemma"] == 36 - 3 * 6
    assert summary.kept is None
    assert not desk.parts.exists()
    pd.testing.assert_frame_equal(desk.verdicts, whole)


def test_a_judge_without_finite_logits_stops_the_command(desk, monkeypatch):
    opened = ExportedJudge.open

    @contextmanager
    def broken(judge: ExportedJudge, placement: Any) -> Any:
        with opened(judge, placement) as reader:
            reader.judge.head.output.bias.data.fill_(float("nan"))
            yield reader

    monkeypatch.setattr(ExportedJudge, "open", broken)
    with pytest.raises(JudgeError, match="no finite logits"):
        desk.judge(desk.write(odd_pairs()), rows_per_part=7)


def overflowing(monkeypatch, rows_of: dict[str, list[int]]) -> None:
    """Some of the rows that a judge reads get no finite logits, by its name; numbered as it reads them, from 0."""
    opened = ExportedJudge.open
    num_read = dict.fromkeys(rows_of, 0)

    class Overflow:
        def __init__(self, name: str, reader: Any) -> None:
            self.name, self.reader = name, reader

        def read(self, batches: Any) -> Any:
            for logits in self.reader.read(batches):
                numbers = range(num_read[self.name], num_read[self.name] + len(logits))
                num_read[self.name] = numbers.stop
                for position, number in enumerate(numbers):
                    if number in rows_of[self.name]:
                        logits[position] = float("inf")
                yield logits

    @contextmanager
    def patched(judge: ExportedJudge, placement: Any) -> Any:
        with opened(judge, placement) as reader:
            yield Overflow(judge.name, reader)

    monkeypatch.setattr(ExportedJudge, "open", patched)


def short_pairs(number: int) -> pd.DataFrame:
    texts = {"prompt": "p", "response_a": [f"answer {row}" for row in range(number)], "response_b": "b"}
    return pd.DataFrame(texts, dtype=object)


@pytest.mark.parametrize("cascade", [False, True])
def test_one_overflow_in_a_small_part_is_one_in_all_rows(cascade, desk, monkeypatch):
    overflowing(monkeypatch, {"gemma": [3], "llama": []})
    names = ("gemma", "llama") if cascade else ("gemma",)
    desk.judge(desk.write(short_pairs(100)), names=names, cascade=cascade, orders=ORDERS, rows_per_part=20)
    assert desk.verdicts["probability_a"].isna().sum() == (0 if cascade else 1)
    assert desk.verdicts["winner"].isna().sum() == (0 if cascade else 1)


@pytest.mark.parametrize("cascade", [False, True])
def test_overflows_before_a_kill_count_after_it(cascade, desk, monkeypatch, dies_after):
    names = ("gemma", "llama") if cascade else ("gemma",)
    options = {"names": names, "cascade": cascade, "rows_per_part": 20}
    file = desk.write(short_pairs(100))
    with monkeypatch.context() as patched:
        overflowing(patched, {"gemma": [3], "llama": []})
        dies_after(2)
        with pytest.raises(KeyboardInterrupt):
            desk.judge(file, **options)
    dies_after(100)
    overflowing(monkeypatch, {"gemma": [0], "llama": []})
    with pytest.raises(JudgeError, match="gemma: no finite logits for 2 of the 60 pairs"):
        desk.judge(file, **options)


@pytest.mark.parametrize("cascade", [False, True])
@pytest.mark.parametrize("broken", ["gemma", "llama"])
def test_one_judge_of_two_without_finite_logits_stops_the_command(broken, cascade, desk, monkeypatch):
    overflowing(monkeypatch, {"gemma": [], "llama": []} | {broken: list(range(1_000))})
    with pytest.raises(JudgeError, match=f"{broken}: no finite logits for"):
        desk.judge(desk.write(odd_pairs()), names=("gemma", "llama"), cascade=cascade, rows_per_part=7)


def test_overflows_of_two_judges_are_not_added_up(desk, monkeypatch):
    overflowing(monkeypatch, {"gemma": [0], "llama": [90]})
    desk.judge(desk.write(short_pairs(100)), names=("gemma", "llama"), rows_per_part=20)
    assert sorted(set(desk.verdicts["decided_by"])) == ["gemma", "gemma+llama", "llama"]
    assert desk.verdicts["winner"].notna().all()
