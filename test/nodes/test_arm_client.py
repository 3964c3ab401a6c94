"""The arm client against a driver of plain services and publishers, in this process."""

import json
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
from std_msgs.msg import Bool, String  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402

from vla_ros.core import arm  # noqa: E402
from vla_ros.core.errors import SafetyError  # noqa: E402
from vla_ros.nodes import qos  # noqa: E402
from vla_ros.nodes.arm_client import ArmClient  # noqa: E402
from vla_ros.nodes.conversions import joint_state_to_msg  # noqa: E402
from vla_ros.nodes.lifetime import ShellNode  # noqa: E402

LIMIT_S = 20.0


class FakeDriver(Node):
    """Answers like xs_sdk, notes what it is asked, and says that the arm stands at READY."""

    def __init__(self, joint_names=arm.ARM_JOINTS, mode="position", pose=arm.READY_RAD):
        super().__init__("driver")
        self.asked, self.commands, self.gripper = [], [], []
        self.position = np.array([*pose, 0.0, 0.037, -0.037])
        self.effort = np.zeros(9)
        self.registers = {}
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
        self.create_service(srv.RegisterValues, "/wx250s/get_motor_registers", self._read)
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

    def _read(self, request, response):
        response.values = self.registers.get((request.name, request.reg), [])
        return response

    def _publish(self):
        if self.publishing:
            now_ns = self.get_clock().now().nanoseconds
            names = arm.JOINT_STATE_NAMES
            self._states.publish(
                joint_state_to_msg(now_ns, names, self.position, effort=self.effort)
            )

    def _on_group(self, message):
        self.commands.append(np.array(message.cmd))
        if self.follows and self.publishing:
            self.position[:6] = message.cmd


class Stage:
    def __init__(self, driver, start):
        self.driver = driver
        self.node = ShellNode("commander")
        self.client = ArmClient(self.node, "wx250s", driver_wait_s=LIMIT_S)
        if start:
            self.client.start()
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

    def make(start=True, **options):
        made.append(Stage(FakeDriver(**options), start))
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
        ("gripper", "Profile_Velocity"),
        ("gripper", "Profile_Acceleration"),
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


def test_a_second_driver_of_the_same_arm_is_refused(stage):
    scene = stage(start=False)
    scene.driver.create_publisher(JointState, "/wx250s/joint_states", 10)
    scene.client._start._wait_s = 1.0
    scene.client.start()
    scene.until(scene.node.done.done)
    assert "a single driver: 2 nodes publish /wx250s/joint_states" in scene.node.exit_sentence
    assert scene.driver.commands == []


AWAY = arm.READY_RAD + np.array([0.8, 0, 0, 0, 0, 0])


def test_an_arm_that_does_not_follow_ends_the_node_and_gets_its_own_pose_as_goal(stage):
    scene = stage()
    scene.until(lambda: scene.client.active)
    # Not enough for a stall, too much for a limp arm.
    scene.driver.follows, scene.driver.effort[:] = False, 100.0
    scene.driver.create_timer(0.01, lambda: scene.driver.effort.__iadd__(0.01))
    stuck = scene.driver.position[:6].copy()
    scene.client.set_target(AWAY, 1.0)
    scene.until(scene.node.done.done)
    assert "behind its commands" in scene.node.exit_sentence
    scene.until(lambda: np.allclose(scene.driver.commands[-1], stuck, atol=1e-6))


def test_a_blocked_arm_is_pushed_no_more_then_goes_on_to_the_next_target(stage):
    scene = stage()
    scene.until(lambda: scene.client.active)
    scene.driver.follows, scene.driver.effort[:] = False, 900.0
    scene.driver.create_timer(0.01, lambda: scene.driver.effort.__iadd__(0.01))
    stuck = scene.driver.position[:6].copy()
    scene.client.set_target(AWAY, 1.0)
    scene.until(lambda: scene.client.blocked_reason)
    assert "waist is blocked" in scene.client.blocked_reason
    scene.until(lambda: np.allclose(scene.driver.commands[-1], stuck, atol=1e-6))
    assert not scene.node.done.done()
    scene.client.set_target(arm.READY_RAD - np.array([0.1, 0, 0, 0, 0, 0]), 1.0)
    scene.driver.follows, scene.driver.effort[:] = True, 0.0
    scene.until(lambda: scene.client.commanded[0][0] == pytest.approx(-0.1))
    assert scene.client.status[2]["blocks"] == 1


def states_of(scene):
    said = []
    scene.driver.create_subscription(
        String, qos.STOP_STATE_TOPIC, lambda m: said.append(json.loads(m.data)), qos.LATCHED
    )
    return said


def ask(scene, name):
    client = scene.driver.create_client(Trigger, name)
    scene.until(client.service_is_ready)
    future = client.call_async(Trigger.Request())
    scene.until(future.done)
    return future.result()


def test_a_stop_on_the_topic_brakes_at_the_next_command_and_only_a_reset_clears_it(stage):
    scene = stage()
    said = states_of(scene)
    publisher = scene.driver.create_publisher(Bool, qos.ESTOP_TOPIC, qos.ESTOP)
    scene.until(lambda: scene.client.active and said and publisher.get_subscription_count())
    assert said == [{"stopped": False, "reason": ""}]
    scene.client.set_target(AWAY, 1.0)
    scene.until(lambda: scene.client.commanded[0][0] > 0.3)
    before = len(scene.driver.commands)
    publisher.publish(Bool(data=True))
    scene.until(lambda: scene.client.stopped)
    scene.until(lambda: scene.client.at_rest)
    waist = np.array(scene.driver.commands)[before:, 0]
    assert waist[-1] < 0.8 - 0.05, "it went on to the target"
    publisher.publish(Bool(data=False))
    count = len(scene.driver.commands)
    scene.client.set_target(AWAY, 1.0)
    scene.until(lambda: len(scene.driver.commands) > count + 30)
    assert scene.client.at_rest, "a target was taken while stopped"
    scene.until(lambda: said[-1] == {"stopped": True, "reason": "stop on /vla/estop"})
    assert ask(scene, qos.RESET_STOP_SERVICE).message == "the arm may move again"
    scene.until(lambda: scene.client.arrived and scene.client.commanded[0][0] > 0.79)
    scene.until(lambda: said[-1] == {"stopped": False, "reason": ""})


def test_a_stop_before_activation_lets_the_arm_become_active_and_hold(stage):
    scene = stage(start=False)
    assert ask(scene, qos.STOP_SERVICE).message == "stopped: /vla/stop was called"
    scene.client.start()
    scene.client.set_target(AWAY, 1.0)
    scene.until(lambda: scene.client.active and len(scene.driver.commands) > 20)
    assert np.abs(np.array(scene.driver.commands) - arm.READY_RAD).max() < 1e-6


def test_a_stop_by_a_best_effort_publisher_is_heard(stage):
    scene = stage(start=False)
    publisher = scene.driver.create_publisher(Bool, qos.ESTOP_TOPIC, qos.ESTOP_BEST_EFFORT)
    scene.until(publisher.get_subscription_count)

    def stopped():
        publisher.publish(Bool(data=True))
        return scene.client.stopped

    scene.until(stopped)


def test_the_arm_begins_only_where_it_is_seen_now(stage):
    scene = stage(start=False)
    scene.until(lambda: scene.client.measured is not None)
    scene.driver.publishing = False
    scene.client.start()
    scene.until(lambda: len(scene.driver.asked) == 5)
    scene.until(lambda: scene.client._start._begins_by_s is not None)
    # It was moved by hand while nobody looked.
    scene.driver.position[:6] = arm.HOME_RAD
    scene.until(lambda: scene.client._arm.silent_s > 0.3)
    assert not scene.client.active
    assert scene.driver.commands == []
    scene.driver.publishing = True
    scene.until(lambda: scene.driver.commands)
    np.testing.assert_allclose(scene.driver.commands[0], arm.HOME_RAD, atol=1e-6)


def test_shutdown_brakes_before_it_lets_the_node_end(stage):
    scene = stage()
    scene.until(lambda: scene.client.active)
    scene.client.set_target(AWAY, 1.0)
    scene.until(lambda: scene.client.commanded[0][0] > 0.3)
    ended = []
    scene.client.shutdown(lambda: ended.append(scene.client.at_rest))
    scene.until(lambda: ended)
    assert ended == [True]
    assert not scene.client.active
    # Braked on the way, and told so to the driver.
    rest = scene.client.commanded[0]
    assert rest[0] < 0.8 - 0.05
    scene.until(lambda: np.allclose(scene.driver.commands[-1], rest, atol=1e-6))


def test_shutdown_of_an_arm_that_is_not_active_ends_at_once_and_set_up_is_cancelled(stage):
    scene = stage()
    ended = []
    scene.client.shutdown(lambda: ended.append(True))
    assert ended == [True]
    scene.client.start()
    scene.until(lambda: scene.client.active)


def test_the_torque_is_released_only_at_rest_in_the_sleep_pose(stage):
    scene = stage()
    with pytest.raises(SafetyError, match="stays on: the arm is not active"):
        scene.client.release(lambda: None)
    scene.until(lambda: scene.client.active)
    with pytest.raises(SafetyError, match="not at rest in its sleep pose and would fall"):
        scene.client.release(lambda: None)
    scene.client.set_target(arm.SLEEP_RAD, 0.0)
    scene.until(lambda: scene.client.arrived and scene.client.commanded[0][1] < -1.7)
    scene.until(lambda: np.allclose(scene.client.measured[0], arm.SLEEP_RAD, atol=1e-5))
    released = []
    scene.client.release(lambda: released.append(True))
    scene.until(lambda: released)
    torque = [r for r in scene.driver.asked if hasattr(r, "enable")]
    assert [(r.name, r.enable) for r in torque] == [("arm", False), ("gripper", False)]


def test_a_servo_in_error_stops_the_arm_with_its_name_until_it_is_rebooted_and_reset(stage):
    scene = stage()
    scene.until(lambda: scene.client.active)
    scene.driver.registers = {
        ("all", "Hardware_Error_Status"): [0, 0, 0x20, 0, 0, 0, 0],
        ("all", "Present_Temperature"): [40, 41, 42, 43, 44, 45, 46],
    }
    assert scene.client.check_hardware()
    assert not scene.client.check_hardware(), "asked twice within a second"
    scene.until(lambda: scene.client.stopped)
    assert "servo error (elbow: overload)" in scene.client.blocked_reason
    scene.until(lambda: scene.client.status[2]["hottest_c"] == 46)
    assert scene.client.status[0] == 2
    scene.driver.registers["all", "Hardware_Error_Status"] = [0] * 7
    written = len(scene.driver.asked)
    ask(scene, qos.RESET_STOP_SERVICE)
    scene.until(lambda: not scene.client.stopped)
    # What a rebooted servo has forgotten was written again first.
    again = {(r.name, r.reg, r.value) for r in scene.driver.asked[written:] if r.value}
    assert again == {(name, register, value) for _, name, register, value in arm.STREAM_REGISTERS}


def test_another_commander_that_comes_later_ends_the_node_and_is_named(stage):
    scene = stage()
    scene.until(lambda: scene.client.active)
    topic = "/wx250s/commands/joint_single"
    scene.driver.create_publisher(JointSingleCommand, topic, qos.COMMANDS)
    scene.until(scene.node.done.done)
    assert "1 other node(s) command the arm on " + topic in scene.node.exit_sentence
    assert "/driver" in scene.node.exit_sentence


def test_a_gripper_without_a_current_limit_is_limited_in_duty(stage):
    scene = stage()
    scene.driver.registers["gripper", "Operating_Mode"] = [3]
    scene.until(lambda: scene.client.active)
    modes = [r.mode for r in scene.driver.asked if isinstance(r, srv.OperatingModes.Request)]
    assert modes == ["current_based_position", "position"]
    registers = [r for r in scene.driver.asked if isinstance(r, srv.RegisterValues.Request)]
    first = registers[0]
    assert (first.name, first.reg, first.value) == ("gripper", "Goal_PWM", 250)


def test_status_counts_what_was_not_believed(stage):
    scene = stage()
    scene.until(lambda: scene.client.active)
    assert scene.client.status[:2] == (0, "follows its commands")
    scene.driver.position, scene.driver.follows = np.full(9, -np.pi), False
    scene.until(lambda: scene.client.status[2].get("rejected.failed read", 0) > 2)
    scene.until(lambda: scene.client.status[0] == 1)
    assert "joint states are" in scene.client.status[1]


def test_a_limp_arms_goal_goes_where_the_hand_has_it(stage):
    scene = stage()
    scene.until(lambda: scene.client.active)
    said = []
    scene.driver.create_subscription(JointState, qos.COMMANDED_TOPIC, said.append, qos.COMMANDED)
    scene.client.set_torque(False)
    scene.until(lambda: len([r for r in scene.driver.asked if hasattr(r, "enable")]) == 2)
    scene.until(lambda: said)
    scene.driver.follows = False
    scene.driver.position[0] += 0.02
    scene.until(lambda: said[-1].position[0] == pytest.approx(scene.driver.position[0]))
    scene.until(lambda: scene.driver.commands[-1][0] == pytest.approx(scene.driver.position[0]))


def test_an_arm_without_torque_is_aimed_where_it_is_and_then_switched_on(stage):
    scene = stage()
    scene.driver.registers["arm", "Torque_Enable"] = [1, 1, 0, 1, 1, 1]
    scene.until(lambda: any(hasattr(request, "enable") for request in scene.driver.asked))
    np.testing.assert_allclose(scene.driver.commands[0], arm.READY_RAD, atol=1e-6)
    scene.until(lambda: scene.client.active)
    switched = [r for r in scene.driver.asked if isinstance(r, srv.TorqueEnable.Request)]
    assert [(r.name, r.enable) for r in switched] == [("arm", True), ("gripper", True)]
