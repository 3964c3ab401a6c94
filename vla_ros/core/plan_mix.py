"""Several plans that overlap, read as one smooth curve over plan time.

Plan time runs as the arm follows: 1 s a second normally, slower where it brakes, not at all where
it holds. A plan's place on it is that of its observation, so what was done of a plan is known
however long the network took, and a new one goes on where the arm is.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vla_ros.core.joint_plan import Curve

# Steepest points of the step below, over 1 s: its 1st, 2nd and 3rd derivative.
STEEPEST = (1.875, 5.774, 60.0)
# Taking over takes at most this share of each limit: the rest is for the motion itself.
_SHARE = 0.5
# Entering this much earlier or later on a plan costs as much as being this far from it [rad/s].
_SHIFT_COST_RAD_S = 0.02
# So many places are compared.
SHIFTS = 41


@dataclass(frozen=True, eq=False)
class Part:
    """One plan on the axis of plan time.

    Attributes:
        curve: its path; None: it stays at `hold`.
        hold: joints (6,) [rad].
        origin_s: plan time of its start [s].
        enter_s, blend_s: from when on, and for how long, it takes over [s].
    """

    curve: Curve | None
    hold: np.ndarray
    origin_s: float
    enter_s: float
    blend_s: float

    @property
    def end_s(self) -> float:
        """Plan time of its last way-point [s]."""
        return self.origin_s + (self.curve.plan.duration_s if self.curve else 0.0)

    def at(self, plan_s: float) -> np.ndarray:
        """Return the joints (6,) [rad]."""
        return self.curve.at(plan_s - self.origin_s) if self.curve else self.hold

    def opening_at(self, plan_s: float) -> float:
        """Return the gripper's opening; 1 where there is no curve."""
        return self.curve.opening_at(plan_s - self.origin_s) if self.curve else 1.0

    def share(self, plan_s: float) -> float:
        """Return how far it has taken over, 0 to 1."""
        return smooth_step((plan_s - self.enter_s) / self.blend_s)


def smooth_step(x: float) -> float:
    """Return 0 before 0, 1 after 1, and in between what leaves and arrives at rest."""
    x = min(max(x, 0.0), 1.0)
    return x**3 * (10.0 - 15.0 * x + 6.0 * x**2)


def nearest_s(
    curve: Curve, since_s: float, here: np.ndarray, most_s: float, period_s: float
) -> float:
    """Return how much later than `since_s` a curve comes nearest to joints (6,) [s].

    Args:
        curve: what is entered.
        since_s: where it is by its stamp [s].
        here: the joints (6,) [rad].
        most_s: it may be so much earlier or later [s].
        period_s: what must be left of it [s].
    """
    left_s = max(curve.plan.duration_s - since_s - period_s, 0.0)
    shifts_s = np.linspace(-min(most_s, since_s), min(most_s, left_s), SHIFTS)
    shifts_s = np.append(shifts_s, 0.0)
    apart = np.array([curve.at(since_s + shift_s) - here for shift_s in shifts_s])
    cost = np.sum(apart**2, axis=1) + (_SHIFT_COST_RAD_S * shifts_s) ** 2
    return float(shifts_s[np.argmin(cost)])


def crossing_s(
    apart: np.ndarray, parting: np.ndarray, limits: tuple[np.ndarray, np.ndarray, float]
) -> float:
    """Return in which time one plan can take over from another [s].

    Args:
        apart: how far the two are apart (6,) [rad].
        parting: how quickly they part (6,) [rad/s].
        limits: velocity (6,), acceleration (6,) and jerk [rad/s, rad/s^2, rad/s^3].
    """
    times_s = [
        (steepest * np.abs(apart) / (_SHARE * limit)) ** (1.0 / order)
        for order, (steepest, limit) in enumerate(zip(STEEPEST, limits, strict=True), 1)
    ]
    # A mix of two that part has twice the product of their speed and the share's.
    times_s.append(2.0 * STEEPEST[0] * np.abs(parting) / (_SHARE * limits[1]))
    return float(np.max(times_s))


def blended(parts: Sequence[Part], plan_s: float) -> np.ndarray:
    """Return the joints (6,) where each part has taken over from those before by its share."""
    q = parts[0].at(plan_s)
    for part in parts[1:]:
        q = q + part.share(plan_s) * (part.at(plan_s) - q)
    return q


def ensembled(parts: Sequence[Part], plan_s: float, decay: float) -> np.ndarray:
    """Return the joints (6,) as the weighted mean of all parts that still speak.

    ACT's temporal ensembling: weights exp(-decay x steps after the oldest), so that the oldest
    weighs most (Zhao et al. 2023, "Learning Fine-Grained Bimanual Manipulation"). Each part's
    weight grows as it comes and fades before its last way-point, so that nothing jumps.
    """
    weights, joints = [], []
    for part, successor in zip(parts, [*parts[1:], None], strict=True):
        weight = part.share(plan_s) if part is not parts[0] else 1.0
        if successor is not None:
            fading_s = max(part.end_s - successor.blend_s, successor.enter_s)
            weight *= 1.0 - smooth_step((plan_s - fading_s) / successor.blend_s)
        if weight > 0.0:
            step_s = part.curve.plan.step_s if part.curve else 1.0
            steps = (part.origin_s - parts[0].origin_s) / step_s
            weights.append(weight * np.exp(-decay * steps))
            joints.append(part.at(plan_s))
    return np.average(joints, axis=0, weights=weights)
