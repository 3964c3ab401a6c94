"""Pictures of the simulated scene, without a display and on the CPU if need be."""

import atexit

import numpy as np

from vla_ros.core.errors import SceneError
from vla_ros.sim import objects, scene
from vla_ros.sim.gl import choose_gl_backend, make_context, mujoco
from vla_ros.sim.looks import STANDARD, Look

__all__ = ["SceneRenderer", "choose_gl_backend", "intrinsics"]

# MuJoCo draws geom groups 0 to 2; scene.py puts what is seen into group 1.
_DRAWN_GROUP, _HIDDEN_GROUP = 1, 5


def intrinsics(camera: str, width: int, height: int) -> np.ndarray:
    """Return the camera matrix K (3, 3) [px]; pixel centres have integer coordinates.

    Raises:
        SceneError: there is no such camera.
    """
    focal = height / 2.0 / np.tan(_camera(camera).fovy_rad / 2.0)
    return np.array(
        [[focal, 0.0, (width - 1) / 2.0], [0.0, focal, (height - 1) / 2.0], [0.0, 0.0, 1.0]]
    )


def _camera(name: str) -> scene.CameraSpec:
    if name not in scene.CAMERAS:
        raise SceneError(
            f"camera {name!r} is not in the simulated scene; choose from {', '.join(scene.CAMERAS)}"
        )
    return scene.CAMERAS[name]


class SceneRenderer:
    """Draws one camera's view of a qpos. Make and use it in one thread.

    Args:
        width: image width [px].
        height: image height [px].
        camera: a name in `scene.CAMERAS`.
        look: how the surroundings look, and where the front camera stands.

    Raises:
        SceneError: no OpenGL, an unknown camera or a size out of range.
    """

    def __init__(
        self, width: int, height: int, camera: str = "front", look: Look = STANDARD
    ) -> None:
        self._context = None
        _camera(camera)
        if not (0 < width <= scene.MAX_IMAGE_WIDTH and 0 < height <= scene.MAX_IMAGE_HEIGHT):
            raise SceneError(
                f"image size {width}x{height} is out of range; use 1x1 to "
                f"{scene.MAX_IMAGE_WIDTH}x{scene.MAX_IMAGE_HEIGHT}"
            )
        self._model = scene.load_model(look)
        # The off-screen buffer need not be larger than the picture.
        self._model.vis.global_.offwidth, self._model.vis.global_.offheight = width, height
        # Whatever qpos says is drawn, whether or not it would be asleep.
        self._model.opt.enableflags &= ~int(mujoco.mjtEnableBit.mjENBL_SLEEP)
        self._data = mujoco.MjData(self._model)
        self._context = make_context(width, height)
        self._scene = mujoco.MjvScene(self._model, maxgeom=200)
        for flag in ("SHADOW", "REFLECTION", "SKYBOX", "FOG", "HAZE"):
            self._scene.flags[getattr(mujoco.mjtRndFlag, f"mjRND_{flag}")] = 0
        self._option = mujoco.MjvOption()
        self._view = mujoco.MjvCamera()
        self._view.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._view.fixedcamid = self._model.camera(camera).id
        self._rect = mujoco.MjrRect(0, 0, width, height)
        self._mjr = mujoco.MjrContext(self._model, mujoco.mjtFontScale.mjFONTSCALE_50)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._mjr)
        self._looks = [self._look_of(name) for name in objects.OBJECT_NAMES]
        self._hidden: tuple[bool, ...] = ()
        # Of each geom, the number of the object that it is part of; -1 for arm and surroundings.
        bodies = [self._model.body(name).id for name in objects.OBJECT_NAMES]
        owners = {body: index for index, body in enumerate(bodies)}
        self._owner = np.array([owners.get(int(b), -1) for b in self._model.geom_bodyid])
        # Contexts that live on until the interpreter ends would complain while it does.
        atexit.register(self.close)
        self._pixels = np.empty((height, width, 3), dtype=np.uint8)

    def render(self, qpos: np.ndarray) -> np.ndarray:
        """Return the picture (H, W, 3) uint8 RGB of the scene with this qpos.

        Raises:
            SceneError: qpos has another length, or the renderer is closed.
        """
        self._draw(qpos)
        return self._pixels[::-1].copy()

    def objects_seen(self, qpos: np.ndarray, with_arm: bool = True) -> np.ndarray:
        """Return (H, W) int64: which of `OBJECT_NAMES` each pixel shows, -1 for none of them.

        Args:
            qpos: as for `render`.
            with_arm: False leaves the arm out, to tell how much of an object it hides.

        Raises:
            SceneError: as for `render`.
        """
        marked = ("SEGMENT", "IDCOLOR")
        is_arm = (self._owner < 0) & (self._model.geom_bodyid > 0)
        groups = self._model.geom_group[is_arm]
        for flag in marked:
            self._scene.flags[getattr(mujoco.mjtRndFlag, f"mjRND_{flag}")] = 1
        try:
            if not with_arm:
                self._model.geom_group[is_arm] = _HIDDEN_GROUP
            self._draw(qpos)
        finally:
            self._model.geom_group[is_arm] = groups
            for flag in marked:
                self._scene.flags[getattr(mujoco.mjtRndFlag, f"mjRND_{flag}")] = 0
        # A pixel's colour is 1 + its place among the drawn geoms, 0 for the background.
        drawn = np.full(1 + self._scene.ngeom, -1)
        for k in range(self._scene.ngeom):
            geom = self._scene.geoms[k]
            if geom.segid >= 0 and geom.objtype == mujoco.mjtObj.mjOBJ_GEOM:
                drawn[1 + geom.segid] = self._owner[geom.objid]
        pixels = self._pixels[::-1].astype(np.int64)
        return drawn[pixels[..., 0] + 256 * pixels[..., 1] + 65536 * pixels[..., 2]]

    def _draw(self, qpos: np.ndarray) -> None:
        """Draw into `_pixels`, whose first row is OpenGL's: the lowest one."""
        if self._context is None:
            raise SceneError("the simulated camera is closed; make a new SceneRenderer")
        if np.shape(qpos) != (self._model.nq,):
            raise SceneError(
                f"scene state has shape {np.shape(qpos)}, expected ({self._model.nq},); "
                "run the same version of the simulator and of the camera"
            )
        self._context.make_current()
        self._data.qpos[:] = qpos
        self._hide_parked()
        mujoco.mj_kinematics(self._model, self._data)
        mujoco.mj_camlight(self._model, self._data)
        mujoco.mjv_updateScene(
            self._model,
            self._data,
            self._option,
            None,
            self._view,
            mujoco.mjtCatBit.mjCAT_ALL.value,
            self._scene,
        )
        mujoco.mjr_render(self._rect, self._scene, self._mjr)
        mujoco.mjr_readPixels(self._pixels, None, self._rect, self._mjr)

    def _look_of(self, name: str) -> tuple[int, np.ndarray]:
        """Return where an object's x is in qpos, and its drawn geoms."""
        body = self._model.body(name)
        geoms = np.arange(body.geomadr[0], body.geomadr[0] + body.geomnum[0])
        drawn = geoms[self._model.geom_group[geoms] == _DRAWN_GROUP]
        return int(self._model.jnt_qposadr[body.jntadr[0]]), drawn

    def _hide_parked(self) -> None:
        """Leave parked objects out: nobody could see them, but their corners cost time."""
        hidden = tuple(scene.is_parked(self._data.qpos[x_index]) for x_index, _ in self._looks)
        if hidden != self._hidden:
            for (_, geoms), is_hidden in zip(self._looks, hidden, strict=True):
                self._model.geom_group[geoms] = _HIDDEN_GROUP if is_hidden else _DRAWN_GROUP
            self._hidden = hidden

    def close(self) -> None:
        """Free the OpenGL context; closing twice is fine."""
        if self._context is not None:
            atexit.unregister(self.close)
            self._context.make_current()
            self._mjr.free()
            self._context.free()
            self._context = None
