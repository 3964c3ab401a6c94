"""An arm that is looked at and never commanded, for who only shows what he would do."""

from collections.abc import Callable

import numpy as np

from vla_ros.core.limits import SafetyLimits
from vla_ros.nodes.arm_status import Status
from vla_ros.nodes.arm_stream import MeasuredArm
from vla_ros.nodes.diagnostics import OK, STALE
from vla_ros.nodes.lifetime import ShellNode


class WatchedArm:
    """What `ArmClient` offers, without a way to the driver: no publisher, no service is called.

    Another node may command the arm meanwhile. It is always at rest and never stopped, as far as
    its own commands go; what is commanded is what is measured.

    Args:
        node: the node to live in.
        robot_name: the driver's namespace.
        limits: joint range of believable measurements.
    """

    stopped = is_limp = asks_servos = False
    at_rest = arrived = True
    stop_reason = blocked_reason = warm_reason = ""
    held_from_outside = ("", "")

    def __init__(self, node: ShellNode, robot_name: str, limits: SafetyLimits):
        self._arm = MeasuredArm(node, robot_name, limits)

    @property
    def active(self) -> bool:
        """Whether the arm was seen."""
        return self._arm.pose is not None

    @property
    def measured(self) -> tuple[np.ndarray, float] | None:
        """The last believed joints (6,) [rad] and opening; None before the first."""
        return self._arm.pose

    @property
    def commanded(self) -> tuple[np.ndarray, float]:
        """The same; to be asked for once it is `active`."""
        assert self._arm.pose is not None
        return self._arm.pose

    @property
    def status(self) -> Status:
        """Level, sentence and numbers, as `Diagnostics.set` takes them."""
        if self._arm.pose is None:
            return STALE, "no joint state yet", {}
        return OK, "is watched, and not commanded", {}

    def hand_measured_to(self, listener: Callable[[int, np.ndarray, float], None]) -> None:
        """See `ArmClient`."""
        self._arm.listener = listener

    def need_camera(self, name: str, max_age_s: float | None) -> None:
        """Nothing is held."""

    def saw_image(self, name: str, stamp_ns: int, jpeg: bytes) -> None:
        """Nothing is held."""

    def hold(self) -> None:
        """Nothing moves."""

    def start(self) -> None:
        """Nothing is prepared."""

    def shutdown(self, then: Callable[[], None] = lambda: None) -> None:
        """Call `then`."""
        then()
