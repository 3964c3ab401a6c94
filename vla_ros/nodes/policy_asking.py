"""Asks a policy: what is seen now goes to the network's thread, and its answer comes back."""

import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING

from vla_ros.core.errors import RunnerError, VlaError
from vla_ros.core.limits import SafetyLimits
from vla_ros.core.observation import Chunk, Observation
from vla_ros.core.policy_motion import Question
from vla_ros.nodes.inference import Inference
from vla_ros.nodes.lifetime import ShellNode
from vla_ros.nodes.policy_inputs import PolicyInputs
from vla_ros.policy.answering import Answered, answered
from vla_ros.policy.network_process import NetworkProcess

if TYPE_CHECKING:
    from vla_ros.policy.remote import RemoteRunner
    from vla_ros.policy.runner import PolicyRunner


class Asker:
    """Asks one question at a time.

    Args:
        node: whose clock pictures are stamped by.
        runner: who answers.
        inputs: what is seen.
        limits: of the ways that come out.
        inference: the thread that waits for the runner, or that it lives in.
        answered: told of each answer, in that thread; None: nobody.

    Attributes:
        picture_age_ms: how old the oldest picture of the last question was then [ms].
    """

    def __init__(
        self,
        node: ShellNode,
        runner: "PolicyRunner | RemoteRunner | NetworkProcess",
        inputs: PolicyInputs,
        limits: SafetyLimits,
        inference: Inference,
        answered: Callable[[Observation, Chunk], None] | None = None,
    ):
        self._clock, self._runner, self._inputs = node.get_clock(), runner, inputs
        self._logger = node.get_logger()
        self._limits, self._inference, self._answered = limits, inference, answered
        self._pictured_ns, self.picture_age_ms = 0, 0.0

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
        self._question, self._pictured_ns = question, seen.pictured_ns
        self.picture_age_ms = self.age_ms
        self._inference.submit(lambda: self._answer_or_say_why(question, seen))

    def take(self) -> tuple[Question, Callable[[], Answered]] | None:
        """Return the question and what gives its answer, or raises; None while there is none."""
        give = self._inference.take()
        return None if give is None else (self._question, give)

    @property
    def age_ms(self) -> float:
        """How old the oldest picture of the last question is by now [ms]."""
        return (self._clock.now().nanoseconds - self._pictured_ns) / 1e6

    def _answer_or_say_why(self, question: Question, seen: Observation) -> Answered:
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

    def _answer(self, question: Question, seen: Observation) -> Answered:
        if isinstance(self._runner, NetworkProcess):
            answer = self._runner.answer(question, seen, self._limits)
        else:
            answer = answered(self._runner, question, seen, self._limits)
        if self._answered is not None:
            self._answered(seen, answer.chunk)
        return answer
