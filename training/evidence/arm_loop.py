"""The arm under its safety layer without a graph: what nodes do at 50 Hz, as fast as it goes.

`ArmLoop` is a command period of the nodes: the joint states of the driver's model are believed or
not by `core.joint_states`, `core.command_loop` decides, and what it decides goes to the driver in
the wire's precision. Time is the world's, in integer nanoseconds, so equal seeds give equal bits.
Whoever wants what a recorder would hear is a `Listener`.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from training.evidence.sim_camera import SimCamera
from vla_ros.core import arm
from vla_ros.core.command_loop import CommandLoop
from vla_ros.core.errors import SafetyError, SceneError
from vla_ros.core.hardware import servo_fault
from vla_ros.core.joint_states import JointStateFilter
from vla_ros.core.limits import SafetyLimits, wx250s_limits
from vla_ros.core.monitor import SERVOS, MonitorLimits
from vla_ros.core.seen import Seen
from vla_ros.sim.world import CONTROL_PERIOD_NS, SimWorld

PERIOD_NS = 20_000_000
PERIOD_S = PERIOD_NS * 1e-9
_TICKS = PERIOD_NS // CONTROL_PERIOD_NS
# An unchanged gripper command is repeated every so many commands.
_GRIPPER_REPEAT = 25
# A change of its mode leaves a servo without torque for a moment; then it is asked where it is.
_SETTLE_PERIODS = 10
# As the nodes' missions have it: a move takes no longer [s].
_MOVE_LIMIT_S = 30.0


class Listener(Protocol):
    """Hears what a recorder hears; stamps [ns] of the world's time."""

    def joint_state(
        self, stamp_ns: int, position: np.ndarray, velocity: np.ndarray, effort: np.ndarray
    ) -> None:
        """Hear what the driver measured, (9,) each, in the order of `arm.JOINT_STATE_NAMES`."""
        ...

    def picture(self, stamp_ns: int, camera: str, jpeg: bytes) -> None:
        """Hear a camera's picture."""
        ...

    def commanded(self, stamp_ns: int, q_rad: np.ndarray, opening: float) -> None:
        """Hear the command: joints (6,) [rad] and opening."""
        ...


class ArmLoop:
    """One arm, its cameras and the stream of its commands; `step` is one period of 20 ms.

    Made, the driver is prepared as the nodes prepare it and the stream has begun where the arm is.
    In each period joint state and pictures of one moment come first, then `on_tick` may set a
    target, then the command goes out and the world moves on.

    Args:
        world: the arm on its table; it may be reset between two steps, with `keep_arm`.
        cameras: those that give pictures, at moments that are multiples of their periods.
        limits: what the arm may do; None: those of the nodes.
        monitor_limits: when it counts as blocked; None: those of the nodes.
        warn: receives one sentence on what keeps the arm from its target.

    Attributes:
        world: as given.
        loop: the safety layer: targets in, reasons out.
        listeners: who hears what is measured, seen and commanded.
        pictures: by camera its last (stamp [ns], JPEG).
        measured: the last believed joints (6,) [rad] and opening.

    Raises:
        SceneError: two cameras of one name, or one whose period is no whole number of commands.
    """

    def __init__(
        self,
        world: SimWorld,
        cameras: Sequence[SimCamera] = (),
        limits: SafetyLimits | None = None,
        monitor_limits: MonitorLimits | None = None,
        warn: Callable[[str], None] = lambda _: None,
    ):
        limits = limits or wx250s_limits()
        self.world = world
        self.loop = CommandLoop(limits, PERIOD_S, True, monitor_limits, warn)
        self.listeners: list[Listener] = []
        self.pictures: dict[str, tuple[int, bytes]] = {}
        self._cameras = {camera.name: camera for camera in cameras}
        _check(cameras)
        self._filter = JointStateFilter(limits)
        self._warn = warn
        self._stamp_ns, self._effort_ma = 0, np.zeros(7)
        self._sent, self._sent_opening = 0, -1.0
        self._prepare()
        self.measured = arm.READY_RAD.copy(), 1.0
        self._measure()
        self.loop.begin(*self.measured)

    @property
    def now_ns(self) -> int:
        """The world's time [ns]."""
        return self.world.time_ns

    @property
    def commanded(self) -> tuple[np.ndarray, float]:
        """The last commanded joints (6,) [rad] and opening."""
        return self.loop.commanded

    def step(self, on_tick: Callable[[], None] | None = None) -> None:
        """Do one command period.

        Args:
            on_tick: called where the arm may move, before the command; sets its target.
        """
        self._measure()
        self._look()
        loop = self.loop
        if loop.judge(self._seen()).cause in ("stale", "clock"):
            self._filter.reset()
        if on_tick is not None and loop.may_move and not loop.is_limp:
            on_tick()
        q_rad, opening = loop.command()
        if not loop.is_silent:
            self._send(q_rad, opening)
        for listener in self.listeners:
            listener.commanded(self.now_ns, q_rad, opening)
        for _ in range(_TICKS):
            self.world.step()

    # --- what missions are made of; each returns when it is done ---

    def go_to(self, q_rad: np.ndarray, opening: float) -> None:
        """Move to joints (6,) [rad] and an opening, and come to rest there.

        Raises:
            SafetyError: the arm is stopped, given up, or not there after 30 s.
        """
        loop, end_ns = self.loop, self.now_ns + round(_MOVE_LIMIT_S * 1e9)
        loop.set_target(q_rad, opening)
        self.step()
        while not (loop.arrived and np.allclose(loop.commanded[0], q_rad, atol=1e-6)):
            if loop.stop_reason or loop.end_reason:
                raise SafetyError(loop.stop_reason or loop.end_reason)
            if self.now_ns > end_ns:
                raise SafetyError(
                    f"the arm did not reach {np.round(q_rad, 2).tolist()} rad within "
                    f"{_MOVE_LIMIT_S:g} s; something is in its way"
                )
            # Given up where the arm was blocked, it is set anew.
            loop.set_target(q_rad, opening)
            self.step()

    def settle(self) -> None:
        """Brake, and wait until the arm was told to rest."""
        self.loop.hold()
        self.step()
        while not self.loop.at_rest:
            self.step()

    def wait(self, duration_s: float) -> None:
        """Let so much time pass [s], holding the last target."""
        end_ns = self.now_ns + round(duration_s * 1e9)
        while self.now_ns < end_ns:
            self.step()

    def servo_fault(self) -> str:
        """Return what the servos say is wrong with them, empty where nothing is."""
        driver = self.world.driver
        return servo_fault(SERVOS, driver.get_register("group", "all", "Hardware_Error_Status"))

    # --- a period ---

    def _prepare(self) -> None:
        """Give the servos mode and profile, and let them come to rest in it."""
        driver = self.world.driver
        driver.set_operating_modes("single", "gripper", *arm.GRIPPER_MODE)
        for register in arm.STREAM_REGISTERS:
            driver.set_register(*register)
        for _ in range(_SETTLE_PERIODS * _TICKS):
            self.world.step()

    def _measure(self) -> None:
        names, position, velocity, effort = self.world.joint_state()
        for listener in self.listeners:
            listener.joint_state(self.now_ns, position, velocity, effort)
        try:
            self.measured = self._filter.accept(self.now_ns, names, position)
        except SafetyError as error:
            self._warn(f"a joint state was not believed: {error}")
            return
        self._stamp_ns, self._effort_ma = self.now_ns, effort[:7]

    def _look(self) -> None:
        for camera in self._cameras.values():
            if self.now_ns % camera.period_ns:
                continue
            jpeg = camera.jpeg(self.world.qpos())
            self.pictures[camera.name] = self.now_ns, jpeg
            for listener in self.listeners:
                listener.picture(self.now_ns, camera.name, jpeg)

    def _seen(self) -> Seen:
        now_ns = self.now_ns
        silent_s = (now_ns - self._stamp_ns) * 1e-9
        return Seen(
            now_ns, now_ns * 1e-9, self._stamp_ns, silent_s, *self.measured, self._effort_ma
        )

    def _send(self, q_rad: np.ndarray, opening: float) -> None:
        """Send what `nodes.arm_stream.CommandStream` sends, in the precision of its messages."""
        driver = self.world.driver
        driver.command_group("arm", q_rad.astype(np.float32).tolist())
        self._sent += 1
        if opening != self._sent_opening or self._sent % _GRIPPER_REPEAT == 0:
            driver.command_single("gripper", float(np.float32(arm.horn_from_opening(opening))))
            self._sent_opening = opening


def _check(cameras: Sequence[SimCamera]) -> None:
    names = [camera.name for camera in cameras]
    if len(set(names)) < len(names):
        raise SceneError(f"cameras {', '.join(names)} must have different names")
    for camera in cameras:
        if camera.period_ns % PERIOD_NS:
            raise SceneError(
                f"camera {camera.name} gives a picture each {camera.period_ns / 1e6:g} ms, which "
                f"is no whole number of commands ({PERIOD_NS / 1e6:g} ms); take 5, 10 or 25 Hz"
            )
