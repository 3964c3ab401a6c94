"""The registers that the servos need while commands stream, and that a reboot makes them forget."""

from collections.abc import Callable

from interbotix_xs_msgs.srv import RegisterValues

from vla_ros.nodes.driver_setup import Register, call, write_registers
from vla_ros.nodes.lifetime import ShellNode
from vla_ros.nodes.question import Question

# How long the driver may take to answer all of it [s, wall].
_PATIENCE_S = 5.0


class RegisterRewrite:
    """Writes the registers again after a person's reset, and reads each back.

    Args:
        node: the node to live in.
        robot_name: the driver's namespace.
        written: called when the servos have them.
        failed: called with one sentence when they have not.
    """

    def __init__(
        self,
        node: ShellNode,
        robot_name: str,
        written: Callable[[], None],
        failed: Callable[[str], None],
    ):
        self._node, self._written, self._failed = node, written, failed
        prefix = f"/{robot_name}"
        self._writer = node.create_client(RegisterValues, f"{prefix}/set_motor_registers")
        self._reader = node.create_client(RegisterValues, f"{prefix}/get_motor_registers")
        self._question = Question(
            node, lambda: self._end(f"the driver did not answer for {_PATIENCE_S:g} s")
        )

    def start(self, registers: list[Register]) -> None:
        """Write them, one or more; what an earlier call has under way does not count any more."""
        is_waited_for = self._question.ask(_PATIENCE_S)
        unread = list(registers)

        def read_next() -> None:
            if not unread:
                self._end("")
                return
            cmd_type, name, register, value = unread.pop(0)
            request = RegisterValues.Request(cmd_type=cmd_type, name=name, reg=register)

            def check(answer: RegisterValues.Response) -> None:
                if not is_waited_for():
                    return
                found = list(answer.values)
                # A driver that tells nothing cannot be checked.
                if any(one != value for one in found):
                    self._end(f"{register} of {name} reads {found} where {value} was written")
                else:
                    read_next()

            call(self._node, self._reader, request, check)

        write_registers(self._node, self._writer, registers, read_next)

    def _end(self, problem: str) -> None:
        self._question.settle()
        if problem:
            self._failed(
                f"the servos' profile could not be written again ({problem}): look at the driver "
                "and the servos, then call /vla/reset_stop again"
            )
        else:
            self._written()
