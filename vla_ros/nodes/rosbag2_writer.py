"""Writes a bag with rosbag2's own library, where a ROS install has it.

It has a cache and a thread of its own, so that a message costs the recorder little. It offers no
flush, and its chunks end by size only: a kill costs the open chunk and the end of the one before,
64 kB of messages at most, and what a disk that is held up has not taken of the cache. Measured:
0.9 s of joint states alone at 60 kB/s, 0.1 s with a camera; with the library's own chunks of 768 kB
it was the whole of 3 s and 1.2 s.

Its MCAP library does not look at what `fwrite` answers, so a disk that refuses is noticed here: by
a file that no longer grows, by the error of a sync, and at last by a file without its end. Run
against rosbag2 0.26 of Jazzy; for Humble only a fake was at hand.
"""

import os
from contextlib import suppress
from pathlib import Path

import rosbag2_py
import yaml
from rosbags.rosbag2.metadata import dump_qos_v8

from vla_ros.bags.writer import Syncer
from vla_ros.nodes.episode_bag import Topic, offered_qos, typestore_with

CHUNK_BYTES = 32 << 10
# Eight seconds of two cameras; what does not fit while the disk is held up is dropped.
CACHE_BYTES = 32 << 20
# The preset "zstd_fast" has no checksums, and after a power cut a file's end may hold zeros.
_STORAGE = f"chunkSize: {CHUNK_BYTES}\nnoChunkCRC: false\n"
# Next to the bag, in the folder that goes away with the bag's completion.
_STORAGE_FILE = "storage.yaml"
# So many flushes, one a second, without growth of the file while messages came.
_STALLED_FLUSHES = 5
_MAGIC = b"\x89MCAP0\r\n"


class Rosbag2Writer:
    """A `BagWriter` on rosbag2_py, of Humble and of later distros.

    Args:
        path: the bag's folder, which must not exist.
        topics: what the bag may hold.
        facts: what is known already, for the file's own metadata.
    """

    def __init__(self, path: Path, topics: list[Topic], facts: dict[str, str]):
        self._path = path
        self._messages = 0
        self._size_bytes = self._bytes_since_growth = self._flushes_since_growth = 0
        self._syncer: Syncer | None = None
        storage = path.with_name(_STORAGE_FILE)
        storage.write_text(_STORAGE)
        options = rosbag2_py.StorageOptions(
            uri=str(path),
            storage_id="mcap",
            max_cache_size=CACHE_BYTES,
            # Pictures do not shrink, and "fastwrite" leaves out the index.
            storage_preset_profile="zstd_fast",
            storage_config_uri=str(storage),
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
        self._messages += 1
        self._bytes_since_growth += len(data)

    def flush(self) -> None:
        """Look whether the library still writes: it has no such call, and does not say."""
        if self._syncer is None:
            self._start_sync()
        elif self._syncer.error is not None:
            raise self._syncer.error
        size_bytes = self.size_bytes
        if size_bytes != self._size_bytes:
            self._size_bytes = size_bytes
            self._bytes_since_growth = self._flushes_since_growth = 0
        elif self._bytes_since_growth > 4 * CHUNK_BYTES:
            self._flushes_since_growth += 1
            if self._flushes_since_growth >= _STALLED_FLUSHES:
                raise OSError(f"rosbag2: the file stays at {size_bytes} bytes, the disk takes none")

    def close(self, facts: dict[str, str]) -> None:
        self.abort()
        for file in self._path.glob("*.mcap"):
            if _end_of(file) != _MAGIC:
                raise OSError(f"rosbag2: {file.name} lacks its end, the disk took not all of it")
        # The library takes facts when it opens a bag only, and Humble's takes none.
        path = self._path / "metadata.yaml"
        try:
            metadata = yaml.safe_load(path.read_text())
            information = metadata["rosbag2_bagfile_information"]
            dropped = self._messages - int(information["message_count"])
        except (yaml.YAMLError, KeyError, TypeError, ValueError):
            raise OSError(f"rosbag2: {path.name} is not whole") from None
        # What the cache had no room for: the library only logs it.
        information["custom_data"] = facts | {"dropped_by_rosbag2": str(dropped)}
        complete = path.with_suffix(".tmp")
        complete.write_text(yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True))
        complete.rename(path)

    def abort(self) -> None:
        syncer, self._syncer = self._syncer, None
        if syncer is not None:
            syncer.close()
        writer, self._writer = self._writer, None
        if hasattr(writer, "close"):  # since Iron; before, it closes when it is let go
            self._guarded(writer.close)

    def _start_sync(self) -> None:
        with suppress(StopIteration):  # no file yet
            descriptor = os.open(next(self._path.glob("*.mcap")), os.O_RDONLY)
            try:
                self._syncer = Syncer(descriptor)
            finally:
                os.close(descriptor)

    def _guarded(self, call, *arguments) -> None:
        try:
            call(*arguments)
        except RuntimeError as error:  # what the bindings make of every C++ exception
            raise OSError(f"rosbag2: {error}") from None


def _end_of(file: Path) -> bytes:
    with file.open("rb") as stream:
        stream.seek(max(0, file.stat().st_size - len(_MAGIC)))
        return stream.read()


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
