"""A person teaches, in this process: a pad drives the arm, hands lead it, words end recordings."""

import json
import time

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy")
pytest.importorskip("interbotix_xs_msgs")
pytestmark = pytest.mark.ros

from interbotix_xs_msgs.srv import TorqueEnable  # noqa: E402
from rclpy.node import Node  # noqa: E402
from sensor_msgs.msg import Joy  # noqa: E402
from std_msgs.msg import String  # noqa: E402

from vla_ros.core import arm, kinematics, teleop_takes  # noqa: E402
from vla_ros.core.episode import DISCARDED  # noqa: E402
from vla_ros.core.errors import EpisodeError  # noqa: E402
from vla_ros.nodes import demo, lifetime, mission, qos, teleop_guide  # noqa: E402
from vla_ros.nodes.conversions import stamp_from_ns  # noqa: E402
from vla_ros.nodes.demo import DemoNode  # noqa: E402

LIMIT_S = 30.0
DEAD_MAN, GRIPPER, RECORD, DISCARD = 4, 0, 7, 6


class Stage:
    """demo_node, an arm that follows at once, and an Xbox pad at 50 Hz."""

    def __init__(self, driver):
        self.demo, self.driver, self.pad = DemoNode(), driver, Node("pad")
        self.held, self.forward, self.speaks = set(), 0.0, True
        self.events = []
        self.joy = self.pad.create_publisher(Joy, "/joy", 10)
        self.pad.create_timer(0.02, self.say)
        self.pad.create_subscription(
            String, qos.EPISODE_TOPIC, lambda m: self.events.append(json.loads(m.data)), qos.EPISODE
        )
        self.executor = lifetime._executor()
        for node in (self.demo, self.driver, self.pad):
            self.executor.add_node(node)
        self.demo.bring_up()
        self.until(lambda: self.demo.arm.active)

    def say(self):
        if self.speaks:
            message = Joy(axes=[0.0, self.forward] + [0.0] * 6)
            message.buttons = [int(number in self.held) for number in range(11)]
            message.header.stamp = stamp_from_ns(self.pad.get_clock().now().nanoseconds)
            self.joy.publish(message)

    def until(self, condition):
        deadline = time.monotonic() + LIMIT_S
        while not condition():
            assert time.monotonic() < deadline
            self.executor.spin_once(timeout_sec=0.05)

    def let_pass(self, seconds):
        end_s = time.monotonic() + seconds
        self.until(lambda: time.monotonic() > end_s)

    def press(self, button, condition):
        """Press a button until that has its effect: a busy machine misses messages."""
        deadline = time.monotonic() + LIMIT_S
        while not condition():
            assert time.monotonic() < deadline
            self.held |= {button}
            self.let_pass(0.1)
            self.held -= {button}
            # Sooner the next one would be of the same press.
            end_s = time.monotonic() + 1.2
            self.until(lambda end_s=end_s: condition() or time.monotonic() > end_s)

    @property
    def drives(self):
        return self.demo._teaching._joy.drives

    def drive(self, forward, condition):
        """Drive until the condition holds, gripping anew where a busy machine missed messages."""
        deadline = time.monotonic() + LIMIT_S
        while not condition():
            assert time.monotonic() < deadline, self.demo._teaching._pad.problem
            if not self.drives:
                self.forward, self.held = 0.0, set()
                self.let_pass(0.1)
                self.held, end_s = {DEAD_MAN}, time.monotonic() + 0.3
                self.until(lambda end_s=end_s: self.drives or time.monotonic() > end_s)
            self.forward = forward if self.drives else 0.0
            self.let_pass(0.02)
        self.forward = 0.0

    @property
    def x_m(self):
        return kinematics.forward(self.demo.arm.commanded[0])[0, 3]

    @property
    def take(self):
        return self.demo._teaching._takes.state

    def torque_asked(self):
        return [r.enable for r in self.driver.asked if isinstance(r, TorqueEnable.Request)]

    def ends(self):
        return [(e["success"], e["reason"]) for e in self.events if e["event"] == "end"]

    def close(self):
        self.executor.shutdown()
        self.demo.close()
        for node in (self.demo, self.driver, self.pad):
            node.destroy_node()


def led_by_hand(driver_class):
    """Return the class of a driver whose arm is limp without torque, and then led by a hand."""

    class Led(driver_class):
        def __init__(self, pose):
            super().__init__()
            self.position[:6], self.hand, self.is_limp = pose, None, False

        def answer(self, request, response):
            if isinstance(request, TorqueEnable.Request) and request.name == "arm":
                self.is_limp = not request.enable
            return super().answer(request, response)

        def publish(self):
            if self.is_limp and self.hand is not None:
                self.position[:6] += np.clip(self.hand - self.position[:6], -0.02, 0.02)
            super().publish()

        def follow(self, message):
            at = self.position[:6].copy()
            super().follow(message)
            if self.is_limp:
                self.position[:6] = at

    return Led


@pytest.fixture
def stage(ros, make_driver):
    """Return a function that makes the stage with a teacher."""
    made = []

    def make(teacher, pose=arm.READY_RAD, **more):
        given = {
            "teacher": teacher,
            "task": "lift it",
            "record": False,
            "keys": False,
            "park": False,
            "joy.stale_s": 0.5,
        } | more
        ros(*[word for name, value in given.items() for word in ("-p", f"{name}:={value}")])
        made.append(Stage(led_by_hand(make_driver)(pose)))
        return made[0]

    yield make
    for one in made:
        one.close()


def test_a_pad_drives_the_arm_while_its_button_is_held_and_its_messages_come(stage):
    scene = stage("joystick")
    start_m = scene.x_m
    scene.forward = 1.0
    scene.let_pass(0.3)
    assert scene.x_m == start_m, "nobody held the dead-man button"
    scene.drive(1.0, lambda: scene.x_m > start_m + 0.02)
    scene.forward, scene.held = 1.0, set()
    scene.until(lambda: not scene.drives and scene.demo.arm.at_rest)
    rest_m = scene.x_m
    scene.let_pass(0.2)
    assert scene.x_m == rest_m
    # A take, in which the gripper closes, is discarded.
    scene.forward = 0.0
    scene.press(RECORD, lambda: scene.take == "running")
    scene.drive(0.0, lambda: scene.drives)
    scene.press(GRIPPER, lambda: scene.demo.arm.commanded[1] == 0.0)
    scene.press(DISCARD, lambda: scene.ends() == [(False, DISCARDED)])
    # The radio is gone: nothing comes any more.
    scene.drive(-1.0, lambda: scene.x_m < rest_m - 0.01)
    scene.forward, scene.speaks = -1.0, False
    scene.until(lambda: not scene.drives and scene.demo.arm.at_rest)
    rest_m = scene.x_m
    scene.speaks = True
    scene.let_pass(0.3)
    assert scene.x_m == rest_m, "it came back with the button held, and nobody pressed it anew"
    assert "let the dead-man button go" in scene.demo._teaching._pad.problem


def test_enough_kept_takes_end_the_node_by_words_of_services_too(stage, monkeypatch):
    scene = stage("joystick")
    say, press = scene.demo._teaching._words.say, scene.demo._teaching._words.press
    scene.demo._teaching._takes.wanted = 1
    assert say("keep") == (False, "nothing is being recorded that you could keep (idle)")
    press("keep")
    press("record")
    assert scene.take == "asked for"
    press("discard")
    press("record")
    assert scene.take == "idle", "so soon it was the same press"
    assert say("start")[0]
    scene.until(lambda: scene.take == "running")
    assert say("redo")[0]
    scene.until(lambda: len(scene.events) == 3 and scene.take == "running")
    assert "this recording began" in say("keep")[1]
    monkeypatch.setattr(teleop_takes, "_LEAST_S", 0.0)
    assert "the arm has not moved" in say("keep")[1]
    monkeypatch.setattr(teleop_takes, "_LEAST_RAD", 0.0)
    scene.until(lambda: say("keep")[0])
    scene.until(scene.demo.done.done)
    assert scene.demo.done.result() == 0
    scene.until(lambda: scene.ends() == [(False, DISCARDED), (True, "kept by the person")])
    assert scene.events[0]["settings"] == {"joy.stale_s": 0.5, "teacher": "joystick"}
    assert [e["episode_id"] for e in scene.events[::2]] == ["demo-00000", "demo-00001"]


def test_a_raised_arm_is_let_go_on_the_second_request_and_held_where_it_then_is(stage, monkeypatch):
    monkeypatch.setattr(teleop_guide, "_CONFIRM_AFTER_S", 0.5)
    scene = stage("person")
    guide = scene.demo._teaching._guide
    done, sentence = guide.switch(False)
    assert not done
    assert "its tool is 0.15 m up; hold it with both hands" in sentence
    scene.let_pass(0.6)
    assert scene.torque_asked() == []
    assert guide.switch(False) == (True, "hold the arm: it is limp now")
    scene.until(lambda: scene.torque_asked() == [False, False])
    # Led by hand.
    led = arm.READY_RAD + np.array([0.4, 0.1, 0, 0, 0, 0])
    scene.driver.hand = led
    scene.until(lambda: np.allclose(scene.driver.commands[-1], led, atol=1e-3))
    # Nobody but the person holds the arm: the node stays active until it is stiff.
    scene.demo.trigger_deactivate()
    assert scene.demo.state == "active"
    count = len(scene.driver.commands)
    guide.switch(True)
    scene.until(lambda: not scene.demo.arm.is_limp)
    scene.until(lambda: len(scene.driver.commands) > count + 10)
    np.testing.assert_allclose(scene.driver.commands[count:], led[None].repeat(
        len(scene.driver.commands) - count, 0), atol=1e-3)  # fmt: skip
    words = scene.demo._teaching._words
    assert words.say("start")[0]
    scene.demo.trigger_deactivate()
    assert (scene.demo.state, scene.take) == ("inactive", "idle")
    assert words.say("start") == (False, "start is not heard: node demo is not active")


def test_an_arm_in_its_cradle_is_let_go_at_once_and_a_raised_one_held_at_the_end(stage):
    scene = stage("person", arm.SLEEP_RAD)
    guide = scene.demo._teaching._guide
    scene.until(lambda: not guide.would_fall)
    assert guide.switch(False)[0]
    scene.until(lambda: scene.torque_asked() == [False, False])
    scene.driver.hand = arm.READY_RAD
    scene.until(lambda: guide.would_fall)
    scene.demo.begin_stop()
    scene.until(scene.demo.done.done)
    assert scene.torque_asked() == [False, False, True, True]


def test_a_script_that_cannot_go_on_parks_the_arm_before_the_node_ends(stage, monkeypatch):
    cradle_rad = arm.READY_RAD - np.array([0, 0.05, 0, 0, 0, 0])
    monkeypatch.setattr(arm, "SLEEP_RAD", cradle_rad)
    monkeypatch.setattr(mission, "_SINK_S", 0.1)
    monkeypatch.setattr(demo, "scripted_teacher", lambda *_: None)

    def fail(_):
        yield
        raise EpisodeError("there is no simulator")

    monkeypatch.setattr(DemoNode, "_until_sim", fail)
    scene = stage("scripted", park=True)
    scene.until(scene.demo.done.done)
    assert scene.demo.exit_sentence == "there is no simulator"
    np.testing.assert_allclose(scene.driver.commands[-1], cradle_rad, atol=1e-6)
    assert scene.torque_asked() == [False, False]
