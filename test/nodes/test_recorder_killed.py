"""A real recorder process, killed while it writes, and the one that is started after it."""

import signal
import time

import pytest

rclpy = pytest.importorskip("rclpy")
pytestmark = pytest.mark.ros

from rclpy.node import Node  # noqa: E402
from rosbags.highlevel import AnyReader  # noqa: E402
from sensor_msgs.msg import JointState  # noqa: E402
from std_msgs.msg import String  # noqa: E402

from vla_ros.bags.repair import unfinished  # noqa: E402
from vla_ros.bags.torn_mcap import TornMcap  # noqa: E402
from vla_ros.core.episode import EpisodeEvent, RecordingState  # noqa: E402
from vla_ros.nodes import qos  # noqa: E402
from vla_ros.nodes.conversions import joint_state_to_msg  # noqa: E402

LIMIT_S = 60.0
JOINTS = "/wx250s/joint_states"


def start_recorder(graph):
    arguments = ["-p", f"out:={graph.folder}", "-p", "session:=s", "-p", "cameras:=['']"]
    return graph.start(*graph.node("recorder", *arguments, "-p", "backend:=rosbags"))


def until(node, condition):
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline
        rclpy.spin_once(node, timeout_sec=0.05)


def test_a_killed_recorder_loses_no_chunk_and_the_next_one_repairs_the_bag(graph, ros):
    recorder = start_recorder(graph)
    ros(domain=graph.domain)
    node, said = Node("commander"), []
    node.create_subscription(
        String,
        qos.RECORDING_TOPIC,
        lambda message: said.append(RecordingState.from_json(message.data).state),
        qos.LATCHED,
    )
    events = node.create_publisher(String, qos.EPISODE_TOPIC, qos.EPISODE)
    joints = node.create_publisher(JointState, JOINTS, 10)
    until(
        node, lambda: said and events.get_subscription_count() and joints.get_subscription_count()
    )
    events.publish(String(data=EpisodeEvent("start", "play-1", "play").to_json()))
    until(node, lambda: said[-1] == "waiting")
    stamps = list(range(1, 21))
    for stamp in stamps:
        joints.publish(joint_state_to_msg(stamp, ("waist",), [0.5]))
    file = graph.folder / "s" / "play-1.part" / "play-1" / "play-1.mcap"

    def on_disk():
        return file.exists() and len(list(TornMcap(file).messages())) > len(stamps)

    # No end of the episode and no full chunk: the recorder writes of its own accord.
    until(node, on_disk)
    recorder.send_signal(signal.SIGKILL)
    recorder.wait()
    assert list(unfinished([graph.folder])) == [graph.folder / "s" / "play-1.part"]
    said.clear()
    start_recorder(graph)
    until(node, lambda: said and (graph.folder / "s" / "play-1").exists())
    assert said == ["idle"]
    node.destroy_node()
    with AnyReader([graph.folder / "s" / "play-1"]) as reader:
        found = [
            reader.deserialize(raw, connection.msgtype).header.stamp.nanosec
            for connection, _, raw in reader.messages()
            if connection.topic == JOINTS
        ]
    assert found == stamps
