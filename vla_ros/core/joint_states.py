"""Which joint states to believe.

The Interbotix driver reports a failed bus read as -pi on every joint (its default), or as NaN.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from vla_ros.core import arm
from vla_ros.core.errors import SafetyError
from vla_ros.core.limits import MEASURED_TOLERANCE_RAD, SafetyLimits, finite_joints, require_range

# A failed read gives every joint about -pi (xs_sdk's default behaviour).
_FAILED_READ_TOLERANCE_RAD = 1e-2


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
            index = _places(names, position)
            q = position[[index[name] for name in arm.ARM_JOINTS]]
            opening = arm.opening_from_finger(position[index["left_finger"]])
            reason = "failed read"
            if np.all(np.abs(q + np.pi) < _FAILED_READ_TOLERANCE_RAD):
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


def _places(names: Sequence[str], position: np.ndarray) -> dict[str, int]:
    """Return where each name stands; SafetyError where one is missing or has no position."""
    index = {name: i for i, name in enumerate(names)}
    missing = [name for name in (*arm.ARM_JOINTS, "left_finger") if name not in index]
    if missing or position.shape != (len(names),):
        raise SafetyError(
            f"joint state must have a position for each of {len(names)} names and lacks "
            f"{', '.join(missing) or 'positions'}; check the driver's motor configuration"
        )
    return index
