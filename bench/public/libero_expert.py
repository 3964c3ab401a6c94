"""A scripted expert for LIBERO's pick-and-place: it is told where things are, a policy is not.

Proportional control of the tool through way-points, with the gripper pointing down.
"""

from dataclasses import dataclass

import numpy as np

from bench.public.libero_peer_world import CLOSE, OPEN, ROTATION_RAD, TRANSLATION_M, Goal, Seen
from vla_ros.core.rotations import matrix_from_rotvec, rotvec_from_matrix

# The hand's rotation when its fingers point down and move along the world's y.
DOWN = np.diag([1.0, -1.0, -1.0])
# Of the way that is left, how much is asked for in a step.
GAIN = 0.6
NEAR_M = 0.012
# A bowl is taken at its rim, this far from its centre [m].
RIM_M = {"bowl": 0.052}
ABOVE_M, CARRY_M, SQUEEZE_STEPS, RELEASE_STEPS = 0.12, 0.20, 12, 8
MOST_STEPS, LOWER_M = 60, 0.012
# Of the legs, the first after the lift.
LIFTED = 4


@dataclass(frozen=True)
class Leg:
    """One way-point: where, how the gripper is, for how many steps at least and how near."""

    goal_m: np.ndarray
    gripper: float
    stay: int = 0
    near_m: float = NEAR_M


class Expert:
    """Does one episode.

    Args:
        goal: of the task.
        seen: at its start.
        rng: makes demonstrations differ in the heights of way-points.
    """

    def __init__(self, goal: Goal, seen: Seen, rng: np.random.Generator):
        self._goal, self._rng, self._tries = goal, rng, 0
        self._height_m = float(seen.positions[goal.thing][2])
        self._begin(seen)

    def _begin(self, seen: Seen) -> None:
        """Plan the whole way from what is seen; at every other try from the other side."""
        goal, rng = self._goal, self._rng
        self._at = self._steps = 0
        thing, target = seen.positions[goal.thing], seen.positions[goal.target]
        side = 1.0 if target[1] > thing[1] else -1.0
        rim = next((r for kind, r in RIM_M.items() if kind in goal.thing), 0.0)
        rim *= side * (-1) ** self._tries
        lower = LOWER_M * (self._tries > 0)
        grip = thing + [0.0, rim, grip_height(goal.thing) - lower]
        above = grip + [0, 0, ABOVE_M + rng.uniform(-0.02, 0.03)]
        carry = max(grip[2], target[2]) + CARRY_M + rng.uniform(-0.02, 0.02)
        put = target + [0.0, rim, put_height(goal)]
        over = np.array([put[0], put[1], carry])
        self._legs = [
            Leg(above, OPEN, near_m=0.02),
            Leg(grip, OPEN),
            Leg(grip, CLOSE, SQUEEZE_STEPS, 1.0),
            Leg(np.array([grip[0], grip[1], carry]), CLOSE, near_m=0.04),
            Leg(over, CLOSE, near_m=0.015),
            Leg(put, CLOSE, near_m=0.02),
            Leg(put, OPEN, RELEASE_STEPS, 1.0),
            Leg(over, OPEN, near_m=0.04),
        ]

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to do."""
        return self._at >= len(self._legs)

    def act(self, seen: Seen) -> np.ndarray:
        """Return the action (7,) in [-1, 1] for this moment."""
        leg = self._legs[min(self._at, len(self._legs) - 1)]
        left = leg.goal_m - seen.state[:3]
        self._steps += 1
        is_there = np.linalg.norm(left) < leg.near_m and self._steps >= leg.stay
        if is_there or self._steps >= MOST_STEPS:
            self._at, self._steps = self._at + 1, 0
            rise_m = seen.positions[self._goal.thing][2] - self._height_m
            if self._at == LIFTED and rise_m < ABOVE_M / 2:  # it slipped
                self._tries += 1
                self._begin(seen)
        turn = rotvec_from_matrix(DOWN @ matrix_from_rotvec(seen.state[3:6].astype(float)).T)
        action = np.empty(7)
        action[:3] = np.clip(GAIN * left / TRANSLATION_M, -1, 1)
        action[3:6] = np.clip(GAIN * turn / ROTATION_RAD, -1, 1)
        action[6] = leg.gripper
        return action


def grip_height(thing: str) -> float:
    """Return how far above a thing's own origin it is gripped [m]."""
    return 0.045 if "bowl" in thing else 0.0


def put_height(goal: Goal) -> float:
    """Return how far above the target's origin the tool lets go [m]."""
    return 0.10 if goal.relation == "on" else 0.16
