"""Where objects lie: random places on the table that the arm reaches, apart from each other.

`sample_layout` is what the simulator does at a reset. `fixed_layout` is for trials that several
policies are compared by: it leaves room for hands and pushes, and what stands about besides is
placed around what a task needs, without moving it.
"""

import numpy as np

from vla_ros.core import arm, kinematics
from vla_ros.core.errors import SceneError
from vla_ros.sim import objects as known

# Where objects are laid out: x and y [m], and distance from the waist [m], all reachable with the
# tool pointing down.
LAYOUT_X_M, LAYOUT_Y_M = (0.15, 0.35), (-0.25, 0.25)
LAYOUT_RADIUS_M = (0.19, 0.38)
# Free space between two objects, and around the tool's start [m].
_GAP_M, _TOOL_GAP_M = 0.02, 0.02
_MAX_DRAWS = 20_000

# Of fixed layouts: free space around a thing, and around what nobody touches; where that may
# stand, in sight of the camera; the way of a push to either side of the toy, and how wide it is.
_ROOM_M, _ROOM_ABOUT_M = 0.03, 0.02
_ABOUT_X_M, _ABOUT_Y_M, _ABOUT_RADIUS_M = (0.0, 0.39), (-0.36, 0.34), (0.19, 0.44)
_PUSH_WAY_M, _PUSH_HALF_M, _PUSH_REACH_Y_M = 0.12, 0.045, 0.22
_DRAWS_PER_THING, _MAX_ATTEMPTS = 300, 200

# (x [m], y [m], yaw [rad]) of each object in play.
Layout = dict[str, tuple[float, float, float]]

_READY_XY_M = tuple(float(v) for v in kinematics.forward(arm.READY_RAD)[:2, 3])


def sample_layout(
    rng: np.random.Generator, objects: tuple[str, ...], tool_xy: np.ndarray
) -> Layout:
    """Return a random (x, y, yaw) for each object: reachable, apart, and not under the tool.

    The largest are placed first. A draw that leaves no room for the next object is thrown away.

    Raises:
        SceneError: the objects do not fit on the reachable part of the table.
    """
    order = sorted(objects, key=lambda name: (-known.footprint_m(name), name))
    layout: Layout = {}
    for draw in range(_MAX_DRAWS):
        if len(layout) == len(order):
            break
        if draw % 200 == 199:
            layout.clear()
        name = order[len(layout)]
        x, y, yaw = (
            float(rng.uniform(*span)) for span in (LAYOUT_X_M, LAYOUT_Y_M, (-np.pi, np.pi))
        )
        size = known.footprint_m(name)
        fits = LAYOUT_RADIUS_M[0] <= np.hypot(x, y) <= LAYOUT_RADIUS_M[1]
        # Places may lie under the tool, which starts well above them.
        if name not in known.PLACES:
            fits = fits and np.hypot(x - tool_xy[0], y - tool_xy[1]) >= size + _TOOL_GAP_M
        for other, (other_x, other_y, _) in layout.items():
            apart = np.hypot(x - other_x, y - other_y)
            fits = fits and apart >= size + known.footprint_m(other) + _GAP_M
        if fits:
            layout[name] = (x, y, yaw)
    if len(layout) < len(order):
        raise SceneError(
            f"objects {', '.join(objects)} do not fit on the reachable table; use fewer"
        )
    return {name: layout[name] for name in objects}


def fixed_layout(
    seed: int,
    needed: tuple[str, ...],
    others: tuple[str, ...] = (),
    about: tuple[str, ...] = (),
    pushed: str = "",
) -> Layout:
    """Return where everything lies; equal arguments give equal layouts, on every machine.

    Args:
        seed: of the layout.
        needed: objects of the task.
        others: further objects that the arm reaches; they may change where the needed ones lie.
        about: objects that need not be reached, like distractors; they move none of the former.
        pushed: name of the one of `needed` that has its way to the left and to the right free.

    Raises:
        SceneError: they do not fit on the table.
    """
    for attempt in range(_MAX_ATTEMPTS):
        layout: Layout = {}
        rng = np.random.default_rng([seed, attempt])
        if _add(layout, rng, _largest_first(needed), pushed, is_about=False) and _add(
            layout, rng, _largest_first(others), pushed, is_about=False
        ):
            break
    else:
        raise _too_many((*needed, *others))
    for attempt in range(_MAX_ATTEMPTS):
        full = dict(layout)
        rng = np.random.default_rng([seed, attempt, 1])
        if _add(full, rng, _largest_first(about), pushed, is_about=True):
            return full
    raise _too_many((*needed, *others, *about))


def _too_many(names: tuple[str, ...]) -> SceneError:
    return SceneError(f"objects {', '.join(names)} do not fit on the reachable table; use fewer")


def _largest_first(names: tuple[str, ...]) -> list[str]:
    return sorted(names, key=lambda name: (-known.footprint_m(name), name))


def _add(
    layout: Layout, rng: np.random.Generator, names: list[str], pushed: str, is_about: bool
) -> bool:
    """Add a place for each name to the layout, in place; return whether all found one."""
    spans = (_ABOUT_X_M, _ABOUT_Y_M) if is_about else (LAYOUT_X_M, LAYOUT_Y_M)
    near_m, far_m = _ABOUT_RADIUS_M if is_about else LAYOUT_RADIUS_M
    for name in names:
        for _ in range(_DRAWS_PER_THING):
            x, y, yaw = (float(rng.uniform(*span)) for span in (*spans, (-np.pi, np.pi)))
            if name == pushed and abs(y) > _PUSH_REACH_Y_M:
                continue
            if not near_m <= np.hypot(x, y) <= far_m:
                continue
            if _has_room(layout, name, x, y, pushed, _ROOM_ABOUT_M if is_about else _ROOM_M):
                layout[name] = (x, y, yaw)
                break
        else:
            return False
    return True


def _has_room(layout: Layout, name: str, x: float, y: float, pushed: str, room_m: float) -> bool:
    tool_x, tool_y = _READY_XY_M
    size = known.footprint_m(name)
    if name not in known.PLACES and np.hypot(x - tool_x, y - tool_y) < size + _TOOL_GAP_M:
        return False
    for other, (other_x, other_y, _) in layout.items():
        apart = np.hypot(x - other_x, y - other_y)
        if apart < size + known.footprint_m(other) + room_m:
            return False
        if pushed in (name, other):
            # From the nearest point of the way, along y through the toy's middle, to the other.
            beyond_m = max(abs(y - other_y) - _PUSH_WAY_M, 0.0)
            still = other if pushed == name else name
            if np.hypot(x - other_x, beyond_m) < known.footprint_m(still) + _PUSH_HALF_M:
                return False
    return True
