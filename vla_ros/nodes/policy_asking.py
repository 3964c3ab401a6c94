"""Asks a policy: what is seen now goes to the network's thread, and its answer comes back."""

import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vla_ros.core.chunk_joints import Way
from vla_ros.core.errors import RunnerError, VlaError
from vla_ros.core.limits import SafetyLimits
from vla_ros.core.observation import Chunk, Observation
from vla_ros.core.policy_motion import Question
from vla_ros.nodes.inference import Inference
from vla_ros.nodes.lifetime import ShellNode
from vla_ros.nodes.policy_inputs import PolicyInputs

if TYPE_CHECKING:
    from vla_ros.policy.runner import PolicyRunner


@dataclass(frozen=True, eq=False)
class Answer:
    """What came of a question.

    Attributes:
        chunk: what the policy said.
        way: the same in joint space; None: displacements.
        pictured_ns: stamp of the oldest picture, of the node's clock [ns].
        act_ms: how long the network and inverse kinematics took [ms].
    """

    chunk: Chunk
    way: Way | None
    pictured_ns: int
    act_ms: float


class Asker:
    """Asks one question at a time.

    Args:
        node: whose clock pictures are stamped by.
        runner: who answers.
        inputs: what is seen.
        limits: of the ways that come out.
        inference: the thread that the runner lives in.
        answered: told of each answer, in that thread; None: nobody.
    """

    def __init__(
        self,
        node: ShellNode,
        runner: "PolicyRunner",
        inputs: PolicyInputs,
        limits: SafetyLimits,
        inference: Inference,
        answered: Callable[[Observation, Chunk], None] | None = None,
    ):
        self._clock, self._runner, self._inputs = node.get_clock(), runner, inputs
        self._logger = node.get_logger()
        self._limits, self._inference, self._answered = limits, inference, answered

    @property
    def is_busy(self) -> bool:
        """Whether a question is being answered."""
        return self._inference.is_busy

    def ask(self, question: Question, task: str) -> None:
        """Begin with what is seen now.

        Raises:
            StaleDataError, ContractError: something that the policy needs is not seen.
        """
        seen = self._inputs.streams.at(self._clock.now().nanoseconds, task)
        self._question = question
        self._inference.submit(lambda: self._answer_or_say_why(question, seen))

    def take(self) -> tuple[Question, Callable[[], Answer]] | None:
        """Return the question and what gives its answer, or raises; None while there is none."""
        give = self._inference.take()
        return None if give is None else (self._question, give)

    def age_ms(self, answer: Answer) -> float:
        """Return how old the oldest picture is by now [ms]."""
        return (self._clock.now().nanoseconds - answer.pictured_ns) / 1e6

    def _answer_or_say_why(self, question: Question, seen: Observation) -> Answer:
        """In the worker: no failure there may end a node whose arm is up."""
        try:
            return self._answer(question, seen)
        except VlaError:
            raise
        except Exception as error:
            self._logger.error(traceback.format_exc(), throttle_duration_sec=10.0)
            raise RunnerError(
                f"the policy failed with {type(error).__name__}; this node's log has where"
            ) from error

    def _answer(self, question: Question, seen: Observation) -> Answer:
        start_s = time.perf_counter()
        decided = question.decided()
        # Only where the strategy is rtc is there something to go on from.
        chunk = self._runner.act(seen, *(() if decided is None else (decided,)))
        way = question.way(seen, chunk, self._limits)
        act_ms = 1e3 * (time.perf_counter() - start_s)
        if self._answered is not None:
            self._answered(seen, chunk)
        return Answer(chunk, way, seen.pictured_ns, act_ms)
