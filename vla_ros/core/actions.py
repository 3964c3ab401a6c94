"""End-effector delta actions and their inverse.

Action `ee_delta` (7,): translation (3) [m] and rotation vector (3) [rad] of the tool between two
frames, both along the axes of base_link, then the gripper (1 open, 0 closed). The rotation acts
from the left: R_next = exp(rotation) R_now. TAP (arXiv 2607.02466) uses this 7-D form.
"""

import numpy as np

from vla_ros.core.errors import ContractError
from vla_ros.core.rotations import matrix_from_rotvec, rotvec_from_matrix, transform

GRIPPER_INDEX = 6


def ee_delta(T_now: np.ndarray, T_next: np.ndarray, opening_next: float) -> np.ndarray:
    """Return the action (7,) float32 that takes the tool from T_now to T_next (4, 4, base_link).

    `opening_next` is passed on as the gripper's value, unrounded.
    """
    action = np.empty(7, dtype=np.float32)
    action[:3] = T_next[:3, 3] - T_now[:3, 3]
    action[3:6] = rotvec_from_matrix(T_next[:3, :3] @ T_now[:3, :3].T)
    action[GRIPPER_INDEX] = opening_next
    return action


def apply_ee_delta(T_now: np.ndarray, action: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the tool pose (4, 4) and gripper opening that `action` (7,) asks for from T_now.

    The opening is clipped to [0, 1].

    Raises:
        ContractError: the action has another shape or is not finite.
    """
    action = np.asarray(action, dtype=np.float64)
    if action.shape != (7,) or not np.all(np.isfinite(action)):
        raise ContractError(
            f"action must be 7 finite numbers (ee_delta), got shape {action.shape} {action}; "
            "check the policy that made it"
        )
    T_next = transform(matrix_from_rotvec(action[3:6]) @ T_now[:3, :3], T_now[:3, 3] + action[:3])
    return T_next, float(np.clip(action[GRIPPER_INDEX], 0.0, 1.0))
