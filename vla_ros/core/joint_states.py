"""Which joint states to believe: one by one, and in a row.

The Interbotix driver reports a failed bus read as -pi on every joint (its default), or as NaN.
"""

from collections import Counter, deque
from collections.abc import Sequence

import numpy as np

from vla_ros.core import arm
from vla_ros.core.errors import SafetyError
from vla_ros.core.limits import MEASURED_TOLERANCE_RAD, SafetyLimits, finite_joints, require_range

# A failed read gives every joint about -pi (xs_sdk's default behaviour).
_FAILED_READ_TOLERANCE_RAD = 1e-2
# Commands remembered while the joint states repeat themselves.
_MOST_COMMANDS = 50


class JointStateFilter:
    """Passes joint states that a working arm can have, refuses the rest.

    Args:
        limits: joint range; a measurement far outside it is a failed read.
        jump_margin: how much faster than pi rad/s a joint may seem to move, for stamp jitter.
        jump_slack_rad: movement [rad] allowed at any time, for encoder counts and jitter.

    Attributes:
        rejected: how many joint states were refused, by reason.
    """

    def __init__(
        self, limits: SafetyLimits, jump_margin: float = 1.5, jump_slack_rad: float = 0.05
    ):
        self.limits = limits
        self.jump_margin = jump_margin
        self.jump_slack_rad = jump_slack_rad
        self._last: tuple[int, np.ndarray] | None = None
        # The names of the last message, which are the same in every one, and where they stand.
        self._names: tuple[str, ...] | None = None
        self._places: list[int] = []
        self.rejected: Counter[str] = Counter()

    def reset(self) -> None:
        """Forget the last joint state, as after a jump of the clock."""
        self._last = None

    def accept(
        self, stamp_ns: int, names: Sequence[str], position: np.ndarray
    ) -> tuple[np.ndarray, float]:
        """Return arm joints (6,) [rad] and gripper opening (clipped to [0, 1]).

        Args:
            stamp_ns: the message's stamp [ns].
            names: joint names; the six of the arm and "left_finger", in any order.
            position: positions (len(names),) [rad], fingers in metres.

        Raises:
            SafetyError: a joint is missing, a value is not finite, every arm joint reads -pi,
                a joint is far outside its limits, moved faster than a servo can, or the stamp
                is not later than the last accepted one.
        """
        reason = "incomplete"
        try:
            position = np.asarray(position, dtype=np.float64)
            if self._names is None or self._names != tuple(names):
                self._places = _places(names)
                self._names = tuple(names)
            if position.shape != (len(names),):
                raise _incomplete(names, "positions")
            q = position[self._places[:-1]]
            opening = arm.opening_from_finger(position[self._places[-1]])
            reason = "failed read"
            if np.abs(q + np.pi).max() < _FAILED_READ_TOLERANCE_RAD:
                raise SafetyError(
                    "every joint reads -pi: the driver's bus read failed; check cabling"
                )
            reason = "not finite"
            q = finite_joints(q, opening, "joint state")
            reason = "out of range"
            require_range(q, self.limits, MEASURED_TOLERANCE_RAD, "joint state")
            reason = "stamp or jump"
            self._require_continuous(stamp_ns, q)
        except SafetyError:
            self.rejected[reason] += 1
            raise
        self._last = (stamp_ns, q)
        return q, float(np.clip(opening, 0.0, 1.0))

    def _require_continuous(self, stamp_ns: int, q: np.ndarray) -> None:
        if self._last is None:
            return
        last_ns, last_q = self._last
        if stamp_ns <= last_ns:
            raise SafetyError(
                f"joint state stamped {stamp_ns} ns is not later than the last at {last_ns} ns; "
                "check for a second publisher or a clock that was set back"
            )
        elapsed_s = (stamp_ns - last_ns) / 1e9
        allowed = self.jump_slack_rad + self.jump_margin * np.pi * elapsed_s
        joint = int(np.argmax(np.abs(q - last_q)))
        jump = abs(float(q[joint] - last_q[joint]))
        if jump > allowed:
            raise SafetyError(
                f"{arm.ARM_JOINTS[joint]} jumped {jump:.2f} rad in {elapsed_s:.3f} s, more than a "
                "servo can turn; check for a second publisher or a failed read"
            )


class RepeatWatch:
    """Finds a driver that says the same again and again while the arm must be moving.

    The arm follows its commands by some lag that nobody knows. It must have moved if, whatever the
    lag up to the largest, a joint was told to go further than `moved_rad` in the time that the
    samples are the same. So a start, a turning point or a rest is no alarm: for some lag the arm
    stands in all three. Only what differs in no bit counts, positions and currents, over at least
    `repeat_s`; a message that has not come yet is no repetition.

    Args:
        moved_rad: with currents: four encoder counts of 4096 a turn. A joint that sticks stands
            for longer, but pushes harder from count to count.
        unmeasured_rad: without currents: a joint that sticks moves before that [rad].
        repeat_s: the same for so long at least [s].
        largest_lag_s: between command and measurement [s]. At full speed the servos are 0.07 s
            behind, and a sample may be some periods old.
    """

    def __init__(
        self,
        moved_rad: float = 0.006,
        unmeasured_rad: float = 0.05,
        repeat_s: float = 0.05,
        largest_lag_s: float = 0.12,
    ):
        self._moved_rad, self._unmeasured_rad = moved_rad, unmeasured_rad
        self._repeat_s, self._lag_s = repeat_s, largest_lag_s
        self._commands: deque[tuple[float, np.ndarray]] = deque(maxlen=_MOST_COMMANDS)
        self._said, self._stamp_ns = b"", None
        self._since_s, self._periods = 0.0, 0
        self._frozen = False

    def reset(self) -> None:
        """Forget the commands, as when the stream begins anew; what is frozen stays so."""
        self._commands.clear()
        self._periods = 0

    def repeats_for(
        self,
        now_s: float,
        q_commanded: np.ndarray,
        q_measured: np.ndarray,
        effort_ma: np.ndarray | None,
        stamp_ns: int | None = None,
    ) -> float:
        """Return for how long the driver repeats itself [s], 0 while it does not; once a period.

        Args:
            now_s: time of this period [s].
            q_commanded, q_measured: joints (6,) [rad].
            effort_ma: currents (7,) [mA], None where not measured.
            stamp_ns: of the sample [ns]; the same one again says nothing. None: it is new.
        """
        self._commands.append((now_s, q_commanded.copy()))
        said = q_measured.tobytes() + (b"" if effort_ma is None else effort_ma.tobytes())
        is_new = stamp_ns is None or stamp_ns != self._stamp_ns
        self._stamp_ns = stamp_ns
        if said != self._said:
            self._said, self._since_s, self._periods = said, now_s, 0
            self._frozen = False
            return 0.0
        self._periods += 1
        waited = now_s - self._since_s >= self._repeat_s
        if is_new and waited and not self._frozen:
            moved_rad = self._moved_rad if effort_ma is not None else self._unmeasured_rad
            self._frozen = self._least_way_rad(now_s) > moved_rad
        return now_s - self._since_s if self._frozen else 0.0

    def _least_way_rad(self, now_s: float) -> float:
        """Return how far some joint was told to go while the samples repeat [rad].

        For the lag that excuses most; 0 where less than the largest lag is known. Before the first
        command that is known the arm stood.
        """
        if now_s - self._commands[0][0] < self._lag_s:
            return 0.0
        ends = np.array(
            [i for i, (at_s, _) in enumerate(self._commands) if now_s - at_s <= self._lag_s]
        )
        commands = np.array([q for _, q in self._commands])
        ways = commands[ends] - commands[np.maximum(ends - self._periods, 0)]
        return float(np.abs(ways).max(axis=1).min())


def _places(names: Sequence[str]) -> list[int]:
    """Return where the six joints and the left finger stand; SafetyError where one is missing."""
    index = {name: i for i, name in enumerate(names)}
    wanted = (*arm.ARM_JOINTS, "left_finger")
    missing = [name for name in wanted if name not in index]
    if missing:
        raise _incomplete(names, ", ".join(missing))
    return [index[name] for name in wanted]


def _incomplete(names: Sequence[str], lacking: str) -> SafetyError:
    return SafetyError(
        f"joint state must have a position for each of {len(names)} names and lacks {lacking}; "
        "check the driver's motor configuration"
    )
