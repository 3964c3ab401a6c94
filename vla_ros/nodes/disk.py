"""How much disk the recorder's session has used and how much it may still use."""

import os
import shutil
from contextlib import suppress
from pathlib import Path

from vla_ros.core.disk_budget import DiskBudget, in_words, left_s
from vla_ros.core.errors import BagError
from vla_ros.nodes.diagnostics import ERROR, OK, WARN, Diagnostics

# Less recording time than this is worth a warning.
_WARN_S = 3600.0


class SessionDisk:
    """The disk that holds a session's folder.

    Args:
        session: the folder, whether it exists yet or not.
        budget: its bounds.
    """

    def __init__(self, session: Path, budget: DiskBudget):
        self._session = session
        self._budget = budget
        self._saved_bytes = folder_bytes(session)
        self._rate: tuple[int, float] = 0, 0.0
        self._bag_bytes = 0

    def saved(self, path: Path) -> None:
        """Note a bag that is complete."""
        self._saved_bytes += folder_bytes(path)
        self._bag_bytes = 0

    def written(self, bag_bytes: int, elapsed_s: float) -> None:
        """Note how long the running bag is and how long it took [s, wall time]."""
        self._bag_bytes = bag_bytes
        self._rate = bag_bytes, elapsed_s

    def fault(self) -> BagError | None:
        """Return why no more may be recorded, if so."""
        try:
            free = self._free_bytes()
        except BagError as error:
            return error
        if self._budget.is_full(free):
            return BagError(
                f"only {free // 1_000_000} MB are free on the disk of {self._session}, under "
                f"min_free_mb {self._budget.min_free_bytes // 1_000_000}: saved episodes are "
                "whole; free space or choose another out"
            )
        if self.is_spent:
            return BagError(
                f"the session {self._session} has reached its budget max_session_gb "
                f"{self._budget.max_session_bytes / 1e9:g}: saved episodes are whole; choose "
                "another session or a larger budget"
            )
        return None

    @property
    def is_spent(self) -> bool:
        """Whether the session's own bound is reached."""
        return self._budget.is_spent(self._saved_bytes + self._bag_bytes)

    def outlook(self) -> str:
        """Return in words how much may still be recorded."""
        try:
            left_bytes, seconds = self._left()
        except BagError as error:
            return str(error)
        room = f"room for {left_bytes / 1e9:.1f} GB"
        return room if seconds is None else f"{room}, {in_words(seconds)} at the present rate"

    def publish(self, diagnostics: Diagnostics) -> None:
        """Set the status of the disk."""
        try:
            left_bytes, seconds = self._left()
            free_bytes = self._free_bytes()
        except BagError as error:
            diagnostics.set("disk", ERROR, str(error))
            return
        level = WARN if seconds is not None and seconds < _WARN_S else OK
        values = {
            "left_gb": round(left_bytes / 1e9, 2),
            "left_h": "" if seconds is None else round(seconds / 3600, 2),
            "session_gb": round((self._saved_bytes + self._bag_bytes) / 1e9, 3),
            "free_gb": round(free_bytes / 1e9, 2),
        }
        diagnostics.set("disk", level, self.outlook(), values)

    def _left(self) -> tuple[int, float | None]:
        left = self._budget.left_bytes(self._free_bytes(), self._saved_bytes + self._bag_bytes)
        return max(0, left), left_s(left, *self._rate)

    def _free_bytes(self) -> int:
        paths = [self._session, *self._session.parents]
        try:
            folder = next(path for path in paths if path.exists())
            return shutil.disk_usage(folder.resolve()).free
        except OSError as error:
            raise BagError(
                f"the disk of {self._session} cannot be asked for its free space "
                f"({error.strerror}): check that it is mounted and yours, or choose another out"
            ) from None


def folder_bytes(folder: Path) -> int:
    """Return the size of all files in a folder, 0 where there is none."""
    total = 0
    # Bags that are repaired or saved meanwhile go away under it; what is not ours counts nothing.
    for parent, _, files in os.walk(folder):
        for name in files:
            with suppress(OSError):
                total += os.stat(os.path.join(parent, name)).st_size
    return total
