"""What has held for how long, and what was lately; times are seconds of any one steady clock."""

import numpy as np


def remember(
    rows: list[tuple[float, np.ndarray]], now_s: float, q: np.ndarray, span_s: float
) -> None:
    """Add joints (6,) [rad] of now; keep those of the last `span_s` [s], and one before."""
    if not rows or now_s > rows[-1][0]:
        rows.append((now_s, q.copy()))
    while len(rows) > 1 and now_s - rows[1][0] >= span_s:
        rows.pop(0)


class Since:
    """For how long each of N conditions has held without a break."""

    def __init__(self, size: int):
        self._since_s = np.full(size, np.nan)

    def none_holds(self) -> None:
        """Note that none holds now."""
        self._since_s[:] = np.nan

    def held_s(self, now_s: float, holds: np.ndarray) -> np.ndarray:
        """Return the time (N,) [s]; -1 where a condition does not hold now."""
        if not holds.any():
            self.none_holds()
            return np.full(len(holds), -1.0)
        began = np.where(np.isnan(self._since_s), now_s, self._since_s)
        self._since_s = np.where(holds, began, np.nan)
        return np.where(holds, now_s - began, -1.0)
