"""What a frame is labelled with: the motion to the next frame, in four forms side by side."""

from dataclasses import dataclass, replace

import numpy as np

from vla_ros.core.actions import ee_delta
from vla_ros.core.arm import ARM_JOINTS, NUM_ARM_JOINTS
from vla_ros.core.contract import Contract, tap_contract
from vla_ros.core.errors import ContractError
from vla_ros.core.rotations import rotvec_from_matrix

STATE, POSE, ACTION = "observation.state", "observation.ee_pose", "action"
POSE_AXES = ["x", "y", "z", "rx", "ry", "rz"]
DELTA_AXES = ["dx", "dy", "dz", "drx", "dry", "drz", "gripper"]
# Label -> the column that holds its motion beside `action`.
LABELS = {
    "reached": "action.reached",
    "commanded": "action.commanded",
    "joint": "action.joint",
    "ee": "action.ee_pose",
}
# Above the arm's reach of 0.65 m, and above pi, which is what a rotation vector can be.
MAX_POSE_M = 1.0
MAX_ROTVEC_RAD = 3.15
# Radians of any joint, metres of any slide.
MAX_FOREIGN_JOINT = 100.0
OPEN_FROM = 0.5
# A commanded opening moves where it changes by so much from a tick to the next.
MOVING = 0.02


@dataclass(frozen=True)
class Recorded:
    """What kind of motion a recording tells of.

    Attributes:
        joints: names of the arm's joints, J of them.
        has_kinematics: whether joints tell the tool's pose.
        has_pose: whether the measured tool pose is known, by kinematics or from a topic.
        has_commanded: whether commands were recorded.
    """

    joints: tuple[str, ...] = ARM_JOINTS
    has_kinematics: bool = True
    has_pose: bool = True
    has_commanded: bool = True

    @property
    def labels(self) -> list[str]:
        """The labels that can be had."""
        needs = {
            "reached": self.has_pose,
            "commanded": self.has_commanded and self.has_kinematics,
            "joint": self.has_commanded,
            "ee": self.has_commanded and self.has_kinematics,
        }
        return [label for label in LABELS if needs[label]]


@dataclass(frozen=True)
class Tick:
    """The arm at one tick.

    Attributes:
        joints: (J + 1,) joints [rad] and opening [0, 1], measured.
        T: (4, 4) the tool in base_link, measured; None where that is not known.
        commanded, T_commanded: the same as commanded; None where that is not known.
    """

    joints: np.ndarray
    T: np.ndarray | None
    commanded: np.ndarray | None
    T_commanded: np.ndarray | None


def vector_axes(label: str, recorded: Recorded) -> dict[str, list[str]]:
    """Return the columns of a frame and the names of their axes; `action` is the label's motion.

    `observation.state`: joints [rad] and opening. `observation.ee_pose`: tool position [m] and
    rotation vector [rad] in base_link. `action.reached` (where it is not `action`) and
    `action.commanded`: `ee_delta` between the measured, or the commanded, poses of this tick and
    the next; gripper 1 or 0, see `asked_gripper`. `action.joint`: joints [rad] and opening
    commanded at the next tick. `action.ee_pose`: tool pose of these joints, and the opening.

    Raises:
        ContractError: the recording does not tell the label's motion.
    """
    if label not in recorded.labels:
        raise ContractError(
            f"label {label!r} cannot be had from what the source names: that would do for "
            f"{' or '.join(recorded.labels) or 'none'}; choose another label, or name the topics "
            "of the commands and of the tool pose in the source file"
        )
    state = [*recorded.joints, "opening"]
    axes = {
        "reached": DELTA_AXES,
        "commanded": DELTA_AXES,
        "joint": state,
        "ee": [*POSE_AXES, "opening"],
    }
    beside = [name for name in recorded.labels if name != "reached" or label != "reached"]
    return {
        STATE: state,
        **({POSE: POSE_AXES} if recorded.has_pose else {}),
        ACTION: axes[label],
        **{LABELS[name]: axes[name] for name in beside},
    }


def actions_between(now: Tick, following: Tick, label: str) -> dict[str, np.ndarray]:
    """Return the action columns (k,) float32 of the frame at `now`, as `vector_axes` has them."""
    gripper, found = asked_gripper(now, following), {}
    if now.T is not None and following.T is not None:
        found["reached"] = ee_delta(now.T, following.T, gripper)
    if following.commanded is not None:
        found["joint"] = following.commanded.astype(np.float32)
        if now.T_commanded is not None and following.T_commanded is not None:
            found["commanded"] = ee_delta(now.T_commanded, following.T_commanded, gripper)
            opening = np.float32(following.commanded[-1])
            found["ee"] = np.append(pose_vector(following.T_commanded), opening)
    return {LABELS[name]: action for name, action in found.items()} | {ACTION: found[label]}


def asked_gripper(now: Tick, following: Tick) -> float:
    """Return whether the gripper is asked to be open (1) or closed (0) from one tick to the next.

    A command that moves is on its way to an end: the safety layer lets the opening change by 2 a
    second, so that after a tick of 0.2 s "close" still is an opening of 0.6. Taken by its size
    alone it would say "open" of the very picture at which the hand has to close. At rest, and where
    no command was recorded but what was measured, 1 is an opening of at least 0.5.
    """
    if following.commanded is None:
        return float(following.joints[-1] >= OPEN_FROM)
    opening = following.commanded[-1]
    change = 0.0 if now.commanded is None else opening - now.commanded[-1]
    return float(change > 0) if abs(change) >= MOVING else float(opening >= OPEN_FROM)


def pose_vector(T: np.ndarray) -> np.ndarray:
    """Return position [m] and rotation vector [rad] (6,) float32 of a pose (4, 4)."""
    return np.concatenate([T[:3, 3], rotvec_from_matrix(T[:3, :3])]).astype(np.float32)


def label_contract(
    label: str,
    cameras: str | tuple[str, ...] = "front",
    image_size: int = 128,
    rate_hz: float = 5.0,
    robot_model: str = "wx250s",
    num_joints: int = NUM_ARM_JOINTS,
) -> Contract:
    """Return the contract of a dataset whose `action` is the label's motion.

    Reached and commanded displacements of a wx250s are TAP's contract. Of another arm's joints
    nothing is known but that they are numbers.
    """
    contract = tap_contract(cameras, image_size, rate_hz)
    state = contract.state
    assert isinstance(state.low, tuple)
    assert isinstance(state.high, tuple)
    opening = state.low[-1], state.high[-1]
    if robot_model != contract.robot_model:
        low = (*(-MAX_FOREIGN_JOINT,) * num_joints, opening[0])
        high = (*(MAX_FOREIGN_JOINT,) * num_joints, opening[1])
        shape, unit = (num_joints + 1,), f"as recorded x {num_joints}, opening"
        state = replace(state, shape=shape, unit=unit, low=low, high=high)
        contract = replace(contract, name="foreign", robot_model=robot_model, state=state)
    if label == "joint":
        action = replace(state, name="action")
        return replace(contract, name="joint", action_space="joint", action=action)
    if label == "ee":
        span = (*(MAX_POSE_M,) * 3, *(MAX_ROTVEC_RAD,) * 3)
        low, high = (*(-bound for bound in span), opening[0]), (*span, opening[1])
        action = replace(contract.action, unit="m x 3, rad x 3, opening", low=low, high=high)
        return replace(contract, name="ee", action_space="ee_pose", action=action)
    return contract
