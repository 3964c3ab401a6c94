"""Periodic callbacks that miss no period of simulated time."""

from collections.abc import Callable

from rclpy.clock import Clock, ClockType, JumpThreshold
from rclpy.duration import Duration

from vla_ros.nodes.lifetime import ShellNode


class Schedule:
    """Which periods are due. Pure: time is handed in.

    Args:
        period_ns: time between two ticks [ns].
    """

    def __init__(self, period_ns: int):
        self._period_ns = period_ns
        self._next_ns: int | None = None

    def due(self, now_ns: int) -> bool:
        """Return whether to tick at `now_ns`; periods that were jumped over are one tick."""
        if self._next_ns is not None and now_ns < self._next_ns:
            # More than a period back is another run of the clock, as when a sim is restarted.
            if self._next_ns - now_ns <= self._period_ns:
                return False
            self._next_ns = None
        start_ns = now_ns if self._next_ns is None else self._next_ns
        self._next_ns = start_ns + ((now_ns - start_ns) // self._period_ns + 1) * self._period_ns
        return True


def tick_every(node: ShellNode, period_s: float, callback: Callable[[], None]) -> object:
    """Call `callback` every `period_s`, of simulated time where there is one, else of steady time.

    Returns what must be kept alive.

    It ends when the node is cleaned up.

    Under simulated time the callback runs within the /clock message's own callback: rclpy's
    event-driven executor now and then misses a ROS-time timer that falls due with a jump of the
    clock, and then everything that waits for its answer stands still.
    """
    if not node.get_parameter("use_sim_time").value:
        # Not the system's clock: set back, it would silence its timers for as long.
        return node.create_timer(period_s, callback, clock=Clock(clock_type=ClockType.STEADY_TIME))
    schedule = Schedule(round(period_s * 1e9))
    clock = node.get_clock()
    guarded = node.guarded(callback)

    def on_jump(_: object) -> None:
        if schedule.due(clock.now().nanoseconds):
            guarded()

    threshold = JumpThreshold(
        min_forward=Duration(nanoseconds=1), min_backward=Duration(nanoseconds=-1)
    )
    handle = clock.create_jump_callback(threshold, post_callback=on_jump)
    node.undo_at_cleanup(handle.unregister)
    return handle
