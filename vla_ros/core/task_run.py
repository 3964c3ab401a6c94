"""When a roll-out of one instruction is over, and what came of it.

Pure: times and facts are handed in. Who acts is asked once a period what is known; `TaskRun.judge`
says whether that ends it.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from vla_ros.core.task_text import TaskError

# An arm that is kept from moving for longer than this [s] ends a goal: a hand that was in the
# picture, a bump and a late camera are over sooner.
HELD_LIMIT_S = 5.0
# A day [s]: a mistyped limit shall not have the arm move for years, since nobody who left cancels.
MAX_TIME_LIMIT_S = 86400.0
# What a person says of a task sooner after its begin [s] is of the one before.
_VERDICT_AFTER_S = 1.0


class Outcome(IntEnum):
    """What came of a roll-out; the numbers are those of DoTask.action."""

    SUCCEEDED = 1
    FAILED = 2
    TIME_LIMIT = 3
    CANCELLED = 4
    STOPPED = 5
    HELD = 6
    REFUSED = 7
    ERROR = 8


@dataclass(frozen=True)
class Ending:
    """Why a roll-out is over.

    Attributes:
        outcome: in one word.
        message: in one sentence.
    """

    outcome: Outcome
    message: str

    def success(self, judged: bool | None) -> bool | None:
        """Return whether the task was done, None where nobody can say so.

        Only a policy that had its time has failed: where a person, a stop, heat, an outage or
        another task ended a roll-out, nobody knows what would have come of it.

        Args:
            judged: what the simulator's judge says.
        """
        said = {Outcome.SUCCEEDED: True, Outcome.FAILED: False, Outcome.TIME_LIMIT: judged}
        return said.get(self.outcome)


@dataclass(frozen=True)
class Facts:
    """What is known in one period.

    Attributes:
        now_ns: time of the node [ns].
        verdict: what a judge says: True done, False not, None where nobody has judged.
        judge: what the sentence says of that judge.
        stopped: why the arm is stopped until a person's reset; empty while it is not.
        held: why it is kept from moving, for however short; empty while it is not.
        cancelled: why nobody wants it any more; empty where somebody does.
        is_outside: whether what holds it came of nothing that the policy did.
        pauses: whether it rests so that its servos can be asked: time that counts for nothing.
    """

    now_ns: int
    verdict: bool | None = None
    judge: str = ""
    stopped: str = ""
    held: str = ""
    cancelled: str = ""
    is_outside: bool = False
    pauses: bool = False


class TaskRun:
    """One roll-out, from when it was asked for to its end.

    Args:
        time_limit_s: how long it may take once it has begun [s], without pauses and the time in
            which something outside held the arm; that may be as long in all.
        held_limit_s: how long the arm may be kept from moving in a row [s]; inf: for ever.

    Attributes:
        has_begun: whether `begin` was called.
        ending: why it is over; None: it is not.

    Raises:
        TaskError: a limit is no number above 0, or the time limit is longer than a day.
    """

    def __init__(self, time_limit_s: float, held_limit_s: float = math.inf):
        if not 0.0 < time_limit_s <= MAX_TIME_LIMIT_S:
            raise TaskError(
                f"the time limit of a task must be above 0 s, up to {MAX_TIME_LIMIT_S:g} s, got "
                f"{time_limit_s:g}: give 0 for the node's own"
            )
        if not held_limit_s > 0.0:
            raise TaskError(f"held_limit_s must be above 0, got {held_limit_s:g}")
        self._limit_s, self._held_limit_s = time_limit_s, held_limit_s
        self._last_ns: int | None = None
        self._elapsed_ns = self._held_ns = self._own_ns = self._outside_ns = 0
        self.has_begun = False
        self.ending: Ending | None = None

    def begin(self) -> None:
        """Note that the arm is the policy's from here on; the time limit counts from here."""
        self.has_begun, self._last_ns = True, None
        self._elapsed_ns = self._held_ns = self._own_ns = self._outside_ns = 0

    def end(self, outcome: Outcome, message: str) -> None:
        """End it for a reason that is none of the facts, unless it is over."""
        self.ending = self.ending or Ending(outcome, message)

    @property
    def elapsed_s(self) -> float:
        """The time from `begin` to the end, or to the last look at it, whosever [s]."""
        return self._elapsed_ns / 1e9 if self.has_begun else 0.0

    def judge(self, facts: Facts) -> Ending | None:
        """Return why it is over, from now on the same; None: go on.

        A stop comes first, since nothing moves after it; then what a judge says, so that a task
        that is done in the moment of its cancelling is done.
        """
        if self.ending is None:
            # A simulated clock may be set back.
            passed_ns = 0 if self._last_ns is None else max(0, facts.now_ns - self._last_ns)
            self._last_ns = facts.now_ns
            self._count(passed_ns, facts)
            self.ending = self._judged(facts)
        return self.ending

    def _count(self, passed_ns: int, facts: Facts) -> None:
        self._elapsed_ns += passed_ns
        if facts.pauses:
            return
        self._held_ns = self._held_ns + passed_ns if facts.held else 0
        if facts.held and facts.is_outside:
            self._outside_ns += passed_ns
        else:
            self._own_ns += passed_ns

    def _judged(self, facts: Facts) -> Ending | None:
        if facts.stopped:
            return Ending(Outcome.STOPPED, f"the arm was stopped: {facts.stopped}")
        if self.has_begun and facts.verdict is not None:
            if facts.verdict:
                return Ending(Outcome.SUCCEEDED, f"task done{facts.judge}")
            return Ending(Outcome.FAILED, f"task not done{facts.judge}")
        if facts.cancelled:
            return Ending(Outcome.CANCELLED, facts.cancelled)
        if self._held_ns / 1e9 >= self._held_limit_s:
            return Ending(
                Outcome.HELD, f"the arm was held for {self._held_limit_s:g} s: {facts.held}"
            )
        if self.has_begun and self._outside_ns / 1e9 >= self._limit_s:
            # A camera that sees now and then would make it last for ever.
            return Ending(
                Outcome.HELD, f"the arm was held for {self._limit_s:g} s in all: {facts.held}"
            )
        if self.has_begun and self._own_ns / 1e9 >= self._limit_s:
            return Ending(Outcome.TIME_LIMIT, "time limit")
        return None


class PersonJudge:
    """What a person says of a task during one roll-out.

    Args:
        task: the instruction.
        begun_s: when it began [s, any clock that never goes back].

    Attributes:
        verdict: whether it is done; None while nobody has said so.
    """

    def __init__(self, task: str, begun_s: float):
        self._task, self._begun_s = task, begun_s
        self.verdict: bool | None = None

    def hear(self, is_done: bool, now_s: float) -> tuple[bool, str]:
        """Return whether that counts, and in one sentence for what.

        Where tasks are chained, a word about the one before may come when the next one has begun.
        """
        if now_s - self._begun_s < _VERDICT_AFTER_S:
            return False, (
                f"{self._task!r} began less than {_VERDICT_AFTER_S:g} s ago: nobody can have seen "
                "how it goes; say it again if it is meant"
            )
        self.verdict = is_done
        return True, f"{self._task!r} is judged as {'done' if is_done else 'not done'}"


class SimJudge:
    """What the simulator's judge says of a task during one roll-out.

    A task that was done before says nothing of this roll-out, so it counts from when it is open on.

    Args:
        task: the instruction.

    Attributes:
        partial, success: whether it is done in part, and whole; None while nobody can tell.
    """

    def __init__(self, task: str):
        self._task = task
        self._was_open = False
        self.partial: bool | None = None
        self.success: bool | None = None

    def hear(self, state: Mapping[str, Any]) -> None:
        """Take in what /sim/task_state says; what is about another task is left out."""
        if state.get("task") != self._task:
            return
        success = state["success"]
        self._was_open = self._was_open or success is False
        if self._was_open:
            self.partial, self.success = bool(self.partial or state["partial"]), success
