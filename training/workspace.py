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
from dataclasses import fields
from pathlib import Path

import numpy as np

from training.calibration.script import run_calibration
from training.calibration.still import find_rests
from training.calibration.touched_table import Table, fit_table, lowest_tips, table_sentences
from training.datasets.frames import MaxAge
from training.recordings.bags import Bag, bag_label, find_bags
from training.recordings.source import vla_source
from vla_ros.core import arm, kinematics
from vla_ros.core.errors import CalibrationError
from vla_ros.core.limits import SafetyParameters
from vla_ros.core.play_parameters import ExplorationParameters, require_room, tool_box_m
from vla_ros.core.resample import NS_PER_S, StreamBuffer, tick_grid

_REST_RATE_HZ = 10.0
# A region smaller than this each way leaves play nowhere to go.
_LEAST_SPAN_M = 0.08
# Around the sleep and the ready pose, which the arm must always be allowed to reach.
_HOME_MARGIN_M = 0.02
_ROUNDING_MM = 1e-6
# Written whatever their value; others only where they are not the default.
_BOX = ("workspace_low_m", "workspace_high_m", "table_clearance_m")
_DRAWN = ("x_low_m", "x_high_m", "y_limit_m", "radius_limit_m", "height_low_m", "height_high_m")


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


def safety_box(
    tool_n3: np.ndarray, margin_m: float, rise_m: float, region: ExplorationParameters
) -> SafetyParameters:
    """Return the box and the table clearance of the safety layer.

    The drawn box less the margin, widened to hold the sleep and the ready pose and, for tools that
    lean, the whole of play's region; in whole millimetres, outwards.

    Raises:
        SafetyError: the table rises so high that the sleep pose would touch it.
    """
    home = np.array([kinematics.forward(q)[:3, 3] for q in (arm.SLEEP_RAD, arm.READY_RAD)])
    play_low, play_high = tool_box_m(region)
    low = np.minimum(tool_n3.min(axis=0) + margin_m, home.min(axis=0) - _HOME_MARGIN_M)
    high = np.maximum(tool_n3.max(axis=0) - margin_m, home.max(axis=0) + _HOME_MARGIN_M)
    low, high = np.minimum(low, play_low), np.maximum(high, play_high)
    low[2] = 0.01 + rise_m
    safety = SafetyParameters(
        workspace_low_m=_millimetres(np.floor(1000 * low + _ROUNDING_MM)),
        workspace_high_m=_millimetres(np.ceil(1000 * high - _ROUNDING_MM)),
        table_clearance_m=round(0.005 + rise_m, 3),
    )
    require_room(region, safety.limits())
    return safety


def _millimetres(values: np.ndarray) -> tuple[float, ...]:
    return tuple(round(float(value) / 1000, 3) for value in values)


def as_yaml(region: ExplorationParameters, safety: SafetyParameters, facts: str) -> str:
    """Return a ROS parameter file: the safety box for every node that moves the arm, and play's
    region for explorer_node, whose parameters the others do not have.
    """
    return "\n".join(
        [
            f"# Drawn workspace by training.workspace, {facts}.",
            *_section("/**", "safety", safety, _BOX),
            *_section("/**/explorer", "exploration", region, _DRAWN),
            "",
        ]
    )


def _section(
    node: str, group: str, values: SafetyParameters | ExplorationParameters, always: tuple[str, ...]
) -> list[str]:
    """Return the lines of one group: what `always` names, and what is not the default."""
    lines = [f"{node}:", "  ros__parameters:", f"    {group}:"]
    for item in fields(values):
        value = getattr(values, item.name)
        if item.name in always or value != item.default:
            shown = list(value) if isinstance(value, tuple) else value
            note = f"[{item.metadata['unit']}] {item.metadata['description']}"
            lines.append(f"      {item.name}: {shown}  # {note}")
    return lines


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
        with Bag(path, vla_source(robot_name)) as bag:
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
        VlaError: the bags hold no drawing to play in.
    """
    if not 0.0 <= args.margin <= 0.1:
        raise CalibrationError(f"--margin must be from 0 to 0.1 m, got {args.margin}")
    bags = find_bags(args.bags)
    q_n6, rests_q, counts = read_drawing(bags, args.robot_name)
    tool_n3, tips_n3 = lowest_tips(q_n6)
    table = fit_table(lowest_tips(rests_q)[1] if len(rests_q) else np.empty((0, 3)))
    region = play_region(tool_n3, tips_n3[:, 2], table, args.margin)
    rise_m = region.height_low_m - ExplorationParameters().height_low_m
    safety = safety_box(tool_n3, args.margin, rise_m, region)
    facts = f"drawn in {', '.join(map(bag_label, bags))}, margin {args.margin} m"
    text = as_yaml(region, safety, facts)
    args.out.write_text(text)
    low, high = tool_n3.min(axis=0), tool_n3.max(axis=0)
    refused = counts["refused joint state messages"]
    return "\n".join(
        [
            f"{len(q_n6)} joint states of {len(bags)} bags ({refused} refused); the tool went from "
            f"{np.round(low, 3).tolist()} to {np.round(high, 3).tolist()} m",
            *table_sentences(table, region),
            text.rstrip(),
            f"for training.poses: --workspace {args.out}; for the launch files: "
            f"workspace:={args.out.resolve()}",
        ]
    )


def main(argv: list[str] | None = None) -> int:
    """Calibrate as the command line says; an error is one sentence on stderr and exit code 1."""
    return run_calibration("training.workspace", parse_arguments(argv), calibrate)


if __name__ == "__main__":
    sys.exit(main())
