"""The one way from a node to the arm: believed joint states in, guarded commands out at 50 Hz.

Used by the explorer, the policy and the teacher: each moves the arm under the same rules, those of
`core/command_loop.py`. Nothing here waits: activation is a chain of asynchronous service calls, the
stream a timer on the node's clock (simulated time where there is one).
"""

import time
import zlib
from collections.abc import Callable

import numpy as np
from rclpy.clock import Clock, ClockType

from vla_ros.core.command_loop import CommandLoop
from vla_ros.core.monitor import MonitorLimits
from vla_ros.core.safety import SafetyLimits, wx250s_limits
from vla_ros.core.seen import Seen
from vla_ros.core.watch import lost_sentence
from vla_ros.nodes.arm_start import ArmStart
from vla_ros.nodes.arm_status import Status, arm_status, held_from_outside
from vla_ros.nodes.arm_stream import CommandStream, MeasuredArm
from vla_ros.nodes.arm_torque import ArmTorque
from vla_ros.nodes.driver_return import DriverReturn
from vla_ros.nodes.driver_setup import DriverError
from vla_ros.nodes.estop import EStop
from vla_ros.nodes.lifetime import ShellNode
from vla_ros.nodes.servo_check import ServoCheck
from vla_ros.nodes.servo_registers import RegisterRewrite
from vla_ros.nodes.ticker import tick_every

COMMAND_PERIOD_S = 0.02
# Braking from full speed takes 0.38 s; no end waits longer than this for it [s, wall].
_SHUTDOWN_S = 1.0
# How often it is looked whether somebody else commands the arm [s, wall].
_LOOK_AROUND_S = 1.0
# Simulated time may stand still; for longer than this, its arm is gone [s, wall].
_SIM_LOST_S = 30.0


class ArmClient:
    """Joint targets in, commands on the wire; holds still whenever something is wrong.

    Make it where the node is configured (stop and reset are served from then on), call `start`
    to activate and `shutdown` before every end. A target stays until the next one or `hold`.
    While `blocked_reason` is not empty, targets are kept but not followed; the arm then begins
    anew from where it is, so a motion generator shall do so too, in `on_tick`.

    Args:
        node: the node to live in.
        robot_name: the driver's namespace.
        driver_wait_s: how long the driver may take to appear [s, wall time].
        on_tick: called before each command, 50 times a second, unless the arm must hold.
        limits: what the arm may do; None: those of the WidowX 250s.
        monitor_limits: when it counts as blocked; None: the defaults.

    Attributes:
        active: whether commands are sent.
    """

    def __init__(
        self,
        node: ShellNode,
        robot_name: str,
        driver_wait_s: float,
        on_tick: Callable[[], None] | None = None,
        limits: SafetyLimits | None = None,
        monitor_limits: MonitorLimits | None = None,
    ):
        self._node = node
        self._on_tick = on_tick
        self._simulated = node.get_parameter("use_sim_time").value
        limits = limits or wx250s_limits()
        period_s, simulated = COMMAND_PERIOD_S, self._simulated
        self._loop = loop = CommandLoop(limits, period_s, simulated, monitor_limits, self._warn)
        self._ending = False
        self.active = False
        self._arm = MeasuredArm(node, robot_name, limits)
        self._stream = CommandStream(node, robot_name)
        self._start = ArmStart(node, robot_name, driver_wait_s, loop, self._arm, self._stream)
        self._estop = EStop(node, loop, self._on_reset)
        self._torque = ArmTorque(node, robot_name, loop, self._arm, self._estop.stop)
        self._rewrite = RegisterRewrite(node, robot_name, self._on_rewritten, self._estop.stop)
        self._servos = ServoCheck(
            *(node, robot_name, lambda: loop.is_limp, lambda: loop.verdict.cause != "stale"),
            *(self._estop.stop, (monitor_limits or MonitorLimits()).stale_s),
        )
        self._return = DriverReturn(loop, simulated, self._start, self._servos.ask)
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._ticks = tick_every(node, COMMAND_PERIOD_S, self._tick)
        node.create_timer(_LOOK_AROUND_S, self._look_around, clock=self._steady)

    # --- what a node sees and says ---

    @property
    def measured(self) -> tuple[np.ndarray, float] | None:
        """The last believed joints (6,) [rad] and opening; None before the first."""
        return self._arm.pose

    def hand_measured_to(self, listener: Callable[[int, np.ndarray, float], None]) -> None:
        """Call `listener` with (stamp [ns], joints (6,) [rad], opening) as they are believed."""
        self._arm.listener = listener

    @property
    def commanded(self) -> tuple[np.ndarray, float]:
        """The last commanded joints (6,) [rad] and opening."""
        return self._loop.commanded

    @property
    def at_rest(self) -> bool:
        """Whether the last command moved no joint."""
        return self._loop.at_rest

    @property
    def arrived(self) -> bool:
        """Whether the last target is commanded and the arm has been told to rest there."""
        return self._loop.arrived

    @property
    def stopped(self) -> bool:
        """Whether the arm rests until a reset, or what one or a driver's return began, is done."""
        return self._loop.is_stopped

    @property
    def stop_reason(self) -> str:
        """Why it is stopped until a person's reset; empty where only something is waited for."""
        return self._loop.stop_reason

    @property
    def blocked_reason(self) -> str:
        """Why no target is followed now, beyond a late stream; empty where they are."""
        return self._loop.blocked_reason

    @property
    def held_from_outside(self) -> tuple[str, str]:
        """What holds the arm that did not come of its motion: see the function."""
        return held_from_outside(self._loop)

    @property
    def warm_reason(self) -> str:
        """Why the motors have to rest, from a warm servo until all have cooled; else empty."""
        return self._servos.heat.warm_reason

    @property
    def warm_readings(self) -> int:
        """How often the warm servo that was read the least was read."""
        return self._servos.heat.warm_readings

    @property
    def is_limp(self) -> bool:
        """Whether the arm is without torque by somebody's wish."""
        return self._loop.is_limp

    @property
    def refusals(self) -> int:
        """How many targets the guard refused."""
        return self._loop.refusals

    @property
    def held_reason(self) -> str:
        """Why no target was followed in the last period, late streams and refusals included."""
        loop = self._loop
        return loop.blocked_reason or loop.verdict.sentence or loop.refusal

    @property
    def status(self) -> Status:
        """Level, sentence and numbers, as `Diagnostics.set` takes them."""
        return arm_status(self.active, self._loop, self._arm, self._servos)

    def set_target(self, q_rad: np.ndarray, opening: float) -> None:
        """Head for joints (6,) [rad] and an opening; what is not legal is refused: it holds."""
        self._loop.set_target(q_rad, opening)

    def way_round(self, q_rad: np.ndarray, seed: int) -> list[np.ndarray]:
        """Return targets (6,) [rad] that lead to joints the straight way to which is blocked.

        Empty where the last command was not blocked, or still braked, and once asked, until the
        next command; SafetyError where no way is found.
        """
        return self._loop.way_round(q_rad, seed)

    def follow(self, q_rad: np.ndarray, opening: float) -> None:
        """Command joints (6,) [rad] in this very period, or brake where they may not be.

        To be called in each `on_tick`, by who plans a motion within the limits himself.
        """
        self._loop.follow(q_rad, opening)

    def leash(self, reason: str) -> None:
        """Brake and follow no target for as long as there is a reason; empty: go on."""
        self._loop.leash_reason = reason

    def hold(self) -> None:
        """Brake to rest and stay there until the next target."""
        self._loop.hold()

    def need_camera(self, name: str, max_age_s: float | None) -> None:
        """Hold the arm while this camera is older than this [s], or frozen; None: no more."""
        self._loop.cameras.need(name, max_age_s)

    def saw_image(self, name: str, stamp_ns: int, jpeg: bytes) -> None:
        """Note a picture of a camera that `need_camera` named."""
        if self.measured is not None:
            self._loop.cameras.saw(name, stamp_ns, zlib.crc32(jpeg), self.measured[0])

    def check_hardware(self) -> bool:
        """Ask every servo for errors, torque and temperature; return whether it was asked.

        To be called between two motions: nothing is asked while the arm moves, nor within a
        second of the last time. A fault latches the stop, with the sentence as its reason.
        """
        return self.active and (self.at_rest or self._loop.is_limp) and self._servos.ask()

    @property
    def asks_servos(self) -> bool:
        """Whether the servos' answers are waited for; nothing shall move then."""
        return self._servos.is_asking

    def set_torque(self, enable: bool) -> None:
        """Switch the torque of arm and gripper; without it a person moves both.

        Raises:
            SafetyError: on, where the arm might leap to an old goal; nothing was asked then.
        """
        self._torque.switch(enable, self.active)

    @property
    def asks_torque(self) -> bool:
        """Whether the driver's answer to a switch of the torque is waited for."""
        return self._torque.is_asking

    def release(self, then: Callable[[], None]) -> None:
        """Switch the torque off where the arm rests on itself, then call `then`.

        Raises:
            SafetyError: the arm is not at rest in its sleep pose, stopped, or not believed.
        """
        self._torque.release(self.active, then)

    # --- life ---

    def start(self) -> None:
        """Look for the driver, prepare it, and be active then; harmless when it was called."""
        self._ending = False
        if not self.active:
            self._return.reason = ""
            self._start.start()

    def shutdown(self, then: Callable[[], None] = lambda: None) -> None:
        """Brake to rest, for at most 1 s of wall time, send nothing more, then call `then`.

        The servos go on holding the last command.
        """
        self._ending = True
        self.hold()
        self._start.cancel()
        deadline_s = time.monotonic() + _SHUTDOWN_S

        def poll() -> None:
            if self.at_rest or self._loop.is_limp or time.monotonic() > deadline_s:
                self._node.destroy_timer(timer)
                self.active = False
                then()

        if self.active:
            timer = self._node.create_timer(COMMAND_PERIOD_S, poll, clock=self._steady)
        else:
            then()

    # --- the stream ---

    def _tick(self) -> None:
        self.active = self.active or self._start.begins(self._seen)
        if not self.active:
            return
        loop, seen = self._loop, self._seen()
        if loop.judge(seen).cause in ("stale", "clock"):
            self._arm.forget_last()
        if not self._ending:
            self._return.look(seen)
        self._estop.say()
        if self._on_tick is not None and loop.may_move and not (loop.is_limp or self._ending):
            self._on_tick()
        q_rad, opening = loop.command()
        if not loop.is_silent:
            self._stream.send(q_rad, opening)
        self._stream.say(q_rad, opening)
        self._end_for(loop.end_reason)

    def _seen(self) -> Seen:
        now_ns, arm = self._node.get_clock().now().nanoseconds, self._arm
        return Seen(now_ns, time.monotonic(), arm.stamp_ns, arm.silent_s, *arm.pose, arm.effort_ma)

    def _look_around(self) -> None:
        """Once a second: does anybody else command the arm, and is anybody there at all?"""
        if not self.active:
            return
        rivals = self._stream.rivals()
        if rivals:
            self._end_for(f"holding, because {rivals}")
        elif self._simulated and self._arm.silent_s > _SIM_LOST_S:
            self._end_for(lost_sentence(_SIM_LOST_S))

    def _end_for(self, reason: str) -> None:
        """Hold from now on and fail, once.

        Raises:
            DriverError: there is a reason.
        """
        if reason and not self._ending:
            self._ending = True
            self.hold()
            raise DriverError(reason)

    def _on_reset(self) -> str:
        """Write the registers that a rebooted servo has forgotten; return what to wait for."""
        if not (self.active and self._start.registers):
            return ""
        if self._return.reason:
            return self._return.reason
        self._rewrite.start(self._start.registers)
        return "the servos' profile is written again after the reset"

    def _on_rewritten(self) -> None:
        if self._return.reason:
            return  # a driver that was away comes first, and gets them too
        self._loop.go_on()
        # A servo that is still in error stops the arm again.
        self._servos.ask()

    def _warn(self, sentence: str) -> None:
        self._node.get_logger().warning(sentence, throttle_duration_sec=2.0)
