"""What the arm is told to do, and whether it has done it.

Left and right are the arm's own: left is +y of base_link. (The front camera faces the arm, so the
arm's left is on the right of its picture.)
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from vla_ros.sim import objects, wordings
from vla_ros.sim.world import SimWorld

# Lifted: the toy's frame is this much above where it rests [m].
_LIFTED_M = 0.03
# Let go: the tool point is this far from the toy [m], or the gripper is this open.
_RELEASED_M, _RELEASED_OPENING = 0.06, 0.7
# A push counts from this travel on [m]; it may go half as far sideways.
PUSH_DISTANCE_M = 0.06
# A toy that was moved this far was touched, even if nobody looked just then [m].
_TOUCHED_M = 0.01
# A block is on another when its middle is within this share of the other's half width, and as high
# above it as a block is, give or take this [m].
_STACKED_SHARE, _STACKED_M = 0.8, 0.006
_UPRIGHT = 0.95


@dataclass(frozen=True)
class TaskState:
    """How far a task is, as the papers count it.

    Attributes:
        partial: the toy is grasped (held by both fingers, or lifted); of a push, it is or was
            touched. What was once grasped stays so only while it lasts: keep the best of a
            roll-out.
        success: the end state is reached.
    """

    partial: bool
    success: bool


@dataclass(frozen=True)
class Task:
    """One instruction about one toy.

    Attributes:
        verb: "put" (on or in a place), "push" or "stack" (on another block).
        target: the toy's name.
        direction: "left" or "right" for a push, "" otherwise.
        place: where it is put, in `objects.PLACES`, or the other block; of no meaning for a push.
    """

    verb: str
    target: str
    direction: str = ""
    place: str = "plate"

    @property
    def instruction(self) -> str:
        """The task in the words of training, as `parse_task` understands them."""
        return _said(_TEMPLATES[self.verb][0], self)

    @property
    def paraphrases(self) -> tuple[str, ...]:
        """The same task in other words, none of which is trained on; always in the same order."""
        templates = _TEMPLATES[self.verb][1:]
        leads, endings = wordings.LEADS, wordings.ENDINGS
        plain = tuple(_said(template, self) for template in templates)
        return (
            *plain,
            *(f"{lead} {plain[k % len(plain)]}" for k, lead in enumerate(leads)),
            *(f"{self.instruction}, {ending}" for ending in endings),
        )

    @property
    def objects(self) -> tuple[str, ...]:
        """The objects that must be in play."""
        return (self.target,) if self.verb == "push" else (self.target, self.place)

    def evaluate(self, world: SimWorld) -> TaskState:
        """Return how far the task is in the world's present state.

        Raises:
            SceneError: an object of the task is not in play.
        """
        world.check_in_play(self.objects, f"task {self.instruction!r}")
        if self.verb == "push":
            return self._evaluate_push(world)
        done = self._is_put(world) if self.verb == "put" else self._is_stacked(world)
        rest_m = objects.rest_height_m(self.target)
        lifted = world.object_pose(self.target)[2, 3] > rest_m + _LIFTED_M
        success = bool(done and self._is_let_go(world))
        return TaskState(success or bool(lifted) or world.is_held(self.target), success)

    def _is_let_go(self, world: SimWorld) -> bool:
        offset = world.object_pose(self.target)[:3, 3] - world.tool_pose()[:3, 3]
        return bool(np.linalg.norm(offset) > _RELEASED_M or world.opening() > _RELEASED_OPENING)

    def _is_put(self, world: SimWorld) -> bool:
        """Return whether the toy is over the place's inside and no higher than it can lie there."""
        place = objects.PLACES[self.place]
        rest_m = objects.rest_height_m(self.target)
        T_base_place = world.object_pose(self.place)
        offset = world.object_pose(self.target)[:3, 3] - T_base_place[:3, 3]
        # Upright place, toy on its floor and not carried above it.
        height = offset[2] - place.floor_m
        return bool(
            place.has_inside(T_base_place[:3, :3].T @ offset)
            and 0.5 * rest_m < height < rest_m + place.play_m
            and T_base_place[2, 2] > _UPRIGHT
        )

    def _is_stacked(self, world: SimWorld) -> bool:
        half_m = objects.rest_height_m(self.place)
        below = world.object_pose(self.place)[:3, 3]
        offset = world.object_pose(self.target)[:3, 3] - below
        apart_m = objects.rest_height_m(self.target) + half_m
        return bool(
            np.hypot(offset[0], offset[1]) < _STACKED_SHARE * half_m
            and abs(offset[2] - apart_m) < _STACKED_M
            and below[2] < half_m + _STACKED_M
        )

    def _evaluate_push(self, world: SimWorld) -> TaskState:
        position = world.object_pose(self.target)[:3, 3]
        start = world.layout[self.target]
        sign = 1.0 if self.direction == "left" else -1.0
        along = sign * (position[1] - start[1])
        astray = abs(position[0] - start[0]) > PUSH_DISTANCE_M / 2 + 0.5 * max(along, 0.0)
        lifted = position[2] > 2.0 * _LIFTED_M
        moved = np.hypot(position[0] - start[0], position[1] - start[1]) > _TOUCHED_M
        return TaskState(
            bool(moved) or world.is_touched(self.target),
            bool(along > PUSH_DISTANCE_M and not (astray or lifted)),
        )


def parse_task(text: str) -> Task | None:
    """Return the task that an instruction in plain words names, None if it is not one of ours.

    Case, final punctuation, repeated spaces and words like "please" do not matter.
    """
    words = " ".join(text.lower().replace(",", " ").split()).strip(".!? ")
    words = _FILLERS.sub("", words)
    for verb, pattern in _PATTERNS:
        match = pattern.fullmatch(words)
        if match is None:
            continue
        found = match.groupdict()
        if verb == "push":
            return Task("push", found["x"], found["side"])
        if found["x"] != found["y"]:
            return Task(verb, found["x"], place=found["y"])
    return None


def chained(tasks: Iterable[Task]) -> str:
    """Return one sentence that asks for tasks one after the other."""
    return ", then ".join(task.instruction for task in tasks)


def parse_tasks(text: str) -> tuple[Task, ...]:
    """Return the tasks of a sentence in their order, () if one of them is not ours."""
    parts = re.split(r"[,;.]?\s+(?:and\s+)?then\s+", text.lower().strip())
    tasks = tuple(parse_task(part) for part in parts)
    return tuple(task for task in tasks if task is not None) if None not in tasks else ()


_TEMPLATES = {"put": wordings.PUT, "push": wordings.PUSH, "stack": wordings.STACK}
_ALSO = {"put": wordings.ALSO_PUT, "push": wordings.ALSO_PUSH, "stack": wordings.ALSO_STACK}
_FILLERS = re.compile(
    rf"^(?:(?:{'|'.join(wordings.LEADS)}) )+|(?: (?:{'|'.join(wordings.ENDINGS)}))+$", re.ASCII
)


def _said(template: str, task: Task) -> str:
    inside = task.verb == "put" and objects.PLACES[task.place].preposition == "in"
    on, onto = ("in", "into") if inside else ("on", "onto")
    return template.format(x=task.target, y=task.place, side=task.direction, on=on, onto=onto)


def _one_of(names: Iterable[str]) -> str:
    return "|".join(re.escape(name) for name in names)


def _patterns(verb: str) -> Iterable[tuple[str, re.Pattern]]:
    """Return patterns of all that says `verb`, with the groups x, and y or side."""
    toys = {"push": objects.PUSHED_TOY_NAMES, "stack": objects.BLOCK_NAMES}.get(verb, objects.TOYS)
    places = objects.BLOCK_NAMES if verb == "stack" else objects.PLACES
    blanks = {
        "x": f"(?P<x>{_one_of(toys)})",
        "y": f"(?:blue (?=plate))?(?P<y>{_one_of(places)})",
        "side": "(?P<side>left|right)",
        "on": f"(?:{_one_of(wordings.PREPOSITIONS)})",
        "onto": f"(?:{_one_of(wordings.PREPOSITIONS)})",
    }
    for form in (*_TEMPLATES[verb], *_ALSO[verb]):
        yield verb, re.compile(form.format(**blanks), re.ASCII)


_PATTERNS = tuple(pattern for verb in _TEMPLATES for pattern in _patterns(verb))
