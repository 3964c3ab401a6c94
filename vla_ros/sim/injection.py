"""Does faults to a simulated arm: to its joints, to what its driver reads and to what it is told.

`sim_node` and the soak of `bench/` both go through here, so that a fault is the same in both.
"""

from collections import deque
from typing import NamedTuple

import numpy as np

from vla_ros.core import arm
from vla_ros.sim.faults import Fault, FaultSchedule
from vla_ros.sim.robot_info import JOINTS
from vla_ros.sim.servo import Servo
from vla_ros.sim.world import SimWorld

# A failed read leaves the driver's registers at 0, which it takes for -pi.
_FAILED_READ_RAD = -np.pi


class JointSample(NamedTuple):
    """One joint state as the driver publishes it: a stamp [ns] and three times (9,) numbers."""

    stamp_ns: int
    position: np.ndarray
    velocity: np.ndarray
    effort: np.ndarray


class Injector:
    """Steps a world and stands between it and whoever measures or commands it.

    Args:
        world: the arm and its table.
        schedule: what goes wrong when, in the world's time.
        seed: of the commands that are dropped.
    """

    def __init__(self, world: SimWorld, schedule: FaultSchedule, seed: int = 0):
        self.world = world
        self.schedule = schedule
        self.active: tuple[Fault, ...] = ()
        self._random = np.random.default_rng(seed)
        self._late: deque[tuple[int, JointSample]] = deque()
        self._last_read = self._read()
        self._last_picture: np.ndarray | None = None

    def step(self) -> bool:
        """Advance one control tick; return whether a fault has begun or ended."""
        active = self.schedule.active(self.world.time_ns * 1e-9)
        changed = active is not self.active
        if changed:
            self._change(active)
        for fault in active:
            # At each tick: a reboot does not help for as long as the cause is there.
            if fault.name == "servo_error":
                self.world.driver.raise_error(fault.joint, fault.word)
            elif fault.name == "torque_lost":
                self.world.driver.lose_torque(fault.joint)
        self.world.step()
        return changed

    def _change(self, active: tuple[Fault, ...]) -> None:
        """End what is over, and begin what lasts by itself."""
        stalled = {fault.joint for fault in active if fault.name == "stall"}
        for fault in self.active:
            if fault.name == "stall" and fault.joint not in stalled:
                self.world.block(fault.joint, False)
            elif fault.name == "warm":
                self._servo(fault.joint).warm("")
        for joint in stalled:
            self.world.block(joint, True)
        for fault in active:
            if fault.name == "warm":
                self._servo(fault.joint).warm(fault.word)
        self.active = active

    def _servo(self, joint: str) -> Servo:
        return self.world.driver.servos[JOINTS.index(joint)]

    def takes_command(self) -> bool:
        """Return whether the command that comes now reaches the driver."""
        return all(
            self._random.random() >= fault.number
            for fault in self.active
            if fault.name == "drop_commands"
        )

    def joint_states(self, stamp_ns: int) -> list[JointSample]:
        """Return what the driver publishes now, oldest first: mostly one sample, stamped so."""
        words = {fault.name: fault.word for fault in self.active}
        numbers = {fault.name: fault.number for fault in self.active}
        silent = words.get("frozen_joints") == "silent"
        if "frozen_joints" not in words:
            self._last_read = self._read()
        read = self._last_read
        if "read_nan" in words:
            read = tuple(np.full(9, np.nan) for _ in range(3))
        elif "read_minus_pi" in words:
            read = _failed_read()
        stamp_ns += round(numbers.get("clock_jump", 0.0) * 1e9)
        now_ns = self.world.time_ns
        if not silent:
            due_ns = now_ns + round(numbers.get("delay", 0.0) * 1e9)
            self._late.append((due_ns, JointSample(stamp_ns, *read)))
        released = []
        while self._late and ("delay" not in numbers or self._late[0][0] <= now_ns):
            released.append(self._late.popleft()[1])
        return released

    @property
    def gives_pictures(self) -> bool:
        """Whether the cameras are plugged in."""
        return all(fault.name != "no_camera" for fault in self.active)

    def picture(self) -> np.ndarray | None:
        """Return the qpos that the cameras see, None while they are unplugged."""
        if not self.gives_pictures:
            return None
        frozen = any(fault.name == "frozen_camera" for fault in self.active)
        if not frozen or self._last_picture is None:
            self._last_picture = self.world.qpos()
        return self._last_picture

    def _read(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self.world.joint_state()[1:]


def _failed_read() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what xs_sdk publishes for a failed read: -pi, and the fingers that belong to it."""
    position = np.full(9, _FAILED_READ_RAD)
    finger_m = arm.finger_from_horn(_FAILED_READ_RAD)
    position[7:] = finger_m, -finger_m
    return position, np.zeros(9), np.zeros(9)
