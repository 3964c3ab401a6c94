"""What a servo does when it is overloaded, too warm, in error or rebooted."""

import pytest

from vla_ros.sim.servo import AMBIENT_C, ERROR_BITS, OVERLOAD_MA, Servo


@pytest.fixture
def servo():
    return Servo(-1.0, 1.0, "position", "time")


def live(servo, current_ma, seconds):
    """Return whether an error came up in so many seconds of this current."""
    return any(servo.feel(current_ma, 0.1) for _ in range(round(seconds * 10)))


def test_a_load_that_lasts_two_seconds_sets_the_overload_bit_and_drops_the_torque(servo):
    assert not live(servo, -OVERLOAD_MA - 1.0, 1.8)
    assert servo.torque
    assert live(servo, -OVERLOAD_MA - 1.0, 0.3)
    assert servo.error == 1 << ERROR_BITS["overload"] == 32
    assert not servo.torque


def test_a_load_that_lets_go_in_between_is_no_overload(servo):
    for _ in range(10):
        assert not live(servo, OVERLOAD_MA + 1.0, 1.5)
        assert not live(servo, 0.0, 0.1)
    assert servo.error == 0


def test_half_an_ampere_ends_at_45_degrees_and_too_much_current_overheats(servo):
    assert servo.read("Present_Temperature", 0.0) == AMBIENT_C
    assert not live(servo, 500.0, 3600.0)
    # 30 + 60 * 0.5^2
    assert servo.read("Present_Temperature", 0.0) == 45
    # 30 + 60 * 1^2 = 90 is over the limit of 80, but no overload.
    assert live(servo, 1000.0, 3600.0)
    assert servo.error == 1 << ERROR_BITS["overheating"] == 4
    assert not servo.torque


def test_a_reboot_clears_errors_and_forgets_what_lies_in_ram(servo):
    servo.registers.update(
        Profile_Velocity=25, Profile_Acceleration=10, Goal_Current=200, Velocity_Limit=100
    )
    servo.raise_error(ERROR_BITS["shock"])
    servo.raise_error(ERROR_BITS["encoder"])
    assert servo.error == 16 + 8
    servo.reboot()
    assert servo.error == 0
    read = [servo.read(name, 0.0) for name in ("Profile_Velocity", "Profile_Acceleration")]
    assert read == [0, 0]
    assert servo.read("Goal_Current", 0.0) == 1193
    assert servo.read("Velocity_Limit", 0.0) == 100


def test_a_servo_without_torque_keeps_a_goal_and_follows_it_once_it_has_torque(servo):
    servo.registers["Profile_Velocity"] = 0
    servo.go_limp()
    servo.command(0.5, 0.0)
    assert not servo.advance(0.01, 0.01)
    assert servo.position == 0.0
    servo.power(0.2, 0.01)
    assert servo.position == 0.2
    servo.advance(0.02, 0.01)
    assert servo.position == 0.5


def test_a_rebooted_servo_that_is_held_where_it_is_has_forgotten_its_goal(servo):
    servo.go_limp()
    servo.command(0.5, 0.0)
    servo.hold(0.1)
    servo.power(0.1, 0.01)
    servo.advance(0.02, 0.01)
    assert servo.position == 0.1


def test_an_xl430_drops_out_eight_degrees_earlier():
    servo = Servo(-1.0, 1.0, "position", "time", 72)
    assert servo.read("Temperature_Limit", 0.0) == 72
    # 30 + 60 * 0.86^2 = 74.4
    assert live(servo, 860.0, 7200.0)
    assert servo.error == 4
    assert not live(Servo(-1.0, 1.0, "position", "time"), 860.0, 7200.0)


def test_a_register_that_is_not_modelled_has_no_value(servo):
    assert servo.read("Moving", 0.0) is None
