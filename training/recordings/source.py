"""What a recording calls things: cameras, joints, tool pose and task, by topic.

The default is this package's own recorder. Another robot's bags need a YAML file (`--source FILE`;
docs/data.md explains every key):

    robot_model: wx250s
    base_frame: base_link
    cameras:
      front: /camera/color/image_raw/compressed
    joints:
      topic: /joint_states
      names: [waist, shoulder, elbow, forearm_roll, wrist_angle, wrist_rotate]
      gripper: {name: left_finger, closed: 0.015, open: 0.037}
    commanded: none
    task: {text: put the carrot on the plate}
    kind: demo
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import yaml

from vla_ros.core import arm
from vla_ros.core.episode import EPISODE_KINDS
from vla_ros.core.errors import ContractError

EPISODE_TOPIC = "/vla/episode"
COMMANDED_TOPIC = "/vla/commanded"
# The arm whose kinematics and limits this package knows.
KNOWN_ARM = arm.ROBOT_MODELS[0]


@dataclass(frozen=True)
class Gripper:
    """The joint that tells how far the gripper is open.

    Attributes:
        name: in the joint states.
        closed, open: its position there; None for both where it is the angle of the wx250s'
            gripper servo [rad].
    """

    name: str
    closed: float | None = None
    open: float | None = None

    def opening(self, position: float) -> float:
        """Return the opening, 0 closed and 1 open, not clipped."""
        if self.closed is None or self.open is None:
            return arm.opening_from_horn(position)
        return (float(position) - self.closed) / (self.open - self.closed)


@dataclass(frozen=True)
class Joints:
    """A topic of joint states.

    Attributes:
        topic: of type sensor_msgs/JointState.
        names: the arm's joints from base to tool, as the topic calls them.
        gripper: the joint of the gripper.
    """

    topic: str
    names: tuple[str, ...]
    gripper: Gripper

    @property
    def wanted(self) -> tuple[str, ...]:
        """Names of the joints and, last, of the gripper."""
        return (*self.names, self.gripper.name)

    def places_in(self, names: tuple[str, ...]) -> list[int]:
        """Return where those that are wanted stand in `names`; empty where one is missing."""
        places = {name: place for place, name in enumerate(names)}
        found = [places[name] for name in self.wanted if name in places]
        return found if len(found) == len(self.wanted) else []


@dataclass(frozen=True)
class ToolPose:
    """Where the pose of the tool is said: PoseStamped on a topic, or transforms between frames.

    Attributes:
        topic: of type geometry_msgs/PoseStamped; empty for transforms (/tf and /tf_static).
        parent, child: frames of the transforms.
    """

    topic: str = ""
    parent: str = ""
    child: str = ""


@dataclass(frozen=True)
class Task:
    """Where the instruction comes from: a topic of std_msgs/String, or a text for every bag."""

    topic: str = ""
    text: str = ""


@dataclass(frozen=True)
class Source:
    """How a recording is laid out.

    Attributes:
        robot_model: "wx250s", or another arm's name, whose joints are taken as they are.
        base_frame: the frame of tool poses and camera poses.
        cameras: topic of each camera's pictures (sensor_msgs/CompressedImage or Image).
        camera_pattern: topic of a camera that is not in `cameras`; empty: there are no others.
        joints: measured joints.
        commanded: commanded joints, None where they are not recorded.
        ee_pose: measured tool pose, None for the wx250s: by its kinematics.
        task: the instruction, None: from the episode's events.
        kind: of every recording, play, demo or policy; empty: from the episode's events.
    """

    robot_model: str
    base_frame: str
    joints: Joints
    commanded: Joints | None = None
    ee_pose: ToolPose | None = None
    task: Task | None = None
    kind: str = ""
    cameras: dict[str, str] = field(default_factory=dict)
    camera_pattern: str = ""

    def image_topic(self, camera: str) -> str:
        """Return the topic of the camera's pictures; raises ContractError for an unknown one."""
        if camera in self.cameras:
            return self.cameras[camera]
        if not self.camera_pattern:
            raise ContractError(
                f"the source file names no camera {camera!r}; it names "
                f"{', '.join(self.cameras) or 'none'}"
            )
        return self.camera_pattern.format(camera=camera)

    def info_topic(self, camera: str) -> str:
        """Return the topic of the camera's calibration, beside its pictures as is usual."""
        pictures = self.image_topic(camera).removesuffix("/compressed")
        return f"{pictures.rpartition('/')[0]}/camera_info"

    @property
    def has_kinematics(self) -> bool:
        """Whether joints tell the tool pose."""
        return self.robot_model == KNOWN_ARM

    @property
    def has_events(self) -> bool:
        """Whether `EPISODE_TOPIC` tells what was done."""
        return self.task is None

    def to_dict(self) -> dict:
        """Return plain JSON types."""
        return asdict(self)


def vla_source(robot_name: str = KNOWN_ARM) -> Source:
    """Return the layout of this package's own recordings of the arm with that namespace."""
    finger = Gripper("left_finger", arm.FINGER_CLOSED_M, arm.FINGER_OPEN_M)
    return Source(
        robot_model=KNOWN_ARM,
        base_frame=f"{robot_name}/base_link",
        joints=Joints(f"/{robot_name}/joint_states", arm.ARM_JOINTS, finger),
        commanded=Joints(COMMANDED_TOPIC, arm.ARM_JOINTS, Gripper("gripper")),
        camera_pattern="/{camera}/image_raw/compressed",
    )


def load_source(path: Path) -> Source:
    """Return the layout that a YAML file describes.

    Raises:
        ContractError: the file cannot be read, or a key is missing, unknown or of another kind.
    """
    where = f"source file {path}"
    try:
        data = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        line = str(error).splitlines()[0]
        raise ContractError(f"{where} cannot be read ({line}); see docs/data.md") from None
    data = _keys(
        data,
        where,
        required=("cameras", "joints"),
        optional=("robot_model", "base_frame", "commanded", "ee_pose", "task", "kind"),
    )
    source = Source(
        robot_model=_text(data.get("robot_model", KNOWN_ARM), f"robot_model of {where}"),
        base_frame=_text(data.get("base_frame", "base_link"), f"base_frame of {where}"),
        joints=_joints(data["joints"], f"joints of {where}"),
        commanded=_optional(data, "commanded", where, _joints),
        ee_pose=_optional(data, "ee_pose", where, _tool_pose),
        task=_optional(data, "task", where, _task),
        kind=_kind(data.get("kind", ""), where),
        cameras=_cameras(data["cameras"], f"cameras of {where}"),
    )
    _check_whole(source, where)
    return source


def _check_whole(source: Source, where: str) -> None:
    if source.has_kinematics and len(source.joints.names) != arm.NUM_ARM_JOINTS:
        raise ContractError(
            f"joints of {where} must name the {arm.NUM_ARM_JOINTS} joints of a {KNOWN_ARM} from "
            f"base to tool, got {len(source.joints.names)}; give another robot_model if it is "
            "another arm"
        )
    commanded = source.commanded
    if commanded and len(commanded.names) != len(source.joints.names):
        raise ContractError(
            f"commanded of {where} names {len(commanded.names)} joints, joints "
            f"{len(source.joints.names)}; name the same joints in the same order"
        )
    if bool(source.kind) != (source.task is not None):
        raise ContractError(
            f"{where} must give task and kind, or neither where {EPISODE_TOPIC} was recorded"
        )


def _optional(data: dict, key: str, where: str, read):
    value = data.get(key)
    return None if value in (None, "none") else read(value, f"{key} of {where}")


def _keys(data: object, where: str, required: tuple[str, ...], optional: tuple[str, ...]) -> dict:
    if not isinstance(data, dict):
        raise ContractError(f"{where} must hold keys and values, got {data!r}; see docs/data.md")
    missing = [key for key in required if key not in data]
    unknown = [str(key) for key in data if key not in (*required, *optional)]
    if missing or unknown:
        raise ContractError(
            f"{where} lacks {', '.join(missing) or 'nothing'} and has unknown keys "
            f"{', '.join(unknown) or 'none'}; known are {', '.join((*required, *optional))}"
        )
    return data


def _text(value: object, where: str) -> str:
    if not isinstance(value, str) or not value:
        raise ContractError(f"{where} must be a text, got {value!r}; see docs/data.md")
    return value


def _topic(value: object, where: str) -> str:
    if not _text(value, where).startswith("/"):
        raise ContractError(f"{where} must be a topic and begin with /, got {value!r}")
    return str(value)


def _kind(value: object, where: str) -> str:
    if value not in ("", *EPISODE_KINDS):
        raise ContractError(
            f"kind of {where} must be one of {', '.join(EPISODE_KINDS)}, got {value!r}"
        )
    return str(value)


def _cameras(value: object, where: str) -> dict[str, str]:
    if not isinstance(value, dict) or not value:
        raise ContractError(f"{where} must give a topic a name, got {value!r}; see docs/data.md")
    return {
        _text(name, where): _topic(topic, f"{name} in {where}") for name, topic in value.items()
    }


def _joints(value: object, where: str) -> Joints:
    data = _keys(value, where, ("topic", "names", "gripper"), ())
    names = data["names"]
    if not isinstance(names, list) or not names or len(set(map(str, names))) < len(names):
        raise ContractError(f"names in {where} must be a list of different joints, got {names!r}")
    return Joints(
        _topic(data["topic"], f"topic in {where}"),
        tuple(_text(name, f"names in {where}") for name in names),
        _gripper(data["gripper"], f"gripper in {where}"),
    )


def _gripper(value: object, where: str) -> Gripper:
    data = _keys(value, where, ("name",), ("closed", "open"))
    name = _text(data["name"], f"name in {where}")
    closed, opened = data.get("closed"), data.get("open")
    if closed is None and opened is None:
        return Gripper(name)
    numbers = [float(end) for end in (closed, opened) if isinstance(end, int | float)]
    if len(numbers) < 2 or numbers[0] == numbers[1] or not np.all(np.isfinite(numbers)):
        raise ContractError(
            f"{where} must give two different numbers closed and open, got {closed!r} and "
            f"{opened!r}; leave both away for the angle of a {KNOWN_ARM}'s gripper servo"
        )
    return Gripper(name, *numbers)


def _tool_pose(value: object, where: str) -> ToolPose:
    if isinstance(value, dict) and "topic" in value:
        return ToolPose(topic=_topic(_keys(value, where, ("topic",), ())["topic"], where))
    data = _keys(value, where, ("parent", "child"), ())
    return ToolPose(parent=_text(data["parent"], where), child=_text(data["child"], where))


def _task(value: object, where: str) -> Task:
    if isinstance(value, dict) and "topic" in value:
        return Task(topic=_topic(_keys(value, where, ("topic",), ())["topic"], where))
    text = _keys(value, where, ("text",), ())["text"]
    if not isinstance(text, str):
        raise ContractError(f"text in {where} must be the instruction, got {text!r}")
    return Task(text=text)
