"""Seeds that are given, and seeds that are drawn."""

import secrets

from rclpy.node import Node

SEED_MAX = 2**31 - 1


def given_or_drawn(node: Node, seed: int) -> int:
    """Return a seed that is 0 or more; a negative one is drawn from the system's entropy.

    The log says which, so that what was drawn can be given the next time.
    """
    if seed >= 0:
        return seed
    drawn = secrets.randbelow(SEED_MAX + 1)
    node.get_logger().info(
        f"the seed {drawn} was drawn; given as the parameter seed, the same comes again"
    )
    return drawn
