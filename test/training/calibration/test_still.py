import numpy as np
import pytest

from training.calibration.still import find_rests
from vla_ros.core import arm
from vla_ros.core.resample import StreamBuffer

MS = 1_000_000


def joints(moves, gaps=()):
    """Return joint states at 100 Hz; `moves` gives the waist [rad] at each time [s]."""
    buffer = StreamBuffer("joint states", 50 * MS)
    times, waists = zip(*moves, strict=True)
    for stamp_ms in range(0, int(times[-1] * 1000) + 1, 10):
        if not any(low <= stamp_ms < high for low, high in gaps):
            q = arm.READY_RAD.copy()
            q[0] = np.interp(stamp_ms / 1000, times, waists)
            buffer.push(stamp_ms * MS, (q, 1.0))
    return buffer


def stamps(*seconds):
    return [int(s * 1000) * MS for s in seconds]


def test_two_rests_with_a_move_between():
    buffer = joints([(0, 0.1), (2, 0.1), (3, 0.5), (5, 0.5)])
    rests = find_rests(buffer, stamps(*np.arange(0.5, 4.6, 0.5)))
    assert [[s // MS for s in rest.stamps_ns] for rest in rests] == [
        [500, 1000, 1500],
        [3500, 4000, 4500],
    ]
    assert [pytest.approx(rest.middle_q_rad[0]) for rest in rests] == [0.1, 0.5]
    assert rests[0].q_rad.shape == (3, 6)


def test_slow_motion_is_no_rest():
    # 0.02 rad/s is 0.01 rad in half a second, over the bound of 0.008.
    buffer = joints([(0, 0.0), (10, 0.2)])
    assert find_rests(buffer, stamps(*np.arange(1, 9, 0.5))) == []


def test_creeping_is_cut_into_several_rests():
    # 0.01 rad/s passes for rest at each moment, but 0.03 rad on it is another pose.
    buffer = joints([(0, 0.0), (8, 0.08)])
    rests = find_rests(buffer, stamps(1, 2, 3, 4.1, 5.1, 6.1))
    assert [len(rest.stamps_ns) for rest in rests] == [3, 3]


def test_a_gap_in_the_joint_states_is_no_rest():
    buffer = joints([(0, 0.1), (5, 0.1)], gaps=[(2000, 2200)])
    seen = [s // MS for rest in find_rests(buffer, stamps(1, 2, 3)) for s in rest.stamps_ns]
    assert seen == [1000, 3000]


def test_moments_at_the_ends_are_not_judged():
    buffer = joints([(0, 0.1), (2, 0.1)])
    seen = [s // MS for rest in find_rests(buffer, stamps(0.1, 1, 2.5)) for s in rest.stamps_ns]
    assert seen == [1000]


def test_without_joint_states_there_is_no_rest():
    assert find_rests(StreamBuffer("joint states", 50 * MS), stamps(1, 2)) == []
