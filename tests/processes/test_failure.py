"""Which of a failed child's lines are reported; the inputs are what torchrun printed, shortened."""

from wsdm_arena.processes.failure import MAX_LINES, cause_of_failure

TORCHRUN_API = "torch/distributed/elastic/multiprocessing/api.py"


def torchrun_page(*, rank: int, exit_code: int) -> list[str]:
    return [
        f"W1122 12:37:30.850000 6778 .venv/lib/{TORCHRUN_API}:1028] Sending process 6782 closing signal SIGTERM",
        f"E1122 12:37:30.866000 6778 .venv/lib/{TORCHRUN_API}:1002] failed (exitcode: {exit_code}) local_rank: {rank}",
        "Traceback (most recent call last):",
        '  File ".venv/lib/torch/distributed/launcher/api.py", line 383, in launch_agent',
        "    raise ChildFailedError(",
        "torch.distributed.elastic.multiprocessing.errors.ChildFailedError: ",
        "Failures:",
        "[1]:",
        "  rank      : 7 (local_rank: 7)",
        "  exitcode  : -15 (pid: 6782)  (SIGTERM)",
        "Root Cause (first observed failure):",
        "[0]:",
        f"  rank      : {rank} (local_rank: {rank})",
        f"  exitcode  : {exit_code} (pid: 6783) ",
        "  traceback : To enable traceback see: https://pytorch.org/docs/stable/elastic/errors.html",
    ]


OTHER_RANK = [
    "[rank0]: Traceback (most recent call last):",
    '[rank0]:   File "trainer.py", line 12, in update',
    "[rank0]: RuntimeError: Connection closed by peer",
]


def test_the_first_ranks_chained_traceback_is_taken_and_not_its_consequences():
    lines = [
        "0 % of teacher.gemma",
        "[rank1]: Traceback (most recent call last):",
        '[rank1]:   File "trainer.py", line 10, in load',
        "[rank1]: KeyError: 'x'",
        "",
        "[rank1]: The above exception was the direct cause of the following exception:",
        "",
        OTHER_RANK[0],
        "[rank1]: Traceback (most recent call last):",
        *OTHER_RANK[1:],
        '[rank1]:   File "trainer.py", line 11, in load',
        "[rank1]: RuntimeError: the state is of another run",
        *torchrun_page(rank=0, exit_code=1),
    ]
    assert cause_of_failure(lines) == [
        "Traceback (most recent call last):",
        '  File "trainer.py", line 10, in load',
        "KeyError: 'x'",
        "The above exception was the direct cause of the following exception:",
        "Traceback (most recent call last):",
        '  File "trainer.py", line 11, in load',
        "RuntimeError: the state is of another run",
    ]


def test_a_killed_rank_is_named_and_the_complaints_of_the_others_are_not():
    lines = [*OTHER_RANK, *torchrun_page(rank=1, exit_code=-9)]
    assert cause_of_failure(lines) == ["rank 1 was ended by SIGKILL (often: out of memory)"]


def test_what_a_crashing_rank_said_is_kept():
    lines = ["terminate called after throwing an instance", *torchrun_page(rank=1, exit_code=-6)]
    assert cause_of_failure(lines) == ["terminate called after throwing an instance", "rank 1 was ended by SIGABRT"]


def test_a_message_without_traceback_is_taken_as_it_is():
    lines = ["error: 06_models/teacher.gemma is half written", *torchrun_page(rank=1, exit_code=3)]
    assert cause_of_failure(lines) == ["error: 06_models/teacher.gemma is half written"]


def test_two_processes_without_rank_give_the_first_ones_traceback():
    first = ["Traceback (most recent call last):", '  File "a.py", line 1, in <module>', "ImportError: no", "module x"]
    second = ["Traceback (most recent call last):", '  File "a.py", line 1, in <module>', "ImportError: other"]
    assert cause_of_failure([*first, *second]) == first


def test_a_long_traceback_keeps_its_head_and_its_end():
    frames = [f'  File "deep.py", line {number}, in call' for number in range(100)]
    lines = cause_of_failure(["Traceback (most recent call last):", *frames, "RecursionError: too deep"])
    assert len(lines) == MAX_LINES
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[1] == "  ... 84 lines left out ..."
    assert lines[2] == frames[-17]
    assert lines[-1] == "RecursionError: too deep"


def test_nothing_printed_gives_nothing():
    assert cause_of_failure([]) == []
