"""A policy on the simulated arm: when it is asked, when its answers count, what holds it."""

import numpy as np
import pytest

from training.evidence.arm_loop import PERIOD_NS, ArmLoop
from training.evidence.rollouts_policy import SimulatedPolicy
from training.evidence.sim_camera import SimCamera
from vla_ros.core import kinematics
from vla_ros.core.contract import apt_contract, tap_contract
from vla_ros.core.errors import ContractError
from vla_ros.core.limits import wx250s_limits
from vla_ros.core.observation import Chunk
from vla_ros.sim.looks import STANDARD, VIEWPOINTS
from vla_ros.sim.world import SimWorld

MS = 1_000_000


class Grey:
    """A renderer whose pictures cost nothing."""

    def render(self, qpos):
        return np.full((8, 8, 3), 128, np.uint8)


class Runner:
    """A policy that always asks for the same displacement; notes what it is shown."""

    cameras, num_past, goes_on, contract = ("front",), 0, False, tap_contract(image_size=8)

    def __init__(self, action=(0, 0, 0.01, 0, 0, 0, 1)):
        self.action, self.seen, self.error = np.array([action], np.float32), [], None

    def act(self, observation, decided=None):
        self.seen.append(observation)
        if self.error is not None:
            raise self.error
        return Chunk(self.action, 0.2, np.array([float(self.action[0, 6])]))


def made(runner, camera_hz=5.0, **options):
    """Return an arm and the policy on it, told what to do."""
    camera = SimCamera("front", 8, 8, camera_hz, Grey())
    loop = ArmLoop(SimWorld(3, log=lambda _: None), [camera])
    policy = SimulatedPolicy(loop, runner, [camera], wx250s_limits(), **options)
    policy.tell("rise")
    return loop, policy


def act(loop, policy, duration_ms):
    """Let time pass; return the height [m] that the tool is commanded to, at each command."""
    heights = []
    for _ in range(duration_ms * MS // PERIOD_NS):
        loop.step(policy.tick)
        heights.append(kinematics.forward(loop.commanded[0])[2, 3])
    return np.array(heights)


def test_it_is_asked_at_each_picture_and_does_what_it_says():
    runner = Runner()
    loop, policy = made(runner)
    begin_ns = loop.now_ns
    heights = act(loop, policy, 2000)
    stamps = [seen.pictured_ns for seen in runner.seen]
    assert stamps == list(range(begin_ns, begin_ns + 2000 * MS, 200 * MS))
    # The last one's answer came 0.1 s before the end, when half of it was done.
    assert policy.counts.steps == 10
    assert heights[-1] - heights[0] == pytest.approx(0.095, abs=0.01)
    assert [seen.task for seen in runner.seen] == ["rise"] * 10


def test_an_answer_counts_so_long_after_what_was_seen():
    runner = Runner()
    loop, policy = made(runner, latency_s=0.16)
    heights = act(loop, policy, 400)
    assert np.ptp(heights[:8]) == 0.0
    # The command at 160 ms is the first that may move, and it begins smoothly.
    assert heights[10] > heights[7]
    assert len(runner.seen) == 2


def test_a_measured_latency_is_what_it_took():
    loop, policy = made(Runner(), latency_s="measured")
    act(loop, policy, 400)
    assert policy.counts.steps >= 1
    assert len(policy.counts.act_ms) == 2


def test_what_is_no_legal_action_holds_the_arm_and_the_policy_is_asked_again():
    runner = Runner()
    loop, policy = made(runner)
    act(loop, policy, 600)
    runner.error = ContractError("nonsense")
    act(loop, policy, 1000)
    heights = act(loop, policy, 400)
    assert np.ptp(heights) < 1e-3
    assert policy.is_held
    assert policy.counts.held == 1
    assert "nonsense" in policy.counts.problem
    asked = len(runner.seen)
    runner.error = None
    assert np.ptp(act(loop, policy, 1000)) > 0.02
    assert len(runner.seen) > asked
    assert not policy.is_held


def test_who_fails_is_given_a_period_before_the_next_question():
    runner = Runner()
    runner.error = ContractError("nonsense")
    loop, policy = made(runner, camera_hz=25.0)
    act(loop, policy, 1000)
    # Asked at 0 s, failed at 0.1 s, asked again from 0.3 s on, and so forth.
    assert 3 <= len(runner.seen) <= 4


def test_of_another_task_nothing_is_left():
    runner = Runner()
    loop, policy = made(runner, latency_s=0.3)
    act(loop, policy, 100)
    policy.tell("stay")
    runner.action = np.array([(0, 0, 0, 0, 0, 0, 1)], np.float32)
    heights = act(loop, policy, 1000)
    assert runner.seen[0].task == "rise"
    assert {seen.task for seen in runner.seen[1:]} == {"stay"}
    assert np.ptp(heights) < 1e-3


def test_a_policy_in_camera_axes_is_told_where_a_look_has_put_the_camera():
    seen = []
    for look in (STANDARD, VIEWPOINTS[0]):
        runner = Runner()
        runner.contract = apt_contract(image_size=8)
        loop, policy = made(runner, look=look)
        act(loop, policy, 40)
        seen.append(runner.seen[0])
    here, there = (s.views["front"] for s in seen)
    assert here.T_base_camera[:3, 3] == pytest.approx(STANDARD.eye_m)
    assert there.T_base_camera[:3, 3] == pytest.approx(VIEWPOINTS[0].eye_m)
    assert here.size == (8, 8)
    assert seen[0].state == pytest.approx(np.append(*loop.measured), abs=0.02)


def test_an_arm_that_is_kept_from_moving_forgets_what_was_planned():
    loop, policy = made(Runner())
    act(loop, policy, 600)
    loop.loop.stop("a hand")
    heights = act(loop, policy, 1000)
    assert np.ptp(heights[25:]) < 1e-3
