"""A scripted expert that knows where everything is: demonstrations without a person.

It is asked five times a second for the next tool pose, at most 5 cm (plus noise) and 0.25 rad from
the last, as BridgeData's teleoperation gives them. The tool points down; only its height, place and
yaw change.
"""

from dataclasses import dataclass

import numpy as np

from vla_ros.core.errors import SceneError
from vla_ros.core.rotations import matrix_from_rotvec, rotvec_from_matrix, transform
from vla_ros.sim import objects as known
from vla_ros.sim import scene
from vla_ros.sim.tasks import PUSH_DISTANCE_M, Task
from vla_ros.sim.things import Toy

RATE_HZ = 5.0
MAX_STEP_M = 0.05
MAX_STEP_RAD = 0.25
# Heights of the tool point above the table [m].
_TRAVEL_M, _RETREAT_M, _PUSH_HEIGHT_M = 0.12, 0.14, 0.030
# Below this height [m] noise is sideways only, because downwards is the table, and sideways steps
# are shorter [m], because a way that is straight for the joints sags.
_LOW_M, _LOW_STEP_M = 0.05, 0.03
# The tool releases this much higher above what it puts on than it grasped above the table [m]:
# a block on another one must not fall far. The fingers' tips are this far below the tool, and stay
# so far above the rim of what is deeper than the toy is high [m].
_RELEASE_CLEARANCE_M, _STACK_CLEARANCE_M = 0.008, 0.004
_TIP_M, _RIM_CLEARANCE_M = 0.016, 0.004
# A slip is so large, at most [m, rad], and only as high above the table as this [m].
_SLIP_M, _SLIP_RAD, _SLIP_ABOVE_M = 0.04, 0.3, 0.06
# A hand that missed is so far aside, at most [m], so far turned and tilted [rad], and between these
# heights above where it would have acted [m]: by little, or, so often, by much. So often it has
# closed, or opened, all the same.
_MISS_NEAR, _MISS_FAR = (0.03, 0.5, (0.005, 0.05)), (0.09, 1.0, (0.03, 0.12))
_MISS_TILT_RAD, _IS_FAR, _IS_TURNED = 0.15, 0.4, 0.3
# The same of a hand that has lost what it carried; it is closed where it would open.
_LOST = (0.20, 1.0, (0.04, 0.16))
# How far from a place's middle a toy is put, at most, along x and y [m].
_SPREAD_M = 0.012
# From the tool to the closed fingers' faces, across and along their travel, and the free way
# before they touch [m].
_PAIR_HALF_M, _OUTSIDE_M, _PUSH_APPROACH_M = 0.0125, 0.020, 0.03
# A pushed object shall end this far beyond the distance that counts [m].
_PUSH_MARGIN_M = 0.035
# The arm is there when the tool is this near [m]; it is not waited for longer than these steps.
_ARRIVED_M, _PATIENCE_STEPS = 0.012, 5
# When the arm lags further behind than this, steps are taken from where it really is [m].
_LAG_LIMIT_M, _CLIMB_M = 0.06, 0.015


@dataclass(frozen=True)
class _Waypoint:
    """Where the tool goes next: position [m], yaw or None to keep it, gripper.

    If `is_waited_for`, it goes on as soon as the arm is there: a hand that rests where it shall
    close looks the same before it closes and when it does, and who learns from pictures does not
    know which. Else it goes on after `wait_steps` there.
    """

    position: np.ndarray
    yaw_rad: float | None
    opening: float
    is_waited_for: bool = False
    wait_steps: int = 0


class ScriptedTeacher:
    """Plans way-points from the objects' poses at the first step, then follows them.

    Args:
        task: what to do.
        rng: source of the noise and of small variations.
        noise_m: standard deviation [m] of the noise on each target in free motion; 0 for none.
        slips: how often a step in free motion slips, 0 to 1: aside, tilted and turned. What
            follows shows how to come back from where a teacher without slips never is (Laskey et
            al. 2017, "DART: noise injection for robust imitation learning").
    """

    def __init__(
        self, task: Task, rng: np.random.Generator, noise_m: float = 0.003, slips: float = 0.0
    ) -> None:
        self.task = task
        self._rng = rng
        self._noise_m, self._slips = noise_m, slips
        self.reset()

    def reset(self) -> None:
        """Forget the plan; the next `action` makes a new one."""
        self._plan: list[_Waypoint] | None = None
        self._waited = 0
        # Of no meaning before there is a plan.
        self._target = np.eye(4)

    def missed(
        self, T_base_tool: np.ndarray, objects: dict[str, np.ndarray], is_lost: bool = False
    ) -> tuple[np.ndarray, float]:
        """Return a tool pose (4, 4) in base_link and an opening as after a try that missed.

        The hand is low beside where it would have grasped, or begun to push. Who begins there shows
        what to do then, which slips do not: they stay high.

        Args:
            T_base_tool, objects: see `action`.
            is_lost: it is as after a grasp that did not hold instead: far off, higher, and closed
                (of a push, which begins closed: open).

        Raises:
            SceneError: an object of the task is missing.
        """
        rng, point = self._rng, self._new_plan(T_base_tool, objects)[1]
        around = _MISS_FAR if rng.random() < _IS_FAR else _MISS_NEAR
        aside_m, turn_rad, above_m = _LOST if is_lost else around
        aside = np.append(rng.uniform(-aside_m, aside_m, 2), rng.uniform(*above_m))
        yaw = _tool_yaw(T_base_tool) if point.yaw_rad is None else point.yaw_rad
        upright = _pointing_down(yaw + rng.uniform(-turn_rad, turn_rad))
        tilt = matrix_from_rotvec(rng.uniform(-_MISS_TILT_RAD, _MISS_TILT_RAD, 3))
        is_turned = rng.random() < _IS_TURNED or is_lost
        opening = 1.0 - point.opening if is_turned else point.opening
        return transform(tilt @ upright, point.position + aside), opening

    def action(
        self, T_base_tool: np.ndarray, opening: float, objects: dict[str, np.ndarray]
    ) -> tuple[np.ndarray, float, bool]:
        """Return (tool target (4, 4) in base_link, gripper opening, done) for the next 0.2 s.

        Args:
            T_base_tool: measured tool pose (4, 4).
            opening: measured gripper opening, kept as it is once done.
            objects: T_base_object (4, 4) of each object in play.

        Raises:
            SceneError: an object of the task is missing.
        """
        if self._plan is None:
            self._plan = self._new_plan(T_base_tool, objects)
            self._target = T_base_tool.copy()
        if self._plan and self._plan[0].is_waited_for and self._waited:
            lag_m = float(np.linalg.norm(self._plan[0].position - T_base_tool[:3, 3]))
            if lag_m <= _ARRIVED_M or self._waited > _PATIENCE_STEPS:
                self._plan.pop(0)
                self._waited = 0
        if not self._plan:
            return self._target, opening, True
        point = self._plan[0]
        if np.linalg.norm(self._target[:3, 3] - T_base_tool[:3, 3]) > _LAG_LIMIT_M:
            # What holds the arm back is mostly the guard against the table: climb, then go on.
            self._target = T_base_tool.copy()
            self._target[2, 3] += _CLIMB_M
            return self._target, point.opening, False
        yaw = _tool_yaw(self._target) if point.yaw_rad is None else point.yaw_rad
        goal_rotation = _pointing_down(yaw)
        way = point.position - self._target[:3, 3]
        turn = rotvec_from_matrix(goal_rotation @ self._target[:3, :3].T)
        remaining_m, remaining_rad = float(np.linalg.norm(way)), float(np.linalg.norm(turn))
        is_low = max(self._target[2, 3], point.position[2]) < _LOW_M
        step_m = _LOW_STEP_M if is_low else MAX_STEP_M
        # Way and turn arrive together.
        share = min(1.0, step_m / max(remaining_m, 1e-9), MAX_STEP_RAD / max(remaining_rad, 1e-9))
        position = self._target[:3, 3] + share * way
        rotation = matrix_from_rotvec(share * turn) @ self._target[:3, :3]
        if share < 1.0 and self._noise_m > 0.0:
            position = position + self._clipped_noise(position[2] < _LOW_M)
        if share < 1.0 and self._slips and self._rng.random() < self._slips:
            position, rotation = self._slipped(position, rotation)
        self._target = transform(rotation, position)
        if share >= 1.0:
            self._waited += 1
            if not point.is_waited_for and self._waited > point.wait_steps:
                self._plan.pop(0)
                self._waited = 0
        return self._target, point.opening, not self._plan

    def _new_plan(self, T_base_tool: np.ndarray, objects: dict[str, np.ndarray]) -> list[_Waypoint]:
        for name in self.task.objects:
            # /sim/state carries the parked objects too.
            if name not in objects or scene.is_parked(objects[name][0, 3]):
                raise SceneError(
                    f"task {self.task.instruction!r} needs the {name}, which is not in play; "
                    "add it to the scene's objects"
                )
        make = self._plan_push if self.task.verb == "push" else self._plan_put
        return make(T_base_tool, objects)

    def _clipped_noise(self, is_low: bool) -> np.ndarray:
        noise = self._rng.normal(0.0, self._noise_m, 3)
        if is_low:
            noise[2] = 0.0
        return np.clip(noise, -2 * self._noise_m, 2 * self._noise_m)

    def _slipped(self, position: np.ndarray, rotation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return a position (3,) [m] and a rotation (3, 3) after a slip; low ones do not slip."""
        if position[2] < _SLIP_ABOVE_M:
            return position, rotation
        aside = self._rng.uniform(-_SLIP_M, _SLIP_M, 3)
        turn = self._rng.uniform(-_SLIP_RAD, _SLIP_RAD, 3)
        height = max(position[2] + aside[2], _SLIP_ABOVE_M)
        return np.append((position + aside)[:2], height), matrix_from_rotvec(turn) @ rotation

    def _plan_put(self, T_base_tool: np.ndarray, objects: dict[str, np.ndarray]) -> list[_Waypoint]:
        toy = known.TOYS[self.task.target]
        pose = objects[toy.name]
        yaw = _grasp_yaw(toy, pose, T_base_tool)
        at = pose[:3, 3]
        goal, drop_m, drop_yaw = self._drop(toy, pose, yaw, objects[self.task.place])
        grasp_m = toy.grasp_height_m
        return [
            _Waypoint(_above(at, _TRAVEL_M), yaw, 1.0),
            _Waypoint(_above(at, grasp_m), yaw, 1.0, True),
            _Waypoint(_above(at, grasp_m), yaw, 0.0, wait_steps=2),
            _Waypoint(_above(at, _TRAVEL_M), yaw, 0.0),
            _Waypoint(_above(goal, _TRAVEL_M), drop_yaw, 0.0),
            _Waypoint(_above(goal, drop_m), drop_yaw, 0.0, True),
            _Waypoint(_above(goal, drop_m), drop_yaw, 1.0, wait_steps=2),
            _Waypoint(_above(goal, _RETREAT_M), drop_yaw, 1.0),
        ]

    def _drop(
        self, toy: Toy, T_base_toy: np.ndarray, grasp_yaw: float, T_base_goal: np.ndarray
    ) -> tuple[np.ndarray, float, float | None]:
        """Return where to let go: a position (3,) [m], the tool's height [m], its yaw or None."""
        goal = T_base_goal[:3, 3]
        if self.task.verb == "stack":
            # As the toy lies in the fingers it comes to lie on the other, whose sides it follows.
            turn = _yaw_of(T_base_goal) - _yaw_of(T_base_toy)
            period = toy.grasp_period_rad
            drop_m = 2 * known.rest_height_m(self.task.place) + _STACK_CLEARANCE_M
            yaw = grasp_yaw + turn - period * round(turn / period)
            return goal, drop_m + toy.grasp_height_m, yaw
        place = known.PLACES[self.task.place]
        goal = goal + np.append(self._rng.uniform(-_SPREAD_M, _SPREAD_M, 2), 0.0)
        drop_m = place.floor_m + toy.grasp_height_m + _RELEASE_CLEARANCE_M
        return goal, max(drop_m, place.rim_m + _TIP_M + _RIM_CLEARANCE_M), None

    def _plan_push(
        self, T_base_tool: np.ndarray, objects: dict[str, np.ndarray]
    ) -> list[_Waypoint]:
        toy = known.TOYS[self.task.target]
        at = objects[toy.name][:3, 3]
        left = np.array([0.0, 1.0 if self.task.direction == "left" else -1.0, 0.0])
        # Long things are pushed with both fingers, side by side. A round one would be wedged
        # between them and picked up, so it is pushed with the outside of one.
        flat = toy.grasp_axis is not None
        yaw = _nearest_yaw(np.pi / 2 if flat else 0.0, T_base_tool, period=np.pi)
        half = _half_width_along_y(toy, objects[toy.name]) + (_PAIR_HALF_M if flat else _OUTSIDE_M)
        start = at - (half + _PUSH_APPROACH_M) * left
        end = at + (PUSH_DISTANCE_M + _PUSH_MARGIN_M - half) * left
        return [
            _Waypoint(_above(start, _TRAVEL_M), yaw, 0.0),
            _Waypoint(_above(start, _PUSH_HEIGHT_M), yaw, 0.0, True),
            _Waypoint(_above(end, _PUSH_HEIGHT_M), yaw, 0.0, True),
            _Waypoint(_above(end - 0.02 * left, _RETREAT_M), yaw, 0.0),
        ]


def _above(position: np.ndarray, height_m: float) -> np.ndarray:
    return np.array([position[0], position[1], height_m])


def _pointing_down(yaw_rad: float) -> np.ndarray:
    """Return the rotation (3, 3) of a tool that looks down.

    The fingers travel along (-sin yaw, cos yaw, 0).
    """
    c, s = np.cos(yaw_rad), np.sin(yaw_rad)
    return np.array([[0.0, -s, c], [0.0, c, s], [-1.0, 0.0, 0.0]])


def _nearest_yaw(yaw_rad: float, T_base_tool: np.ndarray, period: float) -> float:
    """Return `yaw_rad` plus a multiple of `period`, nearest to the tool's present yaw."""
    now = _tool_yaw(T_base_tool)
    return yaw_rad + period * round((now - yaw_rad) / period)


def _tool_yaw(T_base_tool: np.ndarray) -> float:
    """Return the yaw [rad] of `_pointing_down` that a tool has, tilted or not."""
    return float(np.arctan2(-T_base_tool[0, 1], T_base_tool[1, 1]))


def _grasp_yaw(toy: Toy, T_base_object: np.ndarray, T_base_tool: np.ndarray) -> float:
    """Return the tool's yaw [rad] for a grasp, the one that needs the least turning."""
    if toy.grasp_axis is None:
        # Any yaw holds a ball: turn the fingers across the way from the waist, as the arm is.
        return float(np.arctan2(T_base_object[1, 3], T_base_object[0, 3]))
    across = T_base_object[:3, :3] @ np.array(toy.grasp_axis)
    yaw = float(np.arctan2(-across[0], across[1]))
    return _nearest_yaw(yaw, T_base_tool, toy.grasp_period_rad)


def _yaw_of(T_base_object: np.ndarray) -> float:
    return float(np.arctan2(T_base_object[1, 0], T_base_object[0, 0]))


def _half_width_along_y(toy: Toy, T_base_object: np.ndarray) -> float:
    """Return how far [m] the object reaches from its middle along base_link's y.

    Long things are strips of half width `rest_height_m`, cut off at `radius_m`.
    """
    if toy.grasp_axis is None:
        return toy.radius_m
    across = abs(float(T_base_object[0, 0]))
    return min(toy.radius_m, toy.rest_height_m / max(across, 1e-3))
