import numpy as np
import pytest

from vla_ros.core import arm
from vla_ros.core.errors import SafetyError
from vla_ros.core.monitor import GO, ArmMonitor, MonitorLimits

# Near the 20 ms of the stream, and a power of two: its multiples are exact.
PERIOD_S = 1 / 64
READY = arm.READY_RAD
IDLE_MA = np.full(7, 60.0)


class Story:
    """Tells a monitor period after period, with a little noise as of encoders."""

    def __init__(self, **limits):
        self.monitor = ArmMonitor(MonitorLimits(**limits))
        self.now_s = 100.0
        self.noise = 0

    def tell(self, behind=0.0, effort_ma=IDLE_MA, speed=0.0, noisy=True, joint=0, periods=1):
        """The joint moves at `speed` and its command is `behind` ahead; return the verdicts."""
        verdicts = []
        for _ in range(periods):
            self.now_s += PERIOD_S
            self.noise = (self.noise + noisy) % 2
            measured = READY.copy()
            measured[joint] += speed * (self.now_s - 100.0)
            commanded = measured.copy()
            commanded[joint] += behind
            measured[5] += self.noise * 1.5e-3
            effort = None if effort_ma is None else np.array(effort_ma)
            verdicts.append(self.monitor.judge(self.now_s, commanded, measured, effort))
        return verdicts

    def until(self, level, limit=200, **told):
        """Return how many periods passed until a verdict of this level, and the verdict."""
        for periods in range(1, limit):
            (verdict,) = self.tell(**told)
            if verdict.level == level:
                return periods, verdict
        raise AssertionError(f"never {level}")


def current(joint, effort_ma):
    values = IDLE_MA.copy()
    values[joint] = effort_ma
    return values


def test_an_arm_that_follows_is_let_go():
    assert (
        Story().tell(behind=0.09, effort_ma=current(0, 1300.0), speed=1.5, periods=50) == [GO] * 50
    )


def test_a_standing_joint_that_pushes_short_of_its_command_is_held_then_blocked():
    story = Story()
    pushing = current(1, -900.0)  # half of 1700 mA is 850
    periods, verdict = story.until("hold", behind=0.11, effort_ma=pushing, joint=1)
    # Standing still needs 0.1 s of history, 6.4 periods: the eighth look sees the first.
    assert (periods, verdict.cause) == (8, "stall")
    assert verdict.sentence.startswith("shoulder is blocked: 0.11 rad short of its command at 900")
    periods, verdict = story.until("stop", behind=0.11, effort_ma=pushing, joint=1)
    # 0.15 s, 9.6 periods, after the first suspicion.
    assert (periods, verdict.cause) == (10, "stall")


@pytest.mark.parametrize(
    "told",
    [
        {"behind": 0.09, "effort_ma": current(1, 900.0)},
        {"behind": 0.11, "effort_ma": current(1, 800.0)},
        {"behind": 0.11, "effort_ma": current(1, 900.0), "speed": 0.2},
        {"behind": 0.11, "effort_ma": None},
    ],
    ids=["near", "weak", "moving", "unmeasured"],
)
def test_what_is_near_weak_moving_or_unmeasured_is_no_stall(told):
    assert Story().tell(joint=1, periods=40, **told) == [GO] * 40


def test_a_current_above_the_ceiling_for_long_is_an_overload_of_that_servo():
    story = Story()
    periods, verdict = story.until("stop", effort_ma=current(6, 1001.0))
    # 0.3 s, 19.2 periods, after the first look.
    assert (periods, verdict.cause) == (21, "overload")
    assert "gripper draws 1001 mA, above its 1000 mA, for 0.3 s" in verdict.sentence


def test_a_short_peak_of_current_is_no_overload():
    story = Story()
    for _ in range(5):
        assert story.tell(effort_ma=current(2, 2000.0), periods=20) == [GO] * 20
        assert story.tell() == [GO]


def test_an_overloaded_arm_that_moves_is_only_held():
    verdicts = Story().tell(effort_ma=current(1, 1800.0), speed=0.5, joint=1, periods=40)
    assert {v.level for v in verdicts[20:]} == {"hold"}


@pytest.mark.parametrize("first", [0, -6], ids=["sets out", "turns"])
def test_an_overloaded_arm_that_sets_out_or_turns_is_only_held_until_it_shows(first):
    # From `first` on, a parabola: 1 mrad a period faster in each, 4 rad/s^2.
    monitor, levels = ArmMonitor(), {}
    for period in range(-40, 25):
        q = READY + 0.0005 * max(period, first) ** 2
        measured = READY.copy()
        measured[5] += 1.5e-3 * (period % 2)
        verdict = monitor.judge(period * PERIOD_S, q, measured, current(1, 1800.0))
        levels[period] = verdict.level
    assert {levels[period] for period in range(-15, first)} == {"stop"}, "the command stands"
    # Half of what its last speed would take it in 0.2 s, 12.8 periods, it has gone after as many.
    assert {levels[period] for period in range(2, 12)} == {"hold"}
    assert {levels[period] for period in range(19, 25)} == {"stop"}, "it is blocked for long"


def test_lag_of_long_is_a_stop_of_a_standing_arm_and_a_hold_of_a_moving_one():
    periods, verdict = Story().until("stop", behind=0.41, effort_ma=None)
    assert (periods, verdict.cause) == (33, "lag")
    assert "waist is 0.41 rad behind its commands" in verdict.sentence
    verdicts = Story().tell(behind=0.41, effort_ma=None, speed=1.0, periods=40)
    assert {v.level for v in verdicts[:32]} == {"go"}
    assert {(v.level, v.cause) for v in verdicts[32:]} == {("hold", "lag")}


def test_a_joint_that_draws_nothing_far_from_its_command_is_limp_even_while_it_sinks():
    limp = current(1, 10.0)
    # Away from the command: it sinks.
    periods, verdict = Story().until("stop", behind=0.25, effort_ma=limp, speed=-0.3, joint=1)
    assert (periods, verdict.cause) == (8, "limp")
    assert "shoulder is 0.25 rad from its command and draws no current" in verdict.sentence
    # Towards it: it coasts.
    assert Story().tell(
        behind=0.25, effort_ma=limp, speed=1.0, joint=1, periods=20
    ) == [GO] * 20  # fmt: skip


def test_joint_states_that_repeat_themselves_while_commands_move_are_frozen():
    monitor = ArmMonitor()
    verdicts = [monitor.judge(i * 0.02, READY + 0.02 * i, READY, IDLE_MA) for i in range(10)]
    # The largest lag of 0.12 s has to pass: how that works is joint_states' business.
    assert [v.cause for v in verdicts] == [""] * 7 + ["frozen"] * 3
    assert verdicts[9].level == "hold"
    assert monitor.judge(0.2, READY + 0.2, READY, IDLE_MA, stamp_ns=1).cause == "frozen"
    assert monitor.judge(0.22, READY + 0.2, READY + 1e-4, IDLE_MA) == GO, "one other bit is life"
    verdicts = [monitor.judge(0.24 + i * 0.02, READY + 0.02 * i, READY, IDLE_MA) for i in range(10)]
    assert verdicts[-1].cause == "frozen"
    # For 10 s since the first of them.
    verdicts = [monitor.judge(at_s, READY + 0.2, READY, IDLE_MA) for at_s in (10.2, 10.3)]
    assert [(v.level, v.cause) for v in verdicts] == [("hold", "frozen"), ("stop", "lost")]


@pytest.mark.parametrize(("elbow_ma", "named"), [(10.0, True), (400.0, False)])
def test_one_slack_joint_that_alone_is_told_to_move_is_named_beside_the_driver(elbow_ma, named):
    monitor, elbow = ArmMonitor(), np.eye(6)[2]
    for period in range(10):
        at_s, goal = 0.02 * period, READY + 0.02 * period * elbow
        verdict = monitor.judge(at_s, goal, READY, current(2, elbow_ma))
    assert verdict.cause == "frozen"
    assert ("or elbow, 0.18 rad from its command without a current" in verdict.sentence) == named


def test_a_resting_arm_may_repeat_itself_for_ever():
    assert Story().tell(noisy=False, periods=1000) == [GO] * 1000


def test_reset_forgets_what_was_suspected():
    story = Story()
    story.tell(behind=0.41, effort_ma=None, periods=32)
    story.monitor.reset()
    assert story.tell(behind=0.41, effort_ma=None, periods=32) == [GO] * 32


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"effort_ma": (1.0,) * 6}, "effort_ma must be 7 currents above 0 mA"),
        ({"effort_ma": (0.0,) * 7}, "effort_ma must be 7 currents"),
        ({"lag_s": 0.0}, "lag_s must be above 0, got 0"),
        ({"stall_error_rad": np.nan}, "stall_error_rad must be above 0"),
        ({"stall_effort": 1.5}, r"stall_effort must be in \[0, 1\]"),
    ],
)
def test_illegal_thresholds_are_refused(arguments, message):
    with pytest.raises(SafetyError, match=message):
        MonitorLimits(**arguments)


def test_a_servo_that_went_limp_while_it_was_blocked_is_found_where_it_was():
    story = Story()
    assert story.tell(behind=0.09, effort_ma=current(1, 0.0), joint=1, periods=50) == [GO] * 50
    # 0.1 s after the first look, 6.4 periods.
    periods, verdict = story.until("stop", behind=0.11, effort_ma=current(1, 0.0), joint=1)
    assert (periods, verdict.cause, verdict.joints) == (8, "limp", (1,))


def test_a_limp_joint_is_named_before_another_that_is_blocked():
    monitor = ArmMonitor()
    effort_ma = IDLE_MA.copy()
    effort_ma[:2] = 900.0, 0.0
    behind = np.array([0.3, 0.3, 0, 0, 0, 0])
    noise = np.array([0, 0, 0, 0, 0, 1.5e-3])
    said = [
        monitor.judge(i * PERIOD_S, READY + behind, READY + noise * (i % 2), effort_ma)
        for i in range(20)
    ]
    # Blocked is only certain after 0.1 s of standing still and 0.15 s more.
    assert {verdict.cause for verdict in said if verdict.level == "stop"} == {"limp"}
    assert said[-1].joints == (1,)
