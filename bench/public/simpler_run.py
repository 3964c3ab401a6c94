"""Episodes of SIMPLER's WidowX tasks in ManiSkill, by a served policy; see `bench.public.simpler`.

Runs under the Python of `environments.SIMPLER`: `python -m bench.public.simpler_run JSON` does what
JSON asks for and writes one line of JSON an episode. What is said here of ManiSkill was read in
version 3.0.1, under `mani_skill/`:

- `envs/tasks/digital_twins/bridge_dataset_eval/put_on_in_scene.py`: names, limits of steps,
  sentences, and 24 start states of each task (64 of the eggplant).
- `envs/tasks/digital_twins/bridge_dataset_eval/base_env.py`: camera, control mode, 5 actions a
  second, what counts as done, and the gripper: -1 closes to 0.014 m a finger, +1 opens to 0.038 m.
  Collisions of the arm with itself stay on: the robot that 3.0.1 fetches (v0.2.0) comes with an
  SRDF that leaves out the pairs that always touch.
- `agents/controllers/pd_ee_pose.py`: what an action asks for; see `command_of`.

An episode goes on to its limit, and what counts is how things stand then, as in SIMPLER's own
`simpler_env/real2sim_eval_maniskill3.py` (github.com/simpler-env/SimplerEnv, branch maniskill3).
"""

import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from bench.public.vla_eval_client import Harness, RefusedError, connected
from vla_ros.core.actions import GRIPPER_INDEX
from vla_ros.core.errors import VlaError
from vla_ros.core.rotations import matrix_from_rotvec

CAMERA = "3rd_view_camera"
CONTROL = "arm_pd_ee_target_delta_pose_align2_gripper_pd_joint_pos"
# What vla-eval calls that camera's pictures, and so what our server wants.
PICTURE = "primary"
OPEN, CLOSE = 1.0, -1.0
# Below this cosine the first and the third angle turn about the same axis.
_LOCKED = 1e-6


@dataclass(frozen=True)
class Kind:
    """A task.

    Attributes:
        name: ManiSkill's.
        steps: of an episode.
        starts: how many start states there are.
    """

    name: str
    steps: int
    starts: int


TASKS = {
    "carrot": Kind("PutCarrotOnPlateInScene-v1", 60, 24),
    "spoon": Kind("PutSpoonOnTableClothInScene-v1", 60, 24),
    "cube": Kind("StackGreenCubeOnYellowCubeBakedTexInScene-v1", 60, 24),
    "eggplant": Kind("PutEggplantInBasketScene-v1", 120, 64),
}


class Task(Protocol):
    """What of `Scene` an episode needs."""

    instruction: str

    def begin(self, start: int) -> None: ...
    def step(self, action: np.ndarray) -> bool: ...
    def picture(self) -> np.ndarray: ...
    def close(self) -> None: ...


@dataclass(frozen=True)
class Outcome:
    """What came of an episode.

    Attributes:
        is_success: it was done when the episode ended.
        was_done: it was done at some step.
        steps: that were made.
        refused: why the policy had no action, "" where it had all.
    """

    is_success: bool
    was_done: bool
    steps: int
    refused: str = ""


def command_of(action: np.ndarray) -> np.ndarray:
    """Return ManiSkill's action (7,) float32 for one of the server's (7,).

    Both move `ee_gripper_link`, the point between the finger tips that is our tool, by metres along
    the axes of base_link, and turn it from the left about the same axes. The server's rotation is a
    rotation vector [rad]; `PDEEPoseController.compute_target_pose` takes angles of Euler [rad] with
    R = Rx Ry Rz (`euler_angles_to_matrix(..., "XYZ")`), unlike the ManiSkill 2 of SIMPLER's first
    version, which vla-eval drives. The server opens the gripper above 0.5.

    The controller adds a displacement to the pose that it aimed at before, not to the one it has
    reached; so does our policy node.
    """
    action = np.asarray(action, np.float64)
    R = matrix_from_rotvec(action[3:6])
    command = np.empty(7, np.float32)
    command[:3] = action[:3]
    cosine = np.hypot(R[0, 0], R[0, 1])
    command[4] = np.arctan2(R[0, 2], cosine)
    if cosine > _LOCKED:
        command[3], command[5] = np.arctan2(-R[1, 2], R[2, 2]), np.arctan2(-R[0, 1], R[0, 0])
    else:
        command[3], command[5] = np.arctan2(R[2, 1], R[1, 1]), 0.0
    command[GRIPPER_INDEX] = OPEN if action[GRIPPER_INDEX] > 0.5 else CLOSE
    return command


class Scene:
    """One of the tasks in ManiSkill.

    Args:
        task: a name in `TASKS`.

    Attributes:
        instruction: the task's own sentence.

    Raises:
        RuntimeError: ManiSkill cannot make it here.
    """

    def __init__(self, task: str):
        import gymnasium

        name = TASKS[task].name
        try:
            # The part before the colon is imported, which registers the tasks.
            self._env = gymnasium.make(
                f"mani_skill.envs:{name}",
                num_envs=1,
                obs_mode="rgb+segmentation",
                control_mode=CONTROL,
            )
        except RuntimeError as error:
            raise RuntimeError(
                f"ManiSkill cannot make {name} here ({error}); it draws with Vulkan, so see first "
                "whether there is a driver for that"
            ) from error
        self.instruction: str = self._env.unwrapped.get_language_instruction()[0]

    def begin(self, start: int) -> None:
        """Begin an episode at the start state `start`; there are as many as the task has."""
        self._told, _ = self._env.reset(seed=start, options={"episode_id": start})

    def step(self, action: np.ndarray) -> bool:
        """Do one of the server's actions (7,) and return whether the task is done now."""
        self._told, _, _, _, info = self._env.step(command_of(action))
        return bool(info["success"][0])

    def picture(self) -> np.ndarray:
        """Return the camera's picture (480, 640, 3) uint8 RGB, a photograph behind the things."""
        return np.ascontiguousarray(self._told["sensor_data"][CAMERA]["rgb"][0].numpy())

    def close(self) -> None:
        """Let go of it."""
        self._env.close()


def policy_episode(task: Task, harness: Harness, start: int, most: int) -> Outcome:
    """Have a served policy do an episode of `most` steps; one that has no action has failed."""
    task.begin(start)
    harness.begin(task.instruction)
    is_done = was_done = False
    left = 0
    for step in range(most):
        told = {
            "images": {PICTURE: task.picture()} if left == 0 else {},
            "task_description": task.instruction,
        }
        try:
            action, left = harness.act(told)
        except RefusedError as error:
            harness.end(False)
            return Outcome(False, was_done, step, str(error))
        is_done = task.step(action)
        was_done = was_done or is_done
    harness.end(is_done)
    return Outcome(is_done, was_done, most)


def run(job: dict, harness: Harness, opened: Callable[[str], Task] = Scene) -> None:
    """Do the episodes that `job` asks for, tasks, episodes and most, and write a line of each."""
    for name in job["tasks"]:
        with closing(opened(name)) as task:
            for start in range(job["episodes"]):
                begun = time.monotonic()
                outcome = policy_episode(task, harness, start, job["most"] or TASKS[name].steps)
                row = {
                    "suite": TASKS[name].name,
                    "task": name,
                    "start": start,
                    "instruction": task.instruction,
                    "success": outcome.is_success,
                    "was_done": outcome.was_done,
                    "steps": outcome.steps,
                    "refused": outcome.refused,
                    "seconds": round(time.monotonic() - begun, 2),
                }
                print("\n" + json.dumps(row), flush=True)


def main() -> None:
    """Do what the first argument asks for; an error is a sentence on stderr and exit code 1."""
    job = json.loads(sys.argv[1])
    try:
        # ManiSkill asks whether to fetch what it misses, where nobody sees the question.
        with open(os.devnull) as sys.stdin, connected(job["url"]) as harness:
            run(job, harness)
    except (RuntimeError, VlaError, OSError) as error:
        sys.exit(f"bench.public.simpler_run: {error}")


if __name__ == "__main__":
    main()
