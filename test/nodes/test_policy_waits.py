"""What policy_node's episodes wait for, with time and outages that are told; no graph."""

import types

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("interbotix_xs_msgs")

from vla_ros.core.errors import EpisodeError
from vla_ros.core.task_run import Facts, Outcome, TaskRun
from vla_ros.nodes import policy_waits
from vla_ros.nodes.policy_waits import PolicyWaits

S = 1_000_000_000


class World:
    """A node, its policy, and what that sees, all in one."""

    def __init__(self):
        self.now_ns, self.phase, self.at_rest, self.warm_reason = 100 * S, "", False, ""
        self.why_unanswered, self.are_remembered = "", False
        self.held_from_outside, self.blocked_reason, self.stopped = ("", ""), "", False
        self.said, self.missed, self.asked = [], [], 0
        self.arm = self
        self.has_answered, self.answers = False, 0

    def get_logger(self):
        return types.SimpleNamespace(warning=self.said.append)

    def ask_servos(self):
        while not self.has_answered:
            self.asked += 1
            yield

    def wait_steady(self, _):
        yield

    def nothing(self, *_):
        pass

    show = take_answer = remember = nothing

    def miss(self, reason):
        self.missed.append(reason)


@pytest.fixture
def world():
    return World()


@pytest.fixture
def waits(world):
    return PolicyWaits(world, world, world, 30.0)


def watched(waits, world, seconds, **facts):
    """Return the run of an episode that lasted so long, with things as they are told."""
    for name, value in facts.items():
        setattr(world, name, value)
    run = TaskRun(1000.0)
    run.begin()
    steps = waits.watch(run)
    for _ in range(seconds + 1):
        next(steps)
        world.now_ns += S
    world.now_ns -= S
    return run


def test_a_server_that_stays_away_ends_the_episode_and_then_the_mission(waits, world):
    run = watched(waits, world, 29, why_unanswered="the link broke")
    assert (run.ending, waits.too_long) == (None, "")
    run.end(Outcome.HELD, "the arm was held for 5 s: the link broke")
    waits.end_held("policy-00000", run.ending.message)
    assert world.missed == ["the link broke"]
    assert list(waits.until_answered("push")) == [None]
    assert world.phase == "waiting for the policy's answer: the link broke"
    world.now_ns += S
    said = "did not answer, for 30 s (outage_s): the link broke; see to that, then start the node"
    with pytest.raises(EpisodeError) as raised:
        list(waits.until_answered("push"))
    assert said in str(raised.value)
    assert watched(waits, world, 0).ending.outcome == Outcome.HELD


def test_an_answer_ends_an_outage_and_the_next_one_is_another(waits, world):
    watched(waits, world, 29, why_unanswered="the link broke")
    assert watched(waits, world, 1, why_unanswered="", answers=1).ending is None
    assert list(waits.until_answered("push")) == []
    assert watched(waits, world, 29, why_unanswered="the link broke").ending is None
    # Nor is it the one of before the node was activated anew.
    waits.begin_anew()
    assert watched(waits, world, 29).ending is None


def test_a_frozen_picture_is_one_outage_whatever_is_answered_to_it_in_between(waits, world):
    blind = {"why_unanswered": "the same picture", "held_from_outside": ("camera", "...")}
    sees = {"why_unanswered": "", "held_from_outside": ("", ""), "answers": 1}
    watched(waits, world, 5, **blind)
    assert watched(waits, world, 20, are_remembered=True, **sees).ending is None
    run = watched(waits, world, 6, **blind)
    assert run.ending.outcome == Outcome.HELD
    assert "(outage_s): the same picture; see to that" in run.ending.message
    # Another picture ends it, even where it looks away for a moment.
    sees["answers"] = 2
    assert watched(waits, world, 1, are_remembered=False, **sees).ending is None
    assert watched(waits, world, 20, **blind).ending is None


def test_an_outage_that_becomes_another_one_goes_on(waits, world):
    blind = {"why_unanswered": "no picture", "held_from_outside": ("camera", "...")}
    watched(waits, world, 20, **blind)
    # The camera is back and nobody was asked yet: then the server turns out to be away.
    watched(waits, world, 5, why_unanswered="", held_from_outside=("", ""))
    run = watched(waits, world, 5, why_unanswered="the link broke")
    assert "for 30 s (outage_s): the link broke" in run.ending.message


def test_who_lets_the_switch_go_is_no_outage(waits, world):
    world.blocked_reason, world.has_answered = "the switch is not held", True
    waits.end_held("policy-00000", "the arm was held for 5 s: the switch is not held")
    assert world.missed == []
    assert list(waits.until_answered("push")) == []
    steps = waits.until_let()
    for _ in range(3):
        next(steps)
        world.now_ns += 100 * S
    assert (world.phase, waits.too_long) == ("waiting to begin: the switch is not held", "")
    world.blocked_reason = ""
    with pytest.raises(StopIteration) as ended:
        next(steps)
    assert ended.value.value, "the arm may be elsewhere now"
    # A stop is waited for elsewhere.
    world.blocked_reason, world.stopped = "a button", True
    assert list(waits.until_let()) == []


def test_a_long_episode_is_judged_on_while_the_servos_are_asked(waits, world, monkeypatch):
    monkeypatch.setattr(policy_waits, "_ASK_AFTER_S", 10.0)
    run = TaskRun(12.0)
    run.begin()
    steps = waits.watch(run)

    def judged(seconds, **facts):
        for _ in range(seconds):
            world.now_ns += S
            run.judge(Facts(world.now_ns, pauses=waits.pauses, **facts))
            if run.ending is None:
                next(steps)
        return run.ending

    run.judge(Facts(world.now_ns))
    next(steps)
    assert (judged(10), waits.pauses, world.asked) == (None, True, 0)  # it brakes
    world.at_rest = True
    assert (judged(20, held="late", is_outside=True), world.asked) == (None, 20)
    assert judged(1, stopped="a button").outcome == Outcome.STOPPED
    steps.close()
    assert not waits.pauses
    # It goes on with what time was left, and a warm servo ends it.
    run, steps = TaskRun(12.0), waits.watch(run)
    world.has_answered, world.warm_reason = True, "shoulder is at 71 degrees"
    run.begin()
    run.judge(Facts(world.now_ns))
    waits.require_cool(run)
    assert run.ending.message == "the motors have to rest: shoulder is at 71 degrees"
