"""Moments at which the arm rests, found in its joint states. Pure: no files, no clock."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from vla_ros.core.errors import StaleDataError
from vla_ros.core.resample import NS_PER_S, StreamBuffer, tick_grid

# Joint states are looked at from half a window before to half a window after a moment: longer than
# a camera's delay, so that a picture taken then shows the pose that was read.
_WINDOW_NS = NS_PER_S // 2
_RATE_HZ = 20.0
# Five counts of the servos' encoders in half a second: rest, for an arm held by its motors or by a
# calm hand.
_STILL_RAD = 0.008
# The same rest, crept away from by more than this, is another one.
_SAME_POSE_RAD = 0.03


@dataclass(frozen=True)
class Rest:
    """The arm at rest.

    Attributes:
        stamps_ns: the moments asked for that lie in it (N,), in order.
        q_rad: joints (N, 6) [rad] at each, the mean over a window around it.
    """

    stamps_ns: tuple[int, ...]
    q_rad: np.ndarray

    @property
    def middle_q_rad(self) -> np.ndarray:
        """Joints (6,) [rad] at the moment in the middle."""
        return self.q_rad[len(self.stamps_ns) // 2]


def find_rests(joints: StreamBuffer, stamps_ns: Iterable[int]) -> list[Rest]:
    """Return the rests that the moments `stamps_ns` fall into, in order of time.

    Args:
        joints: (joints (6,) [rad], opening) by stamp; its `max_age_ns` bounds gaps in them.
        stamps_ns: moments to look at [ns], such as the stamps of a camera's pictures.
    """
    rests: list[Rest] = []
    run: list[tuple[int, np.ndarray]] = []
    for stamp_ns in sorted(stamps_ns):
        q = _resting_pose(joints, stamp_ns)
        if run and (q is None or np.max(np.abs(q - run[0][1])) > _SAME_POSE_RAD):
            rests.append(_rest(run))
            run = []
        if q is not None:
            run.append((stamp_ns, q))
    if run:
        rests.append(_rest(run))
    return rests


def _rest(run: list[tuple[int, np.ndarray]]) -> Rest:
    return Rest(tuple(stamp_ns for stamp_ns, _ in run), np.array([q for _, q in run]))


def _resting_pose(joints: StreamBuffer, stamp_ns: int) -> np.ndarray | None:
    """Return the mean joints (6,) [rad] around a moment, None where the arm moved or went unseen.

    Judged by position: the servos' velocity register counts in steps of 0.024 rad/s.
    """
    ticks = tick_grid(stamp_ns - _WINDOW_NS // 2, stamp_ns + _WINDOW_NS // 2 + 1, _RATE_HZ)
    try:
        q_n6 = np.array([joints.sample(int(tick))[1][0] for tick in ticks])
    except StaleDataError:
        return None
    return q_n6.mean(axis=0) if np.ptp(q_n6, axis=0).max() < _STILL_RAD else None
