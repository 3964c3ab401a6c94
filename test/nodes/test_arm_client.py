"""The arm client against a driver of plain services and publishers, in this process."""

import time

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy")
pytest.importorskip("interbotix_xs_msgs")
pytestmark = pytest.mark.ros

from interbotix_xs_msgs import srv  # noqa: E402
from interbotix_xs_msgs.msg import JointGroupCommand, JointSingleCommand  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.node import Node  # noqa: E402
from sensor_msgs.msg import JointState  # noqa: E402

from vla_ros.core import arm  # noqa: E402
from vla_ros.nodes import qos  # noqa: E402
from vla_ros.nodes.arm_client import ArmClient  # noqa: E402
from vla_ros.nodes.conversions import joint_state_to_msg  # noqa: E402
from vla_ros.nodes.lifetime import ShellNode  # noqa: E402

LIMIT_S = 20.0


class FakeDriver(Node):
    """Answers like xs_sdk, notes what it is asked, and says that the arm stands at READY."""

    def __init__(self, joint_names=arm.ARM_JOINTS, mode="position"):
        super().__init__("driver")
        self.asked, self.commands, self.gripper = [], [], []
        self.position = np.array([*arm.READY_RAD, 0.0, 0.037, -0.037])
        self.publishing = self.follows = True
        self._joint_names = joint_names
        self._mode = mode
        for kind, name in (
            (srv.RobotInfo, "get_robot_info"),
            (srv.OperatingModes, "set_operating_modes"),
            (srv.RegisterValues, "set_motor_registers"),
            (srv.TorqueEnable, "torque_enable"),
        ):
            self.create_service(kind, f"/wx250s/{name}", self._answer)
        self._states = self.create_publisher(JointState, "/wx250s/joint_states", 10)
        self.create_timer(0.01, self._publish)
        self.create_subscription(
            JointGroupCommand, "/wx250s/commands/joint_group", self._on_group, qos.COMMANDS
        )
        self.create_subscription(
            JointSingleCommand,
            "/wx250s/commands/joint_single",
            lambda message: self.gripper.append(message.cmd),
            qos.COMMANDS,
        )

    def _answer(self, request, response):
        self.asked.append(request)
        if isinstance(response, srv.RobotInfo.Response):
            response.joint_names = list(self._joint_names)
            response.mode, response.profile_type = self._mode, "time"
        return response

    def _publish(self):
        if self.publishing:
            now_ns = self.get_clock().now().nanoseconds
            self._states.publish(joint_state_to_msg(now_ns, arm.JOINT_STATE_NAMES, self.position))

    def _on_group(self, message):
        self.commands.append(np.array(message.cmd))
        if self.follows and self.publishing:
            self.position[:6] = message.cmd


class Stage:
    def __init__(self, driver):
        self.driver = driver
        self.node = ShellNode("commander")
        self.client = ArmClient(self.node, "wx250s", driver_wait_s=LIMIT_S)
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(self.node)
        self.executor.add_node(driver)

    def until(self, condition):
        deadline = time.monotonic() + LIMIT_S
        while not condition():
            assert time.monotonic() < deadline
            self.executor.spin_once(timeout_sec=0.05)


@pytest.fixture
def stage(ros):
    ros()
    made = []

    def make(**options):
        made.append(Stage(FakeDriver(**options)))
        return made[-1]

    yield make
    for scene in made:
        scene.node.destroy_node()
        scene.driver.destroy_node()


def test_activation_sets_gripper_mode_and_servo_profile_without_a_mode_change_of_the_arm(stage):
    scene = stage()
    scene.until(lambda: scene.client.active)
    modes = [r for r in scene.driver.asked if isinstance(r, srv.OperatingModes.Request)]
    assert [(r.name, r.mode) for r in modes] == [("gripper", "current_based_position")]
    registers = [r for r in scene.driver.asked if isinstance(r, srv.RegisterValues.Request)]
    assert [(r.name, r.reg) for r in registers] == [
        ("gripper", "Goal_Current"),
        ("arm", "Profile_Velocity"),
        ("arm", "Profile_Acceleration"),
    ]


def test_commands_start_where_the_arm_is_and_end_at_the_target(stage):
    scene = stage()
    scene.until(lambda: scene.client.active and scene.driver.commands and scene.driver.gripper)
    np.testing.assert_allclose(scene.driver.commands[0], arm.READY_RAD, atol=1e-6)
    target = arm.READY_RAD + np.array([0.2, 0, 0, 0, 0, 0])
    scene.client.set_target(target, 0.0)
    scene.until(lambda: scene.client.arrived and scene.client.commanded[0][0] > 0.19)
    scene.until(lambda: np.allclose(scene.driver.commands[-1], target, atol=1e-6))
    waist = np.array(scene.driver.commands)[:, 0]
    assert np.all(np.diff(waist) >= 0)
    assert len(np.unique(waist)) > 5, "the arm was told to jump"
    closed = arm.horn_from_opening(0.0)
    scene.until(lambda: scene.driver.gripper[-1] == pytest.approx(closed, abs=1e-6))


def test_a_target_that_is_no_number_is_refused_and_the_arm_holds(stage):
    scene = stage()
    scene.until(lambda: scene.client.active)
    scene.client.set_target(np.full(6, np.nan), 1.0)
    scene.until(lambda: scene.client.refusals > 0)
    assert scene.client.at_rest
    assert np.all(np.isfinite(scene.driver.commands))


def test_the_arm_brakes_when_the_joint_states_stop_and_goes_on_when_they_are_back(stage):
    scene = stage()
    scene.until(lambda: scene.client.active)
    scene.client.set_target(arm.READY_RAD + np.array([0.8, 0, 0, 0, 0, 0]), 1.0)
    scene.until(lambda: not scene.client.at_rest)
    scene.driver.publishing = False
    scene.until(lambda: scene.client.at_rest)
    assert not scene.client.arrived
    scene.driver.publishing = True
    scene.until(lambda: scene.client.arrived)


def test_failed_reads_are_not_believed(stage):
    scene = stage()
    scene.until(lambda: scene.client.active)
    scene.driver.position, scene.driver.follows = np.full(9, -np.pi), False
    scene.client.set_target(arm.READY_RAD + np.array([0.8, 0, 0, 0, 0, 0]), 1.0)
    scene.until(lambda: not scene.client.at_rest)
    scene.until(lambda: scene.client.at_rest)
    np.testing.assert_allclose(scene.client.measured[0], arm.READY_RAD)


def test_a_driver_of_another_arm_is_refused_by_its_joints(stage):
    scene = stage(joint_names=("waist", "shoulder"))
    scene.until(scene.node.done.done)
    assert "moves joints ['waist', 'shoulder'], expected" in scene.node.exit_sentence
    assert not scene.client.active


def test_a_driver_in_another_mode_is_refused(stage):
    scene = stage(mode="velocity")
    scene.until(scene.node.done.done)
    assert "mode 'velocity'" in scene.node.exit_sentence
    assert scene.driver.commands == []


def test_a_second_commander_is_refused(stage):
    scene = stage()
    topic = "/wx250s/commands/joint_group"
    scene.driver.create_publisher(JointGroupCommand, topic, qos.COMMANDS)
    scene.until(scene.node.done.done)
    assert "1 other node(s) command the arm" in scene.node.exit_sentence


def test_an_arm_that_does_not_follow_ends_the_node_and_gets_its_own_pose_as_goal(stage):
    scene = stage()
    scene.until(lambda: scene.client.active)
    scene.driver.follows = False
    stuck = scene.driver.position[:6].copy()
    scene.client.set_target(arm.READY_RAD + np.array([0.8, 0, 0, 0, 0, 0]), 1.0)
    scene.until(scene.node.done.done)
    assert "behind its commands" in scene.node.exit_sentence
    scene.until(lambda: np.allclose(scene.driver.commands[-1], stuck, atol=1e-6))


def test_a_limp_arm_is_sent_nothing_and_its_own_motion_counts_as_commanded(stage):
    scene = stage()
    scene.until(lambda: scene.client.active)
    said = []
    scene.driver.create_subscription(JointState, qos.COMMANDED_TOPIC, said.append, qos.COMMANDED)
    scene.client.set_torque(False)
    scene.until(lambda: len([r for r in scene.driver.asked if hasattr(r, "enable")]) == 2)
    scene.until(lambda: said)
    count = len(scene.driver.commands)
    scene.driver.position[0] += 0.02
    scene.until(lambda: said[-1].position[0] == pytest.approx(scene.driver.position[0]))
    assert len(scene.driver.commands) - count <= 1, "one command may have been on its way"
