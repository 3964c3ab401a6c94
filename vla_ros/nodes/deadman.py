"""A dead-man's switch: the arm moves only while somebody says, again and again, that it may."""

import time

from rclpy.clock import Clock, ClockType
from std_msgs.msg import Bool

from vla_ros.nodes import qos
from vla_ros.nodes.arm_client import ArmClient
from vla_ros.nodes.lifetime import ShellNode

_LOOK_S = 0.02


class DeadMan:
    """Holds the arm unless /vla/deadman (std_msgs/Bool) said true within the last moment.

    Every motion is held, that to the ready pose and to the cradle too. What was under way is gone
    on with when it is true again, and nothing latches: an emergency stop is another thing.

    Args:
        node: the node to live in.
        arm: whom to hold.
        timeout_s: how long one true counts [s, wall].
    """

    def __init__(self, node: ShellNode, arm: ArmClient, timeout_s: float):
        self._arm, self._timeout_s = arm, timeout_s
        self._until_s = -float("inf")
        node.create_subscription(Bool, qos.DEADMAN_TOPIC, self._on_said, qos.DEADMAN)
        # Wall time: a hand is real, whatever the simulation's clock does.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        node.create_timer(_LOOK_S, self._look, clock=steady)
        self._look()

    def _on_said(self, message: Bool) -> None:
        self._until_s = time.monotonic() + self._timeout_s if message.data else -float("inf")
        self._look()

    def _look(self) -> None:
        is_held = time.monotonic() < self._until_s
        reason = (
            "the dead-man's switch is not held: say true on "
            f"{qos.DEADMAN_TOPIC} at least every {self._timeout_s:g} s"
        )
        self._arm.leash("" if is_held else reason)
