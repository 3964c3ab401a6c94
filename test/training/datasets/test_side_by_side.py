"""Real processes, one of which dies."""

import importlib
from pathlib import Path

from training.datasets.side_by_side import side_by_side

# A module of its own: a spawned process has to find it by name.
JOB = """
import os
import signal

def job(path, say):
    if path.name == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if path.name == "left":
        os._exit(3)
    say(path, "done", 2)
    return path.name.upper()
"""


def test_a_worker_that_dies_costs_its_path_and_nothing_else(tmp_path, monkeypatch):
    (tmp_path / "job_that_may_die.py").write_text(JOB)
    monkeypatch.syspath_prepend(tmp_path)
    job = importlib.import_module("job_that_may_die").job
    paths = [Path(name) for name in ("a", "killed", "b", "left", "c")]
    said = []
    found = dict(side_by_side(paths, job, 1, lambda *what: said.append(what)))
    assert {path.name: result for path, result in found.items() if path.name in "abc"} == {
        "a": "A",
        "b": "B",
        "c": "C",
    }
    assert found[Path("killed")].startswith("its worker ended with signal SIGKILL; with many")
    assert found[Path("left")] == "its worker ended with code 3"
    assert sorted(said) == [(Path(name), "done", 2) for name in "abc"]
