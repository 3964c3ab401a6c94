"""What the hand-over benchmark replays and counts."""

from types import SimpleNamespace

import numpy as np
import pytest

from bench._handover_replay import replay
from bench._handover_world import (
    PERIOD_S,
    Counts,
    Demonstration,
    Policy,
    count,
    latencies,
    root,
)
from bench.handover import compared


@pytest.fixture(scope="module")
def demonstration():
    return Demonstration(seed=0, duration_s=2.0)


def test_what_the_demonstration_does_itself_is_no_fault(demonstration):
    counts = count(demonstration, demonstration.q[:80], lost=3.0, starved=2)
    assert counts.largest_step_rad == np.abs(np.diff(demonstration.q[:80], axis=0)).max()
    assert (counts.lost, counts.starved, counts.backward) == (3, 2, 0)
    assert counts.covered == pytest.approx(1.0, abs=0.03)
    assert counts.apart_rad == pytest.approx(0.0, abs=1e-9)


def test_a_step_back_is_counted_and_so_is_its_jerk(demonstration):
    commands = demonstration.q[:80].copy()
    commands[50] = demonstration.q[45]
    counts = count(demonstration, commands, lost=0.0, starved=0)
    assert counts.backward == 1
    assert (
        counts.rms_jerk_rad_s3
        > 10 * count(demonstration, demonstration.q[:80], 0, 0).rms_jerk_rad_s3
    )


def test_traces_are_what_they_are_called():
    assert set(latencies("constant", 0)) == {0.2}
    cold = latencies("cold start", 0)
    assert cold[0] == 0.7
    assert set(cold[1:]) == {0.2}
    for seed in range(3):
        slow = latencies("outliers", seed, count=300)
        assert [np.sum(slow[i : i + 100] == 2.0) for i in (0, 100, 200)] == [1, 1, 1]
        assert latencies("jittery", seed).max() <= 0.6
    with pytest.raises(ValueError, match="typo"):
        latencies("typo", 0)


def test_the_root_gives_the_covariance():
    covariance = Policy(5, 0.1, jitter_rad=0.001).covariance()
    assert root(covariance) @ root(covariance) == pytest.approx(covariance, abs=1e-9)
    # 4 mrad now and 12 mrad more a second ahead, jitter on top.
    assert np.sqrt(covariance[4, 4]) == pytest.approx(np.hypot(0.010, 0.001), abs=1e-6)


class Recorder:
    """A queue that notes its calls and never has anything."""

    def __init__(self):
        self.calls = []
        self.lost, self.starved, self.left = 0.0, False, 0

    def start(self, q):
        self.calls.append("start")

    def ask(self, tick, mean, noise):
        self.calls.append(("ask", tick, mean.shape, noise.shape))

    def deliver(self, tick, latency_s):
        self.calls.append(("deliver", tick, latency_s))

    def pop(self, tick):
        self.lost, self.starved = 0.5, tick != 6
        return None


def test_a_chunk_comes_when_its_latency_is_over(demonstration):
    queue = Recorder()
    counts, asked = replay(
        queue,
        demonstration,
        Policy(3, PERIOD_S),
        np.array([0.07, 0.02, 9.0]),
        seed=0,
        num_ticks=8,
        is_due=lambda tick: tick in (1, 2, 6),
    )
    shape = (3, 6)
    assert queue.calls == [
        "start",
        ("ask", 1, shape, shape),
        # 0.07 s are 4 periods; a chunk that is due meanwhile is not asked for.
        ("deliver", 5, 0.07),
        ("ask", 6, shape, shape),
        ("deliver", 7, 0.02),
    ]
    assert asked == [1, 6]
    # Three ticks after the first chunk; before it, nothing is lost.
    assert counts.lost == 1.5
    assert counts.starved == 2


def test_goals_are_judged_on_the_numbers():
    ours = Counts(0.010, 5.0, 0, 1, 0, 1.0, 0.01)
    theirs = Counts(0.019, 10.0, 0, 0, 2, 1.0, 0.02)
    rows = {row.what.partition(": ")[2]: row for row in compared("x", ours, theirs)}
    assert rows["largest joint step"].met is False
    assert rows["largest joint step"].ratio == pytest.approx(1.9)
    assert rows["RMS jerk"].met
    assert rows["plan time lost"].met
    assert rows["starved ticks"].met is False
    assert rows["backward steps"].met
    assert rows["demonstration's time covered"].met is None
    backward = SimpleNamespace(**{**vars(ours), "backward": 1})
    (row,) = [row for row in compared("x", backward, None) if "backward" in row.what]
    assert row.met is False
