"""The parameters of explorer_node."""

from dataclasses import dataclass

from vla_ros.core.play_parameters import ExplorationParameters
from vla_ros.nodes.commander import CommanderParameters
from vla_ros.nodes.params import group, parameter
from vla_ros.nodes.seeds import SEED_MAX


@dataclass(frozen=True)
class ExplorerParameters(CommanderParameters):
    """Parameters of explorer_node."""

    seed: int = parameter(
        -1, "Seed of the motion, the same plays the same; -1: drawn anew.", "", -1, SEED_MAX
    )
    segment_s: float = parameter(60.0, "Length of one recorded segment.", "s", 0.5, 3600.0)
    pause_s: float = parameter(1.0, "Rest between two segments.", "s", 0.0, 3600.0)
    hours: float = parameter(0.0, "Play for this long; 0: count segments.", "h", 0.0, 1000.0)
    segments: int = parameter(0, "Play this many segments; 0: until stopped.", "", 0, 1_000_000)
    rest_every_min: float = parameter(
        30.0, "Let the motors rest after so much time; 0: never.", "min", 0.0, 1440.0
    )
    rest_min: float = parameter(
        5.0, "How long they rest, without torque in the sleep pose.", "min", 0.0, 1440.0
    )
    shuffle_every: int = parameter(
        10, "In the sim, shuffle the objects every so many segments; 0: never.", "", 0, 1_000_000
    )
    shuffle_every_min: float = parameter(
        30.0, "With a real arm, remind of shuffling after so much time; 0: never.", "min", 0, 1440.0
    )
    shuffle_pause: bool = parameter(
        False, "Whether a reminder also waits, until ~/shuffled is called."
    )
    give_up_after_min: float = parameter(
        10.0, "How long recording may fail before play ends (wall time).", "min", 0.0, 1440.0
    )
    blocked_limit: int = parameter(
        3,
        "Blocked so often in a row, play begins anew at the ready pose; so many segments in a row "
        "that end so end it.",
        "",
        1,
        1000,
    )
    poses: str = parameter("", "JSON file of safe poses to play among; empty: from the workspace.")
    camera: str = parameter("front", "Camera that sees what moved; empty: none.")
    exploration: ExplorationParameters = group(ExplorationParameters, "exploration")
