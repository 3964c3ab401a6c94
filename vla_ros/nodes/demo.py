"""demo_node: language-labelled demonstrations, by the sim's scripted teacher or by a person.

A person drives the arm by a gamepad (`nodes/teleop.py`), or leads it by hand (`~/torque` makes it
limp), and says of each recording whether to keep it.
"""

import time
from dataclasses import dataclass

import numpy as np
from sensor_msgs.msg import JointState

from vla_ros.core import arm, kinematics
from vla_ros.core.errors import EpisodeError, KinematicsError, SafetyError
from vla_ros.core.rotations import matrix_from_quat, transform
from vla_ros.core.teleop import TeleopParameters
from vla_ros.nodes import conversions, qos
from vla_ros.nodes.commander import CommanderNode, CommanderParameters
from vla_ros.nodes.episodes import Steps
from vla_ros.nodes.lifetime import run
from vla_ros.nodes.mission import why_cut
from vla_ros.nodes.params import ParameterError, group, parameter
from vla_ros.nodes.seeds import SEED_MAX, given_or_drawn
from vla_ros.nodes.teleop import Teaching
from vla_ros.nodes.teleop_parameters import JoyParameters
from vla_ros.nodes.ticker import tick_every

_TEACHER_RATE_HZ = 5.0


@dataclass(frozen=True)
class DemoParameters(CommanderParameters):
    """Parameters of demo_node."""

    task: str = parameter("", "The instruction that the demonstrations carry out.")
    teacher: str = parameter(
        "scripted",
        "Who demonstrates: person leads the arm by hand, joystick drives it by a gamepad.",
        choices=("scripted", "person", "joystick"),
    )
    episodes: int = parameter(10, "Successful demonstrations wanted.", "", 1, 1_000_000)
    episode_s: float = parameter(
        30.0, "Time limit of one scripted demonstration.", "s", 1.0, 3600.0
    )
    tries_per_episode: int = parameter(
        3, "Give up after this many tries for each one wanted.", "", 1, 1000
    )
    seed: int = parameter(-1, "Seed of the teacher's noise; -1: drawn anew.", "", -1, SEED_MAX)
    keys: bool = parameter(True, "Whether a person may say keep, discard, ... by terminal keys.")
    joy: JoyParameters = group(JoyParameters, "joy")
    teleop: TeleopParameters = group(TeleopParameters, "joy")


class DemoNode(CommanderNode):
    """Records demonstrations until enough of them succeeded."""

    def __init__(self):
        super().__init__("demo", "demo", DemoParameters)
        self._teacher_done = False
        self._state: tuple[tuple[str, ...], np.ndarray] | None = None
        self._teaching: Teaching | None = None

    def configure(self) -> None:
        """Find the teacher, and what it needs.

        Raises:
            ParameterError: there is no task.
            EpisodeError: the scripted teacher does not know it.
        """
        if not self.parameters.task.strip():
            raise ParameterError("parameter task of node demo is empty: say what to do, task:=…")
        super().configure()
        self._teacher = None
        if self.parameters.teacher == "scripted":
            seed = given_or_drawn(self, self.parameters.seed)
            self.episodes.settings |= {"seed": seed}
            self._teacher = scripted_teacher(self.parameters.task, seed)
            self.create_subscription(
                JointState, qos.SIM_STATE_TOPIC, self._on_sim_state, qos.SIM_STATE
            )
            self._teaching_ticks = tick_every(self, 1.0 / _TEACHER_RATE_HZ, self._teach)
        else:
            given = self.parameters
            self.episodes.settings |= {"teacher": given.teacher}
            self._teaching = Teaching(
                *(self, given.task, given.episodes, given.teacher == "joystick"),
                *(given.joy, given.teleop, given.keys),
            )
        self.episodes.say_task(self.parameters.task)

    def mission(self) -> Steps:
        """Demonstrate until `episodes` succeeded."""
        yield from self.until_active()
        if self._teaching is None:
            yield from self.parked_after(self._scripted())
        else:
            yield from self._teaching.mission()

    def on_tick(self) -> None:
        """Have a person's pad set the arm's target."""
        if self._teaching is not None:
            self._teaching.tick()

    def deactivate(self) -> None:
        """Brake and end the running episode.

        Raises:
            SafetyError: only a person's hands hold the arm; nobody would give it its torque back.
        """
        if self._teaching is not None:
            self._teaching.deactivate()
        super().deactivate()

    def stop(self) -> None:
        """Come to an end, with the arm held where a person's hands would be all that holds it."""
        if self._teaching is None or self._steps is None:
            super().stop()
        else:
            self._steps = self._stop_steps()

    def _stop_steps(self) -> Steps:
        try:
            yield from self._teaching.end_first()
        except SafetyError as error:
            self.get_logger().error(str(error))
        super().stop()

    def say_status(self) -> None:
        """Put mission, arm and teacher on /diagnostics."""
        super().say_status()
        if self._teaching is not None:
            self._teaching.say_status()

    def close(self) -> None:
        """End what is open, and give the terminal back."""
        if self._teaching is not None:
            self._teaching.close()
            self._teaching = None
        super().close()

    def _scripted(self) -> Steps:
        yield from self._until_sim()
        wanted, number, tries, done = self.parameters.episodes, 0, 0, 0
        while done < wanted:
            if tries >= wanted * self.parameters.tries_per_episode:
                raise EpisodeError(
                    f"the teacher solved {done} of {tries} scenes, {wanted} were wanted; simplify "
                    "the task or raise tries_per_episode"
                )
            yield from self.until_free()
            yield from self.go_to(arm.READY_RAD, 1.0)
            yield from self._fresh_scene()
            success = yield from self._attempt(f"demo-{number:05d}")
            number += 1
            # What was cut short by a stop was no try of the teacher's.
            tries += success is not None
            done += bool(success)
        print(f"demo: {done} demonstrations in {tries} tries", flush=True)

    def _until_sim(self) -> Steps:
        """Wait for the sim before anything moves; a real arm has none."""
        deadline = time.monotonic() + self.parameters.driver_wait_s
        while not self.scene_can_reset:
            if time.monotonic() > deadline:
                raise EpisodeError(
                    f"the scripted teacher needs the simulator, and {qos.SIM_RESET_SERVICE} is "
                    "not there; with a real arm use teacher:=person"
                )
            yield

    def _fresh_scene(self) -> Steps:
        yield from self.reset_scene()
        # A state from before the reset would send the teacher to where things were.
        self._state = None
        while self._state is None:
            yield

    def _attempt(self, episode_id: str) -> Steps:
        yield from self.episodes.begin(episode_id, self.parameters.task)
        self._teacher.reset()
        self._teacher_done = False
        end_ns = self.now_ns + int(self.parameters.episode_s * 1e9)
        self.acting = True
        cut = ""
        while self.now_ns < end_ns and not self._teacher_done and not cut:
            self.episodes.check()
            yield
            cut = why_cut(self.arm)
        yield from self.settle()
        # The sim judges every 0.2 s.
        yield from self.wait(0.5)
        # A teacher that was cut short has not failed.
        success = None if cut else bool(self.task_state["success"])
        reason = cut or ("teacher done" if self._teacher_done else "time limit")
        yield from self.episodes.end(success, reason)
        return success

    def _teach(self) -> None:
        if not self.acting:
            return
        q_now, opening_now = self.arm.measured
        T_target, opening, self._teacher_done = self._teacher.action(
            kinematics.forward(q_now), opening_now, object_poses(*self._state)
        )
        try:
            self.arm.set_target(kinematics.inverse(T_target, self.arm.commanded[0]), opening)
        except KinematicsError as error:
            self.get_logger().warning(f"holding: {error}", throttle_duration_sec=2.0)

    def _on_sim_state(self, message: JointState) -> None:
        _, names, qpos = conversions.joint_state_from_msg(message)
        self._state = names, qpos


def scripted_teacher(task: str, seed: int):
    """Return the sim's teacher for a task.

    Raises:
        EpisodeError: the sim does not know the task.
    """
    # MuJoCo is needed only with this teacher.
    from vla_ros.sim.tasks import parse_task
    from vla_ros.sim.teacher import ScriptedTeacher

    parsed = parse_task(task)
    if parsed is None:
        raise EpisodeError(
            f"the scripted teacher does not know the task {task!r}; say, for instance, 'put the "
            "carrot on the plate', or use teacher:=person"
        )
    return ScriptedTeacher(parsed, np.random.default_rng(seed))


def object_poses(names: tuple[str, ...], qpos: np.ndarray) -> dict[str, np.ndarray]:
    """Return T_base_object (4, 4) of every free body in /sim/state's numbers."""
    poses = {}
    for index, name in enumerate(names):
        if name.endswith(".x"):
            rotation = matrix_from_quat(qpos[index + 3 : index + 7])
            poses[name.removesuffix(".x")] = transform(rotation, qpos[index : index + 3])
    return poses


def main() -> int:
    """Run demo_node; the entry of scripts/demo_node."""
    return run(DemoNode, "demo_node")
