"""Recorded bags, found, opened and read without ROS; none is ever changed.

A bag is a folder of MCAP or sqlite3 files, with or without metadata.yaml, split or not, compressed
or not, whole or cut off: what is whole is read, and `Bag.lost` tells what is not. Only message
stamps leave this module, never the time of arrival.
"""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from training.recordings import messages
from training.recordings.bag_folder import METADATA, STORAGE, BagFolder
from training.recordings.cdr import stamp_ns
from training.recordings.messages import JOINT_STATE, PICTURES, STRING, Picture
from training.recordings.source import EPISODE_TOPIC, Source, vla_source
from vla_ros.core.episode import EpisodeEvent
from vla_ros.core.errors import BagError, ContractError, EpisodeError, SafetyError
from vla_ros.core.joint_states import JointStateFilter
from vla_ros.core.limits import wx250s_limits

# Recordings that a recorder or a repair has in hand, or set aside.
_NOT_FINISHED = (".part", ".damaged")


@dataclass(frozen=True)
class ImageIndex:
    """The pictures of one camera, by stamp and by where they lie.

    Attributes:
        stamps_ns: (N,) int64, in the order they were written.
        places: (N, 3) int64, for `Bag.images_at`.
    """

    stamps_ns: np.ndarray
    places: np.ndarray

    def __len__(self) -> int:
        return len(self.stamps_ns)


def find_bags(paths: list[Path]) -> list[Path]:
    """Return the bag folders at and below `paths`, sorted.

    Below a path, `*.part` (being recorded, or cut off) and `*.damaged` are left out; as a path
    they are taken.

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
                f"{path} holds no bag (no metadata.yaml, *.mcap or *.db3); give a bag folder or a "
                "folder of bags"
            )
        found += below
    return list(dict.fromkeys(found))


def finished_bags(folder: Path) -> list[Path]:
    """Return the bag folders at and below `folder`, sorted; bags may be recorded meanwhile."""
    found = []
    # os.walk passes over folders that vanish under it: a bag's `.part` does when it is saved.
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.endswith(_NOT_FINISHED)]
        if METADATA in files or any(name.endswith(STORAGE) for name in files):
            found.append(Path(parent))
    return sorted(found)


class Bag(BagFolder):
    """One recording, open for reading; use it in a `with` statement.

    Args:
        path: the bag's folder.
        source: what its topics are called; None: as this package's recorder calls them.
        scratch_in: see `BagFolder`.
    """

    def __init__(self, path: Path, source: Source | None = None, scratch_in: Path | None = None):
        super().__init__(path, scratch_in)
        self.source = vla_source() if source is None else source
        self.joint_topic = self.source.joints.topic

    def image_index(self, camera: str) -> ImageIndex:
        """Return the stamps of the camera's pictures and where they lie; no picture is unpacked."""
        topic = self.source.image_topic(camera)
        self.message_type(topic, *PICTURES)
        stamps, places = [], []
        for number, raw in self.read([topic], [topic]):
            stamps.append(self._checked(raw.topic, stamp_ns, raw.data))
            places.append((number, raw.place, raw.at))
        return ImageIndex(np.array(stamps, np.int64), np.array(places, np.int64).reshape(-1, 3))

    def images_at(self, wanted: dict[str, np.ndarray]) -> Iterator[tuple[str, int, Picture]]:
        """Yield (camera, row, picture) in one pass over the files, in their order.

        Args:
            wanted: places (N, 3) of each camera's pictures, rows of `ImageIndex.places`.

        A picture is the bytes of a JPEG or PNG as recorded, or an array (H, W, 3) uint8 RGB where
        it was recorded raw. Empty bytes stand for a raw picture that is damaged.

        Raises:
            BagError: the encoding of raw pictures is unknown, or the disk cannot be read.
        """
        cameras = list(wanted)
        rows = [(camera, row) for camera in cameras for row in range(len(wanted[camera]))]
        if not rows:
            return
        kinds = {camera: self._picture_type(camera) for camera in cameras}
        places = np.concatenate([wanted[camera] for camera in cameras])
        for number, data in self.fetch(places):
            camera, row = rows[number]
            topic = self.source.image_topic(camera)
            yield camera, row, self._checked(topic, messages.picture, data, kinds[camera])

    def frame_id_at(self, camera: str, place: np.ndarray) -> str:
        """Return the frame of the picture at a row of `ImageIndex.places`."""
        ((_, data),) = self.fetch(place[None])
        topic = self.source.image_topic(camera)
        return self._checked(topic, messages.header, data).frame_id.removeprefix("/")

    def images(self, camera: str) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (stamp [ns], picture (H, W, 3) uint8 RGB); raises BagError on a broken picture."""
        for stamp, found in self.pictures(camera):
            try:
                yield stamp, messages.decoded(found, f"{camera} at {stamp} ns in bag {self.path}")
            except ContractError as error:
                raise BagError(str(error)) from None

    def pictures(self, camera: str) -> Iterator[tuple[int, Picture]]:
        """Yield (stamp [ns], picture as in `images_at`) of all the camera's pictures."""
        topic, kind = self.source.image_topic(camera), self._picture_type(camera)
        for _, raw in self.read([topic]):
            stamp = self._checked(topic, stamp_ns, raw.data)
            yield stamp, self._checked(topic, messages.picture, raw.data, kind)

    def joint_states(self) -> Iterator[tuple[int, tuple[str, ...], np.ndarray]]:
        """Yield (stamp [ns], joint names, positions float64) as the driver published them."""
        self.message_type(self.joint_topic, JOINT_STATE)
        reader = messages.JointStates()
        for _, raw in self.read([self.joint_topic]):
            yield self._checked(raw.topic, reader.read, raw.data)

    def believed_joints(self, refused: Counter) -> Iterator[tuple[int, tuple[np.ndarray, float]]]:
        """Yield (stamp [ns], (joints (6,) [rad], opening [0, 1])) of the joint states to believe.

        For this package's own recordings. The live filter decides; what it refuses is counted in
        `refused`.
        """
        joint_filter = JointStateFilter(wx250s_limits())
        for stamp, names, position in self.joint_states():
            try:
                yield stamp, joint_filter.accept(stamp, names, position)
            except SafetyError:
                refused["refused joint state messages"] += 1

    def intrinsics(self, camera: str) -> tuple[tuple[int, int], np.ndarray, np.ndarray]:
        """Return ((width, height) [px], K (3, 3) [px], plumb_bob distortion) of the camera.

        Raises:
            BagError: the camera is not calibrated, its distortion model is another one, or its
                calibration changes within the bag.
        """
        topic = self.source.info_topic(camera)
        self.require_topics(topic)
        self.message_type(topic, messages.CAMERA_INFO)
        said = {
            self._checked(topic, messages.camera_info, raw.data) for _, raw in self.read([topic])
        }
        info, why_none = messages.one_calibration(said)
        if info is None:
            raise BagError(f"{topic} in bag {self.path} {why_none}")
        return info.size, np.reshape(info.k, (3, 3)), np.array(info.d)

    def episode_events(self) -> list[EpisodeEvent]:
        """Return the episode's events in order; raises BagError if one is malformed."""
        self.message_type(EPISODE_TOPIC, STRING)
        try:
            return [
                EpisodeEvent.from_json(self._checked(EPISODE_TOPIC, messages.text, raw.data))
                for _, raw in self.read([EPISODE_TOPIC])
            ]
        except EpisodeError as error:
            raise BagError(f"{EPISODE_TOPIC} in bag {self.path}: {error}") from None

    def _picture_type(self, camera: str) -> str:
        return self.message_type(self.source.image_topic(camera), *PICTURES)

    def _checked(self, topic: str, read, *arguments):
        """Return what `read` makes of a message; BagError where the message is damaged."""
        try:
            return read(*arguments)
        except ValueError as error:
            raise self.damaged(topic, error) from None


def bag_label(path: Path) -> str:
    """Return session and episode: every session counts its episodes from 0."""
    return "/".join(path.resolve().parts[-2:])
