"""Datasets in the LeRobot layouts v2.0, v2.1 and v3.0, read episode by episode: anybody's.

Facts of the layouts: info.json names the columns ("features") and the paths of files; v2 has a data
file and a video an episode, v3 files of many, with each episode's place in meta/episodes. Pictures
are bytes in the data files, files beside, or video.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from training.datasets.lerobot_layout import read_episode_rows
from training.datasets.video import read_video
from training.provenance import combined_sha256, file_sha256
from vla_ros.core.errors import DatasetError

VERSIONS = ("v2.0", "v2.1", "v3.0")


@dataclass(frozen=True)
class SourceEpisode:
    """One episode of a foreign dataset.

    Attributes:
        index: its number there.
        length: frames.
        task: its instructions, joined by "; " where it has several.
        row: v3 only, what meta/episodes says of it.
    """

    index: int
    length: int
    task: str
    row: dict


class LerobotSource:
    """A dataset folder, opened for reading.

    Attributes:
        fps: frames a second.
        features: as in info.json.

    Raises:
        DatasetError: the folder is missing, incomplete, damaged or of another version.
    """

    def __init__(self, path: Path):
        self.path = Path(path)
        try:
            self._info = json.loads((self.path / "meta/info.json").read_text(encoding="utf-8"))
            self.version = self._info["codebase_version"]
            self.fps = float(self._info["fps"])
            self.features: dict[str, dict] = self._info["features"]
            if self.version not in VERSIONS:
                raise DatasetError(
                    f"{self.path} has layout {self.version}, and {', '.join(VERSIONS)} are read; "
                    "convert it with lerobot's own scripts"
                )
            self.episodes = self._episodes_v3() if self.version == "v3.0" else self._episodes_v2()
        except FileNotFoundError as error:
            raise DatasetError(
                f"{self.path} is no LeRobot dataset: {error.filename or error} is missing; give "
                "the folder that holds meta/info.json"
            ) from None
        except (KeyError, TypeError, ValueError, OSError, pa.ArrowException) as error:
            raise self._damaged(error) from None

    def _damaged(self, error: Exception) -> DatasetError:
        return DatasetError(
            f"{self.path} is damaged ({type(error).__name__}: {error}); get it again"
        )

    def _episodes_v2(self) -> list[SourceEpisode]:
        lines = (self.path / "meta/episodes.jsonl").read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines if line.strip()]
        return [
            SourceEpisode(row["episode_index"], row["length"], "; ".join(row["tasks"]), {})
            for row in sorted(rows, key=lambda row: row["episode_index"])
        ]

    def _episodes_v3(self) -> list[SourceEpisode]:
        return [
            SourceEpisode(row["episode_index"], row["length"], "; ".join(row["tasks"]), row)
            for row in read_episode_rows(self.path)
        ]

    def sha256(self) -> str:
        """Return one hash of every file's name and content."""
        files = [p for top in ("meta", "data", "videos", "images") for p in self._files(top)]
        try:
            hashes = {path.relative_to(self.path).as_posix(): file_sha256(path) for path in files}
        except OSError as error:
            raise DatasetError(
                f"{error.filename or self.path} cannot be read ({error.strerror or error}); give "
                "access to it, or get the dataset again"
            ) from error
        return combined_sha256(hashes)

    def _files(self, top: str) -> Iterator[Path]:
        return (path for path in (self.path / top).rglob("*") if path.is_file())

    def _file(self, template: str, episode: SourceEpisode, video_key: str = "") -> Path:
        if self.version == "v3.0":
            prefix = f"videos/{video_key}" if video_key else "data"
            numbers = {key: episode.row[f"{prefix}/{key}"] for key in ("chunk_index", "file_index")}
        else:
            chunk = episode.index // int(self._info["chunks_size"])
            numbers = {"episode_chunk": chunk, "episode_index": episode.index}
        return self.path / self._info[template].format(video_key=video_key, **numbers)

    def table(self, episode: SourceEpisode, columns: list[str]) -> pa.Table:
        """Return the columns of the episode's rows, in order.

        Raises:
            DatasetError: a file is missing or damaged, or has other rows than the metadata says.
        """
        try:
            path = self._file("data_path", episode)
            # An open file, since a path with "=" in it would be taken for a partition.
            with path.open("rb") as file:
                table = pq.read_table(
                    file,
                    columns=list(dict.fromkeys([*columns, "frame_index"])),
                    filters=[("episode_index", "==", episode.index)],
                ).sort_by("frame_index")
        except (KeyError, OSError, pa.ArrowException) as error:
            raise self._damaged(error) from error
        expected = np.arange(episode.length)
        if not np.array_equal(table.column("frame_index").to_numpy(), expected):
            raise DatasetError(
                f"{path} must hold frames 0 to {episode.length - 1} of episode {episode.index}, "
                f"got {len(table)}; get the dataset again"
            )
        return table

    def pictures(
        self, episode: SourceEpisode, column: str, rows: np.ndarray
    ) -> Iterator[bytes | np.ndarray]:
        """Yield the episode's pictures at `rows` (rising): file bytes, or RGB (H, W, 3) uint8.

        Raises:
            DatasetError: a picture is missing, or a file is damaged.
        """
        if self.features[column]["dtype"] == "video":
            yield from self._video_pictures(episode, column, rows)
            return
        values = self.table(episode, [column]).column(column)
        for row in rows:
            value = values[int(row)].as_py()
            data, name = value.get("bytes"), value.get("path")
            if data is None and name and (self.path / name).is_file():
                try:
                    data = (self.path / name).read_bytes()
                except OSError as error:
                    raise self._damaged(error) from error
            if data is None:
                raise DatasetError(
                    f"{self.path} has no {column} of frame {row} in episode {episode.index}; get "
                    "the dataset again with its pictures"
                )
            yield data

    def _video_pictures(
        self, episode: SourceEpisode, column: str, rows: np.ndarray
    ) -> Iterator[np.ndarray]:
        try:
            path = self._file("video_path", episode, column)
            first_s = float(episode.row.get(f"videos/{column}/from_timestamp", 0.0))
        except (KeyError, TypeError) as error:
            raise self._damaged(error) from None
        wanted = iter(rows.tolist())
        row = next(wanted, None)
        if row is None:
            return
        for time_s, picture in read_video(path, first_s + row / self.fps):
            place = (time_s - first_s) * self.fps
            if place < row - 0.5:
                continue
            if place > row + 0.5:
                break
            yield picture
            row = next(wanted, None)
            if row is None:
                return
        raise DatasetError(
            f"{path} has no picture at {first_s + row / self.fps:.3f} s, frame {row} of episode "
            f"{episode.index}; get the dataset again"
        )
