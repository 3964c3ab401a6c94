"""Writes a shard frame by frame; memory is one row group, however long the recording."""

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from training.datasets.dataset_stats import histogram_of, sparse_histogram
from training.datasets.files import sync_file, sync_folder, write_text
from training.datasets.frames import MIN_FRAMES
from training.datasets.shard import (
    FACTS_FILE,
    FRAMES_FILE,
    REMEDY,
    Camera,
    Drop,
    Episode,
    Facts,
    Shard,
    frames_schema,
    open_shard,
    parquet_options,
)
from training.provenance import file_sha256
from vla_ros.core.contract import Contract
from vla_ros.core.errors import DatasetError
from vla_ros.core.resample import NS_PER_S

# LeRobot keeps timestamps as float32 and asks for 0.1 ms of video: 2048 s is where that ends.
MAX_EPISODE_S = 2000.0
ROW_GROUP_FRAMES = 256
ROW_GROUP_BYTES = 16 << 20


@dataclass(frozen=True)
class Frame:
    """One tick.

    Attributes:
        tick_ns: [ns].
        jpegs: bytes at dataset size by camera.
        pictures: the same decoded, (S, S, 3) uint8 RGB, for statistics.
        vectors: float32 by column.
        image_age_ms: of the oldest picture.
    """

    tick_ns: int
    jpegs: dict[str, bytes]
    pictures: dict[str, np.ndarray]
    vectors: dict[str, np.ndarray]
    image_age_ms: float


@dataclass
class _Open:
    """The episode that is being written."""

    known: dict
    first: int
    start_ns: int = 0
    count: int = 0
    image_bytes: int = 0
    age_ms: float = 0.0
    histograms: dict[str, np.ndarray] = field(default_factory=dict)


class ShardWriter:
    """Writes one shard frame by frame, a row group in memory at a time.

    Call `begin_episode`, `add` for each of its frames, `end_episode`, and so on; `finish` gives the
    folder its name. Used in a `with` statement, it removes what was written when an error leaves.
    """

    def __init__(self, path: Path, contract: Contract, vectors: dict[str, list[str]]):
        self.path = Path(path)
        self.contract, self.vectors = contract, vectors
        self.num_frames = 0
        self.episodes: list[Episode] = []
        self._schema = frames_schema(list(contract.cameras), vectors)
        self._temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}.tmp")
        shutil.rmtree(self._temporary, ignore_errors=True)
        self._temporary.mkdir(parents=True)
        self._writer = pq.ParquetWriter(
            self._temporary / FRAMES_FILE, self._schema, **parquet_options(self._schema)
        )
        self._open: _Open | None = None
        self._rows: list[Frame] = []
        self._bytes = 0

    def __enter__(self) -> "ShardWriter":
        return self

    def __exit__(self, *details: object) -> None:
        """Remove what `finish` has not given its name."""
        self._writer.close()
        shutil.rmtree(self._temporary, ignore_errors=True)

    def begin_episode(
        self,
        task: str,
        kind: str,
        success: bool | None,
        reason: str,
        cameras: dict[str, Camera] | None = None,
    ) -> None:
        """Begin an episode; its frames come next, in order and without a gap."""
        assert self._open is None, "end_episode comes first"
        given = cameras or {}
        known = {
            "task": task,
            "kind": kind,
            "success": success,
            "reason": reason,
            "cameras": {name: given.get(name, Camera()) for name in self.contract.cameras},
        }
        self._open = _Open(known, self.num_frames)

    def add(self, frame: Frame) -> None:
        """Append a frame; an episode that would exceed MAX_EPISODE_S goes on as another."""
        assert self._open is not None, "begin_episode comes first"
        if self._open.count >= MAX_EPISODE_S * self.contract.rate_hz:
            known = self._open.known
            self.end_episode()
            self._open = _Open(known, self.num_frames)
        episode = self._open
        if episode.count == 0:
            episode.start_ns = int(frame.tick_ns)
        size = sum(len(frame.jpegs[camera]) for camera in self.contract.cameras)
        if self._rows and (
            len(self._rows) >= ROW_GROUP_FRAMES or self._bytes + size > ROW_GROUP_BYTES
        ):
            self._flush()
        self._rows.append(replace(frame, pictures={}))
        self._bytes += size
        episode.count += 1
        episode.image_bytes += size
        episode.age_ms += float(frame.image_age_ms)
        for camera in self.contract.cameras:
            counts = histogram_of(frame.pictures[camera])
            episode.histograms[camera] = episode.histograms.get(camera, 0) + counts
        self.num_frames += 1

    def end_episode(self) -> int:
        """End the episode; return how many frames were dropped since they are too few."""
        episode, self._open = self._open, None
        assert episode is not None, "begin_episode comes first"
        if episode.count < MIN_FRAMES:  # fewer than a row group, so none of them is written
            self._rows, self._bytes = [], 0
            self.num_frames -= episode.count
            return episode.count
        self._flush(episode)
        self.episodes.append(
            Episode(
                first=episode.first,
                end=episode.first + episode.count,
                start_ns=episode.start_ns,
                image_bytes=episode.image_bytes,
                image_age_ms=episode.age_ms / episode.count,
                histograms={k: sparse_histogram(v) for k, v in episode.histograms.items()},
                **episode.known,
            )
        )
        return 0

    def finish(
        self,
        label: str,
        source_sha256: str,
        source: dict,
        options: dict,
        dropped: list[Drop],
        lost: Sequence[str] = (),
        made_by: dict[str, str] | None = None,
    ) -> "Shard":
        """Write the facts and give the folder its name; a shard may be without frames.

        Where another process has made the same shard meanwhile, of a copy of the recording, that
        one stays.

        Raises:
            DatasetError: there is something else of that name.
        """
        assert self._open is None, "end_episode comes first"
        self._writer.close()
        facts = Facts(
            label=label,
            source_sha256=source_sha256,
            source=source,
            options=options,
            cameras=list(self.contract.cameras),
            image_size=self.contract.image.shape[0],
            rate_hz=self.contract.rate_hz,
            vectors={name: list(axes) for name, axes in self.vectors.items()},
            num_frames=self.num_frames,
            frames_sha256=file_sha256(self._temporary / FRAMES_FILE),
            episodes=self.episodes,
            dropped=dropped,
            lost=list(lost),
            made_by=made_by or {},
        )
        sync_file(self._temporary / FRAMES_FILE)
        write_text(self._temporary / FACTS_FILE, json.dumps(asdict(facts), ensure_ascii=False))
        try:
            self._temporary.rename(self.path)
        except OSError:
            if not self.path.exists():
                raise
            there = open_shard(self.path)
            if there.facts.frames_sha256 != facts.frames_sha256:
                raise DatasetError(f"shard {self.path} exists already; {REMEDY}") from None
            return there
        sync_folder(self.path.parent)
        return Shard(self.path, facts)

    def _flush(self, episode: _Open | None = None) -> None:
        episode = episode or self._open
        assert episode is not None
        if not self._rows:
            return
        rows, last = self._rows, episode.count
        seconds = [(row.tick_ns - episode.start_ns) / NS_PER_S for row in rows]
        columns: list = [
            [{"bytes": row.jpegs[camera], "path": None} for row in rows]
            for camera in self.contract.cameras
        ]
        columns += [
            pa.FixedSizeListArray.from_arrays(
                np.stack([row.vectors[name] for row in rows]).astype(np.float32).reshape(-1),
                len(axes),
            )
            for name, axes in self.vectors.items()
        ]
        columns += [
            np.array(seconds, np.float32),
            np.arange(last - len(rows), last),
            np.full(len(rows), len(self.episodes)),
            np.array([row.image_age_ms for row in rows], np.float32),
        ]
        arrays = [pa.array(c, type=f.type) for c, f in zip(columns, self._schema, strict=True)]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema), len(rows))
        self._rows, self._bytes = [], 0
