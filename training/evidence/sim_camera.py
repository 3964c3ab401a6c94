"""A camera of the simulated scene as the graph's camera node has it: JPEGs at a steady rate."""

from typing import Protocol

import numpy as np

from vla_ros.core.errors import SceneError
from vla_ros.policy.pictures import encode_jpeg
from vla_ros.sim.render import SceneRenderer, intrinsics

# Of `camera_node`: the same picture is the same bytes.
JPEG_QUALITY = 90


# Width and height of the pictures where nobody says other ones: the field of the camera node's
# 640 x 480 at a sixth of its cost. A square picture shows less to the sides, so that to what learnt
# from it all things in the graph are too narrow.
SIZE_PX = 256, 192


class Renderer(Protocol):
    """What draws: `SceneRenderer`, or one with another camera, light or background."""

    def render(self, qpos: np.ndarray) -> np.ndarray:
        """Return the picture (H, W, 3) uint8 RGB of a scene's qpos."""
        ...


class SimCamera:
    """Draws and compresses.

    Args:
        name: the camera's, one of `sim.scene.CAMERAS`.
        width, height: of its pictures [px].
        rate_hz: pictures a second; their distance is a whole number of milliseconds.
        renderer: what draws; None: the scene as it is.

    Attributes:
        name, width, height: as given.
        period_ns: between two pictures [ns].
        K: camera matrix (3, 3) [px].

    Raises:
        SceneError: no such camera, no OpenGL, or a size or rate that cannot be.
    """

    def __init__(
        self,
        name: str = "front",
        width: int = SIZE_PX[0],
        height: int = SIZE_PX[1],
        rate_hz: float = 5.0,
        renderer: Renderer | None = None,
    ):
        self.name, self.width, self.height = name, width, height
        period_ms = 1e3 / rate_hz if rate_hz > 0 else 0.5
        if not period_ms.is_integer():
            raise SceneError(
                f"a rate of {rate_hz:g} Hz is not a whole number of milliseconds; take 5, 10 or 25"
            )
        self.period_ns = int(period_ms) * 1_000_000
        self.K = intrinsics(name, width, height)
        self._own: SceneRenderer | None = None
        if renderer is None:
            renderer = self._own = SceneRenderer(width, height, name)
        self._renderer = renderer

    def jpeg(self, qpos: np.ndarray) -> bytes:
        """Return the picture of a scene's qpos as a JPEG file."""
        return encode_jpeg(self._renderer.render(qpos), JPEG_QUALITY)

    def close(self) -> None:
        """Free the renderer, unless it was given."""
        if self._own is not None:
            self._own.close()
