"""The commanded arm without a graph moves as the nodes' arm does, in integer time."""

import numpy as np
import pytest

from training.evidence.arm_loop import PERIOD_NS, ArmLoop
from training.evidence.sim_camera import SimCamera
from vla_ros.core import arm
from vla_ros.core.errors import SafetyError, SceneError
from vla_ros.core.limits import wx250s_limits
from vla_ros.sim.world import SimWorld

ELSEWHERE_RAD = arm.READY_RAD + np.array([0.3, 0, 0, 0, 0, 0.2])


class Heard:
    """A listener that keeps everything."""

    def __init__(self):
        self.joint_states, self.pictures, self.commands = [], [], []

    def joint_state(self, stamp_ns, position, velocity, effort):
        self.joint_states.append((stamp_ns, position, velocity, effort))

    def picture(self, stamp_ns, camera, jpeg):
        self.pictures.append((stamp_ns, camera, jpeg))

    def commanded(self, stamp_ns, q_rad, opening):
        self.commands.append((stamp_ns, q_rad, opening))


class Shades:
    """A renderer that draws how often it was asked."""

    def __init__(self):
        self.calls = 0

    def render(self, qpos):
        self.calls += 1
        return np.full((8, 8, 3), 10 * self.calls, np.uint8)


def made(cameras=(), seed=3):
    loop = ArmLoop(SimWorld(seed, log=lambda _: None), cameras)
    heard = Heard()
    loop.listeners.append(heard)
    return loop, heard


def test_it_goes_where_it_is_told_within_the_limits_and_stays():
    loop, heard = made()
    loop.go_to(ELSEWHERE_RAD, 0.0)
    loop.wait(0.5)
    assert np.allclose(loop.measured[0], ELSEWHERE_RAD, atol=0.02)
    assert loop.measured[1] == pytest.approx(0.0, abs=0.05)
    commands = np.array([q for _, q, _ in heard.commands])
    speed = np.abs(np.diff(commands, axis=0)).max() / 0.02
    assert 1.0 < speed <= wx250s_limits().velocity_rad_s[0] + 1e-9
    # 0.3 rad at 4 rad/s^2 without reaching 1.5 rad/s: 2 sqrt(0.3 / 4) = 0.55 s.
    arrived = next(i for i, q in enumerate(commands) if np.allclose(q, ELSEWHERE_RAD))
    assert arrived == pytest.approx(27, abs=4)


def test_a_period_hands_on_joint_state_picture_and_command_of_one_moment():
    loop, heard = made([SimCamera("front", 8, 8, 10.0, Shades())])
    begin_ns = loop.now_ns
    for _ in range(10):
        loop.step()
    stamps = [begin_ns + i * PERIOD_NS for i in range(10)]
    assert [row[0] for row in heard.joint_states] == stamps
    assert [row[0] for row in heard.commands] == stamps
    assert [row[0] for row in heard.pictures] == [t for t in stamps if t % 100_000_000 == 0]
    assert loop.pictures["front"] == (heard.pictures[-1][0], heard.pictures[-1][2])
    assert heard.joint_states[0][1].shape == (9,)


def test_equal_seeds_give_equal_bits():
    def run(seed):
        loop, heard = made(seed=seed)
        loop.go_to(ELSEWHERE_RAD, 0.3)
        return np.array([row[1] for row in heard.joint_states]), loop.world.qpos()

    first, again, other = run(1), run(1), run(2)
    assert np.array_equal(first[0], again[0])
    assert np.array_equal(first[1], again[1])
    assert not np.array_equal(first[1], other[1])


def test_an_illegal_target_is_refused_and_the_arm_holds():
    loop, _ = made()
    loop.go_to(arm.READY_RAD, 1.0)
    before = loop.commanded[0]
    loop.step(lambda: loop.loop.set_target(np.full(6, np.nan), 1.0))
    assert loop.loop.refusals == 1
    assert np.array_equal(loop.commanded[0], before)


def test_a_stopped_arm_asks_for_no_target_and_does_not_arrive():
    loop, _ = made()
    loop.loop.stop("a person pressed it")
    asked = []
    loop.step(lambda: asked.append(1))
    assert asked == []
    with pytest.raises(SafetyError, match="a person pressed it"):
        loop.go_to(ELSEWHERE_RAD, 1.0)


def test_what_jams_a_joint_counts_as_a_block_and_no_limit_is_forced():
    loop, _ = made()
    loop.go_to(arm.READY_RAD, 1.0)
    loop.world.block("waist", True)
    for _ in range(100):
        loop.step(lambda: loop.loop.set_target(ELSEWHERE_RAD, 1.0))
    assert loop.loop.blocks >= 1


def test_cameras_that_cannot_be_are_refused_in_one_sentence():
    with pytest.raises(SceneError, match="whole number of milliseconds"):
        SimCamera("front", 8, 8, 30.0, Shades())
    with pytest.raises(SceneError, match="whole number of commands"):
        made([SimCamera("front", 8, 8, 40.0, Shades())])
    with pytest.raises(SceneError, match="different names"):
        made([SimCamera("front", 8, 8, 5.0, Shades()) for _ in range(2)])
