"""What the arm is told next: targets, what is measured, faults and stops in; one command out.

The whole safety layer, no ROS. Once a period call `judge`, let a mission set its target if
`may_move`, then send `command`. No clock is read: times are handed in.
"""

from collections.abc import Callable

import numpy as np

from vla_ros.core.duty import Row
from vla_ros.core.errors import SafetyError
from vla_ros.core.limits import SafetyLimits
from vla_ros.core.monitor import GO, ArmMonitor, MonitorLimits, Verdict
from vla_ros.core.safety import CommandGuard
from vla_ros.core.seen import Seen
from vla_ros.core.watch import CameraWatch, CommandClock, JointStateAge

# No target is followed for this long after the arm was blocked or began anew [s].
_PAUSE_S = 0.5
# A stopped arm that has rested for this long follows who moves it [s]: longer than its servos
# take to come to rest, and its joint states to arrive.
_REST_S = 0.5
# With no joint state for this long, commands are kept back [s]: the arm rests by then, and a driver
# that is started anew may have let it fall.
BLIND_S = 1.0
# Joint states no older than this [s], or periods no further apart, are a gap in what the monitor
# sees, not its end: were all forgotten at each, many would let a blocked servo push to overload.
_GAP_S = 0.3


class CommandLoop:
    """Follows targets within the limits, for as long as nothing speaks against it.

    Args:
        limits: what the arm may do.
        period_s: time between two commands [s].
        simulated: whether the node's time is simulated, and the only one that counts.
        monitor_limits: when the arm counts as blocked; None: the defaults.
        warn: receives one sentence on what keeps the arm from its target.

    Attributes:
        cameras: those that the arm needs.
        leash_reason: why who watches does not let the arm move now; empty where it may.
        verdict: what the last period showed.
        stop_reason: why the arm is stopped until a person's reset; empty while it is not.
        end_reason: why the arm is given up: it only holds from here on; empty while it is not.
        is_limp: whether the arm is without torque, and its own motion is the command.
        refusals, blocks: how many targets were refused, and how often the arm was blocked.
        refusal: why the target of the last period was refused; empty where it was not.
    """

    def __init__(
        self,
        limits: SafetyLimits,
        period_s: float,
        simulated: bool,
        monitor_limits: MonitorLimits | None = None,
        warn: Callable[[str], None] = lambda _: None,
    ):
        self._guard = CommandGuard(limits, period_s)
        self._monitor = ArmMonitor(monitor_limits)
        self._limits = self._monitor.limits
        self._row = Row(self._limits.blocked_limit, self._limits.blocked_apart_s)
        self._age = JointStateAge(self._limits.stale_s, self._limits.lost_s)
        self._warn = warn
        self._simulated = simulated
        self._pause_periods = round(_PAUSE_S / period_s)
        self._rest_periods = round(_REST_S / period_s)
        self._paused = self._rested = 0
        # Since the command was last held against the measured pose: was the arm out of sight, and
        # for so long that it may be anywhere?
        self._is_unseen = self._is_blind = False
        self._pause_reason = self._anew_reason = self._wait_reason = ""
        self._target: tuple[np.ndarray, float] | None = None
        self._is_motion = False
        self._seen: Seen | None = None
        self._now_s = 0.0
        self.clock = CommandClock(period_s, simulated)
        self.cameras = CameraWatch(self._limits.camera_frozen_rad)
        self.verdict = GO
        self.stop_reason = self.end_reason = self.leash_reason = ""
        self.is_limp = False
        self.refusals = self.blocks = 0
        self.refusal = ""

    # --- what a mission sees and says ---

    @property
    def commanded(self) -> tuple[np.ndarray, float]:
        """The last command: joints (6,) [rad] and opening; SafetyError before `begin`."""
        return self._guard.commanded

    @property
    def at_rest(self) -> bool:
        """Whether the last command moved no joint."""
        return self._guard.at_rest

    @property
    def arrived(self) -> bool:
        """Whether the last target is commanded and the arm has been told to rest there."""
        return self._guard.arrived

    @property
    def may_move(self) -> bool:
        """Whether a mission is asked for a target."""
        kept = self.is_stopped or self.end_reason or self._anew_reason or self.leash_reason
        return self.verdict.level == "go" and not kept

    @property
    def is_stopped(self) -> bool:
        """Whether the arm rests until a person's reset, or until what that began is done."""
        return bool(self.stop_reason or self._wait_reason)

    @property
    def blocked_reason(self) -> str:
        """Why targets are not followed now, beyond a late stream; empty where they are."""
        paused = self._pause_reason if self._paused else ""
        stopped = self.stop_reason or self._wait_reason
        return self.end_reason or stopped or self._anew_reason or paused or self.leash_reason

    @property
    def age_s(self) -> float:
        """The age of the last joint state at the last command [s]."""
        return 0.0 if self._seen is None else self._seen.age_s

    @property
    def is_silent(self) -> bool:
        """Whether the command is not for the driver, because the arm rests long unseen.

        A limp arm's is: its servos keep their last goal, and may leap to it when their torque
        comes back (as in github.com/pollen-robotics/reachy_mini/issues/1136).
        """
        # The way to rest is sent in any case: without it the servos stop at once.
        return self._is_blind and (self.at_rest or self.is_limp)

    def freshness(self, seen: Seen) -> Verdict:
        """Return whether the arm is seen well enough to begin; "go" if so."""
        return self._age.judge(seen.age_s, None if self._simulated else seen.silent_s)

    def set_target(self, q_rad: np.ndarray, opening: float) -> None:
        """Head for joints (6,) [rad] and an opening; what is no legal target is refused later."""
        # Whatever it is: the guard judges it.
        self._target = (q_rad.copy() if isinstance(q_rad, np.ndarray) else q_rad), opening
        self._is_motion = False

    def follow(self, q_rad: np.ndarray, opening: float) -> None:
        """Command joints (6,) [rad] in this very period, or brake where they may not be.

        For this period only: without another one the arm brakes in the next.
        """
        self.set_target(q_rad, opening)
        self._is_motion = True

    def way_round(self, q_rad: np.ndarray, seed: int) -> list[np.ndarray]:
        """Return targets (6,) [rad] that lead to joints the straight way to which is blocked.

        Empty where the last command was not blocked, or still braked, and once asked, until the
        next command; SafetyError where no way is found.
        """
        return self._guard.way_round(q_rad, seed)

    def hold(self) -> None:
        """Brake to rest and stay there until the next target."""
        self._target, self._is_motion = None, False

    def stop(self, reason: str) -> None:
        """Brake to rest and take no target until `reset_stop`; the first reason stays."""
        self.stop_reason = self.stop_reason or reason

    def reset_stop(self, wait_reason: str = "") -> None:
        """Begin anew from the measured pose after a moment; for a person only.

        With a reason to wait, not before `go_on`.
        """
        self.stop_reason, self._anew_reason = "", "a person has reset the stop"
        self._wait_reason = wait_reason

    def wait(self, reason: str) -> None:
        """Rest until `go_on`, then begin anew from the measured pose; a stop stays latched."""
        self._wait_reason = self._anew_reason = reason

    def go_on(self) -> None:
        """Note that what `wait` or the reset waits for is done."""
        self._wait_reason = ""

    # --- the torque ---

    def let_go(self) -> None:
        """Note that the torque goes: nothing is left of a motion that was under way."""
        self.hold()
        self.is_limp = True

    def take_hold(self, q_measured: np.ndarray, opening: float) -> None:
        """Note that the torque is back, with the arm at joints (6,) [rad] and an opening."""
        self._guard.reset(q_measured, opening)
        self._monitor.reset()
        self._pause("the torque was switched on")
        self.is_limp = False

    # --- every period ---

    def begin(self, q_measured: np.ndarray, opening: float) -> None:
        """Start from the measured pose, at rest, needing nothing; a stop stays latched."""
        self._guard.reset(q_measured, opening)
        self._monitor.reset()
        self.clock.restart()
        self._target, self._seen, self.verdict = None, None, GO
        self._paused = self._rested = 0
        self._is_unseen = self._is_blind = False
        self.end_reason = self._anew_reason = self._wait_reason = ""
        self.is_limp = False
        self.cameras = CameraWatch(self._limits.camera_frozen_rad)

    def judge(self, seen: Seen) -> Verdict:
        """Take in what is known now and return what it means; call before `command`."""
        before, self._seen = self.verdict, seen
        self.verdict = self._judged(seen)
        if self.verdict.cause in ("stale", "frozen", "lost"):
            self._is_unseen = True
            self._is_blind = self._is_blind or abs(self.age_s) > BLIND_S
        if self.verdict.level == "stop":
            self._give_up_target(self.verdict, seen)
        elif self.verdict.level == "hold" and before.cause != self.verdict.cause:
            self._warn(self.verdict.sentence)
        # A camera that is missing holds an arm that is seen.
        if (self.verdict.level == "go" or self.verdict.cause == "camera") and self.at_rest:
            self._begin_anew(seen)
        if self.is_limp:
            # A person's hand is the command.
            self._guard.reset(seen.q_rad, seen.opening)
        self._follow_a_hand(seen)
        return self.verdict

    def command(self) -> tuple[np.ndarray, float]:
        """Return the next command: joints (6,) [rad] and opening."""
        self.refusal = ""
        if self.is_limp:
            return self._guard.commanded
        paused, self._paused = self._paused, max(0, self._paused - 1)
        target = self._target
        if self._is_motion:
            self._target, self._is_motion = None, False
            take = self._guard.follow
        else:
            take = self._guard.step
        if target is None or paused or not self.may_move:
            return self._guard.hold()
        try:
            return take(*target)
        except SafetyError as error:
            self.refusals += 1
            self.refusal = f"a target was refused, holding: {error}"
            self._warn(self.refusal)
            return self._guard.hold()

    def _judged(self, seen: Seen) -> Verdict:
        tick = self.clock.tick(seen.now_ns, seen.steady_s)
        last_s, self._now_s = self._now_s, seen.now_ns / 1e9 if self._simulated else seen.steady_s
        if tick.late:
            self._guard.halt()
            if self._now_s - last_s > _GAP_S:
                self._monitor.reset()
        if tick.jump_s:
            self._anew_reason = (
                f"the clock jumped by {tick.jump_s:.2f} s: holding, then starting anew from the "
                "measured pose; check what sets it"
            )
            verdict = Verdict("hold", "clock", self._anew_reason)
        else:
            verdict = self.freshness(seen)
        if verdict.level != "go" or self.is_limp:
            if self.is_limp or verdict.cause != "stale" or abs(self.age_s) > _GAP_S:
                # How the arm follows from here on has nothing to do with what was before.
                self._monitor.reset()
            return verdict
        q_commanded, _ = self._guard.commanded
        now_s, stamp_ns = self._now_s, seen.stamp_ns
        verdict = self._monitor.judge(now_s, q_commanded, seen.q_rad, seen.effort_ma, stamp_ns)
        return verdict if verdict.level != "go" else self.cameras.judge(seen.now_ns)

    def _give_up_target(self, verdict: Verdict, seen: Seen) -> None:
        """Rest where the arm is: then give it up, stop it, or let the mission try again."""
        if verdict.cause == "lost":
            self.end_reason = self.end_reason or verdict.sentence
            return
        if verdict.cause == "limp":
            if verdict.still:
                # Where joints hang, and the others are not quite where they were told to be (as
                # where somebody else commands them), the two together may be under the table.
                self._guard.reset(seen.q_rad, seen.opening)
            else:
                # The other joints brake: to begin anew is to stop at once.
                self._guard.drop(verdict.joints, seen.q_rad)
            self.stop(verdict.sentence)
            return
        # The servos' goal becomes where the arm is: it pushes no more, and stays there once free.
        self._restart(seen, verdict.sentence)
        if verdict.cause == "lag":
            self.end_reason = self.end_reason or verdict.sentence
        elif not (self.stop_reason or self.end_reason):
            self.blocks += 1
            self._warn(verdict.sentence)
            if self._row.failed(self._now_s):
                self.end_reason = f"{verdict.sentence} (blocked {self._row.limit} times in a row)"

    def _restart(self, seen: Seen, reason: str) -> None:
        self._guard.reset(seen.q_rad, seen.opening)
        self._monitor.reset()
        self._pause(reason)

    def _begin_anew(self, seen: Seen) -> None:
        """Where it is due, go on from the measured pose; only at rest, for that may be a jump."""
        reason = ""
        if not self._wait_reason:
            reason, self._anew_reason = self._anew_reason, ""
        if reason or self._is_unseen:
            self._is_unseen = self._is_blind = False
            elsewhere = self._guard.resync(seen.q_rad, seen.opening)
            if elsewhere:
                self._monitor.reset()
            if reason or elsewhere:
                self._pause(reason or "the arm was found elsewhere than commanded")

    def _pause(self, reason: str) -> None:
        self._pause_reason, self._paused = reason, self._pause_periods

    def _follow_a_hand(self, seen: Seen) -> None:
        """Once a stopped arm has come to rest, do not fight who moves it, nor whip back later."""
        rests = bool(self.stop_reason) and self.at_rest and self.verdict.level == "go"
        self._rested = self._rested + 1 if rests else 0
        if self._rested > self._rest_periods:
            self._guard.resync(seen.q_rad, seen.opening)
