"""Bags side by side: real processes, one of which dies."""

import importlib
from pathlib import Path

import pytest

from training.datasets.bag_shard import Settings
from training.datasets.frames import MaxAge
from training.datasets.workers import convert_one, side_by_side
from vla_ros.core.contract import tap_contract

SETTINGS = Settings(tap_contract(image_size=16), MaxAge())


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


@pytest.mark.slow
def test_a_worker_that_dies_costs_its_path_and_nothing_else(tmp_path, monkeypatch):
    (tmp_path / "job_that_may_die.py").write_text(JOB)
    monkeypatch.syspath_prepend(tmp_path)
    job = importlib.import_module("job_that_may_die").job
    paths = [Path(name) for name in ("a", "killed", "b", "left", "c")]
    said = []
    found = dict(side_by_side(paths, job, 2, lambda *what: said.append(what)))
    assert {path.name: result for path, result in found.items() if path.name in "abc"} == {
        "a": "A",
        "b": "B",
        "c": "C",
    }
    assert found[Path("killed")].startswith("its worker ended with signal SIGKILL; with many")
    assert found[Path("left")] == "its worker ended with code 3"
    assert sorted(said) == [(Path(name), "done", 2) for name in "abc"]


def test_a_bag_that_vanished_or_may_not_be_read_is_a_failure_and_no_refusal(tmp_path):
    folder = tmp_path / "shards"
    folder.mkdir()
    done = convert_one(tmp_path / "gone", folder, SETTINGS, lambda *_: None)
    assert done.key is None
    assert not done.is_disk
    assert "gone cannot be read (No such file or directory)" in done.failure
    assert not list(folder.iterdir())


def test_a_bag_without_a_file_is_refused_for_good(bag_writer, tmp_path):
    empty = tmp_path / "session/empty"
    empty.mkdir(parents=True)
    (empty / "metadata.yaml").write_text("rosbag2_bagfile_information: {}\n")
    folder = tmp_path / "shards"
    folder.mkdir()
    done = convert_one(empty, folder, SETTINGS, lambda *_: None)
    assert (folder / f"{done.key}.refused.json").exists()
