"""The simulated table: arm, toy food, plate and cameras as one fixed MuJoCo model.

Every object is always in the model. Those not in play are parked far behind the cameras' far
clipping plane, weightless, so that qpos alone determines the picture and the process that renders
needs no more than it. World frame = base_link; the table's surface is z = 0.
"""

from dataclasses import dataclass

import numpy as np

from vla_ros.core import arm
from vla_ros.core.errors import SceneError
from vla_ros.sim import food, robot
from vla_ros.sim.gl import mujoco
from vla_ros.sim.meshes import Mesh

PHYSICS_STEP_S = 0.005
CAMERA_NAMES = ("front", "wrist")
MAX_IMAGE_WIDTH, MAX_IMAGE_HEIGHT = 1280, 960
# Everything beyond this distance from a camera [m] is not drawn.
_FAR_PLANE_M = 15.0
_PARKING_X_M, _PARKING_SPACING_M = 50.0, 1.0
# The drawn table top; the physics has an endless one.
TABLE_LOW_M, TABLE_HIGH_M = (-0.26, -0.48), (0.60, 0.48)

_TABLE_RGB = (0.87, 0.81, 0.72)
_PLANK_SHADES = (1.0, 0.965, 1.01, 0.98, 0.955, 0.99, 0.97, 1.005)


@dataclass(frozen=True)
class CameraSpec:
    """A camera: pinhole, square pixels. `body` is what it is fixed to ("" for the world)."""

    name: str
    body: str
    position_m: tuple[float, float, float]
    x_axis: tuple[float, float, float]
    y_axis: tuple[float, float, float]
    fovy_rad: float


def _looking_at(name: str, eye: tuple, target: tuple, fovy_rad: float) -> CameraSpec:
    """Return a world camera at `eye` whose optical axis passes through `target`, horizon level."""
    forward = np.subtract(target, eye)
    right = np.cross(forward, (0.0, 0.0, 1.0))
    right /= np.linalg.norm(right)
    up = np.cross(right, forward / np.linalg.norm(forward))
    return CameraSpec(name, "", eye, tuple(right), tuple(up), fovy_rad)


CAMERAS = {
    # Faces the arm from across the table, so that the arm hides little of what it reaches for.
    "front": _looking_at("front", (0.88, 0.17, 0.60), (0.17, -0.01, 0.115), np.deg2rad(42.0)),
    # Above the gripper, looking along the fingers.
    "wrist": CameraSpec(
        "wrist", "wrist_rotate", (0.015, 0.0, 0.075), (0, -1, 0), (0.45, 0, 0.893), np.deg2rad(65.0)
    ),
}


def _numbers(values) -> str:
    return " ".join(f"{float(v):.6g}" for v in np.ravel(values))


def _camera(spec: CameraSpec) -> str:
    return (
        f'<camera name="{spec.name}" pos="{_numbers(spec.position_m)}" '
        f'xyaxes="{_numbers(spec.x_axis)} {_numbers(spec.y_axis)}" '
        f'fovy="{np.rad2deg(spec.fovy_rad):.6g}"/>'
    )


def _mesh_asset(name: str, mesh: Mesh) -> str:
    vertices, faces = mesh
    indices = " ".join(str(int(i)) for i in np.ravel(faces))
    return f'<mesh name="{name}" inertia="shell" vertex="{_numbers(vertices)}" face="{indices}"/>'


def parking_position(index: int) -> np.ndarray:
    """Return where object number `index` of OBJECT_NAMES waits while not in play (3,) [m]."""
    return np.array([_PARKING_X_M, _PARKING_SPACING_M * index, 1.0])


def is_parked(x_m: float) -> bool:
    """Return whether an object with this x [m] is not in play."""
    return bool(x_m > _PARKING_X_M / 2)


def _object_body(index: int, name: str, damping: float, geoms: str) -> str:
    return (
        f'<body name="{name}" pos="{_numbers(parking_position(index))}" gravcomp="1">'
        f'<joint name="{name}" type="free" damping="{damping:g}"/>{geoms}</body>'
    )


def _food_body(index: int, toy: food.Toy) -> str:
    looks = "".join(
        f'<geom class="look" type="mesh" mesh="{toy.name}_{k}" rgba="{_numbers(part.rgb)} 1" '
        'material="toy" mass="0"/>'
        for k, part in enumerate(toy.parts)
    )
    solid = "".join(f'<geom class="food" {shape}/>' for shape in toy.colliders)
    # The drag stops a ball from rolling off the table; on a falling toy it is not felt.
    return _object_body(index, toy.name, 2e-4, looks + solid)


def _plate_body(index: int) -> str:
    rim = food.PLATE_RADIUS_M - 0.004
    points = [
        (rim * np.cos(a), rim * np.sin(a), food.PLATE_HEIGHT_M - 0.003)
        for a in np.linspace(0.0, 2.0 * np.pi, 12, endpoint=False)
    ]
    ring = "".join(
        f'<geom class="solid" type="capsule" size="0.003" mass="0.002" '
        f'fromto="{_numbers(here)} {_numbers(there)}"/>'
        for here, there in zip(points, points[1:] + points[:1], strict=True)
    )
    half = food.PLATE_FLOOR_M / 2
    disc = (
        f'<geom class="solid" type="cylinder" size="{food.PLATE_RADIUS_M - 0.008:g} {half:g}" '
        f'pos="0 0 {half:g}" mass="0.25" friction="1.2 0.02 0.0001"/>'
    )
    look = (
        '<geom class="look" type="mesh" mesh="plate" material="plate" mass="0"/>'
        f'<geom class="look" type="cylinder" size="{food.PLATE_RADIUS_M - 0.014:g} {half:g}" '
        f'pos="0 0 {half + 2e-4:g}" rgba="0.27 0.52 0.90 1" mass="0"/>'
    )
    return _object_body(index, food.PLATE, 0.0, look + disc + ring)


def _planks() -> str:
    """Return the table top as boards of slightly different shades.

    They cost next to nothing to draw; a texture takes a third of a 640x480 picture's time.
    """
    edges = np.linspace(TABLE_LOW_M[1], TABLE_HIGH_M[1], len(_PLANK_SHADES) + 1)
    half_length = (TABLE_HIGH_M[0] - TABLE_LOW_M[0]) / 2
    middle = (TABLE_HIGH_M[0] + TABLE_LOW_M[0]) / 2
    return "".join(
        f'<geom class="look" type="box" size="{_numbers((half_length, (high - low) / 2, 0.02))}" '
        f'pos="{_numbers((middle, (high + low) / 2, -0.02))}" '
        f'rgba="{_numbers(shade * np.array(_TABLE_RGB))} 1"/>'
        for low, high, shade in zip(edges[:-1], edges[1:], _PLANK_SHADES, strict=True)
    )


def build_mjcf() -> str:
    """Return the MJCF of the one model that holds the arm and every known object."""
    assets = [_mesh_asset("plate", food.plate_mesh())]
    bodies = []
    for index, name in enumerate(food.OBJECT_NAMES):
        if name == food.PLATE:
            bodies.append(_plate_body(index))
            continue
        toy = food.FOOD_BY_NAME[name]
        assets += [_mesh_asset(f"{name}_{k}", part.mesh) for k, part in enumerate(toy.parts)]
        bodies.append(_food_body(index, toy))
    return f"""
<mujoco model="wx250s_table">
  <compiler angle="radian" autolimits="true"/>
  <option timestep="{PHYSICS_STEP_S:g}" integrator="implicitfast" cone="elliptic" impratio="10"
    sleep_tolerance="1e-3"><flag sleep="enable"/></option>
  <size memory="4M"/>
  <statistic extent="1" center="0.2 0 0.1"/>
  <visual>
    <map znear="0.02" zfar="{_FAR_PLANE_M:g}"/>
    <quality numslices="14" numstacks="6" numquads="1" shadowsize="0" offsamples="0"/>
    <global offwidth="{MAX_IMAGE_WIDTH}" offheight="{MAX_IMAGE_HEIGHT}"/>
    <headlight ambient="0.42 0.42 0.42" diffuse="0.22 0.22 0.22" specular="0 0 0"/>
  </visual>
  <default>
    <default class="look"><geom contype="0" conaffinity="0" group="1"/></default>
    <default class="body"><geom contype="2" conaffinity="1" group="1" friction="0.8 0.01 0.0001"/>
    </default>
    <default class="solid"><geom contype="1" conaffinity="3" group="3" condim="4"
      friction="0.8 0.01 0.0001"/></default>
    <default class="food"><geom contype="1" conaffinity="3" group="3" condim="4"
      friction="0.8 0.01 0.0001" density="{food.FOOD_DENSITY_KG_M3:g}"/></default>
  </default>
  <asset>
    <material name="floor" rgba="0.36 0.37 0.40 1" specular="0"/>
    <material name="toy" specular="0.35" shininess="0.5"/>
    <material name="plate" rgba="0.16 0.40 0.80 1" specular="0.4" shininess="0.6"/>
    {"".join(assets)}
  </asset>
  <worldbody>
    <light directional="true" pos="0.5 0.6 1.5" dir="-0.35 -0.45 -1" diffuse="0.55 0.55 0.52"
      specular="0.3 0.3 0.3" castshadow="false"/>
    <geom name="table" class="solid" type="plane" size="2 2 0.1"/>
    {_planks()}
    <geom class="look" type="box" size="4 6 0.01" pos="-3.6 0 -0.5" material="floor"/>
    {_camera(CAMERAS["front"])}
    {robot.robot_body(_camera(CAMERAS["wrist"]))}
    {"".join(bodies)}
  </worldbody>
  <actuator>{robot.robot_actuators()}</actuator>
  <equality>{robot.robot_equalities()}</equality>
</mujoco>
"""


def load_model() -> mujoco.MjModel:
    """Return the compiled model; each call makes a new one, for gains are changed in place.

    Objects at rest sleep (MuJoCo's islands) until something touches them, which makes the physics
    of a tidy table nearly three times as fast.
    """
    return mujoco.MjModel.from_xml_string(build_mjcf())


def qpos_names() -> list[str]:
    """Return a name for each number of qpos: arm joints, fingers, then `object.x` … `object.qz`."""
    names = [*arm.ARM_JOINTS, "left_finger", "right_finger"]
    for name in food.OBJECT_NAMES:
        names += [f"{name}.{part}" for part in ("x", "y", "z", "qw", "qx", "qy", "qz")]
    return names


def check_objects(names: tuple[str, ...]) -> None:
    """Refuse unknown or repeated object names.

    Raises:
        SceneError: a name is not in OBJECT_NAMES or comes twice.
    """
    for name in names:
        if name not in food.OBJECT_NAMES:
            raise SceneError(
                f"object {name!r} is not in the simulated scene; choose from "
                f"{', '.join(food.OBJECT_NAMES)}"
            )
    if len(set(names)) != len(names):
        raise SceneError(f"objects {', '.join(names)} name one twice; name each once")
