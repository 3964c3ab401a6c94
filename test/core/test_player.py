"""Play is taken to an arm, and goes elsewhere where something is in its way."""

import numpy as np
import pytest

from vla_ros.core import arm, kinematics
from vla_ros.core.exploration import ExplorationParameters, PlayMotion
from vla_ros.core.player import Player


class Arm:
    """An arm that is where it was told to be, or blocked."""

    def __init__(self):
        self.commanded = self.measured = (arm.READY_RAD.copy(), 1.0)
        self.blocked_reason, self.blocks = "", 0
        self.now_ns, self.said = 0, []

    def set_target(self, q_rad, opening):
        self.commanded = self.measured = (q_rad, opening)

    def block(self):
        self.blocks, self.blocked_reason = self.blocks + 1, "elbow is blocked"


@pytest.fixture
def player():
    motion, held = PlayMotion(ExplorationParameters(), np.random.default_rng(0)), Arm()
    return Player(motion, held, 2, 0.02, lambda: held.now_ns, lambda: held.blocks, held.said.append)


def test_a_blocked_arm_goes_elsewhere_and_is_given_up_after_several_in_a_row(player):
    held = player._arm
    assert player.start()
    player.tick()
    held.block()
    target = held.commanded
    player.tick()
    assert held.commanded is target
    assert player.go_on()
    lower = kinematics.forward(arm.READY_RAD)
    lower[2, 3] -= 0.1
    held.commanded = (kinematics.inverse(lower, arm.READY_RAD), 1.0)
    held.blocked_reason = ""
    assert player.go_on()
    # Up first, away from what it may push against.
    assert player._motion.phase == "lift"
    assert player._motion.waypoint[2, 3] > lower[2, 3] + 0.05
    player.tick()
    assert held.commanded is not target
    held.block()
    player.tick()
    assert not player.go_on()
    assert player.given_up == "the arm was blocked 2 times in a row, last: elbow is blocked"
    assert player.blocks == 2
    # From the ready pose it is another row.
    held.blocked_reason = ""
    assert player.start()
    held.block()
    player.tick()
    assert player.go_on()


def test_an_arm_that_only_began_anew_was_not_blocked(player):
    held = player._arm
    assert player.start()
    for _ in range(5):
        held.blocked_reason = "the arm was found elsewhere than commanded"
        player.tick()
        held.blocked_reason = ""
        assert player.go_on()
    assert player.blocks == 0


def test_a_block_long_after_the_last_one_is_another_matter(player):
    held = player._arm
    for _ in range(4):
        assert player.start()
        held.now_ns += 21 * 10**9
        held.block()
        player.tick()
        held.blocked_reason = ""
        assert player.go_on()
    assert player.blocks == 4


def test_where_play_cannot_begin_it_says_so_and_sets_no_target(player):
    held = player._arm
    held.commanded = (arm.SLEEP_RAD, 1.0)
    assert not player.start()
    player.tick()
    assert np.array_equal(held.commanded[0], arm.SLEEP_RAD)
    assert held.said[0].startswith("going to the ready pose first: play cannot start")


def test_the_camera_is_told_at_every_command_whether_the_motion_rests():
    told, held = [], Arm()
    motion = PlayMotion(ExplorationParameters(), np.random.default_rng(0))
    arguments = motion, held, 2, 0.02, lambda: 0, lambda: 0, held.said.append
    player = Player(*arguments, look=lambda rests, q: told.append((rests, q)))
    assert player.start()
    player.tick()
    ((rests, q),) = told
    assert not rests
    # Measured before the target of this command was set.
    assert np.array_equal(q, arm.READY_RAD)
