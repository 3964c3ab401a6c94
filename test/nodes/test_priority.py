"""Threads of a process that come first, those that do not, and a system that does not allow it."""

import subprocess
import sys

import pytest

from vla_ros.nodes import priority

# In a process of its own: whoever runs the tests stays as it is.
CHILD = """
import os, sys, threading
from vla_ros.nodes.priority import raise_priority
ends = threading.Event()
threads = [threading.Thread(target=ends.wait) for _ in range(2)]
threads[0].start()
said = raise_priority(3, sys.argv[1] == "alone")
threads[1].start()
policies = [os.sched_getscheduler(thread.native_id) & 3 for thread in threads]
print(said or [os.sched_getscheduler(0) & 3, os.sched_getparam(0).sched_priority, *policies])
ends.set()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="no real-time scheduling of threads")
@pytest.mark.parametrize(
    ("who", "expected"), [("alone", "[2, 3, 2, 0]"), ("with a network", "[2, 3, 0, 0]")]
)
def test_who_is_there_comes_first_and_what_is_started_later_does_not(who, expected):
    found = subprocess.run([sys.executable, "-c", CHILD, who], capture_output=True, text=True)
    said = found.stdout.strip()
    # As root it was done; else it is said why it was not.
    assert said == expected or said.startswith("the system does not allow it: ")


def test_what_the_system_does_not_allow_is_said(monkeypatch):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(priority.os, "sched_setscheduler", refuse, raising=False)
    assert "Operation not permitted" in priority.raise_priority(1, True)
