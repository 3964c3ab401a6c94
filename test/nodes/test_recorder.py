"""The recorder against a commander and a driver made of plain publishers, in this process."""

import errno
import json
import operator
import os
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

rclpy = pytest.importorskip("rclpy")
pytestmark = pytest.mark.ros

from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from rclpy.event_handler import UnsupportedEventTypeError  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.node import Node  # noqa: E402
from rclpy.qos import QoSProfile, ReliabilityPolicy  # noqa: E402
from rclpy.serialization import serialize_message  # noqa: E402
from rosbags.highlevel import AnyReader  # noqa: E402
from sensor_msgs.msg import JointState  # noqa: E402
from std_msgs.msg import String  # noqa: E402

from vla_ros.bags.repair import repair  # noqa: E402
from vla_ros.core.episode import EpisodeEvent, RecordingState  # noqa: E402
from vla_ros.core.errors import VlaError  # noqa: E402
from vla_ros.nodes import qos  # noqa: E402
from vla_ros.nodes.conversions import camera_info_to_msg, joint_state_to_msg  # noqa: E402
from vla_ros.nodes.diagnostics import WARN  # noqa: E402
from vla_ros.nodes.episode_bag import Topic  # noqa: E402
from vla_ros.nodes.params import ParameterError  # noqa: E402
from vla_ros.nodes.recorder import RecorderNode  # noqa: E402
from vla_ros.nodes.recorder_facts import Provenance  # noqa: E402
from vla_ros.nodes.recorder_parameters import RecorderParameters  # noqa: E402
from vla_ros.nodes.recorder_report import TopicReport  # noqa: E402
from vla_ros.nodes.recorder_topics import (  # noqa: E402
    Latched,
    importable,
    message_class,
    starts_with_header,
    subscribe,
    topics_to_record,
)

DISCOVERY_LIMIT_S = 60.0
SECOND = 1_000_000_000


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


def statuses_of(scene):
    statuses = {}
    scene.peer.create_subscription(
        DiagnosticArray,
        qos.DIAGNOSTICS_TOPIC,
        lambda message: statuses.update({status.name: status for status in message.status}),
        qos.DIAGNOSTICS,
    )
    return statuses


def refusing(code):
    def refuse(*_):
        raise OSError(code, os.strerror(code))

    return refuse


# What is called, and on what of the recorder: the bag, its writer, rosbags' own, the folder.
POINTS = {
    "write": "_bag._writer._writer",
    "flush": "_bag._writer._writer",
    "close": "_bag._writer._writer",
    "finish": "_bag._part",
}


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES])
@pytest.mark.parametrize("point", POINTS)
def test_a_refusal_at_any_point_is_one_sentence_in_answer_and_diagnostics(
    stage, monkeypatch, tmp_path, point, code
):
    scene = stage()
    statuses = statuses_of(scene)
    start_recording(scene)
    owner = operator.attrgetter(POINTS[point])(scene.recorder)
    scene.recorder._bag.flush()
    monkeypatch.setattr(type(owner), point, refusing(code))
    if point != "flush":  # comes by itself, once a second
        scene.say("end")  # which for "write" is the message that is refused
    scene.until_state("failed")
    sentence = scene.said[-1].detail
    assert f"play-1.part failed ({os.strerror(code)}): what was written stays in " in sentence
    assert [state.state for state in scene.said].count("failed") == 1
    scene.until(lambda: statuses.get("recorder: recording") is not None)
    scene.until(lambda: statuses["recorder: recording"].message == sentence)
    assert statuses["recorder: recording"].level == b"\2"
    scene.until(scene.recorder.done.done)
    assert (scene.recorder.done.result(), scene.recorder.exit_sentence) == (1, sentence)
    monkeypatch.undo()
    assert repair(tmp_path / "s" / "play-1.part").messages >= 2


def test_a_folder_that_vanishes_is_noticed_while_it_is_recorded_to(stage, tmp_path):
    scene = stage()
    start_recording(scene)
    shutil.rmtree(tmp_path / "s")
    scene.until_state("failed")
    assert "(No such file or directory): the folder is gone" in scene.said[-1].detail


def test_a_session_that_cannot_be_looked_into_fails_the_episode(stage, monkeypatch):
    scene = stage()
    monkeypatch.setattr(Path, "exists", refusing(errno.EACCES))
    scene.say("start")
    scene.until_state("failed")
    assert "cannot be asked for its free space (Permission denied)" in scene.said[-1].detail


def test_a_publisher_that_does_not_fit_is_named_with_its_remedy(ros, tmp_path, stage):
    scene = stage("-p", "start_timeout_s:=0.5")
    scene.peer.destroy_publisher(scene.joints)
    best_effort = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    scene.peer.create_publisher(JointState, "/wx250s/joint_states", best_effort)
    scene.until(lambda: scene.recorder._report._mismatches)
    scene.say("start")
    scene.until_state("failed")
    expected = "a publisher of /wx250s/joint_states offers a reliability that the recorder cannot"
    assert expected in scene.said[-1].detail


def test_a_save_that_fails_at_the_very_end_is_one_line_and_no_traceback(stage, monkeypatch):
    scene = stage()
    start_recording(scene)
    monkeypatch.setattr(type(scene.recorder._bag._part), "finish", refusing(errno.ENOSPC))
    scene.recorder.close()


def custom_data(path):
    metadata = yaml.safe_load((path / "metadata.yaml").read_text())
    return metadata["rosbag2_bagfile_information"]["custom_data"]


def start_recording(scene, episode_id="play-1"):
    scene.say("start", episode_id)
    scene.until_state("waiting", episode_id)
    scene.move()
    scene.until_state("recording", episode_id)


def test_a_required_topic_that_falls_silent_ends_the_bag_and_says_which(stage, tmp_path):
    scene = stage("-p", "silent_s:=0.3")
    start_recording(scene)
    scene.until_state("saved")
    assert scene.said[-1].detail == "topic /wx250s/joint_states silent"
    assert scene.said[-1].path == str(tmp_path / "s" / "play-1")
    end = EpisodeEvent.from_json(custom_data(tmp_path / "s" / "play-1")["episode"])
    assert (end.event, end.reason) == ("end", "topic /wx250s/joint_states silent")
    # The commander's own end comes too late to matter, and the next episode is recorded.
    scene.say("end")
    start_recording(scene, "play-2")


def test_the_bag_tells_its_origin_and_what_became_of_each_topic(stage, tmp_path):
    scene = stage("-p", "arm:=sim", "-p", "robot_model:=wx250s")
    start_recording(scene)
    for stamp_ns in (20, 20, 10):
        scene.joints.publish(joint_state_to_msg(stamp_ns, ("waist",), [0.5]))
    scene.until(lambda: scene.recorder._bag.messages == 5)
    scene.say("end")
    scene.until_state("saved")
    facts = custom_data(tmp_path / "s" / "play-1")
    assert facts["arm"] == "sim"
    assert facts["robot_model"] == "wx250s"
    assert facts["backend"] == "rosbags"
    assert facts["rosbags_version"][0].isdigit()
    assert json.loads(facts["simulated_time"]) is False
    counts = json.loads(facts["topics"])["/wx250s/joint_states"]
    # Stamps 7, 20, 20, 10 ns after the epoch are decades late.
    expected = {"received": 4, "lost": 0, "duplicates": 1, "out_of_order": 1, "late": 4}
    assert {key: counts[key] for key in expected} == expected


def test_what_was_cut_off_before_is_repaired_at_the_start(stage, tmp_path):
    scene = stage()
    start_recording(scene)
    scene.recorder._bag.flush()
    scene.recorder._bag._abort()
    scene.recorder._bag = None
    assert not (tmp_path / "s" / "play-1").exists()
    scene.recorder.trigger_deactivate()
    scene.recorder.trigger_cleanup()
    scene.recorder.trigger_configure()
    scene.until((tmp_path / "s" / "play-1").exists)
    assert topics_in(tmp_path / "s" / "play-1") == ["/vla/episode", "/wx250s/joint_states"]
    facts = custom_data(tmp_path / "s" / "play-1")
    assert EpisodeEvent.from_json(facts["episode"]).event == "start"
    assert "recovered, cut off" in facts["recovered"]
    assert facts["robot_name"] == "wx250s"


def test_a_session_that_has_used_its_budget_ends_the_node_without_an_error(stage, tmp_path):
    scene = stage("-p", "max_session_gb:=0.0000001")
    scene.say("start")
    scene.until_state("waiting")
    scene.move()
    scene.until_state("saved")
    assert "reached its budget max_session_gb 1e-07" in scene.said[-1].detail
    scene.until(scene.recorder.done.done)
    assert scene.recorder.done.result() == 0
    assert (tmp_path / "s" / "play-1" / "metadata.yaml").exists()


def test_deactivation_saves_the_episode_and_refuses_the_next(stage, tmp_path):
    scene = stage()
    start_recording(scene)
    scene.recorder.trigger_deactivate()
    scene.until_state("saved")
    scene.say("start", "play-2")
    scene.until_state("failed", "play-2")
    assert "not active" in scene.said[-1].detail
    scene.recorder.trigger_activate()
    start_recording(scene, "play-3")


def test_diagnostics_name_the_silent_topic_and_the_time_left(stage):
    scene = stage("-p", "silent_s:=0.3")
    statuses = statuses_of(scene)
    joints = "recorder: /wx250s/joint_states"
    scene.until(lambda: joints in statuses)
    assert statuses[joints].message == "no message yet"
    start_recording(scene)
    scene.until(lambda: statuses[joints].level == b"\2")
    assert statuses[joints].message.startswith("silent for")
    assert "room for" in statuses["recorder: disk"].message


def test_static_transforms_of_several_nodes_are_kept_and_tasks_replaced():
    latched = Latched()
    for topic, data in [
        ("/tf_static", b"a"),
        ("/vla/task", b"old"),
        ("/tf_static", b"b"),
        ("/tf_static", b"a"),
        ("/vla/task", b"new"),
    ]:
        latched.hear(topic, data)
    said = list(latched.messages())
    assert said == [("/tf_static", b"a"), ("/tf_static", b"b"), ("/vla/task", b"new")]


def test_a_machine_without_transforms_records_the_rest_and_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "tf2_msgs.msg", None)
    said = []
    _, optional = topics_to_record("wx250s", [], [])
    names = [topic.name for topic in importable(optional, said.append)]
    assert "/vla/task" in names
    assert not {"/tf", "/tf_static"} & set(names)
    assert len(said) == 1
    assert "transforms are not recorded" in said[0]


def test_a_middleware_that_does_not_tell_of_losses_is_subscribed_to_all_the_same():
    class Node:
        subscribed = 0

        def guarded(self, callback):
            return callback

        def create_subscription(self, *_, raw, event_callbacks=None):
            assert raw
            if event_callbacks is not None:
                raise UnsupportedEventTypeError("no such event")
            self.subscribed += 1

    node = Node()
    subscribe(node, Topic("/a", "std_msgs/msg/String"), print, print, print)
    assert node.subscribed == 1


def test_stamps_are_read_only_where_a_type_starts_with_its_header():
    assert starts_with_header("sensor_msgs/msg/CompressedImage")
    assert not starts_with_header("std_msgs/msg/String")
    assert not starts_with_header("std_msgs/msg/Header")


def test_whether_a_camera_is_calibrated_is_read_from_its_info():
    facts = Provenance(RecorderParameters(cameras=["front", "wrist"]), "rosbags", False)
    for camera, K in (("front", np.eye(3)), ("wrist", None)):
        info = camera_info_to_msg(640, 480, K, None, "x")
        facts.hear(f"/{camera}/camera_info", serialize_message(info))
    assert json.loads(facts.facts()["camera_calibrated"]) == {"front": True, "wrist": False}


def test_a_listener_that_was_held_up_blames_nobody():
    topic = Topic("/a", "sensor_msgs/msg/JointState")
    report = TopicReport([topic], [], late_s=0.5, silent_s=2.0)
    report.hear("/a", bytes(12), 0, 0)
    assert report.look(SECOND // 2, SECOND // 2) == []
    assert report.look(5 * SECOND, 5 * SECOND) == []
    for at in range(6, 8):
        assert report.look(at * SECOND, at * SECOND) == []
    assert report.look(15 * SECOND // 2, 15 * SECOND // 2) == ["/a"]


@pytest.mark.parametrize(("simulated", "jumps", "missing"), [(False, 1, 0), (True, 0, 100)])
def test_a_clock_that_was_set_is_told_and_simulated_time_has_its_own_speed(
    simulated, jumps, missing
):
    joints = Topic("/j", "sensor_msgs/msg/JointState")
    report = TopicReport([joints], [], 0.5, 2.0, simulated)
    for i in range(100):
        at_ns = i * 10_000_000 + (SECOND if i >= 60 else 0)
        data = serialize_message(joint_state_to_msg(at_ns, ("waist",), [0.5]))
        report.hear("/j", data, at_ns, i * 10_000_000)
    counts = report.counts()["/j"]
    assert (counts.clock_jumps, counts.missing) == (jumps, missing)
    level, message = report._judge("/j", counts, 0.0)
    assert (level, message.split(" of ")[0]) == (
        WARN,
        "100 missing" if simulated else "1 clock jumps",
    )


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


def test_an_extra_topic_must_arrive_unless_it_is_optional():
    extra = ["", "/x std_msgs/msg/String", "/y std_msgs/msg/Bool optional"]
    required, optional = topics_to_record("wx250s", [], extra)
    assert (required[-1].name, required[-1].type) == ("/x", "std_msgs/msg/String")
    assert (optional[-1].name, optional[-1].type) == ("/y", "std_msgs/msg/Bool")


@pytest.mark.parametrize(
    "entry",
    ["/tf", "tf tf2_msgs/msg/TFMessage", "/tf TFMessage", "/tf tf2_msgs/msg/TFMessage now", " "],
)
def test_malformed_extra_topics_are_refused(entry):
    with pytest.raises(ParameterError, match="an entry of extra_topics must be"):
        topics_to_record("wx250s", [], [entry])


def test_a_message_type_that_is_not_installed_is_refused():
    with pytest.raises(VlaError, match="nowhere_msgs/msg/X is not installed"):
        message_class("nowhere_msgs/msg/X")
