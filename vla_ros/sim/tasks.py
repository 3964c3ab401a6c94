"""What the arm is told to do, and whether it has done it.

Left and right are the arm's own: left is +y of base_link. (The front camera faces the arm, so the
arm's left is on the right of its picture.)
"""

import re
from dataclasses import dataclass

import numpy as np

from vla_ros.core.errors import SceneError
from vla_ros.sim import food
from vla_ros.sim.world import SimWorld

# Food lies on the plate when its middle is inside the rim and no lower than the plate's floor.
_ON_PLATE_M = food.PLATE_RADIUS_M - 0.015
# Lifted: the object's frame is this much above where it rests [m].
_LIFTED_M = 0.03
# Let go: the tool point is this far from the object [m], or the gripper is this open.
_RELEASED_M, _RELEASED_OPENING = 0.06, 0.7
# A push counts from this travel on [m]; half of it is partial. It may go half as far sideways.
PUSH_DISTANCE_M = 0.06

_PUT = re.compile(
    r"(?:put|place|move|set) the (\w+) (?:on|onto|in|on top of) the (?:blue )?plate", re.ASCII
)
_PUSH = re.compile(r"(?:push|slide|move|nudge) the (\w+) (?:to the )?(left|right)", re.ASCII)


@dataclass(frozen=True)
class TaskState:
    """How far a task is: `partial` means lifted, or pushed half way; `success` is the end state."""

    partial: bool
    success: bool


@dataclass(frozen=True)
class Task:
    """One instruction about one object.

    Attributes:
        verb: "put" (on the plate) or "push".
        target: the object's name.
        direction: "left" or "right" for a push, "" otherwise.
    """

    verb: str
    target: str
    direction: str = ""

    @property
    def instruction(self) -> str:
        """The task in plain words, as `parse_task` understands them."""
        if self.verb == "put":
            return f"put the {self.target} on the plate"
        return f"push the {self.target} to the {self.direction}"

    @property
    def objects(self) -> tuple[str, ...]:
        """The objects that must be in play."""
        return (self.target, food.PLATE) if self.verb == "put" else (self.target,)

    def evaluate(self, world: SimWorld) -> TaskState:
        """Return how far the task is in the world's present state.

        Raises:
            SceneError: an object of the task is not in play.
        """
        for name in self.objects:
            if name not in world.layout:
                raise SceneError(
                    f"task {self.instruction!r} needs the {name}, which is not in play; "
                    f"the scene has {', '.join(world.objects)}"
                )
        return self._evaluate_put(world) if self.verb == "put" else self._evaluate_push(world)

    def _evaluate_put(self, world: SimWorld) -> TaskState:
        position = world.object_pose(self.target)[:3, 3]
        rest_height = food.FOOD_BY_NAME[self.target].rest_height_m
        plate = world.object_pose(food.PLATE)
        offset = position - plate[:3, 3]
        distance = float(np.linalg.norm(position - world.tool_pose()[:3, 3]))
        let_go = distance > _RELEASED_M or world.opening() > _RELEASED_OPENING
        # Upright plate, food on its floor and not carried above it.
        height = offset[2] - food.PLATE_FLOOR_M
        on_plate = (
            np.hypot(offset[0], offset[1]) < _ON_PLATE_M
            and 0.5 * rest_height < height < rest_height + 0.015
            and plate[2, 2] > 0.95
        )
        success = bool(on_plate and let_go)
        return TaskState(success or bool(position[2] > rest_height + _LIFTED_M), success)

    def _evaluate_push(self, world: SimWorld) -> TaskState:
        position = world.object_pose(self.target)[:3, 3]
        start = world.layout[self.target]
        sign = 1.0 if self.direction == "left" else -1.0
        along = sign * (position[1] - start[1])
        astray = abs(position[0] - start[0]) > PUSH_DISTANCE_M / 2 + 0.5 * max(along, 0.0)
        lifted = position[2] > 2.0 * _LIFTED_M
        valid = not (astray or lifted)
        return TaskState(
            bool(valid and along > PUSH_DISTANCE_M / 2), bool(valid and along > PUSH_DISTANCE_M)
        )


def parse_task(text: str) -> Task | None:
    """Return the task that an instruction in plain words names, None if it is not one of ours.

    Case, final punctuation and repeated spaces do not matter.
    """
    words = " ".join(text.lower().split()).rstrip(".! ")
    match = _PUT.fullmatch(words)
    if match and match[1] in food.FOOD_BY_NAME:
        return Task("put", match[1])
    match = _PUSH.fullmatch(words)
    if match and match[1] in food.FOOD_BY_NAME:
        return Task("push", match[1], match[2])
    return None
