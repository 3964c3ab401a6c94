"""An independent check at the servos: what they were told, what their reference did, what moved.

It shares only limits and kinematics with the guard, and sees what arrived and how many goals did
not. Counted are:

- goal: every goal that arrived. Its velocity and acceleration are difference quotients over command
  periods. Where goals in a row were lost, there must be a legal stream of as many through those
  that arrived (`goal_speeds`). After a time in which nothing was sent for so long that the servos
  came to rest, a stream may also go on from rest at its last goal. Only one step may be longer: to
  where the arm stands (a node that starts, or one that gives a target up). It must lead to a pose
  that was measured in the last `KNOWN_S`, or one first step from rest beyond, of an arm that moves
  no faster than `STANDS_RAD_S`; a new stream begins there, with what that pose had outside the
  workspace allowed on the way back. It may be so near the last goal that only the goal after it,
  or its place, shows that it was one.
  Single joints may do so too (one that seems to be limp is given up), while the others go on
  within their limits: a servo that is sent to where it stands moves nothing. That excuses no place.
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

from collections import deque
from collections.abc import Sequence

import numpy as np

from vla_ros.core.limits import SafetyLimits
from vla_ros.sim.goal_speeds import WIRE_RAD, GoalSpeeds
from vla_ros.sim.tally import Tally, shares_said
from vla_ros.sim.tick_judge import Tick, TickJudge

# The arm's tool moves by less than its reach of 0.7 m times that, six times over.
_WIRE_M = 6.0 * 0.7 * WIRE_RAD
# A commander acts on joint states of the last 0.08 s, two command periods later at the latest [s].
KNOWN_S = 0.12
# An arm that settles under load still creeps by so much [rad/s].
STANDS_RAD_S = 0.1
# Way back into the workspace: this much further out of the box [m], no deeper under the table
# clearance, since a straight way in joint space bends.
_DETOUR_M = np.array([0.05] * 6 + [0.0])
# How long such a moment lasts, in command periods. A profile of 25 ms that is given a goal each
# 20 ms forgets where it was by a factor of twelve a period: of 0.3 rad, 1.36 times the acceleration
# limit is left after five, and a hundredth after seven.
_MOMENT_PERIODS = 7.0
# A reference is at its goal after so many, with a profile of 25 ms.
_PROFILE_PERIODS = 1.75
_BATCH = 1000


class ServoJudge:
    """Counts by kind what breaks the limits.

    Args:
        limits: what the arm may do.
        period_s: time between two commands [s].
        count_rad: what the driver rounds angles to [rad]; 0 where it does not.

    Attributes:
        tally: what broke the limits.
        restarts, joint_restarts: how many streams began where the arm stood, and how often single
            joints were sent to where they stood.
        restart_rad_s: the fastest arm at which one did [rad/s].
        goals, ticks: how many were judged.
    """

    def __init__(self, limits: SafetyLimits, period_s: float = 0.02, count_rad: float = 0.0):
        self._limits, self._period_s, self._count_rad = limits, period_s, count_rad
        self.tally = Tally()
        self._ticks = TickJudge(limits, period_s, self.tally)
        self.restarts = self.joint_restarts = self.goals = self.ticks = 0
        self.restart_rad_s = self._fastest_rad_s = 0.0
        self._known: deque[tuple[float, np.ndarray]] = deque()
        self._last: tuple[float, np.ndarray] | None = None
        self._speeds = GoalSpeeds(limits, period_s)
        self._allowed_m = np.zeros(7)
        self._lost = 0
        self._gap_ends_s = self._restart_s = self._torque_s = self._powered_s = -np.inf
        self._outside_s = self._rival_s = -np.inf
        self._was_powered = True
        self._goal_rows: list[tuple[float, np.ndarray]] = []

    @property
    def violations(self):
        """How often each kind was seen; empty is good."""
        return self.tally.violations

    @property
    def apart(self):
        """The same at moments that no commander makes."""
        return self.tally.apart

    @property
    def peaks(self):
        """The largest share of its limit that each kind of speed and acceleration came to."""
        return self.tally.peaks

    def measured(self, now_s: float, arm_rad: np.ndarray) -> None:
        """Note the joints (6,) [rad] that an honest driver publishes now, to `count_rad`."""
        self._known.append((now_s, np.array(arm_rad)))
        while now_s - self._known[0][0] > KNOWN_S:
            self._known.popleft()

    def rival(self, now_s: float) -> None:
        """Note a goal of somebody else."""
        self._rival_s = now_s

    def lost(self) -> None:
        """Note a goal that was sent and does not arrive."""
        self._lost += 1

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
            self.tally.one(now_s, "goal not finite")
            return
        low, high = self._limits.low_rad - WIRE_RAD, self._limits.high_rad + WIRE_RAD
        if np.any((goal_rad < low) | (goal_rad > high)):
            self.tally.one(now_s, "goal position")
        powered, before = np.asarray(torque), self._speeds.fastest
        rested = self._speeds.rested or self._last is None
        broken = self._broken_speeds(now_s, goal_rad, powered)
        may_begin = self._may_begin(goal_rad, np.abs(arm_rad_s), powered)
        if broken and not self._begins_anew(now_s, goal_rad, may_begin, broken):
            for kind, shares in broken.items():
                self.tally.one(now_s, kind, shares_said(shares, 0.0))
        # To where the arm stands, however short the way: but only a stream that rested, or paused,
        # can have begun anew, or an arm that creeps out would begin with each goal.
        begins = may_begin.all(axis=1).any() and (rested or self._speeds.paused)
        self._last = now_s, goal_rad
        if not powered.all():
            slowest = np.fmax(np.fmax(self._speeds.low, -self._speeds.high), 0.0)
            is_faster = bool(np.any(slowest > before + 4.0 * WIRE_RAD))
            self._judge_limp(now_s, goal_rad, is_faster and not begins)
        elif self._allowed_m.any():
            self._judge_way_back(now_s, goal_rad, begins)
        elif begins and self._limits.excess(goal_rad[None]).any():
            self._begin_at(now_s, goal_rad)
        else:
            self._goal_rows.append((now_s, goal_rad))
            if len(self._goal_rows) == _BATCH:
                self._judge_places()

    def _may_begin(self, goal_rad, speed_rad_s, torque) -> np.ndarray:
        """Return whether each joint may begin a new stream here, from each of K poses (K, 6)."""
        stands = (speed_rad_s <= STANDS_RAD_S) | ~torque
        if not stands.any():
            return np.zeros((0, 6), dtype=bool)
        steps = self._steps_from_known(goal_rad, torque)
        may_begin = (np.abs(steps) <= self._speeds.step_change + WIRE_RAD) & stands
        self._speeds.may_start(np.where(may_begin, steps, np.nan))
        if stands.all():
            self._fastest_rad_s = float(speed_rad_s.max(where=torque, initial=0.0))
        return may_begin

    def _begins_anew(self, now_s, goal_rad, may_begin_k6, broken) -> bool:
        """Return whether the arm, or each joint that breaks a limit, is sent to where it stands."""
        if may_begin_k6.all(axis=1).any():
            self._begin_at(now_s, goal_rad)
            self._speeds.begin(np.ones(6, dtype=bool))
            return True
        joints = np.any([shares > 0.0 for shares in broken.values()], axis=0)
        if self._last is None or not may_begin_k6.any(axis=0)[joints].all():
            return False
        self._speeds.begin(joints)
        self._restart_s = now_s
        self.joint_restarts += 1
        return True

    def _begin_at(self, now_s: float, goal_rad: np.ndarray) -> None:
        """Note a new stream that begins here."""
        self.restart_rad_s = max(self.restart_rad_s, self._fastest_rad_s)
        self.restarts += 1
        self._restart_s = now_s
        outside = self._limits.excess(goal_rad[None])[0]
        self._allowed_m = np.where(outside > 0.0, outside + _DETOUR_M, 0.0)

    def _steps_from_known(self, goal_rad: np.ndarray, torque: np.ndarray) -> np.ndarray:
        """Return the steps (K, 6) [rad] to here from each pose measured of late."""
        known = np.array([pose for _, pose in self._known]).reshape(-1, 6)
        if self._count_rad:
            known = np.round(known / self._count_rad) * self._count_rad
        # Where a joint is beyond its limits, the pose within them is where it is.
        known = np.clip(known, self._limits.low_rad, self._limits.high_rad)
        return np.where(torque, goal_rad - known, 0.0)

    def _judge_way_back(self, now_s: float, goal_rad: np.ndarray, begins: bool) -> None:
        """Judge the place of a goal of an arm that began outside; what is inside stays inside."""
        outside = self._limits.excess(goal_rad[None])[0]
        over_m = np.maximum(outside - self._allowed_m, 0.0)
        if begins and np.any(over_m > _WIRE_M):
            self._begin_at(now_s, goal_rad)
            return
        self.tally.places([now_s], "goal", over_m[None], _WIRE_M)
        self._allowed_m = np.where(outside > 0.0, self._allowed_m, 0.0)

    def _judge_limp(self, now_s: float, goal_rad: np.ndarray, is_faster: bool) -> None:
        """Judge the place of a goal of an arm with a limp joint, which nobody can command."""
        outside = self._limits.excess(goal_rad[None])[0]
        over_m = np.maximum(outside - self._allowed_m, 0.0)
        self.tally.places([now_s], "goal", over_m[None], _WIRE_M, "" if is_faster else "limp joint")
        found = np.maximum(self._allowed_m, outside + _DETOUR_M)
        self._allowed_m = np.where(outside > 0.0, found, 0.0)

    def _broken_speeds(
        self, now_s: float, goal_rad: np.ndarray, torque: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Return which limits the step to this goal breaks, and remember its velocity.

        Each with its joints' shares (6,), 0 where the limit is kept.
        """
        if self._last is None:
            # The first goal is a start, whatever it asks for.
            return {"goal velocity": np.full(6, np.inf)}
        last_s, last_rad = self._last
        sent, self._lost = self._lost + 1, 0
        periods = max(sent, round((now_s - last_s) / self._period_s))
        if periods > 1:
            self._gap_ends_s = now_s
        broken = self._speeds.step(np.where(torque, goal_rad - last_rad, 0.0), periods, sent)
        if self._speeds.began:
            self._restart_s = now_s
        return broken

    def _judge_places(self) -> None:
        """Judge where the arm would be at each goal of the batch."""
        if self._goal_rows:
            at_s, goals = zip(*self._goal_rows, strict=True)
            self.tally.places(at_s, "goal", self._limits.excess(np.array(goals)), _WIRE_M)
            self._goal_rows.clear()

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
            self._powered_s = now_s
        self._was_powered = powered
        recent_s = now_s - _MOMENT_PERIODS * self._period_s
        last_s = self._last[0] if self._last else np.inf
        if last_s < self._powered_s:
            # Until somebody sends a goal it stays where it lay.
            self._torque_s = now_s
        torque_back = self._torque_s >= recent_s
        moment = 2 if torque_back else 0
        if self._gap_ends_s >= recent_s or now_s - last_s > 1.25 * self._period_s:
            moment = 1
        moment = 3 if self._rival_s >= recent_s else moment
        if self._allowed_m.any():
            self._outside_s = now_s
        # The way of an arm that started outside is the goals' business, which are some 25 ms ahead
        # of the reference; between two commanders it is nobody's, and a servo that gets its torque
        # back sets out from where the limp joint was.
        comes_in = now_s - self._outside_s < _PROFILE_PERIODS * self._period_s
        place_counts = powered and not torque_back and moment != 3 and not comes_in
        speed_counts = powered and self._restart_s < recent_s
        self._ticks.add(
            Tick(
                now_s,
                np.array(reference_rad),
                np.array(arm_rad),
                place_counts,
                speed_counts,
                moment,
            )
        )

    def finish(self) -> None:
        """Judge what has not been judged yet."""
        self._judge_places()
        self._ticks.finish()
