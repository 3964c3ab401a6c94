"""Teleoperated bags to a library of safe poses: `python -m training.poses BAGS... --out FILE`.

Play (explorer_node) draws its waypoints from such a file. Record the bags while you move the arm by
hand or by teleoperation over all of the table that play may use, with no goal but to cover it.
Each joint state is judged as the nodes judge it, turned into a tool pose, kept when the pose is
inside the bounds, and thinned to one pose for each cube of the voxel grid.

Bounds and voxel edge are play's parameters. `--set` changes one, for instance
`--set tilt_limit_rad=0.4`; `--workspace FILE` takes those that training.workspace wrote. The
library names its bounds, and play refuses one that was made for wider ones than its own. They are:

"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from training.recordings.bags import Bag, find_bags
from training.recordings.source import vla_source
from vla_ros.core import kinematics
from vla_ros.core.errors import BagError, SafetyError, VlaError
from vla_ros.core.play_parameters import BOUNDS, ExplorationParameters
from vla_ros.core.play_region import height_m, tilt_rad
from vla_ros.core.pose_library import PoseLibrary, from_teleoperation, inside

# An arm that stands still or creeps adds nothing: a pose nearer than this is passed over [m, rad].
_SAME_RAD = 0.01


@dataclass
class Counts:
    """What became of the joint states."""

    read: int = 0
    believed: int = 0
    different: int = 0
    inside: int = 0
    kept: int = 0


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Return the command line's settings."""
    facts = {item.name: item for item in fields(ExplorationParameters)}
    rows = (
        f"  {name:15} {facts[name].metadata['description']}: {facts[name].default} "
        f"{facts[name].metadata['unit']}, from {facts[name].metadata['low']} to "
        f"{facts[name].metadata['high']}"
        for name in BOUNDS
    )
    parser = argparse.ArgumentParser(
        prog="training.poses",
        description=(__doc__ or "") + "\n".join(rows),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("bags", type=Path, nargs="+", help="bag folders, or folders of bags")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--robot-name", default="wx250s", help="namespace of the arm's topics")
    parser.add_argument("--workspace", type=Path, help="parameter file by training.workspace")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="change one of the bounds"
    )
    return parser.parse_args(argv)


def drawn_region(path: Path) -> dict[str, Any]:
    """Return play's parameters that differ from the default in a file of `training.workspace`.

    Raises:
        SafetyError: it is no such file.
    """
    known = {item.name for item in fields(ExplorationParameters)}
    try:
        nodes = yaml.safe_load(path.read_text())
        drawn = nodes["/**/explorer"]["ros__parameters"]["exploration"]
        if set(drawn) <= known and all(isinstance(v, int | float) for v in drawn.values()):
            return drawn
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError, AttributeError):
        pass
    raise SafetyError(f"--workspace {path} is no file that training.workspace wrote")


def bounds_from(settings: list[str], drawn: dict[str, Any]) -> ExplorationParameters:
    """Return play's parameters: those drawn, with the bounds `NAME=VALUE` changed.

    Raises:
        SafetyError: a name is no bound, or a value is no number or out of range.
    """
    changes = dict(drawn)
    for setting in settings:
        name, _, value = setting.partition("=")
        if name not in BOUNDS:
            raise SafetyError(f"--set {setting}: {name!r} is no bound; use {', '.join(BOUNDS)}")
        try:
            changes[name] = float(value)
        except ValueError:
            raise SafetyError(
                f"--set {setting}: {value!r} is not a number; write for instance {name}=0.2"
            ) from None
    return ExplorationParameters(**changes)


def read_poses(
    bags: Iterable[Path], robot_name: str = "wx250s"
) -> tuple[np.ndarray, Counts, list[str]]:
    """Return tool poses (N, 4, 4) [m] of the bags' joint states, counts, and bags left out."""
    poses: list[np.ndarray] = []
    counts, left_out = Counts(), []
    refused: Counter = Counter()
    for path in bags:
        last: np.ndarray | None = None
        try:
            with Bag(path, vla_source(robot_name)) as bag:
                bag.require_topics(bag.joint_topic)
                for _, (q, _) in bag.believed_joints(refused):
                    counts.believed += 1
                    if last is None or np.abs(q - last).max() >= _SAME_RAD:
                        last = q
                        poses.append(kinematics.forward(q))
        except BagError as error:
            left_out.append(str(error))
    counts.read = counts.believed + refused.total()
    counts.different = len(poses)
    return np.array(poses).reshape(-1, 4, 4), counts, left_out


def make_library(
    poses: np.ndarray, parameters: ExplorationParameters, counts: Counts
) -> PoseLibrary:
    """Return the library of tool poses (N, 4, 4), and fill in the counts.

    Raises:
        ContractError: no pose is inside the bounds.
    """
    counts.inside = int(np.count_nonzero(inside(poses, parameters)))
    library = from_teleoperation(poses, parameters)
    counts.kept = len(library)
    return library


def table(counts: Counts, poses: np.ndarray, parameters: ExplorationParameters) -> str:
    """Return what was read and kept, and how far the poses (N, 4, 4) reach beside the bounds."""
    p = parameters
    rows = [("joint states read", counts.read), ("believed", counts.believed)]
    rows += [("different poses", counts.different), ("inside the bounds", counts.inside)]
    rows.append((f"kept, one in {p.voxel_edge_m:g} m", counts.kept))
    lines = [f"{what:28}{number:9d}" for what, number in rows]
    if len(poses):
        values = {
            "x [m]": (poses[:, 0, 3], p.x_low_m, p.x_high_m),
            "y [m]": (poses[:, 1, 3], -p.y_limit_m, p.y_limit_m),
            "height of the tips [m]": (
                np.array([height_m(pose) for pose in poses]),
                p.height_low_m,
                p.height_high_m,
            ),
            "tilt [rad]": (np.array([tilt_rad(pose) for pose in poses]), 0.0, p.tilt_limit_rad),
        }
        lines.append(f"{'found, of all poses':28}{'least':>9}{'most':>9}   bounds")
        lines += [
            f"{what:28}{found.min():9.3f}{found.max():9.3f}   {low:g} to {high:g}"
            for what, (found, low, high) in values.items()
        ]
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Make the library; an error is one sentence on stderr and exit code 1."""
    args = parse_arguments(argv)
    try:
        parameters = bounds_from(args.set, drawn_region(args.workspace) if args.workspace else {})
        poses, counts, left_out = read_poses(find_bags(args.bags), args.robot_name)
        for sentence in left_out:
            print(f"left out: {sentence}", file=sys.stderr)
        try:
            library = make_library(poses, parameters, counts)
        finally:
            print(table(counts, poses, parameters))
        args.out.write_text(library.to_json())
    except (VlaError, OSError) as error:
        print(f"training.poses: {error}", file=sys.stderr)
        return 1
    print(f"{args.out}: {len(library)} poses")
    return 0


if __name__ == "__main__":
    sys.exit(main())
