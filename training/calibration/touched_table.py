"""The table under the arm, as finger tips found it that a hand rested on it."""

from dataclasses import dataclass

import numpy as np

from vla_ros.core import kinematics
from vla_ros.core.errors import CalibrationError
from vla_ros.core.play_parameters import ExplorationParameters

# Rests with the finger tips this close to the lowest one may be touches of a tilted table.
_TOUCH_BAND_M = 0.025
# What lies further over the table plane than this hovered, after all.
_HOVER_M = 0.004
# Touches in a line, or closer together than this (root mean square), tell no tilt.
_TOUCH_SPREAD_M = 0.03
# The arm is accurate to 5-8 mm: less than this off zero cannot be told from its own error.
_LEVEL_M = 0.005


@dataclass(frozen=True)
class Table:
    """The table as the finger tips found it.

    Attributes:
        touches_m: where they rested on it (N, 3) in base_link.
        plane: (a, b, c) of z = a x + b y + c; a and b are 0 where the touches tell no tilt.
        has_tilt: whether they do.
    """

    touches_m: np.ndarray
    plane: np.ndarray
    has_tilt: bool

    def heights_m(self, xy_n2: np.ndarray) -> np.ndarray:
        """Return the table's height (N,) [m] at places (N, 2) [m]."""
        return xy_n2 @ self.plane[:2] + self.plane[2]


def lowest_tips(q_n6: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return tool positions (N, 3) and the gripper's lowest points (N, 3) [m] of joints (N, 6)."""
    tool, points = kinematics.tool_and_link_points(q_n6)
    gripper = points[:, -len(kinematics.GRIPPER_POINTS_M) :]
    lowest = gripper[np.arange(len(gripper)), gripper[:, :, 2].argmin(axis=1)]
    return tool, lowest


def fit_table(rests_m: np.ndarray) -> Table:
    """Return the table under the lowest points (N, 3) [m] of the gripper at rest.

    Raises:
        CalibrationError: there was no rest.
    """
    if len(rests_m) == 0:
        raise CalibrationError(
            "the arm never rested, so the table was not touched; rest the finger tips on it for a "
            "second at three or more places far apart"
        )
    touches = rests_m[rests_m[:, 2] <= rests_m[:, 2].min() + _TOUCH_BAND_M]
    while _tells_tilt(touches):
        columns = np.column_stack([touches[:, :2], np.ones(len(touches))])
        plane = np.linalg.lstsq(columns, touches[:, 2], rcond=None)[0]
        over = touches[:, 2] - columns @ plane
        if over.max() <= _HOVER_M:
            return Table(touches, plane, True)
        touches = np.delete(touches, int(np.argmax(over)), axis=0)
    lowest = rests_m[int(np.argmin(rests_m[:, 2]))]
    return Table(lowest[None], np.array([0.0, 0.0, lowest[2]]), False)


def _tells_tilt(touches: np.ndarray) -> bool:
    if len(touches) < 3:
        return False
    xy = touches[:, :2] - touches[:, :2].mean(axis=0)
    return bool(np.linalg.svd(xy, compute_uv=False)[1] / np.sqrt(len(xy)) >= _TOUCH_SPREAD_M)


def table_sentences(table: Table, parameters: ExplorationParameters) -> list[str]:
    """Return what the touches say of the table, with a warning where it is not z = 0 and level."""
    x, y = (parameters.x_low_m, parameters.x_high_m), parameters.y_limit_m
    heights_mm = 1000 * table.heights_m(np.array([[a, b] for a in x for b in (-y, y)]))
    if not table.has_tilt:
        lines = [
            f"lowest rest of the finger tips at z = {1000 * table.plane[2]:+.1f} mm; fewer than "
            "three touches far enough apart, so the table's tilt is not known"
        ]
    else:
        off_mm = 1000 * (table.touches_m[:, 2] - table.heights_m(table.touches_m[:, :2]))
        lines = [
            f"{len(off_mm)} touches, {np.sqrt(np.mean(off_mm**2)):.1f} mm off a plane (root mean "
            f"square); under the region the table is at z = {heights_mm.min():+.1f} to "
            f"{heights_mm.max():+.1f} mm"
        ]
    if np.abs(heights_mm).max() > 1000 * _LEVEL_M:
        lines.append(
            "WARNING: the table is not at z = 0 under the whole region, by more than the arm's own "
            "error may be: level base and table with shims and draw again. The heights below allow "
            "for a table that is too high; one that is too low is played over in the air."
        )
    return lines
