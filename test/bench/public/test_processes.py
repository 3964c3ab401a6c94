"""A benchmark's command takes what it started with it; with processes that wait for ever."""

import os
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from bench.public import processes
from bench.public.processes import ROOT, served, told_lines

# Says that it is there, by its process id, then waits.
RUNNER = """
import json, os, signal, sys
job = json.loads(sys.argv[1])
print("a package prints, too")
row = {"suite": "s", "task": 0, "layout": 0, "success": True, "steps": 1, "seconds": 1.0}
print(json.dumps({**row, "instruction": f"pids {os.getpid()} {job['url']}", "refused": ""}))
sys.stdout.flush()
if job.get("ends"):
    sys.exit(job["code"])
signal.pause()
"""
SERVER = f"""#!{sys.executable}
import os, signal
print("policy x is served on", os.getpid(), flush=True)
signal.pause()
"""
# The whole command, with these two for LIBERO's runner and the policy server.
COMMAND = """
import os, signal, sys
from pathlib import Path
from bench.public import libero
signal.signal(signal.SIGINT, signal.default_int_handler)
folder = sys.argv[1]
real, sys.executable = Path(sys.executable), folder + "/server"
libero.RUNNER = "waiting_runner"
libero.libero = lambda: (real, {**os.environ, "PYTHONPATH": folder})
sys.exit(libero.main(["score", "--checkpoint", "ckpt"]))
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "waiting_runner.py").write_text(RUNNER)
    (tmp_path / "server").write_text(SERVER)
    (tmp_path / "server").chmod(0o755)
    return tmp_path


def is_there(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def ended(pids):
    """Return whether none is left; what is, is ended here."""
    left = [pid for pid in pids if is_there(pid)]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    return not left


def lines_of(folder, job):
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    return told_lines(Path(sys.executable), environment, "waiting_runner", job)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 128 + signal.SIGTERM), (signal.SIGINT, 130)]
)
def test_a_command_that_is_ended_takes_its_runner_and_its_policy_with_it(folder, number, code):
    command = subprocess.Popen(
        [sys.executable, "-c", COMMAND, str(folder)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    with command:
        assert command.stdout is not None
        pids = [int(word) for word in command.stdout.readline().split("pids ")[1].split()]
        assert len(pids) == 2
        assert all(map(is_there, pids))
        command.send_signal(number)
        assert command.wait() == code
    assert ended(pids)


def test_a_runner_ends_when_nobody_listens_any_longer(folder):
    with closing(lines_of(folder, {"url": ""})) as told:
        pid = int(next(told)["instruction"].split()[1])
        assert is_there(pid)
    assert ended([pid])


def test_what_a_runner_says_is_told_to_its_end(folder):
    job = {"url": "ws://x", "ends": True, "code": 0}
    (row,) = lines_of(folder, job)
    assert row["instruction"].endswith("ws://x")
    with pytest.raises(subprocess.CalledProcessError, match="waiting_runner.*exit status 3"):
        list(lines_of(folder, {**job, "code": 3}))


def test_a_policy_ends_with_what_it_is_served_for(folder, monkeypatch):
    monkeypatch.setattr(processes.sys, "executable", str(folder / "server"))

    def fail():
        with served(folder, 8) as url:
            pids.append(int(url))
            assert is_there(pids[0])
            raise ZeroDivisionError

    pids = []
    with pytest.raises(ZeroDivisionError):
        fail()
    assert ended(pids)


def test_a_policy_that_is_not_served_is_an_error(folder, monkeypatch):
    (folder / "server").write_text(f"#!{sys.executable}\nprint('no')\n")
    monkeypatch.setattr(processes.sys, "executable", str(folder / "server"))
    with pytest.raises(RuntimeError, match="is not served"), served(folder, 8):
        pass
