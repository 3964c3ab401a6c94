"""Pictures, camera geometry, and what is said where OpenGL is missing."""

import ctypes

import numpy as np
import pytest

from vla_ros.core.errors import SceneError
from vla_ros.sim import gl, objects, scene
from vla_ros.sim.layouts import LAYOUT_RADIUS_M, LAYOUT_Y_M
from vla_ros.sim.render import SceneRenderer, choose_gl_backend, intrinsics
from vla_ros.sim.world import SimWorld

TABLE = ("carrot", "plate")


@pytest.fixture(scope="module")
def world():
    return SimWorld(seed=2, objects=TABLE)


@pytest.fixture(scope="module")
def renderer():
    made = SceneRenderer(160, 120)
    yield made
    made.close()


def _pixel_of(point, width, height):
    """Return the (column, row) of a world point in the front camera, by hand."""
    spec = scene.CAMERAS["front"]
    x, y = np.array(spec.x_axis), np.array(spec.y_axis)
    # MuJoCo's camera looks along -z with y up; the image's rows grow downwards.
    offset = np.asarray(point) - spec.position_m
    depth = offset @ -np.cross(x, y)
    uvw = intrinsics("front", width, height) @ (offset @ x / depth, -(offset @ y) / depth, 1.0)
    return uvw[0], uvw[1]


def _colours(image, dominant):
    """Return a mask (H, W) of pixels whose channel `dominant` is far above the other two."""
    others = [c for c in range(3) if c != dominant]
    return image[..., dominant].astype(int) > image[..., others].max(axis=-1).astype(int) + 60


def test_picture_is_rgb_and_repeats_bit_by_bit(renderer, world):
    first, second = renderer.render(world.qpos()), renderer.render(world.qpos())
    assert first.shape == (120, 160, 3)
    assert first.dtype == np.uint8
    assert np.array_equal(first, second)


def test_plate_is_blue_and_where_the_camera_matrix_says(renderer, world):
    image = renderer.render(world.qpos())
    rows, columns = np.nonzero(_colours(image, 2))
    column, row = _pixel_of(world.object_pose("plate")[:3, 3], 160, 120)
    assert columns.mean() == pytest.approx(column, abs=1.5)
    assert rows.mean() == pytest.approx(row, abs=1.5)


@pytest.mark.parametrize(("width", "height"), [(640, 480), (128, 128)])
def test_whole_layout_area_and_the_gripper_over_it_are_in_the_front_picture(width, height):
    for angle in np.linspace(-1.0, 1.0, 9):
        for radius in LAYOUT_RADIUS_M:
            x, y = radius * np.cos(angle), radius * np.sin(angle)
            if abs(y) > LAYOUT_Y_M[1]:
                continue
            for z in (0.0, 0.15):
                column, row = _pixel_of((x, y, z), width, height)
                assert 0.04 * width <= column < 0.96 * width
                assert 0.04 * height <= row < 0.96 * height


def test_parked_objects_leave_no_pixel(renderer, world):
    world.reset(3, objects=("carrot",))
    qpos, names = world.qpos(), world.qpos_names()
    image = renderer.render(qpos)
    assert not _colours(image, 2).any()
    for name in objects.OBJECT_NAMES:
        if name != "carrot":
            qpos[names.index(f"{name}.y")] += 3.0
            qpos[names.index(f"{name}.z")] -= 1.0
    assert np.array_equal(renderer.render(qpos), image)
    world.reset(2, objects=TABLE)


def test_each_object_shows_in_the_picture(renderer, world):
    world.reset(5, objects=("plate",))
    empty = renderer.render(world.qpos()).astype(int)
    start = world.qpos_names().index
    for name in objects.OBJECT_NAMES:
        if name == "plate":
            continue
        qpos = world.qpos()
        at = start(f"{name}.x")
        qpos[at : at + 7] = (0.3, 0.05, objects.rest_height_m(name), 1, 0, 0, 0)
        changed = np.abs(renderer.render(qpos) - empty).max(axis=-1) > 40
        assert changed.sum() > 15, name
    world.reset(2, objects=TABLE)


def test_wrist_camera_sees_the_fingers_and_the_table(world):
    wrist = SceneRenderer(96, 96, "wrist")
    image = wrist.render(world.qpos()).astype(int)
    wrist.close()
    assert image[70:, :].min() < 60
    assert image[:30].mean() > 100


def test_two_renderers_live_side_by_side(renderer, world):
    other = SceneRenderer(64, 48)
    image = renderer.render(world.qpos())
    assert other.render(world.qpos()).shape == (48, 64, 3)
    assert np.array_equal(renderer.render(world.qpos()), image)
    other.close()
    assert np.array_equal(renderer.render(world.qpos()), image)


def test_refusals_are_sentences(world):
    with pytest.raises(SceneError, match="camera 'side' is not in the simulated scene; choose"):
        SceneRenderer(64, 64, "side")
    with pytest.raises(SceneError, match="camera 'side' is not"):
        intrinsics("side", 64, 64)
    with pytest.raises(SceneError, match="image size 0x64 is out of range; use 1x1 to 1280x960"):
        SceneRenderer(0, 64)
    made = SceneRenderer(32, 32)
    with pytest.raises(SceneError, match=r"scene state has shape \(3,\), expected \(162,\)"):
        made.render(np.zeros(3))
    made.close()
    made.close()
    with pytest.raises(SceneError, match="is closed; make a new SceneRenderer"):
        made.render(world.qpos())


def test_intrinsics_put_the_optical_axis_in_the_middle():
    K = intrinsics("front", 640, 480)
    fovy = scene.CAMERAS["front"].fovy_rad
    assert (K[0, 2], K[1, 2]) == (319.5, 239.5)
    assert K[0, 0] == K[1, 1] == pytest.approx(240 / np.tan(fovy / 2))


def _only(monkeypatch, *loadable):
    def load(name):
        if name not in loadable:
            raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", load)


def test_egl_comes_first_then_osmesa(monkeypatch):
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    _only(monkeypatch, "libEGL.so.1", "libGL.so.1", "libOSMesa.so.8")
    assert choose_gl_backend() == "egl"
    _only(monkeypatch, "libEGL.so.1", "libOSMesa.so.8")
    assert choose_gl_backend() == "osmesa"
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    _only(monkeypatch, "libEGL.so.1", "libGL.so.1", "libOSMesa.so.6")
    assert choose_gl_backend() == "osmesa"


def test_no_opengl_is_one_sentence_with_the_remedy(monkeypatch):
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    _only(monkeypatch)
    sentence = (
        "the simulated camera found no OpenGL library for egl or osmesa; install one with "
        "`apt-get install --no-install-recommends libegl1 libgl1`"
    )
    with pytest.raises(SceneError) as caught:
        SceneRenderer(64, 64)
    assert str(caught.value) == sentence
    monkeypatch.setenv("MUJOCO_GL", "egl")
    with pytest.raises(SceneError, match="no OpenGL library for egl; install one"):
        choose_gl_backend()


def test_backend_that_needs_a_display_is_refused(monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "glfw")
    with pytest.raises(SceneError, match=r"MUJOCO_GL is 'glfw', but .* egl or osmesa; unset it"):
        choose_gl_backend()


def test_backend_that_does_not_start_is_a_sentence(monkeypatch):
    class Broken:
        def GLContext(self, width, height):
            raise RuntimeError("no device")

    monkeypatch.setattr(gl.importlib, "import_module", lambda name: Broken())
    with pytest.raises(SceneError, match=r"could not start egl \(no device\); install"):
        gl.make_context(8, 8)
