"""The node that plays in the soak: `core`'s decisions and a mission, without ROS."""

from collections import Counter, deque
from collections.abc import Callable, Generator

import numpy as np

from bench._mischief import far_target
from vla_ros.core import arm, kinematics
from vla_ros.core.command_loop import CommandLoop
from vla_ros.core.errors import KinematicsError, SafetyError
from vla_ros.core.exploration import PlayMotion
from vla_ros.core.hardware import servo_fault
from vla_ros.core.joint_states import JointStateFilter
from vla_ros.core.limits import SafetyLimits
from vla_ros.core.monitor import SERVOS
from vla_ros.core.seen import Seen
from vla_ros.sim.injection import Injector, JointSample

PERIOD_S = 0.02
_SEGMENT_S = 60.0
# Node time begins here, so that a clock that jumps back is still after 1970.
_EPOCH_NS = 1_000_000_000 * 10**9
_CAMERA, _PICTURE_AGE_S = "front", 0.5
_GRIPPER_REPEAT = 25
# What the driver can say: 4096 counts a turn, currents in steps of 2.69 mA.
COUNT_RAD, _CURRENT_MA = 2.0 * np.pi / 4096.0, 2.69
# Joint states that wait for a process that is held up: the depth of `nodes.qos.JOINT_STATES`.
_QUEUE = 10
# How often a node looks whether somebody else commands the arm [s].
_LOOK_AROUND_S = 1.0


class Commander:
    """One life of the node, from its start to its end.

    Args:
        injector: the arm, and what lies between it and the node.
        motion: how it plays.
        limits: what the arm may do.
        send: called with each arm command (6,) [rad] as it is on the wire, and whether it arrives.
        between_segments: called when the arm rests after each segment.
        on_hold: called with the cause of each hold.
        random: draws illegal targets.

    Attributes:
        loop: the safety layer.
        is_active: whether commands are sent.
        mischief: names of `_mischief.NAMES` that are done to it now.
        segments, unreachable: how many were played, how many targets have no solution.
    """

    def __init__(
        self,
        injector: Injector,
        motion: PlayMotion,
        limits: SafetyLimits,
        send: Callable[[np.ndarray, bool], None],
        between_segments: Callable[[], None],
        on_hold: Callable[[str], None],
        random: np.random.Generator,
    ):
        self._injector, self._world = injector, injector.world
        self._motion = motion
        self._send, self._between_segments, self._on_hold = send, between_segments, on_hold
        self._random = random
        self.mischief: frozenset[str] = frozenset()
        self._look_s = self._world.time_ns * 1e-9
        self._filter = JointStateFilter(limits)
        self.loop = CommandLoop(limits, PERIOD_S, simulated=False)
        self._pose: tuple[np.ndarray, float] | None = None
        self._effort_ma = np.zeros(7)
        self._stamp_ns, self._arrival_s = 0, 0.0
        self._inbox: deque[JointSample] = deque(maxlen=_QUEUE)
        self.is_active = False
        self._sent, self._sent_opening = 0, -1.0
        self._mission = self._play()
        self.segments = self.unreachable = 0
        driver = self._world.driver
        driver.set_operating_modes("single", "gripper", *arm.GRIPPER_MODE)
        self.write_registers()

    def write_registers(self) -> None:
        """Give the servos their profile, at the start and after a reboot."""
        for cmd_type, name, register, value in arm.STREAM_REGISTERS:
            self._world.driver.set_register(cmd_type, name, register, value)

    @property
    def rejected(self) -> Counter[str]:
        """How many joint states were not believed, by reason."""
        return self._filter.rejected

    def hear(self) -> None:
        """Take what the driver publishes now; a process that is held up finds it later."""
        self._inbox.extend(self._injector.joint_states(_EPOCH_NS + self._world.time_ns))
        while self._inbox and "held_up" not in self.mischief:
            sample = self._inbox.popleft()
            try:
                position = sample.position.copy()
                position[:6] = np.round(position[:6] / COUNT_RAD) * COUNT_RAD
                self._pose = self._filter.accept(sample.stamp_ns, arm.JOINT_STATE_NAMES, position)
            except SafetyError:
                continue
            self._effort_ma = np.round(sample.effort[:7] / _CURRENT_MA) * _CURRENT_MA
            self._stamp_ns, self._arrival_s = sample.stamp_ns, self._world.time_ns * 1e-9

    def look(self) -> None:
        """Take the camera's picture of now."""
        if "held_up" in self.mischief:
            return
        picture = self._injector.picture()
        if picture is not None and self._pose is not None:
            stamp_ns = _EPOCH_NS + self._world.time_ns
            self.loop.cameras.saw(_CAMERA, stamp_ns, hash(picture.tobytes()), self._pose[0])

    def command(self) -> None:
        """One command period, as ArmClient has it."""
        if self._pose is None:
            return
        seen = self._seen()
        if not self.is_active:
            if self.loop.freshness(seen).level != "go":
                return
            self.loop.begin(*self._pose)
            # To begin is to need nothing, and to have seen nothing.
            self.loop.cameras.need(_CAMERA, _PICTURE_AGE_S)
            self.look()
            self.is_active = True
        before = self.loop.verdict
        verdict = self.loop.judge(seen)
        if verdict.cause in ("stale", "clock"):
            self._filter.reset()
        if verdict.level != "go" and before.level == "go":
            self._on_hold(verdict.cause)
        self._look_around()
        if self.loop.may_move:
            self._ask_mission()
        q, opening = self.loop.command()
        if not self.loop.is_silent:
            self._publish(q, opening)

    def _look_around(self) -> None:
        if self._world.time_ns * 1e-9 - self._look_s >= _LOOK_AROUND_S:
            self._look_s = self._world.time_ns * 1e-9
            if "second_commander" in self.mischief and not self.loop.end_reason:
                self.loop.end_reason = "somebody else commands the arm"

    def _ask_mission(self) -> None:
        if "silent_mission" not in self.mischief:
            next(self._mission)
        if "nan_target" in self.mischief:
            self.loop.set_target(np.full(6, np.nan), 1.0)
        elif "far_target" in self.mischief:
            target = far_target(self._random, self.loop.commanded[0])
            self.loop.set_target(target, float(self._random.uniform(-1.0, 2.0)))

    def _seen(self) -> Seen:
        now_s = self._world.time_ns * 1e-9
        now_ns, silent_s = _EPOCH_NS + self._world.time_ns, now_s - self._arrival_s
        return Seen(now_ns, now_s, self._stamp_ns, silent_s, *self._pose, self._effort_ma)

    def _publish(self, q: np.ndarray, opening: float) -> None:
        """Send what CommandStream sends, as far as the wire takes it."""
        self._sent += 1
        arrives = self._injector.takes_command()
        self._send(q.astype(np.float32).astype(np.float64), arrives)
        if opening != self._sent_opening or self._sent % _GRIPPER_REPEAT == 0:
            self._sent_opening = opening
            if self._injector.takes_command():
                horn_rad = float(np.float32(arm.horn_from_opening(opening)))
                self._world.driver.command_single("gripper", horn_rad)

    # --- the mission, as the explorer has it ---

    def _play(self) -> Generator:
        while True:
            yield from self._go_to_ready()
            q, opening = self.loop.commanded
            self._motion.start(kinematics.forward(q), opening)
            yield from self._segment(q)
            self.loop.hold()
            while not self.loop.at_rest:
                yield
            self.segments += 1
            self._check_servos()
            self._between_segments()
            yield

    def _go_to_ready(self) -> Generator:
        self.loop.set_target(arm.READY_RAD, 1.0)
        yield
        while not (self.loop.arrived and np.allclose(self.loop.commanded[0], arm.READY_RAD)):
            if self.loop.blocked_reason:
                self.loop.set_target(arm.READY_RAD, 1.0)
            yield

    def _segment(self, solution: np.ndarray) -> Generator:
        end_s = self._world.time_ns * 1e-9 + _SEGMENT_S
        while self._world.time_ns * 1e-9 < end_s and not self.loop.blocked_reason:
            try:
                T_base_tool, opening = self._motion.step(PERIOD_S, self._held_up_m())
                solution = kinematics.inverse(T_base_tool, solution)
                self.loop.set_target(solution, opening)
            except KinematicsError:
                self.unreachable += 1
            yield

    def _held_up_m(self) -> float:
        return kinematics.held_up_m(self._pose[0], self.loop.commanded[0])

    def _check_servos(self) -> None:
        statuses = self._world.driver.get_register("group", "all", "Hardware_Error_Status")
        sentence = servo_fault(SERVOS, statuses)
        if sentence:
            self.loop.stop(sentence)
