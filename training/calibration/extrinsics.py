"""Where a fixed camera stands, from pictures of a checkerboard that the arm holds. Pure.

Eye to hand: the camera is fixed to the world and the board to the gripper. Frames: `camera` is
the optical frame (z forward, x right, y down), `board` has its origin in the board's middle, x
along its rows and z away from who looks at it. `T_a_b` (4, 4) takes points of b into a, metres.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from vla_ros.core.errors import CalibrationError
from vla_ros.core.rotations import inverse_transform, rotvec_from_matrix, transform

METHODS = {
    "Tsai": cv2.CALIB_HAND_EYE_TSAI,
    "Park": cv2.CALIB_HAND_EYE_PARK,
    "Horaud": cv2.CALIB_HAND_EYE_HORAUD,
    "Andreff": cv2.CALIB_HAND_EYE_ANDREFF,
    "Daniilidis": cv2.CALIB_HAND_EYE_DANIILIDIS,
}
# Leaving one out must leave what a solution needs.
MIN_VIEWS = 5
MIN_ORIENTATIONS = 3
_DISTINCT_RAD = np.deg2rad(10.0)
# Two solutions of a flat board that explain a picture nearly as well and differ by more than
# this: which of them is true, the picture does not say.
_AMBIGUOUS_RATIO, _AMBIGUOUS_RAD = 1.3, np.deg2rad(10.0)
# The same board upside down looks the same.
_HALF_TURN = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True)
class View:
    """One picture of the board.

    Attributes:
        stamp_ns: the picture's stamp [ns].
        T_base_tool: tool pose (4, 4) from the joints.
        T_camera_board: board pose (4, 4) from the picture; a half turn about z is open.
        rms_px: how well that pose explains the corners [px].
    """

    stamp_ns: int
    T_base_tool: np.ndarray
    T_camera_board: np.ndarray
    rms_px: float


@dataclass(frozen=True)
class Solution:
    """A camera's pose and how far it can be trusted.

    Attributes:
        T_base_camera: camera pose (4, 4).
        T_tool_board: board pose (4, 4) in the gripper.
        method: the method of `METHODS` whose board came nearest to the pictures.
        rms_px, rms_mm: board seen against board expected from joints, over all views.
        worst: index of the view that fits worst.
        loo_mm, loo_deg: how far the camera moves, at most, when one view is left out.
    """

    T_base_camera: np.ndarray
    T_tool_board: np.ndarray
    method: str
    rms_px: float
    rms_mm: float
    worst: int
    loo_mm: float
    loo_deg: float


def board_corners(columns: int, rows: int, square_m: float) -> np.ndarray:
    """Return the inner corners (columns * rows, 3) [m] in the board frame, row by row."""
    y, x = np.mgrid[:rows, :columns].astype(np.float64)
    x, y = x - (columns - 1) / 2, y - (rows - 1) / 2
    return square_m * np.stack([x, y, np.zeros_like(x)], axis=-1).reshape(-1, 3)


def find_corners(image: np.ndarray, columns: int, rows: int) -> np.ndarray | None:
    """Return the inner corners (columns * rows, 2) [px] of the board in an RGB image, or None."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    found, corners = cv2.findChessboardCornersSB(
        grey, (columns, rows), flags=cv2.CALIB_CB_NORMALIZE_IMAGE | cv2.CALIB_CB_ACCURACY
    )
    if not found:
        return None
    return corners.reshape(-1, 2).astype(np.float64)


def board_pose(
    corners_px: np.ndarray, corners_m: np.ndarray, K: np.ndarray, distortion: np.ndarray
) -> tuple[np.ndarray, float] | None:
    """Return (T_camera_board (4, 4), rms [px]) of the corners; None where two poses fit.

    Args:
        corners_px: (N, 2) as found.
        corners_m: (N, 3) in the board frame, in the same order.
        K: camera matrix (3, 3) [px].
        distortion: plumb_bob coefficients.
    """
    _, rotvecs, translations, errors = cv2.solvePnPGeneric(
        corners_m, corners_px, K, distortion, flags=cv2.SOLVEPNP_IPPE
    )
    rotations = [cv2.Rodrigues(rotvec)[0] for rotvec in rotvecs]
    alike = len(rotations) > 1 and errors[1] < _AMBIGUOUS_RATIO * errors[0]
    if alike and angle_rad(rotations[0].T @ rotations[1]) > _AMBIGUOUS_RAD:
        return None
    rotvec, translation = cv2.solvePnPRefineLM(
        corners_m, corners_px, K, distortion, rotvecs[0], translations[0]
    )
    T_camera_board = transform(cv2.Rodrigues(rotvec)[0], translation.ravel())
    error = project(T_camera_board, corners_m, K, distortion) - corners_px
    return T_camera_board, float(np.sqrt(np.mean(np.sum(error**2, axis=1))))


def project(
    T_camera_board: np.ndarray, corners_m: np.ndarray, K: np.ndarray, distortion: np.ndarray
) -> np.ndarray:
    """Return where the camera sees corners (N, 3) [m] of the board (N, 2) [px]."""
    rotvec = cv2.Rodrigues(T_camera_board[:3, :3])[0]
    return cv2.projectPoints(corners_m, rotvec, T_camera_board[:3, 3], K, distortion)[0][:, 0]


def angle_rad(rotation: np.ndarray) -> float:
    """Return the angle [rad] of a rotation (3, 3)."""
    return float(np.linalg.norm(rotvec_from_matrix(rotation)))


def orientation_spread(views: Sequence[View]) -> tuple[int, np.ndarray]:
    """Return (number of tool orientations 10 degrees apart, turn about 3 main axes (3,) [rad]).

    The second is the root mean square turn between two views, largest axis first. With turns
    about one axis only, the camera's place along that axis is unknown.
    """
    rotations = [view.T_base_tool[:3, :3] for view in views]
    distinct: list[np.ndarray] = []
    for rotation in rotations:
        if all(angle_rad(other.T @ rotation) >= _DISTINCT_RAD for other in distinct):
            distinct.append(rotation)
    turns = np.array(
        [rotvec_from_matrix(b @ a.T) for i, a in enumerate(rotations) for b in rotations[:i]]
    ).reshape(-1, 3)
    squares = np.linalg.eigvalsh(turns.T @ turns / max(1, len(turns)))
    return len(distinct), np.sqrt(np.maximum(squares[::-1], 0.0))


def require_spread(views: Sequence[View]) -> None:
    """Raise CalibrationError unless the views can tell where the camera is."""
    advice = "record more rests, with the gripper tilted and turned differently in each"
    if len(views) < MIN_VIEWS:
        raise CalibrationError(f"{len(views)} usable views, at least {MIN_VIEWS} needed; {advice}")
    distinct, turns_rad = orientation_spread(views)
    if distinct < MIN_ORIENTATIONS or turns_rad[1] < _DISTINCT_RAD:
        raise CalibrationError(
            f"the gripper had {distinct} orientations 10 degrees apart and turned by "
            f"{np.round(np.degrees(turns_rad)).astype(int).tolist()} degrees about its three main "
            f"axes, at least {MIN_ORIENTATIONS} and 10 about two of them are needed; {advice}"
        )


def agree_on_half_turns(views: Sequence[View]) -> list[View]:
    """Return the views with the board's half turn chosen alike in all of them.

    The angle between two poses is the same for tool and board. Each view is compared with the one
    nearest to it in orientation among those decided, where a half turn cannot be mistaken.
    """
    decided, open_views = list(views[:1]), list(views[1:])
    while open_views:
        angles = [
            [angle_rad(a.T_base_tool[:3, :3].T @ b.T_base_tool[:3, :3]) for a in decided]
            for b in open_views
        ]
        at = int(np.argmin(np.min(angles, axis=1)))
        near, view = decided[int(np.argmin(angles[at]))], open_views.pop(at)
        expected = min(angles[at])
        boards = (view.T_camera_board, view.T_camera_board @ _HALF_TURN)
        seen = [
            abs(angle_rad(near.T_camera_board[:3, :3].T @ T[:3, :3]) - expected) for T in boards
        ]
        board = boards[int(np.argmin(seen))]
        decided.append(View(view.stamp_ns, view.T_base_tool, board, view.rms_px))
    return sorted(decided, key=lambda view: view.stamp_ns)


def solve(
    views: Sequence[View], corners_m: np.ndarray, K: np.ndarray, distortion: np.ndarray
) -> Solution:
    """Return the camera's pose: the best of five methods by reprojection.

    Raises:
        CalibrationError: too few views, too little rotation, or no method finds a pose.
    """
    require_spread(views)
    views = agree_on_half_turns(views)
    found = []
    for method in METHODS:
        T_base_camera = _hand_eye(views, method)
        if T_base_camera is not None:
            T_tool_board = _mean_board(views, T_base_camera)
            errors_px = _errors_px(views, T_base_camera, T_tool_board, corners_m, K, distortion)
            rms_px = float(np.sqrt(np.mean(errors_px**2)))
            found.append((rms_px, method, T_base_camera, T_tool_board, errors_px))
    if not found:
        raise CalibrationError(
            "no method found a camera pose; record again with the gripper tilted and turned more"
        )
    rms_px, method, T_base_camera, T_tool_board, errors_px = min(found, key=lambda f: f[0])
    left_out = [_hand_eye([*views[:i], *views[i + 1 :]], method) for i in range(len(views))]
    # A view without which there is no answer moves the camera without bound.
    nowhere = transform(np.eye(3), np.full(3, np.inf))
    moved = [nowhere if T is None else inverse_transform(T_base_camera) @ T for T in left_out]
    offsets_m = [
        (v.T_base_tool @ T_tool_board - T_base_camera @ v.T_camera_board)[:3, 3] for v in views
    ]
    return Solution(
        T_base_camera,
        T_tool_board,
        method,
        rms_px,
        rms_mm=1000 * float(np.sqrt(np.mean(np.sum(np.square(offsets_m), axis=1)))),
        worst=int(np.argmax(errors_px)),
        loo_mm=1000 * max(float(np.linalg.norm(T[:3, 3])) for T in moved),
        loo_deg=float(np.degrees(max(angle_rad(T[:3, :3]) for T in moved))),
    )


def _hand_eye(views: Sequence[View], method: str) -> np.ndarray | None:
    """Return T_base_camera (4, 4) by one method, None where it fails.

    OpenCV's names are those of a camera on the hand; with the arm's poses inverted, its answer is
    the camera in base_link.
    """
    T_tool_base = [inverse_transform(view.T_base_tool) for view in views]
    try:
        rotation, translation = cv2.calibrateHandEye(
            [T[:3, :3] for T in T_tool_base],
            [T[:3, 3] for T in T_tool_base],
            [view.T_camera_board[:3, :3] for view in views],
            [view.T_camera_board[:3, 3] for view in views],
            method=METHODS[method],
        )
    except cv2.error:
        return None
    if not (np.all(np.isfinite(rotation)) and np.all(np.isfinite(translation))):
        return None
    if not np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-6) or np.linalg.det(rotation) < 0:
        return None
    return transform(rotation, translation.ravel())


def _mean_board(views: Sequence[View], T_base_camera: np.ndarray) -> np.ndarray:
    """Return the mean of T_tool_board (4, 4) as the views see it from this camera pose."""
    boards = [
        inverse_transform(view.T_base_tool) @ T_base_camera @ view.T_camera_board for view in views
    ]
    mean = np.mean(boards, axis=0)
    left, _, right = np.linalg.svd(mean[:3, :3])
    return transform(left @ np.diag([1.0, 1.0, np.linalg.det(left @ right)]) @ right, mean[:3, 3])


def _errors_px(
    views: Sequence[View],
    T_base_camera: np.ndarray,
    T_tool_board: np.ndarray,
    corners_m: np.ndarray,
    K: np.ndarray,
    distortion: np.ndarray,
) -> np.ndarray:
    """Return each view's error (V,) [px]: the board from joints against the board as seen."""
    T_camera_base = inverse_transform(T_base_camera)
    errors = []
    for view in views:
        expected = project(
            T_camera_base @ view.T_base_tool @ T_tool_board, corners_m, K, distortion
        )
        seen = project(view.T_camera_board, corners_m, K, distortion)
        errors.append(np.sqrt(np.mean(np.sum((expected - seen) ** 2, axis=1))))
    return np.array(errors)
