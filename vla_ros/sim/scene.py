"""The simulated table: arm, toys, tableware and cameras as one fixed MuJoCo model.

Every object is always in the model. Those not in play are parked far behind the cameras' far
clipping plane, weightless, so that qpos alone determines the picture and the process that renders
needs no more than it. World frame = base_link; the table's surface is z = 0.
"""

from dataclasses import dataclass

import numpy as np

from vla_ros.core import arm
from vla_ros.core.errors import SceneError
from vla_ros.sim import objects, robot
from vla_ros.sim.gl import mujoco
from vla_ros.sim.looks import STANDARD, Look
from vla_ros.sim.meshes import Mesh
from vla_ros.sim.things import DENSITY_KG_M3, Part, Place, Thing, numbers

PHYSICS_STEP_S = 0.005
CAMERA_NAMES = ("front", "wrist")
MAX_IMAGE_WIDTH, MAX_IMAGE_HEIGHT = 1280, 960
# Everything beyond this distance from a camera [m] is not drawn.
_FAR_PLANE_M = 15.0
_PARKING_X_M, _PARKING_SPACING_M = 50.0, 1.0


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


def front_camera(look: Look) -> CameraSpec:
    """Return the camera that faces the arm from across the table.

    From there the arm hides little of what it reaches for.
    """
    return _looking_at("front", look.eye_m, look.target_m, np.deg2rad(42.0))


# As they are in the standard look.
CAMERAS = {
    "front": front_camera(STANDARD),
    # Above the gripper, looking along the fingers.
    "wrist": CameraSpec(
        "wrist", "wrist_rotate", (0.015, 0.0, 0.075), (0, -1, 0), (0.45, 0, 0.893), np.deg2rad(65.0)
    ),
}


def _camera(spec: CameraSpec) -> str:
    return (
        f'<camera name="{spec.name}" pos="{numbers(spec.position_m)}" '
        f'xyaxes="{numbers(spec.x_axis)} {numbers(spec.y_axis)}" '
        f'fovy="{np.rad2deg(spec.fovy_rad):.6g}"/>'
    )


def _mesh_asset(name: str, mesh: Mesh) -> str:
    vertices, faces = mesh
    indices = " ".join(str(int(i)) for i in np.ravel(faces))
    return f'<mesh name="{name}" inertia="shell" vertex="{numbers(vertices)}" face="{indices}"/>'


def parking_position(index: int) -> np.ndarray:
    """Return where object number `index` of OBJECT_NAMES waits while not in play (3,) [m]."""
    return np.array([_PARKING_X_M, _PARKING_SPACING_M * index, 1.0])


def is_parked(x_m: float) -> bool:
    """Return whether an object with this x [m] is not in play."""
    return bool(x_m > _PARKING_X_M / 2)


def _object_body(index: int, name: str, damping: float, geoms: str) -> str:
    return (
        f'<body name="{name}" pos="{numbers(parking_position(index))}" gravcomp="1">'
        f'<joint name="{name}" type="free" damping="{damping:g}"/>{geoms}</body>'
    )


def _looks(name: str, parts: tuple[Part, ...], material: str) -> str:
    return "".join(
        f'<geom class="look" type="mesh" mesh="{name}_{k}" rgba="{numbers(part.rgb)} 1" '
        f'material="{material}" mass="0"/>'
        for k, part in enumerate(parts)
    )


def _thing_body(index: int, thing: Thing) -> str:
    solid = "".join(f'<geom class="toy" {shape}/>' for shape in thing.colliders)
    # The drag stops a ball from rolling off the table; on a falling toy it is not felt.
    looks = _looks(thing.name, thing.parts, "toy")
    return _object_body(index, thing.name, 2e-4, looks + solid)


def _place_body(index: int, place: Place) -> str:
    looks = _looks(place.name, place.parts, place.material)
    return _object_body(index, place.name, 0.0, looks + "".join(place.geoms))


def build_mjcf(look: Look = STANDARD) -> str:
    """Return the MJCF of the one model that holds the arm and every known object."""
    assets, bodies = [], []
    for index, name in enumerate(objects.OBJECT_NAMES):
        place = objects.PLACES.get(name)
        thing = objects.THINGS[name] if place is None else place
        assets += [_mesh_asset(f"{name}_{k}", part.mesh) for k, part in enumerate(thing.parts)]
        bodies.append(
            _thing_body(index, objects.THINGS[name]) if place is None else _place_body(index, place)
        )
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
    {look.headlight}
  </visual>
  <default>
    <default class="look"><geom contype="0" conaffinity="0" group="1"/></default>
    <default class="body"><geom contype="2" conaffinity="1" group="1" friction="0.8 0.01 0.0001"/>
    </default>
    <default class="solid"><geom contype="1" conaffinity="3" group="3" condim="4"
      friction="0.8 0.01 0.0001"/></default>
    <default class="toy"><geom contype="1" conaffinity="3" group="3" condim="4"
      friction="0.8 0.01 0.0001" density="{DENSITY_KG_M3:g}"/></default>
  </default>
  <asset>
    {look.assets}
    <material name="toy" specular="0.35" shininess="0.5"/>
    <material name="glaze" specular="0.4" shininess="0.6"/>
    <material name="cloth" specular="0"/>
    {"".join(assets)}
  </asset>
  <worldbody>
    {look.sun}
    <geom name="table" class="solid" type="plane" size="2 2 0.1"/>
    {look.geoms}
    {_camera(front_camera(look))}
    {robot.robot_body(_camera(CAMERAS["wrist"]))}
    {"".join(bodies)}
  </worldbody>
  <actuator>{robot.robot_actuators()}</actuator>
  <equality>{robot.robot_equalities()}</equality>
</mujoco>
"""


def load_model(look: Look = STANDARD) -> mujoco.MjModel:
    """Return the compiled model; each call makes a new one, for gains are changed in place.

    Objects at rest sleep (MuJoCo's islands) until something touches them, which makes the physics
    of a tidy table nearly three times as fast.
    """
    return mujoco.MjModel.from_xml_string(build_mjcf(look))


def qpos_names() -> list[str]:
    """Return a name for each number of qpos: arm joints, fingers, then `object.x` … `object.qz`."""
    names = [*arm.ARM_JOINTS, "left_finger", "right_finger"]
    for name in objects.OBJECT_NAMES:
        names += [f"{name}.{part}" for part in ("x", "y", "z", "qw", "qx", "qy", "qz")]
    return names


def check_objects(names: tuple[str, ...]) -> None:
    """Refuse unknown or repeated object names.

    Raises:
        SceneError: a name is not in OBJECT_NAMES or comes twice.
    """
    for name in names:
        if name not in objects.OBJECT_NAMES:
            raise SceneError(
                f"object {name!r} is not in the simulated scene; choose from "
                f"{', '.join(objects.OBJECT_NAMES)}"
            )
    if len(set(names)) != len(names):
        raise SceneError(f"objects {', '.join(names)} name one twice; name each once")
