"""Writes what an arm without a graph does as bags, each like the recorder's of the same episode.

Topics, types, stamps, quality of service and events are the recorder's; the driver's own command
topics are left out, as their stamped copy is there. Joint states come with each command, at 50 Hz
instead of the driver's 100. `/sim/state` is there at each picture, so that it can be told where
everything was. The metadata say that no graph was there, and nothing of the wall's time: the same
episode has the same bytes.
"""

import importlib.metadata
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rosbags.typesys import Stores, get_typestore

from training.evidence.sim_camera import SimCamera
from training.evidence.templates import JointStates, stamped
from training.provenance import code_version
from training.recordings.messages import (
    CAMERA_INFO,
    COMPRESSED_IMAGE,
    JOINT_STATE,
    STRING,
    TRANSFORMS,
)
from training.recordings.recording import TF_STATIC
from training.recordings.source import COMMANDED_TOPIC, EPISODE_TOPIC, KNOWN_ARM, vla_source
from vla_ros.bags.episode_bag import EpisodeBag, Topic
from vla_ros.bags.part import SUFFIX, PartFolder
from vla_ros.core import arm
from vla_ros.core.episode import EpisodeEvent
from vla_ros.core.errors import BagError
from vla_ros.core.rotations import quat_from_matrix
from vla_ros.sim.mount import mount
from vla_ros.sim.world import SimWorld

GENERATED = "simulated without a graph by training.evidence"
TASK_TOPIC, STATE_TOPIC = "/vla/task", "/sim/state"
# What compressed_image_transport writes for a colour image.
_JPEG_FORMAT = "rgb8; jpeg compressed bgr8"
_SOURCE = vla_source()


class EpisodeWriter:
    """A listener of an `ArmLoop` that writes one bag an episode; between episodes it writes none.

    An episode whose bag is there already is left as it is. What an earlier run that was killed left
    of one goes, as it is written anew.

    Args:
        folder: where the bags go.
        world: the arm's.
        cameras: those that give pictures.
        facts: for each bag's metadata, beside software, arm and cameras.

    Attributes:
        written: bags written.
    """

    def __init__(
        self,
        folder: Path,
        world: SimWorld,
        cameras: Sequence[SimCamera],
        facts: dict[str, str],
    ):
        self._folder, self._world = folder, world
        self._cameras = {camera.name: camera for camera in cameras}
        self._store = get_typestore(Stores.ROS2_JAZZY)
        self._facts = {**_software(cameras), **facts}
        self._topics = _topics(cameras)
        self._measured = self._joint_states(arm.JOINT_STATE_NAMES)
        self._copies = self._joint_states((*arm.ARM_JOINTS, "gripper"))
        self._states = self._joint_states(world.qpos_names())
        self._infos = {camera.name: self._camera_info(camera) for camera in cameras}
        self._bag: EpisodeBag | None = None
        self._start: EpisodeEvent | None = None
        self._counts: Counter[str] = Counter()
        self.written = 0

    def begin(self, start: EpisodeEvent) -> None:
        """Open the bag of an episode that starts now.

        Raises:
            BagError: the disk refuses it, or another process is writing it.
        """
        self._start = start
        if (self._folder / start.episode_id).exists():
            return
        _remove_rest(self._folder / f"{start.episode_id}{SUFFIX}")
        facts = {**self._facts, "episode": start.to_json()}
        self._bag = EpisodeBag(self._folder, start.episode_id, self._topics, facts)
        self._counts.clear()
        now_ns = self._world.time_ns
        if self._cameras:
            self._put(TF_STATIC, now_ns, self._transforms(now_ns))
        self._put_text(TASK_TOPIC, start.task)
        self._put_text(EPISODE_TOPIC, start.to_json())

    def end(self, success: bool | None, reason: str) -> None:
        """Save the bag of the episode that ends now; raises BagError as `begin`."""
        assert self._start is not None
        if self._bag is None:
            return
        end = self._start.ended(success, reason)
        self._put_text(EPISODE_TOPIC, end.to_json())
        counts = {topic: {"received": count} for topic, count in sorted(self._counts.items())}
        facts = {**self._facts, "episode": end.to_json(), "topics": json.dumps(counts)}
        bag, self._bag = self._bag, None
        bag.save(facts)
        self.written += 1

    def discard(self) -> None:
        """Delete the bag of the episode; raises BagError where that cannot be done."""
        bag, self._bag = self._bag, None
        if bag is not None:
            bag.discard()

    # --- what is heard ---

    def joint_state(
        self, stamp_ns: int, position: np.ndarray, velocity: np.ndarray, effort: np.ndarray
    ) -> None:
        """Write what the driver measured."""
        if self._bag is not None:
            state = self._measured.of(stamp_ns, position, velocity, effort)
            self._put(_SOURCE.joints.topic, stamp_ns, state)

    def commanded(self, stamp_ns: int, q_rad: np.ndarray, opening: float) -> None:
        """Write the stamped copy of a command."""
        if self._bag is not None:
            position = (*q_rad.tolist(), arm.horn_from_opening(opening))
            self._put(COMMANDED_TOPIC, stamp_ns, self._copies.of(stamp_ns, position))

    def picture(self, stamp_ns: int, camera: str, jpeg: bytes) -> None:
        """Write a picture, its calibration, and where everything was in it."""
        if self._bag is None:
            return
        header = self._header(stamp_ns, f"{camera}_optical_frame")
        pixels = np.frombuffer(jpeg, np.uint8)
        image = self._cdr(COMPRESSED_IMAGE, header, _JPEG_FORMAT, pixels)
        self._put(_SOURCE.image_topic(camera), stamp_ns, image)
        self._put(_SOURCE.info_topic(camera), stamp_ns, stamped(self._infos[camera], stamp_ns))
        if camera == next(iter(self._cameras)):
            self._put(STATE_TOPIC, stamp_ns, self._states.of(stamp_ns, self._world.qpos()))

    # --- messages ---

    def _put(self, topic: str, stamp_ns: int, data: bytes) -> None:
        assert self._bag is not None
        self._counts[topic] += 1
        self._bag.write(topic, stamp_ns, data)

    def _put_text(self, topic: str, text: str) -> None:
        self._put(topic, self._world.time_ns, self._cdr(STRING, text))

    def _cdr(self, msgtype: str, *fields) -> bytes:
        message = self._store.types[msgtype](*fields)
        return bytes(self._store.serialize_cdr(message, msgtype))

    def _header(self, stamp_ns: int, frame_id: str = ""):
        types = self._store.types
        stamp = types["builtin_interfaces/msg/Time"](*divmod(stamp_ns, 1_000_000_000))
        return types["std_msgs/msg/Header"](stamp, frame_id)

    def _joint_states(self, names: Sequence[str]) -> JointStates:
        zeros = np.zeros(len(names))
        fields = self._header(0), list(names), zeros, zeros, zeros
        return JointStates(self._cdr(JOINT_STATE, *fields), len(names))

    def _camera_info(self, camera: SimCamera) -> bytes:
        region = self._store.types["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False)
        projection = np.hstack([camera.K, np.zeros((3, 1))])
        return self._cdr(
            *(CAMERA_INFO, self._header(0, f"{camera.name}_optical_frame")),
            *(camera.height, camera.width, "plumb_bob", np.zeros(5)),
            *(camera.K.reshape(9), np.eye(3).reshape(9), projection.reshape(12)),
            *(0, 0, region),
        )

    def _transforms(self, now_ns: int) -> bytes:
        types, made = self._store.types, []
        for name in self._cameras:
            link, T_link_camera = mount(name)
            w, x, y, z = (float(v) for v in quat_from_matrix(T_link_camera[:3, :3]))
            where = types["geometry_msgs/msg/Vector3"](*(float(v) for v in T_link_camera[:3, 3]))
            turn = types["geometry_msgs/msg/Quaternion"](x, y, z, w)
            made.append(
                types["geometry_msgs/msg/TransformStamped"](
                    self._header(now_ns, f"{KNOWN_ARM}/{link}"),
                    f"{name}_optical_frame",
                    types["geometry_msgs/msg/Transform"](where, turn),
                )
            )
        return self._cdr(TRANSFORMS, made)


def _topics(cameras: Sequence[SimCamera]) -> list[Topic]:
    topics = [Topic(_SOURCE.joints.topic, JOINT_STATE)]
    for camera in cameras:
        topics.append(Topic(_SOURCE.image_topic(camera.name), COMPRESSED_IMAGE))
        topics.append(Topic(_SOURCE.info_topic(camera.name), CAMERA_INFO))
    return [
        *topics,
        Topic(COMMANDED_TOPIC, JOINT_STATE),
        Topic(EPISODE_TOPIC, STRING),
        Topic(TASK_TOPIC, STRING, latched=True),
        Topic(TF_STATIC, TRANSFORMS, latched=True),
        Topic(STATE_TOPIC, JOINT_STATE),
    ]


def _software(cameras: Sequence[SimCamera]) -> dict[str, str]:
    """Return what the recorder says of software, arm and cameras, and that no graph was there."""
    names = [camera.name for camera in cameras]
    return {
        "generated": GENERATED,
        "vla_ros_commit": code_version(),
        "rosbags_version": importlib.metadata.version("rosbags"),
        "mujoco_version": importlib.metadata.version("mujoco"),
        "backend": "rosbags",
        "robot_name": KNOWN_ARM,
        "robot_model": KNOWN_ARM,
        "arm": "sim",
        "simulated_time": json.dumps(True),
        "cameras": json.dumps(names),
        "camera_calibrated": json.dumps(dict.fromkeys(names, True)),
    }


def _remove_rest(path: Path) -> None:
    """Delete what a killed run left of a bag; BagError where another process is at it."""
    part = PartFolder(path)
    if not path.exists():
        return
    try:
        is_ours = part.lock()
    except OSError as error:
        raise BagError(f"{path} cannot be written ({error.strerror}); give access") from None
    if not is_ours:
        raise BagError(f"{path} is being written by another process; wait for it, or stop it")
    part.remove()
