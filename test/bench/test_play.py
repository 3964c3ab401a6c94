"""What the play benchmark counts, on a world of two bodies that touch when they are told to."""

from types import SimpleNamespace

import numpy as np
import pytest

from bench.play import Contacts, interval

BASE, FINGER, APPLE = 1, 2, 3


class TouchingWorld:
    """An arm of two bodies and an apple; geom i belongs to body i."""

    objects = ("apple",)

    def __init__(self):
        ids = {"base": BASE, "apple": APPLE}
        self.model = SimpleNamespace(
            nbody=4,
            body=lambda name: SimpleNamespace(id=ids[name]),
            body_rootid=np.array([0, BASE, BASE, APPLE]),
            geom_bodyid=np.arange(4),
        )
        self.data = SimpleNamespace(contact=SimpleNamespace(geom=np.empty((0, 2), int)))
        self.apple = np.eye(4)

    def object_pose(self, name):
        return self.apple

    def touch(self, *pairs):
        self.data.contact.geom = np.array(pairs, int).reshape(-1, 2)


def play(world, contacts, script):
    """Update once for each (time [s], touching pairs, apple's x [m])."""
    for now_s, pairs, x_m in script:
        world.touch(*pairs)
        world.apple[0, 3] = x_m
        contacts.update(now_s)
    return contacts.touched, contacts.moved


def test_touch_that_comes_back_within_a_second_is_the_same_contact():
    world = TouchingWorld()
    pair = [(FINGER, APPLE)]
    script = [(0.0, pair, 0.0), (0.5, [], 0.0), (1.4, pair, 0.0), (2.5, [], 0.0), (2.6, pair, 0.0)]
    assert play(world, Contacts(world), script) == (2, 0)


def test_contact_moved_its_object_by_more_than_a_centimetre():
    for way_m, moved in ((0.009, 0), (0.011, 1)):
        world = TouchingWorld()
        script = [(0.0, [(APPLE, FINGER)], 0.0), (0.5, [], way_m), (1.1, [], way_m)]
        assert play(world, Contacts(world), script) == (1, moved)


def test_objects_on_the_table_and_the_arm_on_itself_are_no_contacts():
    world = TouchingWorld()
    assert play(world, Contacts(world), [(0.0, [(0, APPLE), (BASE, FINGER)], 0.0)]) == (0, 0)


@pytest.mark.parametrize(
    ("pairs", "touches"),
    [
        ([], False),
        ([(0, APPLE), (BASE, FINGER)], False),
        ([(APPLE, FINGER)], True),
        ([(FINGER, 0)], True),
    ],
)
def test_the_arm_touches_what_is_not_itself(pairs, touches):
    world = TouchingWorld()
    world.touch(*pairs)
    assert Contacts(world).touches() == touches


def test_two_fingers_on_one_object_are_one_contact():
    world = TouchingWorld()
    assert play(world, Contacts(world), [(0.0, [(FINGER, APPLE), (BASE, APPLE)], 0.0)]) == (1, 0)


def test_layout_done_anew_ends_contacts_without_counting_the_move():
    world = TouchingWorld()
    contacts = Contacts(world)
    play(world, contacts, [(0.0, [(FINGER, APPLE)], 0.0)])
    contacts.reset()
    assert play(world, contacts, [(2.0, [], 0.3)]) == (1, 0)


def test_interval_by_hand():
    # Standard deviation 10, n = 3: 4.303 x 10 / sqrt(3).
    assert interval(np.array([90.0, 100.0, 110.0])) == pytest.approx(24.843, abs=1e-3)
