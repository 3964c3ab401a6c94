"""Surroundings drawn at random, for pictures that a backbone learns to see from.

The papers' backbones have seen a large part of the world before; one that has seen a single table
takes another cloth for another world. None of these looks is one that tests ask for: table cloths
are of other kinds than those tests' checks, stripes and speckles, and plain ones, like the boards
of the tests' rooms, are of other colours (`MIN_APART`). Cameras stay where they are.
"""

import numpy as np

from vla_ros.sim.looks import BACKGROUNDS, ENVIRONMENTS, STANDARD, Light, Look
from vla_ros.sim.things import Colour, numbers

# Share of looks that are the standard one, which everything else is recorded with.
_STANDARD_SHARE = 0.3
# From a board's colour to that of a test [0 to 1, Euclidean].
MIN_APART = 0.15
_ROOM_SHARE = 0.5
_KINDS = ("plain", "planks", "patches", "gradient", "tiles")
_TAKEN = np.array([look.boards[0] for look in (*BACKGROUNDS, *ENVIRONMENTS) if not look.texture])


def random_look(rng: np.random.Generator) -> Look:
    """Return the standard look, or one whose table, floor, walls and light are drawn."""
    if rng.random() < _STANDARD_SHARE:
        return STANDARD
    boards, texture, repeat = _table(rng)
    has_room = rng.random() < _ROOM_SHARE
    shelf = tuple(_colour(rng) for _ in range(rng.integers(0, 6))) if has_room else ()
    return Look(
        name="random",
        boards=boards,
        texture=texture,
        texture_repeat=repeat,
        floor=_colour(rng),
        walls=_colour(rng) if has_room else None,
        shelf=shelf,
        light=_light(rng),
    )


def _table(
    rng: np.random.Generator,
) -> tuple[tuple[Colour, ...], str, tuple[float, float]]:
    """Return boards, texture and its repeat."""
    kind = _KINDS[rng.integers(len(_KINDS))]
    one = _colour(rng)
    if kind == "plain":
        return (one,), "", (1.0, 1.0)
    if kind == "planks":
        shades = rng.uniform(0.9, 1.05, rng.integers(4, 16))
        return tuple(_triple(np.clip(shade * np.array(one), 0, 1)) for shade in shades), "", (1, 1)
    if kind == "patches":
        return tuple(_colour(rng) for _ in range(rng.integers(2, 5))), "", (1.0, 1.0)
    two = numbers(_colour(rng))
    repeat = _triple(rng.uniform(1, 8, 2))
    if kind == "gradient":
        texture = f'builtin="gradient" rgb1="{numbers(one)}" rgb2="{two}"'
        return STANDARD.boards, texture, (1.0, 1.0)
    texture = f'builtin="flat" rgb1="{numbers(one)}" rgb2="{numbers(one)}" '
    return STANDARD.boards, texture + f'mark="edge" markrgb="{two}"', (repeat[0], repeat[1])


def _colour(rng: np.random.Generator) -> Colour:
    while True:
        grey, hue = rng.uniform(0.1, 0.9), rng.uniform(-0.3, 0.3, 3)
        rgb = np.clip(grey + hue, 0.03, 0.97)
        if np.linalg.norm(_TAKEN - rgb, axis=1).min() > MIN_APART:
            return _triple(rgb)


def _light(rng: np.random.Generator) -> Light:
    bright, tint = rng.uniform(0.6, 1.15), rng.uniform(0.85, 1.15, 3)
    ambient, head, sun = (
        _triple(np.clip(bright * rng.uniform(0.8, 1.2) * tint * share, 0, 1))
        for share in (0.42, 0.22, 0.55)
    )
    across = rng.uniform(-0.7, 0.7, 2)
    return Light(ambient, head, sun, (float(across[0]), float(across[1]), -1.0))


def _triple(values: np.ndarray) -> tuple:
    return tuple(float(value) for value in values)
