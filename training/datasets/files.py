"""Files that are whole or absent, also after a power cut; and errors that may pass."""

import errno
import os
from pathlib import Path

# What a disk, a share or this process may refuse now and grant another time.
_PASSING = {
    *(errno.EIO, errno.EACCES, errno.EPERM, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN),
    *(errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENODEV),
}


def may_pass(error: BaseException | None) -> bool:
    """Tell whether reading failed for a reason that does not lie in the file's content."""
    return isinstance(error, OSError) and error.errno in _PASSING


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` as UTF-8 and have the disk keep it."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def sync_file(path: Path) -> None:
    """Have the disk keep the content of `path`."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Have the disk keep the names in the folder `path`."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
