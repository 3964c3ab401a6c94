"""What the explorer, the policy and the teacher share: how a mission that moves the arm is driven.

A mission is a generator of the steps in `mission`. A timer advances it, so no callback ever blocks.
Motion within an episode happens in `on_tick`, before each command.

However the work ends - done, deactivated, failed, or stopped by a signal - the arm is braked to
rest first, and the running episode is ended.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass

from rclpy.clock import Clock, ClockType

from vla_ros.core.errors import EpisodeError, VlaError
from vla_ros.core.limits import SafetyParameters
from vla_ros.core.monitor import MonitorLimits
from vla_ros.nodes import qos
from vla_ros.nodes.arm_client import ArmClient
from vla_ros.nodes.diagnostics import ERROR, OK, Diagnostics
from vla_ros.nodes.episodes import Episodes, Steps
from vla_ros.nodes.mission import MissionNode
from vla_ros.nodes.params import changes, declare, group, parameter

_MISSION_PERIOD_S = 0.01
_STATUS_PERIOD_S = 1.0


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
    safety: SafetyParameters = group(SafetyParameters, "safety")
    monitor: MonitorLimits = group(MonitorLimits, "safety")


class CommanderNode(MissionNode):
    """A node that moves the arm in episodes; subclasses write `mission` and `on_tick`.

    Args:
        name: of the node.
        kind: of its episodes, "play", "demo" or "policy".
        parameters_class: its parameters.

    Attributes:
        parameters: their values.
        limits: what the arm may do, from `configure` on.
    """

    def __init__(self, name: str, kind: str, parameters_class: type[CommanderParameters]):
        super().__init__(name)
        self.parameters = declare(self, parameters_class)
        self._kind = kind
        self.arm: ArmClient | None = None
        self.episodes: Episodes | None = None
        self._steps: Generator | None = None
        self._resting = False

    def configure(self) -> None:
        """Create what the node talks through; nothing moves.

        Raises:
            SafetyError: the limits leave out what the arm must be able to do.
        """
        parameters = self.parameters
        self.limits = parameters.safety.limits()
        self.episodes = Episodes(self, self._kind, parameters.record, parameters.recorder_wait_s)
        self.episodes.settings = changes(parameters)
        self.meet_scene()
        self.arm = self.meet_arm()
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
            self.episodes.flush()
            self.episodes = None

    # --- what subclasses write ---

    def mission(self) -> Steps:
        """Yield while waiting; returning ends the node with exit code 0."""
        raise NotImplementedError

    def on_tick(self) -> None:
        """Set the arm's target; called before each command while the arm is active and `acting`."""

    def meet_arm(self) -> ArmClient:
        """Return the way to the arm; part of `configure`."""
        parameters = self.parameters
        return ArmClient(
            *(self, parameters.robot_name, parameters.driver_wait_s, self._on_tick),
            *(self.limits, parameters.monitor),
        )

    # --- what missions end with ---

    def parked_after(self, work: Steps) -> Steps:
        """Do the work, then park; also where it failed: nobody may be there to find the arm up.

        Raises:
            VlaError: what the work raised, once the arm is parked.
        """
        failure = None
        try:
            yield from work
        except VlaError as error:
            failure = error
            self.get_logger().error(f"parking, because {error}")
            yield from self.settle()
            self.episodes.abandon(str(error))
        try:
            yield from self.park_arm()
        except VlaError as error:
            # What came first is what somebody has to know.
            self.get_logger().error(f"could not park: {error}")
            raise (failure or error) from None
        if failure is not None:
            raise failure

    def park_arm(self) -> Steps:
        """Lie down without torque, if asked to, and unless it does."""
        if self.parameters.park and not self.arm.is_limp:
            self.phase = "parking"
            yield from self.lie_down(self.arm.commanded[1])

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

    def say_status(self) -> None:
        """Put the mission and the arm on /diagnostics."""
        level = ERROR if self.exit_sentence else OK
        episode = {"episode_running": self.episodes.running, "bags": len(self.episodes.paths)}
        self.diagnostics.set("mission", level, self.exit_sentence or self.phase, episode)
        self.diagnostics.set("arm", *self.arm.status)
