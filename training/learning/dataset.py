"""A dataset folder as arrays: pictures decoded once at model size, vectors, episodes.

Reads what training.convert and training.lerobot_import write: the LeRobot v3.0 layout with our
contract in meta/info.json, any number of data files, any cameras, pictures as JPEG or video.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from training.datasets.labels import ACTION, POSE, STATE
from training.datasets.lerobot_layout import CODEBASE_VERSION, INFO_FILE, read_episode_rows
from training.datasets.shard import Camera, image_key
from training.learning.frame_cache import cached_frames, jpeg_frames, video_frames
from training.learning.verified_files import verified_hashes
from training.provenance import combined_sha256
from vla_ros.core.contract import Contract
from vla_ros.core.errors import ContractError, DatasetError


@dataclass(frozen=True)
class Episode:
    """Frames [first, end) of one recording, at the contract's rate.

    Attributes:
        bag: name of the recording, unique in its dataset.
        success: None where nobody judged.
        cameras: by name, what is known of intrinsics and pose.
        recording: SHA-256 of the recording's content: the same in every dataset made of it.
        start_ns: time of frame `first` on the recording's clock [ns].
    """

    first: int
    end: int
    bag: str
    kind: str
    task: str
    success: bool | None
    cameras: dict[str, Camera] = field(default_factory=dict)
    recording: str = field(kw_only=True)
    start_ns: int = field(default=0, kw_only=True)


@dataclass(frozen=True)
class Dataset:
    """One dataset folder, read.

    Attributes:
        contract: of the folder, with the cameras that were opened.
        pictures: (N, S, S, 3) uint8 RGB at model size by camera, memory-mapped.
        vectors: (N, k) float32 by column: `training.datasets.labels` says what is in them.
        sha256: of data and videos, for provenance.
        label: what motion `action` is, of `training.datasets.labels`.
    """

    path: Path
    contract: Contract
    pictures: dict[str, np.ndarray]
    vectors: dict[str, np.ndarray]
    episodes: list[Episode]
    sha256: str
    label: str = "reached"

    def __len__(self) -> int:
        return len(self.actions)

    @property
    def images(self) -> np.ndarray:
        """Pictures of the main camera (N, S, S, 3) uint8 RGB: all that TAP sees."""
        return self.pictures[self.contract.camera]

    @property
    def actions(self) -> np.ndarray:
        """(N, A) float32: the contract's action, from each frame to the next tick."""
        return self.vectors[ACTION]

    @property
    def states(self) -> np.ndarray:
        """(N, 7) float32: joints [rad] and opening."""
        return self.vectors[STATE]

    @property
    def ee_poses(self) -> np.ndarray:
        """(N, 6) float32: tool position [m] and rotation vector [rad] in base_link, measured.

        Raises:
            DatasetError: the dataset does not tell.
        """
        if POSE not in self.vectors:
            raise DatasetError(
                f"{self.path} does not tell where the tool was ({POSE}); name the pose in the "
                "source file or the map, then convert again"
            )
        return self.vectors[POSE]

    def pictures_of(self, frames: np.ndarray) -> dict[str, np.ndarray]:
        """Return the pictures (..., S, S, 3) of frames (...) by camera, read from the disk."""
        return {name: pictures[frames] for name, pictures in self.pictures.items()}

    @cached_property
    def tasks(self) -> np.ndarray:
        """Instruction of every frame (N,) object."""
        tasks = np.empty(len(self), dtype=object)
        for episode in self.episodes:
            tasks[episode.first : episode.end] = episode.task
        return tasks


def open_dataset(path: Path, image_size: int, cameras: tuple[str, ...] | None = None) -> Dataset:
    """Return the dataset at folder `path` with pictures of side `image_size` [px].

    Decoded pictures are kept in the folder, see `frame_cache`. Files are compared with the hashes
    that conversion noted; those seen before are taken by size and time of change.

    Args:
        path: a folder that training.convert or training.lerobot_import wrote.
        image_size: of the model.
        cameras: names, the main one first; None takes the dataset's main camera alone, () all.

    Raises:
        DatasetError: the folder is missing, incomplete, damaged, changed, not written by this
            project or without such a camera, or the disk refuses.
    """
    path = Path(path)
    info, contract, episodes, vectors = _read(path)
    provenance = info["vla_ros"]["provenance"]
    cameras = contract.cameras[:1] if cameras is None else tuple(cameras) or contract.cameras
    absent = [name for name in cameras if name not in contract.cameras]
    if absent:
        raise DatasetError(
            f"{path} has no camera {', '.join(absent)}; it has {', '.join(contract.cameras)}: "
            "choose one of these, or convert with --camera"
        )
    hashes = verified_hashes(path, info)
    pictures = {}
    for name in cameras:
        key, frames = _source(path, info, contract, name, image_size, hashes)
        shape = (len(vectors[ACTION]), image_size, image_size, 3)
        pictures[name] = cached_frames(path, f"{name}-{image_size}", key, shape, frames)
    return Dataset(
        path,
        replace(contract, cameras=cameras),
        pictures,
        vectors,
        episodes,
        provenance["data_sha256"],
        provenance["options"]["label"],
    )


def _read(path: Path) -> tuple[dict, Contract, list[Episode], dict[str, np.ndarray]]:
    """Return info.json, the contract, the episodes and the vector columns."""
    try:
        info = json.loads((path / INFO_FILE).read_text(encoding="utf-8"))
        contract = Contract.from_dict(info["vla_ros"]["contract"])
        provenance = info["vla_ros"]["provenance"]
        recordings = {bag["bag"]: bag["sha256"] for bag in provenance["bags"]}
        _ = provenance["options"]["label"]
        features, version, total = (
            info[key] for key in ("features", "codebase_version", "total_frames")
        )
        episodes = [_episode(row, recordings) for row in read_episode_rows(path)]
        names = [
            name
            for name, feature in features.items()
            if feature["dtype"] == "float32" and name.startswith(("observation.", "action"))
        ]
        vectors = _vectors(_files(path, "data", "parquet"), names)
        found = len(vectors[ACTION])
    except FileNotFoundError as error:
        raise DatasetError(
            f"{path} is not a complete dataset: {error.filename} is missing; "
            "give a folder that training.convert wrote"
        ) from None
    except (KeyError, TypeError, ContractError) as error:
        raise DatasetError(
            f"{path} has no contract or provenance of this version in meta/info.json ({error}); "
            "convert the bags again"
        ) from None
    except (ValueError, OSError, pa.ArrowException) as error:
        raise DatasetError(
            f"{path} is damaged ({type(error).__name__}: {error}); convert the bags again"
        ) from None
    ends = [0, *(episode.end for episode in episodes)]
    if version != CODEBASE_VERSION or total != found or ends[-1] != found:
        raise DatasetError(
            f"{path} says {total} frames of layout {version}, got {found} frames of which the "
            f"episodes take {ends[-1]}, and layout {CODEBASE_VERSION} is read; convert the bags "
            "again"
        )
    if [episode.first for episode in episodes] != ends[:-1]:
        raise DatasetError(
            f"{path} has episodes that do not follow one another frame by frame; convert the bags "
            "again"
        )
    return info, contract, episodes, vectors


def _files(path: Path, top: str, suffix: str) -> list[Path]:
    files = sorted((path / top).glob(f"chunk-*/file-*.{suffix}"))
    if not files:
        raise FileNotFoundError(2, "no file", str(path / top))
    return files


def _episode(row: dict, recordings: dict[str, str]) -> Episode:
    """Return the episode of a row; `recordings` are the hashes by bag."""
    names = [key.split("/")[1] for key in row if key.startswith("cameras/") and key.endswith("/K")]
    cameras = {n: Camera(row[f"cameras/{n}/K"], row[f"cameras/{n}/T_base_camera"]) for n in names}
    return Episode(
        row["dataset_from_index"],
        row["dataset_to_index"],
        row["bag"],
        row["kind"],
        row["tasks"][0],
        row["success"],
        cameras,
        recording=recordings[row["bag"]],
        start_ns=row["start_ns"],
    )


def _vectors(files: list[Path], names: list[str]) -> dict[str, np.ndarray]:
    parts: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for file in files:
        with pq.ParquetFile(file) as reader:
            table = reader.read(columns=names)
        for name in names:
            column = table.column(name).combine_chunks()
            width = column.type.list_size
            parts[name].append(column.flatten().to_numpy().reshape(len(table), width))
    return {name: np.concatenate(arrays) for name, arrays in parts.items()}


def _source(
    path: Path, info: dict, contract: Contract, camera: str, image_size: int, hashes: dict[str, str]
) -> tuple[str, Callable[[], Iterator[np.ndarray]]]:
    """Return the hash of the files that hold the camera's pictures, and what decodes them."""
    column, size = image_key(camera), contract.image.shape[0]
    is_video = info["features"][column]["dtype"] == "video"
    top = f"videos/{column}/" if is_video else "data/"
    key = combined_sha256({n: sha256 for n, sha256 in hashes.items() if n.startswith(top)})
    files = sorted(path / name for name in hashes if name.startswith(top))
    if is_video:
        return key, partial(video_frames, files, size, image_size)
    return key, partial(jpeg_frames, files, column, size, image_size)
