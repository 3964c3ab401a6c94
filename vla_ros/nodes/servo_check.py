"""Asks the servos how they are, between two motions and never while one runs.

xs_sdk reads registers servo by servo on the thread that also reads the joint states, so a question
costs a few periods of these.
"""

import time
from collections import Counter
from collections.abc import Callable

from interbotix_xs_msgs.srv import RegisterValues

from vla_ros.core.hardware import HOT_C, hottest, servo_fault
from vla_ros.core.monitor import SERVOS
from vla_ros.nodes.driver_setup import call
from vla_ros.nodes.lifetime import ShellNode

_PERIOD_S = 1.0
# An unanswered question is asked again after this time [s].
_PATIENCE_S = 10.0
_TRIES = 3
# Who is asked what. The second servos of shoulder and elbow are in no group.
_SHADOWS = ("shoulder_shadow", "elbow_shadow")
_QUESTIONS = (
    ("group", "all", "Hardware_Error_Status", SERVOS),
    *(("single", name, "Hardware_Error_Status", (name,)) for name in _SHADOWS),
    ("group", "all", "Present_Temperature", SERVOS),
)


class ServoCheck:
    """Reads error and temperature registers, one question after the other.

    Args:
        node: the node to live in.
        robot_name: the driver's namespace.
        on_fault: called with one sentence when a servo is in error or too hot.

    Attributes:
        hottest: name and temperature [degrees Celsius] of the hottest servo; ("", 0) unknown.
        checks: how many times every question was answered.
    """

    def __init__(self, node: ShellNode, robot_name: str, on_fault: Callable[[str], None]):
        self._node = node
        self._logger = node.get_logger()
        self._on_fault = on_fault
        self._client = node.create_client(RegisterValues, f"/{robot_name}/get_motor_registers")
        self._asked_s = -float("inf")
        self._open: list[tuple] = []
        # How often the driver failed to answer each question that it has never answered; after a
        # few times it is not asked any more.
        self._failures: Counter[tuple] = Counter()
        self._answered: set[tuple] = set()
        self.hottest: tuple[str, int] = ("", 0)
        self.checks = 0

    def ask(self) -> bool:
        """Start a check, unless one was started in the last second; return whether it was."""
        elapsed_s = time.monotonic() - self._asked_s
        if elapsed_s < (_PATIENCE_S if self._open else _PERIOD_S):
            return False
        self._asked_s = time.monotonic()
        self._open = [q for q in _QUESTIONS if self._failures[q] < _TRIES]
        self._next()
        return True

    def _next(self) -> None:
        if not self._open:
            self.checks += 1
            return
        question = self._open[0]
        cmd_type, name, register, _ = question
        request = RegisterValues.Request(cmd_type=cmd_type, name=name, reg=register)
        call(self._node, self._client, request, lambda answer: self._heard(question, answer))

    def _heard(self, question: tuple, answer: RegisterValues.Response) -> None:
        if not self._open or self._open[0] is not question:
            return  # the late answer to a question that was asked again
        del self._open[0]
        _, name, register, servos = question
        if len(answer.values) != len(servos):
            # An empty answer is a failed read, or a driver that does not know the register.
            self._failures[question] += question not in self._answered
            if self._failures[question] == _TRIES:
                self._logger.warning(f"the driver never tells {register} of {name}: not watched")
            self._next()
            return
        self._answered.add(question)
        if register == "Present_Temperature":
            self._judge_heat(servos, answer.values)
        elif sentence := servo_fault(servos, answer.values):
            self._on_fault(sentence)
        self._next()

    def _judge_heat(self, servos, temperatures_c) -> None:
        self.hottest = hottest(servos, temperatures_c)
        name, celsius = self.hottest
        if celsius >= HOT_C:
            self._on_fault(
                f"{name} is at {celsius} degrees Celsius and would shut itself down at 80: let it "
                "cool below 60 in the sleep pose, then call /vla/reset_stop"
            )
