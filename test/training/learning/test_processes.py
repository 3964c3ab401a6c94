"""Several processes, with whole weights or with shares of them, learn what one does."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from training.learning.processes import World, join
from vla_ros.core.errors import VlaError

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Return what one process and the first and second of two came to, and their folder."""
    folder = tmp_path_factory.mktemp("processes")
    path = os.pathsep.join([str(ROOT), str(ROOT / "test" / "fixtures")])
    script = ROOT / "test" / "fixtures" / "two_processes.py"
    done = subprocess.run(
        [sys.executable, str(script), str(folder)],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return [
        json.loads((folder / f"{name}.json").read_text()) for name in ("1-0", "2-0", "2-1")
    ], folder


def test_two_processes_give_the_losses_of_one(results):
    (one, *two), _ = results
    for found in two:
        np.testing.assert_allclose(found["whole"], one["whole"], rtol=2e-4)


def test_a_signal_that_one_process_gets_stops_all_after_the_same_step(results):
    (_, first, second), _ = results
    # The one that was not told saves.
    assert first["stopped"][1:] == [3, [3]]
    assert second["stopped"] == [signal.SIGTERM, 3, []]


def test_shares_of_the_weights_learn_and_are_saved_as_whole_ones(results):
    (one, two, _), folder = results
    for found, expected in zip(two["shares"], one["shares"], strict=True):
        np.testing.assert_allclose(found, expected, rtol=2e-4, atol=1e-5)
    whole, kept = (torch.load(folder / f"{size}-weights.pt") for size in (1, 2))
    assert set(kept) == set(whole)
    # Without biases: some have no influence, and AdamW makes steps of their gradients' rounding.
    for name, weight in ((n, w) for n, w in whole.items() if w.ndim > 1):
        torch.testing.assert_close(kept[name], weight, rtol=1e-3, atol=1e-5, msg=name)


def test_a_batch_that_cannot_be_shared_is_refused():
    assert World(0, 2).share(8, 2) == 4
    with pytest.raises(VlaError, match="cannot be shared by 2 processes with 3 parts"):
        World(0, 2).share(8, 3)


def test_without_torchrun_a_process_is_alone(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert (join().rank, join().size) == (0, 1)
    monkeypatch.setenv("WORLD_SIZE", "two")
    with pytest.raises(VlaError, match="must be numbers"):
        join()
