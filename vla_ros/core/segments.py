"""Straight ways between two tool poses, with a cosine in time: at rest at both ends."""

from dataclasses import dataclass

import numpy as np

from vla_ros.core.rotations import matrix_from_rotvec, rotvec_from_matrix, transform


def cosine(fraction: float) -> float:
    """Return the share of the way after a share of the time, both 0 to 1."""
    return 0.5 - 0.5 * float(np.cos(np.pi * min(fraction, 1.0)))


@dataclass(frozen=True, eq=False)
class Segment:
    """A straight way: the tool point on a line, the rotation about one axis.

    Its fastest is pi / 2 of the mean speed, half way; its largest acceleration pi^2 / 2 times
    the length over the time squared, at both ends.

    Attributes:
        start, end: tool poses (4, 4), metres, in base_link.
        turn_rad: rotation vector (3,) [rad] from start to end, in base_link.
        duration_s: time of the whole way [s], above 0.
    """

    start: np.ndarray
    end: np.ndarray
    turn_rad: np.ndarray
    duration_s: float

    @classmethod
    def at_speed(
        cls,
        start: np.ndarray,
        end: np.ndarray,
        speed_m_s: float,
        turn_rate_rad_s: float,
        min_duration_s: float,
        acceleration_m_s2: float = np.inf,
        turn_acceleration_rad_s2: float = np.inf,
    ) -> "Segment":
        """Return the way with these mean speeds, or slower for these peak accelerations."""
        turn_rad = rotvec_from_matrix(end[:3, :3] @ start[:3, :3].T)
        distance_m = float(np.linalg.norm(end[:3, 3] - start[:3, 3]))
        angle_rad = float(np.linalg.norm(turn_rad))
        duration_s = max(
            distance_m / speed_m_s,
            angle_rad / turn_rate_rad_s,
            np.pi * np.sqrt(distance_m / acceleration_m_s2 / 2),
            np.pi * np.sqrt(angle_rad / turn_acceleration_rad_s2 / 2),
            min_duration_s,
        )
        return cls(start, end, turn_rad, float(duration_s))

    @classmethod
    def pause(cls, pose: np.ndarray, duration_s: float) -> "Segment":
        """Return a stay at one pose (4, 4)."""
        return cls(pose, pose, np.zeros(3), duration_s)

    def pose(self, fraction: float) -> np.ndarray:
        """Return the tool pose (4, 4) at a fraction of the way, 0 to 1."""
        rotation = matrix_from_rotvec(fraction * self.turn_rad) @ self.start[:3, :3]
        way_m = self.end[:3, 3] - self.start[:3, 3]
        return transform(rotation, self.start[:3, 3] + fraction * way_m)

    def pose_at(self, elapsed_s: float) -> np.ndarray:
        """Return the tool pose (4, 4) after a time [s] from the start; the end's ever after."""
        return self.pose(cosine(elapsed_s / self.duration_s))
