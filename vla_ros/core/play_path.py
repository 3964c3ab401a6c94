"""One way of undirected play: checked for reach, bounds and joint limits before it begins."""

from collections.abc import Generator
from dataclasses import dataclass, replace

import numpy as np

from vla_ros.core import kinematics
from vla_ros.core.errors import KinematicsError
from vla_ros.core.play_parameters import MIN_SEGMENT_S, ExplorationParameters
from vla_ros.core.play_region import clearances, noise_reach
from vla_ros.core.segments import Segment, cosine

# The way is checked at points at most this far apart.
_CHECK_M, _CHECK_RAD = 0.02, 0.15
_MIN_CHECKS = 4
# A joint that turns further between two checks has changed to another solution.
_JOINT_JUMP_RAD = 0.6
# Between two poses inside the bounds a turn may lower or tilt the gripper this much further.
SLACK = np.array([1e-3] * 7 + [0.02])
_ROUNDING = 1e-9
# No link lower than this; the guard's own clearance is a little less.
_LINK_HEIGHT_M = 0.006
# A way that the joints can only follow this much slower leads by a singular pose.
_SLOWEST = 4.0


@dataclass(frozen=True, eq=False)
class PlayPath:
    """A segment, the joints at its end, and how much noise its bounds leave room for.

    Attributes:
        segment: the way of the tool without noise.
        q_end: joints (6,) [rad] at its end.
        share_from, share_to: share of the noise at both ends, 0 to 1, linear along the way.
    """

    segment: Segment
    q_end: np.ndarray
    share_from: float
    share_to: float

    def share_at(self, elapsed_s: float) -> float:
        """Return the share of the noise after a time [s]."""
        fraction = cosine(elapsed_s / self.segment.duration_s)
        return self.share_from + fraction * (self.share_to - self.share_from)


# Yields after each check of bounded cost, and returns the way, or None where there is none.
Search = Generator[None, None, PlayPath | None]


def plan(
    parameters: ExplorationParameters,
    start: np.ndarray,
    end: np.ndarray,
    q_start: np.ndarray,
    share: float,
    speed_m_s: float,
) -> PlayPath | None:
    """Return what `planning` finds, at once."""
    search = planning(parameters, start, end, q_start, share, speed_m_s)
    while True:
        try:
            next(search)
        except StopIteration as finished:
            return finished.value


def planning(
    parameters: ExplorationParameters,
    start: np.ndarray,
    end: np.ndarray,
    q_start: np.ndarray,
    share: float,
    speed_m_s: float,
) -> Search:
    """Look for a way from one tool pose to another, one pose at a time.

    All of it is in reach without a jump of the joints, no link nears the table, and every joint
    keeps the parameters' speed and acceleration (of the way without noise). The tool stays inside
    the bounds, or on the way from the start into them, with noise and all: the share of the noise
    shrinks towards a bound.

    Args:
        parameters: bounds and speeds.
        start: tool pose (4, 4) at rest, metres.
        end: tool pose (4, 4) to come to rest at.
        q_start: joints (6,) [rad] near the start's.
        share: share of the noise at the start.
        speed_m_s: mean speed on the way, where nothing else makes it slower.
    """
    p = parameters
    segment = Segment.at_speed(
        start,
        end,
        speed_m_s,
        p.turn_rate_rad_s,
        MIN_SEGMENT_S,
        p.acceleration_m_s2,
        p.turn_acceleration_rad_s2,
    )
    way_m = end[:3, 3] - start[:3, 3]
    checks = max(
        _MIN_CHECKS,
        int(np.ceil(np.linalg.norm(way_m) / _CHECK_M)),
        int(np.ceil(np.linalg.norm(segment.turn_rad) / _CHECK_RAD)),
    )
    fractions = np.linspace(0.0, 1.0, checks + 1)
    poses = [segment.pose(fraction) for fraction in fractions]
    # The cheap check first.
    share_to = _share_at_end(p, poses, fractions, share)
    if share_to is None:
        return None
    joints = yield from _joints(poses, q_start)
    if joints is None:
        return None
    yield
    twist = np.concatenate([way_m, segment.turn_rad])
    duration_s = max(segment.duration_s, _joint_time_s(p, joints, fractions, twist))
    if not duration_s <= _SLOWEST * segment.duration_s:
        return None
    return PlayPath(replace(segment, duration_s=duration_s), joints[-1], share, share_to)


def rest(pose: np.ndarray, q: np.ndarray, duration_s: float, share: float) -> PlayPath:
    """Return a stay at a tool pose (4, 4) with its joints q (6,) [rad]."""
    return PlayPath(Segment.pause(pose, duration_s), q, share, share)


def _share_at_end(
    p: ExplorationParameters, poses: list[np.ndarray], fractions: np.ndarray, share: float
) -> float | None:
    """Return the largest share of the noise at the end that keeps the way inside, None if none."""
    room = np.array([clearances(p, pose) for pose in poses])  # (N, 8)
    outside = np.maximum(-room[0], 0.0)
    # Slack is for what lies between two poses inside: the end itself is one of them.
    is_end = fractions[:, None] == 1.0
    room = np.minimum(room + outside + SLACK, np.where(is_end, room + _ROUNDING, np.inf))
    reach = noise_reach(p)
    if np.any(room < 0.0):
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        allowed = np.where(reach > 0.0, room / reach, np.inf).min(axis=1)  # (N,)
    largest = (allowed[1:] - (1.0 - fractions[1:]) * share) / fractions[1:]
    share_to = min(1.0, float(largest.min()))
    return share_to if share_to >= 0.0 else None


def _joints(
    poses: list[np.ndarray], q_start: np.ndarray
) -> Generator[None, None, np.ndarray | None]:
    """Return the joints (N, 6) [rad] along the poses, None where they cannot follow."""
    joints = []
    q = q_start
    try:
        for pose in poses:
            yield
            q = kinematics.inverse(pose, q)
            if joints and np.abs(q - joints[-1]).max() > _JOINT_JUMP_RAD:
                return None
            joints.append(q)
    except KinematicsError:
        return None
    result = np.array(joints)
    _, points = kinematics.tool_and_link_points(result)
    # The tips are checked against the bounds; the way in may start lower than that.
    links = points[:, :-6, 2]
    return result if links.min() >= _LINK_HEIGHT_M else None


def _joint_time_s(
    p: ExplorationParameters, joints: np.ndarray, fractions: np.ndarray, twist: np.ndarray
) -> float:
    """Return the least time [s] of the way that its joints' speeds and accelerations allow.

    With s the fraction of the way: q' = q_s s', q'' = q_ss s'^2 + q_s s'', where the cosine has
    s' at most pi / 2 T and s'' at most pi^2 / 2 T^2.
    """
    try:
        jacobians = np.array([kinematics.jacobian(q) for q in joints])
        slopes = np.linalg.solve(jacobians, twist[:, None])[..., 0]
    except np.linalg.LinAlgError:
        return np.inf
    bends = np.abs(np.gradient(slopes, fractions, axis=0))
    slopes = np.abs(slopes)
    speed = np.pi / 2 * slopes.max() / p.joint_speed_rad_s
    push = (np.pi / 2) ** 2 * bends + np.pi**2 / 2 * slopes
    return float(max(speed, np.sqrt(push.max() / p.joint_acceleration_rad_s2)))
