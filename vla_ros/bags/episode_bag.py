"""One MCAP bag for one episode, from serialised messages. No ROS."""

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rosbags.interfaces import (
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.typesys import Stores, get_typestore
from rosbags.typesys.store import Typestore

from vla_ros.bags.part import PartFolder
from vla_ros.bags.writer import ChunkedWriter
from vla_ros.core.errors import BagError

# How rosbag2 writes "no limit": 2^63 - 1 ns.
_UNBOUNDED = QosTime(sec=9223372036, nsec=854775807)
_jazzy = get_typestore(Stores.ROS2_JAZZY)


@dataclass(frozen=True)
class Topic:
    """A topic to record: full name, type as `package/msg/Name`, latched or not."""

    name: str
    type: str
    latched: bool = False


class BagWriter(Protocol):
    """What writes the files of a bag; every method may raise OSError."""

    size_bytes: int

    def write(self, topic: str, time_ns: int, data: bytes) -> None:
        """Append one serialised message, received at `time_ns`."""

    def flush(self) -> None:
        """Give what is buffered to the operating system, so that it outlives the process."""

    def close(self, facts: dict[str, str]) -> None:
        """Write index and metadata with `facts`."""

    def abort(self) -> None:
        """Close as it is."""


class EpisodeBag:
    """The bag of one episode, under a temporary name until it is saved.

    Args:
        session: the folder that holds the session's bags.
        episode_id: the bag's folder in it.
        topics: what the bag may hold.
        facts: what is known already, for a bag that nobody comes to save.
        make_writer: (folder, topics, facts) to the writer of the files.

    Raises:
        BagError: the episode exists already, or the folder cannot be written.
    """

    def __init__(
        self,
        session: Path,
        episode_id: str,
        topics: list[Topic],
        facts: dict[str, str] | None = None,
        make_writer: Callable[..., BagWriter] | None = None,
    ):
        self._part = PartFolder.create(session, episode_id)
        self.messages = 0
        try:
            self._part.write_facts(facts or {})
            self._writer = (make_writer or RosbagsWriter)(self._part.bag, topics, facts or {})
        except (OSError, BagError) as error:
            self._part.remove()  # nothing was recorded yet
            raise error if isinstance(error, BagError) else self._failed(error) from None

    @property
    def size_bytes(self) -> int:
        """What is on the disk so far; raises BagError as `write` does."""
        try:
            return self._writer.size_bytes
        except OSError as error:
            self._abort()
            raise self._failed(error) from None

    def write(self, topic: str, time_ns: int, data: bytes) -> None:
        """Append one serialised message, received at `time_ns`.

        Raises:
            BagError: the disk refused it; the bag is closed and keeps its temporary name.
        """
        try:
            self._writer.write(topic, time_ns, data)
        except OSError as error:
            self._abort()
            raise self._failed(error) from None
        self.messages += 1

    def flush(self) -> None:
        """Put what was written out of reach of a kill; raises BagError as `write` does.

        Also where the folder has gone: the system goes on writing to a file that nobody finds.
        """
        try:
            os.stat(self._part.bag)
            self._writer.flush()
        except OSError as error:
            self._abort()
            raise self._failed(error) from None

    def save(self, facts: dict[str, str]) -> Path:
        """Write the index and the metadata with `facts`, and give the bag its final name.

        Raises:
            BagError: the disk refused it; what was written keeps its temporary name.
        """
        try:
            self._writer.close(facts)
            return self._part.finish(self._part.bag)
        except OSError as error:
            self._abort()
            raise self._failed(error) from None

    def discard(self) -> None:
        """Delete the bag.

        Raises:
            BagError: the disk refused it.
        """
        self._abort()
        self._part.remove()
        if os.path.lexists(self._part.path):
            raise BagError(
                f"the discarded {self._part.path} could not be deleted; delete it, or a repair "
                "makes a bag of it"
            )

    def _abort(self) -> None:
        # The file's own buffer is flushed here once more, and fails once more on a full disk.
        with suppress(OSError):
            self._writer.abort()
        self._part.unlock()

    def _failed(self, error: OSError) -> BagError:
        # The last step of a save may fail when the bag has its name already.
        places = (self._part.final, self._part.path)
        where = next((path for path in places if os.path.lexists(path)), None)
        kept = "the folder is gone" if where is None else f"what was written stays in {where}"
        return BagError(
            f"recording to {self._part.path} failed ({error.strerror or error}): {kept}, saved "
            "episodes are untouched; free disk space or choose another out"
        )


def ros_types(msgtype: str) -> Typestore:
    """Return the types that every ROS 2 has; BagError where this one is not among them."""
    if msgtype not in _jazzy.types:
        raise BagError(f"no definition of the message type {msgtype} to record: it is not ROS 2's")
    return _jazzy


class RosbagsWriter:
    """Writes with `rosbags`; a kill costs what came since the last flush or whole chunk.

    Args:
        path: the bag's folder, which must not exist.
        topics: what the bag may hold.
        facts: those at the end are taken instead.
        types: returns a type store that knows a message type; raises BagError for another.
    """

    def __init__(
        self,
        path: Path,
        topics: list[Topic],
        facts: dict[str, str],
        types: Callable[[str], Typestore] = ros_types,
    ):
        del facts
        self._types = types
        self._writer = ChunkedWriter(path)
        try:
            self._writer.open()
            self._connections = {topic.name: self._connect(topic) for topic in topics}
        except (BagError, OSError):
            with suppress(OSError):
                self._writer.abort()
            raise

    @property
    def size_bytes(self) -> int:
        return self._writer.size_bytes

    def write(self, topic: str, time_ns: int, data: bytes) -> None:
        self._writer.write(self._connections[topic], time_ns, data)

    def flush(self) -> None:
        self._writer.flush()

    def close(self, facts: dict[str, str]) -> None:
        for key, value in facts.items():
            self._writer.set_custom_data(key, value)
        self._writer.close()

    def abort(self) -> None:
        self._writer.abort()

    def _connect(self, topic: Topic):
        return self._writer.add_connection(
            topic.name,
            topic.type,
            typestore=self._types(topic.type),
            offered_qos_profiles=[offered_qos(topic.latched)],
        )


def offered_qos(latched: bool) -> Qos:
    """Return the profile that players and readers see for a topic."""
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
