"""Faults as text: what is legal, what is refused, and when each is on."""

import contextlib
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vla_ros.sim.faults import FAULTS, Fault, FaultError, FaultSchedule, parse_faults
from vla_ros.sim.robot_info import JOINTS


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("read_nan@0:1", Fault("read_nan", 0.0, 1.0)),
        ("delay@10:3", Fault("delay", 10.0, 3.0, number=0.5)),
        ("delay@10:3:0.2", Fault("delay", 10.0, 3.0, number=0.2)),
        ("clock_jump@1:2:-5", Fault("clock_jump", 1.0, 2.0, number=-5.0)),
        ("frozen_joints@1:2:silent", Fault("frozen_joints", 1.0, 2.0, word="silent")),
        ("stall@1:inf:elbow", Fault("stall", 1.0, math.inf, joint="elbow")),
        ("servo_error@0:1:gripper", Fault("servo_error", 0.0, 1.0, 0.0, "gripper", "overload")),
        ("servo_error@0:1:waist,shock", Fault("servo_error", 0.0, 1.0, 0.0, "waist", "shock")),
    ],
)
def test_a_text_is_one_fault(text, fault):
    assert parse_faults(text) == (fault,)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is not NAME@START_S:DURATION_S"),
        ("delay", "is not NAME@START_S:DURATION_S"),
        ("dealy@0:1", "with a NAME out of read_minus_pi, read_nan, frozen_joints, delay"),
        ("delay@-1:1", "has START_S '-1', expected a number from 0"),
        ("delay@nan:1", "has START_S 'nan', expected a number from 0"),
        ("delay@0", "has DURATION_S '', expected a number from 0"),
        ("delay@0:0", "has DURATION_S 0; give it some time, or inf"),
        ("delay@0:1:x", "has ARG 'x', expected a number from 0 to 60"),
        ("drop_commands@0:1:1.5", "has ARG '1.5', expected a number from 0 to 1"),
        ("stall@0:1:knee", "has joint 'knee', expected one of waist, shoulder"),
        ("servo_error@0:1:waist,pain", "has word 'pain', expected one of overload"),
        ("frozen_joints@0:1:loud", "has word 'loud', expected one of same, silent"),
        ("read_nan@0:1:3", "has ARG '3', but read_nan takes none"),
        ("stall@0:1:waist,shock", "has ARG 'waist,shock', but stall takes joint"),
        ("random@0:3600", "has faults per hour '', expected a number"),
        ("random@0:inf:60", "would draw more than 100000 faults; shorten it"),
    ],
)
def test_what_is_no_fault_is_refused_with_one_sentence(text, words):
    with pytest.raises(FaultError, match="^fault ") as refusal:
        parse_faults(text)
    assert words in str(refusal.value)
    assert "\n" not in str(refusal.value)


@given(st.text(max_size=40))
def test_no_text_does_worse_than_a_sentence(text):
    with contextlib.suppress(FaultError):
        parse_faults(text)


@given(st.integers(0, 1000))
def test_random_faults_repeat_and_can_be_written_and_read_again(seed):
    text = f"random@100:3600:40,{seed}"
    faults = parse_faults(text)
    assert faults == parse_faults(text)
    for fault in faults:
        assert 100.0 <= fault.start_s < 3700.0
        assert 0.0 < fault.duration_s <= 6.0
        assert parse_faults(str(fault)) == (fault,)


def test_random_faults_are_of_every_kind_and_at_the_asked_rate():
    faults = parse_faults("random@0:36000:60,7")
    # 600 expected; a Poisson count is within 4 times its root.
    assert 500 < len(faults) < 700
    assert {fault.name for fault in faults} == set(FAULTS)
    assert {fault.joint for fault in faults if fault.name == "stall"} == set(JOINTS)
    assert parse_faults("random@0:36000:60,8") != faults


def test_a_fault_is_on_from_its_start_to_before_its_end():
    first, second = parse_faults("read_nan@1:2")[0], parse_faults("no_camera@2:5")[0]
    schedule = FaultSchedule([second, first])
    assert schedule.active(0.99) == ()
    assert schedule.active(1.0) == (first,)
    assert schedule.active(2.99) == (first, second)
    both = schedule.active(2.995)
    assert both is schedule.active(2.999)
    assert schedule.active(3.0) == (second,)
    assert schedule.active(7.0) == ()


def test_a_fault_that_is_added_starts_from_now():
    schedule = FaultSchedule(parse_faults("read_nan@100:1"))
    schedule.add(parse_faults("delay@2:3:0.1"), now_s=10.0)
    assert schedule.active(11.99) == ()
    assert schedule.active(12.0) == (Fault("delay", 12.0, 3.0, 0.1),)
    assert schedule.active(100.0) == (Fault("read_nan", 100.0, 1.0),)


def test_a_fault_begins_and_ends_at_its_tick_whenever_it_was_added():
    # A time in float seconds now and then is a hair off the sum that should be equal to it.
    faults = parse_faults("clock_jump@0.01:0.02:-3")
    for k in range(2000):
        schedule = FaultSchedule()
        schedule.add(faults, k * 10_000_000 * 1e-9)
        counts = [len(schedule.active((k + n) * 10_000_000 * 1e-9)) for n in range(4)]
        assert counts == [0, 1, 1, 0], k
