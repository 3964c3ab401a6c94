"""The YAML file that says what a foreign dataset's columns mean, checked against the dataset.

    robot_model: wx250s
    kind: demo
    cameras: {front: observation.images.top}
    state:
      column: observation.state
      joints: [0, 1, 2, 3, 4, 5]
      gripper: {axis: 6, closed: 0.0, open: 1.0}
    pose:
      column: observation.ee_pose
      position: [0, 1, 2]
      rotation: {as: rotvec, axes: [3, 4, 5]}
    action:
      column: action
      is: ee_delta
      position: [0, 1, 2]
      rotation: {as: rpy, axes: [3, 4, 5]}
      gripper: {axis: 6, closed: 0.0, open: 1.0}

docs/data.md explains every key. An axis is a number, or a name that info.json gives it.
"""

from pathlib import Path

import numpy as np
import yaml

from training.lerobot.map import (
    ACTIONS,
    FRAMES,
    KNOWN_ARM,
    ROTATIONS,
    UNITS,
    Action,
    Gripper,
    JointAxes,
    Mapping,
    Pose,
    PoseAxes,
    State,
)
from vla_ros.core.arm import NUM_ARM_JOINTS
from vla_ros.core.episode import EPISODE_KINDS
from vla_ros.core.errors import ContractError
from vla_ros.policy.vla_eval_cameras import eye_from


def load_mapping(path: Path, features: dict[str, dict]) -> Mapping:
    """Return the mapping in the file at `path`, of a dataset with these features.

    Raises:
        ContractError: the file cannot be read, a key is missing, unknown or of another kind, or
            names a column or an axis that the dataset has not.
    """
    where = f"map {path}"
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ContractError(
            f"{where} cannot be read ({str(error).splitlines()[0]}); see docs/data.md"
        ) from None
    return _Reader(where, features).mapping(data)


class _Reader:
    """Reads a mapping; `where` and the dataset's features are for messages and axes."""

    def __init__(self, where: str, features: dict[str, dict]):
        self.where, self.features = where, features

    def mapping(self, data: object) -> Mapping:
        required = ("cameras", "state", "kind")
        optional = ("pose", "action", "task", "success", "calibrations", "robot_model")
        table = self.keys(data, "it", required, optional)
        kind, success = table["kind"], table.get("success")
        task, model = table.get("task", ""), table.get("robot_model", KNOWN_ARM)
        if kind not in EPISODE_KINDS:
            raise self.wrong("kind", f"one of {', '.join(EPISODE_KINDS)}", kind)
        if success not in (None, True, False):
            raise self.wrong("success", "true, false or left away", success)
        for key, value in (("task", task), ("robot_model", model)):
            if not isinstance(value, str):
                raise self.wrong(key, "a text", value)
        state = self.state(table["state"])
        if model == KNOWN_ARM and len(state.joints.axes) != NUM_ARM_JOINTS:
            raise self.wrong(
                "joints of state",
                f"the {NUM_ARM_JOINTS} joints of a {KNOWN_ARM} (give another robot_model if it is "
                "another arm)",
                list(state.joints.axes),
            )
        pose = table.get("pose")
        action = table.get("action")
        return Mapping(
            robot_model=model,
            kind=kind,
            success=success,
            task=task,
            cameras=self.cameras(table["cameras"]),
            calibrations=self.calibrations(table.get("calibrations", {}), table["cameras"]),
            state=state,
            pose=None if pose is None else self.pose(pose),
            action=None if action is None else self.action(action, state),
        )

    def wrong(self, what: str, expected: str, got: object) -> ContractError:
        return ContractError(
            f"{what} in {self.where} must be {expected}, got {got!r}; see docs/data.md"
        )

    def keys(
        self, value: object, what: str, required: tuple[str, ...], optional: tuple[str, ...] = ()
    ) -> dict:
        known = (*required, *optional)
        if not isinstance(value, dict) or not set(required) <= set(value) <= set(known):
            given = ", ".join(map(str, value)) if isinstance(value, dict) else value
            raise self.wrong(
                what,
                f"keys {', '.join(required)}"
                + (f" and, if wanted, {', '.join(optional)}" if optional else ""),
                given,
            )
        return value

    def column(self, value: object, what: str, *kinds: str) -> str:
        if not isinstance(value, str) or value not in self.features:
            known = [name for name, f in self.features.items() if f["dtype"] in kinds]
            raise self.wrong(what, f"a column of the dataset ({', '.join(known) or 'none'})", value)
        if self.features[value]["dtype"] not in kinds:
            raise self.wrong(
                what, f"a column of {' or '.join(kinds)}", self.features[value]["dtype"]
            )
        return value

    def cameras(self, value: object) -> dict[str, str]:
        if not isinstance(value, dict) or not value:
            raise self.wrong("cameras", "a column by name of the camera", value)
        return {
            str(name): self.column(column, f"camera {name}", "image", "video")
            for name, column in value.items()
        }

    def calibrations(self, value: object, cameras: dict) -> dict[str, dict]:
        table = self.keys(value, "calibrations", (), tuple(cameras))
        for name, row in table.items():
            try:
                eye_from(self.keys(row, f"calibration of {name}", ("K", "size", "T_base_camera")))
            except (ValueError, TypeError) as error:
                raise ContractError(
                    f"calibration of {name} in {self.where} is none ({error}); see docs/data.md"
                ) from None
        return table

    def axes(self, value: object, column: str, what: str, count: int | None) -> tuple[int, ...]:
        names, width = axis_names(self.features[column])
        expected = f"{count or 'one or more'} different axes of {column} (0 to {width - 1}" + (
            f", or {', '.join(names)})" if names else ")"
        )
        values = value if isinstance(value, list) else [value]
        numbered = {name: number for number, name in enumerate(names)}
        found = [numbered.get(a, -1) if isinstance(a, str) else a for a in values]
        numbers = tuple(axis for axis in found if type(axis) is int and 0 <= axis < width)
        if not len(set(numbers)) == len(values) == (count or len(values)) > 0:
            raise self.wrong(what, expected, value)
        return numbers

    def gripper(self, value: object, column: str, what: str) -> Gripper:
        table = self.keys(value, what, ("axis", "closed", "open"))
        ends = [table["closed"], table["open"]]
        if not all(type(end) in (int, float) and np.isfinite(end) for end in ends) or (
            ends[0] == ends[1]
        ):
            raise self.wrong(f"closed and open of {what}", "two different numbers", ends)
        (axis,) = self.axes(table["axis"], column, f"axis of {what}", 1)
        return Gripper(axis, float(ends[0]), float(ends[1]))

    def joints(self, table: dict, column: str, what: str, count: int | None) -> JointAxes:
        unit = table.get("unit", "rad")
        if unit not in UNITS:
            raise self.wrong(f"unit of {what}", " or ".join(UNITS), unit)
        axes = self.axes(table["joints"], column, f"joints of {what}", count)
        names, _ = axis_names(self.features[column])
        called = tuple(names[axis] if names else f"joint_{axis}" for axis in axes)
        return JointAxes(axes, called, UNITS[unit])

    def pose_axes(self, table: dict, column: str, what: str) -> PoseAxes:
        rotation = self.keys(table["rotation"], f"rotation of {what}", ("as", "axes"))
        if rotation["as"] not in ROTATIONS:
            raise self.wrong(f"rotation of {what}", " or ".join(ROTATIONS), rotation["as"])
        count = ROTATIONS[rotation["as"]]
        return PoseAxes(
            self.axes(table["position"], column, f"position of {what}", 3),
            self.axes(rotation["axes"], column, f"rotation of {what}", count),
            rotation["as"],
        )

    def state(self, value: object) -> State:
        table = self.keys(value, "state", ("column", "joints", "gripper"), ("unit",))
        column = self.column(table["column"], "column of state", "float32", "float64")
        return State(
            column,
            self.joints(table, column, "state", None),
            self.gripper(table["gripper"], column, "gripper of state"),
        )

    def pose(self, value: object) -> Pose:
        table = self.keys(value, "pose", ("column", "position", "rotation"))
        column = self.column(table["column"], "column of pose", "float32", "float64")
        return Pose(column, self.pose_axes(table, column, "pose"))

    def action(self, value: object, state: State) -> Action:
        meaning = value.get("is") if isinstance(value, dict) else None
        if meaning not in ACTIONS:
            raise self.wrong("is of action", f"one of {', '.join(ACTIONS)}", meaning)
        is_joints = meaning == "joints"
        needed = ("joints",) if is_joints else ("position", "rotation")
        more = ("unit",) if is_joints else ("frame",) if meaning == "ee_delta" else ()
        table = self.keys(value, "action", ("column", "is", *needed), ("gripper", *more))
        column = self.column(table["column"], "column of action", "float32", "float64")
        frame = table.get("frame", "base")
        if frame not in FRAMES:
            raise self.wrong("frame of action", " or ".join(FRAMES), frame)
        gripper = table.get("gripper")
        count = len(state.joints.axes)
        return Action(
            column,
            meaning,
            self.joints(table, column, "action", count) if is_joints else None,
            None if is_joints else self.pose_axes(table, column, "action"),
            frame,
            None if gripper is None else self.gripper(gripper, column, "gripper of action"),
        )


def axis_names(feature: dict) -> tuple[list[str], int]:
    """Return the names that info.json gives the axes, none if it does not, and how many there are.

    Names come as a list, or as the only list in a table ({"motors": [...]}).
    """
    names, (width, *_) = feature.get("names"), feature["shape"]
    if isinstance(names, dict) and len(names) == 1:
        names = next(iter(names.values()))
    if not isinstance(names, list) or len(names) != width:
        return [], int(width)
    return [str(name) for name in names], int(width)
