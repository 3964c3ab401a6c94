"""A dataset folder in the LeRobot v3.0 layout: paths, columns, tables and info.json.

meta/info.json, meta/stats.json, meta/tasks.parquet, meta/episodes/chunk-000/file-000.parquet,
data/chunk-000/file-000.parquet, and videos/<camera column>/chunk-000/file-000.mp4 where pictures
are video. `info.json` has one more key, "vla_ros": contract, provenance and the files' hashes; the
episodes have further columns: where they come from, how they ended, what is known of the cameras.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from training.datasets.dataset_stats import vector_stats
from training.datasets.shard import Episode, image_key
from vla_ros.core.contract import Contract
from vla_ros.core.errors import DatasetError

CODEBASE_VERSION = "v3.0"
INFO_FILE = "meta/info.json"
STATS_FILE = "meta/stats.json"
TASKS_FILE = "meta/tasks.parquet"
PART = "chunk-{chunk_index:03d}/file-{file_index:03d}"
DATA_PATH = f"data/{PART}.parquet"
VIDEO_PATH = f"videos/{{video_key}}/{PART}.mp4"
EPISODES_PATH = f"meta/episodes/{PART}.parquet"
DATA_FILE = DATA_PATH.format(chunk_index=0, file_index=0)
EPISODES_FILE = EPISODES_PATH.format(chunk_index=0, file_index=0)
FILES_PER_CHUNK = 1000
DATA_FILE_MB, VIDEO_FILE_MB = 100, 200
# LeRobot looks for a picture at a float32 time with a tolerance of 0.1 ms; that time is the sum of
# an episode's start and a float32, and from 1024 s on two roundings of 0.06 ms are too much.
VIDEO_FILE_S = 1000.0
EPISODES_PER_FILE = 10_000
SCALARS = {
    "timestamp": pa.float32(),
    "frame_index": pa.int64(),
    "episode_index": pa.int64(),
    "index": pa.int64(),
    "task_index": pa.int64(),
}
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


@dataclass(frozen=True)
class VideoPart:
    """Where an episode's pictures of one camera are: file number and seconds in that file."""

    file_number: int
    from_s: float
    to_s: float


@dataclass(frozen=True)
class Placed:
    """An episode in the dataset.

    Attributes:
        index, first: its number and that of its first frame.
        label: of the recording.
        data_file: number of its data file.
        stats: by column, as LeRobot names them.
        videos: by camera, where pictures are video.
    """

    episode: Episode
    index: int
    first: int
    label: str
    data_file: int
    stats: dict[str, dict[str, np.ndarray]]
    videos: dict[str, VideoPart] = field(default_factory=dict)


def chunk_and_file(number: int) -> dict[str, int]:
    """Return the indices of the file with the running number."""
    return {"chunk_index": number // FILES_PER_CHUNK, "file_index": number % FILES_PER_CHUNK}


def whole_fps(contract: Contract) -> int:
    """Return the contract's rate; raises DatasetError if LeRobot's layout cannot hold it."""
    if contract.rate_hz != int(contract.rate_hz) or contract.rate_hz < 1:
        raise DatasetError(
            f"the rate must be a whole number of Hz in LeRobot's layout, got {contract.rate_hz:g}; "
            "choose another --rate"
        )
    return int(contract.rate_hz)


def data_schema(cameras: list[str], vectors: dict[str, list[str]]) -> pa.Schema:
    """Return the columns of the data files; `cameras` are those whose pictures are in them."""
    columns = [(image_key(camera), IMAGE) for camera in cameras]
    columns += [(name, pa.list_(pa.float32(), len(axes))) for name, axes in vectors.items()]
    return pa.schema([*columns, *SCALARS.items()])


def scalar_columns(
    frame_index: np.ndarray, fps: int, episode_index: int, first: int, task_index: int
) -> list[np.ndarray]:
    """Return the columns of SCALARS for frames of one episode that starts at frame `first`."""
    length = len(frame_index)
    return [
        (frame_index / fps).astype(np.float32),
        frame_index,
        np.full(length, episode_index),
        first + frame_index,
        np.full(length, task_index),
    ]


def scalar_stats(columns: list[np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    """Return the statistics of `scalar_columns`' result."""
    return {name: vector_stats(c) for name, c in zip(SCALARS, columns, strict=True)}


def features(
    contract: Contract, vectors: dict[str, list[str]], video: dict | None = None
) -> dict[str, dict]:
    """Return info.json's features; `video` describes the stream where pictures are video."""
    height, width, channels = contract.image.shape
    result: dict = {}
    for camera in contract.cameras:
        result[image_key(camera)] = {
            "dtype": "image" if video is None else "video",
            "shape": [height, width, channels],
            "names": ["height", "width", "channels"],
            **({} if video is None else {"info": video}),
        }
    for name, axes in vectors.items():
        result[name] = {"dtype": "float32", "shape": [len(axes)], "names": list(axes)}
    for name, dtype in SCALARS.items():
        dtype_name = "float32" if dtype == pa.float32() else "int64"
        result[name] = {"dtype": dtype_name, "shape": [1], "names": None}
    return result


def info(
    contract: Contract,
    feature_table: dict[str, dict],
    episodes: list[Placed],
    num_tasks: int,
    vla_ros: dict,
) -> dict:
    """Return info.json's content."""
    has_video = any(feature["dtype"] == "video" for feature in feature_table.values())
    return {
        "codebase_version": CODEBASE_VERSION,
        "robot_type": contract.robot_model,
        "total_episodes": len(episodes),
        "total_frames": sum(len(placed.episode) for placed in episodes),
        "total_tasks": num_tasks,
        "chunks_size": FILES_PER_CHUNK,
        "data_files_size_in_mb": DATA_FILE_MB,
        "video_files_size_in_mb": VIDEO_FILE_MB,
        "fps": whole_fps(contract),
        "splits": {"train": f"0:{len(episodes)}"},
        "data_path": DATA_PATH,
        "video_path": VIDEO_PATH if has_video else None,
        "features": feature_table,
        "vla_ros": {"contract": contract.to_dict(), **vla_ros},
    }


def episode_row(placed: Placed) -> dict:
    """Return the episode's row of meta/episodes."""
    episode = placed.episode
    row: dict = {
        "episode_index": placed.index,
        "tasks": [episode.task],
        "length": len(episode),
        "dataset_from_index": placed.first,
        "dataset_to_index": placed.first + len(episode),
    }
    numbers = {"data": placed.data_file, "meta/episodes": placed.index // EPISODES_PER_FILE}
    numbers |= {f"videos/{image_key(name)}": v.file_number for name, v in placed.videos.items()}
    for prefix, number in numbers.items():
        row |= {f"{prefix}/{key}": value for key, value in chunk_and_file(number).items()}
    for name, video in placed.videos.items():
        row[f"videos/{image_key(name)}/from_timestamp"] = video.from_s
        row[f"videos/{image_key(name)}/to_timestamp"] = video.to_s
    row |= {
        "start_ns": episode.start_ns,
        "image_age_ms": episode.image_age_ms,
        "bag": placed.label,
        "kind": episode.kind,
        "success": episode.success,
        "reason": episode.reason,
    }
    for name, camera in episode.cameras.items():
        row[f"cameras/{name}/K"] = camera.K
        row[f"cameras/{name}/T_base_camera"] = camera.T_base_camera
    for column, stats in placed.stats.items():
        row |= {f"stats/{column}/{key}": value.tolist() for key, value in stats.items()}
    return row


def episodes_table(rows: list[dict]) -> pa.Table:
    """Return meta/episodes of `episode_row`s, with every type given: a column may be all null."""
    matrix = pa.list_(pa.list_(pa.float64()))
    types = {
        "tasks": pa.list_(pa.string()),
        "image_age_ms": pa.float64(),
        **dict.fromkeys(("bag", "kind", "reason"), pa.string()),
        "success": pa.bool_(),
    }

    def type_of(name: str, value: object) -> pa.DataType:
        if name.startswith("stats/"):
            if name.endswith("/count"):
                return pa.list_(pa.int64())
            is_image = isinstance(value, list) and isinstance(value[0], list)
            return pa.list_(matrix) if is_image else pa.list_(pa.float64())
        if name.startswith("cameras/"):
            return matrix
        if name.endswith("_timestamp"):
            return pa.float64()
        return types.get(name, pa.int64())

    return pa.Table.from_pylist(
        rows, pa.schema([(name, type_of(name, value)) for name, value in rows[0].items()])
    )


def read_episode_rows(folder: Path) -> list[dict]:
    """Return the rows of a dataset's meta/episodes, without statistics, in the episodes' order.

    Raises:
        FileNotFoundError: there is no such file.
        OSError, pyarrow.ArrowException, KeyError: one cannot be read.
    """
    files = sorted((folder / "meta/episodes").glob("*/*.parquet"))
    if not files:
        raise FileNotFoundError(2, "no file", str(folder / "meta/episodes"))
    rows = []
    for file in files:
        with pq.ParquetFile(file) as reader:
            names = [n for n in reader.schema_arrow.names if not n.startswith("stats/")]
            rows += reader.read(columns=names).to_pylist()
    return sorted(rows, key=lambda row: row["episode_index"])


def tasks_table(tasks: list[str]) -> pa.Table:
    """Return the tasks as pandas stores a frame indexed by task, which LeRobot's reader expects."""
    pandas = {
        "index_columns": ["task"],
        "column_indexes": [],
        "columns": [
            {"name": name, "field_name": name, "pandas_type": kind, "numpy_type": numpy_type}
            | {"metadata": None}
            for name, kind, numpy_type in (
                ("task_index", "int64", "int64"),
                ("task", "unicode", "object"),
            )
        ],
        "creator": {"library": "pyarrow", "version": pa.__version__},
        "pandas_version": "2.0.0",
    }
    table = pa.table({"task_index": list(range(len(tasks))), "task": pa.array(tasks, pa.string())})
    return table.replace_schema_metadata({"pandas": json.dumps(pandas)})
