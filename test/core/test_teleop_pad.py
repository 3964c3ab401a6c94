"""Controls of a gamepad: what a text names, and what a message says of it."""

from dataclasses import fields

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vla_ros.core.errors import SafetyError
from vla_ros.core.teleop_pad import (
    CONTROLS,
    DIRECTIONS,
    PADS,
    PRESSED,
    Control,
    PadChoice,
    pad_of,
    parse_control,
)

AXES, BUTTONS = [0.0] * 8, [0] * 13


def with_(values, **at):
    changed = list(values)
    for number, value in at.items():
        changed[int(number[1:])] = value
    return changed


def test_a_choice_has_a_field_for_every_control_and_every_pad_has_every_control():
    assert [item.name for item in fields(PadChoice)] == ["pad", *CONTROLS]
    for name, pad in PADS.items():
        assert sorted(pad) == sorted(CONTROLS), name
        pad_of(PadChoice(name))


def test_an_xbox_pad_says_where_the_sticks_are_and_what_is_held():
    pad = pad_of(PadChoice("xbox"))
    axes = with_(AXES, _0=-0.25, _1=1.0, _4=-1.0, _6=1.0, _7=-1.0, _3=0.5)
    state = pad.read(axes, with_(BUTTONS, _4=1, _0=1, _7=1))
    # forward, left, up, roll (cross to the left: against x), pitch (cross down: nose down), yaw
    assert state.directions == (1.0, -0.25, -1.0, -1.0, 1.0, 0.5)
    assert (state.dead_man, state.slow, state.home) == (True, False, False)
    assert state.pressed == {"gripper", "record"}


def test_the_cross_of_the_standard_order_is_two_axes_of_two_buttons():
    pad, buttons = pad_of(PadChoice("standard")), [0] * 21
    up, down = with_(buttons, _11=1), with_(buttons, _12=1)
    assert pad.read([0.0] * 6, up).directions[4] == -1.0
    assert pad.read([0.0] * 6, down).directions[4] == 1.0
    assert pad.read([0.0] * 6, with_(up, _12=1)).directions[4] == 0.0


def test_one_control_may_be_elsewhere():
    pad = pad_of(PadChoice("ps4", up="-axis 5", roll="none", failed="button 11"))
    assert pad.controls["up"] == Control(5, -1.0)
    assert pad.controls["roll"] == Control()
    state = pad.read(with_(AXES, _5=0.5), with_(BUTTONS, _11=1))
    assert state.directions[2] == -0.5
    assert state.pressed == {"failed"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("forward", "axis"), ("forward", "axis -1"), ("forward", "axis 64"), ("forward", "axis ²"),
        ("forward", "axis 1 2"), ("forward", "button 1"), ("forward", "buttons 1"),
        ("forward", "buttons 1 1"), ("forward", "none 1"), ("forward", "1"), ("forward", " "),
        ("slow", "axis 1"), ("slow", "buttons 1 2"), ("dead_man", "none"),
    ],
)  # fmt: skip
def test_what_names_no_control_is_refused(name, text):
    with pytest.raises(SafetyError, match=rf"joy\.{name} must be 'a?.*, got"):
        parse_control(name, text)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(CONTROLS), st.text(max_size=20))
def test_any_text_is_a_control_or_refused(name, text):
    try:
        control = parse_control(name, text)
    except SafetyError:
        return
    assert (control.axis is None) == (not text.split()[0].endswith("axis"))
    assert name in DIRECTIONS or control.axis is None


@pytest.mark.parametrize(
    ("choice", "sentence"),
    [
        (PadChoice("wii"), "joy.pad must be one of standard, xbox, ps4, got 'wii'"),
        (PadChoice(slow="button 4"), "joy.dead_man and joy.slow are both button 4 of pad xbox"),
        (PadChoice(up="axis 1"), "joy.forward and joy.up are both axis 1"),
    ],
)
def test_a_pad_that_does_not_work_is_refused(choice, sentence):
    with pytest.raises(SafetyError, match=sentence):
        pad_of(choice)


@pytest.mark.parametrize(
    ("axes", "buttons", "sentence"),
    [
        ([], [], "0 axes and no axis 1: is it plugged in"),
        (AXES, [], "0 buttons and no button 4"),
        (with_(AXES, _1=float("nan")), BUTTONS, "axis 1 of the pad is nan"),
    ],
)
def test_a_message_that_lacks_a_control_is_refused(axes, buttons, sentence):
    with pytest.raises(SafetyError, match=sentence):
        pad_of(PadChoice("xbox")).read(axes, buttons)


def test_a_pedal_with_one_button_may_speak_of_recordings():
    choice = PadChoice("xbox", record="button 0", discard="none", redo="none", gripper="none")
    state = pad_of(choice).without_motion().read([], [1])
    assert state.pressed == {"record"}
    assert not any(state.directions)
    assert not state.dead_man


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(width=32), max_size=9), st.lists(st.integers(-5, 5), max_size=15))
def test_any_message_is_read_within_bounds_or_refused(axes, buttons):
    try:
        state = pad_of(PadChoice("xbox")).read(axes, buttons)
    except SafetyError:
        return
    assert all(-1.0 <= value <= 1.0 for value in state.directions)
    assert state.pressed <= set(PRESSED)
