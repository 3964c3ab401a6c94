"""The safe poses that undirected play draws its waypoints from.

Teleoperated poses inside the bounds B, thinned by a voxel grid, as Algorithm 1 of TAP has it; or
poses generated from the workspace when nobody has moved the arm by hand. Stored as JSON.
"""

import json
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from vla_ros.core import arm, kinematics
from vla_ros.core.errors import ContractError, KinematicsError
from vla_ros.core.play_parameters import BOUNDS, ExplorationParameters
from vla_ros.core.play_region import clearances, draw_pose
from vla_ros.core.rotations import matrix_from_quat, quat_from_matrix, transform

FORMAT, VERSION = "vla_ros pose library", 2
_TRIES_PER_CELL = 4
_ROUNDING = 1e-9
# A quaternion in a file may be rounded this much; anything else is not one.
_UNIT_TOLERANCE = 1e-3
_POSITION_LIMIT_M = 2.0


@dataclass(frozen=True, eq=False)
class PoseLibrary:
    """Tool poses that are safe to visit.

    Attributes:
        poses: T_base_tool (N, 4, 4), metres, N at least 1; not to be written to.
        source: "teleoperated" or "generated".
        bounds: what it was made for, `ExplorationParameters.bounds`.
        robot: model of the arm that the poses are for.

    Raises:
        ContractError: there is no pose, or a number is not finite.
    """

    poses: np.ndarray
    source: str
    bounds: dict[str, float]
    robot: str = "wx250s"

    def __post_init__(self):
        poses = np.array(self.poses, dtype=np.float64)
        if poses.ndim != 3 or poses.shape[1:] != (4, 4) or not len(poses):
            raise ContractError(
                f"a pose library needs at least one tool pose (4, 4), got shape {poses.shape}; "
                "teleoperate the arm over the table, or widen the bounds"
            )
        if not np.all(np.isfinite(poses)):
            raise ContractError("a pose library must hold finite numbers; make it again")
        poses.setflags(write=False)
        object.__setattr__(self, "poses", poses)

    def __len__(self) -> int:
        return len(self.poses)

    def require_fit(self, parameters: ExplorationParameters, where: str = "pose library") -> None:
        """Make sure that play with these parameters may visit every pose.

        A library for narrower bounds fits; its voxels do not matter.

        Args:
            parameters: of play.
            where: file name, for the message.

        Raises:
            ContractError: it was made for wider bounds.
        """
        wanted = parameters.bounds
        wider = [
            f"{name} {self.bounds[name]:g} instead of {value:g}"
            for name, value in wanted.items()
            if name != "voxel_edge_m"
            and (1 if "_low_" in name else -1) * (self.bounds[name] - value) < -_ROUNDING
        ]
        if wider:
            raise ContractError(
                f"{where} was made for other bounds than play has ({', '.join(wider)}): make it "
                "again with play's, or set exploration.* to the library's"
            )

    def to_json(self) -> str:
        """Return the library as text; `from_json` is its inverse."""
        rows = [[*pose[:3, 3], *quat_from_matrix(pose[:3, :3])] for pose in self.poses]
        head = {
            "format": FORMAT,
            "version": VERSION,
            "robot": self.robot,
            "source": self.source,
            "bounds": {name: float(value) for name, value in self.bounds.items()},
            "columns": "x y z [m] qw qx qy qz, tool in base_link",
        }
        lines = ",\n  ".join(json.dumps([float(v) for v in row]) for row in rows)
        return f'{json.dumps(head)[:-1]}, "poses": [\n  {lines}\n]}}\n'

    @classmethod
    def from_json(
        cls, text: str, where: str = "pose library", robot: str = "wx250s"
    ) -> "PoseLibrary":
        """Return the library in a text.

        Args:
            text: what `to_json` returned.
            where: file name, for the message.
            robot: model of the arm that is to move.

        Raises:
            ContractError: not such a text, another version, another arm, or a broken pose.
        """

        def refuse(what: str) -> ContractError:
            return ContractError(
                f"{where}: {what}; make it with `python -m training.poses BAG... --out FILE`"
            )

        try:
            data = json.loads(text)
        except (ValueError, RecursionError):
            raise refuse("is not JSON") from None
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise refuse(f"is not a {FORMAT}")
        if data.get("version") != VERSION:
            raise refuse(f"has version {data.get('version')!r}, expected {VERSION}")
        if data.get("robot") != robot:
            raise refuse(f"is for arm {data.get('robot')!r}, this one is {robot!r}")
        source = data.get("source")
        if source not in ("teleoperated", "generated"):
            raise refuse(f"has source {source!r}, expected 'teleoperated' or 'generated'")
        rows = data.get("poses")
        if not isinstance(rows, list) or not rows:
            raise refuse("holds no poses")
        poses = []
        for index, row in enumerate(rows):
            values = _numbers(row)
            if values is None:
                raise refuse(f"pose {index} must be x y z [m] and a unit quaternion, got {row!r}")
            poses.append(transform(matrix_from_quat(values[3:]), values[:3]))
        bounds = _bounds(data.get("bounds"))
        if bounds is None:
            raise refuse(f"must name the bounds it was made for, {', '.join(BOUNDS)}")
        return cls(np.array(poses), source, bounds, robot)


def _bounds(values: object) -> dict[str, float] | None:
    """Return the bounds in a file, None unless they are numbers under the right names."""
    if not isinstance(values, dict) or set(values) != set(BOUNDS):
        return None
    if not all(isinstance(v, int | float) and not isinstance(v, bool) for v in values.values()):
        return None
    try:
        bounds = {name: float(values[name]) for name in BOUNDS}
    except OverflowError:
        return None
    return bounds if np.all(np.isfinite(list(bounds.values()))) else None


def _numbers(row: object) -> np.ndarray | None:
    """Return a pose's seven numbers, None unless they are position and unit quaternion."""
    if not isinstance(row, list) or len(row) != 7:
        return None
    if not all(isinstance(v, int | float) and not isinstance(v, bool) for v in row):
        return None
    try:
        values = np.array(row, dtype=np.float64)
    except OverflowError:
        return None
    is_pose = (
        np.all(np.isfinite(values))
        and np.abs(values[:3]).max() <= _POSITION_LIMIT_M
        and abs(np.linalg.norm(values[3:]) - 1.0) <= _UNIT_TOLERANCE
    )
    return values if is_pose else None


def inside(poses: np.ndarray, parameters: ExplorationParameters) -> np.ndarray:
    """Return which of the tool poses (N, 4, 4) are inside the bounds B, (N,) bool.

    Turned poses and tilted ones within the tilt limit are inside: a person may hold the tool so.
    """
    return np.array(
        [bool(np.all(clearances(parameters, pose) >= -_ROUNDING)) for pose in poses], dtype=bool
    )


def thin(poses: np.ndarray, edge_m: float) -> np.ndarray:
    """Return which poses (N, 4, 4) a voxel grid keeps: sorted indices (M,).

    One for each cube of `edge_m` [m] in base_link that holds a tool point: the pose nearest to
    the mean of the cube's points, which unlike the mean itself is a pose that the arm had.
    """
    points = np.asarray(poses)[:, :3, 3].reshape(-1, 3)
    cells = np.floor(points / edge_m + _ROUNDING).astype(np.int64)
    _, cube = np.unique(cells, axis=0, return_inverse=True)
    cube = cube.reshape(-1)
    kept = []
    for number in range(cube.max() + 1 if len(cube) else 0):
        members = np.flatnonzero(cube == number)
        distances = np.linalg.norm(points[members] - points[members].mean(axis=0), axis=1)
        kept.append(members[np.argmin(distances)])
    return np.sort(np.array(kept, dtype=np.int64))


def from_teleoperation(poses: np.ndarray, parameters: ExplorationParameters) -> PoseLibrary:
    """Return the library of teleoperated tool poses (N, 4, 4): inside B, thinned.

    Raises:
        ContractError: none is inside.
    """
    valid = np.asarray(poses)[inside(poses, parameters)]
    return PoseLibrary(
        valid[thin(valid, parameters.voxel_edge_m)], "teleoperated", parameters.bounds
    )


@lru_cache(maxsize=8)
def generate(parameters: ExplorationParameters, seed: int = 0) -> PoseLibrary:
    """Return a library drawn from the workspace: a reachable pose for each cell where one is found.

    The cells are boxes over the table of about `voxel_edge_m`, in x, y and height. Equal arguments
    give the same library.

    Raises:
        ContractError: no pose in the bounds is within reach.
    """
    p = parameters
    generator = np.random.default_rng(seed)
    low = np.array([p.x_low_m, -p.y_limit_m, p.height_low_m])
    high = np.array([p.x_high_m, p.y_limit_m, p.height_high_m])
    counts = np.maximum(np.ceil((high - low) / p.voxel_edge_m - _ROUNDING), 1.0)
    size = (high - low) / counts
    poses = []
    for cell in np.ndindex(*counts.astype(int)):
        corner = low + np.array(cell) * size
        for _ in range(_TRIES_PER_CELL):
            pose = draw_pose(p, generator, corner, corner + size)
            if inside(pose[None], p)[0] and _is_reachable(pose):
                poses.append(pose)
                break
    return PoseLibrary(np.array(poses).reshape(-1, 4, 4), "generated", p.bounds)


def _is_reachable(pose: np.ndarray) -> bool:
    # From the ready pose turned towards it, the solver finds the arm's usual configuration.
    start = arm.READY_RAD.copy()
    start[0] = np.arctan2(pose[1, 3], pose[0, 3])
    try:
        kinematics.inverse(pose, start)
    except KinematicsError:
        return False
    return True
