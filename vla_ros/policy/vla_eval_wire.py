"""Messages of vla-eval's protocol, version 1, read and written: msgpack over a websocket.

A message is a map of type, payload, seq and timestamp. Arrays are maps with the key
`__ndarray__`, pictures with `__image__`, raw or as PNG or JPEG; maps they stay until somebody asks
for what they hold, so nothing here makes an object that the sender named.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass

import msgpack
import numpy as np

from vla_ros.core.errors import RemoteError
from vla_ros.policy import remote_wire as wire

PROTOCOL = 1
KINDS = ("hello", "episode_start", "observation", "action", "episode_end", "error")
_ARRAY, _IMAGE = "__ndarray__", "__image__"


@dataclass(frozen=True)
class Message:
    """One message: its type, what it says, and the number that an answer to it repeats."""

    kind: str
    payload: dict
    number: int


def unpack(data: bytes | str) -> Message:
    """Return the message in `data`.

    Raises:
        RemoteError: it is none.
    """
    said = wire.unpack(data)
    kind, payload = wire.line_of(said, "type"), said.get("payload")
    if kind not in KINDS or not isinstance(payload, dict):
        raise RemoteError(
            f"a message must be one of {', '.join(KINDS)} and have a payload, got {kind!r} with "
            f"{wire.named(payload)}"
        )
    return Message(kind, payload, wire.count_of(said, "seq"))


def pack(kind: str, payload: Mapping, number: int) -> bytes:
    """Return the bytes of a message; arrays in its payload are numpy's."""
    said = {"type": kind, "payload": payload, "seq": number, "timestamp": time.time()}
    data = msgpack.packb(said, default=_array_to_map)
    assert data is not None  # of its stub alone
    return data


def array_of(payload: Mapping, key: str) -> np.ndarray | None:
    """Return the array at `key`, None where there is none.

    Raises:
        RemoteError: there is something else, or a number in it is not finite.
    """
    said = payload.get(key)
    if isinstance(said, dict) and said.get(_ARRAY) is True:
        said = {name: value for name, value in said.items() if name != _ARRAY}
    return wire.array_of({key: said}, key)


def picture_of(payload: Mapping, key: str) -> bytes | np.ndarray | None:
    """Return the picture at `key`: PNG or JPEG bytes, or (H, W, 3) uint8; None: there is none.

    Raises:
        RemoteError: there is something else.
    """
    said = payload.get(key)
    if not isinstance(said, dict) or _IMAGE not in said:
        return array_of(payload, key)  # as harnesses send it that do not encode
    if (form := said.get("format")) == "raw":
        parts = {name: said.get(name) for name in ("dtype", "shape", "data")}
        return wire.array_of({key: parts}, key)
    data = said.get("data")
    if form not in ("png", "jpeg") or not isinstance(data, bytes):
        raise RemoteError(f"image {wire.one_line(key)} must be raw, png or jpeg with its bytes")
    return data


def _array_to_map(value: object) -> dict:
    if not isinstance(value, np.ndarray):
        raise TypeError(f"a message cannot hold {wire.named(value)}")
    whole = np.ascontiguousarray(value)
    shape = list(value.shape)
    return {_ARRAY: True, "dtype": whole.dtype.str, "shape": shape, "data": whole.tobytes()}
