"""How fast the simulated arm and its camera are, on one core.

python -m bench.sim [--quick]
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable

import numpy as np

from bench._report import Row, publish
from vla_ros.core import arm
from vla_ros.sim.gl import choose_gl_backend, mujoco
from vla_ros.sim.render import SceneRenderer
from vla_ros.sim.world import CONTROL_PERIOD_NS, SimWorld

_TICKS_PER_S = 1_000_000_000 // CONTROL_PERIOD_NS
_TICKS_PER_COMMAND = _TICKS_PER_S // 50
_TICKS_PER_IMAGE = _TICKS_PER_S // 5
# Amplitudes [rad] and frequencies [rad/s] of a motion over the whole table.
_SWING_RAD = np.array([0.6, 0.1, 0.1, 0.2, 0.1, 0.5])
_SWING_RAD_S = np.array([1.0, 1.3, 1.7, 1.0, 2.0, 1.0])


def _streamed_world() -> SimWorld:
    """Return a world whose servos follow a stream of goals, as the arm client sets them."""
    world = SimWorld(seed=0)
    world.driver.set_operating_modes("group", "arm", "position", "velocity", 0, 0)
    world.driver.set_operating_modes(
        "single", "gripper", "current_based_position", "velocity", 0, 0
    )
    for _ in range(_TICKS_PER_S):
        world.step()
    return world


def _run(world: SimWorld, simulated_s: int, renderer: SceneRenderer | None) -> None:
    """Move the arm by goals at 50 Hz and draw 5 pictures a second."""
    for tick in range(simulated_s * _TICKS_PER_S):
        if tick % _TICKS_PER_COMMAND == 0:
            at_s = tick / _TICKS_PER_S
            world.driver.command_group(
                "arm", arm.READY_RAD + _SWING_RAD * np.sin(_SWING_RAD_S * at_s)
            )
            world.driver.command_single("gripper", 0.6 * np.sin(at_s) + 0.5)
        world.step()
        if renderer is not None and tick % _TICKS_PER_IMAGE == 0:
            renderer.render(world.qpos())


def _median_s(action: Callable[[], None], repeats: int = 5) -> float:
    """Return the median CPU time [s] of this process for `action`.

    CPU time, because the numbers are a core's; other work on the machine still slows it by its
    caches and by its second thread.
    """
    times = []
    for _ in range(repeats):
        start = time.process_time()
        action()
        times.append(time.process_time() - start)
    return statistics.median(times)


def _pace_rows(simulated_s: int) -> list[Row]:
    world = _streamed_world()
    renderer = SceneRenderer(128, 128)
    renderer.render(world.qpos())
    rows = []
    for what, camera, goal in (
        ("physics + driver + 5 images/s at 128x128, goals at 50 Hz", renderer, 50.0),
        ("physics + driver, goals at 50 Hz, no images", None, None),
    ):
        pace = simulated_s / _median_s(lambda camera=camera: _run(world, simulated_s, camera))
        rows.append(
            Row(
                what,
                "x real time",
                pace,
                goal=f"≥ {goal:g}" if goal else "",
                met=pace >= goal if goal else None,
            )
        )
    renderer.close()
    return rows


def _picture_rows(pictures: int) -> list[Row]:
    qpos = SimWorld(seed=0).qpos()
    rows = []
    for width, height, goal_ms in ((128, 128, None), (224, 224, None), (640, 480, 8.0)):
        renderer = SceneRenderer(width, height)
        renderer.render(qpos)

        def draw(renderer=renderer):
            for _ in range(pictures):
                renderer.render(qpos)

        one_ms = 1e3 * _median_s(draw) / pictures
        goal, met = (f"≤ {goal_ms:g}", one_ms <= goal_ms) if goal_ms else ("", None)
        rows.append(Row(f"one picture of {width}x{height}", "ms", one_ms, goal=goal, met=met))
        renderer.close()
    return rows


def main() -> None:
    """Measure, print and write bench/results/sim.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a few seconds instead of a minute")
    quick = parser.parse_args().quick
    rows = [*_pace_rows(20 if quick else 120), *_picture_rows(20 if quick else 100)]
    versions = {
        "mujoco": mujoco.__version__,
        "numpy": np.__version__,
        "gl": choose_gl_backend(),
        "LP_NUM_THREADS": os.environ.get("LP_NUM_THREADS", ""),
    }
    print(f"\nwritten: {publish('sim', rows, versions).name}")


if __name__ == "__main__":
    main()
