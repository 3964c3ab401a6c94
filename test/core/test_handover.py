"""The hand-over from chunk to chunk, on time that is handed in."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vla_ros.core import arm
from vla_ros.core.errors import ContractError, SafetyError, StaleDataError
from vla_ros.core.handover import HandOver
from vla_ros.core.handover_parameters import HandOverParameters
from vla_ros.core.joint_plan import JointPlan
from vla_ros.core.limits import wx250s_limits

PERIOD_S = 0.02
PERIOD_NS = 20_000_000
LIMITS = wx250s_limits()
START = arm.READY_RAD
ALONG = np.array([1.0, 0.5, -0.5, 0.3, 0.2, -1.0])


class Timer:
    """Pops once a period, and keeps what came."""

    def __init__(self, strategy="blend", **parameters):
        self.queue = HandOver(LIMITS, PERIOD_S, strategy, HandOverParameters(**parameters))
        self.queue.restart(START, 1.0, 0)
        self.path, self.openings, self.starved = [START], [], []

    @property
    def now_ns(self):
        return (len(self.path) - 1) * PERIOD_NS

    def pop(self, periods=1):
        for _ in range(periods):
            q, opening = self.queue.target(self.now_ns)
            self.path.append(q)
            self.openings.append(opening)
            self.starved.append(self.queue.starved)

    def offer(self, places, observed_s=None, step_s=0.1, opening=None):
        """Offer a chunk that is `places` [rad] along the line from the start, now or from then."""
        stamp_ns = self.now_ns if observed_s is None else round(observed_s * 1e9)
        places = np.asarray(places, float)
        opening = np.ones(len(places)) if opening is None else opening
        q = START + places[:, None] * ALONG
        self.queue.offer(JointPlan(stamp_ns, step_s, q, np.asarray(opening)), self.now_ns)

    @property
    def places(self):
        """How far along the line each target is [rad]."""
        return (np.array(self.path) - START) @ ALONG / (ALONG @ ALONG)

    def require_limits(self):
        path = np.concatenate([[START, START, START], self.path])
        assert np.all((path >= LIMITS.low_rad) & (path <= LIMITS.high_rad))
        jerk = np.full(6, self.queue.parameters.jerk_rad_s3)
        for n, limit in enumerate((LIMITS.velocity_rad_s, LIMITS.acceleration_rad_s2, jerk), 1):
            found = np.abs(np.diff(path, n=n, axis=0)).max(axis=0) / PERIOD_S**n
            assert np.all(found <= limit * (1 + 1e-6) + 1e-5), f"difference {n}: {found}"


def line(count=20, speed=0.3, first_s=0.0, step_s=0.1):
    """Return places of a chunk along a line at a speed [rad/s], begun at `first_s`."""
    return speed * (first_s + step_s * np.arange(1, count + 1))


# --- properties ---

chunks = st.tuples(
    st.integers(0, 40),  # periods until it is asked for
    st.integers(0, 110),  # periods until it comes
    st.integers(1, 12),  # way-points
    st.sampled_from([0.02, 0.1, 0.2]),
    st.integers(0, 2**32 - 1),
    st.floats(0.0, 1.5),
)


@settings(max_examples=8, deadline=None)
@given(st.sampled_from(["blend", "ensemble", "rtc"]), st.lists(chunks, min_size=1, max_size=4))
def test_whatever_comes_and_when_the_limits_hold_and_plan_time_never_runs_back(strategy, orders):
    timer = Timer(strategy)
    for wait, late, count, step_s, seed, size in orders:
        timer.pop(wait)
        rng = np.random.default_rng(seed)
        q = np.clip(START + rng.uniform(-size, size, (count, 6)), LIMITS.low_rad, LIMITS.high_rad)
        stamp_ns = timer.now_ns
        timer.pop(late)
        try:
            plan = JointPlan(stamp_ns, step_s, q, rng.uniform(size=count))
            timer.queue.offer(plan, timer.now_ns)
        except StaleDataError:
            continue
        left_s = [timer.queue.remaining_s]
        for _ in range(15):
            timer.pop()
            left_s.append(timer.queue.remaining_s)
        assert np.all(np.diff(left_s) <= 0.0)
    timer.pop(60)
    timer.require_limits()
    assert set(timer.openings) <= {0.0, 1.0}


@settings(max_examples=5, deadline=None)
@given(st.lists(st.integers(2, 25), min_size=3, max_size=6))
def test_chunks_that_agree_are_followed_without_lag_however_late_they_come(latencies):
    """One line, chunk after chunk: the arm does not notice that there are several."""
    timer = Timer()
    timer.offer(line(count=40))
    timer.pop(50)
    for late in latencies:
        observed_s, observed = timer.now_ns / 1e9, timer.places[-1] / 0.3
        timer.pop(late)
        timer.offer(line(count=20, first_s=observed), observed_s)
        timer.pop(20)
    speed = np.diff(timer.places)[60:] / PERIOD_S
    assert speed == pytest.approx(np.full(len(speed), 0.3), abs=3e-3)
    timer.require_limits()


# --- chunks that disagree, or come late ---


def test_a_chunk_that_thinks_the_arm_further_back_does_not_draw_it_back():
    timer = Timer()
    timer.offer(line(count=20))
    timer.pop(50)
    behind = timer.places[-1] / 0.3 - 0.1
    timer.pop(10)
    timer.offer(line(count=20, first_s=behind), observed_s=50 * PERIOD_S)
    timer.pop(30)
    speed = np.diff(timer.places)[45:] / PERIOD_S
    assert speed.min() > 0.29


def test_a_disagreement_sideways_is_crossed_gently():
    timer = Timer()
    timer.offer(line())
    timer.pop(40)
    aside = START + line()[:, None] * ALONG + [0.3, 0, 0, 0, 0, 0]
    timer.queue.offer(JointPlan(timer.now_ns, 0.1, aside, np.ones(20)), timer.now_ns)
    timer.pop(75)
    timer.require_limits()
    way = np.array(timer.path) - START
    along = way[:, 1:] @ ALONG[1:] / (ALONG[1:] @ ALONG[1:])
    sideways = way[:, 0] - along
    assert sideways[-1] == pytest.approx(0.3, abs=1e-3)
    # It leaves and arrives at rest; limits alone would let it jerk across at twice this.
    assert sideways.max() < 0.301
    acceleration = np.diff(sideways, n=2)[40:] / PERIOD_S**2
    assert np.abs(acceleration).max() < LIMITS.acceleration_rad_s2[0]


def test_without_a_new_chunk_it_brakes_along_the_plan_to_its_end_and_rests_there():
    timer = Timer()
    timer.offer(line(count=10, speed=0.6))
    timer.pop(150)
    timer.require_limits()
    steps = np.diff(timer.places)
    assert steps.min() > -1e-5
    assert steps[-1] == pytest.approx(0.0, abs=1e-9)
    assert timer.places[-1] == pytest.approx(0.6, abs=2e-3)
    # Starved only once it stands, and not before the first chunk.
    first = timer.starved.index(True)
    assert steps[first + 5 :].max() < 1e-4
    assert steps[first - 5] > 0.0


def test_a_late_chunk_takes_the_arm_up_where_it_waits():
    timer = Timer()
    timer.offer(line(count=10))
    timer.pop(100)
    resting = timer.places[-1]
    # Observed before it rested, when a tenth of a second of the plan was left.
    timer.offer(line(count=20, first_s=0.9), observed_s=0.9 + 0.22)
    timer.pop(50)
    timer.require_limits()
    assert np.diff(timer.places)[95:].min() > -1e-5
    assert timer.places[-1] > resting + 0.1


def test_the_first_chunk_is_done_whole_however_long_it_took():
    """A cold start of 0.7 s is not taken for motion of the arm: nothing is skipped."""
    timer = Timer()
    timer.pop(35)
    timer.offer(line(count=20), observed_s=0.0)
    assert timer.queue.remaining_s == pytest.approx(2.0, abs=0.01)
    timer.pop(150)
    timer.require_limits()
    assert np.diff(timer.places).min() > -1e-5
    assert timer.places[-1] == pytest.approx(0.6, abs=2e-3)


def test_a_first_chunk_far_away_is_gone_to_within_the_limits():
    timer = Timer()
    timer.offer(0.8 + line(count=20))
    timer.pop(150)
    timer.require_limits()
    assert timer.places[-1] == pytest.approx(1.4, abs=5e-3)


# --- chunks that are refused ---


def test_a_chunk_older_than_the_one_that_is_followed_is_refused():
    timer = Timer()
    timer.pop(10)
    timer.offer(line(), observed_s=0.1)
    for observed_s in (0.1, 0.05):
        with pytest.raises(StaleDataError, match="not newer"):
            timer.offer(line(), observed_s)
    assert timer.queue.refused == 2


def test_a_chunk_of_the_future_or_of_long_ago_is_refused():
    timer = Timer(max_age_s=1.0)
    timer.pop(60)
    for observed_s in (1.3, 0.1):
        with pytest.raises(StaleDataError, match="use one clock"):
            timer.offer(line(), observed_s)


def test_a_chunk_that_is_over_is_refused_and_the_plan_stays():
    timer = Timer()
    timer.offer(line(count=40))
    timer.pop(20)
    timer.pop(100)
    left_s = timer.queue.remaining_s
    with pytest.raises(StaleDataError, match="all of it was over"):
        timer.offer(line(count=10), observed_s=0.4)
    assert timer.queue.remaining_s == left_s


def test_a_chunk_out_of_range_or_of_no_numbers_is_refused():
    timer = Timer()
    with pytest.raises(SafetyError, match="way-point"):
        timer.offer([0.1, 9.0])
    with pytest.raises(ContractError, match="finite"):
        timer.offer([0.1, np.nan])
    timer.pop(20)
    assert timer.path[-1] == pytest.approx(START)


# --- what the node asks and says ---


def test_what_is_committed_is_what_is_then_done():
    timer = Timer("rtc")
    timer.offer(line(count=20))
    timer.pop(40)
    for latency_s in (0.15, 0.15):
        timer.queue.latency.add(latency_s)
    committed = timer.queue.committed(timer.now_ns, step_s=0.1, horizon=8)
    done = len(timer.path)
    timer.pop(30)
    # The first chunk's was warm-up; 0.15 s touches two way-points of 0.1 s.
    assert committed.fixed == 2
    assert committed.q_rad.shape == (8, 6)
    # Its second way-point is due 0.2 s after the observation: at the tenth pop. One pop is 6 mrad.
    assert committed.q_rad[1] == pytest.approx(timer.path[done + 9], abs=1e-4)


def test_nothing_is_committed_beyond_the_plan():
    timer = Timer("rtc")
    assert timer.queue.committed(0, 0.1, 8).q_rad.shape == (0, 6)
    timer.offer(line(count=5))
    timer.pop(1)
    assert len(timer.queue.committed(0, 0.1, 8).q_rad) == 5
    timer.pop(100)
    committed = timer.queue.committed(timer.now_ns, 0.1, 8)
    assert (len(committed.q_rad), committed.fixed) == (0, 0)


def test_a_chunk_is_asked_for_after_enough_of_the_last_one():
    timer = Timer(execute_steps=5)
    assert timer.queue.wants_chunk(timer.now_ns)
    timer.offer(line(count=40))
    timer.pop(10)
    assert not timer.queue.wants_chunk(timer.now_ns)
    timer.pop(30)
    assert timer.queue.wants_chunk(timer.now_ns)


def test_a_chunk_is_asked_for_before_the_arm_would_have_to_brake():
    timer = Timer(execute_steps=1000)
    timer.offer(line(count=20))
    for latency_s in (0.5, 0.5):
        timer.queue.latency.add(latency_s)
    while not timer.queue.wants_chunk(timer.now_ns):
        timer.pop()
    left_s = timer.queue.remaining_s
    timer.pop(25)
    assert 0.5 < left_s < 1.0
    assert np.diff(timer.places)[-1] / PERIOD_S == pytest.approx(0.3, abs=1e-3)


def test_single_actions_in_time_make_one_even_motion():
    """Displacements at 5 Hz, each 0.1 s late, added to where the plans end."""
    timer = Timer()
    for _ in range(15):
        timer.pop(5)
        goal = timer.queue.goal + 0.06 * ALONG
        plan = JointPlan(timer.now_ns - 5 * PERIOD_NS, 0.2, goal[None], np.ones(1), True)
        timer.queue.offer(plan, timer.now_ns)
        timer.pop(5)
    timer.require_limits()
    speed = np.diff(timer.places)[60:] / PERIOD_S
    assert speed.mean() == pytest.approx(0.3, abs=0.01)
    assert speed.min() > 0.25
    assert not any(timer.starved)


def test_speed_scale_slows_and_zero_waits_on_the_plan():
    timer = Timer()
    timer.offer(line(count=40))
    timer.pop(40)
    timer.queue.speed_scale = 0.5
    timer.pop(40)
    assert np.diff(timer.places)[-1] / PERIOD_S == pytest.approx(0.15, abs=2e-3)
    for scale in (0.0, -0.5):
        timer.queue.speed_scale = scale
        timer.pop(60)
        assert np.diff(timer.places)[-1] == pytest.approx(0.0, abs=1e-7)
    assert not timer.starved[-1]
    assert np.diff(timer.places).min() > -1e-7
    timer.require_limits()


def test_a_restart_forgets_the_plans():
    timer = Timer()
    timer.offer(line(count=40))
    timer.pop(20)
    timer.queue.restart(START, 0.3, timer.now_ns)
    assert timer.queue.remaining_s == 0.0
    q, opening = timer.queue.target(timer.now_ns)
    assert q == pytest.approx(START)
    assert opening == 0.3
    with pytest.raises(SafetyError):
        timer.queue.restart(np.full(6, np.nan), 1.0, timer.now_ns)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 60), st.floats(-0.4, 0.4))
def test_a_chunk_of_before_a_restart_is_never_followed(seen, stopped, late, moved_rad):
    """Stopped and moved by hand, the arm is not driven back to where the chunk was seen from."""
    timer = Timer()
    timer.offer(line(count=40))
    timer.pop(seen + 1)
    stamp_ns = timer.now_ns
    timer.pop(stopped + 1)
    elsewhere = timer.path[-1] + moved_rad * np.eye(6)[1]
    timer.queue.restart(elsewhere, 1.0, timer.now_ns)
    timer.pop(late)
    plan = JointPlan(stamp_ns, 0.1, START + line()[:, None] * ALONG, np.ones(20))
    with pytest.raises(StaleDataError, match="before the arm began anew"):
        timer.queue.offer(plan, timer.now_ns)
    timer.pop(20)
    assert timer.path[-1] == pytest.approx(elsewhere)


@pytest.mark.parametrize(("latency", "wanted_rad_s"), [(3, 0.3), (12, 0.23)])
def test_single_actions_are_done_at_their_own_speed_however_often_it_is_asked(
    latency, wanted_rad_s
):
    """0.06 rad each 0.2 s; where it is asked every 0.26 s, that in 0.26 s."""
    timer = Timer()
    arrives, stamp_ns = -1, 0
    for period in range(300):
        if arrives < 0 and timer.queue.wants_chunk(timer.now_ns):
            timer.queue.note_asked(timer.now_ns)
            stamp_ns, arrives = timer.now_ns, period + latency
        if period == arrives:
            arrives = -1
            goal = timer.queue.goal + 0.06 * ALONG
            plan = JointPlan(stamp_ns, 0.2, goal[None], np.ones(1), True)
            timer.queue.offer(plan, timer.now_ns)
        timer.pop()
    assert (timer.places[-1] - timer.places[100]) / 4.0 == pytest.approx(wanted_rad_s, rel=0.06)


def test_an_unknown_strategy_is_refused():
    with pytest.raises(SafetyError, match="strategy"):
        HandOver(LIMITS, PERIOD_S, "newest")  # type: ignore[arg-type]


# --- the gripper ---


def test_the_gripper_closes_when_its_waypoint_is_headed_for_and_not_halfway():
    timer = Timer()
    timer.offer(line(count=10), opening=[1, 1, 1, 0.5, 0.5, 0, 0, 0, 0, 0])
    timer.pop(60)
    closes = timer.openings.index(0.0)
    assert set(timer.openings[:closes]) == {1.0}
    # Plan time starts late, as the arm does; 0.5 says nothing.
    plan_s = 1.0 - 0.5
    assert closes * PERIOD_S == pytest.approx(plan_s + 0.22, abs=0.05)


def test_the_gripper_does_not_flutter():
    timer = Timer(gripper_dwell_s=0.3)
    timer.offer(line(count=20), opening=[0, 1] * 10)
    timer.pop(100)
    changes = np.flatnonzero(np.diff(timer.openings))
    assert len(changes)
    assert np.diff(changes).min() >= 15


def test_parameters_out_of_range_are_refused():
    with pytest.raises(SafetyError, match="execute_steps"):
        HandOverParameters(execute_steps=0)
