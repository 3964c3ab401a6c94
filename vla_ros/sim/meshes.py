"""Triangle meshes of round things, computed: bodies of revolution and bent tubes.

A mesh is (vertices (N, 3) [m], faces (M, 3) int), wound outwards. They are only looked at; the
physics uses spheres, capsules and cylinders instead.
"""

import numpy as np
from numpy.typing import ArrayLike

Mesh = tuple[np.ndarray, np.ndarray]


def tube(centres: np.ndarray, radii: np.ndarray, sides: int = 12, lobes: int = 0) -> Mesh:
    """Return a tube around a curve in the x-z plane, closed at both ends.

    Args:
        centres: points of the curve (R, 3) [m], y = 0, at least 2, no two neighbours equal.
        radii: the tube's radius (R,) [m] at each of them; small radii at the ends round it off.
        sides: corners of one ring.
        lobes: number of grooves along the tube (a pumpkin's), 0 for none.
    """
    tangents = np.gradient(np.asarray(centres, dtype=np.float64), axis=0)
    tangents /= np.linalg.norm(tangents, axis=1, keepdims=True)
    across = np.array([0.0, 1.0, 0.0])
    angles = np.linspace(0.0, 2.0 * np.pi, sides, endpoint=False)
    depth = 1.0 - (0.10 * (1.0 + np.cos(lobes * angles)) / 2.0 if lobes else 0.0) * np.ones(sides)
    rings = []
    for centre, tangent, radius in zip(centres, tangents, radii, strict=True):
        up = np.cross(tangent, across)
        ring = np.outer(np.cos(angles) * depth, across) + np.outer(np.sin(angles) * depth, up)
        rings.append(centre + radius * ring)
    num_rings = len(rings)
    vertices = np.vstack([*rings, centres[:1], centres[-1:]])
    first_pole, last_pole = num_rings * sides, num_rings * sides + 1
    faces = []
    for corner in range(sides):
        beside = (corner + 1) % sides
        for ring in range(num_rings - 1):
            a, b = ring * sides + corner, ring * sides + beside
            c, d = a + sides, b + sides
            faces += [(a, b, d), (a, d, c)]
        faces.append((first_pole, beside, corner))
        last = (num_rings - 1) * sides
        faces.append((last_pole, last + corner, last + beside))
    return vertices, _outwards(vertices, np.array(faces))


def revolved(profile: ArrayLike, axis: str, sides: int = 14, lobes: int = 0) -> Mesh:
    """Return the body that the profile (R, 2) of (along, radius) [m] makes around `axis`.

    `axis` is "x" or "z"; `along` grows in its direction.
    """
    along, radii = np.asarray(profile, dtype=np.float64).T
    centres = np.zeros((len(along), 3))
    centres[:, "xyz".index(axis)] = along
    return tube(centres, radii, sides, lobes)


def plate(radius_m: float, height_m: float, rim_width_m: float, sides: int = 28) -> Mesh:
    """Return a plate lying on z = 0: a flat floor of half the height, a rim that rises outwards.

    Its profile runs back inwards, so it is built ring by ring and not as a tube.
    """
    floor = 0.5 * height_m
    profile = [
        (0.75 * radius_m, 0.0),
        (radius_m, 0.8 * height_m),
        (radius_m - 0.2 * rim_width_m, height_m),
        (radius_m - rim_width_m, floor),
    ]
    return _turned(profile, floor, sides)


def box(size_m: tuple[float, float, float], middle_m=(0.0, 0.0, 0.0)) -> Mesh:
    """Return a box of these lengths along x, y and z [m] around `middle_m`."""
    corners = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
    vertices = np.asarray(middle_m) + corners * np.asarray(size_m) / 2
    sides = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    faces = [(s[0], s[k], s[k + 1]) for s in sides for k in (1, 2)]
    return vertices, _outwards(vertices, np.array(faces))


def bowl(radius_m: float, foot_m: float, height_m: float, wall_m: float, sides: int = 28) -> Mesh:
    """Return a bowl standing on z = 0: a flat foot, a wall that leans outwards, hollow within.

    Args:
        radius_m: of its rim.
        foot_m: radius of its foot.
        height_m: of its rim.
        wall_m: thickness of wall and floor.
        sides: corners of one ring.
    """
    bulge = foot_m + 0.75 * (radius_m - foot_m)
    profile = [
        (foot_m, 0.0),
        (bulge, 0.45 * height_m),
        (radius_m, height_m),
        (radius_m - wall_m, height_m),
        (bulge - wall_m, 0.45 * height_m + wall_m),
        (foot_m - wall_m, wall_m),
    ]
    return _turned(profile, wall_m, sides)


def _turned(profile: list[tuple[float, float]], floor_m: float, sides: int) -> Mesh:
    """Return a dish whose profile of (radius, height) runs out, up and back in to its floor."""
    angles = np.linspace(0.0, 2.0 * np.pi, sides, endpoint=False)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    rings = [np.column_stack([circle * r, np.full(sides, z)]) for r, z in profile]
    vertices = np.vstack([*rings, [[0.0, 0.0, 0.0]], [[0.0, 0.0, floor_m]]])
    bottom, top = len(profile) * sides, len(profile) * sides + 1
    faces = []
    for corner in range(sides):
        beside = (corner + 1) % sides
        for ring in range(len(profile) - 1):
            a, b = ring * sides + corner, ring * sides + beside
            faces += [(a, b, b + sides), (a, b + sides, a + sides)]
        last = (len(profile) - 1) * sides
        faces += [(bottom, beside, corner), (top, last + corner, last + beside)]
    return vertices, np.array(faces)


def _outwards(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Return the faces, all turned over if the mesh encloses a negative volume."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    volume = np.einsum("ij,ij->", a, np.cross(b, c))
    return faces if volume > 0 else faces[:, ::-1]
