"""What a node says about itself on /diagnostics, once a second and at once when it changes."""

from collections.abc import Mapping

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock, ClockType

from vla_ros.nodes import qos
from vla_ros.nodes.lifetime import ShellNode

# The message's own constants are bytes of length one.
OK, WARN, ERROR, STALE = range(4)
_PERIOD_S = 1.0


class Diagnostics:
    """Keeps the last status of each name and publishes all of them.

    Args:
        node: the node to live in; its name leads that of every status.
        hardware_id: what the statuses are about, such as the arm's or the camera's name.
    """

    def __init__(self, node: ShellNode, hardware_id: str = ""):
        self._node = node
        self._hardware_id = hardware_id
        self._statuses: dict[str, DiagnosticStatus] = {}
        self._publisher = node.create_publisher(
            DiagnosticArray, qos.DIAGNOSTICS_TOPIC, qos.DIAGNOSTICS
        )
        # Wall time: that simulated time stands still is worth hearing too.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        node.create_timer(_PERIOD_S, self.publish, clock=steady)

    def set(
        self, name: str, level: int, message: str, values: Mapping[str, object] | None = None
    ) -> None:
        """Take over a status, and publish at once when its level is another than before.

        Args:
            name: short; readers see "<node>: <name>".
            level: OK, WARN, ERROR or STALE.
            message: one sentence.
            values: numbers behind it, with units in their names; each is written as text.
        """
        status = DiagnosticStatus(
            name=f"{self._node.get_name()}: {name}",
            level=bytes([level]),
            message=message,
            hardware_id=self._hardware_id,
            values=[KeyValue(key=key, value=str(value)) for key, value in (values or {}).items()],
        )
        before = self._statuses.get(name)
        self._statuses[name] = status
        if before is None or before.level != status.level:
            self.publish()

    def publish(self) -> None:
        """Publish every status that was ever set."""
        if self._statuses:
            message = DiagnosticArray(status=list(self._statuses.values()))
            message.header.stamp = self._node.get_clock().now().to_msg()
            self._publisher.publish(message)
