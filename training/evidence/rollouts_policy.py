"""A policy that moves the simulated arm without a graph: what policy_node does, in simulated time.

Observations, motion, and when the policy is asked are core's, as in the node. What differs is time:
the network computes while the world stands, and its answer counts a stated latency after its
observation. Pictures have no way to go, so they are as old as their stamp says.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from training.evidence.arm_loop import PERIOD_S, ArmLoop
from training.evidence.sim_camera import SimCamera
from vla_ros.core.ask_time import AskTime
from vla_ros.core.chunk_joints import Way
from vla_ros.core.errors import KinematicsError, SafetyError, StaleDataError, VlaError
from vla_ros.core.limits import SafetyLimits
from vla_ros.core.observation import Chunk, ObservationStreams
from vla_ros.core.picture_wait import PictureWait
from vla_ros.core.policy_motion import PolicyMotion, Question
from vla_ros.core.transforms import Transform
from vla_ros.policy.runner import PolicyRunner
from vla_ros.sim.looks import STANDARD, Look
from vla_ros.sim.mount import mount

# From an observation to its answer [s], by method: in a graph on one core the small networks were
# measured at 31 and 607 ms (p99, bench.policy), median 21 and 404; a picture's way is in it.
LATENCY_S = {"tap": 0.1, "apt": 0.5}
# Older ones the network is not shown [s]: the node's image_max_age_s and monitor.stale_s.
_PICTURE_AGE_S, _STATE_AGE_S = 0.5, 0.1
_BASE_FRAME = "base_link"


@dataclass
class Counts:
    """What a roll-out was like.

    Attributes:
        steps: answers that were followed.
        unused: answers that were late or out of reach.
        held: how often what was answered, or seen, was no legal action.
        problem: what was wrong last, in one sentence.
        act_ms: how long each inference took [ms].
    """

    steps: int = 0
    unused: int = 0
    held: int = 0
    problem: str = ""
    act_ms: list[float] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class _Pending:
    """A question whose answer is known and does not count yet; `found` raises what went wrong."""

    question: Question
    found: Callable[[], tuple[Chunk, Way | None]]
    ready_ns: int


class SimulatedPolicy:
    """One policy on one arm, from the moment it is made.

    Args:
        loop: the arm; this listens to its pictures from now on.
        runner: who answers.
        cameras: those of the loop.
        limits: what the arm may do, for the ways that come out.
        look: where the front camera stands, which a policy is told truly, as after a calibration.
        latency_s: from observation to answer [s of the world]; "measured": what inference takes.

    Attributes:
        task: the instruction; `tell` changes it.
        counts: what it was like so far.
        is_held: whether the arm is held for an answer or a picture that cannot be used.
    """

    def __init__(
        self,
        loop: ArmLoop,
        runner: PolicyRunner,
        cameras: list[SimCamera],
        limits: SafetyLimits,
        look: Look = STANDARD,
        latency_s: float | Literal["measured"] = 0.1,
    ):
        contract = runner.contract
        self._loop, self._runner, self._limits, self._latency_s = loop, runner, limits, latency_s
        self._period_s, self._horizon = 1.0 / contract.rate_hz, contract.action.shape[0]
        self._streams = ObservationStreams(
            runner.cameras,
            _PICTURE_AGE_S,
            _STATE_AGE_S,
            _BASE_FRAME,
            self._period_s,
            runner.num_past,
            contract.needs_extrinsics,
        )
        for camera in cameras:
            if camera.name in runner.cameras:
                self._place(camera, look)
        self._wait = PictureWait(runner.cameras, self._period_s, PERIOD_S)
        strategy = "rtc" if runner.goes_on else "blend"
        self._motion = PolicyMotion(limits, PERIOD_S, strategy)
        self._when = AskTime(self._motion, self._wait, PERIOD_S)
        self._pending: _Pending | None = None
        self.task, self.counts, self.is_held = "", Counts(), False
        loop.listeners.append(self)

    def _place(self, camera: SimCamera, look: Look) -> None:
        """Say where a camera is and what its lens is, as its node does; one on the arm moves."""
        parent, T_parent_camera = mount(camera.name, look)
        self._streams.take_transform(Transform(0, parent, camera.name, T_parent_camera))
        size = camera.width, camera.height
        self._streams.take_calibration(camera.name, size, "plumb_bob", camera.K.ravel().tolist())

    def tell(self, task: str) -> None:
        """Give an instruction; of the one before, nothing is left."""
        if task != self.task:
            self.task = task
            self._motion.begin_anew()
            self._loop.loop.hold()

    # --- what is heard of the arm: a `Listener` ---

    def joint_state(
        self, stamp_ns: int, position: np.ndarray, velocity: np.ndarray, effort: np.ndarray
    ) -> None:
        """Wait: it counts once it is believed."""

    def commanded(self, stamp_ns: int, q_rad: np.ndarray, opening: float) -> None:
        """Nothing follows from it."""

    def picture(self, stamp_ns: int, camera: str, jpeg: bytes) -> None:
        """Take a picture, and ask if it is about time."""
        if camera not in self._runner.cameras:
            return
        now_ns = self._loop.now_ns
        self._streams.take_state(now_ns, *self._loop.measured)
        self._streams.take_picture(camera, stamp_ns, jpeg, camera)
        self._wait.came(camera, stamp_ns, now_ns)
        if self.task and not self._loop.loop.blocked_reason:
            self._take_answer(now_ns)
            if self._when.at_picture(now_ns, self._pending is not None):
                self._ask(now_ns)

    # --- a command period ---

    def tick(self) -> None:
        """Go one period further; for `ArmLoop.step`."""
        loop, now_ns = self._loop.loop, self._loop.now_ns
        self._streams.take_state(now_ns, *self._loop.measured)
        if loop.blocked_reason:
            self._when.rest()
            self._motion.begin_anew()
            loop.hold()
            return
        self._take_answer(now_ns)
        target = self._motion.tick(now_ns, *loop.commanded, loop.at_rest)
        if target is None:
            loop.hold()
        else:
            loop.follow(*target)
        if self._when.at_command(now_ns, self._pending is not None):
            self._ask(now_ns)

    def _ask(self, now_ns: int) -> None:
        self._when.asked()
        question = self._motion.ask(now_ns, self._period_s, self._horizon)
        try:
            seen = self._streams.at(now_ns, self.task)
        except VlaError as error:
            self._hold(error, now_ns)
            return
        start_s = time.perf_counter()
        decided = question.decided()
        try:
            chunk = self._runner.act(seen, decided)
            answer = chunk, question.way(seen, chunk, self._limits)
        except VlaError as error:
            found = _raising(error)
        else:
            found = _giving(answer)
        took_s = time.perf_counter() - start_s
        self.counts.act_ms.append(1e3 * took_s)
        latency_s = took_s if isinstance(self._latency_s, str) else self._latency_s
        self._pending = _Pending(question, found, now_ns + round(1e9 * latency_s))

    def _take_answer(self, now_ns: int) -> None:
        pending = self._pending
        if pending is None or now_ns < pending.ready_ns:
            return
        self._pending = None
        if pending.question.life != self._motion.life:
            return
        try:
            self._motion.take(pending.question, *pending.found(), now_ns)
        except (StaleDataError, KinematicsError, SafetyError) as error:
            self.is_held = False
            self.counts.unused += 1
            self.counts.problem = f"a chunk is not used: {error}"
        except VlaError as error:
            self._hold(error, now_ns)
        else:
            self.is_held = False
            self.counts.steps += 1

    def _hold(self, error: VlaError, now_ns: int) -> None:
        self.counts.held += not self.is_held
        self.is_held, self.counts.problem = True, f"holding: {error}"
        self._motion.fail(now_ns, self._period_s)
        self._loop.loop.hold()


def _giving(answer: tuple[Chunk, Way | None]) -> Callable[[], tuple[Chunk, Way | None]]:
    return lambda: answer


def _raising(error: VlaError) -> Callable[[], tuple[Chunk, Way | None]]:
    def give() -> tuple[Chunk, Way | None]:
        raise error

    return give
