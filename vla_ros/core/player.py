"""Plays: takes the motion of play to the arm, and begins it anew where the arm was held up."""

from collections.abc import Callable
from typing import Protocol

import numpy as np

from vla_ros.core import arm as facts
from vla_ros.core import kinematics
from vla_ros.core.duty import Row
from vla_ros.core.errors import KinematicsError, SafetyError
from vla_ros.core.exploration import PlayMotion

# A block so long after the motion last began is another matter than the one before [s].
_FREE_S = 20.0


class PlayedArm(Protocol):
    """What play needs of an arm; poses are joints (6,) [rad] and an opening."""

    @property
    def measured(self) -> tuple[np.ndarray, float] | None:
        """The last believed pose."""
        ...

    @property
    def commanded(self) -> tuple[np.ndarray, float]:
        """The last commanded pose."""
        ...

    @property
    def blocked_reason(self) -> str:
        """Why no target is followed now; empty where they are."""
        ...

    def set_target(self, q_rad: np.ndarray, opening: float) -> None:
        """Head for a pose."""
        ...


class Player:
    """Moves the arm in play, tick by tick.

    Args:
        motion: what to play.
        arm: whom to move.
        blocked_limit: blocked so often in a row, play does not go on from there.
        period_s: between two commands [s].
        now_ns: returns the time [ns].
        blocks_of_arm: returns how often something was in the arm's way.
        warn: receives a sentence.
        look: told at every command whether the motion rests, and the measured joints (6,) [rad];
            None: nobody sees where something moved.

    Attributes:
        unreachable: targets that were out of reach.
        blocks: times the arm was blocked.
        given_up: why play does not go on where the arm is; empty where it does.
    """

    def __init__(
        self,
        motion: PlayMotion,
        arm: PlayedArm,
        blocked_limit: int,
        period_s: float,
        now_ns: Callable[[], int],
        blocks_of_arm: Callable[[], int],
        warn: Callable[[str], None],
        look: Callable[[bool, np.ndarray], None] | None = None,
    ):
        self._motion, self._arm, self._look = motion, arm, look
        self._now_ns, self._blocks_of_arm, self._warn = now_ns, blocks_of_arm, warn
        self._period_s = period_s
        self._row = Row(blocked_limit)
        self._solution = facts.READY_RAD
        self._interrupted = False
        self._was_blocked = False
        self._began_ns = 0
        self.unreachable = self.blocks = 0
        self.given_up = ""

    @property
    def rests(self) -> bool:
        """Whether the motion itself rests, half a second or more, between two trajectories."""
        return self._motion.phase == "rest"

    def start(self) -> bool:
        """Begin to play where the arm is; return whether that is possible."""
        self._interrupted = False
        self.given_up = ""
        self._solution, opening = self._arm.commanded
        self._began_ns = self._now_ns()
        blocked, self._was_blocked = self._was_blocked, False
        try:
            self._motion.start(kinematics.forward(self._solution), opening, blocked)
        except (SafetyError, KinematicsError) as error:
            self._warn(f"going to the ready pose first: {error}")
            self._interrupted = True
        return not self._interrupted

    def go_on(self) -> bool:
        """Begin anew where the arm was held up and is free again; return whether play goes on."""
        if self.given_up:
            self._row.succeeded()
            return False
        if self._interrupted and not self._arm.blocked_reason:
            return self.start()
        return True

    def tick(self) -> None:
        """Set the target of the next command."""
        if self._arm.blocked_reason and not self._interrupted:
            self._interrupted = True
            self._note_block()
        if self._interrupted:
            return
        measured = self._arm.measured
        assert measured is not None  # nothing is commanded before the arm is seen
        try:
            held_up_m = kinematics.held_up_m(measured[0], self._arm.commanded[0])
            T_base_tool, opening = self._motion.step(self._period_s, held_up_m)
            # From the last solution, which is nearer than the command that follows it.
            q = kinematics.inverse(T_base_tool, self._solution)
        except KinematicsError:
            # The last target stays; the motion itself moves on, or looks for another waypoint.
            self.unreachable += 1
            return
        self._solution = q
        self._arm.set_target(q, opening)
        if self._look is not None:
            self._look(self.rests, measured[0])

    def _note_block(self) -> None:
        """Count what held the arm up, where something was in its way."""
        blocks = self._blocks_of_arm()
        if blocks == self.blocks:
            return
        self.blocks = blocks
        if self._now_ns() - self._began_ns > _FREE_S * 1e9:
            self._row.succeeded()
        self._was_blocked = True
        if self._row.failed():
            self.given_up = (
                f"the arm was blocked {self._row.limit} times in a row, last: "
                f"{self._arm.blocked_reason}"
            )
