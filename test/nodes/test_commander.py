"""However a node that moves the arm ends, the arm is at rest before; and it can begin anew."""

import json
import time
from dataclasses import dataclass

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy")
pytest.importorskip("interbotix_xs_msgs")
pytestmark = pytest.mark.ros

from std_msgs.msg import String  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402

from vla_ros.core import arm  # noqa: E402
from vla_ros.core.errors import EpisodeError  # noqa: E402
from vla_ros.nodes import lifetime, qos  # noqa: E402
from vla_ros.nodes.commander import CommanderNode, CommanderParameters  # noqa: E402
from vla_ros.nodes.params import parameter  # noqa: E402

LIMIT_S = 30.0
# The wrist has sunk from 0.8 rad; from here the straight way to the ready pose swings out behind
# the workspace.
SUNK_RAD = np.array([0.008, -1.821, 1.583, 0.001, 1.028, -0.009])
FAR_RAD = arm.READY_RAD + np.array([1.0, 0, 0, 0, 0, 0])


@dataclass(frozen=True)
class MoverParameters(CommanderParameters):
    record: bool = parameter(False, "Nobody records here.")


class Mover(CommanderNode):
    """Turns the waist far, and can be made to fail on the way."""

    def __init__(self):
        super().__init__("mover", "play", MoverParameters)
        self.raises: Exception | None = None

    def mission(self):
        yield from self.until_active()
        yield from self.episodes.begin("play-00000")
        self.acting = True
        while True:
            yield

    def on_tick(self):
        if self.raises is not None and self.is_moving():
            raise self.raises
        self.arm.set_target(FAR_RAD, 1.0)

    def is_moving(self):
        return self.arm.active and self.arm.commanded[0][0] > 0.2


class Riser(Mover):
    """Goes to the ready pose, and is done."""

    def mission(self):
        yield from self.until_active()
        yield from self.go_to(arm.READY_RAD, 1.0)
        self.finish()


class Stage:
    def __init__(self, driver, mover=Mover):
        self.mover, self.driver, self.events = mover(), driver, []
        self.mover.create_subscription(String, qos.EPISODE_TOPIC, self.hear, qos.EPISODE)
        self.executor = lifetime._executor()
        self.executor.add_node(self.mover)
        self.executor.add_node(self.driver)

    def hear(self, message):
        self.events.append(json.loads(message.data))

    def until(self, condition):
        deadline = time.monotonic() + LIMIT_S
        while not condition():
            assert time.monotonic() < deadline
            self.executor.spin_once(timeout_sec=0.05)

    def is_braked(self):
        """Whether the last command moved no joint, and has arrived."""
        said = self.mover.arm.commanded[0]
        return self.mover.arm.at_rest and np.allclose(self.driver.commands[-1], said, atol=1e-6)

    def ask(self, service):
        """Call one of the arm's services, and wait for its answer."""
        client = self.driver.create_client(Trigger, service)
        self.until(client.service_is_ready)
        answer = client.call_async(Trigger.Request())
        self.until(answer.done)
        assert answer.result().success

    def close(self):
        self.executor.shutdown()
        self.mover.close()
        self.mover.destroy_node()
        self.driver.destroy_node()


@pytest.fixture
def stage(ros, make_driver):
    ros()
    made = Stage(make_driver())
    made.mover.bring_up()
    yield made
    made.close()


def test_an_arm_that_sank_behind_its_straight_way_gets_ready_by_another(ros, make_driver):
    ros()
    driver = make_driver()
    driver.position[:6] = SUNK_RAD
    stage = Stage(driver, Riser)
    try:
        stage.mover.bring_up()
        stage.until(stage.mover.done.done)
        assert stage.mover.done.result() == 0, stage.mover.exit_sentence
        np.testing.assert_allclose(driver.commands[-1], arm.READY_RAD, atol=1e-6)
    finally:
        stage.close()


def test_stopped_on_its_way_round_and_led_on_by_hand_the_arm_does_not_go_back(ros, make_driver):
    ros()

    class HeldDriver(make_driver):
        """Its arm is where the hand that holds it is, and where it is told to be without one."""

        hand_rad = None

        def follow(self, message):
            super().follow(message)
            if self.hand_rad is not None:
                self.position[:6] = self.hand_rad

    driver = HeldDriver()
    driver.position[:6] = SUNK_RAD
    stage = Stage(driver, Riser)
    try:
        stage.mover.bring_up()
        stage.until(lambda: np.abs(driver.position[:6] - SUNK_RAD).max() > 0.3)
        stage.ask(qos.STOP_SERVICE)
        stage.until(stage.is_braked)
        near_rad = arm.READY_RAD + np.array([0.15, 0, 0, 0, 0, 0])
        driver.hand_rad = near_rad
        stage.until(lambda: np.allclose(driver.commands[-1], near_rad, atol=1e-3))
        driver.hand_rad, count = None, len(driver.commands)
        stage.ask(qos.RESET_STOP_SERVICE)
        stage.until(stage.mover.done.done)
        assert stage.mover.done.result() == 0, stage.mover.exit_sentence
        np.testing.assert_allclose(driver.commands[-1], arm.READY_RAD, atol=1e-6)
        assert np.abs(driver.commands[count:] - arm.READY_RAD).max() < 0.16
    finally:
        stage.close()


def test_deactivated_in_motion_it_brakes_says_nothing_more_and_begins_anew_from_there(stage):
    mover, driver = stage.mover, stage.driver
    stage.until(mover.is_moving)
    mover.trigger_deactivate()
    assert mover.state == "inactive"
    # Not while it still brakes.
    assert mover.trigger_activate() != lifetime._SUCCESS
    assert mover.trigger_cleanup() != lifetime._SUCCESS
    stage.until(lambda: not mover.arm.active and len(stage.events) == 2)
    stage.until(stage.is_braked)
    assert stage.events[-1]["event"] == "end"
    assert stage.events[-1]["reason"] == "deactivated"
    count, rested_rad = len(driver.commands), driver.commands[-1]
    assert rested_rad[0] < 0.9
    stage.until(lambda: mover.trigger_activate() == lifetime._SUCCESS)
    stage.until(lambda: mover.arm.active and len(driver.commands) > count)
    # float32 on the wire
    np.testing.assert_allclose(driver.commands[count], rested_rad, atol=1e-3)
    stage.until(lambda: driver.commands[-1][0] > rested_rad[0] + 0.1)


@pytest.mark.parametrize(
    ("error", "sentence"),
    [(EpisodeError("the work broke"), "the work broke"), (KeyError("x"), lifetime._INTERNAL)],
)
def test_a_failure_in_motion_brakes_before_the_node_ends(stage, error, sentence):
    stage.mover.raises = error
    stage.until(stage.mover.done.done)
    assert stage.mover.arm.at_rest
    assert stage.mover.done.result() == 1
    assert stage.mover.exit_sentence == sentence
    stage.until(stage.is_braked)
    stage.until(lambda: len(stage.events) == 2)
    assert stage.events[-1]["reason"] == sentence


def test_a_signal_in_motion_brakes_before_the_node_ends(stage):
    stage.until(stage.mover.is_moving)
    stage.mover.begin_stop()
    stage.until(stage.mover.done.done)
    assert stage.mover.arm.at_rest
    assert stage.mover.done.result() == 0
    stage.until(stage.is_braked)
    stage.until(lambda: len(stage.events) == 2)
    assert stage.events[-1]["reason"] == "stopped"
