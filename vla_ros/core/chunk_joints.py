"""A policy's chunk as joint way-points: inverse kinematics, each from the way-point before."""

from typing import NamedTuple

import numpy as np

from vla_ros.core import kinematics
from vla_ros.core.actions import apply_ee_delta
from vla_ros.core.errors import KinematicsError
from vla_ros.core.joint_plan import JointPlan
from vla_ros.core.limits import SafetyLimits
from vla_ros.core.observation import Chunk

# A pose that the arm cannot take is taken as nearly as it can, if it falls short by no more than
# this: what a policy may ask for in one step. A joint that is at its limit would otherwise hold the
# whole arm for a millimetre, in front of a picture that stays the same.
SHORT_M, SHORT_RAD = 0.05, 0.3


class Way(NamedTuple):
    """A chunk in joint space.

    Attributes:
        plan: its way-points.
        cut: why it ends before the chunk does; empty where it does not.
    """

    plan: JointPlan
    cut: str


def joint_way(chunk: Chunk, stamp_ns: int, q_start: np.ndarray, limits: SafetyLimits) -> Way:
    """Return a chunk's way-points, up to the first that is out of reach.

    What lies behind that one would be reached from elsewhere. Poses outside the workspace are
    taken at its bound, and those that a joint's limit is in the way of as nearly as SHORT_M and
    SHORT_RAD allow: a network aims a little too low as often as too high, and displacements that
    were added up beyond it would have to be undone one by one.

    Args:
        chunk: poses to command, or displacements, which begin at `q_start`.
        stamp_ns: time of its observation [ns].
        q_start: joints (6,) [rad] whose branch of the inverse kinematics is kept.
        limits: of the workspace.

    Raises:
        KinematicsError: the first way-point is out of reach.
        ContractError: an action is none.
    """
    joints, cut = [], ""
    q = q_start
    for h, action in enumerate(chunk.actions):
        if chunk.T_base_tool is None:
            T, _ = apply_ee_delta(kinematics.forward(q), action)
        else:
            T = chunk.T_base_tool[h]
        T = limits.clamp_pose(T)
        try:
            q = kinematics.inverse(T, q, SHORT_M, SHORT_RAD)
        except KinematicsError as error:
            if not joints:
                raise
            cut = f"way-point {h + 1} of {len(chunk)}: {error}"
            break
        joints.append(q)
    openings = chunk.openings[: len(joints)]
    from_arrival = chunk.T_base_tool is None
    return Way(JointPlan(stamp_ns, chunk.period_s, np.array(joints), openings, from_arrival), cut)
