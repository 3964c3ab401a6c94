"""The data files of a dataset: the rows of shards, numbered anew, in files of a bounded size."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from training.datasets import lerobot_layout as layout
from training.datasets.dataset_stats import dense_histogram, image_stats, vector_stats
from training.datasets.shard import Episode, Shard, image_key, parquet_options

# Bytes of a row besides pictures and vectors.
SCALAR_BYTES = 4 + 4 * 8


class DataFiles:
    """Writes episodes one after the other; each lies in one file as a whole.

    A file holds at most DATA_FILE_MB, unless one episode alone is larger.
    """

    def __init__(self, folder: Path, cameras: list[str], vectors: dict[str, list[str]], fps: int):
        self.number = -1
        self.columns = [*(image_key(camera) for camera in cameras), *vectors]
        self._folder, self._vectors, self._fps = folder, vectors, fps
        self._schema = layout.data_schema(cameras, vectors)
        self._row_bytes = SCALAR_BYTES + 4 * sum(len(axes) for axes in vectors.values())
        self._has_pictures = bool(cameras)
        self._size = 0
        self._writer: pq.ParquetWriter | None = None

    def write(
        self, tables: Iterator[pa.Table], episode: Episode, index: int, first: int, task_index: int
    ) -> dict[str, dict[str, np.ndarray]]:
        """Append the episode's rows and return the statistics of its columns."""
        self._make_room(episode)
        assert self._writer is not None
        values: dict[str, list[np.ndarray]] = {name: [] for name in self._vectors}
        for table in tables:
            frame_index = table.column("frame_index").to_numpy()
            scalars = layout.scalar_columns(frame_index, self._fps, index, first, task_index)
            columns = [table.column(name) for name in self.columns]
            columns += [
                pa.array(c, type=dtype)
                for c, dtype in zip(scalars, layout.SCALARS.values(), strict=True)
            ]
            rows = pa.Table.from_arrays(columns, schema=self._schema)
            self._writer.write_table(rows, len(rows))
            for name in self._vectors:
                flat = table.column(name).combine_chunks().flatten()
                values[name].append(flat.to_numpy().reshape(len(table), -1))
        frame_index = np.arange(len(episode))
        scalars = layout.scalar_columns(frame_index, self._fps, index, first, task_index)
        return {
            **{
                image_key(name): image_stats(dense_histogram(sparse), len(episode))
                for name, sparse in episode.histograms.items()
            },
            **{name: vector_stats(np.concatenate(parts)) for name, parts in values.items()},
            **layout.scalar_stats(scalars),
        }

    def close(self) -> None:
        """End the open file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _make_room(self, episode: Episode) -> None:
        size = self._row_bytes * len(episode) + self._has_pictures * episode.image_bytes
        if self._writer is None or self._size + size > layout.DATA_FILE_MB * 1_000_000:
            self.close()
            self.number += 1
            path = self._folder / layout.DATA_PATH.format(**layout.chunk_and_file(self.number))
            path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = pq.ParquetWriter(path, self._schema, **parquet_options(self._schema))
            self._size = 0
        self._size += size


def write_data(
    folder: Path, shards: list[Shard], cameras: list[str], tasks: list[str], fps: int
) -> list[layout.Placed]:
    """Write the data files into `folder`, with the pictures of `cameras`; place the episodes."""
    vectors = shards[0].facts.vectors
    files = DataFiles(folder, cameras, vectors, fps)
    task_indices = {task: index for index, task in enumerate(tasks)}
    placed: list[layout.Placed] = []
    first = 0
    total = sum(shard.facts.num_frames for shard in shards)
    with tqdm(total=total, desc="assemble", unit="frame", disable=None) as bar:
        for shard in shards:
            batches = shard.batches([*files.columns, "frame_index"])
            for episode in shard.facts.episodes:
                stats = files.write(
                    _rows_of(batches, len(episode)),
                    episode,
                    len(placed),
                    first,
                    task_indices[episode.task],
                )
                label = shard.facts.label
                placed.append(
                    layout.Placed(episode, len(placed), first, label, files.number, stats)
                )
                first += len(episode)
                bar.update(len(episode))
    files.close()
    return placed


def _rows_of(batches: Iterator[pa.Table], length: int) -> Iterator[pa.Table]:
    """Yield the next row groups until `length` rows: those of one episode."""
    while length > 0:
        table = next(batches)
        length -= len(table)
        yield table
