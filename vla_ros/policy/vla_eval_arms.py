"""What vla-eval's benchmarks say of their arms and take for actions, beside what contracts say.

Facts of vla-eval 0.8.0: LIBERO's actions are shares of what its controller does at most, and close
the gripper with +1; SIMPLER's WidowX takes metres and radians, and opens above 0.5. In both a
rotation is a rotation vector, along the axes of the base, from the left; so it is in ours.
"""

from dataclasses import dataclass

import numpy as np

from vla_ros.core.actions import GRIPPER_INDEX
from vla_ros.core.contract import Contract
from vla_ros.core.errors import ContractError
from vla_ros.core.rotations import matrix_from_rotvec, transform

# Of vla-eval's specifications: name, numbers, form, range.
_POSITION = {"name": "position", "dims": 3, "format": "delta_xyz", "range": [-1, 1]}
_ROTATION = {"name": "rotation", "dims": 3, "format": "axis_angle", "range": [-3.15, 3.15]}
_IMAGE = {"name": "image", "dims": 0, "format": "rgb_hwc_uint8"}
_LANGUAGE = {"name": "language", "dims": 0, "format": "language"}


@dataclass(frozen=True)
class Arm:
    """One kind of arm, as a benchmark has it.

    Attributes:
        benchmark: its name, for messages.
        rate_hz: of its actions.
        unit_m, unit_rad: of an action's numbers.
        most: how large they may be.
        closed, open: an action's gripper.
        gripper: vla-eval's word for that.
        state: vla-eval's word for what it says of the tool, "" where we take nothing of it.
        finger_m: where the first finger is when the gripper is open [m].
        camera: what it calls the first camera; "": as the contract does.
    """

    benchmark: str
    rate_hz: float
    unit_m: float
    unit_rad: float
    most: float
    closed: float
    open: float
    gripper: str
    state: str = ""
    finger_m: float = 1.0
    camera: str = ""

    def action(self, delta: np.ndarray) -> np.ndarray:
        """Return the benchmark's action (7,) float32 for a displacement (`core.actions`).

        What is more than it takes is made shorter, in the same direction.
        """
        action = np.empty(7, np.float32)
        for part, unit in ((slice(0, 3), self.unit_m), (slice(3, 6), self.unit_rad)):
            asked = np.asarray(delta[part], np.float64) / unit
            action[part] = asked * min(1.0, self.most / max(float(np.abs(asked).max()), 1e-9))
        action[GRIPPER_INDEX] = self.open if delta[GRIPPER_INDEX] > 0.5 else self.closed
        return action

    def state_of(self, states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return our state (7,), position, rotation vector and opening, and the tool's pose (4, 4).

        Raises:
            ContractError: `states` is not what the benchmark says.
        """
        if not self.state or states.shape != (8,):
            raise ContractError(
                f"states of {self.benchmark} must be {self.state or 'known here'}, got shape "
                f"{states.shape}; score this checkpoint on another benchmark"
            )
        told = states.astype(np.float64)
        tool = transform(matrix_from_rotvec(told[3:6]), told[:3])
        return np.append(told[:6], told[6] / self.finger_m), tool

    def specs(self, names: tuple[str, ...], needs_state: bool) -> dict:
        """Return what a server says of itself in its hello, plain types.

        Args:
            names: of the pictures that it looks at.
            needs_state: whether it wants to be told of the tool.
        """
        gripper = {"name": "gripper", "dims": 1, "format": self.gripper}
        seen = {**dict.fromkeys(names, _IMAGE), "language": _LANGUAGE}
        if needs_state:
            seen["state"] = {"name": "state", "dims": 8, "format": self.state}
        return {
            "action_spec": {"position": _POSITION, "rotation": _ROTATION, "gripper": gripper},
            "observation_spec": seen,
            "observation_params": {
                **({"send_wrist_image": True} if "wrist" in names else {}),
                **({"send_state": True} if needs_state else {}),
            },
        }


# By the robot model of a contract.
ARMS = {
    "libero_panda": Arm(
        benchmark="LIBERO",
        rate_hz=20.0,
        unit_m=0.05,
        unit_rad=0.5,
        most=1.0,
        closed=1.0,
        open=-1.0,
        gripper="binary_close_positive",
        state="eef_pos3_axisangle3_gripper2",
        finger_m=0.04,
    ),
    "wx250s": Arm(
        benchmark="SIMPLER's WidowX tasks",
        rate_hz=5.0,
        unit_m=1.0,
        unit_rad=1.0,
        most=np.inf,
        closed=0.0,
        open=1.0,
        gripper="continuous_01",
        camera="primary",
    ),
}


def arm_of(contract: Contract) -> Arm:
    """Return the arm that a checkpoint of this contract moves in a benchmark.

    Raises:
        ContractError: there is none, its actions are of another kind or rate, or it would have to
            know what the benchmark does not say.
    """
    arm = ARMS.get(contract.robot_model)
    if arm is None:
        raise ContractError(
            f"no benchmark of vla-eval has a {contract.robot_model} that is known here; known: "
            f"{', '.join(ARMS)}"
        )
    if contract.action_space not in ("ee_delta", "ee_chunk"):
        raise ContractError(
            f"{arm.benchmark} takes displacements of the tool, and this checkpoint's actions are "
            f"{contract.action_space}; train one with --label commanded or reached"
        )
    if contract.needs_extrinsics and not arm.state:
        raise ContractError(
            f"{arm.benchmark} does not say where the tool is in our terms, and this checkpoint's "
            "chunks begin there; score a TAP checkpoint"
        )
    if abs(contract.rate_hz - arm.rate_hz) > 1e-6:
        raise ContractError(
            f"{arm.benchmark} takes {arm.rate_hz:g} actions a second, and this checkpoint's are "
            f"for {contract.rate_hz:g}; import its data with --rate {arm.rate_hz:g}"
        )
    return arm
