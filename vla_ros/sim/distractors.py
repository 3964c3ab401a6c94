"""Things that nobody is asked to touch and nothing is trained on; they are there to be seen.

None is higher than the gripper's bar above a grasp, so that a hand may reach over them.
"""

import numpy as np

from vla_ros.sim import meshes
from vla_ros.sim.things import Part, Thing, ellipse

_BLACK, _WHITE = (0.08, 0.08, 0.09), (0.95, 0.95, 0.93)


def _mug() -> Thing:
    outside = [(-0.026, 0.024), (-0.022, 0.027), (0.024, 0.028), (0.026, 0.026)]
    inside = [(0.020, 0.0235), (0.0265, 0.0240)]
    t = np.linspace(-1.35, 1.35, 9)
    bend = np.stack([0.024 + 0.016 * np.cos(t), 0 * t, 0.016 * np.sin(t)], axis=1)
    return Thing(
        name="mug",
        parts=(
            Part(meshes.revolved(outside, "z", 18), (0.80, 0.20, 0.55)),
            Part(meshes.revolved(inside, "z", 14), (0.35, 0.12, 0.25)),
            Part(meshes.tube(bend, np.full(9, 0.0042), 8), (0.80, 0.20, 0.55)),
        ),
        colliders=('type="cylinder" size="0.0275 0.026"',),
        rest_height_m=0.026,
        radius_m=0.044,
    )


def _can() -> Thing:
    body = [(-0.046, 0.020), (-0.043, 0.0235), (0.043, 0.0235), (0.046, 0.020)]
    label = [(-0.026, 0.0240), (0.026, 0.0240)]
    return Thing(
        name="can",
        parts=(
            Part(meshes.revolved(body, "x", 18), (0.74, 0.75, 0.77)),
            Part(meshes.revolved(label, "x", 18), (0.10, 0.25, 0.55)),
        ),
        # A can would roll away; its flat bottom does not.
        colliders=('type="box" size="0.046 0.017 0.0235"',),
        rest_height_m=0.0235,
        radius_m=0.051,
    )


def _duck() -> Thing:
    vertices, faces = meshes.revolved(ellipse(0.026, 0.019), "x", 16)
    head, _ = meshes.revolved(ellipse(0.0125, 0.0125), "x", 16)
    bill, bill_faces = meshes.revolved([(0.0, 0.006), (0.012, 0.003)], "x", 10)
    yellow = (1.0, 0.82, 0.0)
    return Thing(
        name="duck",
        parts=(
            Part((vertices, faces), yellow),
            Part((head + (0.014, 0.0, 0.023), faces), yellow),
            Part((bill * (1, 1, 0.5) + (0.024, 0.0, 0.022), bill_faces), (0.95, 0.35, 0.02)),
        ),
        colliders=(
            'type="cylinder" size="0.018 0.018"',
            'type="sphere" size="0.012" pos="0.012 0 0.023"',
        ),
        rest_height_m=0.018,
        radius_m=0.036,
    )


def _car() -> Thing:
    wheels = []
    for x in (-0.022, 0.022):
        for y in (-0.019, 0.019):
            vertices, faces = meshes.revolved([(-0.004, 0.010), (0.004, 0.010)], "x", 12)
            # The wheel's axle lies along y.
            turned = vertices[:, [1, 0, 2]] + (x, y, -0.006)
            wheels.append(Part((turned, faces[:, ::-1]), _BLACK))
    return Thing(
        name="toy car",
        parts=(
            Part(meshes.box((0.076, 0.036, 0.016), (0.0, 0.0, 0.004)), (0.10, 0.18, 0.70)),
            Part(meshes.box((0.038, 0.032, 0.014), (-0.006, 0.0, 0.019)), _WHITE),
            *wheels,
        ),
        colliders=(
            'type="box" size="0.038 0.020 0.014" pos="0 0 -0.002"',
            'type="box" size="0.019 0.016 0.007" pos="-0.006 0 0.019"',
        ),
        rest_height_m=0.016,
        radius_m=0.044,
    )


def _die() -> Thing:
    half, radius = 0.017, 0.0042
    spots = [(0.0, 0.0)] + [(x, y) for x in (-0.008, 0.008) for y in (-0.008, 0.008)]
    flat = [(half - 0.0005, radius), (half + 0.0004, radius)]
    vertices, faces = meshes.revolved(flat, "z", 10)
    top = [Part((vertices + (x, y, 0.0), faces), _BLACK) for x, y in spots]
    sides, side_faces = meshes.revolved(flat, "x", 10)
    front = [Part((sides + (0.0, y, y), side_faces), _BLACK) for y in (-0.008, 0.008)]
    return Thing(
        name="die",
        parts=(Part(meshes.box((2 * half,) * 3), _WHITE), *top, *front),
        colliders=(f'type="box" size="{half:g} {half:g} {half:g}"',),
        rest_height_m=half,
        radius_m=0.0245,
    )


DISTRACTORS: tuple[Thing, ...] = (_mug(), _can(), _duck(), _car(), _die())
