"""What the explorer, the policy and the teacher share: a mission that moves the arm in episodes.

A mission is a generator: plain sequential code that yields wherever it waits. A timer advances
it, so no callback ever blocks. Motion within an episode happens in `on_tick`, before each command.
"""

import json
from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
from rclpy.clock import Clock, ClockType
from std_msgs.msg import String
from std_srvs.srv import Trigger

from vla_ros.core import arm
from vla_ros.core.errors import EpisodeError, SafetyError
from vla_ros.nodes import qos
from vla_ros.nodes.arm_client import ArmClient
from vla_ros.nodes.episodes import Episodes, Steps
from vla_ros.nodes.lifetime import ShellNode
from vla_ros.nodes.params import declare, parameter

_MISSION_PERIOD_S = 0.01
# The slowest move of the wx250s, pi rad at the guard's speed, takes a few seconds.
_MOVE_LIMIT_S = 30.0


@dataclass(frozen=True)
class CommanderParameters:
    """Parameters that every node that moves the arm has."""

    robot_name: str = parameter("wx250s", "Namespace of the arm driver.")
    driver_wait_s: float = parameter(
        20.0, "How long the arm driver may take to appear (wall time).", "s", 0.1, 3600.0
    )
    record: bool = parameter(True, "Whether a recorder must take part.")
    recorder_wait_s: float = parameter(
        30.0, "How long the recorder may take to appear or answer (wall time).", "s", 0.1, 3600.0
    )
    park: bool = parameter(True, "Whether to go to the sleep pose at the end.")


class CommanderNode(ShellNode):
    """A node that moves the arm in episodes; subclasses write `mission` and `on_tick`."""

    def __init__(self, name: str, kind: str, parameters_class: type[CommanderParameters]):
        super().__init__(name)
        self.parameters = declare(self, parameters_class)
        self.episodes = Episodes(
            self, kind, self.parameters.record, self.parameters.recorder_wait_s
        )
        self.task_state: dict = {}
        self._reset_client = self.create_client(Trigger, qos.SIM_RESET_SERVICE)
        self.create_subscription(String, qos.SIM_TASK_STATE_TOPIC, self._on_task_state, qos.LATCHED)
        self.arm = ArmClient(
            self, self.parameters.robot_name, self.parameters.driver_wait_s, self.on_tick
        )
        self._steps: Generator | None = self.mission()
        # Wall time, so that it also runs while simulated time stands still.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(_MISSION_PERIOD_S, self._advance, clock=steady)

    def mission(self) -> Steps:
        """Yield while waiting; returning ends the node with exit code 0."""
        raise NotImplementedError

    def on_tick(self) -> None:
        """Set the arm's target; called before each command while the arm is active."""

    @property
    def now_ns(self) -> int:
        """The node's time [ns]: simulated where there is a simulated clock."""
        return self.get_clock().now().nanoseconds

    def until_active(self) -> Steps:
        """Wait for the arm; the arm client bounds this."""
        while not self.arm.active:
            yield

    def wait(self, duration_s: float) -> Steps:
        """Let `duration_s` seconds of the node's time pass."""
        end_ns = self.now_ns + int(duration_s * 1e9)
        while self.now_ns < end_ns:
            yield

    def go_to(self, q_rad: np.ndarray, opening: float) -> Steps:
        """Move to joints (6,) [rad] and an opening, and come to rest there.

        Raises:
            SafetyError: the arm is not there after 30 s.
        """
        end_ns = self.now_ns + int(_MOVE_LIMIT_S * 1e9)
        self.arm.set_target(q_rad, opening)
        yield
        while not (self.arm.arrived and np.allclose(self.arm.commanded[0], q_rad, atol=1e-6)):
            if self.now_ns > end_ns:
                raise SafetyError(
                    f"the arm did not reach {np.round(q_rad, 2).tolist()} rad within "
                    f"{_MOVE_LIMIT_S:g} s; clear its way, or move it there by hand"
                )
            yield

    def settle(self) -> Steps:
        """Brake and wait until the arm was told to rest."""
        self.arm.hold()
        yield
        while not self.arm.at_rest:
            yield

    def park_arm(self) -> Steps:
        """Go to the sleep pose by way of the ready pose, if asked to."""
        if self.parameters.park:
            opening = self.arm.commanded[1]
            yield from self.go_to(arm.READY_RAD, opening)
            yield from self.go_to(arm.SLEEP_RAD, opening)

    @property
    def scene_can_reset(self) -> bool:
        """Whether the sim's reset service is there."""
        return self._reset_client.service_is_ready()

    def reset_scene(self) -> Steps:
        """Have the sim lay out a new scene, and wait until its task state speaks of it.

        Raises:
            EpisodeError: the sim refused.
        """
        future = self._reset_client.call_async(Trigger.Request())
        while not future.done():
            yield
        response = future.result()
        if not response.success:
            raise EpisodeError(f"the sim did not reset: {response.message}")
        episode = json.loads(response.message)["episode"]
        while self.task_state.get("episode", -1) < episode:
            yield

    def stop(self) -> None:
        """Leave the mission: hold, end the running episode, then end the node."""
        if self._steps is not None:
            self._steps.close()
        self._steps = self._ending()

    def _ending(self) -> Steps:
        if self.arm.active:
            yield from self.settle()
        yield from self.episodes.end(None, "stopped")

    def _advance(self) -> None:
        if self._steps is None:
            return
        try:
            next(self._steps)
        except StopIteration:
            self._steps = None
            self.finish(0)

    def _on_task_state(self, message: String) -> None:
        self.task_state = json.loads(message.data)
