"""What a policy does with the arm, one command period at a time; no ROS, no network, no clock.

`HandOver` makes one motion of its chunks. Here is what surrounds that on an arm which other things
speak to as well. Where the command guard braked, or a command came late, the motion goes on from
rest along what was planned. Where the arm was held for longer, blocked, or moved by hand, it begins
anew, and no answer outlives the life of the motion that it was asked in.

All of it belongs to the thread of the commands. What a worker gets is a `Question`: plain values
of one moment.
"""

from dataclasses import dataclass

import numpy as np

from vla_ros.core import kinematics
from vla_ros.core.chunk_joints import Way, joint_way
from vla_ros.core.handover import HandOver, Strategy
from vla_ros.core.handover_parameters import HandOverParameters
from vla_ros.core.joint_plan import Committed
from vla_ros.core.limits import SafetyLimits
from vla_ros.core.observation import Chunk, Decided, Observation
from vla_ros.core.resample import NS_PER_S

# Without a command for so long the arm was held, and what was seen before is over.
_GAP_NS = 300_000_000
# Braking from full speed takes 0.28 rad; an arm that is further from its plan was moved.
_ASIDE_RAD = 0.3


@dataclass(frozen=True, eq=False)
class Question:
    """What is asked of the policy at one moment.

    Attributes:
        life: of the motion; see `PolicyMotion.life`.
        stamp_ns: time of the observation [ns].
        q_commanded: joints (6,) [rad] that were commanded then.
        committed: what the chunk shall go on from; None: nothing.
    """

    life: int
    stamp_ns: int
    q_commanded: np.ndarray
    committed: Committed | None

    def decided(self) -> Decided | None:
        """Return what is committed as tool poses; some milliseconds of forward kinematics."""
        if self.committed is None:
            return None
        poses = [kinematics.forward(q) for q in self.committed.q_rad]
        return Decided(
            kinematics.forward(self.q_commanded),
            np.reshape(poses, (-1, 4, 4)),
            self.committed.opening,
            self.committed.fixed,
        )

    def way(self, seen: Observation, chunk: Chunk, limits: SafetyLimits) -> Way | None:
        """Return the way of a chunk of poses; None for displacements, which wait for the arrival.

        Some milliseconds of inverse kinematics, for the worker.

        Raises:
            KinematicsError: its first way-point is out of reach.
        """
        if chunk.T_base_tool is None:
            return None
        if seen.state is not None:
            T_commanded = kinematics.forward(self.q_commanded)
            chunk = chunk.as_commands(kinematics.forward(seen.state[:6]), T_commanded)
        return joint_way(chunk, self.stamp_ns, self.q_commanded, limits)


class PolicyMotion:
    """The motion of an arm that a policy moves.

    Args:
        limits: what the arm may do.
        period_s: time between two commands [s].
        strategy, parameters: of the hand-over.

    Attributes:
        queue: the hand-over.
        life: rises wherever the motion begins anew; a question's answer counts in its own only.
        ticks, starved: commands given, and those of them that stood because no chunk had come.
        done_s: how much of the chunks was done [s].
    """

    def __init__(
        self,
        limits: SafetyLimits,
        period_s: float,
        strategy: Strategy,
        parameters: HandOverParameters | None = None,
    ):
        self.queue = HandOver(limits, period_s, strategy, parameters)
        self._limits, self._period_s = limits, period_s
        self._target: np.ndarray | None = None
        self._is_braked = False
        self._ticked_ns, self._not_before_ns = 0, -(2**63)
        self.life = 0
        self.restart_counts()

    def restart_counts(self) -> None:
        """Count anew, as for an episode."""
        self.ticks = self.starved = 0
        self.done_s = 0.0

    def begin_anew(self) -> None:
        """Leave nothing of before; the motion goes on from where the arm comes to rest."""
        self.life += 1
        self._target, self._is_braked = None, False

    def fail(self, now_ns: int, wait_s: float) -> None:
        """Begin anew after a question that failed, and ask nothing for `wait_s`.

        What failed at once would be asked again in every period, with all its pictures.
        """
        self.begin_anew()
        self._not_before_ns = now_ns + round(wait_s * NS_PER_S)

    def tick(
        self, now_ns: int, q_commanded: np.ndarray, opening: float, at_rest: bool
    ) -> tuple[np.ndarray, float] | None:
        """Return joints (6,) [rad] and opening to command in this period; None: brake to rest.

        Args:
            now_ns: time [ns], of the same clock as observations' stamps.
            q_commanded, opening: the last command.
            at_rest: whether it moved no joint.
        """
        since_ns, self._ticked_ns = now_ns - self._ticked_ns, now_ns
        if since_ns < 0:  # a simulated clock was set back: there is no time to wait for
            self._not_before_ns = now_ns
        if not 0 <= since_ns <= _GAP_NS or self._is_elsewhere(q_commanded):
            self.begin_anew()
        self._is_braked |= not (self._target is None or np.array_equal(q_commanded, self._target))
        if self._target is None or self._is_braked:
            if not at_rest:
                return None
            if self._target is None:
                self.queue.restart(q_commanded, opening, now_ns)
            else:
                self.queue.resume(q_commanded)
            self._is_braked = False
        self._target, opening = self.queue.target(now_ns)
        self.ticks += 1
        self.starved += self.queue.starved
        self.done_s += self.queue.rate * self._period_s
        return self._target, opening

    def wants_chunk(self, now_ns: int, ahead_s: float = 0.0) -> bool:
        """Return whether it is time for an observation, if none is being worked on.

        Args:
            now_ns: time [ns].
            ahead_s: when the next good moment for one comes [s]; see `HandOver.wants_chunk`.
        """
        is_underway = self._target is not None and not self._is_braked
        may_ask = is_underway and now_ns >= self._not_before_ns
        return may_ask and self.queue.wants_chunk(now_ns, ahead_s)

    @property
    def is_running_out(self) -> bool:
        """Whether the arm would brake for want of a chunk, were it asked for any later."""
        return self.queue.ends_within(0.0)

    def ask(self, now_ns: int, step_s: float, horizon: int) -> Question:
        """Return the question that goes with an observation of now.

        Args:
            now_ns: as of `tick`, whose target was taken, or up to a period later.
            step_s, horizon: of the policy's chunks.
        """
        assert self._target is not None
        self.queue.note_asked(now_ns)
        committed = None
        if self.queue.strategy == "rtc":
            committed = self.queue.committed(now_ns, step_s, horizon)
        return Question(self.life, now_ns, self._target.copy(), committed)

    def ask_from(self, q_rad: np.ndarray, now_ns: int) -> Question:
        """Return a question for an arm that rests at joints (6,) [rad] and is not to move."""
        self.queue.restart(q_rad, 1.0, now_ns)
        return Question(self.life, now_ns, q_rad, None)

    def take(self, question: Question, chunk: Chunk, way: Way | None, now_ns: int) -> Way:
        """Take over what was answered, in the same life, and return its way.

        Raises:
            StaleDataError, KinematicsError, SafetyError: it is not used, and what is followed
                stays: it is late, or out of reach.
        """
        # Where it is of no use the next one need not come at once: it may be no better.
        self._not_before_ns = now_ns + round(chunk.period_s * NS_PER_S)
        if way is None:
            way = joint_way(chunk, question.stamp_ns, self.queue.goal, self._limits)
        self.queue.offer(way.plan, now_ns)
        self._not_before_ns = now_ns
        return way

    def _is_elsewhere(self, q_commanded: np.ndarray) -> bool:
        target = self._target
        return target is not None and bool(np.abs(q_commanded - target).max() > _ASIDE_RAD)
