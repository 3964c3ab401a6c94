"""Hours of simulated play with every fault at random: does the arm ever break a limit?

python -m bench.soak [--hours 10] [--seed 20] [--quick]

ROS-free, one core: `core.exploration` plays through `core.command_loop` and `core.joint_states`,
the decisions of the graph's own node, against the model of xs_sdk and its servos. Faults of every
kind come at random: those of `sim.faults` 60 an hour, those of `_mischief` (targets that are none
or far, a silent mission, a process that is held up, a second commander) 30, and somebody presses
the emergency stop 6 times an hour. Where the arm waits for a person, one comes after a few seconds,
reboots servos in error, and lets it go on. `sim.judge` counts at the servos what breaks a limit; it
shares only limits and kinematics with the guard. The driver measures in encoder counts and steps of
current, as a real one. The numbers are those of one seed and repeat. Each violation, and each hold
that no fault explains, is told on stderr as it is found, with the second before it.

What needs processes, a disk or a network cannot happen here, and is in test/launch/test_faults.py
and test/nodes: explorer, recorder or driver killed, disk full, and a jump of the node's own clock
(here only the driver's stamps jump).
"""

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Generator

import numpy as np
from tqdm import tqdm

from bench._commander import COUNT_RAD, PERIOD_S, Commander
from bench._holds import HoldBook
from bench._mischief import mischief
from bench._process import memory_mb as memory_of
from bench._report import publish, show
from bench._soak_rows import rows_of
from bench._soak_trace import State, Trace
from bench.play import Contacts
from vla_ros.core.command_loop import CommandLoop
from vla_ros.core.exploration import ExplorationParameters, PlayMotion
from vla_ros.core.limits import wx250s_limits
from vla_ros.core.monitor import SERVOS
from vla_ros.sim.faults import Fault, FaultSchedule, parse_faults
from vla_ros.sim.gl import mujoco
from vla_ros.sim.injection import Injector
from vla_ros.sim.judge import ServoJudge
from vla_ros.sim.world import CONTROL_PERIOD_NS, SimWorld

_TICKS_PER_COMMAND = round(PERIOD_S * 1e9) // CONTROL_PERIOD_NS
_TICKS_PER_PICTURE, _TICKS_PER_CONTACT = 10, 5
_SEED, _HOURS = 20, 10.0
_FAULTS_PER_HOUR, _MISCHIEF_PER_HOUR, _STOPS_PER_HOUR = 60.0, 30.0, 6.0
_LAYOUT_S = 600.0
_TOLD_APART_S = 1.0
# Once a fault is over, how soon a person is there [s], how long servos take to reboot, and how long
# a joint that got its torque back is given to settle: a node prepares the driver for longer.
_PERSON_S, _REBOOT_S, _SETTLE_S = 3.0, 0.5, 0.5
# A person waits until the body of the arm is well, and nobody else commands it.
_WAITED_FOR = ("stall", "servo_error", "torque_lost", "second_commander")


class Soak:
    """One arm, one commander, one person who looks after both.

    Args:
        simulated_s: how long it will last [s].
        seed: of all that is drawn.
    """

    def __init__(self, simulated_s: float, seed: int = _SEED):
        self._seed = seed
        self.world = SimWorld(seed, log=lambda _: None)
        text = f"random@30:{simulated_s}:{_FAULTS_PER_HOUR},{seed}"
        self.injector = Injector(self.world, FaultSchedule(parse_faults(text)), seed)
        self.limits = wx250s_limits()
        self.judge = ServoJudge(self.limits, PERIOD_S, COUNT_RAD)
        self.contacts = Contacts(self.world)
        self._mischief = FaultSchedule(mischief(simulated_s, _MISCHIEF_PER_HOUR, seed))
        self._rival_rad: np.ndarray | None = None
        self._random = np.random.default_rng(seed)
        self._motion = PlayMotion(ExplorationParameters(), np.random.default_rng(seed))
        self._next_stop_s = self._draw_stop(0.0)
        self._layout_s, self._layouts = _LAYOUT_S, 0
        self.book = HoldBook()
        self.rejected: Counter[str] = Counter()
        self.ends: Counter[str] = Counter()
        self.trace = Trace()
        self._told_s: dict[str, float] = {}
        self.stops = self.presses = self.segments = self.refusals = self.unreachable = 0
        self._person: Generator | None = None
        self._start_node()

    def _start_node(self) -> None:
        self._node = Commander(
            self.injector,
            self._motion,
            self.limits,
            self._send,
            self._between_segments,
            self._on_hold,
            self._random,
        )

    @property
    def _loop(self) -> CommandLoop:
        return self._node.loop

    @property
    def now_s(self) -> float:
        """Simulated time [s]."""
        return self.world.time_ns * 1e-9

    def _send(self, goal: np.ndarray, arrives: bool) -> None:
        if not arrives:
            self.judge.lost()
            return
        self.world.driver.command_group("arm", goal)
        torque = self.world.reference.torque[:6]
        self.judge.goal(self.now_s, goal, self.world.data.qvel[:6], torque)

    def _on_hold(self, cause: str) -> None:
        limp = [
            n for n, powered in zip(SERVOS, self.world.reference.torque, strict=True) if not powered
        ]
        if not self.book.hold(self.now_s, cause, limp, self.contacts.touches()):
            sentence = self._loop.verdict.sentence
            self._tell(self.now_s, f"hold that no fault explains, {cause}", sentence)

    def _tell(self, at_s: float, kind: str, detail: str) -> None:
        tqdm.write(self.trace.tell(at_s, kind, detail), file=sys.stderr)

    def _note(self) -> None:
        """Remember what the node does, and tell what has been found since."""
        node, loop = self._node, self._loop
        if not node.is_active:
            does = "starts"
        elif loop.end_reason or loop.stop_reason:
            does = "ended" if loop.end_reason else "stopped"
        else:
            does = "silent" if loop.is_silent else "rests" if loop.at_rest else "moves"
        torque = "".join("01"[powered] for powered in self.world.reference.torque)
        faults = tuple(f"{fault.name} {fault.joint}".strip() for fault in self._faults())
        self.trace.note(self.now_s, State(loop.verdict.cause or "go", does, torque, faults))
        events = self.judge.tally.events
        for event in events:
            # One line for those that go on.
            if event.at_s - self._told_s.get(event.kind, -np.inf) > _TOLD_APART_S:
                self._tell(*event)
            self._told_s[event.kind] = event.at_s
        events.clear()

    def _between_segments(self) -> None:
        """Lay the objects out anew now and then, so that there is always something to touch."""
        if self.now_s > self._layout_s:
            self._layout_s += _LAYOUT_S
            self._layouts += 1
            self.world.reset(1000 * (self._seed + 1) + self._layouts, keep_arm=True)
            self.contacts.reset()

    # --- the person ---

    def _draw_stop(self, now_s: float) -> float:
        return now_s + float(self._random.exponential(3600.0 / _STOPS_PER_HOUR))

    def _attend(self) -> None:
        """Press the stop at random; go to the arm where it waits for somebody."""
        if self.now_s >= self._next_stop_s:
            self._next_stop_s = self._draw_stop(self.now_s)
            self.presses += 1
            self._loop.stop("a person pressed the stop")
        if self._person is None and (self._loop.stop_reason or self._loop.end_reason):
            self._person = self._help()
        if self._person is not None and next(self._person, "gone") == "gone":
            self._person = None

    def _help(self) -> Generator:
        """Wait for the fault to be over, put the servos right, and let the arm go on."""
        end_s = self.now_s + _PERSON_S
        while self.now_s < end_s or any(fault.name in _WAITED_FOR for fault in self._faults()):
            yield
        driver = self.world.driver
        driver.reboot("group", "all", True, True)
        end_s = self.now_s + _REBOOT_S
        while self.now_s < end_s:
            yield
        for index, name in enumerate(SERVOS):
            if not driver.get_register("group", "all", "Torque_Enable")[index]:
                driver.torque_enable("single", name, True)
        end_s = self.now_s + _SETTLE_S
        while self.now_s < end_s:
            yield
        if self._loop.end_reason:
            self.ends[self._loop.verdict.cause or self._loop.end_reason] += 1
            self._end_node()
            self._start_node()
        else:
            self.stops += 1
            self._node.write_registers()
            self._loop.reset_stop()

    def _end_node(self) -> None:
        self.rejected.update(self._node.rejected)
        self.refusals += self._loop.refusals
        self.segments += self._node.segments
        self.unreachable += self._node.unreachable

    # --- time ---

    def run(self, simulated_s: float) -> None:
        """Let so much simulated time pass [s]."""
        world, judge = self.world, self.judge
        for tick in range(round(simulated_s * 1e9) // CONTROL_PERIOD_NS):
            changed = self.injector.step()
            if self._change_mischief() or changed:
                moves = self._loop.may_move and not self._loop.at_rest
                self.book.change(self.now_s, self._faults(), moves)
            self._node.hear()
            reference, q_rad = world.reference, world.data.qpos[:6]
            judge.measured(self.now_s, q_rad)
            judge.tick(self.now_s, reference.arm_rad, q_rad, self._is_powered(reference.torque))
            if tick % _TICKS_PER_PICTURE == 0:
                self._node.look()
            if tick % _TICKS_PER_COMMAND == 0:
                self._command()
            if tick % _TICKS_PER_CONTACT == 0:
                self.contacts.update(self.now_s)

    def _command(self) -> None:
        if "held_up" not in self._node.mischief:
            self._node.command()
        if "held_up" in self._node.mischief or (self._node.is_active and self._loop.at_rest):
            self.book.rest()
        if self._rival_rad is not None:
            self.judge.rival(self.now_s)
            self.world.driver.command_group("arm", self._rival_rad)
        self._note()
        self._attend()

    def _is_powered(self, torque: tuple[bool, ...]) -> bool:
        return all(torque[:6]) and all(fault.name != "stall" for fault in self.injector.active)

    def _faults(self) -> tuple[Fault, ...]:
        return (*self.injector.active, *self._mischief.active(self.now_s))

    def _change_mischief(self) -> bool:
        """Do to the node what goes wrong now; return whether that is something else than before."""
        names = frozenset(fault.name for fault in self._mischief.active(self.now_s))
        changed = names != self._node.mischief
        self._node.mischief = names
        if "second_commander" not in names:
            self._rival_rad = None
        elif self._rival_rad is None:
            self._rival_rad = self.world.data.qpos[:6].astype(np.float32).astype(np.float64)
        return changed

    def finish(self) -> None:
        """Count what is still open."""
        self.judge.finish()
        self._note()
        self._end_node()


def main() -> None:
    """Measure and print; write bench/results/soak.json where it is the whole of the usual run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hours", type=float, default=_HOURS, help="simulated hours (10)")
    parser.add_argument("--seed", type=int, default=_SEED, help="of all that is drawn (20)")
    parser.add_argument("--quick", action="store_true", help="3 simulated minutes; says little")
    arguments = parser.parse_args()
    simulated_s = 180.0 if arguments.quick else arguments.hours * 3600.0
    soak = Soak(simulated_s, arguments.seed)
    cpu_s, memory_mb = time.process_time(), []
    minutes = max(1, round(simulated_s / 60.0))
    for _ in tqdm(range(minutes), desc="soak", unit="simulated min"):
        soak.run(simulated_s / minutes)
        memory_mb.append(memory_of(os.getpid())["rss"])
    soak.finish()
    pace = simulated_s / (time.process_time() - cpu_s)
    rows = rows_of(soak, simulated_s, pace, memory_mb)
    if simulated_s < _HOURS * 3600.0 or arguments.seed != _SEED:
        show(rows)
        return
    written = publish("soak", rows, {"mujoco": mujoco.__version__, "numpy": np.__version__})
    print(f"\nwritten: {written.name}")


if __name__ == "__main__":
    main()
