"""Where on the table something moved, from two pictures of a fixed camera. Pure.

What differs between the pictures, and is not the arm in either of them, lay or lies on the table:
its pixels are taken to the table's plane z = 0.
"""

import numpy as np

from vla_ros.core import kinematics
from vla_ros.core.rotations import inverse_transform

# Grey levels that noise and JPEG do not reach.
_THRESHOLD = 24
# A picture that changed in more of its pixels than this has other light, or the camera was moved.
_MOST = 0.3
# Half the thickness of arm and gripper, with their shadow's seam [m].
_ARM_RADIUS_M = 0.09
# Samples between two neighbouring points of the arm.
_SAMPLES = 6
# Points are told on a grid of this pitch [m].
_GRID_M = 0.01


class TableChange:
    """Compares pictures of one camera.

    Args:
        K: camera matrix (3, 3) [px] at the pictures' size.
        T_base_camera: the camera's optical frame (4, 4) in base_link [m].
        size: width and height [px] of the pictures.
    """

    def __init__(self, K: np.ndarray, T_base_camera: np.ndarray, size: tuple[int, int]):
        width, height = size
        u, v = np.meshgrid(np.arange(width), np.arange(height))
        rays = np.stack([u, v, np.ones_like(u)], axis=-1) @ np.linalg.inv(K).T
        rays = rays @ T_base_camera[:3, :3].T  # (H, W, 3) in base_link
        origin = T_base_camera[:3, 3]
        with np.errstate(divide="ignore", invalid="ignore"):
            reach = -origin[2] / rays[..., 2]
            self._xy_m = origin[:2] + reach[..., None] * rays[..., :2]  # (H, W, 2)
        self._on_table = np.isfinite(reach) & (reach > 0.0)
        self._K, self._T_camera_base = K, inverse_transform(T_base_camera)
        self._pixels = np.stack([u, v], axis=-1).astype(np.float64)
        self._last: tuple[np.ndarray, np.ndarray] | None = None

    def look(self, grey: np.ndarray, q: np.ndarray) -> np.ndarray:
        """Return where something moved since the last picture: (N, 2) [m] in base_link.

        Args:
            grey: picture (H, W) uint8.
            q: arm joints (6,) [rad] in it.
        """
        picture = grey.astype(np.float64)
        arm = self._arm(q)
        last, self._last = self._last, (picture, arm)
        if last is None:
            return np.zeros((0, 2))
        change = picture - last[0]
        seen = self._on_table & ~arm & ~last[1]
        if not seen.any():
            return np.zeros((0, 2))
        # Light that changes everywhere alike is nothing that moved.
        changed = seen & (np.abs(change - np.median(change[seen])) > _THRESHOLD)
        changed &= _has_neighbours(changed)
        if changed.sum() > _MOST * seen.sum():
            return np.zeros((0, 2))
        cells = np.unique(np.round(self._xy_m[changed] / _GRID_M).astype(int), axis=0)
        return cells * _GRID_M

    def _arm(self, q: np.ndarray) -> np.ndarray:
        """Return where the arm is in the picture (H, W)."""
        corners = np.concatenate([np.zeros((1, 3)), kinematics.link_points(q)])
        steps = np.linspace(0.0, 1.0, _SAMPLES)[:, None, None]
        points = (corners[:-1] + steps * (corners[1:] - corners[:-1])).reshape(-1, 3)
        points = points @ self._T_camera_base[:3, :3].T + self._T_camera_base[:3, 3]
        points = points[points[:, 2] > 0.05]
        pixels = points @ self._K.T
        pixels = pixels[:, :2] / pixels[:, 2:]
        radius_px = _ARM_RADIUS_M * self._K[0, 0] / points[:, 2]
        covered = np.zeros(self._on_table.shape, dtype=bool)
        for centre, radius in zip(pixels, radius_px, strict=True):
            covered |= np.sum((self._pixels - centre) ** 2, axis=-1) < radius**2
        return covered


def _has_neighbours(mask: np.ndarray) -> np.ndarray:
    """Return which pixels (H, W) have two or more of their eight neighbours in the mask too."""
    padded = np.pad(mask, 1).astype(int)
    height, width = mask.shape
    around = sum(
        padded[1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width]
        for dy in (-1, 0, 1)
        for dx in (-1, 0, 1)
        if dx or dy
    )
    return around >= 2
