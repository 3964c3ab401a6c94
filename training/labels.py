"""What a frame is labelled with: the motion to the next frame, in four forms side by side."""

from dataclasses import dataclass, replace

import numpy as np

from vla_ros.core.actions import ee_delta
from vla_ros.core.arm import ARM_JOINTS
from vla_ros.core.contract import Contract, Field, tap_contract
from vla_ros.core.errors import ContractError
from vla_ros.core.rotations import rotvec_from_matrix

STATE, POSE, ACTION = "observation.state", "observation.ee_pose", "action"
STATE_AXES = [*ARM_JOINTS, "opening"]
POSE_AXES = ["x", "y", "z", "rx", "ry", "rz"]
DELTA_AXES = ["dx", "dy", "dz", "drx", "dry", "drz", "gripper"]
# Label -> the column that holds its motion beside `action`, and its axes.
LABELS = {
    "reached": ("action.reached", DELTA_AXES),
    "commanded": ("action.commanded", DELTA_AXES),
    "joint": ("action.joint", STATE_AXES),
    "ee": ("action.ee_pose", [*POSE_AXES, "opening"]),
}
# Above the arm's reach of 0.65 m, and what a rotation vector can be.
MAX_POSE_M = 1.0
OPEN_FROM = 0.5


@dataclass(frozen=True)
class Tick:
    """The arm at one tick.

    Attributes:
        joints: (7,) 6 joints [rad] and opening [0, 1], measured.
        T: (4, 4) the tool in base_link, measured.
        commanded, T_commanded: the same as commanded; None where no command was recorded.
    """

    joints: np.ndarray
    T: np.ndarray
    commanded: np.ndarray | None
    T_commanded: np.ndarray | None


def vector_axes(label: str, has_commanded: bool) -> dict[str, list[str]]:
    """Return the columns of a frame and the names of their axes; `action` is the label's motion.

    `observation.state`: joints [rad] and opening. `observation.ee_pose`: tool position [m] and
    rotation vector [rad] in base_link. `action.reached` (where it is not `action`) and
    `action.commanded`: `ee_delta` between the measured, or the commanded, poses of this tick and
    the next; gripper as commanded at the next (as measured, where no command was recorded), 1 where
    the opening is at least 0.5. `action.joint`: joints [rad] and opening commanded at the next
    tick. `action.ee_pose`: tool pose of these joints, and the opening.

    Raises:
        ContractError: the label needs commands, and there are none.
    """
    there = [name for name in LABELS if has_commanded or name == "reached"]
    if label not in there:
        raise ContractError(
            f"label {label!r} needs commanded motion, which is not recorded; choose "
            f"{' or '.join(there)}, or name the topic of the commands in the source file"
        )
    beside = [name for name in there if name != "reached" or label != "reached"]
    return {
        STATE: STATE_AXES,
        POSE: POSE_AXES,
        ACTION: LABELS[label][1],
        **dict(LABELS[name] for name in beside),
    }


def actions_between(now: Tick, following: Tick, label: str) -> dict[str, np.ndarray]:
    """Return the action columns (k,) float32 of the frame at `now`, as `vector_axes` has them."""
    pressed = following.joints if following.commanded is None else following.commanded
    gripper = float(pressed[-1] >= OPEN_FROM)
    found = {"reached": ee_delta(now.T, following.T, gripper)}
    if following.commanded is not None:
        assert now.T_commanded is not None
        assert following.T_commanded is not None
        found["commanded"] = ee_delta(now.T_commanded, following.T_commanded, gripper)
        found["joint"] = following.commanded.astype(np.float32)
        found["ee"] = np.append(pose_vector(following.T_commanded), np.float32(pressed[-1]))
    columns = {LABELS[name][0]: action for name, action in found.items()}
    return {**columns, ACTION: found[label]}


def pose_vector(T: np.ndarray) -> np.ndarray:
    """Return position [m] and rotation vector [rad] (6,) float32 of a pose (4, 4)."""
    return np.concatenate([T[:3, 3], rotvec_from_matrix(T[:3, :3])]).astype(np.float32)


def label_contract(
    label: str, cameras: str | tuple[str, ...] = "front", image_size: int = 128, rate_hz: float = 5
) -> Contract:
    """Return the contract of a dataset whose `action` is the label's motion.

    Reached and commanded displacements are TAP's contract.
    """
    contract = tap_contract(cameras, image_size, rate_hz)
    if label == "joint":
        action = replace(contract.state, name="action")
        return replace(contract, name="joint", action_space="joint", action=action)
    if label == "ee":
        high = (*(MAX_POSE_M,) * 3, *contract.action.high[3:6])
        low = tuple(-bound for bound in high)
        opening = contract.state.low[-1], contract.state.high[-1]
        action = Field(
            "action",
            (7,),
            "float32",
            "m x 3, rad x 3, opening",
            (*low, opening[0]),
            (*high, opening[1]),
        )
        return replace(contract, name="ee", action_space="ee_pose", action=action)
    return contract
