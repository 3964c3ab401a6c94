"""MuJoCo and its OpenGL backend, loaded so that a missing OpenGL library is one clear sentence.

On import MuJoCo loads the OpenGL library that MUJOCO_GL names and dies with it if it is absent.
Physics needs none, and `render` makes its own context, so then MuJoCo is imported without.
Every module of the sim takes `mujoco` from here.
"""

import ctypes
import importlib
import os

from vla_ros.core.errors import SceneError

BACKENDS = ("egl", "osmesa")
_EGL, _DESKTOP_GL = ("libEGL.so.1",), ("libGL.so.1", "libOpenGL.so.0")
_OSMESA = ("libOSMesa.so.8", "libOSMesa.so.6", "libOSMesa.so")
REMEDY = "install one with `apt-get install --no-install-recommends libegl1 libgl1`"


def _any_loads(names: tuple[str, ...]) -> bool:
    for name in names:
        try:
            ctypes.CDLL(name)
        except OSError:
            continue
        return True
    return False


def _is_available(backend: str) -> bool:
    if backend == "osmesa":
        return _any_loads(_OSMESA)
    return backend == "egl" and _any_loads(_EGL) and _any_loads(_DESKTOP_GL)


def _asked_backend() -> str:
    return os.environ.get("MUJOCO_GL", "").lower().strip()


def choose_gl_backend() -> str:
    """Return "egl" or "osmesa": the one MUJOCO_GL asks for, else the first that loads.

    Raises:
        SceneError: none loads, or MUJOCO_GL asks for something else.
    """
    asked = _asked_backend()
    if asked not in ("", *BACKENDS):
        raise SceneError(
            f"MUJOCO_GL is {asked!r}, but the simulated camera draws with {' or '.join(BACKENDS)};"
            " unset it"
        )
    for backend in (asked,) if asked else BACKENDS:
        if _is_available(backend):
            return backend
    raise SceneError(
        f"the simulated camera found no OpenGL library for {asked or ' or '.join(BACKENDS)}; "
        f"{REMEDY}"
    )


def _import_mujoco():
    asked = _asked_backend()
    if not asked or _is_available(asked):
        return importlib.import_module("mujoco")
    original = os.environ["MUJOCO_GL"]
    os.environ["MUJOCO_GL"] = "disable"
    try:
        return importlib.import_module("mujoco")
    finally:
        os.environ["MUJOCO_GL"] = original


mujoco = _import_mujoco()


def make_context(width: int, height: int):
    """Return a current off-screen OpenGL context, with `make_current` and `free`.

    Raises:
        SceneError: no backend loads, or it does not start.
    """
    backend = choose_gl_backend()
    # Without worker threads Mesa's software GL uses the least CPU per picture.
    os.environ.setdefault("LP_NUM_THREADS", "0")
    try:
        context = importlib.import_module(f"mujoco.{backend}").GLContext(width, height)
        context.make_current()
    except Exception as error:  # PyOpenGL raises whatever its platform layer meets
        raise SceneError(
            f"the simulated camera could not start {backend} ({error}); {REMEDY}"
        ) from error
    return context
