"""Wooden blocks, to be stacked."""

import numpy as np

from vla_ros.sim import meshes
from vla_ros.sim.things import Colour, Part, Toy

BLOCK_M = 0.030


def _block(colour: str, rgb: Colour) -> Toy:
    half = BLOCK_M / 2
    return Toy(
        name=f"{colour} block",
        parts=(Part(meshes.box((BLOCK_M, BLOCK_M, BLOCK_M)), rgb),),
        colliders=(f'type="box" size="{half:g} {half:g} {half:g}"',),
        rest_height_m=half,
        radius_m=half * np.sqrt(2.0),
        grasp_axis=(0.0, 1.0, 0.0),
        grasp_height_m=0.024,
        grasp_period_rad=np.pi / 2,
    )


BLOCKS: tuple[Toy, ...] = (
    _block("green", (0.13, 0.60, 0.20)),
    _block("yellow", (0.93, 0.76, 0.05)),
)
