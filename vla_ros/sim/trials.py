"""What a policy is tried on: task families, and of each task and seed one scene for everybody.

A scenario changes one thing of the standard scene of the same task and seed: everything else lies
where it lay. Which of its variants a trial has goes by the seed, so that seeds in a row have all of
them about as often, also where only every second or fourth seed is of one task.
"""

from dataclasses import dataclass

import numpy as np

from vla_ros.core import arm, kinematics
from vla_ros.core.errors import KinematicsError, SceneError
from vla_ros.core.rotations import matrix_from_rotvec
from vla_ros.sim import objects
from vla_ros.sim.layouts import Layout, fixed_layout
from vla_ros.sim.looks import BACKGROUNDS, ENVIRONMENTS, LIGHTINGS, STANDARD, VIEWPOINTS, Look
from vla_ros.sim.tasks import Task

_GOLDEN = (np.sqrt(5.0) - 1.0) / 2.0
_FOOD = tuple(
    name for name in objects.KNOWN_TOY_NAMES if name not in (*objects.BLOCK_NAMES, "spoon")
)

# Every task by family; each toy of a "put" family goes to every one of its places.
FAMILIES: dict[str, tuple[Task, ...]] = {
    "food on plate": tuple(Task("put", name) for name in _FOOD),
    "push": tuple(
        Task("push", name, side)
        for name in (*_FOOD, *objects.BLOCK_NAMES)
        for side in ("left", "right")
    ),
    "spoon on cloth": (Task("put", "spoon", place="cloth"),),
    "stack": (
        Task("stack", "green block", place="yellow block"),
        Task("stack", "yellow block", place="green block"),
    ),
    "toy to place": tuple(
        Task("put", name, place=place)
        for name in objects.KNOWN_TOY_NAMES
        for place in objects.PLACES
    ),
    "novel toy to place": tuple(
        Task("put", name, place=place)
        for name in objects.NOVEL_TOY_NAMES
        for place in objects.PLACES
    ),
}


@dataclass(frozen=True)
class Perturbation:
    """What a scenario changes of the standard scene; by default nothing.

    Attributes:
        looks: the surroundings that trials have, each as often.
        distractors: least and largest number of unseen objects that stand about.
        start_m: how far off the tool starts, at most, along x, y and z.
        start_rad: how much it is turned about its vertical axis, at most.
    """

    looks: tuple[Look, ...] = (STANDARD,)
    distractors: tuple[int, int] = (0, 0)
    start_m: tuple[float, float, float] = (0.0, 0.0, 0.0)
    start_rad: float = 0.0


# The rows of TAP's table on the real arm, lighting, and APT's unseen environment.
SCENARIOS: dict[str, Perturbation] = {
    "standard": Perturbation(),
    "initial state": Perturbation(start_m=(0.05, 0.08, 0.05), start_rad=0.5),
    "distractors": Perturbation(distractors=(3, 5)),
    "background": Perturbation(looks=BACKGROUNDS),
    "viewpoint": Perturbation(looks=VIEWPOINTS),
    "lighting": Perturbation(looks=LIGHTINGS),
    "environment": Perturbation(looks=ENVIRONMENTS),
}


@dataclass(frozen=True, eq=False)
class Trial:
    """One scene, the same for every policy; `SimWorld.reset` takes layout and joints.

    Attributes:
        task: what is asked for.
        seed: of all that is random.
        scenario: key of `SCENARIOS`.
        layout: of every object in play.
        arm_rad: joints (6,) [rad] at the start.
        look: of the surroundings, for the renderer.
    """

    task: Task
    seed: int
    scenario: str
    layout: Layout
    arm_rad: np.ndarray
    look: Look


def trial_of(task: Task, seed: int, scenario: str = "standard", others: int = 0) -> Trial:
    """Return the scene of a task, a seed and a scenario; equal arguments give equal scenes.

    Args:
        task: what is asked for.
        seed: of the scene, 0 or more.
        scenario: key of `SCENARIOS`.
        others: how many further known objects lie within reach, places as well as toys. Four or
            more may not fit beside large ones.

    Raises:
        SceneError: there is no such scenario, or the objects do not fit on the table.
    """
    if scenario not in SCENARIOS:
        raise SceneError(
            f"scenario {scenario!r} is not one of the simulated scene's; choose from "
            f"{', '.join(SCENARIOS)}"
        )
    change = SCENARIOS[scenario]
    rest = [name for name in objects.KNOWN_NAMES if name not in task.objects]
    beside = np.random.default_rng([seed, 0, 2]).permutation(rest)[:others].tolist()
    fewest, most = change.distractors
    count = fewest + _in_turn(seed, most - fewest + 1)
    about = np.random.default_rng([seed, 0, 3]).permutation(objects.DISTRACTOR_NAMES)[:count]
    layout = fixed_layout(
        seed,
        task.objects,
        tuple(beside),
        tuple(about.tolist()),
        pushed=task.target if task.verb == "push" else "",
    )
    look = change.looks[_in_turn(seed, len(change.looks))]
    start = _start(np.random.default_rng([seed, 0, 4]), change)
    return Trial(task, seed, scenario, layout, start, look)


def _in_turn(seed: int, count: int) -> int:
    """Return one of 0 to `count` - 1, with steps of the golden ratio around a circle."""
    return int(seed * _GOLDEN % 1.0 * count)


def _start(rng: np.random.Generator, change: Perturbation) -> np.ndarray:
    """Return joints (6,) [rad] with the tool off its usual start."""
    if not any((*change.start_m, change.start_rad)):
        return arm.READY_RAD.copy()
    ready = kinematics.forward(arm.READY_RAD)
    while True:
        pose = ready.copy()
        pose[:3, 3] += rng.uniform(-1.0, 1.0, 3) * change.start_m
        turn = np.array((0.0, 0.0, rng.uniform(-change.start_rad, change.start_rad)))
        pose[:3, :3] = matrix_from_rotvec(turn) @ pose[:3, :3]
        try:
            return kinematics.inverse(pose, arm.READY_RAD)
        except KinematicsError:
            continue
