"""How often undirected play touches something, against plain uniform random waypoints.

python -m bench.play [--quick]

ROS-free: the simulated table with its default objects, the driver's model, the command guard and
50 Hz commands, as in the graph. Three ways to play, on the same layouts with the same planner,
speeds and safety, the objects laid out anew every 10 simulated minutes:

- uniform: waypoints drawn uniformly from the bounds; no minimum distance, no descents, no weights.
- Algorithm 1: TAP's, on a generated pose library; the weights of coverage and interest are 0.
- ours: with coverage, and with the interest that pictures taken at the rests show.

A contact is the onset of touch between any part of the arm and one object: touch that goes on, or
comes back within 1 s, is the same contact. A contact has moved its object when the object is more
than 1 cm away from where it was at the onset once the touch has been over for 1 s.
"""

import argparse
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from tqdm import tqdm

from bench._report import Row, publish
from vla_ros.core import arm, kinematics
from vla_ros.core.errors import KinematicsError, SafetyError
from vla_ros.core.exploration import ExplorationParameters, PlayMotion
from vla_ros.core.play_region import draw_pose
from vla_ros.core.pose_library import PoseLibrary, inside
from vla_ros.core.rotations import transform
from vla_ros.core.safety import CommandGuard, wx250s_limits
from vla_ros.core.scene_change import TableCamera, grey
from vla_ros.sim import scene
from vla_ros.sim.gl import mujoco
from vla_ros.sim.render import SceneRenderer, intrinsics
from vla_ros.sim.world import CONTROL_PERIOD_NS, SimWorld

_PERIOD_S = 0.02
_TICK_S = CONTROL_PERIOD_NS * 1e-9
_TICKS_PER_COMMAND = round(_PERIOD_S / _TICK_S)
# Whether something holds the arm up is looked at every so many commands.
_HELD_UP_EVERY = 5
_SHUFFLE_S = 600.0
_REFRACTORY_S = 1.0
_MOVED_M = 0.01
_UNIFORM_POSES = 2000
_IMAGE_PX = (320, 240)
# Half the height of the toys: where their pictures' middles meet the table.
_PLANE_M = 0.015
# Two-sided 95 % quantile of Student's t for 1 to 11 degrees of freedom.
_T95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201)


class Contacts:
    """Counts the contacts of the arm with objects, and those that moved their object."""

    def __init__(self, world: SimWorld):
        self._world = world
        model = world.model
        self._object_of = np.full(model.nbody, -1)
        for index, name in enumerate(world.objects):
            self._object_of[model.body(name).id] = index
        self._is_arm = model.body_rootid == model.body("base").id
        self.touched = self.moved = 0
        self.reset()

    def reset(self) -> None:
        """Forget the contacts under way, as when the objects were laid out anew."""
        self._last_s = np.full(len(self._world.objects), -np.inf)
        self._open = np.zeros(len(self._world.objects), dtype=bool)
        self._start_m = self._positions()

    def update(self, now_s: float) -> None:
        """Look at the contacts of this moment."""
        bodies = self._world.model.geom_bodyid[self._world.data.contact.geom]  # (N, 2)
        both = np.concatenate([bodies, bodies[:, ::-1]])
        objects = self._object_of[both[self._is_arm[both[:, 0]], 1]]
        for index in set(objects[objects >= 0].tolist()):
            if not self._open[index]:
                self.touched += 1
                self._open[index] = True
                self._start_m[index] = self._positions()[index]
            self._last_s[index] = now_s
        for index in np.flatnonzero(self._open & (now_s - self._last_s > _REFRACTORY_S)):
            way_m = self._positions()[index] - self._start_m[index]
            self.moved += int(np.linalg.norm(way_m) > _MOVED_M)
            self._open[index] = False

    def touches(self) -> bool:
        """Return whether the arm now touches anything but itself, the table included."""
        bodies = self._world.model.geom_bodyid[self._world.data.contact.geom]
        return bool((self._is_arm[bodies].sum(axis=1) == 1).any())

    def _positions(self) -> np.ndarray:
        return np.array([self._world.object_pose(name)[:3, 3] for name in self._world.objects])


class Eyes:
    """Compares a picture at each rest with the last one, as a camera on a tripod would."""

    def __init__(self):
        spec = scene.CAMERAS["front"]
        right, up = (np.array(a) / np.linalg.norm(a) for a in (spec.x_axis, spec.y_axis))
        axes = np.stack([right, -up, np.cross(right, -up)], axis=1)
        pose = transform(axes, np.array(spec.position_m))
        self._camera = TableCamera(
            intrinsics("front", *_IMAGE_PX), pose, *_IMAGE_PX, plane_m=_PLANE_M
        )
        self._renderer = SceneRenderer(*_IMAGE_PX)
        self._last: tuple[np.ndarray, np.ndarray] | None = None

    def look(self, world: SimWorld) -> np.ndarray:
        """Return points (N, 2) [m] on the table where the picture changed since the last look."""
        picture = grey(self._renderer.render(world.qpos()))
        hidden = self._camera.arm_blocks(world.joint_state()[1][:6])
        last, self._last = self._last, (picture, hidden)
        if last is None:
            return np.empty((0, 2))
        return self._camera.changed_points(last[0], picture, last[1] | hidden)

    def close(self) -> None:
        """Free the renderer."""
        self._renderer.close()


class Arm:
    """The way from a tool pose to the simulated servos, as the arm client goes it."""

    def __init__(self, world: SimWorld):
        self.world = world
        world.driver.set_operating_modes("group", "arm", "position", "velocity", 0, 0)
        world.driver.set_operating_modes(
            "single", "gripper", "current_based_position", "velocity", 0, 0
        )
        for _ in range(round(1.0 / _TICK_S)):
            world.step()
        self._guard = CommandGuard(wx250s_limits(), _PERIOD_S)
        self._guard.reset(world.joint_state()[1][:6], world.opening())
        self.solution = self._guard.commanded[0]
        self.refusals = 0

    def held_up_m(self) -> float:
        """Return how far the measured tool is above the commanded one [m]."""
        return kinematics.held_up_m(self.world.joint_state()[1][:6], self._guard.commanded[0])

    def command(self, T_base_tool: np.ndarray, opening: float) -> None:
        """Send one guarded command towards the tool pose (4, 4) and opening."""
        try:
            self.solution = kinematics.inverse(T_base_tool, self.solution)
            q, opening = self._guard.step(self.solution, opening)
        except (KinematicsError, SafetyError):
            self.refusals += 1
            q, opening = self._guard.hold()
        self.world.driver.command_group("arm", q)
        self.world.driver.command_single("gripper", arm.horn_from_opening(opening))


def _uniform_library(parameters: ExplorationParameters, seed: int) -> PoseLibrary:
    """Return poses drawn uniformly from the bounds, not thinned; the planner checks their reach."""
    p = parameters
    generator = np.random.default_rng(seed)
    low = np.array([p.x_low_m, -p.y_limit_m, p.height_low_m])
    high = np.array([p.x_high_m, p.y_limit_m, p.height_high_m])
    poses = np.array([draw_pose(p, generator, low, high) for _ in range(_UNIFORM_POSES)])
    return PoseLibrary(poses[inside(poses, p)], "generated", p.bounds)


def uniform(seed: int) -> PlayMotion:
    """Return plain uniform random waypoints with our planner, speeds, noise and gripper."""
    parameters = replace(
        ExplorationParameters(),
        min_distance_m=0.0,
        hover_steps=0,
        coverage_weight=0.0,
        interest_weight=0.0,
    )
    library = _uniform_library(parameters, seed)
    return PlayMotion(parameters, np.random.default_rng(seed), library)


def algorithm_1(seed: int) -> PlayMotion:
    """Return TAP's play."""
    parameters = replace(ExplorationParameters(), coverage_weight=0.0, interest_weight=0.0)
    return PlayMotion(parameters, np.random.default_rng(seed))


def ours(seed: int) -> PlayMotion:
    """Return play as the explorer's defaults have it."""
    return PlayMotion(ExplorationParameters(), np.random.default_rng(seed))


def play(make: Callable[[int], PlayMotion], seed: int, simulated_s: float) -> tuple[float, ...]:
    """Play in a new world; return contacts an hour, with motion of the object, and refusals."""
    world = SimWorld(seed, log=lambda _: None)
    motion, robot, contacts = make(seed), Arm(world), Contacts(world)
    eyes = Eyes() if motion.parameters.interest_weight > 0.0 else None
    motion.start(kinematics.forward(robot.solution), world.opening())
    pose, opening = kinematics.forward(robot.solution), 1.0
    shuffles, resting, held_up_m = 0, False, 0.0
    for step in range(round(simulated_s / _PERIOD_S)):
        try:
            if step % _HELD_UP_EVERY == 0:
                held_up_m = robot.held_up_m()
            pose, opening = motion.step(_PERIOD_S, held_up_m)
        except KinematicsError:
            robot.refusals += 1
        robot.command(pose, opening)
        for _ in range(_TICKS_PER_COMMAND):
            world.step()
            contacts.update(world.time_ns * 1e-9)
        if motion.phase == "rest" and not resting:
            # The arm is at rest, so that a new layout does not stop it in full motion.
            if step * _PERIOD_S >= (shuffles + 1) * _SHUFFLE_S:
                shuffles += 1
                world.reset(1000 * (seed + 1) + shuffles, keep_arm=True)
                contacts.reset()
            if eyes is not None:
                motion.interest.moved(eyes.look(world))
        resting = motion.phase == "rest"
    if eyes is not None:
        eyes.close()
    hours = simulated_s / 3600.0
    return contacts.touched / hours, contacts.moved / hours, float(robot.refusals)


def interval(values: np.ndarray) -> float:
    """Return half the 95 % interval of the mean of 2 to 12 values (Student's t)."""
    return float(_T95[len(values) - 2] * values.std(ddof=1) / np.sqrt(len(values)))


def _rows(results: dict[str, np.ndarray], seeds: int, simulated_s: float) -> list[Row]:
    """Return the table's rows: (seeds, 3) of each way to play, in the order of `play`."""
    rows = []
    baseline = results["uniform"]
    for name, values in results.items():
        for column, what in enumerate(("contacts", "contacts that moved the object > 1 cm")):
            mean, other = values[:, column].mean(), baseline[:, column].mean()
            is_baseline = name == "uniform"
            ratio = None if is_baseline or other == 0.0 else float(mean / other)
            is_goal = name == "ours" and column == 0
            rows.append(
                Row(
                    f"{name}: {what}, mean ± 95 % = {mean:.0f} ± {interval(values[:, column]):.0f} "
                    f"({seeds} seeds of {simulated_s / 60:g} simulated min)",
                    "1/h",
                    float(mean),
                    theirs=None if is_baseline else float(other),
                    ratio=ratio,
                    goal="≥ 2 × uniform" if is_goal else "",
                    met=ratio is not None and ratio >= 2.0 if is_goal else None,
                )
            )
    return rows


def main() -> None:
    """Measure, print and write bench/results/play.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="within a minute; says little")
    quick = parser.parse_args().quick
    seeds, simulated_s = (2, 60.0) if quick else (5, 720.0)
    results: dict[str, list[tuple[float, ...]]] = {"uniform": [], "Algorithm 1": [], "ours": []}
    makers = (uniform, algorithm_1, ours)
    with tqdm(total=seeds * len(makers), desc="play", unit="run") as bar:
        for seed in range(seeds):
            for name, make in zip(results, makers, strict=True):
                result = play(make, seed, simulated_s)
                results[name].append(result)
                tqdm.write(
                    f"seed {seed}, {name}: {result[0]:.0f} and {result[1]:.0f} an hour, "
                    f"{result[2]:.0f} targets refused"
                )
                bar.update()
    rows = _rows({k: np.array(v) for k, v in results.items()}, seeds, simulated_s)
    versions = {"mujoco": mujoco.__version__, "numpy": np.__version__}
    print(f"\nwritten: {publish('play', rows, versions).name}")


if __name__ == "__main__":
    main()
