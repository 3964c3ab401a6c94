import pytest

from vla_ros.core.hardware import error_names, hottest, servo_fault


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


def test_the_hottest_servo_is_named():
    assert hottest(("waist", "elbow", "gripper"), (40, 62, 41)) == ("elbow", 62)
    assert hottest((), ()) == ("", 0)
