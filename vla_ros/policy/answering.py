"""What a network is asked and what comes of it, wherever it computes."""

import time
from typing import NamedTuple, Protocol

from vla_ros.core.chunk_joints import Way
from vla_ros.core.limits import SafetyLimits
from vla_ros.core.observation import Chunk, Decided, Observation
from vla_ros.core.policy_motion import Question


class Acts(Protocol):
    """What a `PolicyRunner` and a `RemoteRunner` do."""

    def act(self, observation: Observation, decided: Decided | None = None) -> Chunk:
        """Return what to do from the moment of an observation on."""
        ...


class Answered(NamedTuple):
    """What came of a question.

    Attributes:
        chunk: what the policy said.
        way: the same in joint space; None: displacements.
        act_ms: how long the network and inverse kinematics took [ms].
    """

    chunk: Chunk
    way: Way | None
    act_ms: float


def answered(runner: Acts, question: Question, seen: Observation, limits: SafetyLimits) -> Answered:
    """Have a runner act, and return what it says as a way of the joints.

    Raises:
        VlaError: what `act` and `Question.way` raise.
    """
    start_s = time.perf_counter()
    decided = question.decided()
    # Only where the strategy is rtc is there something to go on from.
    chunk = runner.act(seen, *(() if decided is None else (decided,)))
    way = question.way(seen, chunk, limits)
    return Answered(chunk, way, 1e3 * (time.perf_counter() - start_s))
