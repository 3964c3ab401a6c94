"""How the stream of commands begins: the driver is prepared, then the arm is seen where it is.

And how it goes on with a driver that was away: prepared again, for it may be another process.
"""

import time
from collections.abc import Callable

from vla_ros.core.command_loop import CommandLoop
from vla_ros.core.seen import Seen
from vla_ros.nodes.arm_stream import CommandStream, MeasuredArm
from vla_ros.nodes.driver_setup import DriverError, DriverSetup, Register
from vla_ros.nodes.lifetime import ShellNode


class ArmStart:
    """Looks for the driver, prepares it, and begins where the arm is.

    Args:
        node: the node to live in.
        robot_name: the driver's namespace.
        wait_s: how long the driver may take to appear, and a fresh joint state to come [s, wall].
        loop: what commands the arm.
        measured: where it is.
        stream: what tells it.

    Attributes:
        registers: those that the driver was made to write.
    """

    def __init__(
        self,
        node: ShellNode,
        robot_name: str,
        wait_s: float,
        loop: CommandLoop,
        measured: MeasuredArm,
        stream: CommandStream,
    ):
        self._node, self._name, self._wait_s = node, robot_name, wait_s
        self._loop, self._arm, self._stream = loop, measured, stream
        self._setup: DriverSetup | None = None
        # Steady time until which a fresh joint state must come for the stream to begin.
        self._begins_by_s: float | None = None
        self.registers: list[Register] = []

    def start(self) -> None:
        """Look for the driver and prepare it; harmless while that is under way."""
        if self._setup is None and self._begins_by_s is None:
            self._setup = DriverSetup(
                self._node,
                self._name,
                self._wait_s,
                lambda: self._arm.pose is not None,
                self._on_prepared,
                self._stream.rivals,
                self._aim_where_it_is,
            )

    def again(self, prepared: Callable[[], None]) -> None:
        """Prepare the driver once more, then call `prepared`; harmless while that is under way.

        Where the arm is without torque it stays so: it may have fallen, and a hand be under it.
        """

        def ready(registers: list[Register]) -> None:
            self._setup = None
            self.registers = registers
            prepared()

        if self._setup is None:
            self._setup = DriverSetup(
                *(self._node, self._name, self._wait_s, lambda: True, ready, self._stream.rivals),
                aim=None,
            )

    def cancel(self) -> None:
        """Ask nothing more, and do not begin."""
        if self._setup is not None:
            self._setup.cancel()
            self._setup = None
        self._begins_by_s = None

    def begins(self, see: Callable[[], Seen]) -> bool:
        """Begin once the driver is prepared and the pose is fresh; return whether it begins now.

        The arm may have been moved since it was last seen.

        Args:
            see: returns what is known of the arm.

        Raises:
            DriverError: there is no fresh pose for too long.
        """
        if self._begins_by_s is None:
            return False
        freshness = self._loop.freshness(see())
        if freshness.level == "go":
            self._begins_by_s = None
            self._loop.begin(*self._arm.pose)
            return True
        if time.monotonic() > self._begins_by_s:
            self._begins_by_s = None
            raise DriverError(f"the arm cannot begin: {freshness.sentence}")
        return False

    def _on_prepared(self, registers: list[Register]) -> None:
        self._setup = None
        self.registers = registers
        self._begins_by_s = time.monotonic() + self._wait_s

    def _aim_where_it_is(self) -> None:
        """Set the goal of a limp arm's servos to its pose; DriverError where it is stopped."""
        if self._loop.is_stopped:
            raise DriverError(
                f"the arm is without torque and stopped ({self._loop.stop_reason}): reset it first"
            )
        self._stream.send(*self._arm.pose)
