"""How much more may be recorded. Pure: sizes and times are handed in."""

from dataclasses import dataclass

# What stays free unless somebody says otherwise: to the recorder and to a repair alike.
DEFAULT_MIN_FREE_MB = 500


@dataclass(frozen=True)
class DiskBudget:
    """The two bounds of a session.

    Attributes:
        min_free_bytes: what must stay free on the disk.
        max_session_bytes: what the session's bags may hold, 0 for no bound.
    """

    min_free_bytes: int
    max_session_bytes: int = 0

    def left_bytes(self, free_bytes: int, session_bytes: int) -> int:
        """Return how much may still be written, negative where a bound is passed."""
        left = free_bytes - self.min_free_bytes
        if self.max_session_bytes:
            left = min(left, self.max_session_bytes - session_bytes)
        return left

    def is_spent(self, session_bytes: int) -> bool:
        """Return whether the session's own bound is reached."""
        return 0 < self.max_session_bytes <= session_bytes

    def is_full(self, free_bytes: int) -> bool:
        """Return whether less is free than must stay free."""
        return free_bytes < self.min_free_bytes


DEFAULT_BUDGET = DiskBudget(DEFAULT_MIN_FREE_MB * 10**6)


def left_s(left_bytes: int, written_bytes: int, elapsed_s: float) -> float | None:
    """Return for how long [s] it lasts at the rate so far; None where nothing was written yet."""
    if written_bytes <= 0 or elapsed_s <= 0:
        return None
    return max(0, left_bytes) * elapsed_s / written_bytes


def in_words(seconds: float | None) -> str:
    """Return a time left for people: minutes below two hours, else hours."""
    if seconds is None:
        return "unknown"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
