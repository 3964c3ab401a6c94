"""Reads what is whole in an MCAP file that was cut off or damaged, front to back, index or none.

Behind a damage that hides where the next record begins, the next whole chunk is looked for.
`rosbags` and rosbag2 want the footer, which is written last. Format: https://mcap.dev/spec
"""

import mmap
import re
import struct
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from zlib import crc32

MAGIC = b"\x89MCAP0\r\n"
_HEADER, _FOOTER, _SCHEMA, _CHANNEL, _MESSAGE, _CHUNK, _DATA_END = 1, 2, 3, 4, 5, 6, 15
_STATISTICS = 11
# The opcodes that the format has; another one is damage.
_OPCODES = range(_HEADER, _DATA_END + 1)
# How a chunk's record begins: opcode, length, two times, size, sum, and the length of the
# compression's name, which is "", "lz4" or "zstd". Lengths have zeros in their upper bytes.
_CHUNK_START = re.compile(rb"\x06.{5}\0{3}.{28}[\0\3\4]\0{3}", re.DOTALL)
# Chunk's times, size and sum, before the compression's name.
_CHUNK_HEAD_BYTES = 32
_NO_ZERO = re.compile(rb"[^\0]")
# Opcode and length of the content.
_RECORD = struct.Struct("<BQ")
_FOOTER_BYTES = _RECORD.size + 20 + len(MAGIC)
# Chunks that are unpacked while the one before is looked through.
_CHUNKS_AHEAD = 4
# Channel's id, sequence number, times of arrival and of sending, before a message's bytes.
_MESSAGE_HEAD = struct.Struct("<HIQQ")
# The same behind opcode and length, as a chunk holds it.
_MESSAGE_RECORD = struct.Struct("<BQHIQQ")


@dataclass(frozen=True)
class Channel:
    """A topic of the file: its type's definition in the encoding of `encoding`."""

    topic: str
    msgtype: str
    encoding: str
    definition: str
    serialization: str
    metadata: dict[str, str]


# A message: its channel's id, time of arrival [ns], place in its group, and its bytes. A plain
# tuple, of which there are millions: one with names takes four times as long to make.
Placed = tuple[int, int, int, memoryview]
# What a chunk holds, once a thread has unpacked it; None where none does.
_Chunk = Future[memoryview] | None
# Place in the file, opcode, content.
_Record = tuple[int, int, bytes, _Chunk]


class TornMcap:
    """The whole part of a file.

    Attributes:
        channels: by id, as far as they have been read.
        sound_bytes: length of all whole records, after `messages` was read out.
        size_bytes: length of the file.
        damaged_chunks: stretches that are not what was written, left out: chunks, or all up to the
            next whole one. What a cut leaves at the end, a record's beginning or zeros, is none.
        complete: whether the writer had come to the end of the data.
    """

    def __init__(self, path: Path):
        self._path = path
        self._schemas: dict[int, tuple[str, str, str]] = {0: ("", "", "")}
        self.channels: dict[int, Channel] = {}
        self.size_bytes = path.stat().st_size
        self.sound_bytes = 0
        self.damaged_chunks = 0
        self.complete = False

    def messages(self) -> Iterator[tuple[int, Channel, int, bytes]]:
        """Yield (channel's id, channel, time of arrival [ns], serialised message) as in the file.

        Raises:
            OSError: the file cannot be read.
        """
        for _, found in self.groups():
            for number, time_ns, _, data in found:
                yield number, self.channels[number], time_ns, bytes(data)

    def groups(self, pool: Executor | None = None) -> Iterator[tuple[int, list[Placed]]]:
        """Yield (place in the file, messages) of each chunk, or of a message outside of chunks.

        Args:
            pool: threads that unpack chunks and check their sums, a few chunks ahead.

        Raises:
            OSError: the file cannot be read.
        """
        self.damaged_chunks, self.complete = 0, False
        with self._path.open("rb") as file:
            if file.read(len(MAGIC)) != MAGIC:
                return
            self.sound_bytes = len(MAGIC)
            records = self._records(file)
            for place, opcode, content, chunk in records if pool is None else _ahead(records, pool):
                self.sound_bytes += _RECORD.size + len(content)
                if opcode in (_DATA_END, _FOOTER):
                    self.complete = True
                    return
                try:
                    found = self._unpacked(opcode, content, chunk)
                except Exception:  # struct, decompressor and decoder each raise their own
                    self.damaged_chunks += 1
                    continue
                if found:
                    yield place, found

    def group_at(self, file: BinaryIO, place: int) -> memoryview:
        """Return the bytes that a message's place of the group at `place` counts in.

        Raises:
            OSError, ValueError: it cannot be read, or is not what was written.
        """
        file.seek(place)
        head = file.read(_RECORD.size)
        opcode, length = _RECORD.unpack(head)
        content = file.read(length)
        return _chunk_data(content) if opcode == _CHUNK else memoryview(head + content)

    def read_summary(self) -> dict[int, int] | None:
        """Return how many messages each channel has by the index at the file's end; None without.

        The index tells the channels too, also those whose first chunk is damaged.

        Raises:
            OSError: the file cannot be read.
        """
        if self.size_bytes < len(MAGIC) + _FOOTER_BYTES:
            return None
        with self._path.open("rb") as file:
            file.seek(-_FOOTER_BYTES, 2)
            footer = file.read()
            start = int.from_bytes(footer[9:17], "little")
            if footer[0] != _FOOTER or not footer.endswith(MAGIC) or not start:
                return None
            file.seek(start)
            try:
                for _, opcode, content, _ in self._records(file):
                    if opcode == _STATISTICS:
                        return dict(struct.iter_unpack("<HQ", content[46:]))
                    if opcode in (_SCHEMA, _CHANNEL):
                        self._take(opcode, memoryview(content), 0)
            except (struct.error, ValueError, KeyError):
                pass
        return None

    def _records(self, file: BinaryIO) -> Iterator["_Record"]:
        at: int | None = file.tell()
        while at is not None and at + _RECORD.size <= self.size_bytes:
            file.seek(at)
            opcode, length = _RECORD.unpack(file.read(_RECORD.size))
            end = at + _RECORD.size + length
            if opcode in _OPCODES and end <= self.size_bytes:
                content = file.read(length)
                if opcode != _CHUNK or _is_framed(content):
                    yield at, opcode, content, None
                    if opcode in (_DATA_END, _FOOTER):
                        return
                    at = end
                    continue
            at = self._behind_damage(file, at, opcode in _OPCODES)

    def _behind_damage(self, file: BinaryIO, at: int, may_be_cut: bool) -> int | None:
        """Return where the next whole chunk begins after `at`, and count what was left out.

        Args:
            may_be_cut: whether a record begins at `at`, of which the file lacks the end.
        """
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        found = _CHUNK_START.search(data, at + 1)
        while found is not None:
            place = found.start()
            (length,) = struct.unpack_from("<Q", data, place + 1)
            content = data[place + _RECORD.size : place + _RECORD.size + length]
            if len(content) == length and _is_framed(content) and _is_whole(content):
                self.damaged_chunks += 1
                return place
            found = _CHUNK_START.search(data, place + 1)
        is_end = may_be_cut or _NO_ZERO.search(data, at) is None
        self.damaged_chunks += not is_end
        return None

    def _unpacked(self, opcode: int, content: bytes, chunk: "_Chunk") -> list[Placed]:
        """Return the messages of a record, all or none of them."""
        if opcode != _CHUNK:
            message = self._take(opcode, memoryview(content), _RECORD.size)
            return [] if message is None else [message]
        data = _chunk_data(content) if chunk is None else chunk.result()
        channels, end = self.channels, len(data)
        found, at = [], 0
        while at < end:
            # Nearly every record is a message, of which there are millions.
            if data[at] == _MESSAGE:
                _, length, number, _, time_ns, _ = _MESSAGE_RECORD.unpack_from(data, at)
                at += _RECORD.size
                if not _MESSAGE_HEAD.size <= length <= end - at:
                    raise ValueError("a message reaches beyond its chunk, or has no head")
                if number not in channels:
                    raise _undescribed(number)
                message = data[at + _MESSAGE_HEAD.size : at + length]
                found.append((number, time_ns, at, message))
            else:
                opcode, length = _RECORD.unpack_from(data, at)
                at += _RECORD.size
                if length > end - at:
                    raise ValueError("a record reaches beyond its chunk")
                self._take(opcode, data[at : at + length], at)
            at += length
        return found

    def _take(self, opcode: int, data: memoryview, at: int) -> Placed | None:
        """Return the message of a record, or keep the schema or channel that it is."""
        if opcode == _MESSAGE:
            number, _, time_ns, _ = _MESSAGE_HEAD.unpack_from(data)
            if number not in self.channels:
                raise _undescribed(number)
            return number, time_ns, at, data[_MESSAGE_HEAD.size :]
        if opcode == _SCHEMA:
            (number,) = struct.unpack_from("<H", data)
            (name, encoding, text), _ = _strings(data, 2, 3)
            self._schemas[number] = name, encoding, text
        elif opcode == _CHANNEL:
            number, schema = struct.unpack_from("<HH", data)
            (topic, serialization), at = _strings(data, 4, 2)
            (length,) = struct.unpack_from("<I", data, at)
            metadata, end, at = {}, at + 4 + length, at + 4
            while at < end:
                (key, value), at = _strings(data, at, 2)
                metadata[key] = value
            channel = Channel(topic, *self._schemas[schema], serialization, metadata)
            self.channels[number] = channel
        return None


def message_at(group: memoryview, at: int) -> memoryview:
    """Return the serialised message at its place in a group's bytes; see `TornMcap.group_at`."""
    (length,) = struct.unpack_from("<Q", group, at - 8)
    return group[at + _MESSAGE_HEAD.size : at + length]


def _undescribed(channel: int) -> ValueError:
    return ValueError(f"a message of channel {channel}, which nothing describes")


def _is_framed(content: bytes) -> bool:
    """Return whether a chunk's record is as long as what it says it holds."""
    if len(content) < _CHUNK_HEAD_BYTES:
        return False
    (name,) = struct.unpack_from("<I", content, _CHUNK_HEAD_BYTES - 4)
    start = _CHUNK_HEAD_BYTES + name + 8
    return start + int.from_bytes(content[start - 8 : start], "little") == len(content)


def _is_whole(content: bytes) -> bool:
    try:
        _chunk_data(content)
    except Exception:  # struct and the decompressors each raise their own
        return False
    return True


def _chunk_data(content: bytes) -> memoryview:
    size, crc, name = struct.unpack_from("<QII", content, 16)
    start = _CHUNK_HEAD_BYTES + name
    (length,) = struct.unpack_from("<Q", content, start)
    packed = memoryview(content)[start + 8 : start + 8 + length]
    compression = content[_CHUNK_HEAD_BYTES:start].decode()
    if compression:
        # rosbags takes half a second to import, which plain chunks need not wait for.
        from rosbags.rosbag2.storage_mcap import decompress

        return memoryview(decompress(packed, compression, size, crc))
    if len(packed) != size or (crc and crc32(packed) != crc):
        raise ValueError("the chunk is not what was written")
    return packed


def _ahead(records: Iterator[_Record], pool: Executor) -> Iterator[_Record]:
    """Yield the same records, each chunk handed to the pool some records before."""
    waiting: deque[_Record] = deque()
    chunks = 0
    for place, opcode, content, _ in records:
        # The sum and the name of the compression; without both there is nothing to do ahead.
        is_work = opcode == _CHUNK and any(content[24:32])
        chunk = pool.submit(_chunk_data, content) if is_work else None
        waiting.append((place, opcode, content, chunk))
        chunks += chunk is not None
        while waiting and (chunks > _CHUNKS_AHEAD or waiting[0][3] is None):
            chunks -= waiting[0][3] is not None
            yield waiting.popleft()
    yield from waiting


def _strings(data: memoryview, at: int, count: int) -> tuple[list[str], int]:
    """Return `count` strings that stand at `at`, and where they end."""
    found = []
    for _ in range(count):
        (length,) = struct.unpack_from("<I", data, at)
        at += 4 + length
        if at > len(data):
            raise ValueError("a string reaches beyond its record")
        found.append(bytes(data[at - length : at]).decode())
    return found, at
