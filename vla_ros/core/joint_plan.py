"""A chunk as a path in joint space: way-points in, a smooth curve over time out.

Joint space, because limits and the wire are there, and because two chunks can be mixed there: a
mean of tool poses may have no joint solution, and of two far ones the arm's way between is not
known. Inverse kinematics is therefore done once a chunk, when it arrives and beside the network,
each way-point from the solution of the one before; the command timer only reads the curve.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from vla_ros.core import arm
from vla_ros.core.errors import ContractError

# A curve that is left behind by a newer one runs out in this time beyond its last way-point [s].
_RUN_OUT_S = 0.3


@dataclass(frozen=True, eq=False)
class JointPlan:
    """One chunk: where the joints shall be at evenly spaced times after an observation.

    Attributes:
        stamp_ns: time of the observation that it was made from [ns].
        step_s: time between way-points [s]; way-point h is due (h + 1) steps after the observation.
        q_rad: (H, 6) float64 joints [rad].
        opening: (H,) float64 gripper, 0 closed, 1 open.
        from_arrival: whether its time counts from its arrival instead: for single actions that are
            displacements of the command at that time.

    Raises:
        ContractError: shapes do not fit, a number is not finite, or a step is not above 0.
    """

    stamp_ns: int
    step_s: float
    q_rad: np.ndarray
    opening: np.ndarray
    from_arrival: bool = False

    def __post_init__(self):
        try:
            q = np.array(self.q_rad, dtype=np.float64)
            opening = np.array(self.opening, dtype=np.float64)
        except (TypeError, ValueError):
            q, opening = np.empty((0, 0)), np.empty(0)
        if q.ndim != 2 or q.shape[1] != len(arm.ARM_JOINTS) or not len(q):
            raise ContractError(
                f"a chunk needs one or more way-points (H, 6) [rad], got {q.shape}; check the "
                "policy that made it"
            )
        if opening.shape != q.shape[:1] or not 0 < self.step_s < np.inf:
            raise ContractError(
                f"a chunk of {len(q)} way-points needs as many openings and a step above 0 s, got "
                f"{opening.shape} and {self.step_s}; check the policy that made it"
            )
        if not (np.all(np.isfinite(q)) and np.all(np.isfinite(opening))):
            raise ContractError(
                "a chunk's joints and openings must be finite numbers; nothing is done with it: "
                "check the policy that made it"
            )
        for name, value in (("q_rad", q), ("opening", opening)):
            value.setflags(write=False)
            object.__setattr__(self, name, value)

    @property
    def duration_s(self) -> float:
        """How long after its start the last way-point is due [s]."""
        return len(self.q_rad) * self.step_s


@dataclass(frozen=True, eq=False)
class Committed:
    """What a chunk from an observation has to agree with, for real-time chunking.

    Attributes:
        q_rad: (K, 6) joints [rad] at its first K way-points, as planned now; K may be 0.
        opening: (K,) the gripper there.
        fixed: how many of them will be done before it arrives.
    """

    q_rad: np.ndarray
    opening: np.ndarray
    fixed: int


class Curve:
    """The smooth path through a plan, over the time since its start [s].

    Twice continuously differentiable everywhere: a natural cubic spline. Before the start it stays,
    after the last way-point it runs out.

    Args:
        plan: the way-points.
        smoothing_s: what oscillates quicker than this is taken out of the way-points [s].
        start: joints (6,) [rad] that a plan of one way-point begins at.
    """

    def __init__(self, plan: JointPlan, smoothing_s: float, start: np.ndarray):
        q = plan.q_rad
        self.plan = plan
        if len(q) > 1:
            q = smoothed(q, plan.step_s, smoothing_s)
            # The first step is mostly over when a chunk arrives. That it began where the arm was
            # would bend all that follows, where the network thinks otherwise.
            start = 2.0 * q[0] - q[1]
        self._knots = np.vstack([start, q])
        # Second derivatives times step^2, 0 at both ends.
        self._bend = np.zeros_like(self._knots)
        if len(q) > 1:
            ends = self._knots[2:] - 2.0 * self._knots[1:-1] + self._knots[:-2]
            self._bend[1:-1] = _spline_matrix(len(q) - 1) @ ends
        last = self._knots[-1] - self._knots[-2] + (self._bend[-2] / 6.0)
        self._last_velocity = last / plan.step_s

    def at(self, time_s: float) -> np.ndarray:
        """Return the joints (6,) [rad]."""
        steps = max(time_s / self.plan.step_s, 0.0)
        last = len(self._knots) - 1
        if steps >= last:
            return self._run_out(time_s - self.plan.duration_s)
        k = int(steps)
        x = steps - k
        y = 1.0 - x
        bend = (y**3 - y) * self._bend[k] + (x**3 - x) * self._bend[k + 1]
        return y * self._knots[k] + x * self._knots[k + 1] + bend / 6.0

    def opening_at(self, time_s: float) -> float:
        """Return the opening of the way-point that is headed for."""
        h = int(np.ceil(time_s / self.plan.step_s - 1e-9)) - 1
        return float(self.plan.opening[min(max(h, 0), len(self.plan.opening) - 1)])

    def _run_out(self, beyond_s: float) -> np.ndarray:
        """Return the joints (6,) after the end, where the speed falls like 1 - 3 x^2 + 2 x^3."""
        x = min(beyond_s / _RUN_OUT_S, 1.0)
        return self._knots[-1] + self._last_velocity * _RUN_OUT_S * (x - x**3 + x**4 / 2.0)


def smoothed(waypoints: np.ndarray, step_s: float, shortest_s: float) -> np.ndarray:
    """Return way-points (H, ...) without what oscillates quicker than in `shortest_s` [s].

    Whittaker's smoother: the least sum of squared distances and, weighted, of squared third
    differences, of which a parabola has none. Way-points further apart than about half of
    `shortest_s` stay as they are.
    """
    weight = (shortest_s / (2.0 * np.pi * step_s)) ** 6
    if len(waypoints) < 4 or weight < 1e-6:
        return waypoints
    return _smoother(len(waypoints), float(weight)) @ waypoints


@lru_cache(maxsize=8)
def _smoother(count: int, weight: float) -> np.ndarray:
    difference = np.diff(np.eye(count), n=3, axis=0)
    return np.linalg.inv(np.eye(count) + weight * difference.T @ difference)


@lru_cache(maxsize=8)
def _spline_matrix(inner: int) -> np.ndarray:
    """Return (inner, inner): second derivatives x step^2 at inner knots from second differences."""
    system = 4.0 * np.eye(inner) + np.eye(inner, k=1) + np.eye(inner, k=-1)
    return 6.0 * np.linalg.inv(system)
