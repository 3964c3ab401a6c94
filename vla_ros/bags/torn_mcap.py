"""Reads what is whole in an MCAP file that was cut off or damaged, front to back, index or none.

`rosbags` and rosbag2 want the footer, which is written last. Format: https://mcap.dev/spec
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from rosbags.rosbag2.storage_mcap import decompress

MAGIC = b"\x89MCAP0\r\n"
_HEADER, _FOOTER, _SCHEMA, _CHANNEL, _MESSAGE, _CHUNK, _DATA_END = 1, 2, 3, 4, 5, 6, 15
# Opcode and length of the content.
_RECORD = struct.Struct("<BQ")


@dataclass(frozen=True)
class Channel:
    """A topic of the file: its type's definition in the encoding of `encoding`."""

    topic: str
    msgtype: str
    encoding: str
    definition: str
    serialization: str
    metadata: dict[str, str]


class TornMcap:
    """The whole part of a file.

    Attributes:
        sound_bytes: length of the part that is whole records, after `messages` was read out.
        size_bytes: length of the file.
        damaged_chunks: chunks in that part whose content is not what was written; left out.
        complete: whether the writer had come to the end of the data.
    """

    def __init__(self, path: Path):
        self._path = path
        self._schemas: dict[int, tuple[str, str, str]] = {}
        self._channels: dict[int, Channel] = {}
        self.size_bytes = path.stat().st_size
        self.sound_bytes = 0
        self.damaged_chunks = 0
        self.complete = False

    def messages(self) -> Iterator[tuple[int, Channel, int, bytes]]:
        """Yield (channel's id, channel, time of arrival [ns], serialised message) as in the file.

        Raises:
            OSError: the file cannot be read.
        """
        with self._path.open("rb") as file:
            if file.read(len(MAGIC)) != MAGIC:
                return
            self.sound_bytes = len(MAGIC)
            for opcode, content in self._records(file):
                if opcode in (_DATA_END, _FOOTER):
                    self.complete = True
                    return
                try:
                    whole = self._unpacked(opcode, content)
                except Exception:  # struct, decompressor and decoder each raise their own
                    self.damaged_chunks += 1
                    continue
                yield from whole

    def _records(self, file: BinaryIO) -> Iterator[tuple[int, bytes]]:
        while True:
            start = file.read(_RECORD.size)
            if len(start) < _RECORD.size:
                return
            opcode, length = _RECORD.unpack(start)
            if opcode == 0 or length > self.size_bytes - file.tell():
                return
            content = file.read(length)
            self.sound_bytes = file.tell()
            yield opcode, content

    def _unpacked(self, opcode: int, content: bytes) -> list[tuple[int, Channel, int, bytes]]:
        """Return the messages of a record, all or none of them."""
        if opcode != _CHUNK:
            message = self._take(opcode, memoryview(content))
            return [] if message is None else [message]
        size, crc, name = struct.unpack_from("<QII", content, 16)
        start = 32 + name
        (length,) = struct.unpack_from("<Q", content, start)
        packed = content[start + 8 : start + 8 + length]
        data = memoryview(decompress(packed, content[32:start].decode(), size, crc))
        found, at = [], 0
        while at < len(data):
            opcode, length = _RECORD.unpack_from(data, at)
            at += _RECORD.size
            if length > len(data) - at:
                raise ValueError("a record reaches beyond its chunk")
            message = self._take(opcode, data[at : at + length])
            if message is not None:
                found.append(message)
            at += length
        return found

    def _take(self, opcode: int, data: memoryview) -> tuple[int, Channel, int, bytes] | None:
        """Return the message of a record, or keep the schema or channel that it is."""
        if opcode == _MESSAGE:
            number, _, time_ns, _ = struct.unpack_from("<HIQQ", data)
            return number, self._channels[number], time_ns, bytes(data[22:])
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
            self._channels[number] = channel
        return None


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
