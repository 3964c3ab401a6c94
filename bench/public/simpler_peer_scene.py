"""SIMPLER's WidowX tasks in ManiSkill: what is seen, what is done, and the sentence of each.

Runs under the Python of `environments.SIMPLER`. What is said here of ManiSkill was read in version
3.0.1, under `mani_skill/`:

- `envs/tasks/digital_twins/bridge_dataset_eval/put_on_in_scene.py`: names, limits of steps,
  sentences and start states.
- `envs/tasks/digital_twins/bridge_dataset_eval/base_env.py`: camera, control mode, 5 actions a
  second, what counts as done, and the gripper: -1 closes to 0.014 m a finger, +1 opens to 0.038 m.
  Collisions of the arm with itself stay on: the robot that 3.0.1 fetches (v0.2.0) comes with an
  SRDF that leaves out the pairs that always touch.
- `agents/controllers/pd_ee_pose.py`: what an action asks for; see `command_of`.
"""

from dataclasses import dataclass

import numpy as np

from vla_ros.core.actions import GRIPPER_INDEX
from vla_ros.core.rotations import matrix_from_rotvec

CAMERA = "3rd_view_camera"
CONTROL = "arm_pd_ee_target_delta_pose_align2_gripper_pd_joint_pos"
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
        return np.ascontiguousarray(self._told["sensor_data"][CAMERA]["rgb"][0].cpu())

    def close(self) -> None:
        """Let go of it."""
        self._env.close()
