"""The search for the next way of undirected play, a little at a time.

A way is checked pose by pose, and many may be tried before one can be gone. At a command rate of
50 Hz that is too long for one command, so each search is a generator: it yields after each check,
and returns the way in the end. What it finds depends on the generator of chance alone, not on when
it is gone on with.
"""

import numpy as np

from vla_ros.core.coverage import InterestMap
from vla_ros.core.play_parameters import ExplorationParameters
from vla_ros.core.play_path import PlayPath, Search, planning
from vla_ros.core.play_region import at_height
from vla_ros.core.pose_library import PoseLibrary
from vla_ros.core.rotations import transform

MAX_TRIES = 60
# Poses near by that a forced descent tries when it cannot go straight down.
_DESCENTS_NEAR_BY = 10


class WaySearch:
    """Draws where to go next, and looks for a way there.

    Args:
        parameters: every threshold.
        generator: the source of chance.
        library: safe poses to draw waypoints from.
        interest: where the tool was and what moved.
    """

    def __init__(
        self,
        parameters: ExplorationParameters,
        generator: np.random.Generator,
        library: PoseLibrary,
        interest: InterestMap,
    ):
        self._parameters, self._random = parameters, generator
        self._library, self._interest = library, interest

    def waypoint(self, pose: np.ndarray, q: np.ndarray, share: float, last_m: np.ndarray) -> Search:
        """Look for a way to a reachable pose of the library, drawn by its weight.

        A pose drawn because something moved near it is shifted to that place, and lowered as a
        forced descent would be: a place is of interest for what can be touched there.

        Args:
            pose: tool pose (4, 4) at which the way begins.
            q: joints (6,) [rad] near it.
            share: share of the noise there.
            last_m: the last waypoint (3,) [m], from which the next keeps its distance too.
        """
        p = self._parameters
        poses = self._library.poses
        xy_m = poses[:, :2, 3]
        others_m = np.stack([pose[:3, 3], last_m])
        rarity = p.coverage_weight * self._interest.rarity(xy_m)
        interest, places_m = self._interest.interest(xy_m)
        interest = p.interest_weight * interest
        weights = np.where(self._are_far(poses[:, :3, 3], others_m), 1.0 + rarity + interest, 0.0)
        for _ in range(min(MAX_TRIES, np.count_nonzero(weights))):
            index = int(self._random.choice(len(weights), p=weights / weights.sum()))
            end = poses[index].copy()
            if self._random.random() * weights[index] < interest[index]:
                end[:2, 3] = places_m[index]
                end = at_height(end, self._random.uniform(p.descent_low_m, p.descent_high_m))
            yield
            if self._are_far(end[None, :3, 3], others_m)[0]:
                path = yield from planning(p, pose, end, q, share, p.speed_m_s)
                if path is not None:
                    return path
            weights[index] = 0.0
        return None

    def descent(self, pose: np.ndarray, towards: np.ndarray, q: np.ndarray, share: float) -> Search:
        """Look for a way down to just over the table: straight, or to the nearest pose possible.

        Args:
            pose, q, share: as for `waypoint`.
            towards: the tool pose (4, 4) that the way so far led to. Its orientation is good; the
                present one is on the way to it.
        """
        p = self._parameters
        lowest_m = self._random.uniform(p.descent_low_m, p.descent_high_m)
        apart = np.linalg.norm(self._library.poses[:, :2, 3] - pose[:2, 3], axis=1)
        near = self._library.poses[np.argsort(apart, kind="stable")[:_DESCENTS_NEAR_BY]]
        for end in (transform(towards[:3, :3], pose[:3, 3]), pose, *near):
            yield
            end = at_height(end, lowest_m)
            path = yield from planning(p, pose, end, q, share, p.descent_speed_m_s)
            if path is not None:
                return path
        return None

    def _are_far(self, positions_m: np.ndarray, others_m: np.ndarray) -> np.ndarray:
        """Return which positions (N, 3) keep the minimum distance from all others (M, 3)."""
        apart = np.linalg.norm(positions_m[:, None] - others_m, axis=2)
        return apart.min(axis=1) >= self._parameters.min_distance_m


class Pending:
    """A search that is gone on with from time to time.

    Args:
        search: the search.

    Attributes:
        path: what was found; None before that, and where there is nothing.
        is_over: whether the search has ended.
    """

    def __init__(self, search: Search):
        self._search = search
        self.path: PlayPath | None = None
        self.is_over = False

    def go_on(self, checks: int) -> None:
        """Do at most so many checks."""
        for _ in range(checks):
            if self.is_over:
                return
            try:
                next(self._search)
            except StopIteration as end:
                self.path, self.is_over = end.value, True
