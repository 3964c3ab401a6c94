"""Spoon, plate, bowl and cloth."""

import numpy as np

from vla_ros.sim import meshes
from vla_ros.sim.things import Part, Place, Toy, capsule, ellipse, numbers

# Plate: radius, height of the rim and thickness of the floor [m].
PLATE_RADIUS_M = 0.075
PLATE_HEIGHT_M = 0.010
PLATE_FLOOR_M = 0.005
_PLATE_RIM_M = 0.014

_BOWL_RADIUS_M, _BOWL_FOOT_M = 0.068, 0.036
_BOWL_HEIGHT_M, _BOWL_WALL_M = 0.034, 0.004
_CLOTH_HALF_M, _CLOTH_HEIGHT_M = 0.060, 0.003
_CLOTH_RGB, _STRIPE_RGB = (0.94, 0.52, 0.68), (0.97, 0.93, 0.93)


def _ring(points: list[tuple], radius_m: float, mass_kg: float) -> tuple[str, ...]:
    """Return the solid rods from each point to the next, and from the last to the first."""
    return tuple(
        f'<geom class="solid" type="capsule" size="{radius_m:g}" mass="{mass_kg:g}" '
        f'fromto="{numbers(here)} {numbers(there)}"/>'
        for here, there in zip(points, points[1:] + points[:1], strict=True)
    )


def _circle(radius_m: float, height_m: float, count: int = 12) -> list[tuple]:
    return [
        (radius_m * np.cos(a), radius_m * np.sin(a), height_m)
        for a in np.linspace(0.0, 2.0 * np.pi, count, endpoint=False)
    ]


def _disc(radius_m: float, half_m: float, mass_kg: float) -> str:
    return (
        f'<geom class="solid" type="cylinder" size="{radius_m:g} {half_m:g}" '
        f'pos="0 0 {half_m:g}" mass="{mass_kg:g}" friction="1.2 0.02 0.0001"/>'
    )


def _plate() -> Place:
    half = PLATE_FLOOR_M / 2
    floor = (
        f'<geom class="look" type="cylinder" size="{PLATE_RADIUS_M - 0.014:g} {half:g}" '
        f'pos="0 0 {half + 2e-4:g}" rgba="0.27 0.52 0.90 1" mass="0"/>'
    )
    mesh = meshes.plate(PLATE_RADIUS_M, PLATE_HEIGHT_M, _PLATE_RIM_M)
    return Place(
        name="plate",
        preposition="on",
        parts=(Part(mesh, (0.16, 0.40, 0.80)),),
        material="glaze",
        geoms=(
            floor,
            _disc(PLATE_RADIUS_M - 0.008, half, 0.25),
            *_ring(_circle(PLATE_RADIUS_M - 0.004, PLATE_HEIGHT_M - 0.003), 0.003, 0.002),
        ),
        radius_m=PLATE_RADIUS_M,
        floor_m=PLATE_FLOOR_M,
        rim_m=PLATE_HEIGHT_M,
        inside_m=PLATE_RADIUS_M - 0.015,
    )


def _bowl_wall() -> tuple[str, ...]:
    """Return flat boards around, leaning outwards, one behind the other's edge."""
    count, thick = 12, 0.004
    low, high = np.array([_BOWL_FOOT_M, 0.002]), np.array([_BOWL_RADIUS_M - 0.002, _BOWL_HEIGHT_M])
    slope = high - low
    length = float(np.linalg.norm(slope))
    along, outwards = slope / length, np.array([slope[1], -slope[0]]) / length
    middle = (low + high) / 2 + outwards * thick / 2
    width = _BOWL_RADIUS_M * np.tan(np.pi / count)
    boards = []
    for angle in np.linspace(0.0, 2.0 * np.pi, count, endpoint=False):
        c, s = np.cos(angle), np.sin(angle)
        place = (middle[0] * c, middle[0] * s, middle[1])
        # The board's x goes around, its y up along the slope, its z inwards.
        around, up = (-s, c, 0.0), (along[0] * c, along[0] * s, along[1])
        boards.append(
            f'<geom class="solid" type="box" mass="0.005" size="{numbers((width, length / 2))} '
            f'{thick / 2:g}" pos="{numbers(place)}" xyaxes="{numbers(around)} {numbers(up)}"/>'
        )
    return tuple(boards)


def _bowl() -> Place:
    mesh = meshes.bowl(_BOWL_RADIUS_M, _BOWL_FOOT_M, _BOWL_HEIGHT_M, _BOWL_WALL_M)
    floor = (
        f'<geom class="look" type="cylinder" size="{_BOWL_FOOT_M - 0.004:g} 0.001" '
        f'pos="0 0 {_BOWL_WALL_M:g}" rgba="0.55 0.80 0.77 1" mass="0"/>'
    )
    return Place(
        name="bowl",
        preposition="in",
        parts=(Part(mesh, (0.08, 0.55, 0.52)),),
        material="glaze",
        geoms=(floor, _disc(_BOWL_FOOT_M, _BOWL_WALL_M / 2, 0.2), *_bowl_wall()),
        radius_m=_BOWL_RADIUS_M,
        floor_m=_BOWL_WALL_M,
        rim_m=_BOWL_HEIGHT_M,
        inside_m=_BOWL_RADIUS_M - 0.012,
        # Long things lean on the wall.
        play_m=0.030,
    )


def _cloth() -> Place:
    half, height = _CLOTH_HALF_M, _CLOTH_HEIGHT_M
    stripes = tuple(
        Part(meshes.box((0.014, 2 * half, 1e-3), (x, 0.0, height)), _STRIPE_RGB)
        for x in (-0.040, 0.040)
    )
    solid = (
        f'<geom class="solid" type="box" size="{half:g} {half:g} {height / 2:g}" '
        f'pos="0 0 {height / 2:g}" mass="0.15" friction="1.2 0.02 0.0001"/>'
    )
    return Place(
        name="cloth",
        preposition="on",
        parts=(
            Part(meshes.box((2 * half, 2 * half, height), (0.0, 0.0, height / 2)), _CLOTH_RGB),
            *stripes,
        ),
        material="cloth",
        geoms=(solid,),
        # A flat square: its corners may come nearer to others than a round thing's edge.
        radius_m=1.25 * half,
        floor_m=height,
        rim_m=height,
        inside_m=half,
        is_square=True,
    )


def _spoon() -> Toy:
    handle = [(-0.060, 0.003), (-0.057, 0.0070), (-0.030, 0.0078), (0.010, 0.0070), (0.026, 0.006)]
    vertices, faces = meshes.revolved(ellipse(0.022, 0.0165), "x", 16)
    head = vertices * (1.0, 1.0, 0.45) + (0.042, 0.0, -0.0004)
    hollow = vertices * (0.8, 0.8, 0.30) + (0.042, 0.0, 0.0030)
    steel = (0.50, 0.53, 0.60)
    return Toy(
        name="spoon",
        parts=(
            Part(meshes.revolved(handle, "x", 12), steel),
            Part((head, faces), steel),
            Part((hollow, faces), (0.30, 0.32, 0.38)),
        ),
        colliders=(
            capsule(0.0075, (-0.052, 0, 0), (0.022, 0, 0)),
            'type="ellipsoid" size="0.022 0.0165 0.0074" pos="0.042 0 0"',
        ),
        rest_height_m=0.0075,
        radius_m=0.064,
        grasp_axis=(0.0, 1.0, 0.0),
        # As low as the fingers' tips may go.
        grasp_height_m=0.0225,
    )


PLATE, BOWL, CLOTH = _plate(), _bowl(), _cloth()
SPOON = _spoon()
