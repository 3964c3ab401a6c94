"""What missions are made of: the steps that explorer, policy and teacher share.

A step is a generator: plain sequential code that yields wherever it waits.
"""

import json
import time
from collections.abc import Callable

import numpy as np
from std_msgs.msg import String
from std_srvs.srv import Trigger

from vla_ros.core import arm
from vla_ros.core.duty import Cooling
from vla_ros.core.errors import EpisodeError, SafetyError
from vla_ros.nodes import qos
from vla_ros.nodes.arm_client import ArmClient
from vla_ros.nodes.episodes import Episodes, Steps
from vla_ros.nodes.lifetime import ShellNode

# The slowest move of the wx250s, pi rad at the guard's speed, takes a few seconds.
_MOVE_LIMIT_S = 30.0
# How long the arm may take to sink into its cradle before its torque goes [s], and the driver to
# answer that [s, wall].
_SINK_S, _ANSWER_S = 1.0, 5.0
# How often servos that cool are asked [s, wall].
_COOL_LOOK_S = 5.0


def why_cut(client: ArmClient) -> str:
    """Return why what is under way ends: a stop, or a driver that was silent; empty where not."""
    if client.stop_reason:
        return f"stopped: {client.stop_reason}"
    return client.blocked_reason if client.stopped else ""


class MissionNode(ShellNode):
    """A node with an arm and episodes, and the steps that take both somewhere.

    Args:
        name: of the node.

    Attributes:
        arm: the way to the arm, from `configure` on.
        episodes: the way to the recorder, from `configure` on.
        acting: whether the mission sets a target before each command.
        phase: what the mission is about, for people.
        task_state: what the sim last said about its task; empty without one.
    """

    arm: ArmClient
    episodes: Episodes

    def __init__(self, name: str):
        super().__init__(name)
        self._simulated = self.get_parameter("use_sim_time").value
        self.acting = False
        self.phase = "not configured"
        self.task_state: dict = {}

    def meet_scene(self) -> None:
        """Listen to the sim, if there is one; part of `configure`."""
        self.task_state = {}
        self._reset_client = self.create_client(Trigger, qos.SIM_RESET_SERVICE)
        self.create_subscription(String, qos.SIM_TASK_STATE_TOPIC, self._on_task_state, qos.LATCHED)

    @property
    def now_ns(self) -> int:
        """Time for durations [ns]: simulated where there is a simulated clock, else steady.

        No stamp: a system clock that is set back would make a second last an hour.
        """
        if self._simulated:
            return self.get_clock().now().nanoseconds
        return time.monotonic_ns()

    def until_active(self) -> Steps:
        """Wait for the arm; the arm client bounds this."""
        while not self.arm.active:
            yield

    def wait(self, duration_s: float) -> Steps:
        """Let `duration_s` seconds of the node's time pass.

        Raises:
            EpisodeError: an episode runs and is not being recorded any more.
        """
        end_ns = self.now_ns + int(duration_s * 1e9)
        while self.now_ns < end_ns:
            self.episodes.check()
            yield

    def go_to(self, q_rad: np.ndarray, opening: float) -> Steps:
        """Move to joints (6,) [rad] and an opening, and come to rest there.

        Straight, and where that leaves the workspace by way of other poses.

        Raises:
            SafetyError: there is no way inside the workspace, or the arm is not there after 30 s,
                those not counted in which it is stopped.
        """
        end_ns = self.now_ns + int(_MOVE_LIMIT_S * 1e9)
        way, tries = [q_rad], 0
        self.arm.set_target(way[0], opening)
        yield
        while not self._is_at(q_rad):
            if self.arm.blocked_reason:
                # The target is kept, and followed once a person has reset the stop. Not what was
                # planned on the way there: a hand may have moved the arm meanwhile.
                end_ns = self.now_ns + int(_MOVE_LIMIT_S * 1e9)
                if len(way) > 1:
                    way = [q_rad]
                    self.arm.set_target(q_rad, opening)
            elif around := self.arm.way_round(q_rad, tries):
                way, tries = around, tries + 1
                self.arm.set_target(way[0], opening)
            elif len(way) > 1 and self._is_at(way[0]):
                way = way[1:]
                self.arm.set_target(way[0], opening)
            if self.now_ns > end_ns:
                held = self.arm.held_reason
                raise SafetyError(
                    f"the arm did not reach {np.round(q_rad, 2).tolist()} rad within "
                    f"{_MOVE_LIMIT_S:g} s{held and f' ({held})'}; clear its way, or move it there "
                    "by hand"
                )
            yield

    def _is_at(self, q_rad: np.ndarray) -> bool:
        return self.arm.arrived and np.allclose(self.arm.commanded[0], q_rad, atol=1e-6)

    def ask_servos(self) -> Steps:
        """Ask the servos how they are, unless just asked, and rest until they have answered.

        A driver that does not answer for 10 s is not waited for.
        """
        self.arm.check_hardware()
        while self.arm.asks_servos:
            yield

    def until_free(self) -> Steps:
        """Ask the servos how they are, and wait while the arm is stopped until a person's reset.

        Returns whether it was, and may be elsewhere now.
        """
        yield from self.ask_servos()
        waited = self.arm.stopped
        while self.arm.stopped:
            self.phase = why_cut(self.arm)
            yield
        return waited

    def settle(self) -> Steps:
        """Brake and wait until the arm was told to rest."""
        self.acting = False
        self.arm.hold()
        yield
        while not self.arm.at_rest:
            yield

    def lie_down(self, opening: float) -> Steps:
        """Go to the sleep pose by way of the ready pose, and let the torque go.

        Returns whether it went.
        """
        yield from self.go_to(arm.READY_RAD, opening)
        yield from self.go_to(arm.SLEEP_RAD, opening)
        return (yield from self.release_arm())

    def release_arm(self) -> Steps:
        """Let the torque go in the sleep pose; return whether it went.

        Servos that went on pushing into the cradle would grow warm.
        """
        yield from self.wait(_SINK_S)
        answered: list[bool] = []
        try:
            self.arm.release(lambda: answered.append(True))
        except SafetyError as error:
            self.get_logger().warning(str(error))
            return False
        deadline_s = time.monotonic() + _ANSWER_S
        while not answered and time.monotonic() < deadline_s:
            yield
        if not answered:
            self.get_logger().warning(
                f"the arm driver did not say within {_ANSWER_S:g} s that the torque is off"
            )
        return True

    def rest_motors(self) -> Steps:
        """Lie down without torque until every servo has cooled, and stay there, stiff again.

        Raises:
            SafetyError: the arm does not get there, or the motors do not cool.
        """
        self.get_logger().warning(f"the motors rest until they cool: {self.arm.warm_reason}")
        self.phase = "lying down to rest the motors"
        released = yield from self.lie_down(self.arm.commanded[1])
        yield from self.cool_down(lambda: False)
        if released:
            # A stopped arm stays limp: a hand may be under it.
            yield from self.until_free()
            yield from self.make_stiff()

    def make_stiff(self) -> Steps:
        """Switch the torque on, as soon as it is known where the arm is."""
        # Refused while nobody knows that: a gap of joint states ends no night.
        while True:
            try:
                self.arm.set_torque(True)
                return
            except SafetyError as error:
                self.get_logger().warning(str(error), throttle_duration_sec=10.0)
            yield

    def cool_down(self, is_over: Callable[[], bool]) -> Steps:
        """Wait until every servo has cooled, or until `is_over`.

        Raises:
            SafetyError: they do not cool, or are not heard of any more.
        """
        cooling = Cooling(time.monotonic())
        while self.arm.warm_reason and not is_over():
            self.phase = f"letting the motors cool: {self.arm.warm_reason}"
            self.arm.check_hardware()
            yield from self.wait_steady(_COOL_LOOK_S)
            problem = cooling.judge(time.monotonic(), self.arm.warm_readings)
            if problem and self.arm.warm_reason:
                raise SafetyError(f"{problem} ({self.arm.warm_reason})")

    def wait_steady(self, duration_s: float) -> Steps:
        """Let wall time pass: what is waited for is no part of the simulation."""
        end_s = time.monotonic() + duration_s
        while time.monotonic() < end_s:
            yield

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

    def _on_task_state(self, message: String) -> None:
        self.task_state = json.loads(message.data)
