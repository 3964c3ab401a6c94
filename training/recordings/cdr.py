"""Fields of serialised ROS messages, read where they lie: a picture is not copied for its stamp.

CDR as ROS 2 writes it: four bytes that name the byte order, then the fields, each aligned to its
own size from there.
"""

import struct
from typing import NamedTuple

import numpy as np

from vla_ros.core.resample import NS_PER_S

# What `stamp_ns` needs of a message that begins with a header.
HEAD_BYTES = 12
# What names the byte order, and a stamp's seconds and nanoseconds.
_LITTLE_HEAD, _BIG_HEAD = struct.Struct("<BBxxiI"), struct.Struct(">BBxxiI")


class Header(NamedTuple):
    """A message's stamp [ns] and frame."""

    stamp_ns: int
    frame_id: str


class Cdr:
    """One serialised message, read field by field in their order.

    Every method raises ValueError where the message ends too early.
    """

    def __init__(self, raw: bytes | memoryview):
        self.order = byte_order(raw)
        self._data = memoryview(raw)[4:]
        self._at = 0

    def numbers(self, code: str, count: int) -> tuple:
        """Return `count` numbers of the struct code."""
        if count == 0:
            return ()
        size = struct.calcsize(f"={code}")
        self._at += -self._at % size
        return struct.unpack(f"{self.order}{count}{code}", self._take(size * count))

    def number(self, code: str):
        """Return one number of the struct code."""
        return self.numbers(code, 1)[0]

    def array(self, count: int) -> np.ndarray:
        """Return `count` float64."""
        return np.array(self.numbers("d", count), np.float64)

    def place(self, code: str) -> int:
        """Return where in the message a number of the struct code would come next."""
        return 4 + self._at + -self._at % struct.calcsize(f"={code}")

    def text(self) -> str:
        """Return a string."""
        return bytes(self._take(self.number("I"))).rstrip(b"\0").decode()

    def texts(self) -> list[str]:
        """Return a sequence of strings."""
        return [self.text() for _ in range(self.number("I"))]

    def byte_sequence(self) -> memoryview:
        """Return a sequence of bytes, not copied."""
        return self._take(self.number("I"))

    def header(self) -> Header:
        """Return a std_msgs/Header."""
        seconds, nanoseconds = self.number("i"), self.number("I")
        return Header(seconds * NS_PER_S + nanoseconds, self.text())

    def _take(self, size: int) -> memoryview:
        start, self._at = self._at, self._at + size
        if self._at > len(self._data):
            raise ValueError("the message is shorter than its type")
        return self._data[start : self._at]


def byte_order(raw: bytes | memoryview) -> str:
    """Return struct's sign for the byte order; raises ValueError where `raw` is not plain CDR."""
    if len(raw) < 4 or raw[0] != 0 or raw[1] > 1:
        raise ValueError(f"the message is not CDR, it begins with {bytes(raw[:4])!r}")
    return "<" if raw[1] else ">"


def stamp_ns(raw: bytes | memoryview) -> int:
    """Return the stamp [ns] of a message that begins with a header; 12 bytes of it will do.

    Raises:
        ValueError: it is too short.
    """
    if len(raw) < HEAD_BYTES:
        raise ValueError("the message is shorter than its type")
    zero, is_little, seconds, nanoseconds = _LITTLE_HEAD.unpack_from(raw)
    if zero or is_little != 1:
        byte_order(raw)
        _, _, seconds, nanoseconds = _BIG_HEAD.unpack_from(raw)
    return seconds * NS_PER_S + nanoseconds
