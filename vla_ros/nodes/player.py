"""Plays: takes the motion of play to the arm, and begins it anew where the arm was held up."""

from vla_ros.core import arm as facts
from vla_ros.core import kinematics
from vla_ros.core.duty import Row
from vla_ros.core.errors import KinematicsError, SafetyError
from vla_ros.core.exploration import PlayMotion
from vla_ros.nodes.arm_client import COMMAND_PERIOD_S, ArmClient
from vla_ros.nodes.lifetime import ShellNode
from vla_ros.nodes.rest_camera import RestCamera

# A block so long after the motion last began is another matter than the one before [s].
_FREE_S = 20.0


class Player:
    """Moves the arm in play, tick by tick.

    Args:
        node: the node to live in.
        motion: what to play.
        arm: whom to move.
        blocked_limit: blocked so often in a row, play does not go on from there.
        table: sees where something moved; None: nobody does.

    Attributes:
        unreachable: targets that were out of reach.
        blocks: times the arm was blocked.
        given_up: why play does not go on where the arm is; empty where it does.
    """

    def __init__(
        self,
        node: ShellNode,
        motion: PlayMotion,
        arm: ArmClient,
        blocked_limit: int,
        table: RestCamera | None,
    ):
        self._node, self._motion, self._arm, self._table = node, motion, arm, table
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
        self._began_ns = self._node.get_clock().now().nanoseconds
        blocked, self._was_blocked = self._was_blocked, False
        try:
            self._motion.start(kinematics.forward(self._solution), opening, blocked)
        except (SafetyError, KinematicsError) as error:
            self._node.get_logger().warning(f"going to the ready pose first: {error}")
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
        try:
            T_base_tool, opening = self._motion.step(COMMAND_PERIOD_S, self._held_up_m())
            # From the last solution, which is nearer than the command that follows it.
            q = kinematics.inverse(T_base_tool, self._solution)
        except KinematicsError:
            # The last target stays; the motion itself moves on, or looks for another waypoint.
            self.unreachable += 1
            return
        self._solution = q
        self._arm.set_target(q, opening)
        if self._table is not None:
            self._table.look(self.rests, self._arm.measured[0])

    def _held_up_m(self) -> float:
        return kinematics.held_up_m(self._arm.measured[0], self._arm.commanded[0])

    def _note_block(self) -> None:
        """Count what held the arm up, where something was in its way."""
        blocks = self._arm.status[2]["blocks"]
        if blocks == self.blocks:
            return
        self.blocks = blocks
        if self._node.get_clock().now().nanoseconds - self._began_ns > _FREE_S * 1e9:
            self._row.succeeded()
        self._was_blocked = True
        if self._row.failed():
            self.given_up = (
                f"the arm was blocked {self._row.limit} times in a row, last: "
                f"{self._arm.blocked_reason}"
            )
