"""The play region that a hand draws with the limp arm: recordings in, a parameter file out.

python -m training.workspace BAG... --margin 0.02 --out workspace.yaml

Record in the person mode with the arm limp (docs/hardware.md): lead the gripper along the edges of
the region, from a little above the table up to where play may reach, and rest the finger tips on
the table for a second at three or more places far apart. The drawn box less a margin is where play
may go; the touches tell whether the table is at z = 0 and level.
"""

import argparse
import sys
from collections import Counter
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from training.bags import Bag, bag_label, find_bags
from training.frames import MaxAge
from training.still import find_rests
from vla_ros.core import arm, kinematics
from vla_ros.core.errors import CalibrationError, VlaError
from vla_ros.core.exploration import ExplorationParameters
from vla_ros.core.limits import wx250s_limits
from vla_ros.core.resample import NS_PER_S, StreamBuffer, tick_grid

_REST_RATE_HZ = 10.0
# Rests with the finger tips this close to the lowest one may be touches of a tilted table.
_TOUCH_BAND_M = 0.025
# What lies further over the table plane than this hovered, after all.
_HOVER_M = 0.004
# Touches in a line, or closer together than this (root mean square), tell no tilt.
_TOUCH_SPREAD_M = 0.03
# The arm is accurate to 5-8 mm: less than this off zero cannot be told from its own error.
_LEVEL_M = 0.005
# A region smaller than this each way leaves play nowhere to go.
_LEAST_SPAN_M = 0.08
# Around the sleep and the ready pose, which the arm must always be allowed to reach.
_HOME_MARGIN_M = 0.02
# Written whatever their value; the others of play only where they are not the default.
_DRAWN = ("x_low_m", "x_high_m", "y_limit_m", "radius_limit_m", "height_low_m", "height_high_m")


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


def play_region(
    tool_n3: np.ndarray, tips_m: np.ndarray, table: Table, margin_m: float
) -> ExplorationParameters:
    """Return play's parameters for the drawn box less the margin, over the table that is there.

    Args:
        tool_n3: tool positions (N, 3) [m] of the drawing.
        tips_m: height (N,) [m] of the gripper's lowest point at each.
        table: what the touches told.
        margin_m: taken off each side.

    Raises:
        CalibrationError: what is left is too small to play in.
    """
    low, high = tool_n3.min(axis=0) + margin_m, tool_n3.max(axis=0) - margin_m
    values = {
        "x_low_m": low[0],
        "x_high_m": high[0],
        "y_limit_m": min(-low[1], high[1]),
        "radius_limit_m": np.hypot(tool_n3[:, 0], tool_n3[:, 1]).max() - margin_m,
        "height_high_m": tips_m.max() - margin_m,
    }
    spans = (high[0] - low[0], 2 * values["y_limit_m"])
    if min(spans) < _LEAST_SPAN_M:
        raise CalibrationError(
            f"the drawn box leaves {spans[0]:.2f} m forwards and {spans[1]:.2f} m sideways, the "
            f"same to both sides of the base, at least {_LEAST_SPAN_M} m of each is needed; draw a "
            "larger one, or take a smaller --margin"
        )
    corners = np.array([[x, y] for x in (low[0], high[0]) for y in (low[1], high[1])])
    rise_m = max(0.0, float(table.heights_m(corners).max()))
    defaults = ExplorationParameters()
    for name in ("height_low_m", "descent_low_m", "descent_high_m", "hover_height_m"):
        values[name] = getattr(defaults, name) + rise_m
    if values["height_high_m"] < values["hover_height_m"]:
        raise CalibrationError(
            f"the finger tips were led up to {tips_m.max():.2f} m only, play needs at least "
            f"{values['hover_height_m'] + margin_m:.2f} m; lift the gripper higher while drawing"
        )
    for item in fields(ExplorationParameters):
        if item.name in values:  # what the hand drew beyond the arm's own bounds is cut
            clipped = np.clip(values[item.name], item.metadata["low"], item.metadata["high"])
            values[item.name] = round(float(clipped), 3)
    return ExplorationParameters(**values)


def safety_box(tool_n3: np.ndarray, margin_m: float, rise_m: float) -> dict:
    """Return workspace_low_m, workspace_high_m and table_clearance_m for `wx250s_limits`.

    The drawn box less the margin, widened to hold the sleep and the ready pose.

    Raises:
        SafetyError: the table rises so high that the sleep pose would touch it.
    """
    home = np.array([kinematics.forward(q)[:3, 3] for q in (arm.SLEEP_RAD, arm.READY_RAD)])
    low = np.minimum(tool_n3.min(axis=0) + margin_m, home.min(axis=0) - _HOME_MARGIN_M)
    high = np.maximum(tool_n3.max(axis=0) - margin_m, home.max(axis=0) + _HOME_MARGIN_M)
    low[2] = 0.01 + rise_m
    box = {
        "workspace_low_m": tuple(round(float(value), 3) for value in low),
        "workspace_high_m": tuple(round(float(value), 3) for value in high),
        "table_clearance_m": round(0.005 + rise_m, 3),
    }
    wx250s_limits(**box)
    return box


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


def as_yaml(parameters: ExplorationParameters, box: dict, facts: str) -> str:
    """Return a ROS parameter file: play's region by its names, and the safety box."""
    defaults = ExplorationParameters()
    lines = [f"# Play region by training.workspace, {facts}.", "/**:", "  ros__parameters:"]
    for item in fields(ExplorationParameters):
        value = getattr(parameters, item.name)
        if item.name in _DRAWN or value != getattr(defaults, item.name):
            note = f"[{item.metadata['unit']}] {item.metadata['description']}"
            lines.append(f"    {item.name}: {value}  # {note}")
    for name, value in box.items():
        shown = list(value) if isinstance(value, tuple) else value
        lines.append(f"    {name}: {shown}  # [m] of the safety layer, for the tool point")
    return "\n".join(lines) + "\n"


def read_drawing(bags: list[Path], robot_name: str) -> tuple[np.ndarray, np.ndarray, Counter]:
    """Return all believed joints (N, 6) [rad], those at rest (M, 6), and what was refused.

    Raises:
        BagError: a bag has no joint states, or is damaged.
        CalibrationError: no joint state is to be believed.
    """
    drawn, rests = [], []
    counts: Counter = Counter()
    for path in bags:
        joints: StreamBuffer = StreamBuffer("joint states", int(MaxAge().joints_s * NS_PER_S))
        with Bag(path, robot_name) as bag:
            bag.require_topics(bag.joint_topic)
            for stamp_ns, sample in bag.believed_joints(counts):
                joints.push(stamp_ns, sample)
                drawn.append(sample[0])
        if joints.first_ns is not None and joints.last_ns is not None:
            ticks = tick_grid(joints.first_ns, joints.last_ns, _REST_RATE_HZ)
            rests += [rest.middle_q_rad for rest in find_rests(joints, map(int, ticks))]
    if not drawn:
        raise CalibrationError(
            f"no joint state of {len(bags)} bags is to be believed; check the driver, then draw "
            "again"
        )
    return np.array(drawn), np.array(rests).reshape(-1, 6), counts


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Return the command line's settings."""
    parser = argparse.ArgumentParser(
        prog="training.workspace",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("bags", type=Path, nargs="+", help="bag folders, or folders of bags")
    parser.add_argument("--margin", type=float, default=0.02, help="taken off each side [m]")
    parser.add_argument("--robot-name", default="wx250s", help="namespace of the arm's topics")
    parser.add_argument("--out", type=Path, required=True, help="parameter file to write")
    return parser.parse_args(argv)


def calibrate(args: argparse.Namespace) -> str:
    """Write `args.out` and return the summary.

    Raises:
        VlaError: the file exists, or the bags hold no drawing to play in.
    """
    if args.out.exists():
        raise CalibrationError(f"{args.out} exists; move it away or choose another --out")
    if not 0.0 <= args.margin <= 0.1:
        raise CalibrationError(f"--margin must be from 0 to 0.1 m, got {args.margin}")
    bags = find_bags(args.bags)
    q_n6, rests_q, counts = read_drawing(bags, args.robot_name)
    tool_n3, tips_n3 = lowest_tips(q_n6)
    table = fit_table(lowest_tips(rests_q)[1] if len(rests_q) else np.empty((0, 3)))
    parameters = play_region(tool_n3, tips_n3[:, 2], table, args.margin)
    rise_m = parameters.height_low_m - ExplorationParameters().height_low_m
    box = safety_box(tool_n3, args.margin, rise_m)
    facts = f"drawn in {', '.join(map(bag_label, bags))}, margin {args.margin} m"
    text = as_yaml(parameters, box, facts)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(text)
    low, high = tool_n3.min(axis=0), tool_n3.max(axis=0)
    refused = counts["refused joint state messages"]
    return "\n".join(
        [
            f"{len(q_n6)} joint states of {len(bags)} bags ({refused} refused); the tool went from "
            f"{np.round(low, 3).tolist()} to {np.round(high, 3).tolist()} m",
            *table_sentences(table, parameters),
            "for training.poses: "
            + " ".join(
                f"--set {name}={getattr(parameters, name)}"
                for name in _DRAWN
                if name != "height_low_m"  # raised only together with the descents' heights
            ),
            text.rstrip(),
        ]
    )


def main(argv: list[str] | None = None) -> int:
    """Calibrate as the command line says; an error is one sentence on stderr and exit code 1."""
    args = parse_arguments(argv)
    try:
        print(calibrate(args))
    except VlaError as error:
        print(f"training.workspace: {error}", file=sys.stderr)
        return 1
    print(f"written to {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
