"""A network in a process of its own, which fails, is killed, and goes on."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from policy_servers import SEEN
from tiny_policies import tap

from vla_ros.core import arm
from vla_ros.core.errors import CheckpointError, PictureError, RemoteError
from vla_ros.core.limits import wx250s_limits
from vla_ros.core.observation import CameraView, Observation
from vla_ros.core.policy_motion import Question
from vla_ros.policy.answering import answered
from vla_ros.policy.checkpoint import save_checkpoint
from vla_ros.policy.checkpoint_hash import checkpoint_sha256
from vla_ros.policy.network_process import NetworkProcess
from vla_ros.policy.runner import PolicyRunner

LIMITS = wx250s_limits()
ASKED = Question(0, 0, arm.READY_RAD, None)
# What holds it dies at once, by a signal that nobody can catch.
HOLDER = """
import os, sys
from vla_ros.policy.network_process import NetworkProcess
print(NetworkProcess(sys.argv[1]).pid, flush=True)
os.kill(os.getpid(), 9)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("network") / "tap"
    save_checkpoint(tap(), made)
    return made


def is_gone(pid):
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return True


def test_it_answers_as_here_tells_what_fails_and_is_started_anew_where_it_was_killed(folder):
    network = NetworkProcess(folder)
    try:
        here = PolicyRunner.load(folder)
        here.warm_up()
        names = ("contract", "cameras", "num_past", "goes_on")
        assert [getattr(network, n) for n in names] == [getattr(here, n) for n in names]
        assert network.sha256 == checkpoint_sha256(folder)
        there, ours = network.answer(ASKED, SEEN, LIMITS), answered(here, ASKED, SEEN, LIMITS)
        np.testing.assert_allclose(there.chunk.actions, ours.chunk.actions, atol=1e-5)
        assert there.act_ms > 0.0
        # What is wrong with a question is told by its class, and the next one is answered.
        none = Observation({"front": CameraView(b"no JPEG", np.eye(4))}, "push", SEEN.state)
        with pytest.raises(PictureError, match="cannot be decoded"):
            network.answer(ASKED, none, LIMITS)
        first = network.pid
        os.kill(first, signal.SIGINT)  # a terminal's Ctrl-C reaches it, too
        network.answer(ASKED, SEEN, LIMITS)
        os.kill(first, signal.SIGKILL)
        with pytest.raises(RemoteError, match="ended by signal SIGKILL while it was asked, and is"):
            network.answer(ASKED, SEEN, LIMITS)
        network.answer(ASKED, SEEN, LIMITS)
        assert network.pid != first
        # Whoever waits for an answer is told at once that there is none any more.
        os.kill(network.pid, signal.SIGSTOP)
        threading.Timer(0.2, network.close).start()
        with pytest.raises(RemoteError, match="ended by signal SIGKILL"):
            network.answer(ASKED, SEEN, LIMITS)
        with pytest.raises(RemoteError, match="was ended; start the node anew"):
            network.answer(ASKED, SEEN, LIMITS)
    finally:
        network.close()
    assert is_gone(network.pid)


def test_what_cannot_be_loaded_is_told_in_one_sentence(tmp_path):
    with pytest.raises(CheckpointError, match="nowhere"):
        NetworkProcess(tmp_path / "nowhere")


def test_it_ends_where_who_asks_it_is_killed(folder):
    holder = subprocess.run(
        [sys.executable, "-c", HOLDER, str(folder)], capture_output=True, text=True
    )
    pid, deadline_s = int(holder.stdout), time.monotonic() + 30.0
    while not is_gone(pid):
        assert time.monotonic() < deadline_s
        time.sleep(0.02)
