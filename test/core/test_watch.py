import numpy as np
import pytest

from vla_ros.core.errors import SafetyError
from vla_ros.core.monitor import GO
from vla_ros.core.watch import CameraWatch, CommandClock, JointStateAge, Tick

MS = 1_000_000
POSE = np.zeros(6)


@pytest.mark.parametrize(
    ("age_s", "silent_s", "level", "cause"),
    [
        (0.075, 0.02, "go", ""),
        (0.076, 0.02, "hold", "stale"),
        (0.02, 0.076, "hold", "stale"),
        (0.02, None, "go", ""),
        (-0.076, 0.02, "hold", "stale"),
        (-0.076, None, "hold", "stale"),
        (-0.075, None, "go", ""),
        (10.1, 10.1, "stop", "lost"),
        (10.1, None, "hold", "stale"),
    ],
)
def test_old_and_future_joint_states_hold_the_arm_and_silence_ends_it(
    age_s, silent_s, level, cause
):
    verdict = JointStateAge().judge(age_s, silent_s)
    assert (verdict.level, verdict.cause) == (level, cause)


def test_the_sentence_says_how_old():
    assert "are 0.30 s old: holding" in JointStateAge().judge(0.3, 0.0).sentence
    assert "stamped 0.30 s in the future" in JointStateAge().judge(-0.3, 0.0).sentence
    assert "no believable joint state for 10 s" in JointStateAge().judge(0.0, 11.0).sentence


@pytest.mark.parametrize(
    ("own_ms", "steady_s", "expected"),
    [
        (20, 0.02, Tick()),
        (50, 0.05, Tick()),
        (51, 0.051, Tick(late=True)),
        (3000, 3.0, Tick(late=True)),
        (3020, 0.02, Tick(jump_s=3.0)),
        (-980, 0.02, Tick(jump_s=-1.0)),
        (500, 0.02, Tick()),
    ],
    ids=["even", "jitter", "late", "stalled", "set ahead", "set back", "slewed"],
)
def test_real_time_is_compared_with_a_clock_that_nobody_sets(own_ms, steady_s, expected):
    clock = CommandClock(0.02, simulated=False)
    assert clock.tick(5000 * MS, 7.0) == Tick()
    tick = clock.tick((5000 + own_ms) * MS, 7.0 + steady_s)
    assert (tick.late, tick.jump_s) == (expected.late, pytest.approx(expected.jump_s))
    assert (clock.late, clock.jumps) == (int(tick.late), int(tick.jump_s != 0))


@pytest.mark.parametrize(
    ("own_ms", "steady_s", "expected"),
    [
        (20, 9.0, Tick()),
        (60, 0.001, Tick(late=True)),
        (501, 0.02, Tick(late=True, jump_s=0.501)),
        (-20, 0.02, Tick(jump_s=-0.02)),
    ],
    ids=["slow machine", "lost clock", "ahead", "sim restarted"],
)
def test_simulated_time_is_the_only_one_that_counts(own_ms, steady_s, expected):
    clock = CommandClock(0.02, simulated=True)
    clock.tick(5000 * MS, 7.0)
    assert clock.tick((5000 + own_ms) * MS, 7.0 + steady_s) == expected


def test_a_restarted_clock_compares_with_nothing():
    clock = CommandClock(0.02, simulated=False)
    clock.tick(0, 0.0)
    clock.restart()
    assert clock.tick(9000 * MS, 1.0) == Tick()


def test_a_camera_that_nobody_needs_is_not_watched():
    assert CameraWatch().judge(0) == GO


def test_a_needed_camera_must_have_sent_a_picture_of_late():
    cameras = CameraWatch()
    cameras.need("front", 0.5)
    assert "camera front has sent no picture yet" in cameras.judge(0).sentence
    cameras.saw("front", 1000 * MS, 1, POSE)
    assert cameras.judge(1500 * MS) == GO
    verdict = cameras.judge(1501 * MS)
    assert (verdict.level, verdict.cause) == ("hold", "camera")
    assert "the last picture of camera front is 0.50 s old, allowed 0.5 s" in verdict.sentence
    assert cameras.judge(499 * MS).level == "hold", "the clock was set back"


def test_a_picture_that_does_not_change_while_the_arm_moves_is_frozen():
    cameras = CameraWatch(frozen_rad=0.3)
    cameras.need("front", 0.5)
    for i in range(3):
        cameras.saw("front", i * 33 * MS, 1234, POSE + 0.1 * i)
    # However far it went since: the next picture decides.
    assert cameras.judge(99 * MS) == GO
    cameras.saw("front", 132 * MS, 1234, POSE + 0.4)
    verdict = cameras.judge(132 * MS)
    assert "camera front shows the same picture while the arm moved 0.40 rad" in verdict.sentence
    cameras.need("front", None)
    assert cameras.judge(132 * MS) == GO, "nobody needs it now"
    cameras.need("front", 0.5)
    cameras.saw("front", 165 * MS, 1235, POSE + 0.4)
    assert cameras.judge(165 * MS) == GO


def test_illegal_bounds_are_refused():
    with pytest.raises(SafetyError, match="max_age_s must be above 0 and below lost_s"):
        JointStateAge(max_age_s=11.0)
    with pytest.raises(SafetyError, match="period_s and jump_s must be above 0"):
        CommandClock(0.0, simulated=False)
    with pytest.raises(SafetyError, match="max_age_s of camera top must be above 0, got 0"):
        CameraWatch().need("top", 0.0)
    with pytest.raises(SafetyError, match="frozen_rad must be above 0"):
        CameraWatch(frozen_rad=0.0)
