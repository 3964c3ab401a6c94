"""Tasks of LIBERO-PRO: what is seen, what is done, and the sentence that is truly asked for.

Runs under the Python of `environments.LIBERO`, which has neither torch nor ROS.

- The sentence is that of the task's BDDL file. `task.language` of the package comes from the file's
  name, which perturbations leave as it was.
- The picture is turned by 180 degrees like everybody's LIBERO pictures. As it comes upside down, it
  is mirrored then: intrinsics have a negative focal length along x.
- Robosuite renders each step, with 4 samples a pixel and a reflecting material twice. Here a
  picture is rendered when it is asked for, once, and the renderer's context is made current
  before, without which a second world draws garbage.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vla_ros.core.rotations import matrix_from_quat, rotvec_from_matrix

BASE_SUITES = {"libero_object": 280, "libero_spatial": 220}
PERTURBATIONS = ("", "_swap", "_task", "_lan", "_object")
CAMERA, SIDE_PX, RATE_HZ = "agentview", 256, 20
NUM_LAYOUTS = 50
# What 1 of an action asks for, and 20 Hz of control.
TRANSLATION_M, ROTATION_RAD = 0.05, 0.5
OPEN, CLOSE = -1.0, 1.0
# Objects fall on the table first, as in everybody's evaluation.
IDLE_STEPS = 10
IDLE = np.array([0, 0, 0, 0, 0, 0, OPEN])


@dataclass(frozen=True, eq=False)
class Seen:
    """What there is to be known at one moment.

    Attributes:
        state: (8,) float32 tool position [m] and rotation vector [rad] in the world, two fingers
            [m]: what vla-eval calls eef_pos3_axisangle3_gripper2.
        positions: of objects and fixtures (3,) [m] by name; a policy is not told.
    """

    state: np.ndarray
    positions: dict[str, np.ndarray]


@dataclass(frozen=True)
class Goal:
    """What the task's file asks for: `relation`, "in" or "on", of `thing` to `target`."""

    relation: str
    thing: str
    target: str


class World:
    """One task of a suite; one at a time in a process.

    Args:
        suite: for example "libero_object_swap".
        task: its number.
        seed: of what the stored start states do not tell.

    Attributes:
        instruction: the perturbed sentence.
        name_says: the package's own sentence of the task.
        goal: the first thing that is asked for.
    """

    def __init__(self, suite: str, task: int, seed: int = 0):
        _render_once()
        from libero.libero import benchmark, get_libero_path
        from libero.libero.envs import OffScreenRenderEnv

        chosen = benchmark.get_benchmark(suite)()
        known = chosen.get_task(task)
        folder = Path(get_libero_path("bddl_files")) / known.problem_folder
        self._env = OffScreenRenderEnv(
            bddl_file_name=str(folder / known.bddl_file), use_camera_obs=False
        )
        self._seed, self._states = seed, chosen.get_task_init_states(task)
        self.suite, self.task = suite, task
        self.instruction, self.name_says = self._env.language_instruction, known.language
        self.goal = goal_of(self._env.env.parsed_problem["goal_state"])

    def begin(self, layout: int) -> Seen:
        """Begin an episode at the stored start state `layout` and let things settle."""
        self._env.seed(self._seed + layout)
        self._env.reset()
        self._told = self._env.set_init_state(self._states[layout % len(self._states)])
        for _ in range(IDLE_STEPS):
            self.step(IDLE)
        return self.seen()

    def step(self, action: np.ndarray) -> bool:
        """Do one action (7,) in [-1, 1] and return whether the task is done."""
        self._told, _, done, _ = self._env.step(np.asarray(action, np.float64))
        return bool(done)

    def seen(self) -> Seen:
        """Return what is known now."""
        return seen_of(self._told)

    def picture(self) -> np.ndarray:
        """Return the camera's picture (256, 256, 3) uint8 RGB, as everybody's LIBERO shows it."""
        raw = self._env.sim.render(camera_name=CAMERA, width=SIDE_PX, height=SIDE_PX)
        return np.ascontiguousarray(raw[::-1, ::-1])

    def camera(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the intrinsics (3, 3) [px] of `picture` and the camera's pose (4, 4) in the world.

        The pose has z along the view and y down.
        """
        import mujoco

        model, data = self._env.sim.model._model, self._env.sim.data._data
        number = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_CAMERA, CAMERA)
        pose = np.eye(4)
        pose[:3, :3] = data.cam_xmat[number].reshape(3, 3) @ np.diag([1.0, -1.0, -1.0])
        pose[:3, 3] = data.cam_xpos[number]
        return mirrored_intrinsics(float(model.cam_fovy[number]), SIDE_PX), pose

    def close(self) -> None:
        """Free the renderer."""
        self._env.close()


def seen_of(told: dict[str, np.ndarray]) -> Seen:
    """Return what a robosuite observation tells."""
    turn = rotvec_from_matrix(matrix_from_quat(np.roll(told["robot0_eef_quat"], 1)))
    parts = [told["robot0_eef_pos"], turn, told["robot0_gripper_qpos"]]
    own = [name[:-4] for name in told if name.endswith("_pos") and "robot0" not in name]
    positions = {name: np.array(told[f"{name}_pos"]) for name in own}
    return Seen(np.concatenate(parts).astype(np.float32), positions)


def goal_of(parsed: list[list[str]]) -> Goal:
    """Return the first relation of a parsed goal: [["in", "milk_1", "basket_1_contain_region"]].

    Raises:
        ValueError: it is of another kind, which the expert does not do.
    """
    for row in parsed:
        if len(row) == 3 and row[0] in ("in", "on"):
            target = row[2].removesuffix("_contain_region")
            return Goal(row[0], row[1], target)
    raise ValueError(f"the goal {parsed} puts nothing in or on anything; choose another task")


def mirrored_intrinsics(fovy_deg: float, side: int) -> np.ndarray:
    """Return (3, 3) [px] of a square picture that is mirrored left to right."""
    focal, centre = side / 2 / np.tan(np.radians(fovy_deg) / 2), (side - 1) / 2
    return np.array([[-focal, 0, centre], [0, focal, centre], [0, 0, 1]])


def _render_once() -> None:
    """Have robosuite render without what costs most and shows nothing; once a process."""
    os.environ.setdefault("MUJOCO_GL", "egl")
    os.environ.setdefault("LP_NUM_THREADS", "0")
    import mujoco
    import robosuite.utils.binding_utils as binding

    context = binding.MjRenderContext
    if getattr(context, "is_plain", False):
        return
    make, draw = context.__init__, context.render

    def make_plain(self, sim, *args, **kwargs) -> None:
        sim.model._model.vis.quality.offsamples = 0
        make(self, sim, *args, **kwargs)
        self.scn.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = 0

    def draw_here(self, *args, **kwargs) -> object:
        self.gl_ctx.make_current()
        return draw(self, *args, **kwargs)

    context.__init__, context.render, context.is_plain = make_plain, draw_here, True
