"""Recorded bags, found, opened and read without ROS; none is ever changed.

A bag is a folder of MCAP or sqlite3 files, with or without metadata.yaml, split or not, compressed
or not, whole or cut off: what is whole is read, and `Bag.lost` tells what is not. Only message
stamps leave this module, never the time of arrival.
"""

import hashlib
import os
import re
import sqlite3
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import yaml

from training import messages
from training.bag_files import BagFile, Raw, expand, open_file
from training.cdr import stamp_ns
from training.messages import JOINT_STATE, PICTURES, STRING, Picture
from training.source import COMMANDED_TOPIC, EPISODE_TOPIC, Source, vla_source
from vla_ros.core import arm
from vla_ros.core.episode import EpisodeEvent
from vla_ros.core.errors import BagError, ContractError, EpisodeError, SafetyError
from vla_ros.core.joint_states import JointStateFilter
from vla_ros.core.limits import wx250s_limits
from vla_ros.policy.pictures import decode_jpeg

METADATA = "metadata.yaml"
_STORAGE = (".mcap", ".db3", ".mcap.zstd", ".db3.zstd")
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
        if METADATA in files or any(name.endswith(_STORAGE) for name in files):
            found.append(Path(parent))
    return sorted(found)


class Bag:
    """One bag folder, open for reading; use it in a `with` statement.

    Args:
        path: the folder.
        source: what its topics are called; None: as this package's recorder calls them.
    """

    def __init__(self, path: Path, source: Source | str | None = None):
        self.path = Path(path)
        self.source = vla_source(source or "wx250s") if isinstance(source, str | None) else source
        self.joint_topic = self.source.joints.topic
        self._paths: list[Path] = []
        self._files: list[BagFile] = []
        self._lost: list[str] = []
        self._metadata: dict = {}
        self._stack = ExitStack()

    def __enter__(self) -> "Bag":
        """Open the bag; raises BagError if that fails."""
        try:
            self._open()
        except OSError as error:
            self._stack.close()
            raise BagError(
                f"bag {self.path} cannot be opened ({error.strerror or error}: "
                f"{error.filename}); give access to it, or leave it out"
            ) from None
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *details: object) -> None:
        self._stack.close()

    def _open(self) -> None:
        scratch = Path(self._stack.enter_context(TemporaryDirectory(prefix="bag-")))
        self._metadata = self._read_metadata()
        self._paths = self._storage_files()
        for path in self._paths:
            broken = None
            if path.suffix == ".zstd":
                path, broken = expand(path, scratch)
            try:
                file = open_file(path, scratch)
            except (ValueError, sqlite3.Error) as error:
                self._lost.append(broken or f"{path.name} cannot be read ({error})")
                continue
            self._lost += [broken] if broken else []
            self._stack.callback(file.close)
            self._files.append(file)
        if not self._files:
            raise BagError(
                f"bag {self.path} cannot be opened ({'; '.join(self._lost) or 'it has no file'}); "
                "leave it out, or record it again"
            )
        formats = set().union(*(file.formats for file in self._files)) - {"cdr", ""}
        if formats:
            raise BagError(
                f"bag {self.path} holds messages of the format {', '.join(sorted(formats))}, not "
                "cdr: convert it to a ROS 2 bag, or leave it out"
            )

    def _storage_files(self) -> list[Path]:
        """Return the files in the order of the recording."""
        there = [path for path in self.path.iterdir() if path.name.endswith(_STORAGE)]
        there.sort(key=lambda path: [int(p) if p.isdigit() else p for p in _digits(path.name)])
        names = [Path(str(name)).name for name in self._metadata.get("relative_file_paths") or []]
        missing = [name for name in names if not (self.path / name).exists()]
        if missing:
            self._lost.append(f"{', '.join(missing)} of its files are missing")
        # What is there and not listed is kept too: a listing that was cut off is no reason.
        order = {name: place for place, name in enumerate(names)}
        return sorted(there, key=lambda path: order.get(path.name, len(order)))

    def _read_metadata(self) -> dict:
        """Return the content of metadata.yaml; empty, and noted, where there is none to read."""
        try:
            data = yaml.safe_load((self.path / METADATA).read_text())
            return dict(data["rosbag2_bagfile_information"])
        except FileNotFoundError:
            note = f"{METADATA} is missing"
        except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError, ValueError):
            note = f"{METADATA} cannot be read"
        self._lost.append(note)
        return {}

    @property
    def lost(self) -> list[str]:
        """What is missing or could not be read so far, a clause each."""
        return [*self._lost, *(clause for file in self._files for clause in file.lost())]

    @property
    def facts(self) -> dict[str, str]:
        """What the recorder wrote into metadata.yaml beside the messages (custom_data)."""
        custom = self._metadata.get("custom_data")
        return {str(k): str(v) for k, v in custom.items()} if isinstance(custom, dict) else {}

    def sha256(self) -> str:
        """Return the hash of the bag's content: its files of messages, in order."""
        digest = hashlib.sha256()
        for path in self._paths:
            digest.update(path.stat().st_size.to_bytes(8, "little"))
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
        return digest.hexdigest()

    @property
    def topics(self) -> set[str]:
        """Names of the topics that have messages."""
        return {topic for file in self._files for topic, count in file.counts.items() if count}

    def require_topics(self, *names: str) -> None:
        """Raise BagError unless each named topic has messages; lists those that have."""
        missing = [name for name in names if name not in self.topics]
        if missing:
            raise BagError(
                f"bag {self.path} has no message on {', '.join(missing)}; it has "
                f"{', '.join(sorted(self.topics)) or 'none at all'}: leave it out, or record with "
                "these topics running"
            )

    def message_type(self, topic: str, *wanted: str) -> str:
        """Return the topic's type, the first wanted where there is no such topic.

        Raises:
            BagError: it is none of those wanted.
        """
        types = set().union(*(file.types.get(topic, set()) for file in self._files))
        wrong = sorted(types - set(wanted))
        if wrong or len(types) > 1:
            raise BagError(
                f"{topic} in bag {self.path} must be {' or '.join(wanted)}, got "
                f"{', '.join(wrong or sorted(types))}; leave this bag out"
            )
        return next(iter(types), wanted[0])

    def read(
        self, topics: Collection[str], heads: Collection[str] = ()
    ) -> Iterator[tuple[int, Raw]]:
        """Yield (number of the file, message) of `topics` in the order of the recording.

        Args:
            topics: whose messages to read, `heads` among them.
            heads: topics of which the first bytes of a message, with its stamp, will do.

        Raises:
            BagError: the disk cannot be read.
        """
        try:
            for number, file in enumerate(self._files):
                for raw in file.scan(topics, heads):
                    yield number, raw
        except OSError as error:
            raise BagError(
                f"bag {self.path} cannot be read ({error.strerror or error}): check the disk, or "
                "leave it out"
            ) from None

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
        rows = sorted(
            (*map(int, place), camera, row)
            for camera, places in wanted.items()
            for row, place in enumerate(places)
        )
        kinds = {camera: self._picture_type(camera) for camera in wanted}
        for number, file in enumerate(self._files):
            here = [row for row in rows if row[0] == number]
            found = file.fetch([(place, at) for _, place, at, _, _ in here])
            for (_, _, _, camera, row), data in zip(here, found, strict=True):
                topic = self.source.image_topic(camera)
                yield camera, row, self._checked(topic, messages.picture, data, kinds[camera])

    def frame_id_at(self, camera: str, place: np.ndarray) -> str:
        """Return the frame of the picture at a row of `ImageIndex.places`."""
        number, *at = map(int, place)
        (data,) = self._files[number].fetch([(at[0], at[1])])
        topic = self.source.image_topic(camera)
        return self._checked(topic, messages.header, data).frame_id.removeprefix("/")

    def images(self, camera: str) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (stamp [ns], picture (H, W, 3) uint8 RGB); raises BagError on a broken picture."""
        for stamp, data in self.pictures(camera):
            where = f"{camera} at {stamp} ns in bag {self.path}"
            try:
                yield stamp, data if isinstance(data, np.ndarray) else decode_jpeg(data, where)
            except ContractError as error:
                raise BagError(str(error)) from None

    def pictures(self, camera: str) -> Iterator[tuple[int, Picture]]:
        """Yield (stamp [ns], picture as in `images_at`) of all the camera's pictures."""
        topic, kind = self.source.image_topic(camera), self._picture_type(camera)
        for _, raw in self.read([topic]):
            stamp = self._checked(topic, stamp_ns, raw.data)
            yield stamp, self._checked(topic, messages.picture, raw.data, kind)

    jpegs = pictures

    def commanded(self) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (stamp [ns], commanded (7,) float64: 6 arm joints [rad], opening [0, 1])."""
        self.message_type(COMMANDED_TOPIC, JOINT_STATE)
        for _, raw in self.read([COMMANDED_TOPIC]):
            stamp, names, position = self._checked(raw.topic, messages.JointStates().read, raw.data)
            by_name = dict(zip(names, position, strict=False))
            values = np.array([by_name.get(name, np.nan) for name in (*arm.ARM_JOINTS, "gripper")])
            if not np.all(np.isfinite(values)):
                raise BagError(
                    f"{COMMANDED_TOPIC} in bag {self.path} must give finite "
                    f"{', '.join(arm.ARM_JOINTS)}, gripper, got {by_name}; leave this bag out"
                )
            values[6] = arm.opening_from_horn(values[6])
            yield stamp, values

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
        if len(said) != 1:
            raise BagError(
                f"{topic} in bag {self.path} changes on the way; record one calibration a bag"
            )
        info = said.pop()
        if info.k[0] == 0:
            raise BagError(
                f"{topic} in bag {self.path} has no intrinsics (k[0] is 0): calibrate the camera, "
                "give the file as calibration:=FILE and record again"
            )
        if info.model not in ("plumb_bob", "rational_polynomial", ""):
            raise BagError(
                f"{topic} in bag {self.path} has the distortion model {info.model!r}; calibrate "
                "with plumb_bob"
            )
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
            raise BagError(
                f"{topic} in bag {self.path} cannot be read ({error}); the bag is damaged: leave "
                "it out, or record it again"
            ) from None


def image_topic(camera: str) -> str:
    """Return the topic of the camera's compressed pictures."""
    return vla_source().image_topic(camera)


def bag_label(path: Path) -> str:
    """Return session and episode: every session counts its episodes from 0."""
    return "/".join(path.resolve().parts[-2:])


def _digits(name: str) -> list[str]:
    return re.split(r"(\d+)", name)
