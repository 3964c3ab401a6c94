"""How a policy's server and its client write what they say: msgpack, and arrays as raw bytes.

Every message is a map. Nothing that is read here makes an object of a class that the sender named,
and every number that a message says of its own size is held against what it brought.
"""

from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import msgpack
import numpy as np

from vla_ros.core.errors import RemoteError

# Raised whenever a message changes: both sides must have the same.
PROTOCOL = 2
# Five raw pictures of 1280 x 720; what cameras send as JPEG is fifty times less.
MAX_REQUEST_BYTES = 1 << 24
# A chunk of 1000 poses has 180 kB.
MAX_ANSWER_BYTES = 1 << 18
# What msgpack reads it reads in one go, with Python's lock: a message of a million empty maps would
# keep the robot's commands waiting. An observation of eight cameras has fewer than 100.
_MAX_CONTAINERS, _MAX_ITEMS = 256, 64
_MAX_TEXT = 600
_DTYPES = {"|u1": np.uint8, "<f4": np.float32, "<f8": np.float64}
_ARRAY_KEYS = {"dtype", "shape", "data"}


def package_version() -> str:
    """Return the version of this package, "not installed" where only its files are there."""
    try:
        return version("vla_ros")
    except PackageNotFoundError:
        return "not installed"


def pack(message: Mapping) -> bytes:
    """Return the bytes of a message: maps, lists, texts, numbers, bytes and arrays.

    Raises:
        RemoteError: a text in it is none that can be written.
    """
    try:
        data = msgpack.packb(message, default=_array_to_map)
    except UnicodeEncodeError as error:
        raise RemoteError(f"a text cannot be sent ({error}); write it in Unicode") from None
    assert data is not None  # of its stub alone
    return data


def unpack(data: bytes | str) -> dict:
    """Return the message in `data`, its arrays still maps.

    Raises:
        RemoteError: it is none.
    """
    try:
        if isinstance(data, str):
            raise ValueError("it is text")
        counted = _counter()
        message = msgpack.unpackb(
            data,
            object_hook=counted,
            list_hook=counted,
            max_map_len=_MAX_ITEMS,
            max_array_len=_MAX_ITEMS,
            max_str_len=MAX_ANSWER_BYTES,
            max_ext_len=0,
        )
    # Nested too deeply, cut off, more than there is, no UTF-8, a key that is no text: all of these.
    except (ValueError, msgpack.UnpackException, RecursionError, TypeError) as error:
        raise RemoteError(f"a message cannot be read ({one_line(str(error))})") from None
    if not isinstance(message, dict):
        raise RemoteError(f"a message must be a map, got {type(message).__name__}")
    return message


def _counter() -> Callable[[Any], Any]:
    """Return what msgpack hands each map and list to, which refuses when there are too many."""
    left = iter(range(_MAX_CONTAINERS))

    def count(container: Any) -> Any:
        if next(left, None) is None:
            raise ValueError(f"it has more than {_MAX_CONTAINERS} maps and lists")
        return container

    return count


def text_of(message: Mapping, key: str) -> str:
    """Return the text at `key`; RemoteError where there is none."""
    value = message.get(key)
    if not isinstance(value, str):
        raise RemoteError(f"{key} of a message must be a text, got {named(value)}")
    return value


def line_of(message: Mapping, key: str) -> str:
    """Return the text at `key` as one short line that may go into a log."""
    return one_line(text_of(message, key))


def count_of(message: Mapping, key: str, highest: int = 1 << 62) -> int:
    """Return the number at `key`, 0 to `highest`; RemoteError where there is none."""
    value = message.get(key)
    if type(value) is not int or not 0 <= value <= highest:
        raise RemoteError(f"{key} of a message must be a count, got {named(value)}")
    return value


def array_of(message: Mapping, key: str) -> np.ndarray | None:
    """Return the array at `key`, finite where its numbers can be other, None where that is said.

    Raises:
        RemoteError: there is something else.
    """
    said = message.get(key)
    if said is None:
        return None
    if not isinstance(said, dict) or set(said) != _ARRAY_KEYS:
        raise RemoteError(f"{key} of a message must be an array, got {named(said)}")
    dtype, shape, data = said["dtype"], said["shape"], said["data"]
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        raise RemoteError(f"{key} of a message must be one of {', '.join(_DTYPES)}")
    is_shape = isinstance(shape, list) and len(shape) <= 4
    if not is_shape or not all(type(size) is int and 0 <= size < 1 << 24 for size in shape):
        raise RemoteError(f"{key} of a message must have up to 4 axes, got {named(shape)}")
    expected = np.dtype(dtype).itemsize
    for size in shape:
        expected *= size
    if not isinstance(data, bytes) or len(data) != expected:
        raise RemoteError(f"{key} of a message says {shape} {dtype}, and brings other bytes")
    try:
        # A copy: what comes out of bytes cannot be written to.
        array = np.frombuffer(data, dtype).astype(_DTYPES[dtype]).reshape(shape)
    except ValueError as error:  # numpy multiplies the sizes beside a zero too
        raise RemoteError(f"{key} of a message cannot have shape {shape} ({error})") from None
    if array.dtype.kind == "f" and not np.all(np.isfinite(array)):
        raise RemoteError(f"{key} of a message has numbers that are not finite")
    return array


def _array_to_map(value: object) -> dict:
    """Return what msgpack is to write for an array; it calls this for what it does not know."""
    if not isinstance(value, np.ndarray):
        raise TypeError(f"a message cannot hold {named(value)}")
    code = value.dtype.newbyteorder("<").str
    if code not in _DTYPES:
        raise TypeError(f"a message cannot hold an array of {value.dtype}")
    data = np.ascontiguousarray(value, code).tobytes()
    return {"dtype": code, "shape": list(value.shape), "data": data}


def one_line(text: str) -> str:
    """Return foreign text as one short line without control characters."""
    return "".join(c if c.isprintable() else " " for c in text[:_MAX_TEXT])


def named(value: object) -> str:
    """Return what kind of thing a message brought."""
    return "nothing" if value is None else type(value).__name__
