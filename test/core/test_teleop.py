"""When the arm follows a gamepad and when it does not; and how fast the sticks ask it to be."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vla_ros.core.errors import SafetyError
from vla_ros.core.teleop import Gamepad, TeleopParameters, shaped, twist_of
from vla_ros.core.teleop_pad import PadChoice, PadState, pad_of

PARAMETERS = TeleopParameters(linear_m_s=0.1, angular_rad_s=0.5, dead_zone=0.2, slow_share=0.5)
DEAD_MAN, SLOW, HOME, GRIPPER = 4, 5, 3, 0


class Person:
    """Holds an Xbox pad whose messages arrive when the test says so."""

    def __init__(self):
        self.pad = Gamepad(pad_of(PadChoice("xbox")), PARAMETERS)
        self.now_s = 100.0

    def say(self, *held, forward=0.0, after_s=0.05, stamp_ns=0, axes=None):
        """Send a message `after_s` after the one before; return what was pressed."""
        self.now_s += after_s
        axes = [0.0, forward, *[0.0] * 6] if axes is None else axes
        buttons = [int(number in held) for number in range(11)]
        return self.pad.hear(self.now_s, stamp_ns, axes, buttons)

    def drives(self, after_s=0.0, is_led=False):
        return self.pad.follows(self.now_s + after_s, is_led)

    def begin(self):
        """Hold the dead-man button, sticks at rest."""
        self.say()
        self.say(DEAD_MAN)
        assert self.drives()
        return self


def test_the_arm_follows_while_the_dead_man_button_is_held():
    person = Person().begin()
    person.say(DEAD_MAN, forward=1.0)
    assert person.drives()
    assert person.pad.twist.tolist() == [0.1, 0, 0, 0, 0, 0]
    person.say(forward=1.0)
    assert not person.drives()
    assert person.pad.problem == ""


def test_a_button_that_is_held_from_the_first_message_on_is_no_press():
    person = Person()
    person.say(DEAD_MAN)
    assert not person.drives()
    assert person.pad.problem.startswith("the dead-man button is held since before the first")
    person.begin()


def test_it_does_not_begin_with_a_stick_away_from_rest():
    person = Person()
    person.say()
    person.say(DEAD_MAN, forward=0.3)
    assert not person.drives()
    assert "a stick is not at rest" in person.pad.problem
    person.say(DEAD_MAN, HOME)
    assert not person.drives()
    person.say(DEAD_MAN, forward=0.1)
    assert person.drives()


@pytest.mark.parametrize("silent_s", [0.26, 60.0])
def test_silence_stops_it_until_the_button_is_pressed_anew(silent_s):
    person = Person().begin()
    assert person.drives(after_s=0.24)
    assert not person.drives(after_s=silent_s)
    assert "no message of the pad for 0.25 s; let the dead-man" in person.pad.problem
    person.say(DEAD_MAN, forward=1.0, after_s=silent_s)
    person.say(DEAD_MAN)
    assert not person.drives()
    person.begin()


def test_silence_that_nobody_looked_at_stops_it_too():
    person = Person().begin()
    person.say(DEAD_MAN, after_s=0.3)
    assert not person.drives()


def test_a_pad_that_goes_empty_stops_it():
    # As joy_node says it when the pad is unplugged.
    person = Person().begin()
    person.say(DEAD_MAN, axes=[])
    assert not person.drives()
    assert "is it plugged in" in person.pad.problem
    person.say(DEAD_MAN)
    assert not person.drives()


@pytest.mark.parametrize("unused", [0.0, np.nan])
def test_the_same_message_again_and_again_moves_it_for_so_long_only(unused):
    person = Person().begin()
    for count in range(62):
        axes = np.array([0.0, 1.0, unused, 0.0, 0.0, 0.0, 0.0, 0.0])
        person.say(DEAD_MAN, axes=axes)
        assert person.drives() == (count < 61)
    assert "nothing has changed on the pad for 3 s" in person.pad.problem
    # A hand that comes back changes nothing by itself.
    person.say(DEAD_MAN, forward=0.9)
    person.say(DEAD_MAN)
    assert not person.drives()
    person.begin()
    for _ in range(100):
        person.say(DEAD_MAN)
    assert person.drives(), "a resting arm may be held for as long as one likes"


def test_while_slow_the_same_message_may_move_it_as_far():
    person = Person().begin()
    for _ in range(121):
        person.say(DEAD_MAN, SLOW, forward=1.0)
    assert person.drives()
    person.say(DEAD_MAN, SLOW, forward=1.0)
    assert not person.drives()


def test_a_message_that_was_overtaken_is_no_sign_of_life():
    person = Person().begin()
    person.say(stamp_ns=2_000)
    assert person.say(DEAD_MAN, GRIPPER, stamp_ns=1_000) == ()
    assert not person.drives()
    person.say(DEAD_MAN, stamp_ns=2_000)
    assert person.drives()
    person.say(DEAD_MAN, forward=1.0, stamp_ns=1_000, after_s=0.2)
    assert not person.drives(after_s=0.06)
    # Another clock, as of a joy node that was started anew.
    person.say(stamp_ns=5, after_s=10.1)
    person.say(DEAD_MAN, stamp_ns=6)
    assert person.drives()


@pytest.mark.parametrize(("held", "is_led"), [((HOME,), False), ((), True), ((SLOW,), True)])
def test_the_same_message_leads_it_home_or_along_a_route_for_so_long_only(held, is_led):
    person = Person().begin()
    for _ in range(60):
        person.say(DEAD_MAN, *held)
    assert person.drives(is_led=is_led)
    for nudge in (0.05, 0.0):  # within the dead zone
        person.say(DEAD_MAN, *held, forward=nudge)
    for _ in range(60):
        person.say(DEAD_MAN, *held)
    assert person.drives(is_led=is_led)
    person.say(DEAD_MAN, *held)
    assert not person.drives(is_led=is_led)
    assert "nothing has changed on the pad for 3 s" in person.pad.problem


def test_while_it_is_forbidden_no_press_begins():
    person = Person().begin()
    person.pad.forbid("two pads")
    for _ in range(2):
        assert not person.drives()
        person.say()
        person.say(DEAD_MAN)
    assert person.pad.problem == "two pads"
    person.pad.forbid("")
    person.say(DEAD_MAN)
    assert not person.drives(), "it was pressed while it was forbidden"
    person.begin()


def test_messages_that_a_link_keeps_back_do_not_drive_it_though_they_come_regularly():
    person, delay_s = Person(), 0.0

    def say(*held):
        person.say(*held, stamp_ns=int((person.now_s + 0.05 - delay_s) * 1e9))

    say()
    say(DEAD_MAN)
    assert person.drives()
    delay_s = 0.2
    for _ in range(8):
        say(DEAD_MAN)
    assert person.drives()
    delay_s = 0.3
    for _ in range(400):
        say()
        say(DEAD_MAN)
        assert not person.drives()
    assert "come more than 0.25 s late" in person.pad.problem
    delay_s = 0.0
    say()
    say(DEAD_MAN)
    assert person.drives()


def test_a_clock_that_is_a_little_slow_is_no_late_link():
    person = Person().begin()
    for second in range(4000):
        person.say(stamp_ns=int(1e9 * (1000 + 0.99992 * second)), after_s=1.0)
    person.say(DEAD_MAN, stamp_ns=int(1e9 * (1000 + 0.99992 * 4000)), after_s=0.2)
    assert person.drives()


def test_somebody_else_may_end_it():
    person = Person().begin()
    person.pad.release("the arm is blocked")
    assert not person.drives()
    person.say(DEAD_MAN)
    assert not person.drives()
    assert person.pad.problem == "the arm is blocked"
    person.begin()


def test_what_is_pressed_is_told_once():
    person = Person()
    assert person.say(GRIPPER) == ()
    assert person.say() == ()
    assert person.say(GRIPPER, 7) == ("gripper", "record")
    assert person.say(GRIPPER, 7) == ()
    assert person.say(6, after_s=9.0) == (), "nobody knows when it was pressed"


@pytest.mark.parametrize(
    ("value", "wanted"),
    [(0.2, 0.0), (-0.1, 0.0), (0.6, 0.5), (-0.6, -0.5), (1.0, 1.0), (-1.5, -1.0)],
)
def test_a_stick_begins_behind_its_dead_zone(value, wanted):
    assert shaped(value, 0.2) == pytest.approx(wanted)


stick = st.floats(-1.0, 1.0)


@settings(max_examples=40, deadline=None)
@given(st.tuples(*[stick] * 6), st.booleans())
def test_no_sticks_ask_for_more_than_the_largest_speeds(directions, slow):
    twist = twist_of(PadState(directions, True, slow, False, frozenset()), PARAMETERS)
    share = 0.5 if slow else 1.0
    assert np.linalg.norm(twist[:3]) <= 0.1 * share + 1e-12
    assert np.linalg.norm(twist[3:]) <= 0.5 * share + 1e-12
    # It goes where the sticks point, within the dead zone nowhere.
    for value, asked in zip(directions, twist, strict=True):
        assert (asked != 0.0) == (abs(value) > 0.2)
        assert asked * value >= 0.0


messages = st.tuples(
    st.sampled_from([(), (4,), (4, 3), (4, 0), (0, 7)]),
    st.sampled_from([0.0, 0.1, 1.0]),
    st.sampled_from([0.02, 0.05, 0.3, 4.0]),
    st.sampled_from(["sound", "empty", "released"]),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(messages, max_size=12))
def test_whatever_comes_it_follows_only_a_fresh_message_with_the_button_held(sequence):
    person, opened = Person(), False
    for held, forward, after_s, kind in sequence:
        if kind == "released":
            person.pad.release("x")
        person.say(*held, forward=forward, after_s=after_s, axes=[] if kind == "empty" else None)
        opened = kind != "empty" and (4 not in held or (opened and kind == "sound"))
        if person.drives():
            assert kind != "empty"
            assert 4 in held
        assert not person.drives(after_s=0.3)


def test_a_parameter_out_of_its_range_is_refused():
    with pytest.raises(SafetyError, match="linear_m_s .* must be from 0.01 to 0.25 m/s, got 1.0"):
        TeleopParameters(linear_m_s=1.0)
