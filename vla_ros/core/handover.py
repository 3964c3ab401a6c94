"""From chunks that come when they come to one smooth target a period.

The command timer pops: `HandOver.target` is called once a period and gives the next joint target
and opening, whatever has arrived or not. Chunks are offered as they arrive, in joint space (see
`joint_plan`). No clock is read and no time is waited for.

- A clock of its own runs along the plans: it stops at the end of the last one, braking along it,
  and never runs backward.
- A new plan's place is that of its observation on that clock. What was executed of it meanwhile is
  skipped, no more: where the arm waited, nothing is.
- It is entered where it comes nearest to where the arm is headed, so that a network that thinks it
  further back does not draw it back, and takes over in a time that grows with how much it differs.
- The result goes through limits on velocity, acceleration and jerk that hold in every sample.
"""

from typing import Literal, get_args

import numpy as np

from vla_ros.core.chunk_age import chunk_age_s
from vla_ros.core.errors import SafetyError, StaleDataError
from vla_ros.core.handover_parameters import GripperSwitch, HandOverParameters
from vla_ros.core.jerk_limit import AxisLimits, JerkLimited
from vla_ros.core.joint_plan import Committed, Curve, JointPlan
from vla_ros.core.latency import LatencyEstimate
from vla_ros.core.limits import SafetyLimits, finite_joints, require_range
from vla_ros.core.plan_clock import PlanClock
from vla_ros.core.plan_mix import SHIFTS, Part, blended, crossing_s, ensembled, nearest_s
from vla_ros.core.resample import NS_PER_S
from vla_ros.core.single_pace import SinglePace

Strategy = Literal["blend", "ensemble", "rtc"]

# How quickly an arm that limits kept behind its target catches up [1/s], critically damped.
_CATCH_UP_HZ = 8.0
# A network may ask for a little more than a joint's range, as inverse kinematics does.
_RANGE_TOLERANCE_RAD = 0.02
# The longest that the command guard brakes [s].
_BRAKING_S = 0.4


class HandOver:
    """The queue between a policy and the command timer.

    Args:
        limits: what the arm may do; the workspace is the command guard's to keep.
        period_s: time between two targets [s].
        strategy: "blend": the newest chunk takes over smoothly; "ensemble": the mean of all that
            speak, weighted as ACT's; "rtc": as "blend", for chunks made to agree with `committed`.
        parameters: None: the defaults.

    Attributes:
        latency: from observation to arrival.
        speed_scale: speed along the plans, clipped to 0 to 1; 0 brakes along the plan and waits.
        starved: whether the last target stood because no plan was left; not before the first one.
        refused: how many chunks were.
    """

    def __init__(
        self,
        limits: SafetyLimits,
        period_s: float,
        strategy: Strategy = "blend",
        parameters: HandOverParameters | None = None,
    ):
        if strategy not in get_args(Strategy):
            raise SafetyError(
                f"strategy must be one of {', '.join(get_args(Strategy))}, got {strategy!r}"
            )
        self.strategy, self.parameters = strategy, parameters or HandOverParameters()
        self.latency = LatencyEstimate()
        self.speed_scale, self.refused = 1.0, 0
        self._limits, self._period_s = limits, period_s
        velocity, acceleration = limits.velocity_rad_s, limits.acceleration_rad_s2
        jerk = self._jerk_rad_s3 = self.parameters.jerk_rad_s3
        self._joints = [
            JerkLimited(low, high, AxisLimits(v, a, jerk), period_s)
            for low, high, v, a in zip(
                limits.low_rad, limits.high_rad, velocity, acceleration, strict=True
            )
        ]
        # The rate changes no quicker than a joint at full speed can follow.
        self._clock = PlanClock(
            float((acceleration / velocity).min()),
            float((jerk / velocity).min()),
            period_s,
            self.parameters.max_age_s,
        )
        self._gripper = GripperSwitch(self.parameters, period_s)
        self._pace = SinglePace(period_s)
        gain = _CATCH_UP_HZ * period_s
        self._gains = gain**2, 2.0 * gain
        self.restart(np.zeros(len(self._joints)), 1.0, 0)

    # --- what the node says ---

    def restart(self, q_rad: np.ndarray, opening: float, now_ns: int) -> None:
        """Forget all plans and rest at joints (6,) [rad] with an opening, as last commanded.

        A chunk of an observation before `now_ns` is refused from then on: the arm may have been
        moved since.

        Raises:
            SafetyError: not finite, or of another shape.
        """
        for joint, value in zip(
            self._joints, finite_joints(q_rad, opening, "commanded pose"), strict=True
        ):
            joint.reset(value)
        q = np.array([joint.position for joint in self._joints])
        self._clock.restart()
        self._gripper.restart(opening)
        self._parts = [Part(None, q, 0.0, 0.0, 1.0)]
        self._began_ns = now_ns
        self._newest_ns: int | None = None
        self._pace.restart()
        self._reference = self._before = q
        self.starved = False

    def resume(self, q_rad: np.ndarray) -> None:
        """Go on along the plans from rest at joints (6,) [rad], where the arm was braked aside."""
        for joint, value in zip(self._joints, q_rad, strict=True):
            joint.reset(value)
        # Braking leads on along the plan, too: that much of it is done.
        ahead_s = np.linspace(0.0, min(_BRAKING_S, self._clock.left_s), SHIFTS)
        apart = [np.sum((self._mixed(self._clock.now_s + s) - q_rad) ** 2) for s in ahead_s]
        self._clock.stand(self._clock.now_s + float(ahead_s[np.argmin(apart)]))
        self._reference = self._before = self._mixed(self._clock.now_s)

    def offer(self, plan: JointPlan, now_ns: int) -> None:
        """Take a chunk over.

        Raises:
            StaleDataError: older than the current plan or the last restart, too old, over, or of
                the future.
            SafetyError: a way-point is outside the joints' range.
        """
        try:
            origin_s = self._origin_s(plan, now_ns)
            for q in plan.q_rad:
                require_range(q, self._limits, _RANGE_TOLERANCE_RAD, "a chunk's way-point")
        except (StaleDataError, SafetyError):
            self.refused += 1
            raise
        self.latency.add((now_ns - plan.stamp_ns) / NS_PER_S)
        curve = Curve(plan, self.parameters.smoothing_s, self._mixed(origin_s))
        self._newest_ns = plan.stamp_ns
        self._enter(curve, origin_s)

    def target(self, now_ns: int) -> tuple[np.ndarray, float]:
        """Return the next target: joints (6,) [rad] and opening 0 or 1; once a period.

        `now_ns` is the time that observations' stamps are told in.
        """
        plan_s = self._clock.advance(now_ns, min(max(self.speed_scale, 0.0), 1.0))
        self.starved = self._newest_ns is not None and self._clock.at_end
        q = self._follow(self._mixed(plan_s))
        return q, self._gripper.next(self._opening_at(plan_s))

    def _follow(self, reference: np.ndarray) -> np.ndarray:
        """Return the joints (6,) one period on: the reference (6,), or what limits allow of it."""
        behind = self._reference - [joint.position for joint in self._joints]
        velocity = self._reference - self._before
        slower = velocity - [joint.step for joint in self._joints]
        close, match = self._gains
        change = reference - self._reference - velocity + close * behind + match * slower
        self._before, self._reference = self._reference, reference
        moves = zip(self._joints, change.tolist(), strict=True)
        return np.array([joint.move(c) for joint, c in moves])

    # --- what the node asks ---

    @property
    def goal(self) -> np.ndarray:
        """Where the plans end (6,) [rad]; what a displacement is added to, so that none is lost."""
        newest = self._parts[-1]
        return newest.at(newest.end_s)

    @property
    def remaining_s(self) -> float:
        """How much of the plans is left [s], at full speed."""
        return self._clock.left_s

    @property
    def rate(self) -> float:
        """How quickly the plans are followed now, 0 to 1."""
        return self._clock.rate

    def note_asked(self, now_ns: int) -> None:
        """Note that an observation of now has gone to the policy."""
        self._pace.note_asked(now_ns, self._single_s, self.speed_scale)

    def wants_chunk(self, now_ns: int, ahead_s: float = 0.0) -> bool:
        """Return whether it is time for the next observation, if none is being worked on.

        That is after `execute_steps` of the newest chunk, and earlier where the chunk could come
        too late to go on without braking. After a single action it is once its step has passed, at
        the speed it is done at: else more would be done than was meant.

        Args:
            now_ns: time [ns].
            ahead_s: when the next occasion comes [s]: what is due within a period is asked for
                now, and where the plans are about to end, what is due by then.
        """
        newest, early_s = self._parts[-1], min(ahead_s, self._period_s)
        if newest.curve is None:
            return True
        if step_s := self._single_s:
            return self._pace.until_due_s(now_ns, step_s, self.speed_scale) <= early_s
        whole_s = self.parameters.execute_steps * newest.curve.plan.step_s
        done_s = self._clock.now_s - newest.origin_s + early_s
        return done_s >= whole_s or self.ends_within(ahead_s)

    def ends_within(self, ahead_s: float) -> bool:
        """Return whether the arm would brake for want of a chunk that is asked for so late [s]."""
        if self._parts[-1].curve is None or self._single_s:
            return False
        needed_s = self.latency.value_s + self._clock.braking_s + 2.0 * self._period_s
        return self._clock.left_s <= needed_s + ahead_s

    @property
    def _single_s(self) -> float:
        """How long the single action that was taken last takes [s]; 0 where it was a chunk."""
        curve = self._parts[-1].curve
        return curve.plan.duration_s if curve is not None and curve.plan.from_arrival else 0.0

    def committed(self, stamp_ns: int, step_s: float, horizon: int) -> Committed:
        """Return what is planned after an observation, at the way-points of its chunk.

        Args:
            stamp_ns: time of the observation [ns].
            step_s, horizon: of the chunk that is asked for.
        """
        origin_s, newest = self._clock.at(stamp_ns), self._parts[-1]
        known = 0 if newest.curve is None else int((newest.end_s - origin_s) / step_s + 1e-6)
        known = min(max(known, 0), horizon)
        times_s = [origin_s + (h + 1) * step_s for h in range(known)]
        q = np.array([self._mixed(time_s) for time_s in times_s]).reshape(known, 6)
        opening = np.array([newest.opening_at(time_s) for time_s in times_s], np.float64)
        return Committed(q, opening, min(int(np.ceil(self.latency.value_s / step_s)), known))

    # --- taking over ---

    def _origin_s(self, plan: JointPlan, now_ns: int) -> float:
        """Return the plan time at which a plan begins; StaleDataError where it comes too late."""
        most_s = self.parameters.max_age_s
        age_s = chunk_age_s(plan.stamp_ns, now_ns, self._began_ns, self._newest_ns, most_s)
        origin_s = self._clock.now_s if plan.from_arrival else self._clock.at(plan.stamp_ns)
        if origin_s + plan.duration_s <= self._clock.now_s + self._period_s:
            raise StaleDataError(
                f"a chunk of {plan.duration_s:.2f} s came {age_s:.2f} s after its observation, "
                "when all of it was over; it is dropped: use a quicker policy or longer chunks"
            )
        return origin_s

    def _enter(self, curve: Curve, origin_s: float) -> None:
        """Have a new plan take over from here on."""
        now_s = self._clock.now_s
        here = self._mixed(now_s)
        if not curve.plan.from_arrival:
            room_s = self.parameters.align_s, self._period_s
            origin_s -= nearest_s(curve, now_s - origin_s, here, *room_s)
        end_s, blend_s = origin_s + curve.plan.duration_s, self.parameters.blend_s
        if self.strategy != "ensemble":
            blend_s = min(self._blend_s(curve, now_s - origin_s, here), end_s - now_s)
        self._parts = [*self._heard(now_s), Part(curve, here, origin_s, now_s, blend_s)]
        self._clock.end_at(end_s)

    def _blend_s(self, curve: Curve, since_s: float, here: np.ndarray) -> float:
        """Return in which time a curve can take over from joints (6,) within the limits."""
        apart = curve.at(since_s) - here
        soon = self._mixed(self._clock.now_s + self._period_s)
        parting = (curve.at(since_s + self._period_s) - soon - apart) / self._period_s
        limits = self._limits.velocity_rad_s, self._limits.acceleration_rad_s2, self._jerk_rad_s3
        needed_s = crossing_s(apart, parting * self._clock.rate, limits)
        # Where the arm rests, its clock starts it smoothly: what agrees is taken over at once.
        least_s = self.parameters.blend_s if self._clock.rate else self._period_s
        return max(least_s, needed_s)

    def _heard(self, plan_s: float) -> list[Part]:
        """Return the parts that still count after a plan time."""
        parts = self._parts
        if self.strategy == "ensemble":
            return [
                part
                for part, successor in zip(parts, [*parts[1:], None], strict=True)
                if successor is None
                or plan_s < max(part.end_s, successor.enter_s + successor.blend_s)
            ]
        whole = [i for i, part in enumerate(parts) if part.share(plan_s) >= 1.0]
        return parts[whole[-1] :] if whole else parts

    def _mixed(self, plan_s: float) -> np.ndarray:
        if self.strategy == "ensemble":
            return ensembled(self._parts, plan_s, self.parameters.ensemble_decay)
        return blended(self._parts, plan_s)

    def _opening_at(self, plan_s: float) -> float | None:
        newest = self._parts[-1]
        return None if newest.curve is None else newest.opening_at(plan_s)
