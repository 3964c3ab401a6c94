"""Chunks of future tool poses in a camera's axes, APT's action, and their inverse.

A chunk (H, 10) holds for each of H future steps: translation (3) [m], rotation (6), gripper (1,
-1 closed, +1 open). All steps are relative to the *same* current pose, along the axes of a
reference camera: with R_ce the current tool's rotation in the camera and T_rel = T_now^-1 T_future,
t = R_ce t_rel and R = R_ce R_rel R_ce^T (APT, arXiv 2606.12366, and the authors' code). That is the
displacement and the turn from the left as base_link sees them, written in the camera's axes.
Metres and raw 6-D numbers, with no statistics.

The 6-D form of a rotation is its first column, then its second (Zhou et al. 2019, "On the
continuity of rotation representations"); APT's record says "columns or rows" and no more.
"""

import numpy as np

from vla_ros.core.errors import ContractError

CHUNK_SIZE = 10
TRANSLATION = slice(0, 3)
ROTATION = slice(3, 9)
GRIPPER = 9
# Columns shorter than this, or as close to parallel, name no rotation.
_SMALLEST_COLUMN = 1e-6


def rotation_6d(rotation: np.ndarray) -> np.ndarray:
    """Return (..., 6): first and second column of the rotation matrices (..., 3, 3)."""
    return np.concatenate([rotation[..., :, 0], rotation[..., :, 1]], axis=-1)


def rotation_from_6d(six: np.ndarray) -> np.ndarray:
    """Return the rotation matrices (..., 3, 3) nearest in Gram-Schmidt's sense to (..., 6).

    Raises:
        ContractError: not finite, or the two columns are zero or parallel.
    """
    six = np.asarray(six, dtype=np.float64)
    first, second = six[..., :3], six[..., 3:]
    with np.errstate(all="ignore"):
        first_length = np.linalg.norm(first, axis=-1, keepdims=True)
        x = first / first_length
        second_length = np.linalg.norm(second, axis=-1, keepdims=True)
        # Unit length first: of a long column the rest below would be rounding.
        second = second / second_length
        second = second - np.sum(x * second, axis=-1, keepdims=True) * x
        rest = np.linalg.norm(second, axis=-1, keepdims=True)
        y = second / rest
    lengths = np.concatenate([first_length, second_length, rest], axis=-1)
    if not np.all(np.isfinite(six)) or not np.all(lengths > _SMALLEST_COLUMN):
        raise ContractError(
            "rotation must be 6 finite numbers whose two columns are neither zero nor parallel; "
            "check the policy that made it"
        )
    return np.stack([x, y, np.cross(x, y)], axis=-1)


def chunk_from_poses(
    T_base_now: np.ndarray,
    T_base_future: np.ndarray,
    openings: np.ndarray,
    T_base_camera: np.ndarray,
) -> np.ndarray:
    """Return the chunk (..., H, 10) float32 of H future tool poses; ... are samples, if any.

    Args:
        T_base_now: (..., 4, 4) current tool pose.
        T_base_future: (..., H, 4, 4) tool poses to come.
        openings: (..., H) gripper at those poses, 0 closed, 1 open.
        T_base_camera: (..., 4, 4) pose of the reference camera.

    Raises:
        ContractError: shapes do not fit, or a number is not finite.
    """
    future = np.asarray(T_base_future, dtype=np.float64)
    openings = np.asarray(openings, dtype=np.float64)
    samples = np.shape(T_base_now)[:-2]
    shape = (*samples, *openings.shape[-1:])
    if openings.ndim == 0 or openings.shape != shape or future.shape != (*shape, 4, 4):
        raise ContractError(
            f"a chunk needs poses (..., H, 4, 4) and openings (..., H), got {future.shape} and "
            f"{openings.shape} for current poses {np.shape(T_base_now)}; check the dataset that "
            "they come from"
        )
    R_base_camera = T_base_camera[..., :3, :3]
    R_camera_base = np.swapaxes(R_base_camera, -1, -2)[..., None, :, :]
    now = np.asarray(T_base_now, dtype=np.float64)[..., None, :, :]
    chunk = np.empty((*shape, CHUNK_SIZE), dtype=np.float32)
    chunk[..., TRANSLATION] = (future[..., :3, 3] - now[..., :3, 3]) @ R_base_camera
    turn = future[..., :3, :3] @ np.swapaxes(now[..., :3, :3], -1, -2)
    chunk[..., ROTATION] = rotation_6d(R_camera_base @ turn @ R_base_camera[..., None, :, :])
    chunk[..., GRIPPER] = 2 * openings - 1
    if not np.all(np.isfinite(chunk)):
        raise ContractError("poses and openings of a chunk must be finite; check the dataset")
    return chunk


def poses_from_chunk(
    chunk: np.ndarray, T_base_now: np.ndarray, T_base_camera: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return tool poses (H, 4, 4) in base_link and openings (H,) in [0, 1] of a chunk (H, 10).

    Args:
        chunk: as `chunk_from_poses` makes it; rotations need not be orthonormal.
        T_base_now: (4, 4) tool pose at the time of the observation, not of execution.
        T_base_camera: (4, 4) pose of the reference camera.

    Raises:
        ContractError: another shape, a number that is not finite, or no rotation.
    """
    chunk = np.asarray(chunk, dtype=np.float64)
    if chunk.ndim != 2 or chunk.shape[1] != CHUNK_SIZE or not np.all(np.isfinite(chunk)):
        raise ContractError(
            f"chunk must be finite numbers (H, {CHUNK_SIZE}), got shape {chunk.shape}; "
            "check the policy that made it"
        )
    R_base_camera = T_base_camera[:3, :3]
    poses = np.tile(np.eye(4), (len(chunk), 1, 1))
    turn = R_base_camera @ rotation_from_6d(chunk[:, ROTATION]) @ R_base_camera.T
    poses[:, :3, :3] = turn @ T_base_now[:3, :3]
    poses[:, :3, 3] = T_base_now[:3, 3] + chunk[:, TRANSLATION] @ R_base_camera.T
    return poses, np.clip((chunk[:, GRIPPER] + 1) / 2, 0.0, 1.0)


def future_frames(
    now: int | np.ndarray, num_frames: int | np.ndarray, horizon: int, stride: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Return the frames (..., H) int64 that chunks from frames `now` target, and which exist.

    Step h targets frame now + (h + 1) stride. Beyond the episode's end the last frame is
    repeated; the authors' code puts no loss mask on these steps, and who wants one has it in the
    second array (bool, False for repetitions).

    Args:
        now: (...) frames, counted from their episodes' first ones.
        num_frames: (...) of their episodes, or one number.
        horizon: H.
        stride: frames from one step to the next.

    Raises:
        ContractError: `now` lies outside the episode, or horizon or stride is below 1.
    """
    at, total = np.asarray(now)[..., None], np.asarray(num_frames)[..., None]
    if np.any((at < 0) | (at >= total)) or horizon < 1 or stride < 1:
        raise ContractError(
            f"a chunk needs a frame of the episode, a horizon and a stride from 1, got frame {now} "
            f"of {num_frames}, horizon {horizon} and stride {stride}; correct the recipe"
        )
    wanted = at + stride * np.arange(1, horizon + 1)
    return np.minimum(wanted, total - 1), wanted < total
