"""How often the scripted teacher does each of its tasks, through kinematics and safety guard.

python -m bench.teacher [--trials 200] [--failures] [--family stack [--scenario distractors]]

Every trial is a fixed layout of its own, with the task's objects and two others. Nothing is
recorded and no picture drawn: this is what the demonstrations of a benchmark rest on.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np

from bench._report import Row, publish
from vla_ros.core import arm, kinematics
from vla_ros.core.errors import KinematicsError
from vla_ros.core.limits import wx250s_limits
from vla_ros.core.safety import CommandGuard
from vla_ros.sim import objects
from vla_ros.sim.gl import mujoco
from vla_ros.sim.tasks import Task
from vla_ros.sim.teacher import RATE_HZ, ScriptedTeacher
from vla_ros.sim.trials import FAMILIES, SCENARIOS, Trial, trial_of
from vla_ros.sim.world import CONTROL_PERIOD_NS, SimWorld

_PERIOD_S = 0.02
_TICKS_PER_COMMAND = round(_PERIOD_S * 1e9) // CONTROL_PERIOD_NS
_COMMANDS_PER_STEP = round(1.0 / (RATE_HZ * _PERIOD_S))
# A demonstration's time limit, and how long the arm rests before it is judged [s].
_LIMIT_S, _REST_S = 30.0, 0.6
_GOAL = 0.98


def ready_world() -> SimWorld:
    """Return a world whose servos follow a stream of goals as the arm client sets them up."""
    world = SimWorld(seed=0)
    world.driver.set_operating_modes("single", "gripper", *arm.GRIPPER_MODE)
    for cmd_type, name, register, value in arm.STREAM_REGISTERS:
        world.driver.set_register(cmd_type, name, register, value)
    return world


def demonstrate(world: SimWorld, trial: Trial, seed: int) -> tuple[bool, bool, float]:
    """Have the teacher do a task; return (partial, success, simulated seconds)."""
    world.reset(0, layout=trial.layout, arm_rad=trial.arm_rad)
    teacher = ScriptedTeacher(trial.task, np.random.default_rng(seed))
    guard = CommandGuard(wx250s_limits(), _PERIOD_S)
    guard.reset(world.joint_state()[1][:6], world.opening())
    q, opening, partial, done, time_s = guard.commanded[0], 1.0, False, False, 0.0
    while time_s < _LIMIT_S and not done:
        T_base_tool = kinematics.forward(world.joint_state()[1][:6])
        target, opening, done = teacher.action(T_base_tool, world.opening(), world.object_poses())
        try:
            q = kinematics.inverse(target, guard.commanded[0])
        except KinematicsError:
            q = guard.commanded[0]
        _command(world, lambda q=q, opening=opening: guard.step(q, opening), _COMMANDS_PER_STEP)
        partial |= trial.task.evaluate(world).partial
        time_s += 1.0 / RATE_HZ
    _command(world, guard.hold, round(_REST_S / _PERIOD_S))
    state = trial.task.evaluate(world)
    return partial or state.partial, state.success, time_s


def _command(world: SimWorld, period: Callable[[], tuple[np.ndarray, float]], count: int) -> None:
    for _ in range(count):
        q, opening = period()
        world.driver.command_group("arm", q)
        world.driver.command_single("gripper", arm.horn_from_opening(opening))
        for _ in range(_TICKS_PER_COMMAND):
            world.step()


def row(
    world: SimWorld, name: str, tasks: tuple[Task, ...], scenario: str, trials: int, verbose: bool
) -> Row:
    """Measure tasks in turn over fixed layouts; `verbose` names those that failed."""
    successes, partials, times = 0, 0, []
    start = time.process_time()
    for seed in range(trials):
        trial = trial_of(tasks[seed % len(tasks)], seed, scenario, others=2)
        partial, success, time_s = demonstrate(world, trial, seed)
        successes, partials = successes + success, partials + partial
        times.append(time_s)
        if verbose and not success:
            print(f"  seed {seed}, {trial.task.instruction}, {partial=}, {time_s:.1f} s")
    rate = successes / trials
    what = (
        f"{name}, {scenario}: successes of {trials} (partial {100 * partials / trials:.1f} %, "
        f"median {statistics.median(times):.1f} s, "
        f"{trials / (time.process_time() - start):.1f} trials/s)"
    )
    return Row(what, "%", 100 * rate, goal=f"≥ {100 * _GOAL:g}", met=rate >= _GOAL)


def main() -> None:
    """Measure, print and write bench/results/teacher.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=200, help="layouts of each row")
    parser.add_argument("--family", choices=FAMILIES, help="only this one, and write nothing")
    parser.add_argument("--scenario", choices=SCENARIOS, default="standard", help="of --family")
    parser.add_argument("--failures", action="store_true", help="name the trials that failed")
    args = parser.parse_args()
    world = ready_world()
    if args.family:
        tasks = FAMILIES[args.family]
        print(row(world, args.family, tasks, args.scenario, args.trials, args.failures))
        return
    rows = [
        row(world, family, tasks, "standard", args.trials, args.failures)
        for family, tasks in FAMILIES.items()
    ]
    every = tuple(task for tasks in FAMILIES.values() for task in tasks)
    # The other scenarios change nothing that a teacher without eyes could see.
    rows += [
        row(world, "all tasks", every, scenario, args.trials, args.failures)
        for scenario in ("initial state", "distractors")
    ]
    versions = {"mujoco": mujoco.__version__, "objects": str(len(objects.OBJECT_NAMES))}
    print(f"\nwritten: {publish('teacher', rows, versions).name}")


if __name__ == "__main__":
    main()
