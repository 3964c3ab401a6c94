"""Takes `core`'s player to the node's arm, clock, log and camera."""

from vla_ros.core import player
from vla_ros.core.exploration import PlayMotion
from vla_ros.nodes.arm_client import COMMAND_PERIOD_S, ArmClient
from vla_ros.nodes.lifetime import ShellNode
from vla_ros.nodes.rest_camera import RestCamera


class Player(player.Player):
    """Moves the arm in play, tick by tick.

    Args:
        node: the node to live in.
        motion: what to play.
        arm: whom to move.
        blocked_limit: blocked so often in a row, play does not go on from there.
        table: sees where something moved; None: nobody does.
    """

    def __init__(
        self,
        node: ShellNode,
        motion: PlayMotion,
        arm: ArmClient,
        blocked_limit: int,
        table: RestCamera | None,
    ):
        super().__init__(
            motion,
            arm,
            blocked_limit,
            COMMAND_PERIOD_S,
            now_ns=lambda: node.get_clock().now().nanoseconds,
            blocks_of_arm=lambda: arm.status[2]["blocks"],
            warn=node.get_logger().warning,
            look=None if table is None else table.look,
        )
