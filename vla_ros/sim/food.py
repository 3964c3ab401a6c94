"""The toy food and the plate: what each looks like, and the simple body the physics sees.

Every object stands upright or lies at rest in its own frame with z up; `rest_height_m` is the
height of that frame above the table then. Food is at most 4 cm wide, because the simulated
gripper opens to 4.6 cm between its pads.
"""

from dataclasses import dataclass

import numpy as np

from vla_ros.sim import meshes

# Toys are hollow wood or plastic; 400 kg/m^3 was tried over grasps with many pad settings.
FOOD_DENSITY_KG_M3 = 400.0
# Plate: radius, height of the rim and thickness of the floor [m].
PLATE_RADIUS_M = 0.075
PLATE_HEIGHT_M = 0.010
PLATE_FLOOR_M = 0.005
_PLATE_RIM_M = 0.014

GREEN = (0.20, 0.55, 0.15)


@dataclass(frozen=True)
class Part:
    """One visible mesh: its geometry in the object's frame and its colour (r, g, b)."""

    mesh: meshes.Mesh
    rgb: tuple[float, float, float]


@dataclass(frozen=True)
class Toy:
    """One object: looks, collision shapes (MJCF geom attributes) and how to take hold of it.

    Attributes:
        name: the noun used in instructions.
        parts: visible meshes.
        colliders: MJCF attributes of each collision geom.
        rest_height_m: height of the object's frame above the table at rest.
        radius_m: radius of the circle around its footprint.
        grasp_axis: direction in the object's frame along which the fingers close, horizontal;
            None when every direction is as good (round things).
        grasp_height_m: height of the tool point above the table when grasping.
    """

    name: str
    parts: tuple[Part, ...]
    colliders: tuple[str, ...]
    rest_height_m: float
    radius_m: float
    grasp_axis: tuple[float, float, float] | None
    grasp_height_m: float


def _ellipse(half_length: float, radius: float, rings: int = 11) -> np.ndarray:
    """Return the profile (rings, 2) of an ellipsoid, poles slightly open."""
    t = np.linspace(-np.pi / 2 + 0.05, np.pi / 2 - 0.05, rings)
    return np.stack([half_length * np.sin(t), radius * np.cos(t)], axis=1)


def _capsule(radius: float, start: tuple, end: tuple) -> str:
    fromto = " ".join(f"{v:g}" for v in (*start, *end))
    return f'type="capsule" size="{radius:g}" fromto="{fromto}"'


def _stem(bottom: float, top: float, radius: float, rgb=GREEN) -> Part:
    profile = [(bottom, radius), (top - 0.001, radius), (top, 0.6 * radius)]
    return Part(meshes.revolved(profile, "z", 8), rgb)


def _carrot() -> Toy:
    body = [(-0.052, 0.003), (-0.048, 0.0065), (-0.02, 0.0125), (0.015, 0.0160)]
    body += [(0.030, 0.0165), (0.037, 0.0145), (0.040, 0.008)]
    top = [(0.037, 0.006), (0.046, 0.0105), (0.058, 0.0115), (0.066, 0.008), (0.069, 0.003)]
    return Toy(
        name="carrot",
        parts=(
            Part(meshes.revolved(body, "x"), (0.96, 0.42, 0.06)),
            Part(meshes.revolved(top, "x", 12), GREEN),
        ),
        colliders=(_capsule(0.0145, (-0.036, 0, 0), (0.050, 0, 0)),),
        rest_height_m=0.0145,
        radius_m=0.065,
        grasp_axis=(0.0, 1.0, 0.0),
        grasp_height_m=0.024,
    )


def _banana() -> Toy:
    t = np.linspace(-0.95, 0.95, 15)
    bend = 0.055
    centres = np.stack([bend * np.sin(t), bend * (1 - np.cos(t)), 0 * t], axis=1)
    radii = 0.0145 * np.sqrt(np.clip(1.03 - (t / 0.95) ** 6, 0, 1))
    # The tube is bent in the x-z plane of `meshes`; swapping y and z lays the banana down.
    laid = centres[:, [0, 2, 1]]
    parts = []
    for low, high, rgb in ((1, 14, (0.98, 0.85, 0.12)), (0, 2, (0.35, 0.25, 0.10))):
        vertices, faces = meshes.tube(laid[low:high], radii[low:high], 14)
        parts.append(Part((vertices[:, [0, 2, 1]], faces[:, ::-1]), rgb))
    vertices, faces = meshes.tube(laid[13:], radii[13:], 14)
    parts.append(Part((vertices[:, [0, 2, 1]], faces[:, ::-1]), (0.35, 0.25, 0.10)))
    tip, near = centres[12], centres[9]
    return Toy(
        name="banana",
        parts=tuple(parts),
        colliders=(
            _capsule(0.014, (-near[0], near[1], 0), tuple(near)),
            _capsule(0.013, tuple(near), tuple(tip)),
            _capsule(0.013, (-near[0], near[1], 0), (-tip[0], tip[1], 0)),
        ),
        rest_height_m=0.014,
        radius_m=0.055,
        grasp_axis=(0.0, 1.0, 0.0),
        grasp_height_m=0.024,
    )


def _ball(name: str, radius: float, rgb, extra: tuple[Part, ...]) -> Toy:
    return Toy(
        name=name,
        parts=(Part(meshes.revolved(_ellipse(radius, radius), "z"), rgb), *extra),
        colliders=(f'type="sphere" size="{radius:g}"',),
        rest_height_m=radius,
        radius_m=radius,
        grasp_axis=None,
        grasp_height_m=0.024,
    )


def _pumpkin() -> Toy:
    body = meshes.revolved(_ellipse(0.0165, 0.0205), "z", 21, lobes=7)
    # A ring of capsules cannot be had cheaply; a flat cylinder is gripped and slides the same.
    return Toy(
        name="pumpkin",
        parts=(Part(body, (0.86, 0.32, 0.03)), _stem(0.012, 0.027, 0.0045)),
        colliders=('type="cylinder" size="0.0185 0.0150"',),
        rest_height_m=0.0155,
        radius_m=0.021,
        grasp_axis=None,
        grasp_height_m=0.024,
    )


def _lemon() -> Toy:
    body = [(-0.029, 0.002), (-0.026, 0.006), (-0.020, 0.0125), (-0.010, 0.0170), (0.0, 0.0182)]
    body += [(-along, radius) for along, radius in reversed(body[:-1])]
    return Toy(
        name="lemon",
        parts=(Part(meshes.revolved(body, "x"), (0.97, 0.93, 0.25)),),
        colliders=(_capsule(0.017, (-0.009, 0, 0), (0.009, 0, 0)),),
        rest_height_m=0.017,
        radius_m=0.03,
        grasp_axis=(0.0, 1.0, 0.0),
        grasp_height_m=0.024,
    )


def _eggplant() -> Toy:
    body = [(-0.044, 0.004), (-0.040, 0.0110), (-0.030, 0.0165), (-0.015, 0.0180), (0.005, 0.0155)]
    body += [(0.022, 0.0120), (0.032, 0.0105), (0.034, 0.006)]
    cap = [(0.026, 0.0125), (0.035, 0.0120), (0.038, 0.0050), (0.050, 0.0040), (0.052, 0.002)]
    return Toy(
        name="eggplant",
        parts=(
            Part(meshes.revolved(body, "x"), (0.33, 0.10, 0.42)),
            Part(meshes.revolved(cap, "x", 12), GREEN),
        ),
        colliders=(_capsule(0.0155, (-0.024, 0, 0), (0.030, 0, 0)),),
        rest_height_m=0.0155,
        radius_m=0.05,
        grasp_axis=(0.0, 1.0, 0.0),
        grasp_height_m=0.024,
    )


FOOD: tuple[Toy, ...] = (
    _carrot(),
    _banana(),
    _ball("apple", 0.0195, (0.80, 0.07, 0.08), (_stem(0.017, 0.027, 0.0025, (0.3, 0.2, 0.1)),)),
    _ball("orange", 0.0195, (1.00, 0.60, 0.10), (_stem(0.018, 0.0205, 0.004),)),
    _pumpkin(),
    _lemon(),
    _eggplant(),
)
FOOD_BY_NAME = {toy.name: toy for toy in FOOD}
PLATE = "plate"
OBJECT_NAMES: tuple[str, ...] = (*FOOD_BY_NAME, PLATE)


def plate_mesh() -> meshes.Mesh:
    """Return the plate's visible mesh; its frame's origin is on the table."""
    return meshes.plate(PLATE_RADIUS_M, PLATE_HEIGHT_M, _PLATE_RIM_M)


def footprint_m(name: str) -> float:
    """Return the radius [m] of the circle around an object's footprint."""
    return PLATE_RADIUS_M if name == PLATE else FOOD_BY_NAME[name].radius_m
