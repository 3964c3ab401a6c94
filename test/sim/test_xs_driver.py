"""The simulated driver's manners, those of xs_sdk."""

import math

import numpy as np
import pytest

from vla_ros.core import arm
from vla_ros.sim.xs_driver import MODE_CHANGE_LIMP_S, PWM_FORCE_N, XsDriver

DT_S = 0.01


class Bench:
    """A driver on servos that are wherever `present` says."""

    def __init__(self):
        self.present = [0.0] * 7
        self.logged = []
        self.driver = XsDriver(lambda: self.present, self.logged.append)

    def after(self, seconds):
        for _ in range(round(seconds / DT_S)):
            reference = self.driver.reference(DT_S)
        return reference


@pytest.fixture
def bench():
    return Bench()


def test_default_profile_is_two_seconds_with_ramps_of_0_3_seconds(bench):
    bench.driver.command_group("arm", [0.17] * 6)
    # cruise = 0.17 / (2 - 0.3) = 0.1 rad/s; after the ramp: 0.5 * 0.1 * 0.3 = 0.015 rad.
    assert bench.after(0.3).arm_rad == pytest.approx([0.015] * 6)
    assert bench.after(0.7).arm_rad == pytest.approx([0.085] * 6)
    assert bench.after(1.0).arm_rad == pytest.approx([0.17] * 6)


def test_settled_reference_is_the_same_object(bench):
    bench.after(0.1)
    assert bench.driver.reference(DT_S) is bench.driver.reference(DT_S)
    bench.driver.command_single("waist", 0.1)
    first = bench.driver.reference(DT_S)
    assert bench.driver.reference(DT_S) is not first


def test_group_command_of_the_wrong_length_is_refused_with_a_sentence(bench):
    bench.driver.command_group("arm", [0.1] * 5)
    assert bench.logged == ["command for group 'arm' has 5 values and was refused; send 6"]
    assert not bench.after(3.0).arm_rad.any()


def test_unknown_names_only_log(bench):
    bench.driver.command_group("legs", [0.0])
    bench.driver.command_single("knee", 0.0)
    bench.driver.torque_enable("group", "knee", False)
    assert bench.driver.get_register("single", "knee", "Profile_Velocity") == []
    assert bench.driver.robot_info("single", "knee").num_joints == 0
    assert bench.logged[0] == "group 'legs' does not exist; use one of arm, all"
    assert len(bench.logged) == 5
    assert all(bench.after(0.1).torque)


def test_goal_outside_the_limits_leaves_that_joint_and_moves_the_others(bench):
    too_far = float(arm.UPPER_RAD[1]) + 0.01
    bench.driver.command_group("arm", [0.1, too_far, math.nan, 0.1, math.inf, 0.1])
    assert bench.after(2.0).arm_rad == pytest.approx([0.1, 0.0, 0.0, 0.1, 0.0, 0.1])
    assert bench.logged == []


def test_limit_itself_is_taken_even_after_rounding_to_float32(bench):
    bench.driver.command_group("arm", [float(np.float32(v)) for v in arm.UPPER_RAD])
    assert bench.after(2.0).arm_rad == pytest.approx(arm.UPPER_RAD, abs=1e-6)


def test_profile_registers_take_effect_at_the_next_goal(bench):
    bench.driver.set_register("group", "arm", "Profile_Velocity", 100)
    bench.driver.set_register("single", "waist", "Profile_Acceleration", 0)
    assert bench.driver.get_register("group", "arm", "Profile_Velocity") == [100] * 6
    assert bench.driver.get_register("group", "arm", "Profile_Acceleration") == [0] + [300] * 5
    bench.driver.command_group("arm", [0.1] * 6)
    half = bench.after(0.05).arm_rad
    assert half == pytest.approx([0.05] * 6)
    assert bench.after(0.05).arm_rad == pytest.approx([0.1] * 6)


def test_velocity_profile_zero_follows_each_goal_at_once(bench):
    bench.driver.set_operating_modes("group", "arm", "position", "velocity", 0, 0)
    bench.after(0.5)
    bench.driver.command_group("arm", [0.3] * 6)
    assert bench.after(0.01).arm_rad == pytest.approx([0.3] * 6)


def test_changing_the_mode_drops_torque_joint_after_joint(bench):
    bench.driver.set_operating_modes("group", "arm", "position", "time", 500, 100)
    assert bench.after(0.02).torque == (False, *[True] * 6)
    assert bench.after(MODE_CHANGE_LIMP_S).torque == (True, False, *[True] * 5)
    bench.present[5] = -0.2  # the last joint sags before its turn is over
    reference = bench.after(6 * MODE_CHANGE_LIMP_S)
    assert all(reference.torque)
    assert reference.arm_rad == pytest.approx([0, 0, 0, 0, 0, -0.2])


def test_pwm_pushes_until_told_zero(bench):
    bench.driver.command_single("gripper", -350.0)
    for _ in range(3):
        reference = bench.after(1.0)
        assert reference.finger_m is None
        assert reference.finger_force_n == pytest.approx(-350 * PWM_FORCE_N)
    bench.driver.command_single("gripper", 0.0)
    assert bench.after(0.01).finger_force_n == 0.0


def _gripper(bench, mode):
    bench.present[6] = arm.horn_from_finger(0.02)
    bench.driver.set_operating_modes("single", "gripper", mode, "velocity", 0, 0)
    assert bench.after(0.1).finger_m == pytest.approx(0.02)


@pytest.mark.parametrize("mode", ["current_based_position", "position"])
def test_gripper_position_modes_take_the_horn_angle(bench, mode):
    _gripper(bench, mode)
    bench.driver.command_single("gripper", arm.horn_from_finger(0.03))
    assert bench.after(0.01).finger_m == pytest.approx(0.03)


def test_linear_position_is_the_way_between_the_fingers_and_nonsense_is_ignored(bench):
    _gripper(bench, "linear_position")
    bench.driver.command_single("gripper", 0.060)
    assert bench.after(0.01).finger_m == pytest.approx(0.030)
    for impossible in (0.0, 0.2, math.nan):
        bench.driver.command_single("gripper", impossible)
        assert bench.after(0.01).finger_m == pytest.approx(0.030)


def test_group_all_leaves_a_gripper_in_pwm_mode_alone(bench):
    bench.driver.command_group("all", [0.1] * 6 + [1.0])
    reference = bench.after(2.0)
    assert reference.arm_rad == pytest.approx([0.1] * 6)
    assert reference.finger_force_n == 0.0


def test_a_limp_joint_stays_and_goes_to_the_goal_it_kept_by_its_profile_once_it_has_torque(bench):
    bench.driver.command_group("arm", [0.2] * 6)
    bench.after(3.0)
    bench.driver.torque_enable("group", "arm", False)
    bench.driver.command_single("waist", 0.5)
    reference = bench.after(0.1)
    assert reference.torque == (*[False] * 6, True)
    assert reference.arm_rad == pytest.approx([0.2] * 6)
    bench.present = [0.0, 0.4, 0.2, 0.2, 0.2, 0.2, 0.0]
    bench.driver.torque_enable("group", "all", True)
    reference = bench.after(1.0)
    assert all(reference.torque)
    # Half of the profile of 2 s: half of the way from where each is, to a goal old or new.
    assert reference.arm_rad == pytest.approx([0.25, 0.3, 0.2, 0.2, 0.2, 0.2])
    assert bench.after(1.0).arm_rad == pytest.approx([0.5, 0.2, 0.2, 0.2, 0.2, 0.2])


def test_a_limp_joint_that_was_told_where_it_is_does_not_move_when_it_has_torque(bench):
    bench.driver.torque_enable("group", "arm", False)
    bench.present = [0.3, -0.4, 0.2, 0.0, 0.0, 0.0, 0.0]
    bench.driver.command_group("arm", bench.present[:6])
    bench.driver.torque_enable("group", "arm", True)
    for _ in range(100):
        assert bench.after(DT_S).arm_rad == pytest.approx(bench.present[:6])


@pytest.mark.parametrize("goal", [math.nan, 3.0])
def test_a_goal_that_a_limp_joint_refuses_is_not_kept(bench, goal):
    bench.driver.torque_enable("single", "shoulder", False)
    bench.driver.command_single("shoulder", goal)
    bench.driver.torque_enable("single", "shoulder", True)
    assert bench.after(3.0).arm_rad[1] == 0.0


def test_reboot_drops_the_joint_and_smart_reboot_finds_nothing_to_do(bench):
    bench.driver.reboot("single", "elbow", True, True)
    assert all(bench.after(0.02).torque)
    bench.driver.reboot("single", "elbow", True, False)
    assert bench.after(0.02).torque[2] is False
    assert all(bench.after(0.5).torque)
    bench.driver.reboot("single", "elbow", False, False)
    assert bench.after(0.5).torque[2] is False


def test_velocity_mode_drives_the_joint_until_told_zero(bench):
    bench.driver.set_operating_modes("single", "waist", "velocity", "time", 0, 0)
    bench.after(0.1)
    bench.driver.command_single("waist", 0.5)
    assert bench.after(1.0).arm_rad[0] == pytest.approx(0.5)
    bench.driver.command_single("waist", 0.0)
    assert bench.after(1.0).arm_rad[0] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda d: d.set_operating_modes("group", "arm", "wobble", "time", 0, 0), "does not exist"),
        (lambda d: d.set_operating_modes("group", "arm", "pwm", "time", 0, 0), "not modelled"),
        (lambda d: d.set_register("group", "arm", "Homing_Offset", 1), "cannot be written"),
        (lambda d: d.get_register("group", "arm", "Moving"), "not modelled"),
    ],
)
def test_what_is_not_modelled_says_so(bench, call, words):
    call(bench.driver)
    assert len(bench.logged) == 1
    assert words in bench.logged[0]


def test_position_registers_are_in_counts(bench):
    bench.present[1] = math.pi / 2
    assert bench.driver.get_register("single", "shoulder", "Present_Position") == [3072]
    # The wx250s' shoulder limits as its configuration has them: 819 and 3345.
    assert bench.driver.get_register("single", "shoulder", "Min_Position_Limit") == [819]
    assert bench.driver.get_register("single", "shoulder", "Max_Position_Limit") == [3345]


def test_robot_info_of_group_and_of_the_gripper(bench):
    info = bench.driver.robot_info("group", "arm")
    assert info.joint_names == arm.ARM_JOINTS
    assert info.joint_ids == (1, 2, 4, 6, 7, 8)
    assert (info.mode, info.profile_type, info.num_joints) == ("position", "time", 6)
    assert info.joint_lower_limits == pytest.approx(arm.LOWER_RAD)
    gripper = bench.driver.robot_info("single", "gripper")
    assert gripper.mode == "pwm"
    assert gripper.joint_names == ("left_finger",)
    assert gripper.joint_upper_limits == (arm.FINGER_OPEN_M,)
    assert bench.driver.robot_info("group", "all").name == ("arm", "all")


def test_a_servo_in_error_stays_limp_until_it_is_rebooted(bench):
    bench.driver.raise_error("elbow", "overload")
    status = bench.driver.get_register("group", "arm", "Hardware_Error_Status")
    assert status == [0, 0, 32, 0, 0, 0]
    others = (True, True, False, *[True] * 4)
    assert bench.after(0.1).torque == others
    bench.driver.torque_enable("group", "arm", True)
    bench.driver.command_group("arm", [0.1] * 6)
    reference = bench.after(2.0)
    assert reference.torque == others
    assert reference.arm_rad == pytest.approx([0.1, 0.1, 0.0, 0.1, 0.1, 0.1])


def test_a_smart_reboot_touches_only_servos_in_error(bench):
    bench.driver.raise_error("elbow", "overload")
    bench.present[2] = -0.3
    bench.driver.reboot("group", "arm", True, True)
    assert bench.after(0.1).torque == (True, True, False, *[True] * 4)
    reference = bench.after(0.3)
    assert all(reference.torque)
    assert reference.arm_rad == pytest.approx([0.0, 0.0, -0.3, 0.0, 0.0, 0.0])
    assert bench.driver.get_register("group", "arm", "Hardware_Error_Status") == [0] * 6
    velocity = bench.driver.get_register("group", "arm", "Profile_Velocity")
    assert velocity == [2000, 2000, 0, 2000, 2000, 2000]


def test_a_reboot_without_enable_leaves_the_joint_limp(bench):
    bench.driver.reboot("single", "waist", False, False)
    assert bench.after(1.0).torque == (False, *[True] * 6)


def test_torque_that_is_lost_in_silence_comes_back_when_enabled(bench):
    bench.after(0.1)
    bench.driver.lose_torque("shoulder")
    assert bench.after(0.1).torque == (True, False, *[True] * 5)
    assert bench.driver.get_register("single", "shoulder", "Hardware_Error_Status") == [0]
    assert bench.driver.get_register("single", "shoulder", "Torque_Enable") == [0]
    bench.driver.torque_enable("single", "shoulder", True)
    assert all(bench.after(0.1).torque)


def test_servos_that_feel_too_much_load_drop_out(bench):
    bench.after(0.1)
    for _ in range(25):
        bench.driver.feel([0.0] * 5 + [2200.0, 0.0], 0.1)
    assert bench.after(0.1).torque == (*[True] * 5, False, True)


def test_a_shadow_servo_answers_for_itself(bench):
    bench.driver.raise_error("elbow", "shock")
    read = bench.driver.get_register
    assert read("single", "elbow_shadow", "Hardware_Error_Status") == [16]
    assert read("single", "shoulder_shadow", "Hardware_Error_Status") == [0]
    assert bench.logged == []
