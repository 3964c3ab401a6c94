"""Does the arm do what it is told, and at what effort? Judged once a command period.

Pure: times are handed in as seconds of any one steady clock. What the judgement means for the
commands is the caller's business; `Verdict` says how much of it.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from vla_ros.core import arm
from vla_ros.core.errors import SafetyError
from vla_ros.core.joint_states import RepeatWatch
from vla_ros.core.lasting import Since, remember
from vla_ros.core.thresholds import threshold

# The six arm joints and the gripper: where the driver measures a current.
SERVOS = (*arm.ARM_JOINTS, "gripper")
_EFFORT_MA = (1360.0, 1700.0, 1020.0, 1020.0, 1020.0, 1190.0, 1000.0)


@dataclass(frozen=True)
class Verdict:
    """What to do about the arm, and why.

    Attributes:
        level: "go": nothing is wrong. "hold": brake and rest; it may pass by itself. "stop":
            give the target up; the arm shall rest where it is measured to be.
        cause: one word for counting and for tests; empty with "go".
        sentence: what is wrong and what to do; empty with "go".
        joints: places of the arm joints that are without torque.
        still: with joints: whether the whole arm stands still.
    """

    level: Literal["go", "hold", "stop"]
    cause: str = ""
    sentence: str = ""
    joints: tuple[int, ...] = ()
    still: bool = False


GO = Verdict("go")


@dataclass(frozen=True, eq=False)
class MonitorLimits:
    """When an arm counts as blocked, overloaded, left behind or unseen.

    Attributes:
        effort_ma: sustained current (7,) [mA] that no servo may exceed: six arm joints, gripper;
            above 0, inf switches a joint's check off. The defaults are bridge_data_robot's
            ABS_MAX_JOINT_EFFORTS for this arm, half to three quarters of the XM430's 2.3 A stall
            current; the gripper's is above what its own current limit lets pass.
        overload_s: how long it may be exceeded [s]; a start or a touch is shorter.
        stall_error_rad: a joint this far from its command [rad] ...
        stall_effort: ... that pushes with this share of `effort_ma`, 0 to 1 ...
        stall_s: ... and stands still is held, and after so long [s] counts as blocked. An XM430
            at the driver's gains pushes with about 1 A at 0.1 rad.
        still_rad_s, still_s: slower than this [rad/s] over this time [s] is standing still.
        lag_rad, lag_s: further behind its commands than this [rad] for this long [s], an arm is
            blocked, limp or in error, whatever its current: going on would let it whip to the far
            goal once it is free. At full speed the servos are 0.1 rad behind.
        limp_rad, limp_ma, limp_s: this far from its command [rad], coming no nearer, with less
            than this current [mA] for this long [s], a joint has no torque: a powered one pushes
            with about 1 A at 0.1 rad. No more than `CommandGuard.resync` leaves alone, so that a
            servo that went limp while it was blocked is found at the error at which it was.
        frozen_rad, frozen_s: `moved_rad` and `repeat_s` of `joint_states.RepeatWatch`.
        lost_s: a driver that repeats itself, or is silent, for so long [s] is given up.
        stale_s: joint states older than this [s] hold the arm. Seven periods of the driver's
            100 Hz, two of xs_sdk_sim's 30 Hz; with the 20 ms to the next command, within 0.1 s.
        camera_frozen_rad: `frozen_rad` of `watch.CameraWatch`.
        blocked_limit, blocked_apart_s: blocked so often, no further apart than this [s], the arm
            is given up.
    """

    effort_ma: np.ndarray = threshold(
        _EFFORT_MA, 1.0, 2300.0, "mA", "sustained current of six arm joints and gripper"
    )
    overload_s: float = threshold(0.3, 0.02, 5.0, "s", "how long it may be exceeded")
    stall_error_rad: float = threshold(0.1, 0.02, 1.0, "rad", "a held joint is off by this")
    stall_effort: float = threshold(0.5, 0.0, 1.0, "1", "share of effort_ma it pushes with")
    stall_s: float = threshold(0.15, 0.02, 5.0, "s", "held for so long it counts as blocked")
    still_rad_s: float = threshold(0.05, 0.005, 1.0, "rad/s", "slower is standing still")
    still_s: float = threshold(0.1, 0.02, 1.0, "s", "time over which that is measured")
    lag_rad: float = threshold(0.4, 0.1, 1.5, "rad", "an arm is left behind by this")
    lag_s: float = threshold(0.5, 0.1, 5.0, "s", "left behind for so long it is given up")
    limp_rad: float = threshold(0.1, 0.02, 0.1, "rad", "a joint without torque is off by this")
    limp_ma: float = threshold(50.0, 1.0, 500.0, "mA", "with less current than this")
    limp_s: float = threshold(0.1, 0.02, 5.0, "s", "and for so long")
    frozen_rad: float = threshold(0.006, 0.002, 1.0, "rad", "commands moved this far unanswered")
    frozen_s: float = threshold(0.05, 0.02, 5.0, "s", "and for so long: the driver repeats itself")
    lost_s: float = threshold(10.0, 0.5, 3600.0, "s", "a driver that does so is given up")
    stale_s: float = threshold(0.075, 0.03, 0.3, "s", "older joint states hold the arm")
    camera_frozen_rad: float = threshold(0.3, 0.05, 3.0, "rad", "moved this far unseen")
    blocked_limit: int = threshold(10, 1, 1000, "1", "blocked so often the arm is given up")
    blocked_apart_s: float = threshold(5.0, 0.5, 3600.0, "s", "no further apart than this")

    def __post_init__(self):
        effort_ma = np.array(self.effort_ma, dtype=np.float64)
        if effort_ma.shape != (7,) or not np.all(effort_ma > 0):
            raise SafetyError(f"effort_ma must be 7 currents above 0 mA, got {self.effort_ma}")
        effort_ma.setflags(write=False)
        object.__setattr__(self, "effort_ma", effort_ma)
        for name in vars(self).keys() - {"effort_ma", "stall_effort"}:
            if not 0.0 < getattr(self, name) < np.inf:
                raise SafetyError(f"{name} must be above 0, got {getattr(self, name)}")
        if not 0.0 <= self.stall_effort <= 1.0:
            raise SafetyError(f"stall_effort must be in [0, 1], got {self.stall_effort}")


class ArmMonitor:
    """Compares what was commanded with what is measured.

    Args:
        limits: the thresholds.
    """

    def __init__(self, limits: MonitorLimits | None = None):
        self.limits = limits or MonitorLimits()
        self._repeats = RepeatWatch(self.limits.frozen_rad, repeat_s=self.limits.frozen_s)
        self.reset()

    def reset(self) -> None:
        """Forget what was seen, as when the arm starts anew from its measured pose."""
        self._overloaded = Since(7)
        self._stalled = Since(6)
        self._lagging = Since(1)
        self._limp = Since(6)
        # Measured poses of the last `still_s`, and one before; the oldest first.
        self._poses: list[tuple[float, np.ndarray]] = []
        # Commands of the last 2 `still_s`, in the same way.
        self._commands: list[tuple[float, np.ndarray]] = []
        self._repeats.reset()

    def judge(
        self,
        now_s: float,
        q_commanded: np.ndarray,
        q_measured: np.ndarray,
        effort_ma: np.ndarray | None,
        stamp_ns: int | None = None,
    ) -> Verdict:
        """Return what one command period shows.

        An arm that still moves is only held: where it is measured to be is no place to rest
        before it stands there, because measurements may be late. Not so a limp one: its command
        shall not be far away when its torque comes back.

        Args:
            now_s: time of this command period [s], not before the last one's.
            q_commanded, q_measured: joints (6,) [rad].
            effort_ma: currents (7,) [mA]; None where the driver measures none, and then only
                the arm's lag tells that it is blocked.
            stamp_ns: of the measurement [ns]; None: a new one.
        """
        frozen_s = self._repeats.repeats_for(now_s, q_commanded, q_measured, effort_ma, stamp_ns)
        if frozen_s > 0.0:
            return self._frozen(frozen_s, q_commanded, q_measured, effort_ma)
        if self._follows(q_commanded, q_measured, effort_ma):
            for condition in (self._limp, self._stalled, self._overloaded, self._lagging):
                condition.none_holds()
            self._moved(now_s, q_measured)
            self._note_command(now_s, q_commanded)
            return GO
        # Always asked, so that each of them sees every period. A limp joint comes first: to give
        # way for another reason puts its command where it is, and it would be seen no more.
        found = (
            self._limpness(now_s, q_commanded, q_measured, effort_ma),
            self._stall(now_s, q_commanded, q_measured, effort_ma),
            self._overload(now_s, effort_ma),
            self._lag(now_s, q_commanded, q_measured),
        )
        sets_out = self._sets_out(now_s, q_commanded)
        still = self._is_still(now_s, q_measured) and not sets_out
        held: Verdict | None = None
        for verdict in (one for one in found if one is not None):
            if verdict.level == "stop" and (still or verdict.cause == "limp"):
                return replace(verdict, still=still)
            held = held or replace(verdict, level="hold")
        return held or GO

    def _follows(self, q_commanded, q_measured, effort_ma) -> bool:
        """Return whether nothing can be wrong: no joint is off by much, none draws too much."""
        limits = self.limits
        least_rad = min(limits.stall_error_rad, limits.limp_rad, limits.lag_rad)
        if not np.abs(q_commanded - q_measured).max() <= least_rad:
            return False
        return effort_ma is None or not (np.abs(effort_ma) > limits.effort_ma).any()

    def _frozen(self, frozen_s, q_commanded, q_measured, effort_ma) -> Verdict:
        sentence = (
            f"the joint states repeat themselves for {frozen_s:.1f} s while the arm is told to "
            "move: holding; check the driver's log and the arm's cable"
        )
        # One joint without torque, told to move while all others rest, repeats itself just so.
        error_rad = np.abs(q_commanded - q_measured)
        joint = int(np.argmax(error_rad))
        is_slack = effort_ma is not None and abs(effort_ma[joint]) < self.limits.limp_ma
        if is_slack and error_rad[joint] > self.limits.frozen_rad:
            sentence += (
                f"; or {SERVOS[joint]}, {error_rad[joint]:.2f} rad from its command without a "
                "current, has no torque: support the arm, then reboot_motors"
            )
        level, cause = ("hold", "frozen") if frozen_s < self.limits.lost_s else ("stop", "lost")
        return Verdict(level, cause, sentence)

    def _stall(self, now_s, q_commanded, q_measured, effort_ma) -> Verdict | None:
        limits = self.limits
        error_rad = np.abs(q_commanded - q_measured)
        pushing = np.zeros(6, dtype=bool)
        if effort_ma is not None:
            pushing = np.abs(effort_ma[:6]) >= limits.stall_effort * limits.effort_ma[:6]
        still = self._still_joints(now_s, q_measured)
        held_s = self._stalled.held_s(now_s, pushing & still & (error_rad > limits.stall_error_rad))
        joint = int(np.argmax(held_s))
        if effort_ma is None or held_s[joint] < 0.0:
            return None
        # The commands stop at once, so that nothing winds up while it becomes certain.
        level = "stop" if held_s[joint] >= limits.stall_s else "hold"
        sentence = (
            f"{SERVOS[joint]} is blocked: {error_rad[joint]:.2f} rad short of its command at "
            f"{abs(effort_ma[joint]):.0f} mA; clear the arm's way"
        )
        return Verdict(level, "stall", sentence)

    def _overload(self, now_s, effort_ma) -> Verdict | None:
        if effort_ma is None:
            self._overloaded.held_s(now_s, np.zeros(7, dtype=bool))
            return None
        over = np.abs(effort_ma) > self.limits.effort_ma
        held_s = self._overloaded.held_s(now_s, over)
        servo = int(np.argmax(held_s))
        if held_s[servo] < self.limits.overload_s:
            return None
        sentence = (
            f"{SERVOS[servo]} draws {abs(effort_ma[servo]):.0f} mA, above its "
            f"{self.limits.effort_ma[servo]:.0f} mA, for {held_s[servo]:.1f} s; lighten or clear "
            "the arm before the servo shuts itself down"
        )
        return Verdict("stop", "overload", sentence)

    def _limpness(self, now_s, q_commanded, q_measured, effort_ma) -> Verdict | None:
        error_rad = np.abs(q_commanded - q_measured)
        slack = np.zeros(6, dtype=bool)
        if effort_ma is not None:
            slack = np.abs(effort_ma[:6]) < self.limits.limp_ma
        # A fast joint may be far behind at little current, but it comes nearer.
        elapsed_s, moved_rad = self._moved(now_s, q_measured)
        nearer_rad = moved_rad * np.sign(q_commanded - q_measured)
        slack &= nearer_rad <= self.limits.still_rad_s * elapsed_s
        held_s = self._limp.held_s(now_s, slack & (error_rad > self.limits.limp_rad))
        joint = int(np.argmax(held_s))
        if held_s[joint] < self.limits.limp_s:
            return None
        sentence = (
            f"{SERVOS[joint]} is {error_rad[joint]:.2f} rad from its command and draws no current: "
            "it is without torque or in error; support the arm, reboot_motors, then start again"
        )
        joints = tuple(np.flatnonzero(held_s >= self.limits.limp_s).tolist())
        return Verdict("stop", "limp", sentence, joints)

    def _lag(self, now_s, q_commanded, q_measured) -> Verdict | None:
        lag_rad = np.abs(q_commanded - q_measured)
        joint = int(np.argmax(lag_rad))
        behind = np.array([lag_rad[joint] > self.limits.lag_rad])
        if self._lagging.held_s(now_s, behind)[0] < self.limits.lag_s:
            return None
        sentence = (
            f"{SERVOS[joint]} is {lag_rad[joint]:.2f} rad behind its commands: blocked, without "
            "torque or in error; clear its way, reboot_motors if a servo blinks, then start again"
        )
        return Verdict("stop", "lag", sentence)

    def _moved(self, now_s, q_measured) -> tuple[float, np.ndarray]:
        """Return how each joint (6,) moved [rad] in the last so many seconds, about `still_s`."""
        remember(self._poses, now_s, q_measured, self.limits.still_s)
        then_s, q_then = self._poses[0]
        return now_s - then_s, q_measured - q_then

    def _still_joints(self, now_s, q_measured) -> np.ndarray:
        """Return which joints (6,) stood still; none before `still_s` of history."""
        elapsed_s, moved_rad = self._moved(now_s, q_measured)
        still = np.abs(moved_rad) <= self.limits.still_rad_s * elapsed_s
        return still & (elapsed_s >= self.limits.still_s)

    def _sets_out(self, now_s, q_commanded) -> bool:
        """Return whether a joint was told to set out or to turn so lately that it may not show.

        Over `still_s` such a joint has not moved far, and may be fast by now. Told so is one whose
        command went less than half as far in twice that time as its present speed would have taken
        it: in the command of a joint that is blocked on its way this lies further back.
        """
        self._note_command(now_s, q_commanded)
        commands = self._commands
        if len(commands) < 2:
            return True
        (then_s, q_then), (last_s, q_last) = commands[0], commands[-2]
        speed_rad_s = (q_commanded - q_last) / (commands[-1][0] - last_s)
        way_rad = (q_commanded - q_then) * np.sign(speed_rad_s)
        speed_rad_s = np.abs(speed_rad_s)
        is_new = way_rad < 0.5 * speed_rad_s * (commands[-1][0] - then_s)
        return bool((is_new & (speed_rad_s > self.limits.still_rad_s)).any())

    def _note_command(self, now_s, q_commanded) -> None:
        remember(self._commands, now_s, q_commanded, 2.0 * self.limits.still_s)

    def _is_still(self, now_s, q_measured) -> bool:
        return bool(self._still_joints(now_s, q_measured).all())
