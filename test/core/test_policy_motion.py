"""A policy's motion through the command guard, around stops, blocks and other tasks."""

import numpy as np
import pytest

from vla_ros.core import arm, kinematics
from vla_ros.core.errors import StaleDataError
from vla_ros.core.handover_parameters import HandOverParameters
from vla_ros.core.limits import wx250s_limits
from vla_ros.core.observation import Chunk, Observation
from vla_ros.core.policy_motion import PolicyMotion
from vla_ros.core.safety import CommandGuard

PERIOD_S = 0.02
PERIOD_NS = 20_000_000
LIMITS = wx250s_limits()
READY = arm.READY_RAD
STEP_S = 0.1


class Arm:
    """A motion and the guard that sends it, as a node has them."""

    def __init__(self, strategy="blend", sag_rad=0.0, **parameters):
        parameters = HandOverParameters(**parameters)
        self.motion = PolicyMotion(LIMITS, PERIOD_S, strategy, parameters)
        self.guard = CommandGuard(LIMITS, PERIOD_S)
        self.guard.reset(READY, 1.0)
        self.sag = np.array([0, sag_rad, 0, 0, 0, 0])
        self.now_ns, self.path, self.missed = 5 * 10**9, [READY], 0

    @property
    def seen(self):
        """What is observed: the arm hangs below its command."""
        return Observation({}, "go", np.append(self.guard.commanded[0] + self.sag, 1.0))

    def tick(self, periods=1):
        for _ in range(periods):
            self.now_ns += PERIOD_NS
            target = self.motion.tick(self.now_ns, *self.guard.commanded, self.guard.at_rest)
            if target is None:
                self.guard.hold()
            else:
                q, _ = self.guard.follow(*target)
                self.missed += not np.array_equal(q, target[0])
            self.path.append(self.guard.commanded[0])

    def ask(self, horizon=8):
        return self.motion.ask(self.now_ns, STEP_S, horizon)

    def along(self, count=8, speed=0.1):
        """Return a chunk of poses from where the tool is seen, along y at a speed [m/s]."""
        T = np.tile(kinematics.forward(self.seen.state[:6]), (count, 1, 1))
        T[:, 1, 3] += speed * STEP_S * np.arange(1, count + 1)
        return Chunk(np.zeros((count, 10)), STEP_S, np.ones(count), T)

    def answer(self, question, chunk, seen=None):
        if question.life == self.motion.life:
            way = question.way(seen or self.seen, chunk, LIMITS)
            self.motion.take(question, chunk, way, self.now_ns)

    @property
    def tool_m(self):
        return kinematics.forward(self.path[-1])[:3, 3]


READY_M = kinematics.forward(READY)[:3, 3]


def test_what_the_hand_over_plans_is_what_is_sent():
    body = Arm()
    body.tick()
    for _ in range(4):
        question, seen, chunk = body.ask(), body.seen, body.along()
        body.tick(10)
        body.answer(question, chunk, seen)
        body.tick(10)
    assert body.missed == 0
    assert body.tool_m[1] - READY_M[1] > 0.1
    jerk = np.abs(np.diff([READY] * 3 + body.path, n=3, axis=0)).max() / PERIOD_S**3
    assert jerk <= body.motion.queue.parameters.jerk_rad_s3 * (1 + 1e-6)
    assert (body.motion.ticks, body.motion.starved) == (81, 0)
    # 0.2 s of waiting for the first chunk; then the plans' clock runs, after a gentle start.
    assert 1.0 < body.motion.done_s < 1.4


def test_an_answer_of_before_is_nobodys_after_the_motion_began_anew():
    body = Arm()
    body.tick()
    question, chunk = body.ask(), body.along()
    body.tick(5)
    body.motion.begin_anew()
    body.tick(5)
    body.answer(question, chunk)
    body.tick(50)
    np.testing.assert_array_equal(body.path[-1], READY)


@pytest.mark.parametrize("what", ["elsewhere", "gap", "clock back"])
def test_wherever_the_arm_was_held_or_moved_the_motion_begins_anew(what):
    body = Arm()
    body.tick()
    body.answer(body.ask(), body.along())
    body.tick(30)
    life, before = body.motion.life, body.ask()
    if what == "elsewhere":
        body.guard.reset(body.path[-1] + [0.4, 0, 0, 0, 0, 0], 1.0)
    else:
        body.now_ns += 10**9 * (1 if what == "gap" else -3)
    body.tick()
    assert body.motion.life > life
    body.tick(25)
    assert body.guard.at_rest
    resting = body.path[-1]
    body.answer(before, body.along())
    body.tick(10)
    np.testing.assert_array_equal(body.path[-1], resting)
    assert body.motion.wants_chunk(body.now_ns)
    body.answer(body.ask(), body.along())
    body.tick(30)
    assert np.abs(body.path[-1] - resting).max() > 0.05


@pytest.mark.parametrize("what", ["braked", "late"])
def test_an_arm_that_was_braked_goes_on_along_the_plan_from_rest(what):
    body = Arm()
    body.tick()
    body.answer(body.ask(), body.along(count=12))
    body.tick(25)
    life, before = body.motion.life, body.ask()
    if what == "braked":
        # As the guard does where a target is not inside.
        body.guard.hold()
    else:
        # Commands that paused: the servos have come to rest.
        body.now_ns += 3 * PERIOD_NS
        body.guard.halt()
    body.tick(80)
    assert body.motion.life == life == before.life
    # The plan's end, 0.12 m on, without a jump and without a step back.
    np.testing.assert_allclose(body.tool_m, READY_M + [0, 0.12, 0], atol=2e-3)
    y_m = [kinematics.forward(q)[1, 3] for q in body.path[20:]]
    assert np.diff(y_m).min() > -1e-4
    assert body.missed <= 1


def test_no_chunk_is_asked_for_before_the_arm_has_come_to_rest():
    body = Arm()
    body.tick()
    body.answer(body.ask(), body.along())
    body.tick(30)
    body.motion.begin_anew()
    body.tick()
    assert not body.guard.at_rest
    assert not body.motion.wants_chunk(body.now_ns)


def test_after_a_question_that_failed_the_next_one_waits():
    arm = Arm()
    arm.tick(2)
    arm.motion.fail(arm.now_ns, 0.2)
    waited = 0
    while not arm.motion.wants_chunk(arm.now_ns):
        arm.motion.begin_anew()  # as another task does
        arm.tick()
        waited += 1
    assert waited == 10
    arm.motion.fail(arm.now_ns, 0.2)
    arm.now_ns = 10**9  # the simulator starts anew
    arm.tick(2)
    assert arm.motion.wants_chunk(arm.now_ns)


def test_an_answer_that_comes_too_late_is_refused_and_the_plan_stays():
    body = Arm()
    body.tick()
    body.answer(body.ask(), body.along(count=30))
    body.tick(40)
    question, chunk = body.ask(), body.along(count=5)
    body.tick(60)
    with pytest.raises(StaleDataError, match="all of it was over"):
        body.answer(question, chunk)
    assert body.motion.queue.remaining_s > 0.5
    # The next may be no better: it is asked for a period later.
    wants = []
    for _ in range(7):
        wants.append(body.motion.wants_chunk(body.now_ns))
        body.tick()
    assert wants == [False] * 5 + [True] * 2


@pytest.mark.parametrize("strategy", ["blend", "rtc"])
def test_a_sagging_arm_neither_sinks_nor_rises_with_every_chunk(strategy):
    """With RTC the network returns what it was told and stays there: the worst case."""
    body = Arm(strategy, sag_rad=0.016)
    sag_m = body.tool_m[2] - kinematics.forward(READY + body.sag)[2, 3]
    assert sag_m > 0.003
    body.tick()
    for _ in range(8):
        question, seen = body.ask(), body.seen
        chunk, decided = body.along(speed=0.0), question.decided()
        if decided is not None and len(decided.openings):
            # As the runner: relative to what was commanded, then as if to what is measured.
            offset = decided.T_base_tool[:, :3, 3] - decided.T_commanded[:3, 3]
            chunk.T_base_tool[: len(offset), :3, 3] = kinematics.forward(seen.state[:6])[:3, 3]
            chunk.T_base_tool[: len(offset), :3, 3] += offset
        body.tick(5)
        body.answer(question, chunk, seen)
        body.tick(10)
    assert abs(body.tool_m[2] - READY_M[2]) < 5e-4


def test_a_displacement_counts_from_where_the_plans_end_when_it_arrives():
    body = Arm()
    body.tick()
    action = np.array([[0, 0.02, 0, 0, 0, 0, 1.0]])
    for _ in range(3):
        question = body.ask()
        body.tick(5)
        assert question.way(body.seen, Chunk(action, 0.2, np.ones(1)), LIMITS) is None
        body.answer(question, Chunk(action, 0.2, np.ones(1)))
        body.tick(5)
    body.tick(60)
    np.testing.assert_allclose(body.tool_m, READY_M + [0, 0.06, 0], atol=1e-4)


def test_a_chunk_is_asked_for_a_period_before_its_time_and_before_the_plan_ends_by_any_time():
    body = Arm(execute_steps=30)
    body.tick()
    body.answer(body.ask(horizon=20), body.along(count=20))
    wants = {}
    for periods in range(110):
        body.tick()
        for ahead_s in (0.0, 0.02, 0.1):
            if body.motion.wants_chunk(body.now_ns, ahead_s):
                wants.setdefault(ahead_s, periods)
        if body.motion.is_running_out:
            wants.setdefault("is running out", periods)
    # The plan ends before 30 steps of it are done.
    assert wants[0.0] == wants["is running out"]
    assert (wants[0.0] - wants[0.02], wants[0.0] - wants[0.1]) == (1, 5)
    # Where its steps are done long before its end, it is asked for a period early, no more.
    body = Arm(execute_steps=3)
    body.tick()
    body.answer(body.ask(horizon=30), body.along(count=30, speed=0.02))
    while not body.motion.wants_chunk(body.now_ns, 0.1):
        body.tick()
    assert not body.motion.wants_chunk(body.now_ns)
    assert not body.motion.is_running_out
    body.tick()
    assert body.motion.wants_chunk(body.now_ns)


@pytest.mark.parametrize(("scale", "asked"), [(1.0, 20), (0.5, 10), (0.0, 1)])
def test_displacements_are_asked_for_at_the_speed_that_they_are_done_at(scale, asked):
    body, questions = Arm(), []
    body.motion.queue.speed_scale = scale
    action = np.array([[0, 0.004, 0, 0, 0, 0, 1.0]])
    for _ in range(200):  # 4 s, at 5 Hz
        body.tick()
        if body.motion.wants_chunk(body.now_ns):
            questions.append(body.ask())
            body.answer(questions[-1], Chunk(action, 0.2, np.ones(1)))
    assert len(questions) == asked
    ahead_m = kinematics.forward(body.motion.queue.goal)[1, 3] - body.tool_m[1]
    assert ahead_m < 0.009
