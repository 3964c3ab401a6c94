"""The toy food: seven kinds that everybody may train on, and four that are kept for tests."""

import numpy as np

from vla_ros.sim import meshes
from vla_ros.sim.things import GREEN, Part, Toy, ball, capsule, ellipse, stem


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
        colliders=(capsule(0.0145, (-0.036, 0, 0), (0.050, 0, 0)),),
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
            capsule(0.014, (-near[0], near[1], 0), tuple(near)),
            capsule(0.013, tuple(near), tuple(tip)),
            capsule(0.013, (-near[0], near[1], 0), (-tip[0], tip[1], 0)),
        ),
        rest_height_m=0.014,
        radius_m=0.055,
        grasp_axis=(0.0, 1.0, 0.0),
        grasp_height_m=0.024,
    )


def _pumpkin() -> Toy:
    body = meshes.revolved(ellipse(0.0165, 0.0205), "z", 21, lobes=7)
    # A ring of capsules cannot be had cheaply; a flat cylinder is gripped and slides the same.
    return Toy(
        name="pumpkin",
        parts=(Part(body, (0.86, 0.32, 0.03)), stem(0.012, 0.027, 0.0045)),
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
        colliders=(capsule(0.017, (-0.009, 0, 0), (0.009, 0, 0)),),
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
        colliders=(capsule(0.0155, (-0.024, 0, 0), (0.030, 0, 0)),),
        rest_height_m=0.0155,
        radius_m=0.05,
        grasp_axis=(0.0, 1.0, 0.0),
        grasp_height_m=0.024,
    )


FOOD: tuple[Toy, ...] = (
    _carrot(),
    _banana(),
    ball("apple", 0.0195, (0.80, 0.07, 0.08), (stem(0.017, 0.027, 0.0025, (0.3, 0.2, 0.1)),)),
    ball("orange", 0.0195, (1.00, 0.60, 0.10), (stem(0.018, 0.0205, 0.004),)),
    _pumpkin(),
    _lemon(),
    _eggplant(),
)


def _cucumber() -> Toy:
    body = [(-0.052, 0.004), (-0.049, 0.0095), (-0.040, 0.0140), (0.0, 0.0150), (0.040, 0.0140)]
    body += [(0.049, 0.0095), (0.052, 0.004)]
    tip = [(0.044, 0.0125), (0.050, 0.0100), (0.0535, 0.004)]
    return Toy(
        name="cucumber",
        parts=(
            Part(meshes.revolved(body, "x"), (0.12, 0.38, 0.13)),
            Part(meshes.revolved(tip, "x", 12), (0.62, 0.72, 0.35)),
        ),
        colliders=(capsule(0.0145, (-0.038, 0, 0), (0.038, 0, 0)),),
        rest_height_m=0.0145,
        radius_m=0.054,
        grasp_axis=(0.0, 1.0, 0.0),
        grasp_height_m=0.024,
    )


def _strawberry() -> Toy:
    body = [(-0.027, 0.003), (-0.024, 0.007), (-0.012, 0.0140), (0.002, 0.0180), (0.012, 0.0170)]
    body += [(0.018, 0.0100)]
    leaves = [(0.013, 0.0155), (0.019, 0.0120), (0.021, 0.0030), (0.028, 0.0020)]
    return Toy(
        name="strawberry",
        parts=(
            Part(meshes.revolved(body, "x"), (0.88, 0.08, 0.24)),
            Part(meshes.revolved(leaves, "x", 9, lobes=4), GREEN),
        ),
        colliders=(capsule(0.016, (-0.010, 0, 0), (0.006, 0, 0)),),
        rest_height_m=0.016,
        radius_m=0.028,
        grasp_axis=(0.0, 1.0, 0.0),
        grasp_height_m=0.024,
    )


def _mushroom() -> Toy:
    foot = [(-0.0175, 0.0110), (-0.010, 0.0095), (0.002, 0.0090)]
    cap = [(-0.002, 0.0110), (0.000, 0.0180), (0.006, 0.0185), (0.013, 0.0130), (0.0165, 0.003)]
    return Toy(
        name="mushroom",
        parts=(
            Part(meshes.revolved(foot, "z"), (0.93, 0.89, 0.80)),
            Part(meshes.revolved(cap, "z", 18), (0.55, 0.33, 0.18)),
        ),
        # Where the pads grip, all of it is as wide as the cap.
        colliders=('type="cylinder" size="0.0175 0.0165"',),
        rest_height_m=0.0175,
        radius_m=0.0185,
        grasp_axis=None,
        grasp_height_m=0.024,
    )


# Nothing is trained on these unless somebody asks for it.
NOVEL_FOOD: tuple[Toy, ...] = (
    _cucumber(),
    ball("plum", 0.0185, (0.45, 0.06, 0.30), (stem(0.016, 0.025, 0.002, (0.3, 0.2, 0.1)),)),
    _strawberry(),
    _mushroom(),
)
