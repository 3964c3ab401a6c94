"""Messages that differ in stamp and numbers only: serialised once, then filled in.

In CDR a message that begins with a header has its stamp behind four bytes of encapsulation, and a
JointState ends with its three sequences of numbers: each a length of four bytes, four of padding,
and doubles.
"""

import struct

import numpy as np
from numpy.typing import ArrayLike

_STAMP_AT = 4
_STAMP = struct.Struct("<iI")
_LENGTH_BYTES = 8


def stamped(template: bytes, stamp_ns: int) -> bytes:
    """Return a message that begins with a header with another stamp [ns]."""
    data = bytearray(template)
    _STAMP.pack_into(data, _STAMP_AT, *divmod(stamp_ns, 1_000_000_000))
    return bytes(data)


class JointStates:
    """Serialised JointStates of the same joints.

    Args:
        template: one of them, little endian, with `count` positions, velocities and efforts.
        count: how many joints it has.
    """

    def __init__(self, template: bytes, count: int):
        self._template, self._size = template, 8 * count
        effort = len(template) - self._size
        velocity = effort - _LENGTH_BYTES - self._size
        self._at = velocity - _LENGTH_BYTES - self._size, velocity, effort

    def of(
        self,
        stamp_ns: int,
        position: ArrayLike,
        velocity: ArrayLike | None = None,
        effort: ArrayLike | None = None,
    ) -> bytes:
        """Return the message of a stamp [ns] and its numbers; those not given stay the template's.

        Raises:
            ValueError: there are more or fewer numbers than joints.
        """
        data = bytearray(self._template)
        _STAMP.pack_into(data, _STAMP_AT, *divmod(stamp_ns, 1_000_000_000))
        for at, values in zip(self._at, (position, velocity, effort), strict=True):
            if values is None:
                continue
            numbers = np.asarray(values, "<f8").tobytes()
            if len(numbers) != self._size:
                raise ValueError(f"{len(numbers) // 8} numbers for {self._size // 8} joints")
            data[at : at + self._size] = numbers
        return bytes(data)
