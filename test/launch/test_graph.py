"""The whole loop through real processes and Fast DDS: play, convert, train, act."""

import json
import signal

import numpy as np
import pytest
import yaml

pytest.importorskip("rclpy")
pytestmark = [pytest.mark.ros, pytest.mark.slow]

from rosbags.highlevel import AnyReader  # noqa: E402
from rosbags.typesys import Stores, get_typestore  # noqa: E402
from std_msgs.msg import String  # noqa: E402

from training import convert, stage1_tap, stage2_tap  # noqa: E402
from vla_ros.core import arm  # noqa: E402
from vla_ros.nodes import qos  # noqa: E402

SMALL = ("camera_width:=128", "camera_height:=128", "camera_rate:=10", "session:=s")
# What a shell, YAML or launch could trip over.
AWKWARD_TASK = "put the carrot: on \"the\" 'plate' # 🥕 {yes} [1] %s $(x) \\n"


def read(bag, topic):
    """Return (messages, stamps or receive times [ns]) of one topic of a bag."""
    typestore = get_typestore(Stores.ROS2_JAZZY)
    with AnyReader([bag], default_typestore=typestore) as reader:
        connections = [c for c in reader.connections if c.topic == topic]
        rows = [
            (reader.deserialize(raw, c.msgtype), t) for c, t, raw in reader.messages(connections)
        ]
    return [row[0] for row in rows], np.array([row[1] for row in rows])


def launch(graph, name, *arguments):
    code, output = graph.run("ros2", "launch", "vla_ros", f"{name}.launch.py", *SMALL, *arguments)
    assert code == 0, output
    assert graph.survivors() == []
    return output


def run(program, *arguments):
    """Run a program of training in this process, where torch is imported already."""
    assert program.main([str(word) for word in arguments]) == 0


def test_the_loop_from_play_to_a_policy_that_moves_the_arm(graph):
    folder = graph.folder
    launch(
        *(graph, "play", "segments:=2", "segment_s:=8", "speed:=8", "seed:=1"),
        f"out:={folder / 'play'}",
    )
    session = folder / "play" / "s"
    bags = sorted(path for path in session.iterdir() if path.is_dir())
    assert [bag.name for bag in bags] == ["play-00000", "play-00001"]
    summary = json.loads((session / "play_summary.json").read_text())
    assert (summary["segments"], summary["bags"], summary["failure"]) == (2, 2, "")
    check_play_bag(bags[1])

    task = "put the carrot on the plate"
    launch(
        *(graph, "demos", f"task:={task}", "episodes:=1", "speed:=8", "seed:=0"),
        f"out:={folder / 'demos'}",
    )
    demo = sorted((folder / "demos" / "s").iterdir())[-1]
    assert [message.data for message in read(demo, "/vla/task")[0]] == [task]
    assert json.loads(read(demo, "/vla/episode")[0][-1].data)["success"] is True

    for kind in ("play", "demos"):
        run(convert, folder / kind, "--out", folder / f"data_{kind}", "--image-size", 32)
    first, second = folder / "stage1", folder / "stage2"
    tiny = ("--recipe", "tiny", "--steps", 1)
    run(stage1_tap, "--data", folder / "data_play", "--out", first, "--head", "mlp", *tiny)
    run(stage2_tap, "--data", folder / "data_demos", "--init", first, "--out", second, *tiny)
    results = folder / "results.json"
    launch(
        *(graph, "policy", f"task:={AWKWARD_TASK}", f"checkpoint:={second}", "speed:=4"),
        *("episodes:=1", "episode_s:=4", f"results:={results}", f"out:={folder / 'policy'}"),
    )
    check_policy_bag(folder / "policy" / "s" / "policy-00000")
    outcome = json.loads(results.read_text())
    assert outcome["task"] == AWKWARD_TASK
    assert outcome["episodes"][0]["steps"] > 0
    assert len(outcome["episodes"][0]["inference_ms"]) >= outcome["episodes"][0]["steps"]


def check_play_bag(bag):
    joints, _ = read(bag, "/wx250s/joint_states")
    stamps = [m.header.stamp.sec * 10**9 + m.header.stamp.nanosec for m in joints]
    assert joints[0].name == list(arm.JOINT_STATE_NAMES)
    assert set(np.diff(stamps)) == {10_000_000}, "joint states are lost or out of order"
    images, times = read(bag, "/front/image_raw/compressed")
    assert len(images) >= 70
    assert bytes(images[0].data[:2]) == b"\xff\xd8", "no JPEG"
    assert np.all(np.diff(times) >= 0)
    commanded, _ = read(bag, "/vla/commanded")
    stamps = [m.header.stamp.sec * 10**9 + m.header.stamp.nanosec for m in commanded]
    assert set(np.diff(stamps)) == {20_000_000}, "commands are missing: time did not wait"
    metadata = yaml.safe_load((bag / "metadata.yaml").read_text())
    facts = metadata["rosbag2_bagfile_information"]["custom_data"]
    assert json.loads(facts["episode"])["settings"] == {"seed": 1}
    info, _ = read(bag, "/front/camera_info")
    assert info[0].k[0] > 0


def check_policy_bag(bag):
    assert [message.data for message in read(bag, "/vla/task")[0]] == [AWKWARD_TASK]
    event = json.loads(read(bag, "/vla/episode")[0][-1].data)
    assert (event["kind"], event["task"]) == ("policy", AWKWARD_TASK)
    joints = np.array([m.position[:6] for m in read(bag, "/wx250s/joint_states")[0]])
    commands = np.array([m.cmd for m in read(bag, "/wx250s/commands/joint_group")[0]])
    # An untrained policy moves, too; the arm goes where the commands say.
    assert np.ptp(commands, axis=0).max() > 0.005
    assert np.abs(joints[-1] - commands[-1]).max() < 0.05
    assert np.ptp(joints, axis=0).max() > 0.005


def test_a_task_that_looks_like_a_truth_value_reaches_the_node_as_it_was_typed(graph, listen):
    # Other such words: test/nodes/test_launching.py and test/pip_ros/test_launch_parameters.py.
    task = "yes"
    process = graph.start(
        *("ros2", "launch", "vla_ros", "demos.launch.py", f"task:={task}", "teacher:=person"),
        *("record:=false", *SMALL),
    )
    assert listen(String, qos.TASK_TOPIC, qos.LATCHED).data == task
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 0, output
    assert graph.survivors() == []


@pytest.mark.parametrize("signals", [(signal.SIGINT,), (signal.SIGINT, signal.SIGINT)])
def test_interrupted_play_saves_its_bag_and_leaves_no_process(graph, listen, signals):
    out = graph.folder / "bags"
    process = graph.start("ros2", "launch", "vla_ros", "play.launch.py", *SMALL, f"out:={out}")
    listen(
        String,
        qos.RECORDING_TOPIC,
        qos.LATCHED,
        lambda m: json.loads(m.data)["state"] == "recording",
    )
    for number in signals:
        process.send_signal(number)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 0, output
    assert "Traceback" not in output
    assert graph.survivors() == []
    messages, _ = read(out / "s" / "play-00000", "/vla/episode")
    assert json.loads(messages[-1].data)["reason"] == "stopped"
