"""The folder in which a bag grows: `<session>/<id>.part`, locked by who writes or repairs it."""

import errno
import fcntl
import json
import os
import shutil
from pathlib import Path

from vla_ros.core.errors import BagError

SUFFIX = ".part"
_LOCK = ".lock"
_FACTS = "facts.json"
# Some network file systems have none: recording goes on, only repairing needs them.
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


class PartFolder:
    """An unfinished bag's folder, `<id>.part`, that holds the bag as `<id>/`.

    The bag has its final folder name in it already, so that the file names in its metadata stay
    true. The lock goes with the process that holds it, however it ends.

    Args:
        path: the folder, whether it exists or not.
    """

    def __init__(self, path: Path):
        self.path = path
        self.episode_id = path.name.removesuffix(SUFFIX)
        self.bag = path / self.episode_id
        self.final = path.with_name(self.episode_id)
        self._lock: int | None = None

    @classmethod
    def create(cls, session: Path, episode_id: str) -> "PartFolder":
        """Return a new folder, locked.

        Raises:
            BagError: the episode exists already, finished or not, or the folder cannot be made.
        """
        part = cls(session / f"{episode_id}{SUFFIX}")
        try:
            for path in (part.final, part.path):
                if path.exists():
                    raise BagError(
                        f"{path} exists already; choose another session name or move it away"
                    )
            part.path.mkdir(parents=True)
            locked = part.lock()
        except OSError as error:
            locked = error.errno in _NO_LOCKS
            if not locked:
                raise BagError(
                    f"{part.path} cannot be made ({error.strerror}); choose another out"
                ) from None
        if not locked:
            raise BagError(
                f"{part.path} was taken for a repair at the moment it was made; start again"
            )
        return part

    @classmethod
    def free_id(cls, session: Path, episode_id: str) -> str:
        """Return the id, or the first of ID-2, ID-3, ... of which `session` has no bag yet.

        A node that moves the arm counts from 0 again when it is started anew.

        Raises:
            BagError: the session's folder cannot be looked into.
        """
        name, number = episode_id, 1
        try:
            while any(path.exists() for path in (session / name, session / f"{name}{SUFFIX}")):
                number += 1
                name = f"{episode_id}-{number}"
        except OSError as error:
            raise BagError(
                f"{session} cannot be looked into ({error.strerror}); choose another out"
            ) from None
        return name

    def lock(self) -> bool:
        """Take the folder for this process; False when another one has it, or it is gone.

        Raises:
            OSError: the folder cannot be written, or its file system has no locks.
        """
        try:
            lock = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(lock)
            if isinstance(error, BlockingIOError):
                return False
            raise
        if not (self.path / _LOCK).exists():  # it was finished between the two steps above
            os.close(lock)
            return False
        self._lock = lock
        return True

    def unlock(self) -> None:
        """Let others take the folder."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def write_facts(self, facts: dict[str, str]) -> None:
        """Keep what is known when the bag starts, for the case that nobody ends it."""
        (self.path / _FACTS).write_text(json.dumps(facts, ensure_ascii=False))

    def facts(self) -> dict[str, str]:
        """Return what `write_facts` kept, empty where that did not come to be."""
        try:
            facts = json.loads((self.path / _FACTS).read_text())
        except (OSError, ValueError):
            return {}
        return {str(k): str(v) for k, v in facts.items()} if isinstance(facts, dict) else {}

    def finish(self, bag: Path, set_aside: Path | None = None) -> Path:
        """Give the complete `bag` its final name, on the disk for good, and drop this folder.

        Args:
            bag: the finished bag.
            set_aside: where the unfinished one goes instead of being deleted.

        Raises:
            OSError: the disk refused it.
        """
        for path in sorted(bag.iterdir()):
            sync(path)
        sync(bag)
        bag.rename(self.final)
        sync(self.final.parent)
        if set_aside is not None:
            self.bag.rename(set_aside)
        self.remove()
        return self.final

    def remove(self) -> None:
        """Delete the folder with all that is in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        self.unlock()


def sync(path: Path) -> None:
    """Have a file's or a folder's content on the disk when this returns."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
