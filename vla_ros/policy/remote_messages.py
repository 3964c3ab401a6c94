"""What a policy's server and its client say to each other, and whether it can be meant.

A chunk that comes from afar is held against the contract as if it came from an enemy.
"""

import json
from typing import TYPE_CHECKING

import numpy as np

from vla_ros.core.contract import MAX_CHUNK_TRANSLATION_M, Contract, Field
from vla_ros.core.errors import ContractError, RemoteError
from vla_ros.core.observation import CameraView, Chunk, Decided, Observation
from vla_ros.core.task_text import MAX_CHARACTERS
from vla_ros.policy.remote_wire import (
    PROTOCOL,
    array_of,
    count_of,
    named,
    one_line,
    package_version,
    text_of,
)

if TYPE_CHECKING:
    from vla_ros.policy.runner import PolicyRunner

_MAX_STEPS = 1000
_MAX_VIEWS = 8
_MAX_RATE_HZ = 1000.0
_MAX_NAME = 100
# The arm's reach, and the furthest chunk from there in each of three axes.
_FURTHEST_POSE_M = 3.0
# Products of rotations in double precision are off by 1e-15.
_ROTATION_TOLERANCE = 1e-6


def welcome_to_map(runner: "PolicyRunner", sha256: str) -> dict:
    """Return what a server says of itself: what it runs, of which checkpoint."""
    return {
        "kind": "welcome",
        "protocol": PROTOCOL,
        "version": package_version(),
        "sha256": sha256,
        "contract": contract_to_text(runner.contract),
        "run": json.dumps(runner.run),
        "cameras": list(runner.cameras),
        "num_past": runner.num_past,
        "goes_on": runner.goes_on,
    }


def observation_to_map(observation: Observation) -> dict:
    """Return an observation as a part of a message."""
    views = {
        name: {
            "picture": view.picture,
            "T_base_camera": view.T_base_camera,
            "K": view.K,
            "size": None if view.size is None else [int(side) for side in view.size],
        }
        for name, view in observation.views.items()
    }
    return {
        "views": views,
        "task": observation.task,
        "state": observation.state,
        "past_states": observation.past_states,
    }


def observation_from_map(said: object) -> Observation:
    """Return the observation in a message; whether the policy can use it is the runner's to say.

    Raises:
        RemoteError: it is none.
    """
    views = said.get("views") if isinstance(said, dict) else None
    if not isinstance(said, dict) or not isinstance(views, dict):
        raise RemoteError("an observation must be a map with views")
    if not all(isinstance(name, str) for name in views):
        raise RemoteError("names of views must be texts")
    if len(views) > _MAX_VIEWS:
        raise RemoteError(f"an observation has up to {_MAX_VIEWS} views, got {len(views)}")
    task = text_of(said, "task")
    if len(task) > MAX_CHARACTERS:
        raise RemoteError(f"a task has up to {MAX_CHARACTERS} characters, got {len(task)}")
    past_states = array_of(said, "past_states")
    if past_states is None:
        raise RemoteError("past_states of an observation must be an array")
    return Observation(
        {name: _view_from_map(view) for name, view in views.items()},
        task,
        array_of(said, "state"),
        past_states,
    )


def _view_from_map(said: object) -> CameraView:
    if not isinstance(said, dict):
        raise RemoteError(f"a view must be a map, got {named(said)}")
    picture, size = said.get("picture"), said.get("size")
    if not isinstance(picture, bytes):
        picture = array_of(said, "picture")
    if picture is None:
        raise RemoteError("a view must have a picture")
    K = array_of(said, "K")
    if K is not None and K.shape != (3, 3):
        raise RemoteError(f"K of a view must be (3, 3), got {K.shape}")
    if size is not None:
        is_pair = isinstance(size, list) and len(size) == 2
        if not is_pair or not all(type(side) is int and 0 < side < 1 << 16 for side in size):
            raise RemoteError(f"size of a view must be width and height, got {named(size)}")
        size = size[0], size[1]
    return CameraView(picture, array_of(said, "T_base_camera"), K, size)


def decided_to_map(decided: Decided | None) -> dict | None:
    """Return what a chunk shall go on from as a part of a message."""
    return None if decided is None else {**vars(decided), "fixed": int(decided.fixed)}


def decided_from_map(said: object) -> Decided | None:
    """Return what a chunk shall go on from.

    Raises:
        RemoteError: it is none.
    """
    if said is None:
        return None
    if not isinstance(said, dict):
        raise RemoteError(f"what is decided must be a map, got {named(said)}")
    T_commanded, poses = array_of(said, "T_commanded"), array_of(said, "T_base_tool")
    openings = array_of(said, "openings")
    if T_commanded is None or poses is None or openings is None:
        raise RemoteError("what is decided must have T_commanded, T_base_tool and openings")
    is_shaped = openings.ndim == 1 and poses.shape == (len(openings), 4, 4)
    if not is_shaped or T_commanded.shape != (4, 4):
        raise RemoteError(
            f"what is decided must be (4, 4), (K, 4, 4) and (K,), got {T_commanded.shape}, "
            f"{poses.shape} and {openings.shape}"
        )
    return Decided(T_commanded, poses, openings, count_of(said, "fixed", len(openings)))


def chunk_to_map(chunk: Chunk) -> dict:
    """Return a chunk as a part of a message."""
    return {
        "actions": chunk.actions,
        "period_s": float(chunk.period_s),
        "openings": chunk.openings,
        "T_base_tool": chunk.T_base_tool,
    }


def chunk_from_map(said: object, contract: Contract) -> Chunk:
    """Return the chunk in a message, which is one that a policy of this contract may answer.

    Raises:
        RemoteError: it is none, or a number is not finite.
        ContractError: another shape or type, out of bounds, or poses that are none.
    """
    if not isinstance(said, dict):
        raise RemoteError(f"a chunk must be a map, got {named(said)}")
    actions, openings = array_of(said, "actions"), array_of(said, "openings")
    poses, field = array_of(said, "T_base_tool"), contract.action
    are_poses = contract.action_space == "ee_chunk"
    # Several single actions may come at once, one after the other.
    wanted = field.shape if are_poses else (f"1 to {_MAX_STEPS}", *field.shape)
    is_shaped = actions is not None and (
        actions.shape == wanted
        if are_poses
        else actions.shape[1:] == field.shape and 0 < len(actions) <= _MAX_STEPS
    )
    if actions is None or not is_shaped or actions.dtype != np.dtype(field.dtype):
        raise ContractError(f"actions must be {field.dtype} {wanted}, got {_kind(actions)}")
    if are_poses:
        # Its rotations are raw numbers, which may be a little outside of the contract's bounds.
        if np.abs(actions[:, :3]).max() > MAX_CHUNK_TRANSLATION_M:
            raise ContractError(f"actions must be within {MAX_CHUNK_TRANSLATION_M} m")
        _require_poses(poses, len(actions))
    else:
        for action in actions:
            field.validate(action)
        if poses is not None:
            raise ContractError("single actions must come without poses")
    if openings is None or openings.shape != (len(actions),) or openings.dtype != np.float64:
        raise ContractError(f"openings must be float64 ({len(actions)},), got {_kind(openings)}")
    if np.any((openings < 0) | (openings > 1)):
        raise ContractError("openings must lie in 0 to 1")
    if said.get("period_s") != 1.0 / contract.rate_hz:
        raise ContractError(f"period_s must be {1.0 / contract.rate_hz:g}, that of the contract")
    return Chunk(actions, 1.0 / contract.rate_hz, openings, poses)


def _require_poses(poses: np.ndarray | None, count: int) -> None:
    """Raise ContractError unless `poses` are rigid ones (count, 4, 4) near the arm."""
    if poses is None or poses.shape != (count, 4, 4) or poses.dtype != np.float64:
        raise ContractError(f"T_base_tool must be float64 ({count}, 4, 4), got {_kind(poses)}")
    R = poses[:, :3, :3]
    off = np.abs(R @ R.transpose(0, 2, 1) - np.eye(3)).max()
    is_rigid = off <= _ROTATION_TOLERANCE and np.all(np.linalg.det(R) > 0)
    if not is_rigid or np.any(poses[:, 3] != [0.0, 0.0, 0.0, 1.0]):
        raise ContractError("T_base_tool must be rotations and places")
    if np.abs(poses[:, :3, 3]).max() > _FURTHEST_POSE_M:
        raise ContractError(f"T_base_tool must be within {_FURTHEST_POSE_M:g} m of the base")


def contract_to_text(contract: Contract) -> str:
    """Return a contract as JSON, as in a checkpoint."""
    return json.dumps(contract.to_dict())


def contract_from_text(text: str) -> Contract:
    """Return the contract of `contract_to_text`'s result, of sizes that a policy may have.

    Raises:
        RemoteError: it is none.
    """
    try:
        contract = Contract.from_dict(json.loads(text))
        for field in (contract.image, contract.state, contract.action):
            _require_field(field)
        is_rate = type(contract.rate_hz) in (int, float)  # a text of digits is none to divide by
        if not is_rate or not 0 < contract.rate_hz <= _MAX_RATE_HZ:
            raise ValueError(f"rate_hz is {contract.rate_hz}")
        if len(contract.cameras) > _MAX_VIEWS:
            raise ValueError(f"it has {len(contract.cameras)} cameras")
        for name in (contract.name, contract.robot_model, *contract.cameras):
            _require_name(name)
    except (ValueError, TypeError, RecursionError, OverflowError, ContractError) as error:
        raise RemoteError(f"a contract cannot be read ({one_line(str(error))})") from None
    return contract


def _require_field(field: Field) -> None:
    """Raise ValueError or TypeError unless arrays can be held against `field`."""
    is_shape = isinstance(field.shape, tuple) and 0 < len(field.shape) <= 3
    if not is_shape or not all(type(size) is int and 0 < size <= 4096 for size in field.shape):
        raise ValueError(f"shape of {field.name} is {field.shape}")
    if field.dtype not in ("uint8", "float32"):
        raise ValueError(f"dtype of {field.name} is {field.dtype}")
    for name in (field.name, field.unit):
        _require_name(name)
    for bound in (field.low, field.high):
        numbers = bound if isinstance(bound, tuple) else (bound,)
        if not all(type(number) in (int, float) and np.isfinite(number) for number in numbers):
            raise ValueError(f"bounds of {field.name} are no numbers")
        np.broadcast_to(np.asarray(bound, np.float64), field.shape)


def _require_name(name: object) -> None:
    """Raise ValueError unless `name` is a text that may stand in a message to people."""
    if not isinstance(name, str) or len(name) > _MAX_NAME or not name.isprintable():
        raise ValueError("a name must be a short text")


def _kind(array: np.ndarray | None) -> str:
    return "nothing" if array is None else f"{array.dtype} {array.shape}"
