import pytest

from vla_ros.core.hardware import HeatWatch, error_names, servo_fault, torque_fault
from vla_ros.core.monitor import SERVOS


@pytest.mark.parametrize(
    ("status", "names"),
    [
        (0, ()),
        (0x01, ("input voltage",)),
        (0x04, ("overheating",)),
        (0x08, ("motor encoder",)),
        (0x10, ("electrical shock",)),
        (0x20, ("overload",)),
        (0x24, ("overheating", "overload")),
        (0x42, ("unknown bits 0x42",)),
        (-128, ("unknown bits 0x80",)),
    ],
)
def test_error_bits_have_the_names_of_the_manual(status, names):
    assert error_names(status) == names


def test_a_fault_names_joint_error_and_remedy():
    sentence = servo_fault(("waist", "elbow", "gripper"), (0, 0x20, 0x04))
    assert sentence.startswith("servo error (elbow: overload, gripper: overheating)")
    assert "take the load off" in sentence
    assert "cool for 20 minutes" in sentence
    assert sentence.endswith("then call reboot_motors and /vla/reset_stop")


def test_healthy_servos_give_no_sentence():
    assert servo_fault(("waist", "elbow"), (0, 0)) == ""


def test_as_many_registers_as_servos():
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        servo_fault(("waist", "elbow"), (0,))


def test_servos_without_torque_are_named():
    assert torque_fault(("waist", "elbow"), (1, 1)) == ""
    sentence = torque_fault(("waist", "elbow", "gripper"), (0, 1, 0))
    assert sentence.startswith("waist, gripper has no torque, and nobody switched it off")
    assert sentence.endswith("then call torque_enable and /vla/reset_stop")


def test_a_warm_servo_makes_the_arm_rest_until_it_has_cooled():
    heat = HeatWatch()
    # 10 below 80 is warm, 25 below is cooled.
    told = []
    for celsius in (69, 70, 76, 60, 56, 55, 69):
        heat.judge(("elbow", "gripper"), (celsius, 40))
        told.append((bool(heat.warm_reason), bool(heat.hot_reason)))
    rests = (True, False)
    assert told == [(False, False), rests, rests, rests, rests, (False, False), (False, False)]


@pytest.mark.parametrize(("limit_c", "cooled_c"), [(45, 32), (60, 40), (80, 55)])
def test_no_servo_has_to_cool_below_the_room(limit_c, cooled_c):
    heat = HeatWatch()
    heat.learn_limits(("elbow",), (limit_c,))
    told = []
    for celsius in (limit_c - 10, cooled_c + 1, cooled_c):
        heat.judge(("elbow",), (celsius,))
        told.append(bool(heat.warm_reason))
    assert told == [True, True, False]


def test_readings_are_those_of_the_warm_servo_that_is_heard_of_least():
    heat = HeatWatch()
    heat.judge(("elbow", "gripper"), (40, 40))
    assert heat.warm_readings == 0
    heat.judge(("elbow", "gripper"), (75, 65))
    # A failed read gives 0.
    heat.judge(("elbow", "gripper"), (75, 0))
    assert heat.warm_readings == 2
    heat.judge(("elbow", "gripper"), (75, 0))
    assert heat.warm_readings == 2


def test_a_servo_about_to_drop_out_makes_the_arm_stop():
    heat = HeatWatch()
    heat.judge(("elbow",), (76,))
    assert heat.hot_reason == ""
    heat.judge(("elbow",), (77,))
    said = "elbow is at 77 degrees Celsius and drops out at 80"
    assert heat.warm_reason == said
    assert heat.hot_reason.startswith(f"{said}: let it cool")
    assert heat.hot_reason.endswith("then call /vla/reset_stop")


def test_an_xl430_is_warm_and_hot_eight_degrees_earlier():
    heat = HeatWatch()
    cool = [40] * 5
    for wrist_c, gripper_c in ((61, 61), (62, 40), (40, 69)):
        heat.judge(SERVOS, [*cool, wrist_c, gripper_c])
        if wrist_c == 61:
            assert heat.warm_reason == ""
        elif wrist_c == 62:
            assert heat.warm_reason == "wrist_rotate is at 62 degrees Celsius and drops out at 72"
    assert heat.hot_reason.startswith("gripper is at 69 degrees Celsius and drops out at 72")


def test_the_servos_own_limits_count_where_they_can_be_believed():
    heat = HeatWatch()
    heat.learn_limits(("waist", "elbow", "gripper", "shoulder"), (70, 0, 80, 100))
    heat.judge(("waist", "elbow", "gripper", "shoulder"), (60, 69, 69, 70))
    assert heat.warm_reason == (
        "waist is at 60 degrees Celsius and drops out at 70, "
        "shoulder is at 70 degrees Celsius and drops out at 80"
    )


def test_a_temperature_that_was_not_read_cools_nobody():
    heat = HeatWatch()
    assert heat.hottest == ("", 0)
    heat.judge(("elbow", "waist"), (71, 45))
    heat.judge(("elbow", "waist"), (0, 46))
    assert heat.warm_reason
    assert heat.hottest == ("elbow", 71)


def test_a_second_servo_that_is_asked_alone_counts_too():
    heat = HeatWatch()
    heat.judge(("elbow_shadow",), (72,))
    heat.judge(("elbow",), (50,))
    assert heat.warm_reason.startswith("elbow_shadow is at 72")
