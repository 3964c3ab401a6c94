"""Asks the servos how they are, between two motions and never while one runs.

xs_sdk reads registers servo by servo on the thread that also reads the joint states, so a question
costs a few periods of these.
"""

import time
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from interbotix_xs_msgs.srv import RegisterValues
from rclpy.clock import Clock, ClockType

from vla_ros.core.hardware import HeatWatch, servo_fault, torque_fault
from vla_ros.core.monitor import SERVOS
from vla_ros.nodes.driver_setup import call
from vla_ros.nodes.lifetime import ShellNode

_PERIOD_S = 1.0
# A torque that reads as off is read once more, so long after [s], and with joint states coming: a
# bus that fails gives the same answer twice in a moment.
_DOUBT_S = 0.5
_LOOK_S = 0.1
# An unanswered question is asked again after this time [s].
_PATIENCE_S = 10.0
_TRIES = 3


class _Question(NamedTuple):
    cmd_type: str
    name: str
    register: str
    servos: tuple[str, ...]


# Who is asked: all of a group, and the second servos of shoulder and elbow, which are in none.
_WHO = (
    ("group", "all", SERVOS),
    *(("single", name, (name,)) for name in ("shoulder_shadow", "elbow_shadow")),
)
_LIMIT = "Temperature_Limit"
# A servo in error has no torque either: the error comes first, for it says more.
_REGISTERS = ("Hardware_Error_Status", "Torque_Enable", _LIMIT, "Present_Temperature")
_QUESTIONS = tuple(
    _Question(cmd_type, name, register, servos)
    for register in _REGISTERS
    for cmd_type, name, servos in _WHO
)


class ServoCheck:
    """Reads error, torque and temperature registers, one question after the other.

    Args:
        node: the node to live in.
        robot_name: the driver's namespace.
        is_limp: returns whether the arm is without torque by somebody's wish: it needs none then,
            and to stop it would not cool it.
        is_fresh: returns whether joint states come in time.
        on_fault: called with one sentence when a servo is in error, without torque, or too hot.
        stale_s: a question that takes longer than this [s] lets the joint states grow too old.

    Attributes:
        heat: how warm the servos are.
        checks: how many times every question was answered.
    """

    def __init__(
        self,
        node: ShellNode,
        robot_name: str,
        is_limp: Callable[[], bool],
        is_fresh: Callable[[], bool],
        on_fault: Callable[[str], None],
        stale_s: float,
    ):
        self._node = node
        self._logger = node.get_logger()
        self._is_limp, self._is_fresh, self._on_fault = is_limp, is_fresh, on_fault
        self._stale_s, self._said_slow = stale_s, False
        self._client = node.create_client(RegisterValues, f"/{robot_name}/get_motor_registers")
        self._asked_s = self._sent_s = -float("inf")
        self._open: list[_Question] = []
        # How often the driver failed to answer each question that it has never answered; after a
        # few times it is not asked any more.
        self._failures: Counter[_Question] = Counter()
        self._answered: set[_Question] = set()
        # Whose torque was read as off once: a failed read looks the same.
        self._doubted: _Question | None = None
        self._doubted_s = 0.0
        self._is_waiting = False
        self._was_limp = False
        self.heat = HeatWatch()
        self.checks = 0
        node.create_timer(_LOOK_S, self._look, clock=Clock(clock_type=ClockType.STEADY_TIME))

    @property
    def is_asking(self) -> bool:
        """Whether answers are waited for; for no longer than 10 s after the last question."""
        return bool(self._open) and time.monotonic() - self._asked_s < _PATIENCE_S

    def ask(self) -> bool:
        """Start a check, unless one was started in the last second; return whether it was."""
        elapsed_s = time.monotonic() - self._asked_s
        if elapsed_s < (_PATIENCE_S if self._open else _PERIOD_S):
            return False
        self._asked_s = time.monotonic()
        self._was_limp, self._doubted, self._is_waiting = self._is_limp(), None, False
        self._open = [question for question in _QUESTIONS if self._is_due(question)]
        self._next()
        return True

    def _is_due(self, question: _Question) -> bool:
        # What does not change is asked until it is known.
        known = question.register == _LIMIT and question in self._answered
        return not known and self._failures[question] < _TRIES

    def _next(self) -> None:
        if not self._open:
            self.checks += 1
            return
        question = self._open[0]
        if question is self._doubted and not self._may_repeat:
            self._is_waiting = True
            return
        self._is_waiting = False
        self._sent_s = time.monotonic()
        cmd_type, name, register, _ = question
        request = RegisterValues.Request(cmd_type=cmd_type, name=name, reg=register)
        call(self._node, self._client, request, lambda answer: self._heard(question, answer))

    @property
    def _may_repeat(self) -> bool:
        return time.monotonic() - self._doubted_s >= _DOUBT_S and self._is_fresh()

    def _look(self) -> None:
        if self._is_waiting and self._may_repeat:
            self._next()

    def _heard(self, question: _Question, answer: RegisterValues.Response) -> None:
        if self._is_waiting or not self._open or self._open[0] is not question:
            return  # the late answer to a question that was asked again
        self._note_time(question)
        del self._open[0]
        if len(answer.values) == len(question.servos):
            self._answered.add(question)
            self._judge(question, answer.values)
        else:
            self._note_failure(question)
        self._next()

    def _note_time(self, question: _Question) -> None:
        took_s = time.monotonic() - self._sent_s
        if took_s > self._stale_s and not self._said_slow:
            self._said_slow = True
            self._logger.warning(
                f"the driver took {took_s:.2f} s to tell {question.register} of {question.name}, "
                f"longer than a joint state may be old ({self._stale_s:g} s): set the latency "
                "timer of the USB adapter to 1 ms, or raise safety.stale_s"
            )

    def _note_failure(self, question: _Question) -> None:
        # An empty answer is a failed read, or a driver that does not know the register.
        self._failures[question] += question not in self._answered
        if self._failures[question] == _TRIES:
            instead = "that of its model counts" if question.register == _LIMIT else "not watched"
            self._logger.warning(
                f"the driver never tells {question.register} of {question.name}: {instead}"
            )

    def _judge(self, question: _Question, values) -> None:
        servos, is_limp = question.servos, self._was_limp or self._is_limp()
        if question.register == _LIMIT:
            self.heat.learn_limits(servos, values)
        elif question.register == "Present_Temperature":
            self.heat.judge(servos, values)
            if self.heat.hot_reason and not is_limp:
                self._on_fault(self.heat.hot_reason)
        elif question.register == "Torque_Enable":
            sentence = "" if is_limp else torque_fault(servos, values)
            if sentence and self._doubted is not question:
                self._doubted, self._doubted_s = question, time.monotonic()
                self._open.insert(0, question)
            elif sentence:
                self._on_fault(sentence)
        elif sentence := servo_fault(servos, values):
            self._on_fault(sentence)
