"""The motion that explorer_node's parameters ask for, or the sentence why there is none."""

from pathlib import Path

import numpy as np

from vla_ros.core import arm, kinematics
from vla_ros.core.errors import ContractError, KinematicsError, SafetyError
from vla_ros.core.exploration import PlayMotion
from vla_ros.core.limits import SafetyLimits
from vla_ros.core.play_parameters import ExplorationParameters, require_room
from vla_ros.core.pose_library import PoseLibrary
from vla_ros.nodes.params import ParameterError


def make_motion(
    parameters: ExplorationParameters, limits: SafetyLimits, poses: str, seed: int
) -> PlayMotion:
    """Return play's motion; making its poses takes a second or two where no file has them.

    Args:
        parameters: of play.
        limits: what the arm may do.
        poses: path of a JSON file of safe poses; empty: from the workspace.
        seed: the same plays the same.

    Raises:
        ParameterError: the file cannot be used, or play cannot keep to the limits or begin.
    """
    library = load_poses(poses, parameters)
    try:
        require_room(parameters, limits)
        motion = PlayMotion(parameters, np.random.default_rng(seed), library)
        _require_start(parameters, motion.library)
    except (SafetyError, ContractError, KinematicsError) as error:
        raise ParameterError(
            f"node explorer cannot play with its parameters exploration.* and safety.*: {error}"
        ) from None
    return motion


def _require_start(parameters: ExplorationParameters, library: PoseLibrary) -> None:
    """Make sure that play can begin at the ready pose, as it does after each block.

    Tried with a motion that is thrown away: what is played depends on the seed alone.
    """
    ready = kinematics.forward(arm.READY_RAD)
    try:
        PlayMotion(parameters, np.random.default_rng(0), library).start(ready, 1.0)
    except (SafetyError, KinematicsError):
        raise SafetyError(
            f"play cannot begin at the ready pose (tool at {np.round(ready[:3, 3], 2).tolist()} "
            "m); widen its bounds until they are near it, or bring waypoints within reach"
        ) from None


def load_poses(path: str, parameters: ExplorationParameters) -> PoseLibrary | None:
    """Return the library of a JSON file, None for an empty path.

    Raises:
        ParameterError: the file cannot be read, is no such library, or was made for wider bounds.
    """
    if not path:
        return None
    try:
        library = PoseLibrary.from_json(Path(path).expanduser().read_text(), path)
        library.require_fit(parameters, path)
    except (OSError, UnicodeDecodeError, ContractError, SafetyError) as error:
        raise ParameterError(f"parameter poses of node explorer cannot be used: {error}") from None
    return library
