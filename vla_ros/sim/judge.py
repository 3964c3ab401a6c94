"""An independent check at the servos: what they were told, what their reference did, what moved.

It shares only limits and kinematics with the guard, and sees only what arrived. Counted are:

- goal: every goal that arrived. Its velocity and acceleration are difference quotients over the
  time since the last goals, in whole command periods: where n goals in a row were lost, the step
  over the gap may be n + 1 as long. After a gap in which the servos came to rest, a stream may also
  go on from rest at its last goal. Only one step may be longer: to where the arm stands (a node
  that starts, or one that gives a target up). It must lead to a pose that was measured in the last
  `KNOWN_S`, or one first step from rest beyond, of an arm that moves no faster than `STANDS_RAD_S`;
  a new stream begins there, with what that pose had outside the workspace allowed on the way back.
  A joint without torque ignores its goal, and its motion says nothing of the others: neither speed
  nor start is judged by it. Where it has sunk to puts goals outside without anybody's doing. As
  long as no joint with torque is sped up these are counted apart ("limp joint"), and allowed on the
  way back once the torque is back.
- reference: what a servo's profile makes of the goals, as means over one command period. Moments
  that no commander makes are counted apart: a servo stops when goals are lost, then catches up
  faster than anybody asked ("lost goals"); one that gets its torque back goes to the goal that it
  hears next ("torque back"); between two commanders it goes to and fro ("second commander"). The
  step of a new stream to where the arm stands moves nothing and is left out.
- arm: what moved, while every servo has torque; a limp arm sinks by itself.

Goals are float32 on the wire: half a unit in the last place is no violation.
"""

from collections import Counter, deque
from collections.abc import Sequence

import numpy as np

from vla_ros.core import arm
from vla_ros.core.limits import SafetyLimits

# Half the distance of two float32 numbers near pi [rad].
WIRE_RAD = float(np.spacing(np.float32(np.pi))) / 2.0
# The arm's tool moves by less than its reach of 0.7 m times that, six times over.
_WIRE_M = 6.0 * 0.7 * WIRE_RAD
# A commander acts on joint states of the last 0.08 s, two command periods later at the latest [s].
KNOWN_S = 0.12
# An arm that settles under load still creeps by so much [rad/s].
STANDS_RAD_S = 0.1
_PAUSE_PERIODS = 2.5  # after so many command periods without a goal the servos rest
# Way back into the workspace: this much further out of the box [m], no deeper under the table
# clearance, since a straight way in joint space bends.
_DETOUR_M = np.array([0.05] * 6 + [0.0])
# How long such a moment lasts, in command periods.
_MOMENT_PERIODS = 5.0
MOMENTS = ("", "lost goals", "torque back", "second commander")
# A profile of 25 ms a goal of 20 ms bends the way between two goals by so much.
_PROFILE_SHARE, _PROFILE_M = 0.25, 2e-3
# Gravity and contact bend the arm away from its reference by so much [m], [rad].
_BEND_M, _BEND_RAD = 0.03, 0.1
_BATCH = 1000


class ServoJudge:
    """Counts by kind what breaks the limits.

    Args:
        limits: what the arm may do.
        period_s: time between two commands [s].
        count_rad: what the driver rounds angles to [rad]; 0 where it does not.

    Attributes:
        violations: how often each kind was seen, like "goal velocity"; empty is good.
        apart: the same at moments that no commander makes, like "reference velocity, lost goals".
        restarts: how many streams began where the arm stood.
        restart_rad_s: the fastest arm at which one did [rad/s].
        goals, ticks: how many were judged.
        peaks: the largest share of its limit that each kind of speed and acceleration came to.
    """

    def __init__(self, limits: SafetyLimits, period_s: float = 0.02, count_rad: float = 0.0):
        self._limits, self._period_s, self._count_rad = limits, period_s, count_rad
        self.violations: Counter[str] = Counter()
        self.apart: Counter[str] = Counter()
        self.peaks: dict[str, float] = {}
        self.restarts = self.goals = self.ticks = 0
        self.restart_rad_s = 0.0
        self._known: deque[tuple[float, np.ndarray]] = deque()
        self._last: tuple[float, np.ndarray] | None = None
        self._velocity, self._gap_s = np.zeros(6), period_s
        self._starts: np.ndarray | None = None
        self._allowed_m = np.zeros(7)
        self._gap_ends_s = self._restart_s = self._torque_s = self._rival_s = -np.inf
        self._was_powered = True
        self._goal_rows: list[np.ndarray] = []
        self._tick_rows: list[tuple[np.ndarray, np.ndarray, bool, bool, int]] = []

    def measured(self, now_s: float, arm_rad: np.ndarray) -> None:
        """Note the joints (6,) [rad] that an honest driver publishes now, to `count_rad`."""
        self._known.append((now_s, np.array(arm_rad)))
        while now_s - self._known[0][0] > KNOWN_S:
            self._known.popleft()

    def rival(self, now_s: float) -> None:
        """Note a goal of somebody else."""
        self._rival_s = now_s

    def goal(
        self,
        now_s: float,
        goal_rad: np.ndarray,
        arm_rad_s: np.ndarray,
        torque: Sequence[bool] = (True,) * 6,
    ) -> None:
        """Judge a goal that arrives.

        Args:
            now_s: when [s].
            goal_rad: the goal (6,) [rad].
            arm_rad_s: how fast the joints move (6,) [rad/s].
            torque: whether each servo has torque (6,); one without ignores how its goal moves.
        """
        self.goals += 1
        goal_rad = np.asarray(goal_rad, dtype=np.float64)
        if not np.all(np.isfinite(goal_rad)):
            self.violations["goal not finite"] += 1
            return
        low, high = self._limits.low_rad - WIRE_RAD, self._limits.high_rad + WIRE_RAD
        if np.any((goal_rad < low) | (goal_rad > high)):
            self.violations["goal position"] += 1
        torque, before = np.asarray(torque), np.abs(self._velocity)
        broken = self._broken_speeds(now_s, goal_rad, torque)
        if broken:
            fastest = float(np.abs(arm_rad_s).max(where=torque, initial=0.0))
            steps = self._first_steps(goal_rad, torque)
            if len(steps) and fastest <= STANDS_RAD_S:
                self.restart_rad_s = max(self.restart_rad_s, fastest)
                self._restart(now_s, goal_rad, steps)
            else:
                self.violations.update(broken)
        self._last = now_s, goal_rad
        if not torque.all():
            slack = 2.0 * WIRE_RAD / self._period_s
            self._judge_limp(goal_rad, bool(np.any(np.abs(self._velocity) > before + 2.0 * slack)))
        elif self._allowed_m.any():
            self._judge_way_back(goal_rad)
        else:
            self._goal_rows.append(goal_rad)
            if len(self._goal_rows) == _BATCH:
                self._judge_places()

    def _first_steps(self, goal_rad: np.ndarray, torque: np.ndarray) -> np.ndarray:
        """Return the steps (K, 6) [rad] to here, legal from rest, from poses measured of late."""
        known = np.array([pose for _, pose in self._known])
        if self._count_rad:
            known = np.round(known / self._count_rad) * self._count_rad
        # Where a joint is beyond its limits, the pose within them is where it is.
        known = np.clip(known, self._limits.low_rad, self._limits.high_rad)
        steps = np.where(torque, goal_rad - known, 0.0)
        most = self._limits.acceleration_rad_s2 * self._period_s**2
        return steps[np.all(np.abs(steps) <= most + WIRE_RAD, axis=1)]

    def _restart(self, now_s: float, goal_rad: np.ndarray, steps_k6: np.ndarray) -> None:
        # The next goal shows from which of the poses.
        self._starts, self._gap_s = steps_k6 / self._period_s, self._period_s
        self._velocity = self._starts[0]
        self._restart_s = now_s
        self.restarts += 1
        outside = self._limits.excess(goal_rad[None])[0]
        self._allowed_m = np.where(outside > 0.0, outside + _DETOUR_M, 0.0)

    def _judge_way_back(self, goal_rad: np.ndarray) -> None:
        """Judge the place of a goal of an arm that began outside; what is inside stays inside."""
        outside = self._limits.excess(goal_rad[None])[0]
        self._count_goals(outside[None] > self._allowed_m + _WIRE_M)
        self._allowed_m = np.where(outside > 0.0, self._allowed_m, 0.0)

    def _judge_limp(self, goal_rad: np.ndarray, is_faster: bool) -> None:
        """Judge the place of a goal of an arm with a limp joint, which nobody can command."""
        outside = self._limits.excess(goal_rad[None])[0]
        over = outside[None] > self._allowed_m + _WIRE_M
        self._count_goals(over, "" if is_faster else "limp joint")
        found = np.maximum(self._allowed_m, outside + _DETOUR_M)
        self._allowed_m = np.where(outside > 0.0, found, 0.0)

    def _broken_speeds(self, now_s: float, goal_rad: np.ndarray, torque: np.ndarray) -> list[str]:
        """Return which limits the step to this goal breaks, and remember its velocity."""
        if self._last is None:
            # The first goal is a start, whatever it asks for.
            return ["goal velocity"]
        last_s, last_rad = self._last
        gap_s = max(1, round((now_s - last_s) / self._period_s)) * self._period_s
        if gap_s > 1.5 * self._period_s:
            self._gap_ends_s = now_s
        velocity = np.where(torque, goal_rad - last_rad, 0.0) / gap_s
        if self._starts is not None:
            nearest = np.argmin(np.abs(velocity - self._starts).max(axis=1))
            self._velocity, self._starts = self._starts[nearest], None
        between_s = (gap_s + self._gap_s) / 2.0
        acceleration = (velocity - self._velocity) / between_s
        slack = 2.0 * WIRE_RAD / gap_s
        slack_change = (slack + 2.0 * WIRE_RAD / self._gap_s) / between_s
        if gap_s > _PAUSE_PERIODS * self._period_s:
            from_rest = velocity * gap_s / self._period_s
            most = self._limits.acceleration_rad_s2 * self._period_s
            if np.all(np.abs(from_rest) <= most + 2.0 * WIRE_RAD / self._period_s):
                self._velocity, self._gap_s = from_rest, self._period_s
                return []
        self._velocity, self._gap_s = velocity, gap_s
        return [
            name
            for name, value, limit, allowed in (
                ("goal velocity", velocity, self._limits.velocity_rad_s, slack),
                ("goal acceleration", acceleration, self._limits.acceleration_rad_s2, slack_change),
            )
            if np.any((np.abs(value) > limit + allowed) & torque)
        ]

    def _judge_places(self) -> None:
        """Judge where the arm would be at each goal of the batch."""
        if self._goal_rows:
            self._count_goals(self._limits.excess(np.array(self._goal_rows)) > _WIRE_M)
            self._goal_rows.clear()

    def _count_goals(self, over_n7: np.ndarray, moment: str = "") -> None:
        where, end = (self.apart, f", {moment}") if moment else (self.violations, "")
        self._add(f"goal workspace{end}", over_n7[:, :6].any(axis=1), where)
        self._add(f"goal table{end}", over_n7[:, 6], where)

    def tick(
        self, now_s: float, reference_rad: np.ndarray, arm_rad: np.ndarray, powered: bool
    ) -> None:
        """Judge one tick of half a command period: reference (6,) and arm (6,) [rad].

        Args:
            now_s: time [s].
            reference_rad: what the servos follow.
            arm_rad: where the joints are.
            powered: whether every arm servo has torque and nothing blocks a joint.
        """
        self.ticks += 1
        if powered and not self._was_powered:
            self._torque_s = now_s
        self._was_powered = powered
        recent_s = now_s - _MOMENT_PERIODS * self._period_s
        last_s = self._last[0] if self._last else np.inf
        moment = 2 if self._torque_s >= recent_s else 0
        if self._gap_ends_s >= recent_s or now_s - last_s > 1.25 * self._period_s:
            moment = 1
        moment = 3 if self._rival_s >= recent_s else moment
        # The way of an arm that started outside is the goals' business; between two commanders
        # it is nobody's.
        place_counts = powered and moment != 3 and not self._allowed_m.any()
        speed_counts = powered and self._restart_s < recent_s
        self._tick_rows.append(
            (np.array(reference_rad), np.array(arm_rad), place_counts, speed_counts, moment)
        )
        if len(self._tick_rows) == _BATCH:
            self._judge_ticks()

    def _judge_ticks(self) -> None:
        if len(self._tick_rows) < 5:
            return
        reference, measured, place_counts, speed_counts, moment = (
            np.array(column) for column in zip(*self._tick_rows, strict=True)
        )
        # A servo that loses torque, or gets it back, sets its reference to where it is.
        steady = np.all([speed_counts[k : len(speed_counts) - 4 + k] for k in range(5)], axis=0)
        speed = (reference[4:] - reference[2:-2]) / self._period_s
        change = speed - (reference[2:-2] - reference[:-4]) / self._period_s
        moved = (measured[4:] - measured[2:-2]) / self._period_s
        limits = self._limits
        for kind, values, limit in (
            ("reference velocity", speed, limits.velocity_rad_s),
            ("reference acceleration", change / self._period_s, limits.acceleration_rad_s2),
            ("arm velocity", moved, arm.VELOCITY_LIMIT_RAD_S),
        ):
            self._count_speed(kind, np.abs(values) / limit, steady, moment[4:])
        self._count_places("reference", reference[4:], 0.0, _PROFILE_M, place_counts[4:])
        self._count_places("arm", measured[4:], _BEND_RAD, _BEND_M, place_counts[4:])
        # The windows of the next batch begin with these.
        self._tick_rows = self._tick_rows[-4:]

    def _count_speed(self, kind, share_n6, counted_n, moment_n) -> None:
        share = np.max(share_n6, axis=1, where=counted_n[:, None], initial=0.0)
        for index, moment in enumerate(MOMENTS):
            shares = share[moment_n == index]
            name = f"{kind}, {moment}" if moment else kind
            self.peaks[name] = max(self.peaks.get(name, 0.0), float(shares.max(initial=0.0)))
            self._add(name, shares > 1.0 + _PROFILE_SHARE, self.apart if moment else None)

    def _count_places(self, who, q_n6, slack_rad, slack_m, counted_n) -> None:
        low, high = self._limits.low_rad - slack_rad, self._limits.high_rad + slack_rad
        outside = np.any((q_n6 < low - WIRE_RAD) | (q_n6 > high + WIRE_RAD), axis=1)
        self._add(f"{who} position", outside & counted_n)
        over = self._limits.excess(q_n6) > slack_m
        self._add(f"{who} workspace", over[:, :6].any(axis=1) & counted_n)
        self._add(f"{who} table", over[:, 6] & counted_n)

    def _add(self, kind: str, broken_n: np.ndarray, where: Counter[str] | None = None) -> None:
        if broken_n.any():
            (self.violations if where is None else where)[kind] += int(broken_n.sum())

    def finish(self) -> None:
        """Judge what has not been judged yet."""
        self._judge_places()
        self._judge_ticks()
