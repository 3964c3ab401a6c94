"""The files of a bag, MCAP or sqlite3: serialised messages and where each lies, what is lost.

Every file is read front to back, in the order it was written, and only what is whole. None is
ever changed.
"""

import errno
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Executor
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol
from urllib.parse import quote

from training.recordings.cdr import HEAD_BYTES
from vla_ros.bags.torn_mcap import MAGIC, TornMcap, message_at

ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_BLOCK_BYTES = 1 << 16


class Raw(NamedTuple):
    """A serialised message; `place` and `at` find it again with `fetch`.

    What is learnt goes by the message's stamp; when it arrived, `received_ns`, is for the doctor.
    """

    topic: str
    place: int
    at: int
    data: bytes | memoryview
    received_ns: int


# Of millions of messages: half of the time that `Raw` takes by its names.
_raw = partial(tuple.__new__, Raw)


class BagFile(Protocol):
    """One file of a bag.

    Attributes:
        types: the types of each topic.
        counts: messages of each topic, as far as the file tells without being read through.
        formats: how its messages are serialised.
    """

    types: dict[str, set[str]]
    counts: Counter[str]
    formats: set[str]

    def scan(
        self, topics: Collection[str], heads: Collection[str], pool: Executor | None = None
    ) -> Iterator[Raw]:
        """Yield the messages of `topics` in order; of those in `heads` the first bytes will do.

        Threads of `pool` may unpack what comes next.
        """
        ...

    def fetch(self, places: list[tuple[int, int]]) -> Iterator[bytes | memoryview]:
        """Yield the messages at sorted (place, at)."""
        ...

    def lost(self) -> list[str]:
        """Return what the last whole scan could not read, a clause each."""
        ...

    def close(self) -> None:
        """Let go of the file."""
        ...


class McapFile:
    """An MCAP file, whole, without its end, or with damaged chunks."""

    def __init__(self, path: Path):
        self.path = path
        with path.open("rb") as file:
            start = file.read(len(MAGIC))
        if start != MAGIC:
            raise ValueError("it is no MCAP file" if start else "it is empty")
        self._mcap = TornMcap(path)
        counts = self._mcap.read_summary()
        self._has_index = counts is not None
        # Opening reads a file without an index through.
        self._is_read = not self._has_index
        self._scanned: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()
        if counts is None:
            for _, found in self._mcap.groups():
                self.counts.update(self._mcap.channels[number].topic for number, *_ in found)
        else:
            for number, channel in self._mcap.channels.items():
                self.counts[channel.topic] += counts.get(number, 0)
        channels = self._mcap.channels.values()
        self.types: dict[str, set[str]] = {channel.topic: set() for channel in channels}
        for channel in channels:
            self.types[channel.topic].add(channel.msgtype)
        self.formats = {channel.serialization for channel in channels}

    def scan(
        self, topics: Collection[str], heads: Collection[str], pool: Executor | None = None
    ) -> Iterator[Raw]:
        """Yield the messages of `topics`; see `BagFile`."""
        self._scanned = scanned = Counter()
        for place, found in self._mcap.groups(pool):
            names = {number: channel.topic for number, channel in self._mcap.channels.items()}
            for number, received_ns, at, data in found:
                topic = names[number]
                scanned[topic] += 1
                if topic in topics:
                    data = unpacked(data, topic in heads)
                    yield _raw((topic, place, at, data, received_ns))
        self._is_read = True

    def fetch(self, places: list[tuple[int, int]]) -> Iterator[bytes | memoryview]:
        """Yield the messages at sorted (place, at)."""
        held, group = -1, memoryview(b"")
        with self.path.open("rb") as file:
            for place, at in places:
                if place != held:
                    held, group = place, self._mcap.group_at(file, place)
                yield unpacked(message_at(group, at), False)

    def lost(self) -> list[str]:
        """Return what the last whole scan could not read, a clause each."""
        mcap, found = self._mcap, []
        if not self._is_read:
            return found
        if not mcap.complete:
            torn = mcap.size_bytes - mcap.sound_bytes
            found.append(f"{self.path.name} is cut off, its last {torn} bytes are no whole record")
        if mcap.damaged_chunks:
            missing = sum((self.counts - self._scanned).values())
            told = f", {missing} messages" if self._has_index else ""
            found.append(f"{self.path.name} has {mcap.damaged_chunks} damaged chunks{told}")
        return found

    def close(self) -> None:
        """Let go of the file."""


class SqliteFile:
    """A rosbag2 sqlite3 file.

    Args:
        path: the file.
        scratch: where a file that was never closed is copied, as reading its log changes it.
    """

    def __init__(self, path: Path, scratch: Callable[[], Path]):
        self.path = path
        opened, mode = path, "mode=ro&immutable=1"
        journals = [path.with_name(path.name + end) for end in ("-wal", "-journal")]
        if any(journal.exists() for journal in journals):
            opened, mode = Path(shutil.copy(path, scratch())), "mode=rw"
            for journal in filter(Path.exists, journals):
                shutil.copy(journal, scratch())
        self._lost: list[str] = []
        self._db = sqlite3.connect(f"file:{quote(str(opened))}?{mode}", uri=True)
        rows = self._db.execute(
            "SELECT id, name, type, serialization_format FROM topics"
        ).fetchall()
        # A message of another kind is bytes too: its reader says what is wrong with them.
        self._db.text_factory = bytes
        self._topics = {number: name for number, name, _, _ in rows}
        self.types: dict[str, set[str]] = {name: set() for _, name, _, _ in rows}
        for _, name, msgtype, _ in rows:
            self.types[name].add(msgtype)
        self.formats = {serialization for *_, serialization in rows}
        self.counts: Counter[str] = Counter()
        for number, count in self._counted():
            self.counts[self._topics.get(number, "")] += count

    def scan(
        self, topics: Collection[str], heads: Collection[str], pool: Executor | None = None
    ) -> Iterator[Raw]:
        """Yield the messages of `topics`; see `BagFile`."""
        self._lost = []
        numbers = [n for n, name in self._topics.items() if name in topics]
        head = [n for n, name in self._topics.items() if name in heads]
        marks, head_marks = (",".join("?" * len(some)) for some in (numbers, head))
        query = (
            f"SELECT id, topic_id, timestamp, CASE WHEN topic_id IN ({head_marks}) "
            f"THEN substr(data, 1, {HEAD_BYTES}) ELSE data END "
            f"FROM messages WHERE topic_id IN ({marks}) ORDER BY id"
        )
        try:
            for place, number, received_ns, data in self._db.execute(query, (*head, *numbers)):
                topic = self._topics[number]
                data = data if isinstance(data, bytes) else b""
                if topic in heads and data[:4] == ZSTD_MAGIC:
                    (data,) = self.fetch([(place, 0)])
                yield Raw(topic, place, 0, unpacked(data, topic in heads), received_ns)
        except sqlite3.DatabaseError as error:
            _raise_if_disk(error, self.path)
            self._lost.append(f"{self.path.name} ends early ({error})")

    def fetch(self, places: list[tuple[int, int]]) -> Iterator[bytes | memoryview]:
        """Yield the messages at sorted (place, at)."""
        for place, _ in places:
            query = "SELECT data FROM messages WHERE id = ?"
            try:
                (data,) = self._db.execute(query, (place,)).fetchone() or (b"",)
            except sqlite3.DatabaseError as error:
                _raise_if_disk(error, self.path)
                raise
            yield unpacked(data if isinstance(data, bytes) else b"", False)

    def lost(self) -> list[str]:
        """Return what the last whole scan could not read, a clause each."""
        return self._lost

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def _counted(self) -> list[tuple[int, int]]:
        query = "SELECT topic_id, count(*) FROM messages GROUP BY topic_id"
        try:
            return self._db.execute(query).fetchall()
        except sqlite3.DatabaseError as error:
            _raise_if_disk(error, self.path)
            # Cut off: what can be read is read; that there are some is all that is known.
            return [(number, 1) for number in self._topics]


def _raise_if_disk(error: sqlite3.Error, path: Path) -> None:
    """Raise OSError where it is the disk that refuses and not the database that is damaged."""
    # `sqlite_errorcode` is there from Python 3.11 on.
    if "disk I/O error" in str(error):
        raise OSError(errno.EIO, "disk I/O error", str(path))


def unpacked(data: bytes | memoryview, head_only: bool) -> bytes | memoryview:
    """Return a message as it was serialised; rosbag2 may have compressed each by itself.

    A damaged one is empty.
    """
    # A message that is not compressed begins with 0.
    if not len(data) or data[0] != ZSTD_MAGIC[0] or bytes(data[:4]) != ZSTD_MAGIC:
        return data
    # rosbags takes half a second to import, which most bags need not wait for.
    from rosbags.rosbag2.storage_mcap import zstd

    try:
        if head_only:
            return zstd.ZstdDecompressor().decompress(bytes(data), max_length=HEAD_BYTES)
        return zstd.decompress(data)
    except zstd.ZstdError:
        return b""


def expand(path: Path, scratch: Path) -> tuple[Path, str | None]:
    """Return the file that `path`.zstd holds, in `scratch`, and what is wrong with it or None."""
    from rosbags.rosbag2.storage_mcap import zstd

    target = scratch / path.stem
    stream = zstd.ZstdDecompressor()
    with path.open("rb") as packed, target.open("wb") as plain:
        try:
            while block := packed.read(_BLOCK_BYTES):
                while block:
                    if stream.eof:
                        stream = zstd.ZstdDecompressor()
                    plain.write(stream.decompress(block))
                    block = stream.unused_data
        except zstd.ZstdError as error:
            return target, f"{path.name} is damaged ({error})"
    return target, None if stream.eof else f"{path.name} is cut off"


def open_file(path: Path, scratch: Callable[[], Path]) -> BagFile:
    """Open one file; `scratch` gives a folder for copies.

    Raises:
        OSError, ValueError, sqlite3.Error: it is none of a bag, or cannot be read now.
    """
    if path.suffix == ".mcap":
        return McapFile(path)
    try:
        return SqliteFile(path, scratch)
    except sqlite3.Error as error:
        _raise_if_disk(error, path)
        raise
