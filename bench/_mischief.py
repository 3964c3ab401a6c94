"""What goes wrong on the commander's side of the soak, at random: the rest is `sim.faults`.

nan_target: what the mission asks for is no number. far_target: it is outside the joint limits, the
box, or under the table. silent_mission: it asks for nothing more. held_up: the node's process gets
no time, and no command is sent. second_commander: somebody else sends goals to the same driver, the
pose at which the arm was as that began, and is noticed within a second, as by `ArmClient`.
"""

import numpy as np

from vla_ros.sim.faults import Fault

NAMES = ("nan_target", "far_target", "silent_mission", "held_up", "second_commander")
# Shortest and longest [s]; the second commander goes once the node has ended.
_DURATION_S = (0.06, 2.0)
_BEGIN_S = 30.0


def mischief(simulated_s: float, per_hour: float, seed: int) -> list[Fault]:
    """Return faults out of `NAMES`, so many an hour on average, over this time [s]."""
    random = np.random.default_rng(seed)
    faults, at_s = [], _BEGIN_S
    while (at_s := at_s + float(random.exponential(3600.0 / per_hour))) < simulated_s:
        name = NAMES[int(random.integers(len(NAMES)))]
        faults.append(Fault(name, at_s, float(random.uniform(*_DURATION_S))))
    return faults


def far_target(random: np.random.Generator, q_rad: np.ndarray) -> np.ndarray:
    """Return joints (6,) [rad] near or far from q (6,) [rad], legal or, mostly, not."""
    return q_rad + random.choice([0.3, 2.0, 100.0]) * random.standard_normal(6)
