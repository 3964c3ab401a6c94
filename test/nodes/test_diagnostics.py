"""What is set on a Diagnostics arrives on /diagnostics."""

import time

import pytest

rclpy = pytest.importorskip("rclpy")
pytestmark = pytest.mark.ros

from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402

from vla_ros.nodes import qos  # noqa: E402
from vla_ros.nodes.diagnostics import OK, WARN, Diagnostics  # noqa: E402
from vla_ros.nodes.lifetime import ShellNode  # noqa: E402


@pytest.fixture
def heard(ros):
    """Return (diagnostics, function that spins until so many arrays have come and returns them)."""
    ros()
    node, arrays = ShellNode("camera"), []
    node.create_subscription(DiagnosticArray, qos.DIAGNOSTICS_TOPIC, arrays.append, qos.DIAGNOSTICS)
    diagnostics = Diagnostics(node, "front")
    executor = SingleThreadedExecutor()
    executor.add_node(node)

    def wait_for(count, limit_s=20.0):
        deadline = time.monotonic() + limit_s
        while len(arrays) < count:
            assert time.monotonic() < deadline, f"{len(arrays)} arrays, not {count}"
            executor.spin_once(timeout_sec=0.1)
        return [[(s.name, s.level, s.message) for s in array.status] for array in arrays]

    while diagnostics._publisher.get_subscription_count() == 0:
        executor.spin_once(timeout_sec=0.05)
    yield diagnostics, wait_for, arrays
    node.destroy_node()


def test_a_status_names_node_hardware_and_values_and_is_repeated(heard):
    diagnostics, wait_for, arrays = heard
    diagnostics.set("images", OK, "images arrive", {"rate_hz": 29.5, "stalls": 2})
    said = wait_for(2)
    assert said[0] == said[1] == [("camera: images", b"\x00", "images arrive")]
    status = arrays[0].status[0]
    assert status.hardware_id == "front"
    assert [(v.key, v.value) for v in status.values] == [("rate_hz", "29.5"), ("stalls", "2")]
    assert arrays[0].header.stamp.sec > 0


def test_another_level_is_said_at_once_and_the_same_level_waits(heard):
    diagnostics, wait_for, _ = heard
    diagnostics.set("images", OK, "first")
    diagnostics.set("images", OK, "second")
    diagnostics.set("images", WARN, "third")
    diagnostics.set("disk", OK, "fourth")
    said = [[message for _, _, message in array] for array in wait_for(3)]
    assert said == [["first"], ["third"], ["third", "fourth"]]
