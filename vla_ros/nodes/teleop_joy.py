"""A gamepad drives the arm: messages of /joy in, targets of the arm client out."""

import time
from collections.abc import Callable

import numpy as np
from rclpy.clock import Clock, ClockType
from sensor_msgs.msg import Joy

from vla_ros.core import arm as facts
from vla_ros.core.limits import SafetyLimits
from vla_ros.core.teleop import ANEW, FRAMES, Gamepad, TeleopParameters
from vla_ros.core.teleop_motion import TeleopMotion
from vla_ros.nodes import conversions, qos
from vla_ros.nodes.arm_client import COMMAND_PERIOD_S, ArmClient
from vla_ros.nodes.lifetime import ShellNode

# Without a tick for so long the world may be another [s, wall].
_GAP_S = 0.5
# How often it is looked who publishes [s, wall].
_LOOK_S = 1.0
_REACHED_RAD = 1e-3


class JoyTopic:
    """Hands a pad its messages, and what was pressed to who wants to know.

    Args:
        node: the node to live in.
        topic: of sensor_msgs/Joy.
        pad: follows them.
        on_press: called with one of `PRESSED` for each press.
        drives: whether the arm follows the pad, and it is worth a warning where it does not.
    """

    def __init__(
        self,
        node: ShellNode,
        topic: str,
        pad: Gamepad,
        on_press: Callable[[str], None],
        drives: bool,
    ):
        self._node, self._topic, self._pad, self._on_press = node, topic, pad, on_press
        self._drives = drives
        node.create_subscription(Joy, topic, self._on_joy, qos.DRIVER)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        node.create_timer(_LOOK_S, self._look, clock=steady)
        self._said = ""

    def _on_joy(self, message: Joy) -> None:
        stamp_ns = conversions.ns_from_stamp(message.header.stamp)
        for word in self._pad.hear(time.monotonic(), stamp_ns, message.axes, message.buttons):
            self._on_press(word)

    def _look(self) -> None:
        others = self._node.count_publishers(self._topic) - 1
        self._pad.forbid(
            f"{others + 1} nodes publish {self._topic}, and nobody knows which pad is held: "
            f"stop all but one, then {ANEW}"
            if others > 0
            else ""
        )
        problem = self._pad.problem
        if self._drives and problem and problem != self._said:
            self._node.get_logger().warning(f"the arm does not follow the pad: {problem}")
        self._said = problem


class JoyDriver:
    """Drives the arm as a pad asks, while it may; brakes and holds otherwise.

    Args:
        node: the node to live in.
        arm: what is driven.
        pad: who drives.
        limits: what the arm may do.
        parameters: speeds.
        frame: whose axes the sticks mean at first, "base" or "tool".

    Attributes:
        frame: whose they mean now.
        route: poses (6,) [rad] to go to, one after the other, instead of what the sticks say.
    """

    def __init__(
        self,
        node: ShellNode,
        arm: ArmClient,
        pad: Gamepad,
        limits: SafetyLimits,
        parameters: TeleopParameters,
        frame: str,
    ):
        self._logger = node.get_logger()
        self._arm, self._pad, self._parameters = arm, pad, parameters
        self._motion = TeleopMotion(limits, COMMAND_PERIOD_S)
        self._tick_s = -np.inf
        self.frame = frame
        self.route: list[np.ndarray] = []
        self.drives = False

    def press(self, word: str) -> None:
        """Do what a button asks for: "gripper", while the arm follows, or "frame"."""
        if word == "gripper" and self.drives:
            self._motion.toggle_gripper()
        elif word == "frame":
            self.frame = FRAMES[1 - FRAMES.index(self.frame)]
            self._logger.info(f"the sticks move the tool along the axes of the {self.frame}")

    def tick(self) -> None:
        """Set the target of the next command."""
        now_s = time.monotonic()
        gap_s, self._tick_s = now_s - self._tick_s, now_s
        if self._arm.blocked_reason:
            self._pad.release(f"{self._arm.blocked_reason}; {ANEW}")
        elif gap_s > _GAP_S:
            self._pad.release(f"the arm was held for {gap_s:.1f} s; {ANEW}")
        if not self._pad.follows(now_s, is_led=bool(self.route)):
            # Braking comes before all else, also where nothing was driven.
            self.drives = False
            self._arm.hold()
            return
        if not self.drives:
            if not self._arm.at_rest or self._arm.asks_servos:
                return
            self._motion.begin(*self._arm.commanded)
            self.drives = True
        if self._arm.asks_servos and self._arm.at_rest:
            return  # nothing shall move while they answer
        self._drive(self._arm.commanded[0])
        self._arm.set_target(*self._motion.target)

    def _drive(self, q_commanded: np.ndarray) -> None:
        if self.route and np.abs(q_commanded - self.route[0]).max() < _REACHED_RAD:
            del self.route[0]
        goal = self.route[0] if self.route else facts.READY_RAD if self._pad.wants_home else None
        twist = self._pad.twist
        # The sticks lead round what is in the way.
        if goal is None or twist.any():
            self._motion.step(twist, self.frame, q_commanded)
        else:
            self._motion.approach(goal, self._parameters.home_rad_s, q_commanded)

    def lead(self, route: list[np.ndarray]) -> None:
        """Go to poses (6,) [rad], one after the other, once the button is pressed anew."""
        self._pad.release(f"the arm goes by itself from here on, while the button is held: {ANEW}")
        self.route[:] = route

    @property
    def hindered(self) -> bool:
        """Whether the arm goes another way than asked, or stands, because of its limits."""
        return self.drives and self._motion.hindered
