"""The arm client and the model of xs_sdk's servos, in this process: heat, torque, resets."""

import time

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy")
pytest.importorskip("interbotix_xs_msgs")
pytestmark = pytest.mark.ros

from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.node import Node  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402

from vla_ros.core import arm  # noqa: E402
from vla_ros.nodes import arm_torque, qos, servo_check, servo_registers  # noqa: E402
from vla_ros.nodes.arm_client import ArmClient  # noqa: E402
from vla_ros.nodes.lifetime import ShellNode  # noqa: E402
from vla_ros.nodes.sim_driver import DriverEndpoints  # noqa: E402
from vla_ros.sim.injection import JointSample  # noqa: E402
from vla_ros.sim.xs_driver import XsDriver  # noqa: E402

LIMIT_S = 20.0
AWAY = arm.READY_RAD + np.array([0.4, 0, 0, 0, 0, 0])
AS_LONG_S = 0.8


class Servos:
    """Seven servos without mass: with torque each is at its reference, without where it is put."""

    def __init__(self):
        self.present = np.append(arm.READY_RAD, 0.0)
        self.driver = XsDriver(lambda: self.present, lambda _: None)
        self.world = self
        self.took = []

    def step(self):
        reference = self.driver.reference(0.01)
        for index, servo in enumerate(self.driver.servos):
            if reference.torque[index]:
                self.present[index] = servo.position
        self.took.append(self.present[:6].copy())

    def joint_state(self):
        finger_m = arm.finger_from_horn(self.present[6])
        position = np.append(self.present, (finger_m, -finger_m))
        return arm.JOINT_STATE_NAMES, position, np.zeros(9), np.zeros(9)

    def joint_states(self, stamp_ns):
        return [JointSample(stamp_ns, *self.joint_state()[1:])]

    def takes_command(self):
        return True

    def jump(self):
        """Return the longest step of a joint in 10 ms, and forget the steps [rad]."""
        took, self.took = self.took, self.took[-1:]
        return float(np.abs(np.diff(took, axis=0)).max())


class Deaf(dict):
    """Registers that nobody can write."""

    def __setitem__(self, name, value):
        pass


class Stage:
    def __init__(self):
        self.servos = Servos()
        self.start_driver()
        self.node = ShellNode("commander")
        self.client = ArmClient(self.node, "wx250s", driver_wait_s=LIMIT_S)
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(self.node)
        self.executor.add_node(self.driver)

    def start_driver(self):
        self.driver = Node("driver")
        self.endpoints = DriverEndpoints(self.driver, "wx250s", self.servos, True)
        self.driver.create_timer(0.01, self.tick)

    def restart_driver(self, away_s):
        """Have another driver after so long, with the modes and profiles that it starts with."""
        self.executor.remove_node(self.driver)
        self.driver.destroy_node()
        self.let_pass(away_s)
        self.servos.driver = XsDriver(lambda: self.servos.present, lambda _: None)
        self.start_driver()
        self.executor.add_node(self.driver)

    def tick(self):
        self.servos.step()
        self.endpoints.publish(self.driver.get_clock().now().nanoseconds)

    def until(self, condition):
        deadline = time.monotonic() + LIMIT_S
        while not condition():
            assert time.monotonic() < deadline
            self.executor.spin_once(timeout_sec=0.05)

    def let_pass(self, seconds):
        end_s = time.monotonic() + seconds
        self.until(lambda: time.monotonic() > end_s)

    def begin(self):
        self.client.start()
        self.until(lambda: self.client.active)
        return self

    def check(self):
        """Have every servo asked, and all answers heard."""
        checks = self.client.status[2]["servo_checks"]
        self.until(self.client.check_hardware)
        self.until(lambda: self.client.status[2]["servo_checks"] > checks)

    def reset(self):
        client = self.driver.create_client(Trigger, qos.RESET_STOP_SERVICE)
        self.until(client.service_is_ready)
        self.until(client.call_async(Trigger.Request()).done)


@pytest.fixture
def stage(ros, monkeypatch):
    monkeypatch.setattr(servo_check, "_PERIOD_S", 0.0)
    ros()
    scene = Stage()
    yield scene
    scene.node.destroy_node()
    scene.driver.destroy_node()


def test_an_arm_that_a_hand_moved_while_limp_does_not_jump_when_its_torque_is_back(stage):
    servos = stage.begin().servos
    stage.client.set_torque(False)
    stage.until(lambda: not any(servo.torque for servo in servos.driver.servos))
    for _ in range(40):
        servos.present += 0.01
        stage.let_pass(0.02)
    servos.present[6] = 0.3
    stage.let_pass(0.1)
    servos.jump()
    stage.client.set_torque(True)
    stage.until(lambda: all(servo.torque for servo in servos.driver.servos))
    stage.let_pass(0.3)
    assert servos.jump() < 1e-3
    assert servos.present == pytest.approx([*(arm.READY_RAD + 0.4), 0.3], abs=1e-3)


def test_an_arm_that_is_found_limp_does_not_jump_to_the_goal_of_the_one_before(stage):
    servos = stage.servos
    # The goals of the pose at the start are kept while it sinks.
    servos.driver.torque_enable("group", "all", False)
    servos.present[1] += 0.5
    stage.let_pass(0.1)
    servos.jump()
    stage.begin()
    stage.let_pass(0.3)
    assert all(servo.torque for servo in servos.driver.servos)
    assert servos.jump() < 1e-3


@pytest.mark.parametrize("enable", [False, True])
def test_an_arm_whose_torque_nobody_answers_for_stops_and_holds_where_it_is(
    stage, monkeypatch, enable
):
    monkeypatch.setattr(arm_torque, "_PATIENCE_S", AS_LONG_S)
    client = stage.begin().client
    if enable:
        client.set_torque(False)
        stage.until(lambda: not any(servo.torque for servo in stage.servos.driver.servos))
    (service,) = (s for s in stage.driver.services if s.srv_name.endswith("torque_enable"))
    stage.driver.destroy_service(service)
    client.set_torque(enable)
    assert client._loop.is_limp
    stage.until(lambda: client.stopped)
    assert "did not answer torque_enable" in client.blocked_reason
    held = client.commanded[0].copy()
    # A powered arm sags a little; its command must not follow.
    stage.servos.present[1] += 0.05
    stage.let_pass(0.3)
    assert client.commanded[0] == pytest.approx(held)


def test_an_arm_with_torque_stays_commanded_while_its_torque_is_asked_for(stage):
    client = stage.begin().client
    client.set_target(AWAY, 1.0)
    client.set_torque(True)
    stage.until(lambda: client.arrived and client.commanded[0][0] > 0.39)


def test_a_warm_servo_asks_for_rest_until_it_has_cooled_and_one_near_its_limit_stops(stage):
    elbow = stage.begin().servos.driver.servos[2]
    stage.check()
    assert stage.client.warm_reason == ""
    elbow.warm("warm")
    stage.check()
    assert "elbow is at 71 degrees Celsius and drops out at 80" in stage.client.warm_reason
    assert "let the motors rest" in stage.client.status[1]
    assert not stage.client.stopped
    elbow.warm("")
    stage.check()
    assert stage.client.warm_reason == ""
    elbow.warm("hot")
    stage.check()
    assert stage.client.stopped
    assert "elbow is at 78 degrees Celsius" in stage.client.blocked_reason


def test_a_servo_that_lost_its_torque_is_found_though_nothing_moved(stage):
    servos = stage.begin().servos
    stage.check()
    assert not stage.client.stopped
    servos.driver.lose_torque("wrist_angle")
    stage.check()
    assert stage.client.stopped
    assert stage.client.blocked_reason.startswith("wrist_angle has no torque")


def test_an_arm_that_is_limp_by_wish_has_lost_no_torque_and_needs_no_stop_to_cool(stage):
    servos = stage.begin().servos
    stage.client.set_torque(False)
    stage.until(lambda: not servos.driver.servos[6].torque)
    servos.driver.servos[1].warm("hot")
    stage.check()
    assert stage.client.warm_reason
    assert not stage.client.stopped


def test_a_torque_that_reads_as_off_for_a_moment_is_asked_again_half_a_second_later(stage):
    driver = stage.begin().servos.driver
    read, failed = driver.get_register, []

    def fail_for_a_moment(cmd_type, name, register):
        if register == "Torque_Enable" and (not failed or time.monotonic() < failed[0] + 0.3):
            failed.append(time.monotonic())
            return [0] * 7
        return read(cmd_type, name, register)

    driver.get_register = fail_for_a_moment
    stage.check()
    assert len(failed) == 1
    assert not stage.client.stopped


def test_nothing_moves_after_a_reset_before_the_servos_have_their_profile_again(stage, monkeypatch):
    monkeypatch.setattr(servo_registers, "_PATIENCE_S", 2 * AS_LONG_S)
    driver = stage.begin().servos.driver
    stage.client._estop.stop("a test")
    stage.client.set_target(AWAY, 1.0)
    (service,) = (s for s in stage.driver.services if s.srv_name.endswith("set_motor_registers"))
    stage.driver.destroy_service(service)
    stage.reset()
    # Longer than the half second after which it goes on.
    stage.let_pass(AS_LONG_S)
    assert stage.client.stopped
    assert "profile is written again" in stage.client.blocked_reason
    assert stage.client.at_rest
    stage.until(lambda: "did not answer" in stage.client.blocked_reason)
    stage.endpoints._create_services()
    driver.servos[0].registers["Profile_Velocity"] = 0
    stage.reset()
    stage.until(lambda: stage.client.arrived and stage.client.commanded[0][0] > 0.39)
    assert driver.servos[0].registers["Profile_Velocity"] == 25


@pytest.mark.parametrize(
    ("joint", "register", "said"),
    [
        (3, "Profile_Velocity", "Profile_Velocity of arm reads [25, 25, 25, 0, 25, 25] where 25"),
        (6, "Goal_Current", "Goal_Current of gripper reads [0] where 200"),
    ],
)
def test_a_servo_that_does_not_take_a_register_keeps_the_arm_stopped(stage, joint, register, said):
    servo = stage.begin().servos.driver.servos[joint]
    servo.registers = Deaf(servo.registers, **{register: 0})
    stage.client._estop.stop("a test")
    stage.reset()
    stage.until(lambda: said in stage.client.blocked_reason)
    assert stage.client.stopped


def test_a_rebooted_gripper_gets_its_profile_and_the_limit_of_its_grasp_again(stage):
    driver = stage.begin().servos.driver
    stage.client._estop.stop("a test")
    driver.reboot("single", "gripper", True, False)
    assert driver.servos[6].registers["Profile_Velocity"] == 0
    stage.reset()
    stage.until(lambda: not stage.client.stopped)
    registers = driver.servos[6].registers
    names = ("Goal_Current", "Profile_Velocity", "Profile_Acceleration")
    assert [registers[name] for name in names] == [200, 200, 50]


def test_a_driver_that_is_back_gets_its_servos_prepared_before_anything_moves(stage, monkeypatch):
    client, profiles, take = stage.begin().client, set(), XsDriver.command_group

    def note(driver, name, cmd):
        if np.abs(cmd - driver._read_present()[:6]).max() > 1e-3:
            profiles.add(driver.servos[0].registers["Profile_Velocity"])
        take(driver, name, cmd)

    client.set_target(AWAY, 1.0)
    stage.until(lambda: client.commanded[0][0] > 0.1)
    monkeypatch.setattr(XsDriver, "command_group", note)
    stage.restart_driver(2.0)
    stage.until(lambda: client.status[2]["joint_state_age_s"] < 0.05)
    assert "driver was silent" in client.blocked_reason
    stage.until(lambda: client.arrived and client.commanded[0][0] > 0.39)
    assert profiles == {25}
    gripper = stage.servos.driver.servos[6]
    assert (gripper.mode, gripper.registers["Goal_Current"]) == ("current_based_position", 200)


def test_a_driver_that_is_back_leaves_a_limp_arm_limp(stage):
    client = stage.begin().client
    client.set_torque(False)
    stage.until(lambda: not any(servo.torque for servo in stage.servos.driver.servos))
    stage.restart_driver(2.0)
    stage.servos.driver.torque_enable("group", "all", False)
    stage.until(lambda: client.stopped)
    stage.until(lambda: not client.stopped)
    assert not any(servo.torque for servo in stage.servos.driver.servos[:6])


def test_an_arm_holds_under_a_picture_that_does_not_change_and_goes_on_when_it_does(stage):
    client, pictures = stage.begin().client, [b"one"]

    def look():
        stamp_ns = stage.driver.get_clock().now().nanoseconds
        client.saw_image("front", stamp_ns, pictures[-1])
        if len(pictures) > 1:
            pictures.append(pictures[-1] + b".")

    stage.driver.create_timer(0.05, look)
    client.need_camera("front", 5.0)
    client.set_target(arm.READY_RAD + np.array([0.8, 0, 0, 0, 0, 0]), 1.0)
    stage.until(lambda: client.commanded[0][0] > 0.3)
    stage.until(lambda: client.at_rest)
    assert not client.arrived
    assert "camera front shows the same picture" in client.status[1]
    pictures.append(b"two")
    stage.until(lambda: client.arrived and client.commanded[0][0] > 0.79)
