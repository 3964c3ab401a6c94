"""Rows of a foreign dataset to this package's frames: state, tool pose and the label's motion.

A frame takes every k-th row. Motion is that between a frame and the next: of the measured poses
(reached), or of what the rows between ask for. What a row does not tell yields no frame.
"""

from dataclasses import dataclass

import numpy as np

from training.datasets.labels import (
    ACTION,
    DELTA_AXES,
    OPEN_FROM,
    POSE,
    POSE_AXES,
    STATE,
    pose_vector,
)
from training.lerobot.map import Action, JointAxes, Mapping, PoseAxes
from vla_ros.core.actions import ee_delta
from vla_ros.core.errors import ContractError
from vla_ros.core.kinematics import forward
from vla_ros.core.rotations import (
    matrix_from_quat,
    matrix_from_rotvec,
    matrix_from_rpy,
    transform,
)


@dataclass(frozen=True)
class Motion:
    """The rows of one episode, in this package's terms.

    Attributes:
        q, opening: (N, J) [rad] and (N,) [0 closed, 1 open], measured.
        poses: N tool poses (4, 4) in base_link; None where they are not known.
        changes: N changes (4, 4) of the tool's pose along base_link's axes, from each row to the
            next; None where the action is none.
        targets: N tool poses (4, 4) asked for at the next row; None where it tells none.
        target_q: (N, J) joints asked for at the next row [rad]; None where it tells none.
        pressed: (N,) opening asked for at the next row; None where it is not.
    """

    q: np.ndarray
    opening: np.ndarray
    poses: list[np.ndarray] | None
    changes: list[np.ndarray] | None
    targets: list[np.ndarray] | None
    target_q: np.ndarray | None
    pressed: np.ndarray | None

    @property
    def is_told(self) -> np.ndarray:
        """Whether all that a row says of these is finite and a rotation (N,)."""
        parts = [self.q, self.opening, self.poses, self.changes, self.targets, self.target_q]
        told = [part for part in (*parts, self.pressed) if part is not None]
        rows = [np.reshape(part, (len(self.q), -1)) for part in told]
        return np.all(np.isfinite(np.concatenate(rows, axis=1)), axis=1)


def labels_of(mapping: Mapping) -> list[str]:
    """Return the labels that can be had of a dataset with this mapping."""
    has_pose = mapping.pose is not None or mapping.has_kinematics
    meaning = mapping.action.meaning if mapping.action else ""
    has_target = meaning == "ee_pose" or (meaning == "joints" and mapping.has_kinematics)
    needs = {
        "reached": has_pose,
        "commanded": meaning == "ee_delta" or has_target,
        "joint": meaning == "joints",
        "ee": has_target,
    }
    return [label for label, can_be_had in needs.items() if can_be_had]


def require_label(mapping: Mapping, label: str) -> None:
    """Raise ContractError unless the mapping tells the label's motion."""
    labels = labels_of(mapping)
    if label not in labels:
        raise ContractError(
            f"label {label!r} cannot be had from what the map names: that would do for "
            f"{' or '.join(labels) or 'none'}; choose another label, or name pose and action"
        )
    action = mapping.action
    if action and action.frame == "tool" and not (mapping.pose or mapping.has_kinematics):
        raise ContractError(
            "an action in the tool's frame needs the tool's pose; name it as pose in the map"
        )


def vector_axes(mapping: Mapping, label: str) -> dict[str, list[str]]:
    """Return the columns of a frame and the names of their axes."""
    state = [*mapping.state.joints.names, "opening"]
    axes = {"joint": state, "ee": [*POSE_AXES, "opening"]}
    has_pose = mapping.pose is not None or mapping.has_kinematics
    return {
        STATE: state,
        **({POSE: POSE_AXES} if has_pose else {}),
        ACTION: axes.get(label, DELTA_AXES),
    }


def motion_of(mapping: Mapping, columns: dict[str, np.ndarray]) -> Motion:
    """Return the motion in columns (N, k) of one episode's rows."""
    columns = {name: _finite_or_nan(values) for name, values in columns.items()}
    rows = columns[mapping.state.column]
    q = _joints(mapping.state.joints, rows)
    opening = mapping.state.gripper.opening(rows)
    poses = None
    if mapping.pose is not None:
        poses = _poses(mapping.pose.axes, columns[mapping.pose.column])
    elif mapping.has_kinematics:
        poses = [forward(joints) for joints in q]
    changes, targets, target_q, pressed = None, None, None, None
    action = mapping.action
    if action is not None:
        asked = columns[action.column]
        pressed = None if action.gripper is None else action.gripper.opening(asked)
        if action.meaning == "ee_delta":
            changes = _changes(action, asked, poses)
        elif action.pose is not None:
            targets = _poses(action.pose, asked)
        elif action.joints is not None:
            target_q = _joints(action.joints, asked)
            targets = [forward(q) for q in target_q] if mapping.has_kinematics else None
    return Motion(q, opening, poses, changes, targets, target_q, pressed)


def frame_vectors(motion: Motion, at: int, stride: int, label: str) -> dict[str, np.ndarray] | None:
    """Return the vectors of the frame at row `at`, the next being `stride` rows on.

    None where the episode does not tell its motion: at its end, or before its first command.
    """
    action = _action(motion, at, at + stride, label)
    if action is None:
        return None
    state = np.append(motion.q[at], motion.opening[at]).astype(np.float32)
    pose = {} if motion.poses is None else {POSE: pose_vector(motion.poses[at])}
    return {STATE: state, **pose, ACTION: action}


def _action(motion: Motion, at: int, end: int, label: str) -> np.ndarray | None:
    last = end - 1
    opening = motion.opening if motion.pressed is None else motion.pressed
    number = end if motion.pressed is None else last
    if max(number, end if label == "reached" else last) >= len(motion.q):
        return None
    opening = float(opening[number])
    gripper = float(opening >= OPEN_FROM)
    if label == "reached":
        assert motion.poses is not None
        return ee_delta(motion.poses[at], motion.poses[end], gripper)
    if label == "joint":
        assert motion.target_q is not None
        return np.append(motion.target_q[last], opening).astype(np.float32)
    if label == "ee":
        assert motion.targets is not None
        return np.append(pose_vector(motion.targets[last]), np.float32(opening))
    if motion.changes is not None:
        return ee_delta(np.eye(4), _one_after_the_other(motion.changes[at:end]), gripper)
    assert motion.targets is not None
    return None if at == 0 else ee_delta(motion.targets[at - 1], motion.targets[last], gripper)


def _one_after_the_other(changes: list[np.ndarray]) -> np.ndarray:
    """Return the change (4, 4) of all of them: translations add up, rotations act from the left."""
    rotation = np.eye(3)
    for change in changes:
        rotation = change[:3, :3] @ rotation
    return transform(rotation, np.sum([change[:3, 3] for change in changes], axis=0))


def _finite_or_nan(values: np.ndarray) -> np.ndarray:
    values = values.astype(np.float64)
    return np.where(np.isfinite(values), values, np.nan)  # sines take no infinity


def _joints(axes: JointAxes, rows: np.ndarray) -> np.ndarray:
    return rows[:, list(axes.axes)] * axes.unit_rad


def _rotation(form: str, numbers: np.ndarray) -> np.ndarray:
    if form == "rpy":
        return matrix_from_rpy(*numbers)
    if form == "rotvec":
        return matrix_from_rotvec(numbers)
    quat_wxyz = np.roll(numbers, 1) if form == "quaternion_xyzw" else numbers
    # Rows filled with zeros are no rotation.
    is_rotation = np.linalg.norm(quat_wxyz) > 0.5
    return matrix_from_quat(quat_wxyz) if is_rotation else np.full((3, 3), np.nan)


def _poses(axes: PoseAxes, rows: np.ndarray) -> list[np.ndarray]:
    return [
        transform(_rotation(axes.form, row[list(axes.rotation)]), row[list(axes.position)])
        for row in rows
    ]


def _changes(action: Action, rows: np.ndarray, poses: list[np.ndarray] | None) -> list[np.ndarray]:
    assert action.pose is not None
    changes = _poses(action.pose, rows)
    if action.frame == "base":
        return changes
    assert poses is not None
    return [
        transform(T[:3, :3] @ c[:3, :3] @ T[:3, :3].T, T[:3, :3] @ c[:3, 3])
        for T, c in zip(poses, changes, strict=True)
    ]
