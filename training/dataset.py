"""A dataset folder as arrays: pictures decoded once at model size, actions, episodes, splits."""

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from training.lerobot_layout import CODEBASE_VERSION, EPISODES_FILE, image_key
from training.provenance import combined_sha256, file_sha256
from vla_ros.core.actions import GRIPPER_INDEX, ee_delta
from vla_ros.core.contract import Contract
from vla_ros.core.errors import ContractError, DatasetError
from vla_ros.core.rotations import matrix_from_rotvec, transform
from vla_ros.policy.pictures import decode_jpeg, resize_for_model

DECODE_BATCH = 256


@dataclass(frozen=True)
class Episode:
    """Frames [first, end) of one recording; `success` is None where nobody judged."""

    first: int
    end: int
    bag: str
    kind: str
    task: str
    success: bool | None


@dataclass(frozen=True)
class Dataset:
    """One dataset folder, read.

    Attributes:
        images: (N, S, S, 3) uint8 RGB at model size, memory-mapped.
        actions: (N, 7) float32, reached `ee_delta` to the next frame.
        ee_poses: (N, 6) float32, tool position [m] and rotation vector [rad] in base_link.
        sha256: of the data file, for provenance.
    """

    path: Path
    contract: Contract
    images: np.ndarray
    actions: np.ndarray
    ee_poses: np.ndarray
    episodes: list[Episode]
    sha256: str


def open_dataset(path: Path, model_size: int) -> Dataset:
    """Return the dataset at folder `path` with pictures of side `model_size` [px].

    The decoded pictures are kept in the folder as cache/*.npy, named by content and size.

    Raises:
        DatasetError: the folder is missing, incomplete, damaged or not written by this project.
    """
    path = Path(path)
    try:
        info = json.loads((path / "meta/info.json").read_text(encoding="utf-8"))
        contract = Contract.from_dict(info["vla_ros"]["contract"])
        sha256 = info["vla_ros"]["provenance"]["data_sha256"]
        files = sorted(path.glob("data/*/*.parquet"))
        rows = pq.read_table(path / EPISODES_FILE).to_pylist()
        columns = ["action", "observation.ee_pose"]
        table = pa.concat_tables([pq.read_table(file, columns=columns) for file in files])
        found = combined_sha256({f.relative_to(path).as_posix(): file_sha256(f) for f in files})
    except FileNotFoundError as error:
        raise DatasetError(
            f"{path} is not a complete dataset: {error.filename} is missing; "
            "give a folder that training.convert wrote"
        ) from None
    except (KeyError, TypeError, ContractError) as error:
        raise DatasetError(
            f"{path} has no contract of this version in meta/info.json ({error}); "
            "convert the bags again"
        ) from None
    except (ValueError, OSError, pa.ArrowException) as error:
        raise DatasetError(
            f"{path} is damaged ({type(error).__name__}: {error}); convert the bags again"
        ) from None
    if info["codebase_version"] != CODEBASE_VERSION or info["total_frames"] != len(table):
        raise DatasetError(
            f"{path} says {info['total_frames']} frames of layout {info['codebase_version']}, got "
            f"{len(table)} frames, and layout {CODEBASE_VERSION} is read; convert the bags again"
        )
    if found != sha256:
        raise DatasetError(f"{path}/data was changed after conversion; convert the bags again")
    actions, ee_poses = (
        np.array(table[name].to_pylist(), dtype=np.float32)
        for name in ("action", "observation.ee_pose")
    )
    episodes = [
        Episode(
            row["dataset_from_index"],
            row["dataset_to_index"],
            row["bag"],
            row["kind"],
            row["tasks"][0],
            row["success"],
        )
        for row in rows
    ]
    images = _decoded_images(path, contract, model_size, len(actions), sha256)
    return Dataset(path, contract, images, actions, ee_poses, episodes, sha256)


def _decoded_images(
    path: Path, contract: Contract, model_size: int, num_frames: int, sha256: str
) -> np.ndarray:
    cache = path / "cache" / f"{contract.camera}-{model_size}-{sha256[:12]}.npy"
    if not cache.exists():
        cache.parent.mkdir(exist_ok=True)
        # Own temporary name: two processes may build the cache at once, and both finish well.
        temporary = cache.with_suffix(f".{os.getpid()}.tmp")
        shape = (num_frames, model_size, model_size, 3)
        array = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.uint8, shape=shape)
        _decode_into(array, path, contract, model_size)
        array.flush()
        temporary.rename(cache)
    return np.load(cache, mmap_mode="r")


def _decode_into(array: np.ndarray, path: Path, contract: Contract, model_size: int) -> None:
    column = image_key(contract.camera)
    index = 0
    with tqdm(total=len(array), desc="decode", unit="frame") as bar:
        for file in sorted(path.glob("data/*/*.parquet")):
            for batch in pq.ParquetFile(file).iter_batches(DECODE_BATCH, columns=[column]):
                for data in batch.column(0).field("bytes"):
                    picture = decode_jpeg(data.as_py(), f"frame {index} of {path}")
                    array[index] = resize_for_model(picture, contract.image.shape[0], model_size)
                    index += 1
                bar.update(len(batch))


def select_episodes(dataset: Dataset, kinds: list[str], only_solved: bool) -> list[Episode]:
    """Return the episodes of `kinds`, or, if asked, only those that were judged a success.

    Raises:
        DatasetError: none is left; says what there is.
    """
    chosen = [
        episode
        for episode in dataset.episodes
        if episode.kind in kinds and (episode.success is True or not only_solved)
    ]
    if not chosen:
        present = sorted({episode.kind for episode in dataset.episodes})
        raise DatasetError(
            f"{dataset.path} has no usable episode of kind {', '.join(kinds)}; it has "
            f"{len(dataset.episodes)} of kind {', '.join(present)}: give other data or --kinds"
        )
    return chosen


def split_episodes(
    episodes: list[Episode], fraction: float, seed: int
) -> tuple[list[Episode], list[Episode]]:
    """Return episodes to train on and episodes to hold out, about `fraction` of them.

    Pieces of one bag stay together where there are several bags. A lone episode is cut in time,
    its end held out.

    Raises:
        DatasetError: a lone episode is too short to be cut.
    """
    bags = sorted({episode.bag for episode in episodes})
    groups = (
        [[e for e in episodes if e.bag == bag] for bag in bags]
        if len(bags) > 1
        else [[episode] for episode in episodes]
    )
    if len(groups) == 1:
        (episode,) = groups[0]
        held_out = max(2, round((episode.end - episode.first) * fraction))
        if episode.end - episode.first - held_out < 2:
            raise DatasetError(
                f"the only episode has {episode.end - episode.first} frames, too few to hold some "
                "out; record more"
            )
        cut = episode.end - held_out
        return [replace(episode, end=cut)], [replace(episode, first=cut)]
    order = np.random.default_rng([seed, 7]).permutation(len(groups))
    num_held_out = min(len(groups) - 1, max(1, round(len(groups) * fraction)))
    held_out, trained = order[:num_held_out], order[num_held_out:]
    return (
        [e for index in sorted(trained) for e in groups[index]],
        [e for index in sorted(held_out) for e in groups[index]],
    )


@dataclass(frozen=True)
class Pairs:
    """Two frames each and the action between them (Stage 1), P of them.

    Attributes:
        first, second: (P,) int64 frames.
        actions: (P, 7) float32, the `ee_delta` from first to second, gripper as at second.
    """

    first: np.ndarray
    second: np.ndarray
    actions: np.ndarray

    def __len__(self) -> int:
        return len(self.first)


def next_frame_pairs(dataset: Dataset, episodes: list[Episode]) -> Pairs:
    """Return the pairs (o_t, o_t+1) of the episodes: TAP's."""
    first = np.concatenate([np.arange(e.first, e.end - 1) for e in episodes])
    return Pairs(first, first + 1, dataset.actions[first])


def pairs_within(
    dataset: Dataset, episodes: list[Episode], span: int, low: np.ndarray, high: np.ndarray
) -> Pairs:
    """Return pairs up to `span` frames apart, forward and backward in time.

    Their labels are exact: the displacement between two measured poses. Those whose motion (6,)
    leaves [low, high], the range of single steps, are left out.
    """
    poses = [
        transform(matrix_from_rotvec(pose[3:].astype(np.float64)), pose[:3].astype(np.float64))
        for pose in dataset.ee_poses
    ]
    first, second, actions = [], [], []
    for episode in episodes:
        for i in range(episode.first, episode.end):
            # The gripper's command at j is in the action that leads to j.
            for j in range(max(episode.first + 1, i - span), min(episode.end, i + span + 1)):
                gripper = dataset.actions[j - 1, GRIPPER_INDEX]
                action = ee_delta(poses[i], poses[j], gripper)
                if i != j and np.all(action[:6] >= low) and np.all(action[:6] <= high):
                    first.append(i)
                    second.append(j)
                    actions.append(action)
    return Pairs(np.array(first), np.array(second), np.array(actions, dtype=np.float32))


def frame_indices(episodes: list[Episode]) -> np.ndarray:
    """Return all frames (P,) int64 of the episodes (Stage 2)."""
    return np.concatenate([np.arange(e.first, e.end) for e in episodes])


def task_of_frame(dataset: Dataset) -> np.ndarray:
    """Return the instruction (N,) object of every frame."""
    tasks = np.empty(len(dataset.actions), dtype=object)
    for episode in dataset.episodes:
        tasks[episode.first : episode.end] = episode.task
    return tasks
