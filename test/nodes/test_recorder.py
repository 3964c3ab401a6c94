"""The recorder against a commander and a driver made of plain publishers, in this process."""

import errno
import time

import pytest

rclpy = pytest.importorskip("rclpy")
pytestmark = pytest.mark.ros

from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.node import Node  # noqa: E402
from rosbags.highlevel import AnyReader  # noqa: E402
from sensor_msgs.msg import JointState  # noqa: E402
from std_msgs.msg import String  # noqa: E402

from vla_ros.core.episode import EpisodeEvent, RecordingState  # noqa: E402
from vla_ros.core.errors import VlaError  # noqa: E402
from vla_ros.nodes import qos  # noqa: E402
from vla_ros.nodes.conversions import joint_state_to_msg  # noqa: E402
from vla_ros.nodes.params import ParameterError  # noqa: E402
from vla_ros.nodes.recorder import RecorderNode  # noqa: E402
from vla_ros.nodes.recorder_topics import message_class, topics_to_record  # noqa: E402

DISCOVERY_LIMIT_S = 20.0


class Stage:
    """A recorder without cameras, the publishers it listens to, and what it said."""

    def __init__(self, ros, out, *arguments):
        parameters = ["-p", f"out:={out}", "-p", "session:=s", "-p", "cameras:=['']"]
        ros(*parameters, "-p", "min_free_mb:=0", *arguments)
        self.recorder = RecorderNode()
        self.recorder.bring_up()
        self.peer = Node("peer")
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(self.recorder)
        self.executor.add_node(self.peer)
        self.said = []
        self.peer.create_subscription(
            String,
            qos.RECORDING_TOPIC,
            lambda message: self.said.append(RecordingState.from_json(message.data)),
            qos.LATCHED,
        )
        self.joints = self.peer.create_publisher(JointState, "/wx250s/joint_states", 10)
        self.events = self.peer.create_publisher(String, qos.EPISODE_TOPIC, qos.EPISODE)
        self.task = self.peer.create_publisher(String, qos.TASK_TOPIC, qos.LATCHED)
        self.until(lambda: self.joints.get_subscription_count() and self.said)
        self.until(lambda: self.events.get_subscription_count())

    def until(self, condition):
        deadline = time.monotonic() + DISCOVERY_LIMIT_S
        while not condition():
            assert time.monotonic() < deadline, f"the recorder said {self.said}"
            self.executor.spin_once(timeout_sec=0.05)

    def say(self, event, episode_id="play-1", **facts):
        said = EpisodeEvent(event, episode_id, "play", **facts)
        self.events.publish(String(data=said.to_json()))

    def move(self):
        self.joints.publish(joint_state_to_msg(7, ("waist",), [0.5]))

    def until_state(self, state, episode_id="play-1"):
        self.until(lambda: (self.said[-1].state, self.said[-1].episode_id) == (state, episode_id))

    def close(self):
        self.recorder.close()
        self.recorder.destroy_node()
        self.peer.destroy_node()


@pytest.fixture
def stage(ros, tmp_path):
    stages = []

    def make(*arguments):
        stages.append(Stage(ros, tmp_path, *arguments))
        return stages[-1]

    yield make
    for made in stages:
        made.close()


def topics_in(path):
    with AnyReader([path]) as reader:
        return [connection.topic for connection, _, _ in reader.messages()]


def test_recording_starts_once_the_topics_arrived_and_ends_with_a_whole_bag(stage, tmp_path):
    scene = stage()
    scene.task.publish(String(data="put it there"))
    scene.until(lambda: list(scene.recorder._latched.messages()))
    scene.say("start")
    scene.until_state("waiting")
    assert scene.said[-1].missing == ("/wx250s/joint_states",)
    scene.move()
    scene.until_state("recording")
    scene.move()
    scene.until(lambda: scene.recorder._bag.messages == 4)
    scene.say("end", success=True)
    scene.until_state("saved")
    path = tmp_path / "s" / "play-1"
    assert scene.said[-1].path == str(path)
    assert topics_in(path) == [
        "/vla/task",
        "/vla/episode",
        "/wx250s/joint_states",
        "/wx250s/joint_states",
        "/vla/episode",
    ]


def test_an_episode_whose_topics_never_come_fails_and_names_them(stage):
    scene = stage("-p", "start_timeout_s:=0.1")
    scene.say("start")
    scene.until_state("failed")
    assert scene.said[-1].missing == ("/wx250s/joint_states",)
    assert "no message within 0.1 s on /wx250s/joint_states" in scene.said[-1].detail
    assert not scene.recorder.done.done()


def test_a_second_start_saves_the_first_episode(stage, tmp_path):
    scene = stage()
    scene.say("start")
    scene.until_state("waiting")
    scene.move()
    scene.until_state("recording")
    scene.say("start", "play-2")
    scene.until_state("waiting", "play-2")
    assert (tmp_path / "s" / "play-1" / "metadata.yaml").exists()


def test_a_recorder_that_is_stopped_saves_what_it_has(stage, tmp_path):
    scene = stage()
    scene.say("start")
    scene.until_state("waiting")
    scene.move()
    scene.until_state("recording")
    scene.recorder.stop()
    scene.until(scene.recorder.done.done)
    assert scene.recorder.done.result() == 0
    assert (tmp_path / "s" / "play-1" / "metadata.yaml").exists()


def test_a_discarded_episode_leaves_no_bag(stage, tmp_path):
    scene = stage()
    scene.say("start")
    scene.until_state("waiting")
    scene.move()
    scene.until_state("recording")
    scene.say("end", reason="discard")
    scene.until_state("discarded")
    assert list((tmp_path / "s").iterdir()) == []


def test_a_disk_that_refuses_a_message_ends_the_node_with_one_sentence(stage, monkeypatch):
    scene = stage()
    scene.say("start")
    scene.until_state("waiting")
    scene.move()
    scene.until_state("recording")

    def refuse(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(scene.recorder._bag._writer._writer, "write", refuse)
    scene.move()
    scene.until_state("failed")
    scene.until(scene.recorder.done.done)
    assert scene.recorder.done.result() == 1
    assert "play-1.part failed (No space left on device)" in scene.recorder.exit_sentence


def test_nothing_is_recorded_on_a_disk_that_is_nearly_full(stage):
    scene = stage("-p", "min_free_mb:=10000000")
    scene.say("start")
    scene.until_state("failed")
    scene.until(scene.recorder.done.done)
    assert "MB are free on the disk" in scene.recorder.exit_sentence


def test_every_camera_must_arrive():
    required, optional = topics_to_record("wx250s", ["front", "wrist"], [])
    assert [topic.name for topic in required] == [
        "/wx250s/joint_states",
        "/front/image_raw/compressed",
        "/front/camera_info",
        "/wrist/image_raw/compressed",
        "/wrist/camera_info",
    ]
    assert "/vla/commanded" in [topic.name for topic in optional]


@pytest.mark.parametrize("entry", ["/tf", "tf tf2_msgs/msg/TFMessage", "/tf TFMessage"])
def test_malformed_extra_topics_are_refused(entry):
    with pytest.raises(ParameterError, match="an entry of extra_topics must be"):
        topics_to_record("wx250s", [], [entry])


def test_a_message_type_that_is_not_installed_is_refused():
    with pytest.raises(VlaError, match="nowhere_msgs/msg/X is not installed"):
        message_class("nowhere_msgs/msg/X")
