"""What the explorer, the policy and the teacher share: a mission that moves the arm in episodes.

A mission is a generator: plain sequential code that yields wherever it waits. A timer advances
it, so no callback ever blocks. Motion within an episode happens in `on_tick`, before each command.

However the work ends - done, deactivated, failed, or stopped by a signal - the arm is braked to
rest first, and the running episode is ended.
"""

import json
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass

import numpy as np
from rclpy.clock import Clock, ClockType
from std_msgs.msg import String
from std_srvs.srv import Trigger

from vla_ros.core import arm
from vla_ros.core.errors import EpisodeError, SafetyError
from vla_ros.nodes import qos
from vla_ros.nodes.arm_client import ArmClient
from vla_ros.nodes.diagnostics import ERROR, OK, Diagnostics
from vla_ros.nodes.episodes import Episodes, Steps
from vla_ros.nodes.lifetime import ShellNode
from vla_ros.nodes.params import declare, parameter

_MISSION_PERIOD_S = 0.01
_STATUS_PERIOD_S = 1.0
# The slowest move of the wx250s, pi rad at the guard's speed, takes a few seconds.
_MOVE_LIMIT_S = 30.0
# How long the arm may take to sink into its cradle before its torque goes [s], and the driver to
# answer that [s, wall].
_SINK_S, _ANSWER_S = 1.0, 5.0


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
    park: bool = parameter(True, "Whether to end in the sleep pose, without torque.")


class CommanderNode(ShellNode):
    """A node that moves the arm in episodes; subclasses write `mission` and `on_tick`.

    Attributes:
        acting: whether `on_tick` is called before each command.
        phase: what the mission is about, for people.
        task_state: what the sim last said about its task; empty without one.
    """

    def __init__(self, name: str, kind: str, parameters_class: type[CommanderParameters]):
        super().__init__(name)
        self.parameters = declare(self, parameters_class)
        self._kind = kind
        self.acting = False
        self.phase = "not configured"
        self.task_state: dict = {}
        self.arm: ArmClient | None = None
        self.episodes: Episodes | None = None
        self._steps: Generator | None = None
        self._resting = False

    def configure(self) -> None:
        """Create what the node talks through; nothing moves."""
        parameters = self.parameters
        self.task_state = {}
        self.episodes = Episodes(self, self._kind, parameters.record, parameters.recorder_wait_s)
        self._reset_client = self.create_client(Trigger, qos.SIM_RESET_SERVICE)
        self.create_subscription(String, qos.SIM_TASK_STATE_TOPIC, self._on_task_state, qos.LATCHED)
        self.arm = ArmClient(self, parameters.robot_name, parameters.driver_wait_s, self._on_tick)
        self.diagnostics = Diagnostics(self, parameters.robot_name)
        self.phase = "inactive"
        # Wall time, so that both also run while simulated time stands still.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(_MISSION_PERIOD_S, self._advance, clock=steady)
        self.create_timer(_STATUS_PERIOD_S, self.say_status, clock=steady)

    def activate(self) -> None:
        """Begin the mission, from wherever the arm is.

        Raises:
            EpisodeError: the last one has not come to rest yet.
        """
        self._require_rest("activate")
        self.phase = "waiting for the arm driver"
        self.arm.start()
        self._steps = self._whole_mission()

    def deactivate(self) -> None:
        """Brake, end the running episode, and stop commanding once at rest."""
        self._come_to_rest("deactivated", lambda: None)

    def cleanup(self) -> None:
        """Refuse while the arm still comes to rest, or is stopped: only a reset clears that.

        Raises:
            EpisodeError: it does, or is.
        """
        self._require_rest("clean up")
        if self.arm is not None and self.arm.stopped:
            raise EpisodeError(
                f"node {self.get_name()} cannot clean up while its arm is stopped: call "
                f"{qos.RESET_STOP_SERVICE} first"
            )

    def stop(self) -> None:
        """Leave the mission: brake, end the running episode, then end the node."""
        if self._steps is None:
            self.finish()
        else:
            self._come_to_rest(self.exit_sentence or "stopped", self.finish)

    def close(self) -> None:
        """Tell the recorder of the end of an episode that nothing else has ended."""
        if self.episodes is not None:
            self.episodes.abandon(self.exit_sentence or "the node ended")
            self.episodes = None

    # --- what subclasses write ---

    def mission(self) -> Steps:
        """Yield while waiting; returning ends the node with exit code 0."""
        raise NotImplementedError

    def on_tick(self) -> None:
        """Set the arm's target; called before each command while the arm is active and `acting`."""

    # --- what missions are made of ---

    @property
    def now_ns(self) -> int:
        """Time for durations [ns]: simulated where there is a simulated clock, else steady.

        No stamp: a system clock that is set back would make a second last an hour.
        """
        if self.get_parameter("use_sim_time").value:
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

        Raises:
            SafetyError: the arm is not there after 30 s, those not counted in which it is stopped.
        """
        end_ns = self.now_ns + int(_MOVE_LIMIT_S * 1e9)
        self.arm.set_target(q_rad, opening)
        yield
        while not (self.arm.arrived and np.allclose(self.arm.commanded[0], q_rad, atol=1e-6)):
            if self.arm.blocked_reason:
                # The target is kept, and followed once a person has reset the stop.
                end_ns = self.now_ns + int(_MOVE_LIMIT_S * 1e9)
            if self.now_ns > end_ns:
                raise SafetyError(
                    f"the arm did not reach {np.round(q_rad, 2).tolist()} rad within "
                    f"{_MOVE_LIMIT_S:g} s; clear its way, or move it there by hand"
                )
            yield

    def until_free(self) -> Steps:
        """Ask the servos how they are, and wait while the arm is stopped until a person's reset."""
        self.arm.check_hardware()
        while self.arm.stopped:
            self.phase = f"stopped: {self.arm.blocked_reason}"
            yield

    def settle(self) -> Steps:
        """Brake and wait until the arm was told to rest."""
        self.acting = False
        self.arm.hold()
        yield
        while not self.arm.at_rest:
            yield

    def park_arm(self) -> Steps:
        """Go to the sleep pose by way of the ready pose and let the torque go, if asked to."""
        if self.parameters.park:
            self.phase = "parking"
            opening = self.arm.commanded[1]
            yield from self.go_to(arm.READY_RAD, opening)
            yield from self.go_to(arm.SLEEP_RAD, opening)
            yield from self.release_arm()

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

    # --- how a mission is driven ---

    def _whole_mission(self) -> Steps:
        yield from self.mission()
        self.phase = "done"
        self.finish()

    def _come_to_rest(self, reason: str, then: Callable[[], None]) -> None:
        self.acting = False
        self._resting = True
        self.phase = f"coming to rest: {reason}"
        self._steps = self._steps_to_rest(reason, then)

    def _steps_to_rest(self, reason: str, then: Callable[[], None]) -> Steps:
        rested: list[bool] = []
        self.arm.shutdown(lambda: rested.append(True))
        while not rested:
            yield
        try:
            yield from self.episodes.end(None, reason)
        except EpisodeError as error:
            if self.stop_deadline_s is not None:
                self.exit_sentence = self.exit_sentence or str(error)
            self.get_logger().warning(str(error))
        self._resting = False
        self.phase = "inactive"
        then()

    def _require_rest(self, what: str) -> None:
        if self._resting:
            raise EpisodeError(
                f"node {self.get_name()} cannot {what} while it is {self.phase}; try again in a "
                "second"
            )

    def _advance(self) -> None:
        if self._steps is None:
            return
        steps = self._steps
        try:
            next(steps)
        except StopIteration:
            # Unless the last step has put others in its place.
            if self._steps is steps:
                self._steps = None

    def _on_tick(self) -> None:
        if self.acting:
            self.on_tick()

    def _on_task_state(self, message: String) -> None:
        self.task_state = json.loads(message.data)

    def say_status(self) -> None:
        """Put the mission and the arm on /diagnostics."""
        level = ERROR if self.exit_sentence else OK
        episode = {"episode_running": self.episodes.running, "bags": len(self.episodes.paths)}
        self.diagnostics.set("mission", level, self.exit_sentence or self.phase, episode)
        self.diagnostics.set("arm", *self.arm.status)
