"""The frames of one recording on disk, between conversion and assembly.

A shard is a folder of `frames.parquet` (pictures as JPEG bytes at dataset size, vectors, times;
every row group within one episode) and `facts.json` (what the recording was, its episodes, what
was dropped, image statistics). It appears under its name in one piece: a folder that has the name
is whole.
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from training.datasets.drop_list import Drop
from training.provenance import file_sha256
from vla_ros.core.errors import DatasetError

SHARD_VERSION = 2
FRAMES_FILE = "frames.parquet"
FACTS_FILE = "facts.json"
TIMES = {
    "timestamp": pa.float32(),
    "frame_index": pa.int64(),
    "episode": pa.int64(),
    "image_age_ms": pa.float32(),
}
REMEDY = "remove that folder and convert again"


def image_key(camera: str) -> str:
    """Return the column of a camera's pictures."""
    return f"observation.images.{camera}"


@dataclass(frozen=True)
class Camera:
    """What is known of a camera during an episode; None where the recording does not tell.

    Attributes:
        K: (3, 3) intrinsics [px], of the pictures as stored.
        T_base_camera: (4, 4) pose of the camera's optical frame in base_link.
    """

    K: list[list[float]] | None = None
    T_base_camera: list[list[float]] | None = None


@dataclass(frozen=True)
class Episode:
    """Frames [first, end) of a shard.

    Attributes:
        task: instruction, empty for play.
        kind: play, demo or policy.
        success: None where nobody judged.
        reason: how it ended.
        start_ns: stamp of the first frame [ns].
        image_bytes: size of its pictures.
        image_age_ms: mean age of the pictures at their ticks.
        cameras: by name.
        histograms: of each camera's pixels, see `dataset_stats`; sparse, one list a channel.
    """

    first: int
    end: int
    task: str
    kind: str
    success: bool | None
    reason: str
    start_ns: int
    image_bytes: int
    image_age_ms: float
    cameras: dict[str, Camera]
    histograms: dict[str, list[list[list[int]]]]

    def __len__(self) -> int:
        return self.end - self.first


@dataclass(frozen=True)
class Facts:
    """All of a shard but its frames.

    Attributes:
        label: of the recording, unique in a dataset.
        source_sha256: of the recording's content.
        source: how the recording was read, plain JSON.
        options: what shaped the frames besides the contract, plain JSON.
        cameras, image_size, rate_hz: of the contract.
        vectors: names of the axes by column.
        num_frames: rows of `frames.parquet`.
        frames_sha256: of `frames.parquet`.
        lost: what of the recording could not be read, a clause each.
        made_by: versions of what made the shard.
    """

    label: str
    source_sha256: str
    source: dict
    options: dict
    cameras: list[str]
    image_size: int
    rate_hz: float
    vectors: dict[str, list[str]]
    num_frames: int
    frames_sha256: str
    episodes: list[Episode]
    dropped: list[Drop]
    lost: list[str] = field(default_factory=list)
    made_by: dict[str, str] = field(default_factory=dict)
    version: int = SHARD_VERSION


def frames_schema(cameras: list[str], vectors: dict[str, list[str]]) -> pa.Schema:
    """Return the columns of `frames.parquet`."""
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    columns = [(image_key(camera), image) for camera in cameras]
    columns += [(name, pa.list_(pa.float32(), len(axes))) for name, axes in vectors.items()]
    return pa.schema([*columns, *TIMES.items()])


def parquet_options(schema: pa.Schema) -> dict:
    """Return writer options: JPEG bytes neither shrink nor have a useful minimum."""
    pictures = {f"{f.name}.bytes" for f in schema if pa.types.is_struct(f.type)}
    paths = [
        f"{f.name}.list.element" if pa.types.is_fixed_size_list(f.type) else f.name
        for f in schema
        if not pa.types.is_struct(f.type)
    ]
    compression = dict.fromkeys(paths, "SNAPPY") | dict.fromkeys(pictures, "NONE")
    return {"compression": compression, "use_dictionary": False, "write_statistics": paths}


@dataclass(frozen=True)
class Shard:
    """A whole shard."""

    path: Path
    facts: Facts

    def check_frames(self) -> None:
        """Raise DatasetError unless `frames.parquet` has the bytes that were written."""
        if file_sha256(self.path / FRAMES_FILE) != self.facts.frames_sha256:
            raise DatasetError(
                f"shard {self.path} is damaged: {FRAMES_FILE} is not what was written; {REMEDY}"
            )

    def batches(self, columns: list[str] | None = None, first: int = 0) -> Iterator[pa.Table]:
        """Yield the row groups from frame `first`, which begins one, on; each in one episode.

        Raises:
            DatasetError: the file is damaged.
        """
        try:
            with pq.ParquetFile(self.path / FRAMES_FILE) as file:
                start = 0
                for index in range(file.num_row_groups):
                    if start >= first:
                        yield file.read_row_group(index, columns)
                    start += file.metadata.row_group(index).num_rows
        except (OSError, pa.ArrowException) as error:
            raise DatasetError(f"shard {self.path} cannot be read ({error}); {REMEDY}") from None

    def jpegs(self, camera: str, first: int = 0) -> Iterator[bytes]:
        """Yield the camera's pictures from frame `first`, which begins an episode, on."""
        for table in self.batches([image_key(camera)], first):
            for part in table.column(0).chunks:
                for data in part.field("bytes"):
                    yield data.as_py()

    def column(self, name: str) -> np.ndarray:
        """Return the vector column `name` (N, k) float32, or a time column (N,)."""
        parts = []
        for table in self.batches([name]):
            array = table.column(0).combine_chunks()
            is_vector = pa.types.is_fixed_size_list(array.type)
            values = array.flatten().to_numpy() if is_vector else array.to_numpy()
            parts.append(values.reshape(len(array), -1) if is_vector else values)
        width = (len(self.facts.vectors[name]),) if name in self.facts.vectors else ()
        return np.concatenate(parts) if parts else np.zeros((0, *width), np.float32)


def open_shard(path: Path) -> Shard:
    """Return the shard at `path`, its facts checked against its frames.

    Raises:
        DatasetError: it is missing, damaged or of another version.
    """
    path = Path(path)
    try:
        content = json.loads((path / FACTS_FILE).read_text(encoding="utf-8"))
        if content["version"] != SHARD_VERSION:
            raise DatasetError(
                f"shard {path} has version {content['version']}, and {SHARD_VERSION} is read; "
                + REMEDY
            )
        facts = _facts(content)
        with pq.ParquetFile(path / FRAMES_FILE) as file:
            schema, num_rows = file.schema_arrow, file.metadata.num_rows
    except FileNotFoundError as error:
        raise DatasetError(f"shard {path} is incomplete ({error}); {REMEDY}") from None
    except (KeyError, TypeError, ValueError, OSError, pa.ArrowException) as error:
        raise DatasetError(
            f"shard {path} is damaged ({type(error).__name__}: {error}); {REMEDY}"
        ) from None
    ends = [0, *(episode.end for episode in facts.episodes)]
    follow = [episode.first for episode in facts.episodes] == ends[:-1]
    expected = frames_schema(facts.cameras, facts.vectors)
    if num_rows != facts.num_frames or ends[-1] != num_rows or not follow or schema != expected:
        raise DatasetError(
            f"shard {path} says {facts.num_frames} frames of {len(facts.episodes)} episodes, and "
            f"{FRAMES_FILE} with {num_rows} rows does not fit that; {REMEDY}"
        )
    return Shard(path, facts)


def _facts(content: dict) -> Facts:
    episodes = [
        Episode(**{**row, "cameras": {k: Camera(**v) for k, v in row["cameras"].items()}})
        for row in content["episodes"]
    ]
    dropped = [Drop(**row) for row in content["dropped"]]
    return Facts(**{**content, "episodes": episodes, "dropped": dropped})


def dropped_counts(shards: Sequence[Shard]) -> dict[str, int]:
    """Return how many ticks and messages of the shards' recordings yield no frame, by reason."""
    counts: Counter[str] = Counter()
    for shard in shards:
        for run in shard.facts.dropped:
            counts[run.reason] += run.count
    return dict(sorted(counts.items()))
