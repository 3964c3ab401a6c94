"""How the surroundings look: table, floor, walls, light, and where the front camera stands.

STANDARD is what every recording is made with. All others are for tests: nothing is trained on
them unless somebody asks for it. A look touches no physics, and no coordinate of the model.
"""

from dataclasses import dataclass, replace

import numpy as np

from vla_ros.sim.things import Colour, numbers

# The drawn table top; the physics has an endless one.
TABLE_LOW_M, TABLE_HIGH_M = (-0.26, -0.48), (0.60, 0.48)
_PLANK_SHADES = (1.0, 0.965, 1.01, 0.98, 0.955, 0.99, 0.97, 1.005)
# A table cloth lies this far above the boards [m]: less than the picture's depth tells from 0.
_CLOTH_M = 2e-4
# Where walls stand, and how high they are [m].
_WALL_X_M, _WALL_Y_M, _WALL_TOP_M, _FLOOR_M = -1.6, 1.9, 2.2, -0.5

_EYE_M, _TARGET_M = np.array((0.88, 0.17, 0.60)), np.array((0.17, -0.01, 0.115))


def _planks(rgb: Colour) -> tuple[Colour, ...]:
    """Return boards of slightly different shades.

    They cost next to nothing to draw; a texture takes a third of a 640x480 picture's time.
    """
    return tuple(tuple(shade * np.array(rgb)) for shade in _PLANK_SHADES)


@dataclass(frozen=True)
class Light:
    """What shines: (r, g, b) from everywhere, from the camera, and from the sun's direction."""

    ambient: Colour = (0.42, 0.42, 0.42)
    headlight: Colour = (0.22, 0.22, 0.22)
    sun: Colour = (0.55, 0.55, 0.52)
    sun_direction: tuple[float, float, float] = (-0.35, -0.45, -1.0)


@dataclass(frozen=True)
class Look:
    """One look of the surroundings.

    Attributes:
        name: for tables and files.
        boards: colours of the table's boards, from the arm's right to its left.
        texture: MJCF attributes of a table cloth's texture, "" for none.
        texture_repeat: how often it is on the table, along x and y.
        floor: the floor's colour.
        walls: colour of the walls, None for none.
        shelf: colours of what stands at the wall.
        light: what shines.
        eye_m: where the front camera is in base_link.
        target_m: what its optical axis passes through.
    """

    name: str = "standard"
    boards: tuple[Colour, ...] = _planks((0.87, 0.81, 0.72))
    texture: str = ""
    texture_repeat: tuple[float, float] = (1.0, 1.0)
    floor: Colour = (0.36, 0.37, 0.40)
    walls: Colour | None = None
    shelf: tuple[Colour, ...] = ()
    light: Light = Light()
    eye_m: tuple[float, float, float] = tuple(_EYE_M.tolist())
    target_m: tuple[float, float, float] = tuple(_TARGET_M.tolist())

    @property
    def assets(self) -> str:
        """MJCF of its materials and textures."""
        floor = f'<material name="floor" rgba="{numbers(self.floor)} 1" specular="0"/>'
        if not self.texture:
            return floor
        return (
            f'{floor}<texture name="cloth" type="2d" width="128" height="128" {self.texture}/>'
            f'<material name="table_cloth" texture="cloth" specular="0" '
            f'texrepeat="{numbers(self.texture_repeat)}"/>'
        )

    @property
    def headlight(self) -> str:
        """MJCF of the light that is not a body's."""
        return (
            f'<headlight ambient="{numbers(self.light.ambient)}" '
            f'diffuse="{numbers(self.light.headlight)}" specular="0 0 0"/>'
        )

    @property
    def sun(self) -> str:
        """MJCF of the light from above."""
        return (
            f'<light directional="true" pos="0.5 0.6 1.5" '
            f'dir="{numbers(self.light.sun_direction)}" diffuse="{numbers(self.light.sun)}" '
            'specular="0.3 0.3 0.3" castshadow="false"/>'
        )

    @property
    def geoms(self) -> str:
        """MJCF of table top, floor and walls, all only looked at."""
        edges = np.linspace(TABLE_LOW_M[1], TABLE_HIGH_M[1], len(self.boards) + 1)
        half_x = (TABLE_HIGH_M[0] - TABLE_LOW_M[0]) / 2
        middle_x = (TABLE_HIGH_M[0] + TABLE_LOW_M[0]) / 2
        drawn = [
            _box((half_x, (high - low) / 2, 0.02), (middle_x, (high + low) / 2, -0.02), rgb)
            for low, high, rgb in zip(edges[:-1], edges[1:], self.boards, strict=True)
        ]
        if self.texture:
            half_y = (TABLE_HIGH_M[1] - TABLE_LOW_M[1]) / 2
            drawn.append(
                f'<geom class="look" type="plane" size="{numbers((half_x, half_y))} 1" '
                f'pos="{middle_x:g} 0 {_CLOTH_M:g}" material="table_cloth"/>'
            )
        drawn.append(
            f'<geom class="look" type="box" size="4 6 0.01" pos="-3.6 0 {_FLOOR_M:g}" '
            'material="floor"/>'
        )
        return "".join((*drawn, *self._room()))

    def _room(self) -> list[str]:
        if self.walls is None:
            return []
        half = (_WALL_TOP_M - _FLOOR_M) / 2
        up = (_WALL_TOP_M + _FLOOR_M) / 2
        shade = tuple(0.85 * np.array(self.walls))
        room = [_box((0.01, 4.0, half), (_WALL_X_M, 0.0, up), self.walls)]
        room += [_box((4.0, 0.01, half), (0.0, side * _WALL_Y_M, up), shade) for side in (-1, 1)]
        for k, rgb in enumerate(self.shelf):
            y = -1.0 + 2.0 * k / max(len(self.shelf) - 1, 1)
            high = 0.25 + 0.17 * (k % 3)
            room.append(
                _box((0.12, 0.20, high), (_WALL_X_M + 0.15, y, _FLOOR_M + high), rgb),
            )
        return room


def _box(half_m: tuple, at_m: tuple, rgb: Colour) -> str:
    return (
        f'<geom class="look" type="box" size="{numbers(half_m)}" pos="{numbers(at_m)}" '
        f'rgba="{numbers(rgb)} 1"/>'
    )


STANDARD = Look()


def _view(name: str, around_deg: float, up_deg: float, nearer: float = 1.0) -> Look:
    """Return a view of the same point, from elsewhere on a sphere around it."""
    offset = _EYE_M - _TARGET_M
    distance = np.linalg.norm(offset) * nearer
    around = np.arctan2(offset[1], offset[0]) + np.deg2rad(around_deg)
    up = np.arcsin(offset[2] / np.linalg.norm(offset)) + np.deg2rad(up_deg)
    eye = _TARGET_M + distance * np.array(
        (np.cos(up) * np.cos(around), np.cos(up) * np.sin(around), np.sin(up))
    )
    return replace(STANDARD, name=name, eye_m=tuple(eye.tolist()))


# From 0.88 m away 10 degrees are 15 cm.
VIEWPOINTS = (
    _view("10 degrees to the left", 10.0, 0.0),
    _view("10 degrees to the right", -10.0, 0.0),
    _view("8 degrees higher", 3.0, 8.0),
    _view("5 degrees lower and 6 % nearer", -4.0, -5.0, 0.94),
)
BACKGROUNDS = (
    replace(STANDARD, name="green cloth", boards=((0.14, 0.33, 0.24),)),
    replace(
        STANDARD,
        name="checked cloth",
        texture='builtin="checker" rgb1="0.90 0.90 0.92" rgb2="0.20 0.24 0.42"',
        texture_repeat=(8.0, 9.0),
    ),
    replace(
        STANDARD,
        name="striped cloth",
        boards=((0.44, 0.34, 0.50), (0.78, 0.75, 0.70)) * 7,
    ),
    replace(
        STANDARD,
        name="speckled cloth",
        texture=(
            'builtin="flat" rgb1="0.42 0.30 0.24" rgb2="0.42 0.30 0.24" '
            'mark="random" markrgb="0.80 0.74 0.62" random="0.04"'
        ),
    ),
)
LIGHTINGS = (
    replace(
        STANDARD,
        name="dim",
        light=Light((0.22, 0.22, 0.22), (0.12, 0.12, 0.12), (0.30, 0.30, 0.29)),
    ),
    replace(
        STANDARD,
        name="bright",
        light=Light((0.47, 0.47, 0.47), (0.25, 0.25, 0.25), (0.62, 0.62, 0.59)),
    ),
    replace(
        STANDARD,
        name="warm lamp from the right",
        light=Light((0.32, 0.27, 0.22), (0.10, 0.09, 0.08), (0.90, 0.72, 0.45), (0.2, 1.0, -0.6)),
    ),
    replace(
        STANDARD,
        name="cold window behind the arm",
        light=Light((0.28, 0.33, 0.40), (0.10, 0.11, 0.13), (0.50, 0.62, 0.85), (1.0, -0.2, -0.6)),
    ),
)
ENVIRONMENTS = (
    replace(
        STANDARD,
        name="kitchen",
        boards=_planks((0.42, 0.26, 0.15)),
        floor=(0.72, 0.70, 0.66),
        walls=(0.80, 0.77, 0.60),
        shelf=((0.85, 0.85, 0.83), (0.55, 0.20, 0.16), (0.85, 0.85, 0.83), (0.25, 0.40, 0.30)),
        light=Light(sun=(0.60, 0.54, 0.42), sun_direction=(-0.3, 0.6, -1.0)),
    ),
    replace(
        STANDARD,
        name="laboratory",
        boards=_planks((0.76, 0.78, 0.80)),
        floor=(0.16, 0.26, 0.40),
        walls=(0.52, 0.60, 0.66),
        shelf=((0.20, 0.22, 0.25), (0.75, 0.60, 0.20), (0.20, 0.22, 0.25)),
        light=Light((0.46, 0.47, 0.50), (0.24, 0.24, 0.26), (0.48, 0.52, 0.58), (0.3, -0.5, -1.0)),
    ),
)
