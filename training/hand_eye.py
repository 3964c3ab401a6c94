"""Where a fixed camera stands: a recorded bag in, a YAML file of its pose out.

python -m training.hand_eye BAG --board 7x5 --square 0.025 --camera front \
    --out config/front_extrinsics.yaml

A checkerboard is fixed to the gripper, the camera to the table. The bag holds the arm at rest in
a dozen poses that turn and tilt the board differently; docs/hardware.md says how to record it.
The recording must come from a calibrated camera, and the arm's own zero is taken as it is.
"""

import argparse
import sys
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import yaml
from tqdm import tqdm

from training.calibration import extrinsics
from training.calibration.extrinsics import Solution, View
from training.calibration.script import run_calibration
from training.calibration.still import Rest, find_rests
from training.datasets.frames import MaxAge
from training.recordings.bags import Bag, bag_label
from training.recordings.messages import Picture, decoded
from training.recordings.source import vla_source
from vla_ros.core.errors import CalibrationError, ContractError
from vla_ros.core.kinematics import forward
from vla_ros.core.resample import NS_PER_S, StreamBuffer
from vla_ros.core.rotations import quat_from_matrix

# A board that explains its own corners worse than this is bent, or was not read right.
_MAX_RMS_PX = 1.5
# Where in a rest to look for a picture with the board: the middle, then its quarters.
_PLACES = (0.5, 0.25, 0.75)
# Beyond these the numbers are written, with a warning [mm], [px].
_LARGE_MM, _LARGE_PX = 10.0, 5.0


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Return the command line's settings."""
    parser = argparse.ArgumentParser(
        prog="training.hand_eye",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("bag", type=Path, help="bag folder of one recording")
    parser.add_argument(
        "--board", type=_board, default=(7, 5), help="inner corners of the board, across x down"
    )
    parser.add_argument("--square", type=float, required=True, help="side of a square [m]")
    parser.add_argument("--camera", default="front", help="the camera to place")
    parser.add_argument("--robot-name", default="wx250s", help="namespace of the arm's topics")
    parser.add_argument("--out", type=Path, required=True, help="YAML file to write")
    return parser.parse_args(argv)


def _board(text: str) -> tuple[int, int]:
    parts = text.split("x")
    if len(parts) != 2 or not all(part.isdigit() for part in parts):
        raise argparse.ArgumentTypeError(f"give inner corners as 7x5, got {text!r}")
    columns, rows = int(parts[0]), int(parts[1])
    if min(columns, rows) < 3 or columns == rows:
        raise argparse.ArgumentTypeError(
            f"a board needs 3 or more inner corners each way, not equally many, got {text}"
        )
    return columns, rows


@dataclass(frozen=True)
class Target:
    """The board and the camera that looks at it.

    Attributes:
        board: inner corners, across and down.
        corners_m: (N, 3) in the board frame.
        size: the camera's image width and height [px].
        K: camera matrix (3, 3) [px].
        distortion: plumb_bob coefficients.
    """

    board: tuple[int, int]
    corners_m: np.ndarray
    size: tuple[int, int]
    K: np.ndarray
    distortion: np.ndarray


def find_views(bag: Bag, camera: str, target: Target) -> tuple[list[View], Counter]:
    """Return the usable views of a bag and the count of rests and of what was passed over.

    Raises:
        BagError: there are no pictures or joint states.
        CalibrationError: the pictures are not of the calibration's size.
    """
    bag.require_topics(bag.source.image_topic(camera), bag.joint_topic)
    counts: Counter = Counter()
    joints: StreamBuffer = StreamBuffer("joint states", int(MaxAge().joints_s * NS_PER_S))
    joints.extend(bag.believed_joints(counts))
    index = bag.image_index(camera)
    rests = find_rests(joints, index.stamps_ns.tolist())
    counts["rests"] = len(rests)
    wanted = {rest.stamps_ns[index] for rest in rests for index in _tries(rest)}
    # The other pictures, most of them, are neither read nor decoded.
    rows = np.flatnonzero(np.isin(index.stamps_ns, sorted(wanted)))
    found = bag.images_at({camera: index.places[rows]})
    pictures = {int(index.stamps_ns[rows[row]]): picture for _, row, picture in found}
    views = []
    for rest in tqdm(rests, desc="views", unit="rest"):
        view = _view_of(rest, pictures, target)
        if isinstance(view, View):
            views.append(view)
        else:
            counts[view] += 1
    return views, counts


def _tries(rest: Rest) -> list[int]:
    """Return the pictures of a rest to try, by index."""
    return list(dict.fromkeys(int(place * len(rest.stamps_ns)) for place in _PLACES))


def _view_of(rest: Rest, pictures: dict[int, Picture], target: Target) -> View | str:
    """Return the view of one rest, or why there is none."""
    reason = "rests without the whole board in the picture"
    for index in _tries(rest):
        stamp_ns = rest.stamps_ns[index]
        try:
            image = decoded(pictures[stamp_ns], f"the camera at {stamp_ns} ns")
        except ContractError:
            reason = "rests with unreadable pictures"
            continue
        if image.shape[1::-1] != target.size:
            raise CalibrationError(
                f"a picture is {image.shape[1]}x{image.shape[0]}, its camera's calibration is for "
                f"{target.size[0]}x{target.size[1]}; calibrate at the recorded size"
            )
        corners_px = extrinsics.find_corners(image, *target.board)
        if corners_px is None:
            continue
        pose = extrinsics.board_pose(corners_px, target.corners_m, target.K, target.distortion)
        if pose is None:
            reason = "rests with the board too small or too frontal to tell its tilt"
        elif pose[1] > _MAX_RMS_PX:
            reason = f"rests with corners over {_MAX_RMS_PX} px off a flat board"
        else:
            return View(stamp_ns, forward(rest.q_rad[index]), *pose)
    return reason


def as_yaml(solution: Solution, views: list[View], facts: dict) -> str:
    """Return the YAML text: a transform with its frames, and the facts it rests on."""
    w, x, y, z = quat_from_matrix(solution.T_base_camera[:3, :3])
    distinct, turns_rad = extrinsics.orientation_spread(views)
    values = {
        "parent": "base_link",
        "child": f"{facts['camera']}_optical_frame",
        "translation_m": _rounded(solution.T_base_camera[:3, 3]),
        "rotation_xyzw": _rounded(np.array([x, y, z, w])),
        "facts": {
            **facts,
            "method": solution.method,
            "views": len(views),
            "orientations": distinct,
            "turns_deg": _rounded(np.degrees(turns_rad), 1),
            "residual_px": round(solution.rms_px, 2),
            "residual_mm": round(solution.rms_mm, 2),
            "leave_one_out_mm": round(solution.loo_mm, 2),
            "leave_one_out_deg": round(solution.loo_deg, 2),
        },
    }
    head = "# Camera pose in base_link (metres, quaternion x y z w), by training.hand_eye.\n"
    return head + yaml.safe_dump(values, sort_keys=False, default_flow_style=None)


def _rounded(values: np.ndarray, digits: int = 6) -> list[float]:
    return [round(float(value), digits) for value in values]


def summary(solution: Solution, views: list[View], counts: Counter) -> str:
    """Return what a person must know to believe the result or to record again."""
    passed = ", ".join(f"{count} {what}" for what, count in counts.items() if what != "rests")
    distinct, turns_rad = extrinsics.orientation_spread(views)
    lines = [
        f"{len(views)} views of {counts['rests']} rests; passed over: {passed or 'nothing'}",
        f"{distinct} orientations, turned by {np.round(np.degrees(turns_rad)).astype(int).tolist()}"
        " degrees about three axes",
        f"{solution.method}: board seen and board expected differ by {solution.rms_px:.2f} px, "
        f"{solution.rms_mm:.1f} mm (root mean square); worst view at "
        f"{views[solution.worst].stamp_ns} ns",
        f"without any one view the camera moves by at most {solution.loo_mm:.1f} mm, "
        f"{solution.loo_deg:.2f} degrees",
    ]
    if solution.rms_mm > _LARGE_MM or solution.rms_px > _LARGE_PX:
        lines.append(
            "WARNING: that is much for this arm (accurate to 5-8 mm): did the board slip in the "
            "gripper, is --square right, is the camera's calibration of this lens?"
        )
    return "\n".join(lines)


def calibrate(args: argparse.Namespace) -> str:
    """Write `args.out` and return the summary.

    Raises:
        VlaError: the bag does not tell where the camera is.
    """
    if not 0.001 <= args.square <= 0.5:
        raise CalibrationError(f"--square must be from 0.001 to 0.5 m, got {args.square}")
    columns, rows = args.board
    corners_m = extrinsics.board_corners(columns, rows, args.square)
    with Bag(args.bag, vla_source(args.robot_name)) as bag:
        size, K, distortion = bag.intrinsics(args.camera)
        target = Target(args.board, corners_m, size, K, distortion)
        views, counts = find_views(bag, args.camera, target)
    if not views:
        raise CalibrationError(
            f"the board of {columns}x{rows} inner corners was seen in none of "
            f"{counts['rests']} rests of bag {args.bag}; check --board, that all of it is in the "
            "picture, light, and that the arm rests for a second in each pose"
        )
    solution = extrinsics.solve(views, corners_m, target.K, target.distortion)
    recorded = datetime.fromtimestamp(views[0].stamp_ns / NS_PER_S, timezone.utc)
    facts = {
        "camera": args.camera,
        "bag": bag_label(args.bag),
        "recorded": recorded.strftime("%Y-%m-%d %H:%M:%S UTC"),
        "board": f"{columns}x{rows} inner corners",
        "square_m": args.square,
        "image_size": list(target.size),
        "fx_fy_cx_cy": _rounded(target.K[[0, 1, 0, 1], [0, 1, 2, 2]], 3),
    }
    args.out.write_text(as_yaml(solution, views, facts))
    return summary(solution, views, counts)


def main(argv: list[str] | None = None) -> int:
    """Calibrate as the command line says; an error is one sentence on stderr and exit code 1."""
    return run_calibration("training.hand_eye", parse_arguments(argv), calibrate)


if __name__ == "__main__":
    sys.exit(main())
