"""What the driver is asked, when an answer is lost; the whole chain is tested with real nodes."""

from types import SimpleNamespace

import pytest

from vla_ros.core import arm
from vla_ros.nodes.driver_setup import DriverSetup


class _Future:
    def __init__(self):
        self._done = []

    def add_done_callback(self, done) -> None:
        self._done.append(done)

    def answer(self, result) -> None:
        self._result = result
        for done in self._done:
            done(self)

    def result(self):
        return self._result


class _Client:
    def __init__(self, srv_name: str):
        self.srv_name, self.asked = srv_name, []

    def service_is_ready(self) -> bool:
        return True

    def call_async(self, _) -> _Future:
        self.asked.append(_Future())
        return self.asked[-1]


class _Node:
    """A node whose timers go when the test says so."""

    def __init__(self):
        self.timers, self.clients, self.failed = [], {}, []
        self.fail = self.failed.append

    def create_client(self, _, name: str) -> _Client:
        return self.clients.setdefault(name.rpartition("/")[2], _Client(name))

    def destroy_client(self, client) -> None:
        pass

    def create_timer(self, period_s: float, callback, clock) -> SimpleNamespace:
        self.timers.append(SimpleNamespace(period_s=period_s, callback=callback))
        return self.timers[-1]

    def destroy_timer(self, timer) -> None:
        self.timers.remove(timer)

    def count_publishers(self, _: str) -> int:
        return 1

    def pass_time(self, period_s: float) -> None:
        for timer in [timer for timer in self.timers if timer.period_s == period_s]:
            timer.callback()


@pytest.fixture
def node() -> _Node:
    node = _Node()
    node.setup = DriverSetup(node, "wx250s", 30.0, lambda: True, lambda _: None, str, None)
    node.pass_time(0.1)
    return node


ARM = SimpleNamespace(joint_names=arm.ARM_JOINTS, mode="position", profile_type="time")
_AGAIN_S = 2.0


def test_a_question_that_is_lost_is_asked_again_and_its_first_answer_counts(node):
    asked, modes = node.clients["get_robot_info"].asked, node.clients["set_operating_modes"].asked
    assert len(asked) == 1
    node.pass_time(_AGAIN_S)
    assert len(asked) == 2
    asked[1].answer(ARM)
    assert len(modes) == 1
    # The first was late, not lost: nothing is done twice.
    asked[0].answer(ARM)
    node.pass_time(_AGAIN_S)
    assert (len(asked), len(modes)) == (2, 1)
    assert not node.failed


def test_what_writes_is_asked_once(node):
    node.clients["get_robot_info"].asked[0].answer(ARM)
    node.pass_time(_AGAIN_S)
    assert len(node.clients["set_operating_modes"].asked) == 1


def test_who_is_cancelled_asks_nothing_more(node):
    node.setup.cancel()
    assert not node.timers
    node.clients["get_robot_info"].asked[0].answer(ARM)
    assert not node.clients["set_operating_modes"].asked
