"""A way between two poses inside the workspace, where the straight one leaves it.

Both ends may be legal and the straight line in joint space between them not: the tool swings out
behind the box, or a folded arm turns its wrist into the table. `CommandGuard` then brakes, rightly,
and would stand there for good.
"""

import numpy as np

from vla_ros.core.errors import SafetyError
from vla_ros.core.limits import SafetyLimits

# How far a branch grows at once, and how finely its line is looked at [rad, largest joint].
_STEP_RAD, _GRAIN_RAD = 0.5, 0.04
# The piece that the arm sets out on begins at the workspace's border, along which it may graze: it
# is looked at in steps as small as the guard's.
_FIRST_GRAIN_RAD = 0.002
# Poses are drawn this far around those between the two ends [rad].
_AROUND_RAD = 1.2
# Of 13,000 legal poses within 1.8 rad of the ready pose, 1,500 leave three without a way that is
# there; to look in vain takes a quarter of a second.
_DRAWS = 6000
# A way may miss a limit by what sums of floats do.
_ROUNDING_M = 1e-9


def way_round(
    limits: SafetyLimits,
    allowed_m: np.ndarray,
    q_from: np.ndarray,
    q_to: np.ndarray,
    seed: int,
    may_be_straight: bool = True,
) -> list[np.ndarray]:
    """Return poses whose straight connections keep to the workspace; the last one is `q_to`.

    Two trees grow towards each other (RRT-Connect; Kuffner and LaValle, ICRA 2000); then what can
    be left out is.

    Args:
        limits: what the arm may do.
        allowed_m: what the first piece may exceed the workspace by (7,) [m], as columns of
            `SafetyLimits.excess`; zeros from inside.
        q_from: where the arm rests (6,) [rad].
        q_to: where it shall go (6,) [rad].
        seed: of the draws.
        may_be_straight: whether `q_to` alone will do; not where just that was tried in vain.

    Raises:
        SafetyError: none was found.
    """
    if may_be_straight and _is_free(limits, q_from, q_to, allowed_m, _FIRST_GRAIN_RAD):
        return [q_to]
    rng = np.random.default_rng(seed)
    low = np.maximum(np.minimum(q_from, q_to) - _AROUND_RAD, limits.low_rad)
    high = np.minimum(np.maximum(q_from, q_to) + _AROUND_RAD, limits.high_rad)
    begun, ended = _Tree(limits, q_from, allowed_m), _Tree(limits, q_to, np.zeros(7))
    one, other = begun, ended
    for drawn in rng.uniform(low, high, (_DRAWS, 6)):
        grown = one.grow(drawn)
        if grown is not None:
            met = other.connect(one.poses[grown])
            if met is not None:
                here, there = (grown, met) if one is begun else (met, grown)
                way = begun.way_from_root(here)[:-1] + ended.way_from_root(there)[::-1]
                return _shortened(limits, allowed_m, way, may_be_straight)[1:]
        one, other = other, one
    raise SafetyError(
        f"no way inside the workspace was found from {np.round(q_from, 2).tolist()} to "
        f"{np.round(q_to, 2).tolist()} rad in {_DRAWS} draws; move the arm there by hand, or widen "
        "the workspace"
    )


class _Tree:
    """Poses that are connected to a root by straight lines inside the workspace."""

    def __init__(self, limits: SafetyLimits, root: np.ndarray, allowed_m: np.ndarray):
        self._limits, self._allowed_m = limits, allowed_m
        self.poses, self._parents = [root], [0]

    def grow(self, q: np.ndarray) -> int | None:
        """Grow one step towards a pose; return the new one's place, None where it leaves."""
        nearest = int(np.abs(np.array(self.poses) - q).max(axis=1).argmin())
        return self._extend(nearest, q)

    def connect(self, q: np.ndarray) -> int | None:
        """Grow towards a pose as far as it goes; return its place where it was reached."""
        at = int(np.abs(np.array(self.poses) - q).max(axis=1).argmin())
        while not np.array_equal(self.poses[at], q):
            further = self._extend(at, q)
            if further is None:
                return None
            at = further
        return at

    def way_from_root(self, at: int) -> list[np.ndarray]:
        way = [self.poses[at]]
        while at:
            at = self._parents[at]
            way.insert(0, self.poses[at])
        return way

    def _extend(self, at: int, q: np.ndarray) -> int | None:
        origin = self.poses[at]
        distance = np.abs(q - origin).max()
        reached = q if distance <= _STEP_RAD else origin + (q - origin) * (_STEP_RAD / distance)
        # The room outside is the first piece's: a pose further on is inside.
        allowed_m, grain_rad = _room(at, self._allowed_m)
        if self._limits.excess(reached[None]).any():
            return None
        if not _is_free(self._limits, origin, reached, allowed_m, grain_rad):
            return None
        self.poses.append(reached)
        self._parents.append(at)
        return len(self.poses) - 1


def _room(at: int, allowed_m: np.ndarray) -> tuple[np.ndarray, float]:
    """Return what a piece from place `at` may exceed by, and how finely it is looked at."""
    return (np.zeros(7), _GRAIN_RAD) if at else (allowed_m, _FIRST_GRAIN_RAD)


def _is_free(limits, q_from, q_to, allowed_m, grain_rad) -> bool:
    pieces = 1 + int(np.abs(q_to - q_from).max() / grain_rad)
    line = q_from + np.linspace(0.0, 1.0, pieces + 1)[:, None] * (q_to - q_from)
    return bool((limits.excess(line) <= allowed_m + _ROUNDING_M).all())


def _shortened(limits, allowed_m, way, may_be_straight: bool) -> list[np.ndarray]:
    """Return the way without the poses that a straight line may skip, furthest first."""
    short, at, last = way[:1], 0, len(way) - 1
    while at < last:
        room = _room(at, allowed_m)
        furthest = last if at or may_be_straight else max(1, last - 1)
        further = range(furthest, at, -1)
        at = next(k for k in further if k == at + 1 or _is_free(limits, way[at], way[k], *room))
        short.append(way[at])
    return short
