"""All of a bag that a dataset needs, but the pictures themselves, in one pass over its files."""

from array import array
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from training.datasets.drop_list import Drop
from training.recordings import messages
from training.recordings.bag_files import Raw
from training.recordings.bag_folder import UnreadableBagError
from training.recordings.bags import Bag, ImageIndex
from training.recordings.cdr import stamp_ns
from training.recordings.episode_facts import EpisodeFacts, facts_of_events
from training.recordings.messages import (
    CAMERA_INFO,
    JOINT_STATE,
    PICTURES,
    POSE,
    STRING,
    TRANSFORMS,
)
from training.recordings.source import EPISODE_TOPIC, ToolPose
from training.recordings.streams import Clock, Drops, JointStream
from training.recordings.wild_stamps import WildStamps
from vla_ros.core.errors import BagError
from vla_ros.core.transforms import Transforms

TF, TF_STATIC = "/tf", "/tf_static"
# Pictures that are asked for their frame before there is none.
_TRIED_PICTURES = 8


@dataclass(frozen=True)
class JointSamples:
    """Joint states (N of them) with stamps that rise.

    Attributes:
        stamps_ns: (N,) int64.
        q: (N, J) float64, joints in the source's order [rad].
        opening: (N,) float64, 0 closed, 1 open; not clipped where commanded.
    """

    stamps_ns: np.ndarray
    q: np.ndarray
    opening: np.ndarray


@dataclass(frozen=True)
class PoseSamples:
    """Measured tool poses: stamps (N,) int64 [ns] and T_base_tool (N, 4, 4) [m]."""

    stamps_ns: np.ndarray
    T_base_tool: np.ndarray


@dataclass(frozen=True)
class CameraFacts:
    """What a recording tells of a camera; None where it does not.

    Attributes:
        size: width and height of the calibrated picture [px].
        K: (3, 3) intrinsics at that size [px].
        T_base_camera: (4, 4) pose of the optical frame in the source's base frame [m].
    """

    size: tuple[int, int] | None
    K: np.ndarray | None
    T_base_camera: np.ndarray | None


@dataclass(frozen=True)
class Recording:
    """One bag, without its pictures.

    Attributes:
        joints: measured, those that are to be believed.
        commanded: None where the source names none.
        ee_pose: None where the source leaves it to kinematics.
        images, cameras: by name of the camera.
        dropped: messages that could not be used, by reason.
        lost: what of the files could not be read, a clause each.
    """

    episode: EpisodeFacts
    joints: JointSamples
    commanded: JointSamples | None
    ee_pose: PoseSamples | None
    images: dict[str, ImageIndex]
    cameras: dict[str, CameraFacts]
    dropped: list[Drop]
    lost: list[str]


def read_recording(bag: Bag, cameras: tuple[str, ...]) -> Recording:
    """Return all of the bag but its pictures, in one pass.

    Raises:
        BagError: a topic that the source names has another type or no message, the bag does not
            hold one episode, or no joint state is to be believed.
    """
    reader = _Reader(bag, cameras)
    for file, raw in bag.read(reader.takers.keys(), reader.pictures.keys()):
        reader.take(file, raw)
    return reader.recording()


class _Reader:
    """Hands each message to the streams that want it."""

    def __init__(self, bag: Bag, cameras: tuple[str, ...]):
        self.bag, self.cameras = bag, cameras
        self.takers: dict[str, list[Callable[[int, Raw], None]]] = {}
        # Stamp, number of the file, place and at of each picture, by topic.
        self.pictures: dict[str, array] = {}
        self._stamped: set[str] = set()
        self._drops = Drops()
        self._clock = Clock(self._drops)
        self._held = WildStamps(self._clock, self._hand_on, self._leave_out)
        self._transforms = Transforms()
        self._texts: list[str] = []
        self._calibrations: dict[str, set[messages.CameraInfo]] = {}
        self._poses: list[tuple[int, np.ndarray]] = []
        self._last_ns = 0
        self._want_all()

    def _want_all(self) -> None:
        source = self.bag.source
        self._joints = self._want_joints(source.joints, "joint states", source.has_kinematics)
        self._commanded = None
        if source.commanded is not None:
            self._commanded = self._want_joints(source.commanded, "commanded joints", False)
        for camera in self.cameras:
            topic, info = source.image_topic(camera), source.info_topic(camera)
            self.pictures[topic] = array("q")
            self._stamped.add(topic)
            self._want(topic, PICTURES, self._take_picture)
            self._calibrations[info] = set()
            self._want(info, (CAMERA_INFO,), self._take_calibration, is_needed=False)
        task = EPISODE_TOPIC if source.task is None else source.task.topic
        if task:
            self._want(task, (STRING,), self._take_text)
        self._want(TF_STATIC, (TRANSFORMS,), self._take_static, is_needed=False)
        self._want_poses(source.ee_pose)

    def _want_joints(self, wanted, what: str, is_believed: bool) -> JointStream:
        stream = JointStream(wanted, what, is_believed, self._clock, self._drops)
        self._want(wanted.topic, (JOINT_STATE,), lambda _, raw: stream.take(raw.data))
        self._stamped.add(wanted.topic)
        return stream

    def _want_poses(self, wanted: ToolPose | None) -> None:
        if wanted is not None and wanted.topic:
            self._want(wanted.topic, (POSE,), self._take_pose)
        elif wanted is not None:
            self._want(TF, (TRANSFORMS,), self._take_moving)

    def _want(self, topic: str, types: tuple[str, ...], take, is_needed: bool = True) -> None:
        self.bag.message_type(topic, *types)
        if is_needed:
            self.bag.require_topics(topic)
        self.takers.setdefault(topic, []).append(take)

    def take(self, file: int, raw: Raw) -> None:
        """Take a message, of a topic with stamps once the one after it is there."""
        if raw.topic in self._stamped:
            # One too short for a stamp is for its reader to refuse.
            with suppress(ValueError):
                self._held.take(raw.topic, stamp_ns(raw.data), (file, raw))
                return
        self._hand_on((file, raw))

    def _leave_out(self, message: tuple[int, Raw]) -> None:
        _, raw = message
        self._drops.add(f"messages on {raw.topic} with a wild stamp", stamp_ns(raw.data))

    def _hand_on(self, message: tuple[int, Raw]) -> None:
        file, raw = message
        for take in self.takers[raw.topic]:
            try:
                take(file, raw)
            except ValueError:
                self._drops.add(f"unreadable messages on {raw.topic}", self._last_ns)

    def _take_picture(self, file: int, raw: Raw) -> None:
        self._last_ns = stamp_ns(raw.data)
        if self._clock.trusts(raw.topic, self._last_ns):
            self.pictures[raw.topic].extend((self._last_ns, file, raw.place, raw.at))

    def _take_calibration(self, _: int, raw: Raw) -> None:
        self._calibrations[raw.topic].add(messages.camera_info(raw.data))

    def _take_text(self, _: int, raw: Raw) -> None:
        self._texts.append(messages.text(raw.data))

    def _take_static(self, _: int, raw: Raw) -> None:
        for found in messages.transforms(raw.data):
            self._transforms.take_static(found)

    def _take_pose(self, _: int, raw: Raw) -> None:
        header, T_base_tool = messages.pose(raw.data)
        if not self._clock.trusts(raw.topic, header.stamp_ns):
            return
        if header.frame_id.removeprefix("/") != self.bag.source.base_frame:
            self._drops.add(f"tool poses in the frame {header.frame_id!r}", header.stamp_ns)
            return
        self._poses.append((header.stamp_ns, T_base_tool))

    def _take_moving(self, _: int, raw: Raw) -> None:
        wanted = self.bag.source.ee_pose
        assert wanted is not None  # else nobody asked for moving transforms
        for found in messages.transforms(raw.data):
            self._transforms.take_moving(found)
        pose = self._transforms.moving(wanted.parent, wanted.child)
        if pose is None or len(pose[1]) == 0:
            return
        stamp = max(pose[1])
        if len(pose[1]) > 1:
            # Links of different moments make no pose of any; the next message may complete it.
            return
        if (not self._poses or stamp > self._poses[-1][0]) and self._clock.trusts(raw.topic, stamp):
            self._poses.append((stamp, pose[0]))

    def recording(self) -> Recording:
        """Return what was taken."""
        self._held.take_last()
        if not self._joints.stamps:
            raise BagError(self._no_joints())
        source = self.bag.source
        poses = None
        if source.ee_pose is not None:
            stamps = np.array([stamp for stamp, _ in self._poses], np.int64)
            poses = PoseSamples(stamps, np.array([T for _, T in self._poses]).reshape(-1, 4, 4))
        images = {camera: self._index(camera) for camera in self.cameras}
        return Recording(
            episode=self._episode(),
            joints=JointSamples(*self._joints.arrays()),
            commanded=None if self._commanded is None else JointSamples(*self._commanded.arrays()),
            ee_pose=poses,
            images=images,
            cameras={camera: self._camera(camera, images[camera]) for camera in self.cameras},
            dropped=self._drops.as_list(),
            lost=self.bag.lost,
        )

    def _no_joints(self) -> str:
        wanted = self.bag.source.joints
        reasons = ", ".join(f"{drop.count} {drop.reason}" for drop in self._drops.as_list())
        names = ", ".join(sorted(self._joints.names_seen)) or "no others"
        return (
            f"{wanted.topic} in bag {self.bag.path} has no joint state to believe ({reasons}); "
            f"wanted are {', '.join((*wanted.names, wanted.gripper.name))}, it also has {names}: "
            "name its joints in a source file, or leave it out"
        )

    def _index(self, camera: str) -> ImageIndex:
        found = self.pictures[self.bag.source.image_topic(camera)]
        rows = np.array(found, np.int64).reshape(-1, 4)
        return ImageIndex(rows[:, 0].copy(), rows[:, 1:].copy())

    def _camera(self, camera: str, index: ImageIndex) -> CameraFacts:
        source = self.bag.source
        info, _ = messages.one_calibration(self._calibrations[source.info_topic(camera)])
        T_base_camera = None
        if frame := self._frame_of(camera, index):
            T_base_camera = self._transforms.static(source.base_frame, frame)
        if info is None:
            return CameraFacts(None, None, T_base_camera)
        return CameraFacts(info.size, np.reshape(info.k, (3, 3)), T_base_camera)

    def _frame_of(self, camera: str, index: ImageIndex) -> str | None:
        """Return the frame that the camera's first whole picture names; None where none does."""
        for place in index.places[:_TRIED_PICTURES]:
            try:
                return self.bag.frame_id_at(camera, place)
            except UnreadableBagError:
                raise
            except BagError:  # damaged
                continue
        return None

    def _episode(self) -> EpisodeFacts:
        source, bag = self.bag.source, self.bag
        if source.task is None:
            return facts_of_events(bag.path, self._texts)
        texts = set(self._texts) if source.task.topic else {source.task.text}
        if len(texts) != 1:
            raise BagError(
                f"{source.task.topic} in bag {bag.path} gives {len(texts)} different instructions; "
                "record one task a bag, or give the text in the source file"
            )
        return EpisodeFacts(source.kind, texts.pop(), None, "nobody judged")
