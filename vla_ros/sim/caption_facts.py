"""What is true of a scene: places, relations and the gripper's state, of qpos and what is seen."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from vla_ros.core import arm, kinematics
from vla_ros.core.errors import SceneError
from vla_ros.sim import objects, scene
from vla_ros.sim.caption_scenes import inside_grasp
from vla_ros.sim.render import intrinsics
from vla_ros.sim.tableware import PLATE
from vla_ros.sim.world import pose_from_qpos

# Seen: this share of what shows without the arm, and this share of all pixels.
_SEEN_SHARE, _SEEN_AREA = 0.35, 6e-4
# Two things are left and right of each other, or before and behind, from this distance on [m]; a
# question about less would have an arguable answer.
RELATION_M = 0.03

Side = Literal["left of", "right of", "in front of", "behind"]


@dataclass(frozen=True)
class Thing:
    """One object in play.

    Attributes:
        name: in `objects.OBJECT_NAMES`.
        position_m: origin of its frame in base_link (3,).
        uv: where that is in the picture, (0, 0) its upper left corner and (1, 1) the lower right.
        depth_m: distance from the camera along its axis.
        is_seen: whether enough of it shows, so that a question about it can be answered.
    """

    name: str
    position_m: tuple[float, float, float]
    uv: tuple[float, float]
    depth_m: float
    is_seen: bool


@dataclass(frozen=True)
class Facts:
    """What a picture's questions are about.

    Attributes:
        things: the objects in play, in the order of `objects.OBJECT_NAMES`.
        tool: the tool point between the finger tips, as a thing; seen when inside the picture.
        opening: of the gripper, 0 to 1.
        held: name of the toy in the fingers, "" for none.
        on_plate: names of the toys on the plate.
        known: names of all that may be asked about, whether or not it is there.
    """

    things: tuple[Thing, ...]
    tool: Thing
    opening: float
    held: str
    on_plate: tuple[str, ...]
    known: tuple[str, ...] = objects.KNOWN_NAMES

    @property
    def seen(self) -> tuple[Thing, ...]:
        """The things that show."""
        return tuple(thing for thing in self.things if thing.is_seen)


def project(camera: str, point_m: np.ndarray) -> tuple[float, float, float]:
    """Return (u, v, depth [m]) of a point in base_link, u and v as in `Thing.uv`, aspect 4:3.

    Raises:
        SceneError: the camera moves with the arm, or there is no such camera.
    """
    spec = scene.CAMERAS.get(camera)
    if spec is None or spec.body:
        raise SceneError(f"captions need a camera that stands still, not {camera!r}; use front")
    x, y = np.array(spec.x_axis), np.array(spec.y_axis)
    offset = np.asarray(point_m) - spec.position_m
    depth = float(offset @ -np.cross(x, y))
    width, height = 640, 480
    column, row, _ = intrinsics(camera, width, height) @ (
        offset @ x / depth,
        -(offset @ y) / depth,
        1.0,
    )
    # Pixel centres have integer coordinates, so the picture begins half a pixel before 0.
    return float((column + 0.5) / width), float((row + 0.5) / height), depth


def facts_of(
    qpos: np.ndarray,
    shown: np.ndarray,
    without_arm: np.ndarray,
    camera: str = "front",
    known: tuple[str, ...] = objects.KNOWN_NAMES,
) -> Facts:
    """Return the facts of a scene.

    Args:
        qpos: of the scene.
        shown: (H, W), `SceneRenderer.objects_seen`.
        without_arm: the same with `with_arm=False`.
        camera: that these are of.
        known: as in `Facts`.
    """
    things, poses, numbers = [], {}, scene.qpos_names()
    for index, name in enumerate(objects.OBJECT_NAMES):
        start = numbers.index(f"{name}.x")
        if scene.is_parked(qpos[start]):
            continue
        poses[name] = pose_from_qpos(qpos, start)
        pixels, unhidden = (shown == index).sum(), (without_arm == index).sum()
        is_seen = pixels >= max(_SEEN_SHARE * unhidden, _SEEN_AREA * shown.size)
        things.append(_thing(name, poses[name][:3, 3], camera, bool(is_seen)))
    tool_pose = kinematics.forward(qpos[:6])
    tool = _thing("gripper", tool_pose[:3, 3], camera, True)
    held = [
        toy.name
        for toy in objects.TOYS.values()
        if toy.name in poses and inside_grasp(tool_pose, qpos[6], toy, poses[toy.name])
    ]
    return Facts(
        things=tuple(things),
        tool=tool,
        opening=min(max(arm.opening_from_finger(qpos[6]), 0.0), 1.0),
        held=held[0] if held else "",
        on_plate=tuple(name for name in poses if _is_on_plate(name, poses)),
        known=known,
    )


def _thing(name: str, position_m: np.ndarray, camera: str, is_seen: bool) -> Thing:
    u, v, depth = project(camera, position_m)
    x, y, z = (float(value) for value in position_m)
    inside = 0.0 <= u < 1.0 and 0.0 <= v < 1.0
    return Thing(name, (x, y, z), (u, v), depth, is_seen and inside)


def _is_on_plate(name: str, poses: dict[str, np.ndarray]) -> bool:
    if name not in objects.TOYS or PLATE.name not in poses:
        return False
    offset = poses[name][:3, 3] - poses[PLATE.name][:3, 3]
    height = offset[2] - PLATE.floor_m - objects.rest_height_m(name)
    return PLATE.has_inside(offset) and bool(abs(height) < 0.01)


def relation(of: Thing, to: Thing, side: Side) -> bool | None:
    """Return whether `of` is on that side of `to`, as the arm sees it; None where it is arguable.

    The arm's left is +y of base_link, as in `tasks`; behind is farther away from its base.
    """
    axis, sign = {
        "left of": (1, 1.0),
        "right of": (1, -1.0),
        "behind": (0, 1.0),
        "in front of": (0, -1.0),
    }[side]
    distance = sign * (of.position_m[axis] - to.position_m[axis])
    return None if abs(distance) < RELATION_M else distance > 0
