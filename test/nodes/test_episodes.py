"""The commander's half of the handshake, against a recorder that goes away or cuts short."""

import itertools
import time
import types

import pytest

rclpy = pytest.importorskip("rclpy")
pytestmark = pytest.mark.ros

from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.node import Node  # noqa: E402
from std_msgs.msg import String  # noqa: E402

from vla_ros.core.episode import EpisodeEvent, RecordingState  # noqa: E402
from vla_ros.core.errors import EpisodeError  # noqa: E402
from vla_ros.nodes import episodes, qos  # noqa: E402
from vla_ros.nodes.commander import CommanderNode  # noqa: E402
from vla_ros.nodes.episodes import (  # noqa: E402
    Episodes,
    RecorderGoneError,
    RecordingCutError,
)
from vla_ros.nodes.lifetime import ShellNode  # noqa: E402

LIMIT_S = 20.0


class Recorder(Node):
    """Answers each start with `answer`, each end with `ending`; not at all where that is empty."""

    def __init__(self):
        super().__init__("recorder")
        self.answer, self.ending, self.events = "recording", "saved", []
        self.states = self.create_publisher(String, qos.RECORDING_TOPIC, qos.LATCHED)
        self.create_subscription(String, qos.EPISODE_TOPIC, self.hear, qos.EPISODE)

    def hear(self, message):
        event = EpisodeEvent.from_json(message.data)
        self.events.append(event)
        self.say(event.episode_id, self.answer if event.event == "start" else self.ending)

    def say(self, episode_id, state, **facts):
        if state:
            said = RecordingState(episode_id, state, **facts)
            self.states.publish(String(data=said.to_json()))


class Scene:
    def __init__(self):
        self.node, self.recorder = ShellNode("commander"), Recorder()
        self.episodes = Episodes(self.node, "play", True, LIMIT_S)
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(self.node)
        self.executor.add_node(self.recorder)

    def run(self, steps):
        deadline = time.monotonic() + LIMIT_S
        for _ in steps:
            assert time.monotonic() < deadline
            self.executor.spin_once(timeout_sec=0.02)

    def checks(self):
        """Yield for as long as the running episode is fine."""
        while True:
            self.episodes.check()
            yield


@pytest.fixture
def scene(ros):
    ros()
    scene = Scene()
    yield scene
    scene.node.destroy_node()
    if scene.recorder is not None:
        scene.recorder.destroy_node()


def test_an_episode_begins_and_ends_with_the_recorder(scene):
    scene.run(scene.episodes.begin("play-00000"))
    scene.episodes.check()
    assert scene.episodes.running
    scene.run(scene.episodes.end(None, "segment over"))
    assert [event.event for event in scene.recorder.events] == ["start", "end"]
    scene.episodes.check()


def test_a_recording_that_was_cut_is_noticed_and_its_bag_is_counted(scene):
    scene.run(scene.episodes.begin("play-00000"))
    scene.recorder.say("play-00000", "saved", path="/bags/play-00000", detail="a topic fell silent")
    with pytest.raises(RecordingCutError, match="ended play-00000 .saved.: a topic fell silent"):
        scene.run(scene.checks())
    assert scene.episodes.paths == ["/bags/play-00000"]
    assert not scene.episodes.running
    # And the next one begins as if nothing had been.
    scene.run(scene.episodes.begin("play-00001"))
    # A word that comes in the same moment is in no bag.
    cut = {"path": "/bags/play-00001", "detail": "the disk is nearly full"}
    scene.recorder.ending = ""
    scene.recorder.say("play-00001", "saved", **cut)
    with pytest.raises(RecordingCutError, match="ended play-00001 .saved.: the disk is nearly"):
        scene.run(scene.episodes.end(True, "kept"))
    # Of an end without a verdict nothing is lost.
    scene.run(scene.episodes.begin("play-00002"))
    scene.recorder.say("play-00002", "saved", **cut)
    scene.run(scene.episodes.end(None, "segment over"))
    assert scene.episodes.paths == ["/bags/play-00000", *[cut["path"]] * 2]


def test_an_episode_is_given_up_at_once_and_the_recorder_waited_for_where_the_node_ends(scene):
    waits, events = [], scene.episodes._events
    scene.episodes._events = types.SimpleNamespace(
        publish=events.publish,
        wait_for_all_acked=lambda duration: waits.append(duration.nanoseconds),
        get_subscription_count=events.get_subscription_count,
    )
    scene.recorder.answer = ""
    steps = scene.episodes.begin("play-00000")
    scene.run(itertools.takewhile(lambda _: not scene.recorder.events, steps))
    scene.episodes.abandon("discard")
    assert (scene.episodes.running, waits) == (False, [])
    scene.run(itertools.takewhile(lambda _: len(scene.recorder.events) < 2, itertools.repeat(0)))
    assert scene.recorder.events[-1].reason == "discard"
    ending = types.SimpleNamespace(episodes=scene.episodes, exit_sentence="")
    CommanderNode.close(ending)
    assert (ending.episodes, waits) == (None, [500_000_000])


def test_a_start_that_is_refused_leaves_no_episode_running(scene):
    scene.recorder.answer = "failed"
    with pytest.raises(RecordingCutError, match="recording play-00000 failed"):
        scene.run(scene.episodes.begin("play-00000"))
    assert not scene.episodes.running


def test_what_was_said_of_an_earlier_run_is_no_answer(scene):
    scene.recorder.say("play-00000", "saved", path="/bags/old")
    scene.run(scene.episodes.begin("play-00000"))
    scene.episodes.check()
    assert scene.episodes.paths == []


def test_a_recorder_that_is_gone_is_noticed_long_before_the_wait_is_over(scene, monkeypatch):
    monkeypatch.setattr(episodes, "_GONE_S", 0.2)
    monkeypatch.setattr(episodes, "_LOOK_S", 0.05)
    scene.run(scene.episodes.begin("play-00000"))
    scene.episodes.check()
    scene.executor.remove_node(scene.recorder)
    scene.recorder.destroy_node()
    scene.recorder = None
    with pytest.raises(RecorderGoneError, match="nobody publishes /vla/recording any more"):
        scene.run(scene.checks())
    # The end of its episode does not wait for it either.
    with pytest.raises(RecorderGoneError):
        scene.run(scene.episodes.end(None, "segment over"))
    assert not scene.episodes.running


def test_no_recorder_at_all_is_said_after_the_wait(ros):
    ros()
    node = ShellNode("commander")
    steps = Episodes(node, "play", True, 0.1).begin("play-00000")
    try:
        with pytest.raises(EpisodeError, match="no recorder listens on /vla/episode"):
            list(steps)
    finally:
        node.destroy_node()
