"""What the columns of a foreign dataset mean: cameras, measured joints, tool pose and action."""

from dataclasses import asdict, dataclass, field

import numpy as np

from training.recordings.source import KNOWN_ARM

# Forms of a rotation and how many numbers each takes.
ROTATIONS = {"rotvec": 3, "rpy": 3, "quaternion_xyzw": 4, "quaternion_wxyz": 4}
ACTIONS = ("ee_delta", "ee_pose", "joints")
FRAMES = ("base", "tool")
UNITS = {"rad": 1.0, "deg": float(np.pi / 180)}


@dataclass(frozen=True)
class Gripper:
    """The axis that tells the gripper, and its values when closed and open."""

    axis: int
    closed: float
    open: float

    def opening(self, rows: np.ndarray) -> np.ndarray:
        """Return the opening (N,), 0 closed and 1 open, of rows (N, k)."""
        return (rows[:, self.axis] - self.closed) / (self.open - self.closed)


@dataclass(frozen=True)
class JointAxes:
    """Joints in a column: axes and what one of their units is in radians."""

    axes: tuple[int, ...]
    names: tuple[str, ...]
    unit_rad: float


@dataclass(frozen=True)
class PoseAxes:
    """A pose, or a change of it, in a column: axes of metres, and of a rotation in some form."""

    position: tuple[int, ...]
    rotation: tuple[int, ...]
    form: str


@dataclass(frozen=True)
class State:
    """The measured joints and gripper."""

    column: str
    joints: JointAxes
    gripper: Gripper


@dataclass(frozen=True)
class Pose:
    """The measured tool pose in base_link."""

    column: str
    axes: PoseAxes


@dataclass(frozen=True)
class Action:
    """What the action column asks for.

    Attributes:
        meaning: one of ACTIONS: a change of the tool's pose to the next frame, a tool pose, or
            joints to be at the next frame.
        joints: where it is joints.
        pose: where it is a pose or a change of it.
        frame: of a change: "base", along base_link's axes, the rotation from the left; or "tool".
        gripper: None where it says nothing of it: the measured gripper is taken.
    """

    column: str
    meaning: str
    joints: JointAxes | None
    pose: PoseAxes | None
    frame: str
    gripper: Gripper | None


@dataclass(frozen=True)
class Mapping:
    """What a dataset's columns mean; `task` "" takes the dataset's own, `pose` None kinematics.

    `calibrations`: of cameras that stay where they are, tables as `eye_from` takes them.
    """

    robot_model: str
    kind: str
    success: bool | None
    task: str
    cameras: dict[str, str]
    state: State
    pose: Pose | None
    action: Action | None
    calibrations: dict[str, dict] = field(default_factory=dict)

    @property
    def has_kinematics(self) -> bool:
        """Whether joints tell the tool pose."""
        return self.robot_model == KNOWN_ARM

    def to_dict(self) -> dict:
        """Return plain JSON types; without calibrations as before there were any."""
        said = asdict(self)
        return said if self.calibrations else {k: v for k, v in said.items() if k != "calibrations"}
