"""Writes a bag with rosbag2's own library, where a ROS install has it.

It has a cache and a thread of its own, so that a message costs the recorder little. Its chunks are
bounded by size only (768 kB) and it offers no flush: a kill costs about two of them, however long
those took to come together, and a power cut what the system had not written. The `rosbags` backend
bounds the time, too. Run against rosbag2 0.26 of Jazzy; for Humble only a fake was at hand.
"""

from pathlib import Path

import rosbag2_py
import yaml
from rosbags.rosbag2.metadata import dump_qos_v8

from vla_ros.nodes.episode_bag import Topic, offered_qos, typestore_with

# What `ros2 bag record` takes; the library's own default is no cache at all.
CACHE_BYTES = 100 << 20


class Rosbag2Writer:
    """A `BagWriter` on rosbag2_py, of Humble and of later distros.

    Args:
        path: the bag's folder, which must not exist.
        topics: what the bag may hold.
        facts: what is known already, for the file's own metadata.
    """

    def __init__(self, path: Path, topics: list[Topic], facts: dict[str, str]):
        self._path = path
        options = rosbag2_py.StorageOptions(
            uri=str(path),
            storage_id="mcap",
            max_cache_size=CACHE_BYTES,
            # Pictures do not shrink, and "fastwrite" leaves out the index.
            storage_preset_profile="zstd_fast",
        )
        if hasattr(options, "custom_data"):  # since Jazzy
            options.custom_data = facts
        self._writer = rosbag2_py.SequentialWriter()
        self._guarded(self._writer.open, options, rosbag2_py.ConverterOptions("cdr", "cdr"))
        for number, topic in enumerate(topics, start=1):
            self._guarded(self._writer.create_topic, _metadata(number, topic))

    @property
    def size_bytes(self) -> int:
        return sum(file.stat().st_size for file in self._path.glob("*.mcap"))

    def write(self, topic: str, time_ns: int, data: bytes) -> None:
        self._guarded(self._writer.write, topic, data, time_ns)

    def flush(self) -> None:
        """Do nothing: the library has no such call."""

    def close(self, facts: dict[str, str]) -> None:
        self.abort()
        # The library takes facts when it opens a bag only, and Humble's takes none.
        path = self._path / "metadata.yaml"
        metadata = yaml.safe_load(path.read_text())
        metadata["rosbag2_bagfile_information"]["custom_data"] = facts
        complete = path.with_suffix(".tmp")
        complete.write_text(yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True))
        complete.rename(path)

    def abort(self) -> None:
        writer, self._writer = self._writer, None
        if hasattr(writer, "close"):  # since Iron; before, it closes when it is let go
            self._guarded(writer.close)

    def _guarded(self, call, *arguments) -> None:
        try:
            call(*arguments)
        except RuntimeError as error:  # what the bindings make of every C++ exception
            raise OSError(f"rosbag2: {error}") from None


def _metadata(number: int, topic: Topic):
    profile = offered_qos(topic.latched)
    try:
        qos = rosbag2_py._storage.QoS(profile.depth).reliable()  # not exported, but bound
        return rosbag2_py.TopicMetadata(
            id=number,
            name=topic.name,
            type=topic.type,
            serialization_format="cdr",
            offered_qos_profiles=[qos.transient_local() if topic.latched else qos],
            type_description_hash=typestore_with(topic.type).hash_rihs01(topic.type),
        )
    except (AttributeError, TypeError):  # Humble: no number, and the profiles as YAML
        return rosbag2_py.TopicMetadata(
            name=topic.name,
            type=topic.type,
            serialization_format="cdr",
            offered_qos_profiles=dump_qos_v8([profile]),
        )
