"""The tree of frames, from what /tf and /tf_static say; the same class for bag and live."""

from typing import NamedTuple

import numpy as np

from vla_ros.core.rotations import matrix_from_quat, transform


class Transform(NamedTuple):
    """The pose of the frame `child` in the frame `parent`."""

    stamp_ns: int
    parent: str
    child: str
    T_parent_child: np.ndarray


def frame_name(name: str) -> str:
    """Return a frame's name without the leading slash that some publishers still write."""
    return name.removeprefix("/")


def matrix_of_pose(values: np.ndarray) -> np.ndarray:
    """Return (4, 4) of x, y, z [m] and a quaternion x, y, z, w.

    Raises:
        ValueError: it is not finite, or the quaternion has no direction.
    """
    x, y, z, w = values[3:]
    norm = float(np.linalg.norm(values[3:]))
    if not np.all(np.isfinite(values)) or norm < 0.5:
        raise ValueError(f"a pose is not finite or has no rotation: {values.tolist()}")
    return transform(matrix_from_quat(np.array([w, x, y, z])), values[:3])


class Transforms:
    """The tree of transforms, as far as it is known."""

    def __init__(self):
        self._static: dict[str, Transform | None] = {}
        self._moving: dict[str, Transform] = {}

    def take_static(self, found: Transform) -> None:
        """Keep a transform that holds for the whole recording; one that changes is none."""
        known = self._static.setdefault(found.child, found)
        if known is not None and (
            known.parent != found.parent
            or not np.allclose(known.T_parent_child, found.T_parent_child, atol=1e-9)
        ):
            self._static[found.child] = None

    def take_moving(self, found: Transform) -> None:
        """Keep the latest pose of a link."""
        self._moving[found.child] = found

    def static(self, parent: str, child: str) -> np.ndarray | None:
        """Return T_parent_child (4, 4) [m] by static transforms, None where they do not say."""
        found = self._chain(parent, child, {})
        return None if found is None else found[0]

    def contradicted(self, child: str) -> str:
        """Return the frame from `child` upwards that was said to be elsewhere; empty: none."""
        for _ in range(len(self._static) + 1):
            if child not in self._static:
                return ""
            link = self._static[child]
            if link is None:
                return child
            child = link.parent
        return ""

    def moving(self, parent: str, child: str) -> tuple[np.ndarray, set[int]] | None:
        """Return T_parent_child (4, 4) [m] and the stamps [ns] of the moving links between."""
        return self._chain(parent, child, self._moving)

    def _chain(
        self, parent: str, child: str, moving: dict[str, Transform]
    ) -> tuple[np.ndarray, set[int]] | None:
        T_frame_child, stamps, frame = np.eye(4), set(), child
        for _ in range(len(self._static) + len(moving) + 1):
            if frame == parent:
                return T_frame_child, stamps
            link = moving.get(frame) or self._static.get(frame)
            if link is None:
                return None
            if frame in moving:
                stamps.add(link.stamp_ns)
            T_frame_child, frame = link.T_parent_child @ T_frame_child, link.parent
        return None
