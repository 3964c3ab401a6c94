"""Holds booked to the faults that can cause them, on times that are easy to count."""

import numpy as np

from bench._holds import CAUSES, HoldBook
from bench._mischief import NAMES, far_target, mischief
from vla_ros.sim.faults import FAULTS, Fault

DELAY = Fault("delay", 10.0, 2.0, 0.5)
STALL = Fault("stall", 9.0, 5.0, joint="waist")


def test_a_hold_is_booked_to_the_fault_that_can_cause_it():
    book = HoldBook()
    book.change(9.0, [STALL], moves=True)
    book.change(10.01, [STALL, DELAY], moves=True)
    book.hold(10.09, "stale")
    assert book.holds == {"stale by delay": 1}
    assert book.hold_s == {"delay": [10.09 - 10.0]}
    # It held meanwhile: how long the stall took to show says nothing.
    book.hold(11.0, "stall")
    assert book.holds == {"stale by delay": 1, "stall by stall": 1}
    assert (set(book.hold_s), book.faults) == ({"delay"}, {"stall": 1, "delay": 1})


def test_a_fault_through_which_the_arm_moved_on_is_counted():
    book = HoldBook()
    # One that nothing shows, one that is held for, one that begins and ends in a rest.
    book.change(10.0, [DELAY], moves=True)
    book.change(12.0, [], moves=True)
    assert book.unnoticed == {"delay": 1}
    book.change(20.0, [DELAY], moves=True)
    book.hold(20.1, "stale")
    book.change(22.0, [], moves=False)
    book.change(30.0, [DELAY], moves=False)
    book.change(32.0, [], moves=True)
    assert book.unnoticed == {"delay": 1}


def test_what_no_fault_explains_is_counted_apart():
    book = HoldBook()
    book.change(10.0, [DELAY], moves=True)
    book.hold(10.1, "overload")
    assert (book.holds, book.unattributed) == ({}, {"overload": 1})
    book.change(12.0, [], moves=False)
    book.hold(12.6, "stale")
    book.hold(12.61, "stale")
    assert (book.holds, book.unattributed) == ({"stale by delay": 1}, {"overload": 1, "stale": 1})


def test_a_servo_without_torque_explains_a_hold_long_after_its_fault():
    for limp, explained in ((["waist"], True), (["elbow"], False), ([], False)):
        book = HoldBook()
        book.change(1.0, [Fault("torque_lost", 1.0, 0.1, joint="waist")], moves=False)
        book.change(1.1, [], moves=False)
        assert book.hold(9.0, "limp", limp) == explained
        assert book.holds == ({"limp by torque_lost": 1} if explained else {})
        assert book.unattributed == ({} if explained else {"limp": 1})


def test_an_arm_that_lies_against_something_explains_that_it_pushes_where_no_fault_does():
    book = HoldBook()
    assert book.hold(1.0, "overload", touches=True)
    assert not book.hold(2.0, "limp", touches=True)
    book.change(3.0, [STALL], moves=True)
    assert book.hold(3.5, "stall", touches=True)
    assert book.holds == {"overload by contact": 1, "stall by stall": 1}
    assert book.unattributed == {"limp": 1}


def test_only_an_arm_in_motion_is_timed():
    for rests_between in (False, True):
        book = HoldBook()
        book.change(10.0, [DELAY], moves=rests_between)
        if rests_between:
            book.rest()
        book.hold(10.1, "stale")
        assert (book.holds.total(), book.hold_s) == (1, {})


def test_a_silent_driver_and_one_that_repeats_itself_are_two_faults():
    book = HoldBook()
    book.change(1.0, [Fault("frozen_joints", 1.0, 1.0, word="silent")], moves=True)
    book.hold(1.1, "frozen")
    assert book.unattributed == {"frozen": 1}
    book.hold(1.1, "stale")
    assert book.holds == {"stale by silent joints": 1}


def test_every_cause_belongs_to_a_fault_that_there_is():
    assert set(CAUSES) - {"silent joints"} <= {*FAULTS, *NAMES}


def test_mischief_comes_of_every_kind_at_its_rate_and_repeats():
    faults = mischief(36_000.0, 60.0, 3)
    assert faults == mischief(36_000.0, 60.0, 3) != mischief(36_000.0, 60.0, 4)
    assert {fault.name for fault in faults} == set(NAMES)
    # 600 expected, by a Poisson law of sigma 24.
    assert 500 < len(faults) < 700
    assert all(30.0 <= fault.start_s < 36_000.0 for fault in faults)
    target = far_target(np.random.default_rng(0), np.zeros(6))
    assert target.shape == (6,)
