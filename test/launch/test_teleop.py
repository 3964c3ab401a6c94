"""A fake gamepad, real processes: the simulated arm is driven to the carrot, takes are judged."""

import json
import time

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy")
pytestmark = [pytest.mark.ros, pytest.mark.slow]

from rclpy.node import Node  # noqa: E402
from rosbags.highlevel import AnyReader  # noqa: E402
from rosbags.typesys import Stores, get_typestore  # noqa: E402
from sensor_msgs.msg import JointState, Joy  # noqa: E402
from std_msgs.msg import String  # noqa: E402

from vla_ros.core import arm, kinematics  # noqa: E402
from vla_ros.core.episode import DISCARDED  # noqa: E402
from vla_ros.nodes import qos  # noqa: E402

LIMIT_S = 60.0
QUICK = """
/**/demo:
  ros__parameters:
    joy: {linear_m_s: 0.2, home_rad_s: 1.0}
"""
DEAD_MAN, RECORD, DISCARD = 4, 7, 6


class Person:
    """Holds an Xbox pad, sees the arm and the carrot, and steers towards points."""

    def __init__(self):
        self.node = Node("fake_joy")
        self.joy = self.node.create_publisher(Joy, "/joy", 10)
        self.node.create_subscription(JointState, "/wx250s/joint_states", self.on_joints, 10)
        self.node.create_subscription(JointState, qos.SIM_STATE_TOPIC, self.on_scene, 5)
        self.node.create_subscription(String, qos.RECORDING_TOPIC, self.on_recording, qos.LATCHED)
        self.q = self.carrot = None
        self.recording, self.held = {}, set()

    def on_joints(self, message):
        self.q = np.array(message.position[:6])

    def on_scene(self, message):
        index = list(message.name).index("carrot.x")
        self.carrot = np.array(message.position[index : index + 3])

    def on_recording(self, message):
        self.recording = json.loads(message.data)

    def until(self, condition, steer=lambda: np.zeros(3), parks=False):
        """Hold on, and steer, until the condition holds; whenever the arm does not follow, grip
        the dead-man button anew, as on a machine too busy to hear the pad in time.
        """
        deadline, before, look_s = time.monotonic() + LIMIT_S, self.q, time.monotonic() + 1.0
        while not condition():
            assert time.monotonic() < deadline, self.account()
            wants = parks or np.any(steer())
            self.say(self.held, steer())
            if time.monotonic() > look_s:
                if wants and before is not None and np.abs(self.q - before).max() < 0.005:
                    for held in ({}, {DEAD_MAN}):
                        for _ in range(5):
                            self.say(held)
                before, look_s = self.q, time.monotonic() + 1.0

    def account(self):
        """Return what is seen after waiting in vain."""
        tool = None if self.q is None else self.tool
        heard = self.joy.get_subscription_count()
        return f"tool {tool}, carrot {self.carrot}, {self.recording}; {heard} hear the pad"

    def say(self, held, way_m=(0.0, 0.0, 0.0)):
        """Send a message, and listen for 20 ms; 5 cm to go is full stick."""
        way = np.clip(np.asarray(way_m) / 0.05, -1.0, 1.0)
        # Beyond the dead zone.
        ahead, left, up = np.where(np.abs(way) > 0.05, np.sign(way) * 0.15 + 0.85 * way, 0.0)
        message = Joy(axes=[left, ahead, 0.0, 0.0, up, 0.0, 0.0, 0.0])
        message.buttons = [int(number in held) for number in range(11)]
        self.joy.publish(message)
        end_s = time.monotonic() + 0.02
        while time.monotonic() < end_s:
            rclpy.spin_once(self.node, timeout_sec=0.005)

    def press(self, button, state):
        """Press a button until the recorder says so: what is held at first is no press."""
        for _ in range(20):
            for held, seconds in ((self.held - {button}, 0.1), (self.held | {button}, 3.0)):
                self.held, end_s = held, time.monotonic() + seconds
                self.until(
                    lambda end_s=end_s: (
                        self.recording.get("state") == state or time.monotonic() > end_s
                    )
                )
            self.held -= {button}
            if self.recording.get("state") == state:
                return
        raise AssertionError(f"{state!r} was not said: {self.account()}")

    @property
    def tool(self):
        return kinematics.forward(self.q)[:3, 3]

    def push(self, carrot):
        """Sweep the tool through where the carrot lay, until it lies elsewhere; a person whose hand
        is late on a busy machine passes it by, and tries again.
        """
        touched = lambda: np.linalg.norm((self.carrot - carrot)[:2]) > 0.01  # noqa: E731
        beyond = lambda: carrot + [0.0, 0.1, 0.02] - self.tool  # noqa: E731
        for _ in range(4):
            self.go(lambda: carrot + [0.0, -0.08, 0.08])
            self.go(lambda: carrot + [0.0, -0.08, 0.02])
            self.until(lambda: touched() or np.abs(beyond()).max() < 0.01, beyond)
            if touched():
                return
        raise AssertionError(f"the tool is at {self.tool}, the carrot at {self.carrot}")

    def go(self, to):
        """Steer until the tool is within a centimetre of `to()`."""
        self.until(lambda: np.abs(to() - self.tool).max() < 0.01, lambda: to() - self.tool)


def read(bag, topic):
    with AnyReader([bag], default_typestore=get_typestore(Stores.ROS2_JAZZY)) as reader:
        connections = [c for c in reader.connections if c.topic == topic]
        return [reader.deserialize(raw, c.msgtype) for c, _, raw in reader.messages(connections)]


@pytest.fixture
def person(graph, ros):
    """Return a person at the graph, who takes the pad along: a second one would stop the arm."""
    ros(domain=graph.domain)
    person = Person()
    yield person
    person.node.destroy_node()


def test_a_fake_pad_takes_the_arm_to_the_carrot_and_one_of_two_takes_is_kept(graph, person):
    quick = graph.folder / "quick.yaml"
    quick.write_text(QUICK)
    launch = graph.start(
        *("ros2", "launch", "vla_ros", "demos.launch.py", "task:=push the carrot to the left"),
        *("teacher:=joystick", "episodes:=1", "speed:=4", "seed:=1", "session:=s", "out:=bags"),
        *("camera_width:=128", "camera_height:=128", "camera_rate:=10", "objects:=[carrot]"),
        f"workspace:={quick}",
    )
    person.until(lambda: person.q is not None and person.carrot is not None)
    person.press(RECORD, "recording")
    person.press(DISCARD, "saved")
    person.held = {DEAD_MAN}
    # So soon a second press would be taken for the same one.
    again_s = time.monotonic() + 1.0
    person.until(lambda: time.monotonic() > again_s)
    person.press(RECORD, "recording")
    carrot = person.carrot
    person.push(carrot)
    person.press(RECORD, "saved")
    # Enough is kept: it is parked while the button is held, pressed anew, and the launch ends.
    person.until(lambda: launch.poll() is not None, parks=True)
    output = launch.communicate()[0]
    assert launch.returncode == 0, output
    assert graph.survivors() == []
    assert np.abs(person.q - arm.SLEEP_RAD).max() < 0.1
    discarded, kept = sorted((graph.folder / "bags" / "s").iterdir())
    for bag, end in ((discarded, (False, DISCARDED)), (kept, (True, "kept by the person"))):
        event = json.loads(read(bag, "/vla/episode")[-1].data)
        assert (event["success"], event["reason"]) == end
        assert event["task"] == "push the carrot to the left"
    commanded = np.array([m.position[:6] for m in read(kept, "/vla/commanded")])
    steps_m = np.diff(kinematics.tool_and_lowest_m(commanded)[0], axis=1)
    # 0.2 m/s, and up to a fifth more while the command catches up with the target.
    assert 0.1 < np.linalg.norm(steps_m, axis=0).max() / 0.02 < 0.26
