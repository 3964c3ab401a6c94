"""Writing a folder so that a reader sees the old one or the new one, whole."""

import ctypes
import errno
import os
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from safetensors import SafetensorError

from vla_ros.core.errors import CheckpointError

FileContent = bytes | Callable[[Path], None]
# Beside a folder NAME: .NAME.PID.tmp is being written, .NAME.PID.old gives way to it.
NEW, OLD = ".tmp", ".old"
AT_FDCWD, RENAME_EXCHANGE = -100, 2  # of Linux


def require_folder(path: Path) -> None:
    """Raise CheckpointError if `path` is no folder."""
    if not path.is_dir():
        raise CheckpointError(
            f"checkpoint folder {path} does not exist; give the folder that training wrote"
        )


def require_replaceable_by(path: Path, is_ours: Callable[[Path], bool]) -> None:
    """Raise CheckpointError if `path` exists and is neither empty nor one of ours."""
    if path.exists() and (not path.is_dir() or (any(path.iterdir()) and not is_ours(path))):
        raise CheckpointError(
            f"{path} exists and is not a checkpoint, so it is not replaced; choose another folder"
        )


def tidy_folder(path: Path) -> None:
    """Undo what a killed writer of `path` left: put back a folder that it had moved away.

    Raises:
        CheckpointError: the disk refuses.
    """
    path = path.resolve()
    try:
        retired, temporary = (_leavings(path, end) for end in (OLD, NEW))
        if retired and not path.exists():
            retired.pop().rename(path)
            _to_disk(path.parent)
        for folder in (*retired, *temporary):
            shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        raise CheckpointError(
            f"what a stopped run left beside {path} cannot be removed ({error}); {_remedy(error)}"
        ) from None


def replace_folder(
    path: Path, write: Callable[[Path], None], is_ours: Callable[[Path], bool]
) -> None:
    """Let `write` fill a temporary folder, then make it `path`, or what `path` links to.

    Raises:
        CheckpointError: `path` is something else than one of ours, or the disk refuses; what was
            there before is still there.
    """
    # A link stands for a folder on another disk: it stays, and both swapped folders are there.
    path = path.resolve()
    require_replaceable_by(path, is_ours)
    temporary = path.with_name(f".{path.name}.{os.getpid()}{NEW}")
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        write(temporary)
        for file in (*temporary.rglob("*"), temporary):
            _to_disk(file)
        _swap_in(temporary, path)
        _to_disk(path.parent)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"checkpoint {path} cannot be written ({error}); {_remedy(error)}"
        ) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _remedy(error: OSError | SafetensorError) -> str:
    """Return what helps; room does where nothing else is named, as by a library that writes."""
    number = error.errno if isinstance(error, OSError) else None
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "allow writing there or choose another folder"
    if number in (None, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO):
        return "free the disk or choose another folder"
    return "choose another folder"


def write_files(folder: Path, files: Mapping[str, FileContent]) -> None:
    """Write files into `folder` by name: bytes, or what writes a file itself."""
    for name, content in files.items():
        if callable(content):
            content(folder / name)
        else:
            (folder / name).write_bytes(content)


def _swap_in(temporary: Path, path: Path) -> None:
    """Make `temporary` what `path` is; what was there goes."""
    if not path.exists():
        temporary.rename(path)
    elif not _exchange(temporary, path):
        retired = path.with_name(f".{path.name}.{os.getpid()}{OLD}")
        try:
            path.rename(retired)
            temporary.rename(path)
        except BaseException:
            if retired.exists() and not path.exists():
                retired.rename(path)
            raise
        shutil.rmtree(retired, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Swap two paths in one operation; False where kernel or file system cannot."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    if rename(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
        return False
    raise OSError(number, os.strerror(number), str(other))


def _leavings(path: Path, end: str) -> list[Path]:
    """Return folders of `path` that processes left which are gone, the newest last."""
    name = re.compile(rf"\.{re.escape(path.name)}\.(\d+){re.escape(end)}")
    if not path.parent.is_dir():
        return []
    found = [(name.fullmatch(folder.name), folder) for folder in path.parent.iterdir()]
    left = [folder for match, folder in found if match and not _is_alive(int(match[1]))]
    return sorted(left, key=lambda folder: folder.stat().st_mtime_ns)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return pid != os.getpid()  # one process writes a folder once at a time


def _to_disk(path: Path) -> None:
    """A power cut after the rename must not leave a file of zeros behind the new name."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        # Some network and FUSE file systems do so for files alone.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EACCES) or not path.is_dir():
            raise
