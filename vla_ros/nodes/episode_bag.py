"""One MCAP bag for one episode, written with `rosbags` from serialised messages. No ROS graph."""

import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ament_index_python.packages import PackageNotFoundError, get_package_share_directory
from rosbags.interfaces import (
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from vla_ros.core.errors import BagError

# How rosbag2 writes "no limit": 2^63 - 1 ns.
_UNBOUNDED = QosTime(sec=9223372036, nsec=854775807)


@dataclass(frozen=True)
class Topic:
    """A topic to record: full name, type as `package/msg/Name`, latched or not."""

    name: str
    type: str
    latched: bool = False


class EpisodeBag:
    """The bag of one episode, under a temporary name until it is saved.

    Args:
        session: the folder that holds the session's bags.
        episode_id: the bag's folder in it.
        topics: what the bag may hold.

    Raises:
        BagError: the episode exists already, or the folder cannot be written.
    """

    def __init__(self, session: Path, episode_id: str, topics: list[Topic]):
        self.path = session / episode_id
        # The bag grows in `<id>.part/<id>`, so that the file names in its metadata stay true.
        self._part = session / f"{episode_id}.part"
        self.messages = 0
        for path in (self.path, self._part):
            if path.exists():
                raise BagError(
                    f"{path} exists already; choose another session name or move it away"
                )
        self._writer = Writer(self._part / episode_id, version=9, storage_plugin=StoragePlugin.MCAP)
        self._writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
        try:
            self._writer.open()
            self._connections = {topic.name: self._connect(topic) for topic in topics}
        except OSError as error:
            self._abort()
            raise self._failed(error) from None
        except BagError:
            self.discard()
            raise

    def write(self, topic: str, time_ns: int, data: bytes) -> None:
        """Append one serialised message, received at `time_ns`.

        Raises:
            BagError: the disk refused it; the bag is closed and keeps its temporary name.
        """
        try:
            self._writer.write(self._connections[topic], time_ns, data)
        except OSError as error:
            self._abort()
            raise self._failed(error) from None
        self.messages += 1

    def save(self, facts: dict[str, str]) -> Path:
        """Write the index and the metadata with `facts`, and give the bag its final name.

        Raises:
            BagError: the disk refused it; what was written keeps its temporary name.
        """
        try:
            for key, value in facts.items():
                self._writer.set_custom_data(key, value)
            self._writer.close()
            self._writer.path.rename(self.path)
            self._part.rmdir()
        except OSError as error:
            self._abort()
            raise self._failed(error) from None
        return self.path

    def discard(self) -> None:
        """Delete the bag."""
        self._abort()
        shutil.rmtree(self._part, ignore_errors=True)

    def _abort(self) -> None:
        # The file's own buffer is flushed here once more, and fails once more on a full disk.
        with suppress(OSError):
            self._writer.abort()

    def _failed(self, error: OSError) -> BagError:
        return BagError(
            f"recording to {self._part} failed ({error.strerror or error}): what was written "
            "stays there, saved episodes are untouched; free disk space or choose another out"
        )

    def _connect(self, topic: Topic):
        typestore = _typestore_with(topic.type)
        return self._writer.add_connection(
            topic.name, topic.type, typestore=typestore, offered_qos_profiles=[_qos(topic.latched)]
        )


_typestore = get_typestore(Stores.ROS2_JAZZY)


def _typestore_with(msgtype: str):
    """Return the type store, taught `msgtype` from its package's .msg file where it is foreign."""
    if msgtype not in _typestore.types:
        package, _, name = msgtype.split("/")
        try:
            path = Path(get_package_share_directory(package)) / "msg" / f"{name}.msg"
            _typestore.register(get_types_from_msg(path.read_text(), msgtype))
        except (PackageNotFoundError, OSError) as error:
            raise BagError(
                f"no definition of the message type {msgtype} to record ({error}); install and "
                f"source the package {package}"
            ) from None
    return _typestore


def _qos(latched: bool) -> Qos:
    """Return the profile that players and readers see for the topic."""
    return Qos(
        history=QosHistory.KEEP_LAST,
        depth=10,
        reliability=QosReliability.RELIABLE,
        durability=QosDurability.TRANSIENT_LOCAL if latched else QosDurability.VOLATILE,
        deadline=_UNBOUNDED,
        lifespan=_UNBOUNDED,
        liveliness=QosLiveliness.AUTOMATIC,
        liveliness_lease_duration=_UNBOUNDED,
        avoid_ros_namespace_conventions=False,
    )
