"""Recorded bags, opened and decoded without ROS.

Only message stamps leave this module, never the time of arrival. A message that cannot be read
raises `BagError` naming bag and topic; a joint message that is no measurement is counted instead.
"""

import os
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import numpy as np
from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from vla_ros.core import arm
from vla_ros.core.episode import EpisodeEvent
from vla_ros.core.errors import BagError, ContractError, EpisodeError, SafetyError
from vla_ros.core.resample import NS_PER_S
from vla_ros.core.safety import JointStateFilter, wx250s_limits
from vla_ros.policy.pictures import decode_jpeg

EPISODE_TOPIC = "/vla/episode"
COMMANDED_TOPIC = "/vla/commanded"
# Field names and types of the Interbotix driver's command messages, for bags that carry no
# definitions of their own.
INTERBOTIX_MESSAGES = {
    "interbotix_xs_msgs/msg/JointGroupCommand": "string name\nfloat32[] cmd\n",
    "interbotix_xs_msgs/msg/JointSingleCommand": "string name\nfloat32 cmd\n",
}


@cache
def make_typestore():
    """Return the Jazzy message types and the Interbotix command messages."""
    typestore = get_typestore(Stores.ROS2_JAZZY)
    for name, definition in INTERBOTIX_MESSAGES.items():
        typestore.register(get_types_from_msg(definition, name))
    return typestore


def find_bags(paths: list[Path]) -> list[Path]:
    """Return the bag folders at and below `paths`, sorted; `*.part` are unfinished and left out.

    Raises:
        BagError: a path does not exist or holds no bag.
    """
    found: list[Path] = []
    for path in paths:
        if not path.exists():
            raise BagError(f"{path} does not exist; give a bag folder or a folder of bags")
        below = finished_bags(path)
        if not below:
            raise BagError(
                f"{path} holds no bag (no metadata.yaml); give a bag folder or a folder of bags"
            )
        found += below
    return list(dict.fromkeys(found))


def finished_bags(folder: Path) -> list[Path]:
    """Return the bag folders at and below `folder`, sorted; bags may be recorded meanwhile."""
    found = []
    # os.walk passes over folders that vanish under it: a bag's `.part` does when it is saved.
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.endswith(".part")]
        if "metadata.yaml" in files:
            found.append(Path(parent))
    return sorted(found)


class Bag:
    """One bag folder, open for reading; use it in a `with` statement."""

    def __init__(self, path: Path, robot_name: str = "wx250s"):
        self.path = Path(path)
        self.joint_topic = f"/{robot_name}/joint_states"
        self._reader: AnyReader
        self._stack = ExitStack()

    def __enter__(self) -> "Bag":
        """Open the bag; raises BagError if that fails."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._reader = AnyReader([self.path], default_typestore=make_typestore())
                self._stack.enter_context(self._reader)
        except Exception as error:  # the reader, its YAML parser and the OS each raise their own
            raise BagError(
                f"bag {self.path} cannot be opened ({_first_line(error)}); "
                "it may be cut off: leave it out, or record it again"
            ) from None
        return self

    def __exit__(self, *details: object) -> None:
        self._stack.close()

    @property
    def topics(self) -> set[str]:
        """Names of the topics that have messages."""
        return {c.topic for c in self._reader.connections if c.msgcount}

    def require_topics(self, *names: str) -> None:
        """Raise BagError unless each named topic has messages; lists those that have."""
        missing = [name for name in names if name not in self.topics]
        if missing:
            raise BagError(
                f"bag {self.path} has no message on {', '.join(missing)}; it has "
                f"{', '.join(sorted(self.topics)) or 'none at all'}: leave it out, or record with "
                "these topics running"
            )

    def images(self, camera: str) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (stamp [ns], picture (H, W, 3) uint8 RGB); raises BagError on a broken picture."""
        for stamp_ns, data in self.jpegs(camera):
            try:
                yield stamp_ns, decode_jpeg(data, f"{camera} at {stamp_ns} ns in bag {self.path}")
            except ContractError as error:
                raise BagError(str(error)) from None

    def jpegs(self, camera: str) -> Iterator[tuple[int, bytes]]:
        """Yield (stamp [ns], compressed bytes) of the camera's pictures."""
        topic = image_topic(camera)
        for message in self._messages(topic, "sensor_msgs/msg/CompressedImage"):
            yield _stamp_ns(message), bytes(message.data)

    def joint_states(self) -> Iterator[tuple[int, list[str], np.ndarray]]:
        """Yield (stamp [ns], joint names, positions float64) as the driver published them."""
        for message in self._messages(self.joint_topic, "sensor_msgs/msg/JointState"):
            yield _stamp_ns(message), list(message.name), np.array(message.position, np.float64)

    def believed_joints(self, refused: Counter) -> Iterator[tuple[int, tuple[np.ndarray, float]]]:
        """Yield (stamp [ns], (joints (6,) [rad], opening [0, 1])) of the joint states to believe.

        The live filter decides; what it refuses is counted in `refused`.
        """
        joint_filter = JointStateFilter(wx250s_limits())
        for stamp_ns, names, position in self.joint_states():
            try:
                yield stamp_ns, joint_filter.accept(stamp_ns, names, position)
            except SafetyError:
                refused["refused joint state messages"] += 1

    def intrinsics(self, camera: str) -> tuple[tuple[int, int], np.ndarray, np.ndarray]:
        """Return ((width, height) [px], K (3, 3) [px], plumb_bob distortion) of the camera.

        Raises:
            BagError: the camera is not calibrated, its distortion model is another one, or its
                calibration changes within the bag.
        """
        topic = f"/{camera}/camera_info"
        self.require_topics(topic)
        said: tuple | None = None
        for message in self._messages(topic, "sensor_msgs/msg/CameraInfo"):
            model = message.distortion_model
            facts = (message.width, message.height, model, *message.k, *message.d)
            if said not in (None, facts):
                raise BagError(
                    f"{topic} in bag {self.path} changes on the way; record one calibration a bag"
                )
            said = facts
        assert said is not None  # require_topics saw messages, and fewer of them is an error
        width, height, model, *numbers = said
        if numbers[0] == 0:
            raise BagError(
                f"{topic} in bag {self.path} has no intrinsics (k[0] is 0): calibrate the camera, "
                "give the file as calibration:=FILE and record again"
            )
        if model not in ("plumb_bob", "rational_polynomial", ""):
            raise BagError(
                f"{topic} in bag {self.path} has the distortion model {model!r}; calibrate with "
                "plumb_bob"
            )
        return (int(width), int(height)), np.reshape(numbers[:9], (3, 3)), np.array(numbers[9:])

    def commanded(self) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (stamp [ns], commanded (7,) float64: 6 arm joints [rad], opening [0, 1]).

        Raises:
            BagError: a message names other joints, or holds a number that is not finite.
        """
        wanted = (*arm.ARM_JOINTS, "gripper")
        for message in self._messages(COMMANDED_TOPIC, "sensor_msgs/msg/JointState"):
            by_name = dict(zip(message.name, message.position, strict=False))
            values = np.array([by_name.get(name, np.nan) for name in wanted])
            if not np.all(np.isfinite(values)):
                raise BagError(
                    f"{COMMANDED_TOPIC} in bag {self.path} must give finite {', '.join(wanted)}, "
                    f"got {by_name}; leave this bag out"
                )
            values[6] = arm.opening_from_horn(values[6])
            yield _stamp_ns(message), values

    def episode_events(self) -> list[EpisodeEvent]:
        """Return the episode's events in order; raises BagError if one is malformed."""
        try:
            return [
                EpisodeEvent.from_json(message.data)
                for message in self._messages(EPISODE_TOPIC, "std_msgs/msg/String")
            ]
        except EpisodeError as error:
            raise BagError(f"{EPISODE_TOPIC} in bag {self.path}: {error}") from None

    def _messages(self, topic: str, msgtype: str) -> Iterator:
        connections = [c for c in self._reader.connections if c.topic == topic]
        for connection in connections:
            if connection.msgtype != msgtype:
                raise BagError(
                    f"{topic} in bag {self.path} must be {msgtype}, got {connection.msgtype}; "
                    "leave this bag out"
                )
        if not connections:
            return
        try:
            count = 0
            for connection, _, raw in self._reader.messages(connections):
                yield self._reader.deserialize(raw, connection.msgtype)
                count += 1
            # A damaged chunk can end early without a word.
            written = sum(connection.msgcount for connection in connections)
            if count != written:
                raise ValueError(f"{count} of {written} messages are there")
        except BagError:
            raise
        except Exception as error:  # the reader, its decompressor and the OS each raise their own
            raise BagError(
                f"{topic} in bag {self.path} cannot be read ({_first_line(error)}); "
                "the bag is damaged: leave it out, or record it again"
            ) from None


def bag_label(path: Path) -> str:
    """Return session and episode: every session counts its episodes from 0."""
    return "/".join(path.resolve().parts[-2:])


def image_topic(camera: str) -> str:
    """Return the topic of the camera's compressed pictures."""
    return f"/{camera}/image_raw/compressed"


def _stamp_ns(message) -> int:
    stamp = message.header.stamp
    return int(stamp.sec) * NS_PER_S + int(stamp.nanosec)


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]
