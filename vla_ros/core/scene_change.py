"""Where on the table something changed between two pictures of a fixed camera."""

from itertools import pairwise

import numpy as np

from vla_ros.core import kinematics
from vla_ros.core.errors import ContractError

# Base and shoulder: the links below the points of `kinematics.link_points`.
_COLUMN_M = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 0.11]])
# Distance between two points on a link that are projected [m].
_LINK_STEP_M = 0.02
# What is nearer to the camera than this is not projected [m].
_NEAREST_M = 0.05


class TableCamera:
    """A camera that looks at the table: a pinhole without distortion, fixed in base_link.

    Pictures are compared in blocks, by the blocks' mean greys.

    Args:
        K: camera matrix (3, 3) [px]; pixel centres have integer coordinates.
        T_base_camera: pose (4, 4) [m] of the optical frame: x right, y down, z forward.
        width: of the pictures [px].
        height: of the pictures [px].
        block_px: edge of a block [px]; None takes a fortieth of the width, which averages out
            noise and the edge of the arm's outline, and still sees a carrot.
        plane_m: height over the table [m] of what is looked for; half a thing's height sets it
            where it stands instead of behind.

    Raises:
        ContractError: a matrix has another shape, is not finite or cannot be inverted, or the
            picture is smaller than a block.
    """

    def __init__(
        self,
        K: np.ndarray,
        T_base_camera: np.ndarray,
        width: int,
        height: int,
        block_px: int | None = None,
        plane_m: float = 0.0,
    ):
        self._K = np.array(K, dtype=np.float64)
        pose = np.array(T_base_camera, dtype=np.float64)
        for name, value, size in (("K", self._K, 3), ("T_base_camera", pose, 4)):
            if value.shape != (size, size) or not np.all(np.isfinite(value)):
                raise ContractError(
                    f"{name} must be ({size}, {size}) finite numbers, got {value.tolist()}; "
                    "calibrate the camera"
                )
        if abs(np.linalg.det(self._K)) < 1e-9:
            raise ContractError(
                f"K must have focal lengths above 0, got {self._K.tolist()}; calibrate the camera"
            )
        if block_px is None:
            block_px = max(1, width // 40)
        if not 1 <= block_px <= min(width, height):
            raise ContractError(
                f"block_px must be from 1 to {min(width, height)}, the smaller side of the "
                f"picture, got {block_px}"
            )
        self._rotation, self._origin = pose[:3, :3], pose[:3, 3]
        self._shape, self._block = (height, width), block_px
        rows, columns = np.indices((height // block_px, width // block_px))
        # Centres of the blocks (R, C, 2) as (u, v) [px].
        self._centres = (np.stack([columns, rows], axis=-1) + 0.5) * block_px - 0.5
        rays = np.concatenate([self._centres, np.ones((*rows.shape, 1))], axis=-1)
        rays = rays @ np.linalg.inv(self._K).T @ self._rotation.T
        with np.errstate(divide="ignore", invalid="ignore"):
            way = (plane_m - self._origin[2]) / rays[..., 2]
        self._on_table = np.isfinite(way) & (way > 0.0)
        way = np.where(self._on_table, way, 0.0)
        self._table_m = self._origin[:2] + way[..., None] * rays[..., :2]  # (R, C, 2)

    def arm_blocks(self, q: np.ndarray, margin_m: float = 0.06) -> np.ndarray:
        """Return which blocks (R, C) the arm with joints q (6,) [rad] may cover, generously.

        Args:
            q: measured joints (6,) [rad].
            margin_m: distance from the links' middle lines that still counts as arm [m].
        """
        points = _along_links(q)
        seen = (points - self._origin) @ self._rotation  # (N, 3) in the camera's frame
        seen = seen[seen[:, 2] > _NEAREST_M]
        pixels = seen @ self._K.T
        pixels = pixels[:, :2] / pixels[:, 2:]
        focal = max(self._K[0, 0], self._K[1, 1])
        radius = margin_m * focal / seen[:, 2] + self._block / np.sqrt(2)
        apart = self._centres[:, :, None] - pixels  # (R, C, N, 2)
        return np.any(np.sum(apart**2, axis=-1) <= radius**2, axis=-1)

    def changed_points(
        self,
        before: np.ndarray,
        after: np.ndarray,
        hidden: np.ndarray | None = None,
        threshold: float = 6.0,
    ) -> np.ndarray:
        """Return points (N, 2) [m] of base_link on the table where two pictures differ.

        A change of the light that all blocks share is taken out. What moved is found where it was
        and where it is now.

        Args:
            before, after: grey pictures (height, width), 0 to 255.
            hidden: blocks (R, C) to leave out, of `arm_blocks` for both pictures; None: none.
            threshold: least difference of a block's mean [grey levels].

        Raises:
            ContractError: a picture or `hidden` has another shape.
        """
        shape = self._centres.shape[:2]
        for name, picture in (("before", before), ("after", after)):
            if np.shape(picture) != self._shape:
                raise ContractError(
                    f"picture {name} must be grey with shape {self._shape}, got "
                    f"{np.shape(picture)}; use the calibrated camera's pictures"
                )
        if hidden is not None and np.shape(hidden) != shape:
            raise ContractError(f"hidden must have shape {shape}, got {np.shape(hidden)}")
        looked_at = self._on_table if hidden is None else self._on_table & ~hidden
        if not np.any(looked_at):
            return np.empty((0, 2))
        change = self._means(after) - self._means(before)
        change -= np.median(change[looked_at])
        return self._table_m[looked_at & (np.abs(change) >= threshold)]

    def _means(self, picture: np.ndarray) -> np.ndarray:
        rows, columns = self._centres.shape[:2]
        block = self._block
        cut = np.asarray(picture, dtype=np.float64)[: rows * block, : columns * block]
        return cut.reshape(rows, block, columns, block).mean(axis=(1, 3))


def grey(picture: np.ndarray) -> np.ndarray:
    """Return the luma (H, W) float64, 0 to 255, of an RGB picture (H, W, 3)."""
    return np.asarray(picture, dtype=np.float64) @ np.array([0.299, 0.587, 0.114])


def _along_links(q: np.ndarray) -> np.ndarray:
    """Return points (N, 3) [m] in base_link along the arm's links, from the base to the tips."""
    points = kinematics.link_points(q)
    elbow, forearm, wrist, bar, tips = points[0], points[1], points[2], points[3:5], points[5:]
    chain = [*_COLUMN_M, elbow, forearm, wrist, bar.mean(axis=0), tips.mean(axis=0)]
    lines = list(pairwise(chain))
    lines += [(bar[0], tips[:2].mean(axis=0)), (bar[1], tips[2:].mean(axis=0)), tuple(bar)]
    result = []
    for start, end in lines:
        number = max(2, int(np.ceil(np.linalg.norm(end - start) / _LINK_STEP_M)) + 1)
        result.append(start + np.linspace(0.0, 1.0, number)[:, None] * (end - start))
    return np.concatenate(result)
