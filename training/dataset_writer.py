"""Writes a dataset episode by episode in one data file; goes when conversion goes by shards."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from training.frames import Segment
from training.provenance import file_sha256
from vla_ros.core.arm import ARM_JOINTS
from vla_ros.core.contract import Contract
from vla_ros.core.errors import DatasetError
from vla_ros.core.resample import NS_PER_S

CODEBASE_VERSION = "v3.0"
PART = "chunk-000/file-000.parquet"
DATA_FILE = f"data/{PART}"
EPISODES_FILE = f"meta/episodes/{PART}"
TASKS_FILE = "meta/tasks.parquet"
VECTORS = {
    "observation.state": [*ARM_JOINTS, "opening"],
    "observation.ee_pose": ["x", "y", "z", "rx", "ry", "rz"],
    "action": ["dx", "dy", "dz", "drx", "dry", "drz", "gripper"],
    "action.commanded": ["dx", "dy", "dz", "drx", "dry", "drz", "gripper"],
}
SCALARS = {
    "timestamp": pa.float32(),
    "frame_index": pa.int64(),
    "episode_index": pa.int64(),
    "index": pa.int64(),
    "task_index": pa.int64(),
}


def image_key(camera: str) -> str:
    """Return the column of a camera's pictures."""
    return f"observation.images.{camera}"


class DatasetWriter:
    """Writes episodes one after the other; the folder appears under its name at `finish`.

    Raises:
        DatasetError: `path` exists, or the disk refuses.
    """

    def __init__(self, path: Path, contract: Contract):
        self.path = Path(path)
        if self.path.exists():
            raise DatasetError(
                f"{self.path} exists already, and a dataset is never changed; "
                "choose another folder or remove it"
            )
        self.contract = contract
        self._temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}.tmp")
        shutil.rmtree(self._temporary, ignore_errors=True)
        for file in (DATA_FILE, EPISODES_FILE):
            (self._temporary / file).parent.mkdir(parents=True)
        self._writer = pq.ParquetWriter(self._temporary / DATA_FILE, self._schema())
        self._episodes: list[dict] = []
        self._tasks: dict[str, int] = {}
        self._vectors: dict[str, list[np.ndarray]] = {name: [] for name in VECTORS}
        self._channel_sums: list[np.ndarray] = []
        self.num_frames = 0

    def _schema(self) -> pa.Schema:
        image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        columns = [(image_key(self.contract.camera), image)]
        columns += [(name, pa.list_(pa.float32(), len(axes))) for name, axes in VECTORS.items()]
        return pa.schema([*columns, *SCALARS.items()])

    def add_episode(
        self, segment: Segment, pictures: list[np.ndarray], task: str, facts: dict
    ) -> None:
        """Append one episode.

        Args:
            segment: its frames; `images` are JPEG bytes.
            pictures: the decoded frames (H, W, 3) uint8, for statistics.
            task: instruction, empty for play.
            facts: further columns of the episode's row: bag, kind, success, reason.
        """
        length, first = len(segment.ticks_ns), self.num_frames
        task_index = self._tasks.setdefault(task, len(self._tasks))
        vectors = dict(
            zip(
                VECTORS,
                (segment.state, segment.ee_pose, segment.action, segment.action_commanded),
                strict=True,
            )
        )
        since_start = (segment.ticks_ns - segment.ticks_ns[0]) / NS_PER_S
        columns: list = [[{"bytes": data, "path": None} for data in segment.images]]
        columns += [list(values) for values in vectors.values()]
        columns += [
            since_start.astype(np.float32),
            np.arange(length),
            np.full(length, len(self._episodes)),
            np.arange(first, first + length),
            np.full(length, task_index),
        ]
        schema = self._schema()
        arrays = [pa.array(c, type=f.type) for c, f in zip(columns, schema, strict=True)]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
        for name, values in vectors.items():
            self._vectors[name].append(values)
        pixels = np.stack(pictures).reshape(-1, 3) / 255.0
        self._channel_sums.append(
            np.stack([pixels.min(0), pixels.max(0), pixels.sum(0), (pixels**2).sum(0)])
        )
        self._episodes.append(
            {
                "episode_index": len(self._episodes),
                "tasks": [task],
                "length": length,
                "dataset_from_index": first,
                "dataset_to_index": first + length,
                "data/chunk_index": 0,
                "data/file_index": 0,
                "meta/episodes/chunk_index": 0,
                "meta/episodes/file_index": 0,
                "start_ns": int(segment.ticks_ns[0]),
                "image_age_ms": float(segment.image_age_ns.mean() / 1e6),
                **facts,
            }
        )
        self.num_frames += length

    def finish(self, provenance: dict) -> dict:
        """Write the metadata, give the folder its name, return info.json's content.

        Raises:
            DatasetError: there is no frame.
        """
        self._writer.close()
        if not self._episodes:
            shutil.rmtree(self._temporary)
            raise DatasetError(
                f"no frame to write to {self.path}: {provenance.get('dropped') or 'no usable bag'};"
                " check the bags' topics and stamps"
            )
        pq.write_table(
            pa.Table.from_pylist(self._episodes, _episodes_schema()),
            self._temporary / EPISODES_FILE,
        )
        pq.write_table(_tasks_table(list(self._tasks)), self._temporary / TASKS_FILE)
        provenance = {**provenance, "data_sha256": file_sha256(self._temporary / DATA_FILE)}
        info = self._info(provenance)
        for name, content in (("info", info), ("stats", self._stats())):
            text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
            (self._temporary / "meta" / f"{name}.json").write_text(text, encoding="utf-8")
        self._temporary.rename(self.path)
        return info

    def abort(self) -> None:
        """Remove what was written."""
        self._writer.close()
        shutil.rmtree(self._temporary, ignore_errors=True)

    def _info(self, provenance: dict) -> dict:
        height, width, channels = self.contract.image.shape
        features: dict = {
            image_key(self.contract.camera): {
                "dtype": "image",
                "shape": [height, width, channels],
                "names": ["height", "width", "channels"],
            }
        }
        for name, axes in VECTORS.items():
            features[name] = {"dtype": "float32", "shape": [len(axes)], "names": axes}
        for name, dtype in SCALARS.items():
            dtype_name = "float32" if dtype == pa.float32() else "int64"
            features[name] = {"dtype": dtype_name, "shape": [1], "names": None}
        return {
            "codebase_version": CODEBASE_VERSION,
            "robot_type": self.contract.robot_model,
            "total_episodes": len(self._episodes),
            "total_frames": self.num_frames,
            "total_tasks": len(self._tasks),
            "chunks_size": 1000,
            "data_files_size_in_mb": 100,
            "video_files_size_in_mb": 200,
            "fps": int(self.contract.rate_hz),
            "splits": {"train": f"0:{len(self._episodes)}"},
            "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
            "video_path": None,
            "features": features,
            "vla_ros": {"contract": self.contract.to_dict(), "provenance": provenance},
        }

    def _stats(self) -> dict:
        stats: dict = {}
        for name, parts in self._vectors.items():
            values = np.concatenate(parts).astype(np.float64)
            low, high = np.quantile(values, [0.01, 0.99], axis=0)
            stats[name] = {
                "mean": values.mean(0).tolist(),
                "std": values.std(0).tolist(),
                "min": values.min(0).tolist(),
                "max": values.max(0).tolist(),
                "q01": low.tolist(),
                "q99": high.tolist(),
                "count": [len(values)],
            }
        sums = np.stack(self._channel_sums)  # (episodes, 4, 3): min, max, sum, sum of squares
        num_pixels = self.num_frames * self.contract.image.shape[0] * self.contract.image.shape[1]
        mean = sums[:, 2].sum(0) / num_pixels
        variance = np.maximum(sums[:, 3].sum(0) / num_pixels - mean**2, 0)
        image = {
            "mean": mean,
            "std": np.sqrt(variance),
            "min": sums[:, 0].min(0),
            "max": sums[:, 1].max(0),
        }
        stats[image_key(self.contract.camera)] = {
            key: value.reshape(3, 1, 1).tolist() for key, value in image.items()
        } | {"count": [self.num_frames]}
        return stats


def _episodes_schema() -> pa.Schema:
    integers = [
        "episode_index",
        "length",
        "dataset_from_index",
        "dataset_to_index",
        "data/chunk_index",
        "data/file_index",
        "meta/episodes/chunk_index",
        "meta/episodes/file_index",
        "start_ns",
    ]
    return pa.schema(
        [(name, pa.int64()) for name in integers]
        + [("tasks", pa.list_(pa.string())), ("image_age_ms", pa.float64())]
        + [(name, pa.string()) for name in ("bag", "kind", "reason")]
        + [("success", pa.bool_())]
    )


def _tasks_table(tasks: list[str]) -> pa.Table:
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
