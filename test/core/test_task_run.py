"""What ends a roll-out, which of several reasons counts, and how long it took."""

import math

import pytest

from vla_ros.core.task_run import Ending, Facts, Outcome, PersonJudge, SimJudge, TaskRun
from vla_ros.core.task_text import TaskError

S = 1_000_000_000


def begun(time_limit_s=10.0, held_limit_s=5.0):
    """Return a run that began at 100 s."""
    run = TaskRun(time_limit_s, held_limit_s)
    run.begin()
    assert run.judge(Facts(100 * S)) is None
    return run


def test_it_goes_on_until_its_time_is_up():
    run = begun()
    assert run.judge(Facts(109 * S)) is None
    ending = run.judge(Facts(110 * S))
    assert (ending.outcome, ending.message) == (Outcome.TIME_LIMIT, "time limit")


def test_time_counts_from_its_begin_and_no_more_after_its_end():
    run = TaskRun(10.0)
    for now_s in (500, 600):
        assert run.judge(Facts(now_s * S)) is None
    assert (run.has_begun, run.elapsed_s) == (False, 0.0)
    run.begin()
    for now_s in (601, 603):
        assert run.judge(Facts(now_s * S)) is None
    assert run.elapsed_s == 2.0
    run.judge(Facts(604 * S, cancelled="enough"))
    run.judge(Facts(900 * S))
    assert (run.has_begun, run.elapsed_s) == (True, 3.0)


def test_a_clock_that_is_set_back_takes_no_time_away_and_gives_none():
    run = begun()
    for now_s in (104, 20, 25):
        assert run.judge(Facts(now_s * S)) is None
    assert run.elapsed_s == 9.0
    assert run.judge(Facts(26 * S)).outcome == Outcome.TIME_LIMIT


@pytest.mark.parametrize(
    ("facts", "outcome", "message"),
    [
        ({"verdict": True}, Outcome.SUCCEEDED, "task done"),
        ({"verdict": False, "judge": ", says X"}, Outcome.FAILED, "task not done, says X"),
        ({"cancelled": "another task"}, Outcome.CANCELLED, "another task"),
        ({"stopped": "a button"}, Outcome.STOPPED, "the arm was stopped: a button"),
        # A stop goes before everything, a verdict before a cancel.
        ({"stopped": "a", "verdict": True, "cancelled": "b"}, Outcome.STOPPED, None),
        ({"verdict": True, "cancelled": "b"}, Outcome.SUCCEEDED, None),
    ],
)
def test_what_ends_it(facts, outcome, message):
    run = begun()
    ending = run.judge(Facts(101 * S, **facts))
    assert ending.outcome == outcome
    assert message in (None, ending.message)
    # It ends once.
    assert run.judge(Facts(400 * S)) is run.ending is ending


def test_a_verdict_of_before_its_begin_is_about_another():
    run = TaskRun(10.0)
    assert run.judge(Facts(100 * S, verdict=True)) is None
    assert run.judge(Facts(100 * S, cancelled="enough")).outcome == Outcome.CANCELLED


def test_an_arm_that_is_held_for_too_long_in_a_row_ends_it():
    run = begun(time_limit_s=100.0)
    for at_s, held in ((101, "bump"), (104, "bump"), (105, ""), (107, "late"), (109, "blocked")):
        assert run.judge(Facts(at_s * S, held=held)) is None
    ending = run.judge(Facts(110 * S, held="blocked"))
    assert (ending.outcome, ending.message) == (Outcome.HELD, "the arm was held for 5 s: blocked")


def test_without_that_limit_it_is_held_for_as_long_as_it_takes():
    run = begun(time_limit_s=100.0, held_limit_s=math.inf)
    assert run.judge(Facts(199 * S, held="blocked")) is None


def test_time_in_which_something_outside_held_the_arm_is_not_its_own_and_has_an_end_too():
    outside = {"held": "no hand on the switch", "is_outside": True}
    run = begun(time_limit_s=10.0)
    # A block is its own doing: 2 s and 4 s, then 4 s that are not its, then 4 s to the limit.
    for at_s, facts in ((102, {"held": "blocked"}), (106, {}), (110, outside), (113, {})):
        assert run.judge(Facts(at_s * S, **facts)) is None
    assert run.judge(Facts(114 * S)).outcome == Outcome.TIME_LIMIT
    assert run.elapsed_s == 14.0
    run = begun(time_limit_s=10.0)
    for at_s in (104, 109):
        assert run.judge(Facts(at_s * S, **outside)) is None
        assert run.judge(Facts((at_s + 1) * S)) is None
    ending = run.judge(Facts(114 * S, **outside))
    said = "the arm was held for 10 s in all: no hand on the switch"
    assert (ending.outcome, ending.message) == (Outcome.HELD, said)


def test_a_look_at_the_servos_is_nobodys_time_and_a_stop_in_it_counts_at_once():
    run = begun(time_limit_s=10.0)
    run.judge(Facts(104 * S, held="late"))
    for at_s in range(105, 125):
        assert run.judge(Facts(at_s * S, held="late", pauses=True)) is None
    assert (run.judge(Facts(125 * S)), run.elapsed_s) == (None, 25.0)
    ending = run.judge(Facts(126 * S, stopped="a button", pauses=True))
    assert ending.outcome == Outcome.STOPPED
    run = begun(time_limit_s=10.0)
    assert run.judge(Facts(109 * S)) is None
    assert run.judge(Facts(120 * S, pauses=True)) is None
    assert run.judge(Facts(121 * S)).outcome == Outcome.TIME_LIMIT


@pytest.mark.parametrize("limit_s", [0.0, -1.0, math.nan, math.inf, 86400.1, 1e9])
def test_a_time_limit_that_is_none_is_refused(limit_s):
    with pytest.raises(TaskError, match="time limit of a task must be above 0 s, up to 86400 s"):
        TaskRun(limit_s)


@pytest.mark.parametrize("limit_s", [0.0, math.nan])
def test_a_limit_of_holding_that_is_none_is_refused(limit_s):
    with pytest.raises(TaskError, match="held_limit_s must be above 0"):
        TaskRun(1.0, limit_s)


def test_the_simulator_judges_from_when_the_task_was_open_and_this_task_alone():
    judge = SimJudge("push")
    assert (judge.partial, judge.success) == (None, None)
    said = [
        ({}, None, None),
        # Done before, it says nothing of this roll-out.
        ({"task": "push", "partial": True, "success": True}, None, None),
        ({"task": "pull", "partial": False, "success": False}, None, None),
        ({"task": "push", "partial": False, "success": False}, False, False),
        ({"task": "push", "partial": True, "success": False}, True, False),
        ({"task": "push", "partial": False, "success": False}, True, False),
        ({"task": "pull", "partial": True, "success": True}, True, False),
        ({"task": "push", "partial": True, "success": True}, True, True),
    ]
    for state, partial, success in said:
        judge.hear(state)
        assert (judge.partial, judge.success) == (partial, success)


def test_what_the_simulator_cannot_judge_nobody_has_judged():
    judge = SimJudge("dance")
    judge.hear({"task": "dance", "partial": None, "success": None})
    assert (judge.partial, judge.success) == (None, None)


@pytest.mark.parametrize(
    ("outcome", "judged", "success"),
    [
        (Outcome.SUCCEEDED, None, True),
        (Outcome.FAILED, None, False),
        (Outcome.TIME_LIMIT, False, False),
        (Outcome.TIME_LIMIT, None, None),
        *((outcome, False, None) for outcome in Outcome if outcome > Outcome.TIME_LIMIT),
    ],
)
def test_a_task_that_the_policy_was_kept_from_is_no_failure(outcome, judged, success):
    assert Ending(outcome, "x").success(judged) is success


def test_a_word_about_the_task_before_is_not_taken_for_the_one_that_has_just_begun():
    judge = PersonJudge("push the apple", 100.0)
    taken, why = judge.hear(True, 100.9)
    assert (taken, judge.verdict) == (False, None)
    assert why.startswith("'push the apple' began less than 1 s ago")
    assert judge.hear(False, 101.0) == (True, "'push the apple' is judged as not done")
    assert judge.verdict is False
