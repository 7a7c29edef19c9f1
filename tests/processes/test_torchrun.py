"""The torchrun command, and that nothing is left of a real one however it ends."""

import os
import pty
import signal
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

from wsdm_arena.config import LauncherConfig
from wsdm_arena.processes import ProcessFailed, run_torchrun, torchrun_command, torchrun_environment

TWO_PROCESSES = LauncherConfig(processes_per_node=2)
READY = ("rank0.threads1", "rank1.threads1")


def test_one_node_meets_itself():
    command = torchrun_command(TWO_PROCESSES, "wsdm_arena.training", ["run"])
    torchrun = [sys.executable, "-m", "torch.distributed.run"]
    shape = ["--standalone", "--nnodes", "1", "--nproc-per-node", "2"]
    assert command == [*torchrun, *shape, "-m", "wsdm_arena.training", "run"]


def test_two_nodes_meet_at_the_endpoint_behind_the_prefix():
    launcher = LauncherConfig(nodes=2, rendezvous_endpoint="first:29500", prefix=("srun", "--nodes=2"))
    command = torchrun_command(launcher, "wsdm_arena.training", ["run"])
    assert command[:2] == ["srun", "--nodes=2"]
    assert command[5:11:2] == ["--rdzv-backend", "--rdzv-endpoint", "--rdzv-id"]
    assert command[6:10:2] == ["c10d", "first:29500"]
    assert command[11:13] == ["--nnodes", "2"]
    assert "--standalone" not in command
    assert command == torchrun_command(launcher, "wsdm_arena.training", ["run"]), "all nodes must share the id"
    assert command[10] != torchrun_command(launcher, "wsdm_arena.training", ["other"])[10]


def test_several_nodes_without_an_endpoint_are_refused_by_parameter_name():
    with pytest.raises(ValueError, match=r"launcher\.nodes=2 needs launcher\.rendezvous_endpoint"):
        LauncherConfig(nodes=2)


def test_threads_are_the_configured_ones_then_the_users_then_one(monkeypatch):
    monkeypatch.setenv("PYTORCH_CUDA_ALLOC_CONF", "the user's own")
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert torchrun_environment(LauncherConfig(threads_per_process=3)) == {"OMP_NUM_THREADS": "3"}
    assert torchrun_environment(TWO_PROCESSES) == {}
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert torchrun_environment(TWO_PROCESSES) == {"OMP_NUM_THREADS": "1"}
    assert torchrun_environment(LauncherConfig()) == {}


def test_gpu_memory_grows_in_segments_unless_the_user_says_otherwise(monkeypatch):
    monkeypatch.delenv("PYTORCH_CUDA_ALLOC_CONF", raising=False)
    assert torchrun_environment(LauncherConfig())["PYTORCH_CUDA_ALLOC_CONF"] == "expandable_segments:True"


@pytest.mark.slow
@pytest.mark.parametrize("manners", [(), ("fails",)])
def test_torchrun_leaves_no_folder_of_its_own_behind(tmp_path, monkeypatch, manners):
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr("tempfile.tempdir", None)
    script = "import sys; sys.exit(3)" if manners else "pass"
    (tmp_path / "brief_worker.py").write_text(script)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(ProcessFailed) if manners else nullcontext():
        run_torchrun(TWO_PROCESSES, "brief_worker", [], log_path=tmp_path / "log")
    assert "brief_worker" in (tmp_path / "log").read_text()
    assert [*temporary.iterdir()] == []


def sleeping(folder: Path, *manners: str) -> list[str]:
    return torchrun_command(TWO_PROCESSES, "sleeping_worker", [str(folder), *manners])


@pytest.mark.slow
def test_a_real_ctrl_c_at_the_terminal_leaves_nothing(supervision):
    ours, theirs = pty.openpty()
    supervision.start(sleeping(supervision.folder), terminal_fd=theirs)
    os.close(theirs)
    supervision.wait_for(*READY)
    assert len(supervision.members()) >= 4, "the supervising process, torchrun, two workers"
    os.write(ours, b"\x03")
    supervision.wait_until_gone(10)
    assert supervision.process.wait() == -signal.SIGINT, "Python's end after KeyboardInterrupt"
    shown = os.read(ours, 65_536).decode()
    os.close(ours)
    assert "SignalException" not in shown, "torchrun's farewell belongs in the log"
    assert "SignalException" in supervision.log_path.read_text()


@pytest.mark.slow
def test_sigterm_leaves_nothing_of_workers_that_ignore_it(supervision):
    supervision.start(sleeping(supervision.folder, "stubborn"), grace_s=3)
    supervision.wait_for(*READY)
    supervision.process.terminate()
    supervision.wait_until_gone(10)
    assert supervision.process.wait() == 128 + signal.SIGTERM


@pytest.mark.slow
def test_sigkill_of_the_supervising_process_leaves_nothing(supervision):
    supervision.start(sleeping(supervision.folder))
    supervision.wait_for(*READY)
    supervision.process.kill()
    supervision.wait_until_gone(10)


@pytest.mark.slow
def test_sigkill_of_torchrun_is_reported_and_leaves_nothing(supervision):
    supervision.start(sleeping(supervision.folder))
    supervision.wait_for(*READY)
    supervision.member("torch.distributed.run").kill()
    supervision.wait_until_gone(10)
    assert supervision.process.wait() == 1
    assert b"was ended by SIGKILL" in supervision.process.stderr.read()


@pytest.mark.slow
def test_sigkill_of_both_leaves_no_worker_that_dies_with_its_parent(supervision):
    supervision.start(sleeping(supervision.folder, "faithful", "stubborn"))
    supervision.wait_for(*READY)
    torchrun = supervision.member("torch.distributed.run")
    supervision.process.send_signal(signal.SIGSTOP)  # so that it cannot clean up in between
    torchrun.kill()
    supervision.process.kill()
    supervision.wait_until_gone(10)


@pytest.mark.slow
def test_a_failing_rank_is_reported_by_its_own_traceback(supervision):
    supervision.start(sleeping(supervision.folder, "failing"))
    _, error = supervision.process.communicate(timeout=90)
    message = error.decode().rpartition("ProcessFailed: ")[2].strip().splitlines()
    assert supervision.process.returncode == 1
    assert message[0].endswith("exited with code 1:")
    assert message[1] == "Traceback (most recent call last):"
    assert message[-2] == "ValueError: the second rank cannot go on"
    assert len(message) < 25
    assert not supervision.members()
