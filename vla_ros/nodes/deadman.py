"""A dead-man's switch: the arm moves only while somebody says, again and again, that it may."""

import time

from rclpy.clock import Clock, ClockType
from std_msgs.msg import Bool

from vla_ros.nodes import qos
from vla_ros.nodes.arm_client import ArmClient
from vla_ros.nodes.lifetime import ShellNode

_LOOK_S = 0.02
# How often it is looked who publishes [s, wall].
_LOOK_AROUND_S = 1.0


class DeadMan:
    """Holds the arm unless /vla/deadman (std_msgs/Bool) said true within the last moment.

    Every motion is held, that to the ready pose and to the cradle too. What was under way is gone
    on with when it is true again, and nothing latches: a true that is there from the start counts,
    and so does one after a silence. An emergency stop is another thing. While two nodes publish,
    the arm is held: one's true would undo the other's false.

    Args:
        node: the node to live in.
        arm: whom to hold.
        timeout_s: how long one true counts [s, wall].
    """

    def __init__(self, node: ShellNode, arm: ArmClient, timeout_s: float):
        self._node, self._arm, self._timeout_s = node, arm, timeout_s
        self._until_s = self._looked_s = -float("inf")
        self._count = 0
        node.create_subscription(Bool, qos.DEADMAN_TOPIC, self._on_said, qos.DEADMAN)
        # Wall time: a hand is real, whatever the simulation's clock does.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        node.create_timer(_LOOK_S, self._look, clock=steady)
        self._look()

    def _on_said(self, message: Bool) -> None:
        self._until_s = time.monotonic() + self._timeout_s if message.data else -float("inf")
        self._look()

    def _look(self) -> None:
        now_s = time.monotonic()
        if now_s - self._looked_s >= _LOOK_AROUND_S:
            self._looked_s = now_s
            self._count = self._node.count_publishers(qos.DEADMAN_TOPIC)
        reason = ""
        if self._count > 1:
            reason = (
                f"{self._count} nodes publish {qos.DEADMAN_TOPIC}, and nobody knows which switch "
                "is held: stop all but one"
            )
        elif now_s >= self._until_s:
            reason = (
                "the dead-man's switch is not held: say true on "
                f"{qos.DEADMAN_TOPIC} at least every {self._timeout_s:g} s"
            )
        self._arm.leash(reason)
