"""The dead-man's switch, of a node and an arm that are none."""

import pytest

rclpy = pytest.importorskip("rclpy")
pytestmark = pytest.mark.ros

from std_msgs.msg import Bool  # noqa: E402

from vla_ros.nodes import deadman  # noqa: E402
from vla_ros.nodes.deadman import DeadMan  # noqa: E402


class Graph:
    """A node of which only the callbacks are left, and the arm's leash."""

    publishers, reason = 1, None

    def create_subscription(self, _kind, _topic, callback, _qos):
        self.say = lambda held: callback(Bool(data=held))

    def create_timer(self, _period_s, callback, clock):
        self.pass_time = callback

    def count_publishers(self, _topic):
        return self.publishers

    def leash(self, reason):
        self.reason = reason


@pytest.fixture
def graph(monkeypatch):
    graph, now = Graph(), [100.0]
    monkeypatch.setattr(deadman.time, "monotonic", lambda: now[0])
    DeadMan(graph, graph, 0.3)

    def go_on(seconds):
        now[0] += seconds
        graph.pass_time()

    graph.go_on = go_on
    return graph


def test_the_arm_is_held_unless_somebody_said_true_of_late(graph):
    assert graph.reason.startswith("the dead-man's switch is not held: say true")
    graph.say(True)
    assert graph.reason == ""
    graph.go_on(0.29)
    assert graph.reason == ""
    graph.go_on(0.02)
    assert "not held" in graph.reason
    graph.say(True)
    graph.say(False)
    assert "not held" in graph.reason


def test_while_two_say_it_nobody_is_believed(graph):
    graph.publishers = 2
    graph.say(True)
    graph.go_on(1.0)
    graph.say(True)
    assert graph.reason.startswith("2 nodes publish /vla/deadman")
    graph.publishers = 1
    graph.go_on(1.0)
    graph.say(True)
    assert graph.reason == ""
