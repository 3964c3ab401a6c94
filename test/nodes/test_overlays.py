"""Overlays on the graph: made behind answers, for who listens, and nobody's end."""

import threading
import time
import types

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy")
pytestmark = pytest.mark.ros

from policy_servers import SEEN, Runner, runner_at, served  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from sensor_msgs.msg import CompressedImage  # noqa: E402
from std_msgs.msg import Float32MultiArray  # noqa: E402
from tiny_policies import apt  # noqa: E402

from vla_ros.nodes import qos  # noqa: E402
from vla_ros.nodes.inference import Inference  # noqa: E402
from vla_ros.nodes.lifetime import ShellNode  # noqa: E402
from vla_ros.nodes.overlays import OverlayPublisher, gates_to_msg, overlays_for  # noqa: E402
from vla_ros.nodes.policy_parameters import PolicyParameters  # noqa: E402
from vla_ros.policy.apt.gates import Gates  # noqa: E402
from vla_ros.policy.overlays import SIDE_PX  # noqa: E402
from vla_ros.policy.pictures import decode_jpeg  # noqa: E402
from vla_ros.policy.runner import runner_of  # noqa: E402

LIMIT_S = 30.0


class Stage:
    """A node with a policy, and who looks at what it publishes."""

    def __init__(self):
        self.node, self.inference = ShellNode("policy"), Inference()
        self.runner = runner_of(apt())
        self.chunk = self.inference.call(lambda: self.runner.act(SEEN))
        self.publisher = OverlayPublisher(self.node, self.runner, self.inference, 0.0)
        self.pictures, self.gates = [], []
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(self.node)

    def listen(self):
        topic = qos.attention_topic("front")
        self.node.create_subscription(CompressedImage, topic, self.pictures.append, qos.PREVIEW)
        self.node.create_subscription(
            Float32MultiArray, qos.GATES_TOPIC, self.gates.append, qos.PREVIEW
        )

    def answer(self):
        """Have the network's thread answer once, and what is on the graph arrive."""
        self.inference.call(lambda: self.publisher.answered(SEEN, self.chunk))
        self.executor.spin_once(timeout_sec=0.02)

    def until(self, condition):
        deadline = time.monotonic() + LIMIT_S
        while not condition():
            assert time.monotonic() < deadline
            self.answer()


@pytest.fixture
def stage(ros, monkeypatch):
    monkeypatch.setattr("vla_ros.policy.runner.MAX_CHUNK_TRANSLATION_M", 100.0)
    monkeypatch.setattr("vla_ros.nodes.overlays._LOOK_S", 0.02)
    ros()
    made = Stage()
    yield made
    made.inference.close(LIMIT_S)
    made.executor.shutdown()
    made.node.destroy_node()


def test_who_listens_sees_where_the_policy_looks_and_how_open_its_gates_are(stage):
    asked, make = [], stage.publisher._of

    def of(*arguments):
        asked.append(threading.current_thread().name)
        return make(*arguments)

    stage.publisher._of = of
    for _ in range(5):
        stage.answer()
    assert asked == []  # nobody listens
    stage.listen()
    stage.until(lambda: stage.pictures and stage.gates)
    assert set(asked) == {"inference"}
    picture = decode_jpeg(bytes(stage.pictures[0].data), "overlay")
    assert picture.shape == (SIDE_PX, SIDE_PX, 3)
    assert stage.pictures[0].header.stamp.nanosec == SEEN.pictured_ns
    (row,) = np.reshape(stage.gates[0].data, (-1, 4))
    assert row[:3].tolist() == [0.5, 0.5, 0.5]  # of a fresh policy
    # However many were made between two looks, none is left to wait for the next ones.
    for _ in range(3):
        stage.inference.call(lambda: stage.publisher.answered(SEEN, stage.chunk))
    stage.inference.call(lambda: None)  # behind the last overlay
    assert stage.publisher._made.qsize() > 1
    stage.publisher._look()
    assert stage.publisher._made.empty()
    # Not more often than may be.
    stage.publisher._period_s = 1e6
    stage.until(lambda: stage.publisher._not_before_s > 1e5)
    count = len(asked)
    for _ in range(5):
        stage.answer()
    assert len(asked) == count


def test_what_fails_is_said_and_answers_go_on(stage):
    said, calls = [], []
    stage.publisher._logger = types.SimpleNamespace(
        error=lambda text, **_: said.append(text), warning=lambda text, **_: said.append(text)
    )

    def of(*_):
        calls.append(1)
        raise RuntimeError("out of memory")

    stage.publisher._of = of
    stage.listen()
    stage.until(lambda: len(calls) > 1 and said)  # and it is tried again
    assert said[0].startswith("no overlay: Traceback")
    assert "out of memory" in said[0]
    assert stage.inference.call(lambda: 1) == 1


def test_a_server_gives_none_and_that_is_said():
    said = []
    logger = types.SimpleNamespace(warning=said.append)
    node = types.SimpleNamespace(get_logger=lambda: logger)
    with served(Runner()) as address, runner_at(address) as far:
        assert overlays_for(node, far, None, PolicyParameters()) is None
        assert said == []
        assert overlays_for(node, far, None, PolicyParameters(overlays=True)) is None
    assert said == [said[0]]
    assert said[0].startswith("no overlays: a policy server gives none")


def test_gates_are_a_row_a_layer_and_say_what_they_are():
    values = np.float32([[0.25, 0.75], [0.0, 1.0], [0.5, 0.5]])
    message = gates_to_msg(Gates((0, 2, 5), values, np.float32([0.125, 0.25, 1.0])))
    rows, columns = message.layout.dim
    assert (rows.label, rows.size, rows.stride) == ("slot 0,2,5", 3, 12)
    assert (columns.label, columns.size, columns.stride) == (
        *("gate_mean,gate_min,gate_max,backbone_share", 4, 4),
    )
    assert np.reshape(message.data, (3, 4)).tolist() == [
        *([0.5, 0.25, 0.75, 0.125], [0.5, 0.0, 1.0, 0.25], [0.5, 0.5, 0.5, 1.0]),
    ]
