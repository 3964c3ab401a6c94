"""What an observation says of where the tool is: by the joints of a known arm, or in words."""

import numpy as np

from vla_ros.core import arm, kinematics
from vla_ros.core.contract import Contract
from vla_ros.core.errors import ContractError


def tool_poses(contract: Contract, states: np.ndarray, tools: np.ndarray | None) -> np.ndarray:
    """Return the tool's poses (P + 1, 4, 4) at `states` (P + 1, N) in base_link [m].

    Args:
        contract: of the policy.
        states: as measured, the present last.
        tools: what the observation says of them; None: nothing.

    Raises:
        ContractError: it says nothing, and the joints are those of an arm that is not known; or
            what it says is no poses.
    """
    if tools is not None:
        if tools.shape != (len(states), 4, 4) or not np.all(np.isfinite(tools)):
            raise ContractError(
                f"tool poses must be {len(states)} finite matrices (4, 4), got shape {tools.shape};"
                " check who makes the observation"
            )
        return tools
    if contract.robot_model not in arm.ROBOT_MODELS:
        raise ContractError(
            f"where the tool of a {contract.robot_model} is cannot be had from its joints, and "
            "this policy's chunks begin there; have the observation say it"
        )
    return np.stack([kinematics.forward(q) for q in states[:, : arm.NUM_ARM_JOINTS]])
