"""When to look at the table, and what of it has moved since the last look."""

from collections.abc import Callable

import numpy as np

from vla_ros.core.scene_change import TableCamera

# A picture this long after the arm came to rest shows it at rest [ns].
STILL_NS = 200_000_000
# More changed places than this are other light, or a camera that was moved.
_MOST_POINTS = 300


class RestLook:
    """Compares the picture of each rest with that of the last one.

    Args:
        moved: receives the points (N, 2) [m] in base_link where something moved.

    Attributes:
        looks: how many pictures were compared.
    """

    def __init__(self, moved: Callable[[np.ndarray], None]):
        self._moved = moved
        self._table: TableCamera | None = None
        self._last: tuple[np.ndarray, np.ndarray] | None = None
        self._since_ns: int | None = None
        self._done = False
        self.looks = 0

    def is_due(self, resting: bool, now_ns: int, picture_ns: int | None) -> bool:
        """Return whether the last picture is the one to compare, once a rest.

        Args:
            resting: whether the arm is told to rest; to be told at every command.
            now_ns: the time [ns].
            picture_ns: stamp of the last picture [ns]; None before the first.
        """
        if not resting:
            self._since_ns, self._done = None, False
            return False
        if self._since_ns is None:
            self._since_ns = now_ns
        if self._done or picture_ns is None or picture_ns < self._since_ns + STILL_NS:
            return False
        self._done = True
        return True

    def compare(self, grey: np.ndarray, table: TableCamera, q: np.ndarray) -> None:
        """Compare a picture with the last one, unless that was of another camera.

        Args:
            grey: the picture (H, W).
            table: the camera that took it.
            q: the arm's measured joints (6,) [rad] in it.
        """
        if table is not self._table:
            self._table, self._last = table, None
        arm = table.arm_blocks(q)
        last, self._last = self._last, (grey, arm)
        self.looks += 1
        if last is None or last[0].shape != grey.shape:
            return
        points_m = table.changed_points(last[0], grey, last[1] | arm)
        if len(points_m) <= _MOST_POINTS:
            self._moved(points_m)


def shrunk(K: np.ndarray, times: int) -> np.ndarray:
    """Return the camera matrix (3, 3) [px] of pictures that are so many times smaller."""
    # Pixel centres have integer coordinates, in both sizes.
    small = np.array(K, dtype=np.float64).reshape(3, 3) / times
    small[:2, 2] += 0.5 / times - 0.5
    small[2, 2] = 1.0
    return small
