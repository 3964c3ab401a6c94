"""What a thing on the table is: how it looks, the simple body that the physics sees, its grasp.

A thing stands upright or lies at rest in its own frame with z up; `rest_height_m` is the height
of that frame above the table then. What is grasped is at most 4 cm wide, because the simulated
gripper opens to 4.6 cm between its pads.
"""

from dataclasses import dataclass

import numpy as np

from vla_ros.sim import meshes

# Toys are hollow wood or plastic; 400 kg/m^3 was tried over grasps with many pad settings.
DENSITY_KG_M3 = 400.0

GREEN = (0.20, 0.55, 0.15)

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Part:
    """One visible mesh: its geometry in the thing's frame and its colour (r, g, b)."""

    mesh: meshes.Mesh
    rgb: Colour


@dataclass(frozen=True)
class Thing:
    """Something small that lies on the table.

    Attributes:
        name: the noun used in instructions.
        parts: visible meshes.
        colliders: MJCF attributes of each collision geom.
        rest_height_m: height of its frame above the table at rest.
        radius_m: radius of the circle around its footprint.
    """

    name: str
    parts: tuple[Part, ...]
    colliders: tuple[str, ...]
    rest_height_m: float
    radius_m: float


@dataclass(frozen=True)
class Toy(Thing):
    """A thing that can be taken hold of.

    Attributes:
        grasp_axis: direction in its frame along which the fingers close, horizontal; None when
            every direction is as good (round things).
        grasp_height_m: height of the tool point above the table when grasping.
        grasp_period_rad: turning by this much is the same grasp again.
    """

    grasp_axis: tuple[float, float, float] | None
    grasp_height_m: float
    grasp_period_rad: float = np.pi

    @property
    def half_width_m(self) -> float:
        """Half of what the fingers close on."""
        return self.radius_m if self.grasp_axis is None else self.rest_height_m


@dataclass(frozen=True)
class Place:
    """Something that toys are put on or into; its frame's origin is on the table.

    Attributes:
        name: the noun used in instructions.
        preposition: "on" or "in".
        parts: visible meshes.
        material: how they shine, of `scene.py`'s materials.
        geoms: further MJCF geoms, drawn and solid ones.
        radius_m: radius of the circle around its footprint.
        floor_m: height of what a toy in the middle rests on.
        rim_m: its height.
        inside_m: how far a toy's middle may be from its own middle.
        is_square: whether that holds along x and y each, rather than around.
        play_m: how much higher than on its floor a toy may come to rest, leaning on its wall.
    """

    name: str
    preposition: str
    parts: tuple[Part, ...]
    material: str
    geoms: tuple[str, ...]
    radius_m: float
    floor_m: float
    rim_m: float
    inside_m: float
    is_square: bool = False
    play_m: float = 0.015

    def has_inside(self, offset_m: np.ndarray) -> bool:
        """Return whether a point (2,) or (3,) [m] in the place's frame is over its inside."""
        x, y = abs(float(offset_m[0])), abs(float(offset_m[1]))
        return max(x, y) < self.inside_m if self.is_square else bool(np.hypot(x, y) < self.inside_m)


def numbers(values) -> str:
    """Return numbers as MJCF has them."""
    return " ".join(f"{float(v):.6g}" for v in np.ravel(values))


def ellipse(half_length: float, radius: float, rings: int = 11) -> np.ndarray:
    """Return the profile (rings, 2) of an ellipsoid, poles slightly open."""
    t = np.linspace(-np.pi / 2 + 0.05, np.pi / 2 - 0.05, rings)
    return np.stack([half_length * np.sin(t), radius * np.cos(t)], axis=1)


def capsule(radius: float, start: tuple, end: tuple) -> str:
    """Return the collision shape of a rod with round ends."""
    fromto = " ".join(f"{v:g}" for v in (*start, *end))
    return f'type="capsule" size="{radius:g}" fromto="{fromto}"'


def stem(bottom: float, top: float, radius: float, rgb: Colour = GREEN) -> Part:
    """Return an upright stem between two heights [m]."""
    profile = [(bottom, radius), (top - 0.001, radius), (top, 0.6 * radius)]
    return Part(meshes.revolved(profile, "z", 8), rgb)


def ball(name: str, radius: float, rgb: Colour, extra: tuple[Part, ...]) -> Toy:
    """Return a ball with further parts."""
    return Toy(
        name=name,
        parts=(Part(meshes.revolved(ellipse(radius, radius), "z"), rgb), *extra),
        colliders=(f'type="sphere" size="{radius:g}"',),
        rest_height_m=radius,
        radius_m=radius,
        grasp_axis=None,
        grasp_height_m=0.024,
    )
